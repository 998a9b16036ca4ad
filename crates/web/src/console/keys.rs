//! Keys: who may ask what, how much, and until when. A key is shown once.

use super::act::back;
use super::console::Console;
use super::figures::{usd, when};
use super::layout::{Place, asks, card, encoded, form, of_deployment, page as whole};
use super::visitor::{Act, Visitor};
use crate::problem::Path;
use crate::problem::{Answer, Body, failed};
use crate::router::App;
use crate::{deployments, keys};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_api::key::{KeyWish, NewKey};
use charter_domain::time::Time;
use charter_store::{KeyRow, Role};
use maud::{Markup, html};

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor) -> Response {
    match shown(&console.app, &visitor, None).await {
        Ok(body) => whole(&visitor, Place::Keys, "Keys", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor, made: Option<&NewKey>) -> Answer<Markup> {
    visitor.caller.need(Role::Admin)?;
    let (all, now) = (app.controller.store().keys().await?, app.controller.now());
    Ok(html! {
        div.head { div { h1 { "Keys" } p.soft { "One key for the gateway, the API and this dashboard, with a role, names, limits and an end." } } }
        @if let Some(made) = made { (secret(made)) }
        (card("new", "A new key", html! {}, form_of_new(visitor)))
        (card("all", "All keys", html! {}, table(visitor, &all, now)))
    })
}

/// The only time that a key is seen.
fn secret(made: &NewKey) -> Markup {
    let key = &made.key;
    html! {
        div.said role="status" {
            p { strong { "This is the key “" (made.kept.name) "”. It is shown this once." } }
            div.copyable { pre.wrap #new-key { (key) } button.small type="button" data-copy=(key) { "Copy" } }
        }
    }
}

fn form_of_new(visitor: &Visitor) -> Markup {
    let number = |name: &str, label: &str, hint: &str| html! { label.field { (label) input name=(name) inputmode="decimal" placeholder=(hint); } };
    super::layout::form_of(
        "grid",
        visitor,
        "/keys",
        html! {
            div.fields {
                label.field { "Name" input name="name" placeholder="who, or what for"; }
                label.field { "Role" select name="role" { option value="viewer" { "viewer: ask models, look" } option value="operator" { "operator: run things" } option value="admin" { "admin: everything" } } }
                label.field { "Good for" select name="hours" { option value="" { "no end" } option value="1" { "1 hour" } option value="24" { "1 day" } option value="168" { "1 week" } option value="720" { "30 days" } } }
            }
            details { summary { "Names, tenant and limits" }
                div.stack {
                    div.fields {
                        label.field { "Only these names" input name="routes" placeholder="all"; small { "served names, a comma between them" } }
                        label.field { "Tenant" input name="tenant" placeholder="default"; }
                    }
                    div.fields { (number("rpm", "Requests a minute", "no limit")) (number("tpm", "Tokens a minute", "no limit")) (number("parallel", "At the same time", "no limit")) (number("day", "Dollars a day", "no limit")) (number("month", "Dollars a month", "no limit")) }
                    label.tick { input type="checkbox" name="agentic"; "may ask in several steps (effort 8 and more)" }
                }
            }
            div.actions { button.main { "Make a key" } }
        },
    )
}

fn limits(key: &KeyRow) -> Markup {
    let l = &key.limits;
    html! {
        @if let Some(n) = l.requests_per_minute { span.tag { (n) " requests/min" } " " }
        @if let Some(n) = l.tokens_per_minute { span.tag { (n) " tokens/min" } " " }
        @if let Some(n) = l.parallel { span.tag { (n) " at once" } " " }
        @if let Some(n) = l.day { span.tag { (usd(n.0)) " a day" } " " }
        @if let Some(n) = l.month { span.tag { (usd(n.0)) " a month" } " " }
        @if l.agentic { span.tag { "several steps" } }
    }
}

fn table(visitor: &Visitor, all: &[KeyRow], now: Time) -> Markup {
    html! {
        div.scroll { table.cards {
            thead { tr { th { "Name" } th { "Role" } th { "Tenant" } th { "Names" } th { "Limits" } th { "Made" } th { "Ends" } th {} } }
            tbody { @for key in all {
                tr {
                    td.lead { strong { (key.name) } span.under { code { (key.prefix) "…" } } }
                    td data-label="Role" { (key.role.as_str()) } td data-label="Tenant" { (key.tenant) }
                    td data-label="Names" { @if key.routes.is_empty() { "all" } @else { (key.routes.join(", ")) } }
                    td data-label="Limits" { div { (limits(key)) } }
                    td data-label="Made" { (when(key.created_at, now)) }
                    td data-label="Ends" { @match key.expires_at { Some(at) => (when(at, now)), None => "never" } }
                    td.bare { (asks(&format!("revoke-{}", key.id.0), "small bad", "Revoke…", &format!("Revoke {}?", key.name), form(visitor, &format!("/keys/{}/revoke", encoded(&key.id.0)), html! {
                        p { "Whoever uses it is refused within a second. A key that is revoked does not come back." }
                        div.actions { button.bad { "Revoke it" } } }))) }
                }
            } }
        } }
    }
}

/// Dollars as micro-dollars.
pub(crate) fn micros(act: &Act, name: &str) -> Answer<Option<i64>> {
    let Some(text) = act.said(name) else { return Ok(None) };
    let figure: Option<f64> = text.trim_start_matches('$').parse().ok().filter(|f: &f64| f.is_finite() && (0.0..1e9).contains(f));
    let figure =
        figure.ok_or_else(|| failed(422, "A0422", format!("`{text}` is no sum of money"), "write dollars, such as 2.50"))?;
    #[expect(clippy::cast_possible_truncation, reason = "it is below 10^15")]
    Ok(Some((figure * 1e6).round() as i64))
}

async fn make(app: &App, act: &Act) -> Answer<NewKey> {
    let routes = act.text("routes").split(',').map(str::trim).filter(|r| !r.is_empty()).map(str::to_owned).collect();
    let owned = |name: &str| act.said(name).map(str::to_owned);
    let wanted = KeyWish {
        name: owned("name"),
        role: owned("role"),
        routes,
        tenant: owned("tenant"),
        expires_in_seconds: act.number::<u32>("hours")?.map(|h| i64::from(h) * 3600),
        requests_per_minute: act.number("rpm")?,
        tokens_per_minute: act.number("tpm")?,
        parallel: act.number("parallel")?,
        day_usd_micros: micros(act, "day")?,
        month_usd_micros: micros(act, "month")?,
        agentic: act.is_on("agentic"),
    };
    Ok(keys::create(State(app.clone()), act.caller(), Body(wanted)).await?.1.0)
}

pub(crate) async fn create(State(console): State<Console>, act: Act) -> Response {
    let app = &console.app;
    match make(app, &act).await {
        Ok(made) => match shown(app, &act.visitor, Some(&made)).await {
            Ok(body) => whole(&act.visitor, Place::Keys, "Keys", body),
            Err(failed) => failed.into_response(),
        },
        Err(failed) => back("/keys", Err(failed)),
    }
}

pub(crate) async fn revoke(State(console): State<Console>, Path(id): Path<String>, act: Act) -> Response {
    let gone = keys::revoke(State(console.app.clone()), act.caller(), Path(id)).await;
    back("/keys", gone.map(|_| "The key is revoked.".to_owned()))
}

/// A key for one deployment's names, that ends by itself.
pub(crate) async fn temporary(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let app = &console.app;
    let made = async {
        let state = deployments::find(app, &act.caller(), &name).await?;
        let mut routes = vec![state.profile.served_name.clone()];
        routes.extend(state.profile.engine.lora.iter().map(|l| l.name.clone()));
        let hours: u32 = act.number("hours")?.unwrap_or(1);
        if !(1..=24 * 366).contains(&hours) {
            return Err(failed(422, "A0422", format!("{hours} hours cannot be used"), "1 to 8784 hours"));
        }
        let wanted = KeyWish {
            name: Some(format!("for {name}, {hours} h")),
            routes,
            tenant: Some(state.tenant.clone()),
            expires_in_seconds: Some(i64::from(hours) * 3600),
            ..KeyWish::default()
        };
        let made = keys::create(State(app.clone()), act.caller(), Body(wanted)).await?.1.0;
        Ok((made, state.profile.served_name))
    }
    .await;
    match made {
        Ok((made, served)) => {
            let page = html! {
                div.head { div { nav.crumb aria-label="Way back" { a href=(of_deployment(&name)) { (name) } " / temporary key" } h1 { "A key for " (name) } } }
                (secret(&made))
                (card("words", "With it", html! { "set as CHARTER_KEY" }, super::endpoint::words(&super::endpoint::gateway(app), &served, "CHARTER_KEY")))
                p { a.button href=(of_deployment(&name)) { "Back" } }
            };
            whole(&act.visitor, Place::Overview, "A temporary key", page)
        }
        Err(failed) => back(&of_deployment(&name), Err(failed)),
    }
}

/// The engine's own key, once its port is open.
pub(crate) fn of_engine(visitor: &Visitor, name: &str, address: &str, key: &str) -> Response {
    let page = html! {
        div.head { div { nav.crumb aria-label="Way back" { a href=(of_deployment(name)) { (name) } " / local port" } h1 { "A port to " (name) } } }
        div.said role="status" {
            p { strong { "It is open at " code { "http://" (address) "/v1" } ", on the server’s computer." } }
            p { "The engine asks for this key:" }
            div.copyable { pre.wrap #engine-key { (key) } button.small type="button" data-copy=(key) { "Copy" } }
        }
        p { a.button href=(of_deployment(name)) { "Back" } }
    };
    whole(visitor, Place::Overview, "A local port", page)
}
