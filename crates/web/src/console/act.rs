//! What is done to deployments: the API's own functions, told in a sentence afterwards.

use super::console::Console;
use super::layout::of_deployment;
use super::note::Note;
use super::visitor::Act;
use crate::problem::Path;
use crate::problem::{Answer, Body, failed};
use crate::router::App;
use crate::{deployments, money, saved, upgrades};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use charter_store::Role;
use serde_json::json;

/// Back to a page, with a sentence.
pub(crate) fn back(path: &str, said: Answer<String>) -> Response {
    let note = match said {
        Ok(text) => Note::done(text),
        Err(failed) => Note::of(&failed.0),
    };
    let mut response = Redirect::to(path).into_response();
    if let Ok(value) = HeaderValue::from_str(&note.cookie()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// The body that the API would read, or what is wrong with it.
pub(crate) fn body<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Answer<Body<T>> {
    serde_json::from_value(value)
        .map(Body)
        .map_err(|e| failed(422, "A0422", "the form cannot be used", "correct what it says").detail(e.to_string()))
}

pub(crate) async fn extend(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let said = async {
        let hours: Option<u32> = act.said("hours").map(|h| h.parse().unwrap_or(0));
        let wanted = if act.is_on("infinite") { json!({"infinite": true}) } else { json!({"hours": hours}) };
        let answer = money::extend(State(console.app.clone()), act.caller(), Path(name.clone()), body(wanted)?).await?;
        let time = |name: &str| answer.0.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        Ok(match (time("expires_at"), time("kept_until")) {
            (Some(at), _) => format!("It runs until {at} now."),
            (None, Some(at)) if !act.is_on("infinite") => format!("It stays until {at} now, whether anybody asks or not."),
            (None, _) => "It has no end now.".to_owned(),
        })
    }
    .await;
    back(&of_deployment(&name), said)
}

pub(crate) async fn end(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let ended = deployments::remove(State(console.app.clone()), act.caller(), Path(name.clone())).await;
    back(&of_deployment(&name), ended.map(|_| format!("`{name}` is being ended: its machine is given back, and that is proven.")))
}

pub(crate) async fn upgrade(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let said = async {
        let wanted = json!({"strategy": act.said("strategy").unwrap_or("auto")});
        upgrades::upgrade(State(console.app.clone()), act.caller(), Path(name.clone()), body(wanted)?).await?;
        Ok(format!("The upgrade of `{name}` has begun."))
    }
    .await;
    back(&of_deployment(&name), said)
}

pub(crate) async fn rollback(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let said = async {
        let to: Option<u32> = act.said("to").and_then(|t| t.parse().ok());
        upgrades::rollback(State(console.app.clone()), act.caller(), Path(name.clone()), body(json!({"to": to}))?).await?;
        Ok(format!("`{name}` goes back."))
    }
    .await;
    back(&of_deployment(&name), said)
}

pub(crate) async fn save(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let said = async {
        let under = act.text("name").to_owned();
        let _made =
            saved::save(State(console.app.clone()), act.caller(), body(json!({"name": under, "deployment": name}))?).await?;
        Ok(format!("Saved as `{under}`."))
    }
    .await;
    back(&of_deployment(&name), said)
}

/// Ends an instance that nobody knows, by a person's word.
pub(crate) async fn end_quarantined(State(console): State<Console>, act: Act) -> Response {
    let said = end_unknown(&console.app, &act).await;
    back("/", said)
}

async fn end_unknown(app: &App, act: &Act) -> Answer<String> {
    let caller = act.caller();
    caller.need(Role::Admin)?;
    let (provider, id) = (act.text("provider"), act.text("id"));
    crate::machines::end_quarantined(app, &caller, provider, id)
        .await
        .map(|()| format!("`{id}` at {provider} is ended, and seen to be gone."))
}

pub(crate) async fn migrate(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let said = async {
        let wanted = json!({"provider": act.said("provider")});
        upgrades::migrate(State(console.app.clone()), act.caller(), Path(name.clone()), body(wanted)?).await?;
        Ok(format!("`{name}` moves to {}: it is brought up there first.", act.text("provider")))
    }
    .await;
    back(&of_deployment(&name), said)
}

pub(crate) async fn forward(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let made = async {
        let port: u16 = act.said("port").unwrap_or("0").parse().map_err(|_| {
            failed(422, "A0422", format!("`{}` is no port", act.text("port")), "a number from 0 to 65535; 0 takes a free one")
        })?;
        let wanted = if act.is_on("close") { json!({"close": true}) } else { json!({"port": port}) };
        Ok(deployments::forward(State(console.app.clone()), act.caller(), Path(name.clone()), body(wanted)?).await?.0)
    }
    .await;
    let text = |value: &serde_json::Value, name: &str| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    match made {
        Ok(made) => match (text(&made, "address"), text(&made, "key")) {
            // The key stands on a page of its own, and in no cookie.
            (Some(address), Some(key)) => super::keys::of_engine(&act.visitor, &name, &address, &key),
            _ => back(&of_deployment(&name), Ok("The port is closed.".to_owned())),
        },
        Err(failed) => back(&of_deployment(&name), Err(failed)),
    }
}
