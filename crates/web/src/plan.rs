//! What would happen: the file against what is there, touching nothing.

use crate::auth::Caller;
use crate::deployments::{Wanted, clash, declare};
use crate::problem::{Answer, Body};
use crate::router::App;
use axum::extract::{Json, State};
use charter_api::status::{Change, Offer, Plan, PlanEntry, Report};
use charter_controller::Declared;
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::placement::{choose, explain};
use charter_domain::replica::Replica;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    deployments: Vec<Wanted>,
}

pub(crate) async fn plan(State(app): State<App>, caller: Caller, Body(question): Body<Question>) -> Answer<Json<Plan>> {
    let mut deployments = vec![];
    for wanted in question.deployments {
        let declared = declare(&app, &caller, wanted)?;
        deployments.push(entry(&app, declared).await?);
    }
    let pending = deployments.iter().any(|d| d.action != "none");
    Ok(Json(Plan { schema: "charter.plan/1".into(), pending, deployments }))
}

async fn entry(app: &App, wanted: Declared) -> Answer<PlanEntry> {
    let old = app.controller.store().deployment(&wanted.name).await?.map(|row| row.state);
    let replicas = match &old {
        Some(old) => app.controller.replicas_of(&old.id).await?,
        None => vec![],
    };
    let running = old.as_ref().filter(|o| o.wish == Wish::Run);
    let changes = running.map(|o| changes(o, &wanted)).unwrap_or_default();
    let (action, strategy, why) = decide(running, &replicas, &wanted, &changes);
    let mut made = PlanEntry {
        name: wanted.name.clone(),
        action: action.to_owned(),
        strategy: strategy.to_owned(),
        why,
        changes,
        price_before_usd_micros_per_hour: price(&replicas),
        price_after_usd_micros_per_hour: price(&replicas),
        extra_usd_micros: 0,
        committed_usd_micros: 0,
        gap_ms: (action == "create").then_some(0),
        offers: vec![],
        reports: vec![],
    };
    for replica in &replicas {
        if let Some(waits) = app.controller.waits_for(&replica.id) {
            made.reports.push(Report { code: "P0104".into(), text: format!("copy {}: {waits}", replica.slot) });
        }
    }
    if let Some(taken) = clash(app, &wanted).await? {
        let text = format!("`up` would be refused: `{taken}` is served by another deployment already");
        made.reports.push(Report { code: "G0003".into(), text });
    }
    if action == "create" || action == "upgrade" {
        look_for_offers(app, wanted, old, &replicas, &mut made).await;
    }
    Ok(made)
}

fn price(replicas: &[Replica]) -> i64 {
    replicas.iter().filter_map(Replica::instance).map(|i| i.placement.offer.price.0).sum()
}

fn decide(
    running: Option<&Deployment>,
    replicas: &[Replica],
    wanted: &Declared,
    changes: &[Change],
) -> (&'static str, &'static str, String) {
    let Some(old) = running else {
        return ("create", "recreate", "nothing of it runs".to_owned());
    };
    if changes.iter().any(|c| c.effect == "engine-restart" || c.effect == "new-machine") {
        return ("upgrade", "recreate", "the running machine is given back first, then the new one is started".to_owned());
    }
    if old.status(replicas).as_str() == "error" {
        return ("create", "recreate", "the last try ended in an error and is made again".to_owned());
    }
    if old.replicas != wanted.replicas {
        return ("scale", "rolling", format!("{} copies become {}", old.replicas, wanted.replicas));
    }
    if changes.is_empty() {
        let on_its_way = replicas.iter().filter(|r| !r.phase.is_closed() && r.phase.name() != "ready");
        let phases: Vec<&str> = on_its_way.map(|r| r.phase.name()).collect();
        let why = match phases.as_slice() {
            [] => "it runs as the file says".to_owned(),
            some => format!("what the file says is on its way ({}); nothing else has to be begun", some.join(", ")),
        };
        return ("none", "in-place", why);
    }
    ("upgrade", "in-place", "nothing has to be started again".to_owned())
}

