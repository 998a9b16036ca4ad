//! `/deploy/cloud-model`: the paths of a system that charter replaces, with its own words and dollars as decimals. They do what
//! `POST deployments` does; the waiting and the other one take the same fields and go the same way.

use crate::auth::Caller;
use crate::deployments::{clash, declare, of_profile};
use crate::problem::{Answer, Body, Failed, failed, unknown};
use crate::router::App;
use crate::status;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::deployment::Declare;
use charter_api::problem::Problem;
use charter_domain::deployment::{Deployment, Status, Wish};
use charter_domain::time::Time;
use charter_store::Role;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the waiting path waits.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a caller asks for. Fields that are not known are refused: a field that is dropped in silence rents the wrong machine.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    profile: Option<String>,
    model: Option<String>,
    #[serde(default)]
    offer_id: Option<Value>,
    #[serde(default)]
    max_price: Option<Value>,
    #[serde(default)]
    min_vram: Option<u64>,
    #[serde(default)]
    max_model_len: Option<u64>,
    #[serde(default)]
    backend_name: Option<String>,
    #[serde(default)]
    served_name: Option<String>,
    /// Everything that is ready is routed to by itself; saying no to that is not possible.
    #[serde(default)]
    register_with_queue: Option<bool>,
}

fn wrong(message: impl Into<String>, hint: &str) -> Failed {
    failed(422, "A0422", message, hint)
}

/// A number or a text, as a text without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A deployment's name from a model's: letters, digits, `.`, `_` and `-`.
pub(crate) fn name_of(model: &str) -> String {
    let last = model.trim_end_matches('/').rsplit('/').next().unwrap_or(model);
    let name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '-' }).collect();
    name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(63).collect()
}

fn wanted(app: &App, order: Order) -> Answer<Declare> {
    if order.register_with_queue == Some(false) {
        return Err(wrong("`register_with_queue: false` cannot be had", "leave it out: what is ready is routed to"));
    }
    let (mut profile, name) = match (order.profile, order.model) {
        (Some(name), None) => {
            let known = (app.profiles)();
            let found = known.iter().find(|(n, _)| *n == name).map(|(_, raw)| raw.clone());
            let names: Vec<&str> = known.iter().map(|(n, _)| n.as_str()).collect();
            let hint = format!("the server's file has: {}", names.join(", "));
            (found.ok_or_else(|| failed(404, "A0404", format!("there is no profile `{name}`"), hint))?, name)
        }
        (None, Some(model)) => (json!({"model": model}), name_of(&model)),
        _ => return Err(wrong("name either a `profile` or a `model`", "a profile of the server's file, or a model of the hub")),
    };
    for part in ["gpu", "engine"] {
        if !profile[part].is_object() {
            profile[part] = json!({});
        }
    }
    // Zero means what the profile says.
    if let Some(price) = order.max_price.as_ref().map(plain).filter(|p| !p.trim_matches(['0', '.']).is_empty()) {
        profile["gpu"]["max-usd-per-hour"] = price.into();
    }
    if let Some(gb) = order.min_vram {
        profile["gpu"]["min-vram"] = format!("{gb}GB").into();
    }
    if let Some(length) = order.max_model_len {
        if !profile["engine"]["options"].is_object() {
            profile["engine"]["options"] = json!({});
        }
        profile["engine"]["options"]["max-model-len"] = length.into();
    }
    let name = order.backend_name.unwrap_or(name);
    let mut wanted = of_profile(&name, profile);
    if let Some(offer) = order.offer_id.as_ref().filter(|o| !o.is_null()) {
        wanted.deployment["offer"] = plain(offer).into();
    }
    if let Some(served) = order.served_name {
        wanted.deployment["served-name"] = served.into();
    }
    Ok(wanted)
}

async fn begin(app: &App, caller: &Caller, order: Order) -> Answer<Deployment> {
    caller.need(Role::Operator)?;
    let named = order.backend_name.is_some();
    let declared = declare(app, caller, wanted(app, order)?)?;
    if !named {
        crate::deployments::keep_others(app, &declared).await?;
    }
    if let Some(taken) = clash(app, &declared).await? {
        let hint = format!("give it another `served_name`, such as `{taken}-2`");
        return Err(failed(409, "G0003", format!("`{taken}` is served by another deployment already"), hint));
    }
    Ok(app.controller.declare(declared).await?)
}

