//! What a gateway would do with a request, without sending anything.

use crate::errors::Refusal;
use crate::plan;
use crate::request::asked;
use crate::table::{Table, Target};
use crate::words::words;
use charter_domain::routing::RouteTable;
use serde_json::{Value, json};
use std::sync::Arc;

/// The plan of a request and the chain behind it, as a gateway with this table would make them. `effort` is what the header would
/// say.
///
/// # Errors
/// What the gateway would refuse it with.
pub fn explain(source: &Arc<RouteTable>, body: &[u8], effort: Option<u8>) -> Result<Value, String> {
    let table = Table::new(source, &Table::default());
    let asked = asked(body).map_err(|refusal| refusal.text())?;
    let known = table.names.get(&asked.name).filter(|target| target.hosted.is_none());
    let target = known.ok_or_else(|| Refusal::ModelNotFound(asked.name.clone()).text())?;
    let plan = plan::made(&table, target, &asked, body, effort).map_err(|refusal| refusal.text())?;
    let mut steps: Vec<Value> = plan
        .as_ref()
        .map_or_else(|| table.choices(target).named(&table, target), |plan| &plan.choice)
        .chain
        .iter()
        .map(|target| json!({"name": &*target.name, "state": state(target), "tools": target.calls_tools()}))
        .collect();
    // A misspelt name would be a step to nowhere, and nobody would see it.
    let named = target.route.fallback.iter().chain(target.route.tiers.values());
    let mut unknown: Vec<&String> = named.filter(|name| table.find(name).is_none()).collect();
    unknown.dedup();
    steps.extend(unknown.iter().map(|name| json!({"name": name, "state": "nothing is called so at present", "tools": null})));
    let classified = plan.as_ref().is_some_and(plan::Plan::is_classified);
    let parts = if classified { charter_effort::classify(&words(body).prompt(&asked)).parts } else { vec![] };
    let part = |p: &charter_effort::Part| json!({"name": p.name, "found": p.found, "weight": p.weight, "points": p.points});
    Ok(match &plan {
        Some(plan) => json!({
            "schema": "charter.route-explain/1", "name": asked.name, "tier": plan.tier.as_str(), "effort": plan.effort,
            "model": &*plan.choice.model, "why": plan.why(&parts), "parts": parts.iter().map(part).collect::<Vec<_>>(), "chain": steps,
        }),
        None => json!({
            "schema": "charter.route-explain/1", "name": asked.name, "tier": null, "effort": null, "model": &*target.name,
            "why": "the request names its model", "parts": [], "chain": steps,
        }),
    })
}

fn state(target: &Target) -> &'static str {
    let any = |is: fn(&charter_domain::routing::Backend) -> bool| target.members.iter().any(|m| is(&m.entry.backend));
    match () {
        () if target.hosted.is_some() => "hosted, paid by the token",
        () if any(|b| b.ready) => "ready",
        () if any(|b| b.starting) => "being started",
        () if any(|b| b.asleep) => "asleep",
        () => "nobody serves it at present",
    }
}
