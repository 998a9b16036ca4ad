//! Routes: what people say of a public name.

use crate::auth::Caller;
use crate::events::told;
use crate::problem::{Answer, Body, Failed, Path, failed, is_readable, unknown};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::file::route::TIERS;
use charter_api::list::List;
use charter_api::problem::Problem;
use charter_api::route as wire;
use charter_api::route::{Explained, Rented, RouteQuestion, RouteWish, Switch};
use charter_domain::money::Usd;
use charter_domain::routing::{Patience, Policy, Route, TokenPrice, Weighted};
use charter_domain::time::Span;
use charter_store::Role;

/// Members that one route may have.
const MEMBERS_MAX: usize = 256;
/// Characters of a name.
const NAME_MAX: usize = 200;

/// The route of this name that is wished for.
fn route_of(name: &str, wish: RouteWish) -> Answer<Route> {
    let hint = "times are whole seconds above zero, prices micro-dollars for a million tokens";
    let wrong = |what: &str| failed(422, "A0422", format!("`{what}` cannot be used"), hint);
    let seconds = |what: &str, said: Option<i64>, default: Span| match said {
        None => Ok(default),
        Some(seconds) if (1..=86_400).contains(&seconds) => Ok(Span::s(seconds)),
        Some(_) => Err(wrong(what)),
    };
    let usual = Patience::default();
    let patience = Patience {
        start: seconds("start_seconds", wish.start_seconds, usual.start)?,
        queue: seconds("queue_seconds", wish.queue_seconds, usual.queue)?,
        first: seconds("first_token_seconds", wish.first_token_seconds, usual.first)?,
        between: seconds("between_tokens_seconds", wish.between_tokens_seconds, usual.between)?,
        whole: seconds("whole_seconds", wish.whole_seconds, usual.whole)?,
    };
    let cache = wish.cache_seconds.map(|s| seconds("cache_seconds", Some(s), usual.whole)).transpose()?;
    let price = wish.price.map(|p| {
        let cached = p.cached_usd_micros.unwrap_or(p.input_usd_micros);
        let fine = [p.input_usd_micros, cached, p.output_usd_micros].iter().all(|usd| *usd >= 0);
        let price = TokenPrice { input: Usd(p.input_usd_micros), cached: Usd(cached), output: Usd(p.output_usd_micros) };
        if fine { Ok(price) } else { Err(wrong("price")) }
    });
    if !is_readable(name, NAME_MAX) {
        let hint = format!("1 to {NAME_MAX} characters that can be seen");
        return Err(failed(422, "A0422", "the route's name cannot be used", hint));
    }
    if wish.backends.len() > MEMBERS_MAX {
        return Err(failed(422, "A0422", "the route has too many members", format!("{MEMBERS_MAX} at most")));
    }
    if !wish.backends.is_empty() && wish.backends.iter().all(|b| b.weight == 0) {
        return Err(failed(422, "A0422", "no backend of the route has a weight", "give one of them a weight of 1 or more"));
    }
    if let Some(odd) = wish.tiers.keys().find(|tier| !TIERS.contains(&tier.as_str())) {
        return Err(failed(422, "A0422", format!("`{odd}` is no tier"), format!("known: {}", TIERS.join(", "))));
    }
    if wish.fallback.len() > MEMBERS_MAX
        || wish.tiers.values().chain(&wish.fallback).any(|other| other.is_empty() || other == name)
    {
        let hint = "name what is served under another name, or a hosted provider";
        return Err(failed(422, "A0422", format!("`{name}` cannot stand behind itself"), hint));
    }
    let backends = wish.backends.into_iter().map(|b| Weighted { backend: b.backend, weight: b.weight }).collect();
    Ok(Route {
        name: name.to_owned(),
        policy: policy(wish.policy),
        backends,
        patience,
        cache,
        price: price.transpose()?,
        tiers: wish.tiers,
        fallback: wish.fallback,
    })
}

