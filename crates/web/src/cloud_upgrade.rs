//! `/deploy/cloud-model/upgrade...`: upgrades under the paths of a system that charter replaces. They do what `POST upgrades` does.

use crate::auth::Caller;
use crate::problem::{Answer, Body, Path, failed, unknown};
use crate::router::App;
use crate::upgrades::{begin_all, begin_one, find_fleet, shown};
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::fleet::{self, Fleet};
use charter_store::Role;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a caller who waits is kept waiting.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct One {
    wait: bool,
    tenant_id: Option<String>,
}

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct All {
    profile: Option<String>,
    what_if: bool,
    tenant_id: Option<String>,
}

/// Whose deployments are meant: the key's own tenant's. Only an admin may name another one.
fn tenant(caller: &Caller, named: Option<String>) -> Answer<String> {
    match named {
        Some(named) if named != caller.tenant => {
            caller.need(Role::Admin)?;
            Ok(named)
        }
        Some(_) | None => Ok(caller.tenant.clone()),
    }
}

/// The deployment of a session: `<id>.<generation>`, an id, or a name. A generation that is not the present one is refused.
async fn of_session(app: &App, tenant: &str, session: &str) -> Answer<Deployment> {
    let whole = app.controller.store().deployment(session).await?;
    let (row, generation) = match (whole, session.rsplit_once('.')) {
        (Some(row), _) => (Some(row), None),
        (None, Some((id, number))) => (app.controller.store().deployment(id).await?, number.parse::<u32>().ok()),
        (None, None) => (None, None),
    };
    let state = row.map(|row| row.state).filter(|d| d.tenant == tenant).ok_or_else(|| unknown("deployment", session))?;
    let outdated = generation.filter(|g| *g != state.generation);
    if let Some(old) = outdated {
        let message = format!("generation {old} of `{}` is not the present one", state.name);
        return Err(failed(409, "A0416", message, format!("it is `{}.{}` now", state.id, state.generation)));
    }
    Ok(state)
}

fn urls(fleet: &Fleet) -> (String, String) {
    let url = format!("/api/v1/upgrades/{}", fleet.id);
    let stream = format!("{url}/stream");
    (url, stream)
}

/// Upgrades one session, and answers with the new one.
pub(crate) async fn one(
    State(app): State<App>,
    caller: Caller,
    Path(session): Path<String>,
    Body(wanted): Body<One>,
) -> Answer<Response> {
    let tenant = tenant(&caller, wanted.tenant_id)?;
    let state = of_session(&app, &tenant, &session).await?;
    let old = format!("{}.{}", state.id, state.generation);
    let mut fleet = begin_one(&app, &caller, state).await?;
    if wanted.wait {
        fleet = finished(&app, fleet).await?;
    }
    let (status_url, stream_url) = urls(&fleet);
    let item = fleet.items.first();
    let new = item.and_then(|item| match &item.state {
        fleet::State::Running { to: Some(to) } | fleet::State::Upgraded { to } => Some(format!("{}.{to}", item.deployment)),
        fleet::State::Running { to: None } | fleet::State::Waiting => None,
        fleet::State::Failed { .. } | fleet::State::Skipped { .. } => Some(old.clone()),
    });
    let summary = shown(&fleet);
    let mut answer = json!({"session_id": new, "replaces": old, "status_url": status_url, "stream_url": stream_url});
    if let Some(failure) = summary.failed.first() {
        return Err(failed(502, &failure.error.code, format!("`{}` was not upgraded", failure.name), "see its generations")
            .detail(failure.error.message.clone()));
    }
    if let Some(skipped) = summary.skipped.first() {
        answer["skipped"] = skipped.reason.clone().into();
    }
    Ok((if wanted.wait { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(answer)).into_response())
}

async fn finished(app: &App, fleet: Fleet) -> Answer<Fleet> {
    let waited = async {
        let mut changes = app.controller.changes();
        loop {
            changes.borrow_and_update();
            let now = find_fleet(app, &fleet.id).await?;
            if now.is_over() {
                return Ok(now);
            }
            if changes.changed().await.is_err() {
                return Err(failed(503, "A0001", "the server ends", "ask again"));
            }
        }
    };
    let late = || failed(504, "R0010", "the upgrade is not over after 600 s", "it goes on; ask at its `status_url`");
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| Err(late()))
}

/// Upgrades everything that runs of a tenant, one after the other.
pub(crate) async fn all(State(app): State<App>, caller: Caller, Body(wanted): Body<All>) -> Answer<Response> {
    let tenant = tenant(&caller, wanted.tenant_id)?;
    let of = |d: &Deployment| {
        d.wish == Wish::Run && d.tenant == tenant && wanted.profile.as_ref().is_none_or(|p| *p == d.profile_name)
    };
    let rows = app.controller.store().deployments().await?;
    let states: Vec<Deployment> = rows.into_iter().map(|row| row.state).filter(of).collect();
    if wanted.what_if {
        let plan = crate::plan::what_if(&app, &caller, &states, &fleet::Target::File, None).await?;
        return Ok(Json(plan).into_response());
    }
    let fleet = begin_all(&app, &caller, &states).await?;
    let (status_url, stream_url) = urls(&fleet);
    let answer: Value = json!({"status_url": status_url, "stream_url": stream_url, "total": fleet.items.len()});
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}
