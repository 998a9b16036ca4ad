//! Routes: what people say of a public name.

use crate::auth::Caller;
use crate::events::told;
use crate::problem::{Answer, Body, Path, failed, is_readable, unknown};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::file::route::TIERS;
use charter_domain::money::Usd;
use charter_domain::routing::{Patience, Policy, Route, TokenPrice, Weighted};
use charter_domain::time::Span;
use charter_store::Role;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Members that one route may have.
const MEMBERS_MAX: usize = 256;
/// Characters of a name.
const NAME_MAX: usize = 200;

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wanted {
    #[schemars(with = "policy::Shape")]
    policy: Policy,
    #[schemars(with = "Vec<Member>")]
    backends: Vec<Weighted>,
    start_seconds: Option<i64>,
    queue_seconds: Option<i64>,
    first_token_seconds: Option<i64>,
    between_tokens_seconds: Option<i64>,
    whole_seconds: Option<i64>,
    cache_seconds: Option<i64>,
    price: Option<Price>,
    tiers: BTreeMap<String, String>,
    fallback: Vec<String>,
}

/// Micro-dollars for a million tokens.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    input_usd_micros: i64,
    #[serde(default)]
    cached_usd_micros: Option<i64>,
    output_usd_micros: i64,
}

/// How policies and members are described.
mod policy {
    /// How a backend is chosen.
    #[derive(schemars::JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "its names are what it is for")]
    pub(super) enum Shape {
        LeastLoad,
        Prefix,
        Session,
        Weighted,
    }
}

/// A member of a route.
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "its fields are what it is for")]
struct Member {
    /// A deployment, or a registered backend.
    backend: String,
    /// How much of the requests it takes, beside the others.
    #[serde(default)]
    weight: u32,
}

impl Wanted {
    fn route(self, route: &str) -> Answer<Route> {
        let hint = "times are whole seconds above zero, prices micro-dollars for a million tokens";
        let wrong = |what: &str| failed(422, "A0422", format!("`{what}` cannot be used"), hint);
        let seconds = |what: &str, said: Option<i64>, default: Span| match said {
            None => Ok(default),
            Some(seconds) if (1..=86_400).contains(&seconds) => Ok(Span::s(seconds)),
            Some(_) => Err(wrong(what)),
        };
        let usual = Patience::default();
        let patience = Patience {
            start: seconds("start_seconds", self.start_seconds, usual.start)?,
            queue: seconds("queue_seconds", self.queue_seconds, usual.queue)?,
            first: seconds("first_token_seconds", self.first_token_seconds, usual.first)?,
            between: seconds("between_tokens_seconds", self.between_tokens_seconds, usual.between)?,
            whole: seconds("whole_seconds", self.whole_seconds, usual.whole)?,
        };
        let cache = self.cache_seconds.map(|s| seconds("cache_seconds", Some(s), usual.whole)).transpose()?;
        let price = self.price.map(|p| {
            let cached = p.cached_usd_micros.unwrap_or(p.input_usd_micros);
            let fine = [p.input_usd_micros, cached, p.output_usd_micros].iter().all(|usd| *usd >= 0);
            let price = TokenPrice { input: Usd(p.input_usd_micros), cached: Usd(cached), output: Usd(p.output_usd_micros) };
            if fine { Ok(price) } else { Err(wrong("price")) }
        });
        if !is_readable(route, NAME_MAX) {
            let hint = format!("1 to {NAME_MAX} characters that can be seen");
            return Err(failed(422, "A0422", "the route's name cannot be used", hint));
        }
        if self.backends.len() > MEMBERS_MAX {
            return Err(failed(422, "A0422", "the route has too many members", format!("{MEMBERS_MAX} at most")));
        }
        if !self.backends.is_empty() && self.backends.iter().all(|b| b.weight == 0) {
            return Err(failed(422, "A0422", "no backend of the route has a weight", "give one of them a weight of 1 or more"));
        }
        if let Some(odd) = self.tiers.keys().find(|tier| !TIERS.contains(&tier.as_str())) {
            return Err(failed(422, "A0422", format!("`{odd}` is no tier"), format!("known: {}", TIERS.join(", "))));
        }
        if self.fallback.len() > MEMBERS_MAX
            || self.tiers.values().chain(&self.fallback).any(|name| name.is_empty() || name == route)
        {
            let hint = "name what is served under another name, or a hosted provider";
            return Err(failed(422, "A0422", format!("`{route}` cannot stand behind itself"), hint));
        }
        let (policy, backends, tiers, fallback) = (self.policy, self.backends, self.tiers, self.fallback);
        let name = route.to_owned();
        Ok(Route { name, policy, backends, patience, cache, price: price.transpose()?, tiers, fallback })
    }
}