pub(crate) fn session(state: &Deployment) -> String {
    format!("{}.{}", state.id, state.generation)
}

/// Begins, and answers at once.
pub(crate) async fn start(State(app): State<App>, caller: Caller, Body(order): Body<Order>) -> Answer<(StatusCode, Json<Value>)> {
    let state = begin(&app, &caller, order).await?;
    let url = format!("/api/v1/deployments/{}", state.id);
    let answer = json!({"session_id": session(&state), "status_url": url, "stream_url": format!("{url}?after=0")});
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// Begins, and answers when it is ready or has failed.
pub(crate) async fn wait(State(app): State<App>, caller: Caller, Body(order): Body<Order>) -> Answer<Json<Value>> {
    let state = begin(&app, &caller, order).await?;
    let ready = async {
        let mut changes = app.controller.changes();
        loop {
            changes.borrow_and_update();
            let seen = status::one(&app, &state).await?;
            // What an older generation does, on its way out, is no answer to this order.
            let mine = |r: &charter_api::status::Replica| r.generation == state.generation;
            let ready = seen.replicas.iter().any(|r| mine(r) && r.phase == "ready");
            let old = seen.generation == state.generation && seen.replicas.iter().any(|r| !mine(r) && r.phase != "closed");
            match seen.status.as_str() {
                _ if seen.generation != state.generation => {
                    return Err(failed(409, "A0413", format!("`{}` was changed meanwhile", state.name), "ask for its status"));
                }
                "running" if ready => {
                    let base_url = app.gateway_url.clone();
                    let price: i64 = seen.replicas.iter().map(|r| r.price_usd_micros_per_hour).sum();
                    return Ok(json!({"session_id": session(&state), "status": "running", "base_url": base_url,
                        "served_name": state.profile.served_name, "model": state.profile.model, "price_per_hour": dollars(price)}));
                }
                "error" => {
                    let (class, hint, evidence) = seen.cause.map_or_else(Default::default, |c| (c.class, c.hint, c.evidence));
                    let message = format!("`{}` did not start: {class}", state.name);
                    return Err(Failed(Problem::new(502, "E0002", message, hint).with_detail(evidence)));
                }
                "stopped" | "stopping" if !old => return Err(unknown("deployment", &state.name)),
                _ => {}
            }
            if changes.changed().await.is_err() {
                return Err(failed(503, "A0001", "the server ends", "ask again"));
            }
        }
    };
    let late = || failed(504, "R0010", format!("`{}` is not ready after 600 s", state.name), "it goes on; ask for its status");
    tokio::time::timeout(PATIENCE, ready).await.unwrap_or_else(|_| Err(late())).map(Json)
}

/// Micro-dollars as the decimal that these paths speak.
pub(crate) fn dollars(micros: i64) -> f64 {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000).parse().unwrap_or(0.0)
}

/// What runs, and what it costs.
pub(crate) async fn running(State(app): State<App>, caller: Caller) -> Answer<Json<Value>> {
    caller.need(Role::Viewer)?;
    let mut sessions = vec![];
    for row in app.controller.store().deployments().await?.into_iter().filter(|row| caller.sees(&row.state.tenant)) {
        let state = row.state;
        let replicas = app.controller.replicas_of(&state.id).await?;
        let status = state.status(&replicas);
        if state.wish == Wish::Stop && status == Status::Stopped {
            continue;
        }
        let price: i64 = replicas.iter().filter_map(|r| r.instance()).map(|i| i.placement.offer.price.0).sum();
        sessions.push(json!({"session_id": session(&state), "profile": state.profile_name, "model": state.profile.model,
            "served_name": state.profile.served_name, "status": status.as_str(), "price_per_hour": dollars(price)}));
    }
    let spent = crate::money::spent(&app, &caller, Time(0)).await?;
    let committed = if caller.is_house() { app.controller.reserved().await? } else { charter_domain::money::Usd(0) };
    let limits: Vec<Value> =
        app.controller.budgets().iter().map(|b| json!({"scope": b.scope.as_str(), "hard": dollars(b.hard.0)})).collect();
    Ok(Json(
        json!({"sessions": sessions, "budget": {"spent": dollars(spent.0), "committed": dollars(committed.0), "limits": limits}}),
    ))
}