/// Every field that differs, with what the change needs. Environment values are shown as changed or not.
fn changes(old: &Deployment, new: &Declared) -> Vec<Change> {
    let mut all = vec![];
    let mut add = |field: String, profile: serde_json::Value, started_with: serde_json::Value, effect: &str| {
        if profile != started_with {
            all.push(Change { field, profile, started_with, engine_reports: serde_json::Value::Null, effect: effect.to_owned() });
        }
    };
    let (a, b) = (&old.profile, &new.profile);
    add("model".into(), b.model.clone().into(), a.model.clone().into(), "engine-restart");
    add("served-name".into(), b.served_name.clone().into(), a.served_name.clone().into(), "engine-restart");
    add("provider".into(), b.providers.clone().into(), a.providers.clone().into(), "new-machine");
    add("engine.version".into(), new.engine_version.clone().into(), old.engine_version.clone().into(), "engine-restart");
    let json = |value: Option<String>| value.map_or(serde_json::Value::Null, Into::into);
    let names: std::collections::BTreeSet<&String> = a.engine.options.keys().chain(b.engine.options.keys()).collect();
    for name in names {
        let text = |p: &charter_domain::profile::Profile| json(p.engine.options.get(name).map(ToString::to_string));
        add(format!("engine.options.{name}"), text(b), text(a), "engine-restart");
    }
    add("engine.extra-args".into(), b.engine.extra_args.clone().into(), a.engine.extra_args.clone().into(), "engine-restart");
    add("engine.command".into(), b.engine.command.clone().into(), a.engine.command.clone().into(), "engine-restart");
    if a.engine.env != b.engine.env {
        add("engine.env".into(), serde_json::json!({"changed": true}), serde_json::Value::Null, "engine-restart");
    }
    let lora =
        |p: &charter_domain::profile::Profile| p.engine.lora.iter().map(|l| format!("{}={}", l.name, l.path)).collect::<Vec<_>>();
    add("engine.lora".into(), lora(b).into(), lora(a).into(), "engine-restart");
    add("gpu.count".into(), b.gpu.count.into(), a.gpu.count.into(), "new-machine");
    add("gpu.indices".into(), b.gpu.indices.clone().into(), a.gpu.indices.clone().into(), "new-machine");
    add("disk".into(), b.disk_bytes.into(), a.disk_bytes.into(), "new-machine");
    add("max-concurrent".into(), b.max_concurrent.into(), a.max_concurrent.into(), "route");
    add("replicas".into(), new.replicas.into(), old.replicas.into(), "live");
    all
}

async fn look_for_offers(app: &App, wanted: Declared, old: Option<Deployment>, replicas: &[Replica], made: &mut PlanEntry) {
    let probe = app.controller.as_deployment(wanted, old);
    let need = app.controller.requirement(&probe);
    if let Ok(Some(text)) = app.controller.exhausted(&probe).await {
        made.reports.push(Report { code: "M0001".into(), text });
    }
    let (mut offers, problems) = app.controller.offers_within(&need, probe.profile.limits.search).await;
    if let Ok(Some((most, why))) = app.controller.affordable(&probe).await {
        let before = offers.len();
        offers.retain(|o| o.price <= most);
        if offers.is_empty() && before > 0 {
            made.reports.push(Report { code: "M0001".into(), text: why });
        }
    }
    if offers.is_empty() && problems.is_empty() {
        let text = match &need.offer {
            Some(id) => format!("the offer `{id}` is not there; `charter offers` shows what is"),
            None => "nothing is offered at this moment".to_owned(),
        };
        made.reports.push(Report { code: "P0001".into(), text });
    }
    let mut free = offers;
    // The machine that an upgrade gives back first is free for what comes after it.
    for placement in replicas.iter().filter_map(Replica::instance).map(|i| &i.placement) {
        let same = free.iter_mut().filter(|o| o.id == placement.offer.id && o.provider == placement.offer.provider);
        same.flat_map(|o| &mut o.gpus).filter(|g| placement.gpus.contains(&g.index)).for_each(|g| g.free = true);
    }
    made.price_after_usd_micros_per_hour = 0;
    for copy in 0..probe.replicas {
        match choose(&need, &free) {
            Ok(placement) => {
                made.price_after_usd_micros_per_hour += placement.offer.price.0;
                made.committed_usd_micros += app.controller.commits(&probe, placement.offer.price).0;
                made.offers.push(Offer {
                    id: placement.offer.id.clone(),
                    provider: placement.offer.provider.clone(),
                    gpu: placement.label(),
                    price_usd_micros_per_hour: placement.offer.price.0,
                    score: None,
                });
                // The next copy cannot have the same cards.
                let taken = free.iter_mut().filter(|o| o.id == placement.offer.id && o.provider == placement.offer.provider);
                let cards = taken.flat_map(|o| &mut o.gpus).filter(|g| placement.gpus.contains(&g.index));
                cards.for_each(|g| g.free = false);
            }
            Err(rejections) => {
                let lines = explain(&rejections).into_iter().map(|line| format!("copy {copy}: {line}"));
                made.reports.extend(lines.map(|text| Report { code: "P0001".into(), text }));
            }
        }
    }
    made.reports.extend(problems.into_iter().map(|(text, _)| Report { code: "P0002".into(), text }));
}
