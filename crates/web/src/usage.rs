//! Usage: what gateways report and draw, and what people ask.

use crate::auth::Caller;
use crate::problem::{Answer, Body, Query, failed};
use crate::router::App;
use crate::status::rfc3339;
use axum::extract::{Json, State};
use charter_api::usage as wire;
use charter_api::usage::{Draw, Drawn, UsageWish, Written};
use charter_domain::money::Usd;
use charter_domain::time::{Span, Time};
use charter_domain::usage::Used;
use charter_store::Role;
use charter_store::usage::{Of, Total};
use std::collections::BTreeMap;

/// A batch of a gateway in a process of its own.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Batch {
    /// Different for every batch; one that comes twice counts once.
    pub id: String,
    /// The requests, as gateways write them.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub requests: Vec<Used>,
}

pub(crate) async fn record(State(app): State<App>, caller: Caller, Body(batch): Body<Batch>) -> Answer<Json<Written>> {
    caller.need(Role::Admin)?;
    app.controller.store().record(&batch.id, &batch.requests).await?;
    Ok(Json(Written { written: batch.requests.len() }))
}

pub(crate) async fn draw(State(app): State<App>, caller: Caller, Body(draw): Body<Draw>) -> Answer<Json<Drawn>> {
    caller.need(Role::Admin)?;
    if draw.want_usd_micros < 0 {
        let left = Usd(draw.want_usd_micros.saturating_neg());
        app.controller.store().put_back(&draw.key, left, app.controller.now()).await?;
        return Ok(Json(Drawn { drawn_usd_micros: draw.want_usd_micros }));
    }
    let drawn = app.controller.draw(&draw.key, Usd(draw.want_usd_micros)).await?;
    Ok(Json(Drawn { drawn_usd_micros: drawn.0 }))
}

/// Single requests, the newest first.
pub(crate) async fn requests(
    State(app): State<App>,
    caller: Caller,
    Query(asked): Query<UsageWish>,
) -> Answer<Json<wire::Requests>> {
    caller.need(Role::Operator)?;
    let names = key_names(&app).await?;
    let since = since(&app, asked.hours)?;
    let limit = asked.limit.unwrap_or(50).clamp(1, 1000);
    let known = names.clone();
    let wanted = move |u: &Used| {
        let is = |said: &Option<String>, is: &str| said.as_ref().is_none_or(|s| s == is);
        let key = asked.key.as_ref().is_none_or(|k| **k == *u.key || known.get(&*u.key) == Some(k));
        caller.sees(&u.tenant)
            && key
            && is(&asked.model, &u.model)
            && is(&asked.deployment, &u.group)
            && is(&asked.tenant, &u.tenant)
    };
    let found = app.controller.store().used(since, limit, &wanted).await?;
    let row = |u: Used| wire::RequestRow {
        request: u.request,
        at: rfc3339(u.at),
        key: names.get(&*u.key).map_or(&*u.key, String::as_str).to_owned(),
        tenant: u.tenant.to_string(),
        model: u.model.to_string(),
        instead_of: Some(u.instead_of.to_string()).filter(|name| !name.is_empty()),
        deployment: u.group.to_string(),
        backend: u.backend.to_string(),
        prompt_tokens: u.prompt_tokens,
        cached_tokens: u.cached_tokens,
        completion_tokens: u.completion_tokens,
        reasoning_tokens: u.reasoning_tokens,
        estimated: u.estimated,
        duration_ms: u.duration_ms,
        first_token_ms: u.first_ms,
        queue_ms: u.queue_ms,
        cold_start_ms: u.cold_ms,
        status: u.status,
        end: u.end.as_str().to_owned(),
        cost_usd_micros: u.cost.0,
        rent_usd_micros: u.rent.0,
        saved_usd_micros: u.saved.0,
    };
    let items = found.into_iter().map(row).collect();
    Ok(Json(wire::Requests { schema: "charter.requests/1".to_owned(), items, next: None }))
}

/// Requests added up by key, tenant, model and deployment.
pub(crate) async fn spend(State(app): State<App>, caller: Caller, Query(asked): Query<UsageWish>) -> Answer<Json<wire::Spend>> {
    caller.need(Role::Operator)?;
    let names = key_names(&app).await?;
    let since = since(&app, asked.hours)?;
    let totals = app.controller.store().totals(since).await?;
    let row = |(of, t): (&Of, &Total)| wire::SpendRow {
        key: names.get(&of.key).unwrap_or(&of.key).clone(),
        tenant: of.tenant.clone(),
        model: of.model.clone(),
        deployment: of.group.clone(),
        requests: t.requests,
        prompt_tokens: t.prompt_tokens,
        cached_tokens: t.cached_tokens,
        completion_tokens: t.completion_tokens,
        reasoning_tokens: t.reasoning_tokens,
        busy_ms: t.busy_ms,
        cost_usd_micros: t.cost.0,
        rent_usd_micros: t.rent.0,
        saved_usd_micros: t.saved.0,
    };
    let is = |said: &Option<String>, is: &str| said.as_ref().is_none_or(|s| s == is);
    let wanted = |of: &Of| {
        let key = asked.key.as_ref().is_none_or(|k| *k == of.key || names.get(&of.key) == Some(k));
        caller.sees(&of.tenant)
            && key
            && is(&asked.model, &of.model)
            && is(&asked.deployment, &of.group)
            && is(&asked.tenant, &of.tenant)
    };
    let items = totals.iter().filter(|(of, _)| wanted(of)).map(row).collect();
    Ok(Json(wire::Spend { schema: "charter.spend/1".to_owned(), since: rfc3339(since), items }))
}

fn since(app: &App, hours: Option<i64>) -> Answer<Time> {
    let hours = hours.unwrap_or(24);
    if !(1..=24 * 366).contains(&hours) {
        return Err(failed(422, "A0422", "`hours` is between 1 and 8784", "leave it out for the last 24 hours"));
    }
    Ok(app.controller.now() - Span::min(hours * 60))
}

pub(crate) async fn key_names(app: &App) -> Answer<BTreeMap<String, String>> {
    Ok(app.controller.store().keys().await?.into_iter().map(|k| (k.id.0, k.name)).collect())
}
