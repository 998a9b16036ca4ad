//! `/api/admin/vllm`: launch, look, extend and destroy in the words of a system that charter replaces. It knew one rental; here
//! it is the deployment that was launched, or the one that is named.

use crate::auth::Caller;
use crate::cloud_model::{dollars, session};
use crate::deployments::{clash, declare, of_profile};
use crate::money::refused;
use crate::problem::{Answer, Body, Query, failed, unknown};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_controller::Extension;
use charter_domain::deployment::{Deployment, Status};
use charter_domain::replica::{Phase, Replica};
use charter_domain::time::{Span, Time};
use charter_store::Role;
use serde_json::{Value, json};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Launch {
    #[serde(default)]
    keep_alive_minutes: Option<u32>,
    /// Traffic always goes to what is ready.
    #[serde(default)]
    auto_switch: Option<bool>,
    #[serde(default)]
    profile: Option<String>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    #[serde(default)]
    deployment: Option<String>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct More {
    additional_minutes: u32,
}

/// Rents what a profile of the server's file asks for.
pub(crate) async fn launch(
    State(app): State<App>,
    caller: Caller,
    Body(order): Body<Launch>,
) -> Answer<(StatusCode, Json<Value>)> {
    caller.need(Role::Admin)?;
    if order.auto_switch == Some(false) {
        return Err(failed(422, "A0422", "`auto_switch: false` cannot be had", "leave it out: what is ready is routed to"));
    }
    let known = (app.profiles)();
    let names: Vec<&str> = known.iter().map(|(n, _)| n.as_str()).collect();
    let name = match (&order.profile, names.as_slice()) {
        (Some(name), _) => name.as_str(),
        (None, [only]) => only,
        (None, _) => {
            let hint = format!("say `profile`, one of: {}", names.join(", "));
            return Err(failed(409, "A0419", format!("which of {} profiles is meant is not said", names.len()), hint));
        }
    };
    let found = known.iter().find(|(n, _)| n == name).map(|(_, raw)| raw.clone());
    let mut profile = found.ok_or_else(|| {
        failed(404, "A0404", format!("there is no profile `{name}`"), format!("the server's file has: {}", names.join(", ")))
    })?;
    if let Some(minutes) = order.keep_alive_minutes {
        profile["keep-alive"] = format!("{minutes}m").into();
    }
    let declared = declare(&app, &caller, of_profile(name, profile))?;
    if let Some(taken) = clash(&app, &declared).await? {
        let hint = "end the other deployment, or give the profile another `served-name`";
        return Err(failed(409, "G0003", format!("`{taken}` is served by another deployment already"), hint));
    }
    let state = app.controller.declare(declared).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"status": "LAUNCHING", "session_id": session(&state), "deployment": state.name}))))
}

/// The deployment that is meant: the one that is named, or the only one that is not over. `None` where there is none.
async fn meant(app: &App, caller: &Caller, which: Option<String>) -> Answer<Option<(Deployment, Vec<Replica>)>> {
    let mut active = vec![];
    for row in app.controller.store().deployments().await?.into_iter().filter(|row| caller.sees(&row.state.tenant)) {
        let replicas = app.controller.replicas_of(&row.state.id).await?;
        let named = which.as_ref().is_some_and(|w| *w == row.state.name || *w == row.state.id.0);
        if named {
            return Ok(Some((row.state, replicas)));
        }
        if !matches!(row.state.status(&replicas), Status::Stopped | Status::Error) {
            active.push((row.state, replicas));
        }
    }
    match (which, active.len()) {
        (Some(name), _) => Err(unknown("deployment", &name)),
        (None, 0 | 1) => Ok(active.pop()),
        (None, _) => {
            let names: Vec<&str> = active.iter().map(|(d, _)| d.name.as_str()).collect();
            let hint = format!("say `?deployment=NAME`, one of: {}", names.join(", "));
            Err(failed(409, "A0419", format!("which of {} deployments is meant is not said", names.len()), hint))
        }
    }
}

const fn word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending { .. } => "SEARCHING",
        Phase::Acquiring(_) => "LAUNCHING",
        Phase::Booting { .. } => "BOOTING",
        Phase::Loading { .. } => "STARTING_VLLM",
        Phase::Ready { .. } | Phase::Unreachable { .. } => "READY",
        Phase::Draining { .. } | Phase::Releasing(_) => "DESTROYING",
        Phase::Closed => "IDLE",
    }
}

/// What runs, what it costs, and how long it will.
pub(crate) async fn status(State(app): State<App>, caller: Caller, Query(which): Query<Which>) -> Answer<Json<Value>> {
    caller.need(Role::Viewer)?;
    let Some((state, replicas)) = meant(&app, &caller, which.deployment).await? else {
        return Ok(Json(json!({"status": "IDLE"})));
    };
    let now = app.controller.now();
    let newest = replicas.iter().filter(|r| !r.phase.is_closed()).max_by_key(|r| r.since);
    let minutes = |span: Span| span.0.max(0) / 60_000;
    let instance = newest.and_then(Replica::instance);
    let failures = newest.map_or(0, |r| if let Phase::Ready { failures, .. } = r.phase { failures } else { 0 });
    let cause = state.cause(&replicas).map(|c| json!({"class": c.class, "evidence": c.evidence, "hint": c.hint}));
    Ok(Json(json!({
        "status": newest.map_or("IDLE", |r| word(&r.phase)), "deployment": state.name, "session_id": session(&state),
        "provider": instance.map(|i| &i.placement.offer.provider), "gpu": instance.map(|i| i.placement.label()),
        "price_per_hour": dollars(instance.map_or(0, |i| i.placement.offer.price.0)),
        "runtime_minutes": instance.map_or(0, |i| minutes(now.since(i.since))),
        "estimated_cost": dollars(app.controller.spent(Some(&state.id), Time(0)).await?.0),
        "keep_alive_remaining_minutes": app.controller.idle_end(&state, &replicas).map(|at| minutes(at.since(now))),
        "health_failures": failures, "error": cause,
    })))
}

async fn named(app: &App, caller: &Caller, which: Which) -> Answer<Deployment> {
    let nothing = || failed(409, "A0418", "nothing runs", "launch it first: `POST /api/admin/vllm/launch`");
    Ok(meant(app, caller, which.deployment).await?.ok_or_else(nothing)?.0)
}

/// Gives it more time.
pub(crate) async fn extend(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
    Body(more): Body<More>,
) -> Answer<Json<Value>> {
    caller.need(Role::Admin)?;
    let state = named(&app, &caller, which).await?;
    let by = Extension::By(Span::min(i64::from(more.additional_minutes.min(5_256_000))));
    let state = app.controller.extend(state.id.as_str(), by).await.map_err(|e| refused(&state.name, e))?;
    let Some(state) = state else { return Err(failed(404, "A0404", "it is gone", "launch it again")) };
    let replicas = app.controller.replicas_of(&state.id).await?;
    let until = state.expires_at.or(app.controller.idle_end(&state, &replicas));
    let remaining = until.map(|at| at.since(app.controller.now()).0 / 60_000);
    Ok(Json(json!({"status": "extended", "deployment": state.name, "keep_alive_remaining_minutes": remaining})))
}

/// Ends it.
pub(crate) async fn destroy(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Answer<(StatusCode, Json<Value>)> {
    caller.need(Role::Admin)?;
    let state = named(&app, &caller, which).await?;
    app.controller.end(state.id.as_str()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"status": "DESTROYING", "deployment": state.name}))))
}
