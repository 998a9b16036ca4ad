//! Saved configurations: manifests under names of their own, to be run again with one word.

use crate::auth::Caller;
use crate::deployments::find;
use crate::manifest::{self, Order, Variable};
use crate::problem::{Answer, Body, Path, failed};
use crate::router::App;
use crate::status::rfc3339;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::status as wire;
use serde_json::{Value, json};

const PREFIX: &str = "saved:";

/// What is saved: a deployment as it is now, or a manifest.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Save {
    name: String,
    #[serde(default)]
    deployment: Option<String>,
    #[serde(default)]
    manifest: Option<Value>,
}

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Deploy {
    name: Option<String>,
    node_id: Option<String>,
    port: Option<u16>,
    env_vars: Vec<Variable>,
}

async fn one(app: &App, caller: &Caller, name: &str) -> Answer<Value> {
    let found = stored(app, name).await?.filter(|saved| is_theirs(caller, saved));
    found.ok_or_else(|| {
        failed(404, "A0404", format!("there is no saved configuration `{name}`"), "`charter saved list` lists them")
    })
}

async fn stored(app: &App, name: &str) -> Answer<Option<Value>> {
    let stored = app.controller.store().metas(&format!("{PREFIX}{name}")).await?;
    let found = stored.into_iter().find(|(key, _)| *key == format!("{PREFIX}{name}"));
    Ok(found.and_then(|(_, text)| serde_json::from_str(&text).ok()))
}

/// What was saved belongs to the tenant of the one who saved it.
fn is_theirs(caller: &Caller, saved: &Value) -> bool {
    caller.sees(saved["tenant"].as_str().unwrap_or("default"))
}

pub(crate) async fn save(State(app): State<App>, caller: Caller, Body(wanted): Body<Save>) -> Answer<(StatusCode, Json<Value>)> {
    if !charter_api::file::is_name(&wanted.name) {
        return Err(failed(422, "A0422", format!("`{}` is no name", wanted.name), "letters, digits, `.`, `_` and `-`"));
    }
    let manifest = match (wanted.deployment, wanted.manifest) {
        (Some(name), None) => {
            let state = find(&app, &caller, &name).await?;
            let replicas = app.controller.replicas_of(&state.id).await?;
            manifest::of(&state, &replicas)
        }
        (None, Some(mut manifest)) => {
            // Values of the environment are given when it is run; nothing that was sent along is kept.
            if manifest["profile"]["engine"].is_object() {
                manifest["profile"]["engine"]["env"] = json!({});
            }
            manifest
        }
        _ => return Err(failed(422, "A0422", "name either a `deployment` or a `manifest`", "one of the two is saved")),
    };
    if stored(&app, &wanted.name).await?.is_some_and(|saved| !is_theirs(&caller, &saved)) {
        return Err(failed(
            409,
            "A0410",
            format!("another tenant has saved a configuration `{}`", wanted.name),
            "choose another name",
        ));
    }
    let saved = json!({"name": wanted.name, "by": caller.name, "tenant": caller.tenant, "saved_at": rfc3339(app.controller.now()), "manifest": manifest});
    app.controller.store().put_meta(&format!("{PREFIX}{}", wanted.name), &saved.to_string()).await?;
    Ok((StatusCode::CREATED, Json(saved)))
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<Value>> {
    let stored = app.controller.store().metas(PREFIX).await?;
    let items: Vec<Value> =
        stored.iter().filter_map(|(_, text)| serde_json::from_str(text).ok()).filter(|saved| is_theirs(&caller, saved)).collect();
    Ok(Json(json!({"items": items, "next": null})))
}

pub(crate) async fn get(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<Value>> {
    Ok(Json(one(&app, &caller, &name).await?))
}

pub(crate) async fn remove(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    one(&app, &caller, &name).await?;
    app.controller.store().remove_meta(&format!("{PREFIX}{name}")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs it again: the same version, revision and seed, with values of the environment that are given anew.
pub(crate) async fn deploy(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wanted): Body<Deploy>,
) -> Answer<(StatusCode, Json<wire::Deployment>)> {
    let manifest = one(&app, &caller, &name).await?.get("manifest").cloned().unwrap_or_default();
    let Deploy { name, node_id, port, env_vars } = wanted;
    manifest::run(&app, &caller, manifest::wanted(Order { manifest, name, node_id, port, env_vars })?).await
}
