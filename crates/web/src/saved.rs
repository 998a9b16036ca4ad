//! Saved configurations: manifests under names of their own, to be run again with one word.

use crate::auth::Caller;
use crate::deployments::find;
use crate::manifest;
use crate::problem::{Answer, Body, Path, failed};
use crate::router::App;
use crate::status::rfc3339;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::list::List;
use charter_api::manifest::{Again, Order, Save, Saved};
use charter_api::status as wire;
use serde_json::json;

const PREFIX: &str = "saved:";

async fn one(app: &App, caller: &Caller, name: &str) -> Answer<Saved> {
    let found = stored(app, name).await?.filter(|saved| is_theirs(caller, saved));
    found.ok_or_else(|| {
        failed(404, "A0404", format!("there is no saved configuration `{name}`"), "`charter saved list` lists them")
    })
}

async fn stored(app: &App, name: &str) -> Answer<Option<Saved>> {
    let stored = app.controller.store().metas(&format!("{PREFIX}{name}")).await?;
    let found = stored.into_iter().find(|(key, _)| *key == format!("{PREFIX}{name}"));
    Ok(found.and_then(|(_, text)| serde_json::from_str(&text).ok()))
}

/// What was saved belongs to the tenant of the one who saved it.
fn is_theirs(caller: &Caller, saved: &Saved) -> bool {
    caller.sees(&saved.tenant)
}

pub(crate) async fn save(State(app): State<App>, caller: Caller, Body(wanted): Body<Save>) -> Answer<(StatusCode, Json<Saved>)> {
    if !charter_api::file::is_name(&wanted.name) {
        return Err(failed(422, "A0422", format!("`{}` is no name", wanted.name), "letters, digits, `.`, `_` and `-`"));
    }
    let manifest = match (wanted.deployment, wanted.manifest) {
        (Some(name), None) => {
            let state = find(&app, &caller, &name).await?;
            let replicas = app.controller.replicas_of(&state.id).await?;
            json!(manifest::of(&state, &replicas))
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
    let saved_at = rfc3339(app.controller.now());
    let saved = Saved { name: wanted.name, by: caller.name, tenant: caller.tenant, saved_at, manifest };
    app.controller.store().put_meta(&format!("{PREFIX}{}", saved.name), &json!(saved).to_string()).await?;
    Ok((StatusCode::CREATED, Json(saved)))
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List<Saved>>> {
    let stored = app.controller.store().metas(PREFIX).await?;
    let items: Vec<Saved> =
        stored.iter().filter_map(|(_, text)| serde_json::from_str(text).ok()).filter(|saved| is_theirs(&caller, saved)).collect();
    Ok(Json(List::whole(items)))
}

pub(crate) async fn get(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<Saved>> {
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
    Body(wanted): Body<Again>,
) -> Answer<(StatusCode, Json<wire::Deployment>)> {
    let manifest = one(&app, &caller, &name).await?.manifest;
    let Again { name, node_id, port, env_vars } = wanted;
    manifest::run(&app, &caller, manifest::wanted(Order { manifest, name, node_id, port, env_vars })?).await
}
