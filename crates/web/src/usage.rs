//! Usage: what gateways report and draw, and what people ask.

use crate::auth::Caller;
use crate::problem::{Answer, Body, Query, failed};
use crate::router::App;
use crate::status::rfc3339;
use axum::extract::{Json, State};
use charter_domain::money::Usd;
use charter_domain::time::{Span, Time};
use charter_domain::usage::Used;
use charter_store::Role;
use charter_store::usage::{Of, Total};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A batch of a gateway in a process of its own.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Batch {
    /// Different for every batch; one that comes twice counts once.
    pub id: String,
    /// The requests.
    pub requests: Vec<Used>,
}

/// A wish for money of a key.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Draw {
    /// The key's id.
    pub key: String,
    /// So much at the most; below zero what is put back.
    pub want_usd_micros: i64,
}

/// What was drawn.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Drawn {
    /// So much.
    pub drawn_usd_micros: i64,
}

pub(crate) async fn record(State(app): State<App>, caller: Caller, Body(batch): Body<Batch>) -> Answer<Json<Value>> {
    caller.need(Role::Admin)?;
    app.controller.store().record(&batch.id, &batch.requests).await?;
    Ok(Json(json!({"written": batch.requests.len()})))
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

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct Asked {
    /// Rows, 50 without a word.
    limit: Option<usize>,
    /// A key's id or name.
    key: Option<String>,
    model: Option<String>,
    deployment: Option<String>,
    tenant: Option<String>,
    /// The last so many hours, 24 without a word.
    hours: Option<i64>,
}

/// Single requests, the newest first.
pub(crate) async fn requests(State(app): State<App>, caller: Caller, Query(asked): Query<Asked>) -> Answer<Json<Value>> {
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
    let row = |u: &Used| {
        json!({
            "request": u.request, "at": rfc3339(u.at), "key": names.get(&*u.key).map_or(&*u.key, String::as_str), "tenant": u.tenant,
            "model": u.model, "deployment": u.group, "backend": u.backend, "prompt_tokens": u.prompt_tokens,
            "cached_tokens": u.cached_tokens, "completion_tokens": u.completion_tokens, "reasoning_tokens": u.reasoning_tokens,
            "estimated": u.estimated, "duration_ms": u.duration_ms, "first_token_ms": u.first_ms, "queue_ms": u.queue_ms,
            "cold_start_ms": u.cold_ms, "status": u.status, "end": u.end.as_str(), "cost_usd_micros": u.cost.0,
            "rent_usd_micros": u.rent.0, "saved_usd_micros": u.saved.0,
        })
    };
    Ok(Json(json!({"schema": "charter.requests/1", "items": found.iter().map(row).collect::<Vec<_>>(), "next": null})))
}

/// Requests added up by key, tenant, model and deployment.
pub(crate) async fn spend(State(app): State<App>, caller: Caller, Query(asked): Query<Asked>) -> Answer<Json<Value>> {
    caller.need(Role::Operator)?;
    let names = key_names(&app).await?;
    let since = since(&app, asked.hours)?;
    let totals = app.controller.store().totals(since).await?;
    let row = |(of, t): (&Of, &Total)| {
        json!({
            "key": names.get(&of.key).unwrap_or(&of.key), "tenant": of.tenant, "model": of.model, "deployment": of.group,
            "requests": t.requests, "prompt_tokens": t.prompt_tokens, "cached_tokens": t.cached_tokens,
            "completion_tokens": t.completion_tokens, "reasoning_tokens": t.reasoning_tokens, "busy_ms": t.busy_ms,
            "cost_usd_micros": t.cost.0, "rent_usd_micros": t.rent.0, "saved_usd_micros": t.saved.0,
        })
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
    let items: Vec<Value> = totals.iter().filter(|(of, _)| wanted(of)).map(row).collect();
    Ok(Json(json!({"schema": "charter.spend/1", "since": rfc3339(since), "items": items})))
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
