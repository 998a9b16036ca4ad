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
use charter_api::deployment::More;
use charter_api::manifest::Save;
use charter_api::ssh::PortWish;
use charter_api::upgrade::{Single, Upgrade};
use charter_store::Role;
use maud::{Markup, html};

/// The longest answer that is read again.
const ANSWER_MAX: usize = 1024 * 1024;

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

/// What is said of an upgrade: that it has begun, or why there is nothing to do.
pub(crate) async fn came_of(response: Response, said: String) -> Answer<String> {
    let body = axum::body::to_bytes(response.into_body(), ANSWER_MAX).await.unwrap_or_default();
    let made: Upgrade = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(failure) = made.failed.first() {
        let message = format!("`{}` is not upgraded", failure.name);
        return Err(failed(409, &failure.error.code, message, "correct what it says").detail(failure.error.message.clone()));
    }
    let idle = made.over && made.upgraded.is_empty() && !made.skipped.is_empty();
    let why = |reason: &str| if reason == "no-change" { "it runs as its file says".to_owned() } else { reason.to_owned() };
    let reasons: Vec<String> = made.skipped.iter().map(|one| format!("`{}`: {}", one.name, why(&one.reason))).collect();
    Ok(if idle { format!("There is nothing to do. {}.", reasons.join("; ")) } else { said })
}

/// The strategy that a form names.
fn strategy(act: &Act) -> String {
    act.said("strategy").unwrap_or("auto").to_owned()
}

/// The field that names it.
pub(crate) fn strategies() -> Markup {
    html! {
        label.field { "Strategy"
            select name="strategy" { option value="auto" { "auto: the one without a gap, where there is money and a machine" } option value="side-by-side" { "side by side" } option value="rolling" { "rolling" } option value="in-place" { "in place: requests wait" } option value="recreate" { "recreate: a gap" } } }
    }
}

pub(crate) async fn extend(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let said = async {
        let infinite = act.is_on("infinite");
        let hours = if infinite { None } else { act.number("hours")? };
        let wanted = More { hours, infinite, minutes: if infinite { None } else { act.number("minutes")? } };
        let lease = money::extend(State(console.app.clone()), act.caller(), Path(name.clone()), Body(wanted)).await?.0;
        Ok(match (lease.expires_at, lease.kept_until) {
            (Some(at), _) => format!("It runs until {at} now."),
            (None, Some(at)) if !infinite => format!("It stays until {at} now, whether anybody asks or not."),
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
        let wanted = Single { strategy: Some(strategy(&act)), ..Single::default() };
        let begun = upgrades::upgrade(State(console.app.clone()), act.caller(), Path(name.clone()), Body(wanted)).await?;
        came_of(begun, format!("The upgrade of `{name}` has begun.")).await
    }
    .await;
    back(&of_deployment(&name), said)
}

pub(crate) async fn rollback(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let said = async {
        let wanted = Single { to: act.number("to")?, strategy: Some(strategy(&act)), ..Single::default() };
        upgrades::rollback(State(console.app.clone()), act.caller(), Path(name.clone()), Body(wanted)).await?;
        Ok(format!("`{name}` goes back."))
    }
    .await;
    back(&of_deployment(&name), said)
}

pub(crate) async fn save(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let said = async {
        let under = act.text("name").to_owned();
        let wanted = Save { name: under.clone(), deployment: Some(name.clone()), manifest: None };
        let _made = saved::save(State(console.app.clone()), act.caller(), Body(wanted)).await?;
        Ok(format!("Saved as `{under}`."))
    }
    .await;
    back(&of_deployment(&name), said)
}

/// Ends an instance that nobody knows, by a person's word.
pub(crate) async fn end_quarantined(State(console): State<Console>, act: Act) -> Response {
    let said = end_unknown(&console.app, &act).await;
    back(if act.text("back") == "/machines" { "/machines" } else { "/" }, said)
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
    if act.is_on("what-if") {
        return super::upgrades::move_what_if(&console, &act, &name).await;
    }
    let said = async {
        let provider = act.said("provider").map(str::to_owned);
        let wanted = Single { provider, strategy: Some(strategy(&act)), ..Single::default() };
        let begun = upgrades::migrate(State(console.app.clone()), act.caller(), Path(name.clone()), Body(wanted)).await?;
        came_of(begun, format!("`{name}` moves to {}: it is brought up there first.", act.text("provider"))).await
    }
    .await;
    back(&of_deployment(&name), said)
}

pub(crate) async fn forward(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let made = async {
        let port: u16 = act.said("port").unwrap_or("0").parse().map_err(|_| {
            failed(422, "A0422", format!("`{}` is no port", act.text("port")), "a number from 0 to 65535; 0 takes a free one")
        })?;
        let bind = act.said("bind").unwrap_or("127.0.0.1").to_owned();
        let wanted = PortWish { bind, port, insecure: act.is_on("insecure"), close: act.is_on("close") };
        Ok(crate::ssh::forward(State(console.app.clone()), act.caller(), Path(name.clone()), Body(wanted)).await?.0)
    }
    .await;
    match made {
        Ok(made) => match (made.address, made.key) {
            // The key stands on a page of its own, and in no cookie.
            (Some(address), Some(key)) => super::keys::of_engine(&act.visitor, &name, &address, &key),
            _ => back(&of_deployment(&name), Ok("The port is closed.".to_owned())),
        },
        Err(failed) => back(&of_deployment(&name), Err(failed)),
    }
}