fn shown(route: Route) -> wire::Route {
    let seconds = |span: Span| span.0 / 1000;
    let Patience { start, queue, first, between, whole } = route.patience;
    wire::Route {
        name: route.name,
        policy: told_policy(route.policy),
        backends: route.backends.into_iter().map(|b| wire::Member { backend: b.backend, weight: b.weight }).collect(),
        start_seconds: seconds(start),
        queue_seconds: seconds(queue),
        first_token_seconds: seconds(first),
        between_tokens_seconds: seconds(between),
        whole_seconds: seconds(whole),
        cache_seconds: route.cache.map(seconds),
        price: route.price.map(|p| wire::Price {
            input_usd_micros: p.input.0,
            cached_usd_micros: Some(p.cached.0),
            output_usd_micros: p.output.0,
        }),
        tiers: route.tiers,
        fallback: route.fallback,
    }
}

const fn policy(said: wire::Policy) -> Policy {
    match said {
        wire::Policy::LeastLoad => Policy::LeastLoad,
        wire::Policy::Prefix => Policy::Prefix,
        wire::Policy::Session => Policy::Session,
        wire::Policy::Weighted => Policy::Weighted,
    }
}

const fn told_policy(policy: Policy) -> wire::Policy {
    match policy {
        Policy::LeastLoad => wire::Policy::LeastLoad,
        Policy::Prefix => wire::Policy::Prefix,
        Policy::Session => wire::Policy::Session,
        Policy::Weighted => wire::Policy::Weighted,
    }
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List<wire::Route>>> {
    caller.need(Role::Viewer)?;
    Ok(Json(List::whole(app.controller.store().routes().await?.into_iter().map(shown).collect())))
}

pub(crate) async fn get(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<wire::Route>> {
    caller.need(Role::Viewer)?;
    let routes = app.controller.store().routes().await?;
    routes.into_iter().find(|r| r.name == name).map(|r| Json(shown(r))).ok_or_else(|| unknown("route", &name))
}

/// Says how a name is served. Members must be there: a misspelt one would be a route to nowhere.
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wanted): Body<RouteWish>,
) -> Answer<Json<wire::Route>> {
    caller.need_house(Role::Operator)?;
    let route = route_of(&name, wanted)?;
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
    Ok(Json(shown(route)))
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

/// What a gateway would do with a request: nothing is sent anywhere.
pub(crate) async fn explain(
    State(app): State<App>,
    caller: Caller,
    Body(question): Body<RouteQuestion>,
) -> Answer<Json<Explained>> {
    caller.need(Role::Viewer)?;
    if question.effort.is_some_and(|effort| !(1..=10).contains(&effort)) {
        return Err(failed(422, "A0422", "`effort` is a whole number from 1 to 10", "leave it out to have it classified"));
    }
    let table = app.controller.routes().borrow().clone();
    let told = (app.explain)(&table, question.request.to_string().as_bytes(), question.effort);
    let told = told.map_err(|why| failed(422, "G0005", why, "a gateway would refuse this request in the same words"))?;
    serde_json::from_value(told).map(Json).map_err(|e| {
        let problem = Problem::new(
            500,
            "A0007",
            "what the gateway tells cannot be read",
            "report this; `/api/v1/routes` tells what is said",
        );
        Failed(problem.with_detail(e.to_string()))
    })
}

pub(crate) async fn rented(State(app): State<App>, caller: Caller) -> Answer<Json<Rented>> {
    caller.need(Role::Viewer)?;
    let why = app.controller.rented_closed();
    Ok(Json(Rented { on: why.is_none(), why }))
}

pub(crate) async fn switch_rented(State(app): State<App>, caller: Caller, Body(switch): Body<Switch>) -> Answer<Json<Rented>> {
    caller.need_house(Role::Operator)?;
    app.controller.switch_rented(switch.on, &caller.name).await?;
    told(&app, &caller, format!("said that rented machines get {} requests", if switch.on { "their" } else { "no" })).await?;
    rented(State(app), caller).await
}