fn shown(route: &Route) -> Value {
    let seconds = |span: Span| span.0 / 1000;
    json!({
        "name": route.name, "policy": route.policy, "backends": route.backends,
        "start_seconds": seconds(route.patience.start), "queue_seconds": seconds(route.patience.queue),
        "first_token_seconds": seconds(route.patience.first), "between_tokens_seconds": seconds(route.patience.between),
        "whole_seconds": seconds(route.patience.whole), "cache_seconds": route.cache.map(seconds),
        "tiers": route.tiers, "fallback": route.fallback,
        "price": route.price.map(|p| json!({"input_usd_micros": p.input, "cached_usd_micros": p.cached, "output_usd_micros": p.output})),
    })
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<Value>> {
    caller.need(Role::Viewer)?;
    let items: Vec<Value> = app.controller.store().routes().await?.iter().map(shown).collect();
    Ok(Json(json!({"items": items, "next": null})))
}

pub(crate) async fn get(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<Value>> {
    caller.need(Role::Viewer)?;
    let routes = app.controller.store().routes().await?;
    routes.iter().find(|r| r.name == name).map(|r| Json(shown(r))).ok_or_else(|| unknown("route", &name))
}

/// Says how a name is served. Members must be there: a misspelt one would be a route to nowhere.
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wanted): Body<Wanted>,
) -> Answer<Json<Value>> {
    caller.need_house(Role::Operator)?;
    let route = wanted.route(&name)?;
    let store = app.controller.store();
    let mut known: Vec<String> = store.deployments().await?.into_iter().map(|row| row.state.name).collect();
    known.extend(store.backends().await?.into_iter().map(|b| b.name));
    if let Some(odd) = route.backends.iter().find(|b| !known.contains(&b.backend)) {
        let message = format!("there is no deployment and no registered backend `{}`", odd.backend);
        return Err(failed(422, "G0002", message, format!("known: {}", known.join(", "))));
    }
    store.put_route(route.clone()).await?;
    app.controller.publish().await?;
    told(&app, &caller, format!("changed the route `{name}`")).await?;
    Ok(Json(shown(&route)))
}

pub(crate) async fn remove(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    caller.need_house(Role::Operator)?;
    if !app.controller.store().remove_route(&name).await? {
        return Err(unknown("route", &name));
    }
    app.controller.publish().await?;
    told(&app, &caller, format!("removed the route `{name}`")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is to be explained.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// The body of a request, as a client would send it.
    request: Value,
    /// The effort that its header would force.
    #[serde(default)]
    effort: Option<u8>,
}

/// What a gateway would do with a request: nothing is sent anywhere.
pub(crate) async fn explain(State(app): State<App>, caller: Caller, Body(question): Body<Question>) -> Answer<Json<Value>> {
    caller.need(Role::Viewer)?;
    if question.effort.is_some_and(|effort| !(1..=10).contains(&effort)) {
        return Err(failed(422, "A0422", "`effort` is a whole number from 1 to 10", "leave it out to have it classified"));
    }
    let table = app.controller.routes().borrow().clone();
    let told = (app.explain)(&table, question.request.to_string().as_bytes(), question.effort);
    told.map(Json).map_err(|why| failed(422, "G0005", why, "a gateway would refuse this request in the same words"))
}

/// Whether rented machines get requests.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    on: bool,
}

pub(crate) async fn rented(State(app): State<App>, caller: Caller) -> Answer<Json<Value>> {
    caller.need(Role::Viewer)?;
    let why = app.controller.rented_closed();
    Ok(Json(json!({"on": why.is_none(), "why": why})))
}

pub(crate) async fn switch_rented(State(app): State<App>, caller: Caller, Body(switch): Body<Switch>) -> Answer<Json<Value>> {
    caller.need_house(Role::Operator)?;
    app.controller.switch_rented(switch.on, &caller.name).await?;
    told(&app, &caller, format!("said that rented machines get {} requests", if switch.on { "their" } else { "no" })).await?;
    rented(State(app), caller).await
}
