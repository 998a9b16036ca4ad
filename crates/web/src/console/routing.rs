//! What people say of a public name, in the browser: who answers, how one is chosen, who stands behind it, what a token costs; and what
//! would become of a request, without sending it.

use super::act::back;
use super::console::Console;
use super::figures::usd;
use super::layout::{Place, asks, card, form, page as whole};
use super::note::Note;
use super::visitor::{Act, Visitor};
use crate::problem::{Answer, Body, Path, failed};
use crate::routes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use charter_api::route::{Explained, Member, Policy, Price, RouteQuestion, RouteWish};
use charter_domain::routing::{Route, RouteTable};
use maud::{Markup, html};
use serde_json::json;

const POLICIES: [(Policy, &str); 4] = [
    (Policy::LeastLoad, "the least busy"),
    (Policy::Prefix, "where the beginning is known"),
    (Policy::Session, "the same for a session"),
    (Policy::Weighted, "by weight"),
];
const TIERS: [&str; 5] = ["reflex", "simple", "moderate", "complex", "critical"];

/// How long each part may take, as the form asks for it.
fn times(route: Option<&Route>) -> [(&'static str, &'static str, i64); 5] {
    let usual = charter_domain::routing::Patience::default();
    let p = route.map_or(usual, |r| r.patience);
    [
        ("start", "For something that is started", p.start.0 / 1000),
        ("queue", "For a place", p.queue.0 / 1000),
        ("first", "For the first token", p.first.0 / 1000),
        ("between", "Between two tokens", p.between.0 / 1000),
        ("whole", "For the whole answer", p.whole.0 / 1000),
    ]
}

/// The form for one name; empty for a new one.
fn fields(visitor: &Visitor, route: Option<&Route>) -> Markup {
    let policy = route.map(|r| json!(r.policy)).unwrap_or_default();
    let members: Vec<String> =
        route.into_iter().flat_map(|r| &r.backends).map(|b| format!("{} {}", b.backend, b.weight)).collect();
    let price = |of: fn(&charter_domain::routing::TokenPrice) -> i64| {
        let said = route.and_then(|r| r.price.as_ref()).map(of);
        said.map(|micros| usd(micros).trim_start_matches('$').to_owned()).unwrap_or_default()
    };
    let cache = route.and_then(|r| r.cache).map(|span| (span.0 / 1000).to_string()).unwrap_or_default();
    form(
        visitor,
        "/gateway/routes",
        html! {
            div.fields {
                label.field { "Name" input name="name" required value=(route.map_or("", |r| r.name.as_str())) readonly[route.is_some()] autocomplete="off"; small { "what clients ask for" } }
                label.field { "How one is chosen" select name="policy" { @for (one, said) in POLICIES { option value=(one.as_str()) selected[policy == one.as_str()] { (said) } } } }
            }
            label.field { "Members" textarea.mono name="backends" rows="3" placeholder="deployment-or-backend 1" { (members.join("\n")) } small { "one a line, with its weight; none: everybody who serves the name" } }
            label.field { "Behind them, in their order" textarea.mono name="fallback" rows="2" placeholder="another-name" { (route.map(|r| r.fallback.join("\n")).unwrap_or_default()) } small { "names or hosted models, one a line: asked where the ones before cannot answer" } }
            details open[route.is_some_and(|r| !r.tiers.is_empty())] { summary { "Models by effort" }
                div.fields { @for tier in TIERS { label.field { (tier) input name={ "tier-" (tier) } value=(route.and_then(|r| r.tiers.get(tier)).map_or("", String::as_str)) autocomplete="off"; } } }
            }
            details { summary { "How long requests wait" }
                div.fields { @for (name, label, seconds) in times(route) { label.field { (label) ", seconds" input type="number" name=(name) min="1" max="86400" value=(seconds); } } }
            }
            details open[route.is_some_and(|r| r.price.is_some() || r.cache.is_some())] { summary { "Price, kept answers" }
                div.fields {
                    label.field { "$ for 1 M tokens in" input name="price-in" value=(price(|p| p.input.0)) placeholder="by the rent"; }
                    label.field { "$ for 1 M that a cache had" input name="price-cached" value=(price(|p| p.cached.0)) placeholder="as the others"; }
                    label.field { "$ for 1 M tokens out" input name="price-out" value=(price(|p| p.output.0)); }
                    label.field { "Keep answers, seconds" input type="number" name="cache" min="1" max="86400" value=(cache) placeholder="not kept"; }
                }
            }
            div.actions { button.main { "Keep" } }
        },
    )
}

/// All routes that were said, each to be changed or forgotten; and the form for another one.
pub(crate) fn list(visitor: &Visitor, table: &RouteTable, may: bool) -> Markup {
    html! {
        @if table.routes.is_empty() { p.soft { "None: every name is answered by whoever serves it, the least busy first." } }
        ul.notes { @for (n, route) in table.routes.iter().enumerate() {
            li {
                span {}
                p { strong { (route.name) } small { (said(route)) } }
                @if may { div.actions {
                    (asks(&format!("route-{n}"), "small", "Change…", &format!("The route {}", route.name), fields(visitor, Some(route))))
                    (asks(&format!("unroute-{n}"), "small bad", "Forget…", &format!("Forget what was said of {}?", route.name), form(visitor, "/gateway/routes/remove", html! {
                        p { "Requests for it are answered by whoever serves it under that name from then on; where nobody does, they are refused." }
                        input type="hidden" name="name" value=(route.name);
                        div.actions { button.bad { "Forget it" } }
                    })))
                } } @else { span {} }
            }
        } }
        div.actions {
            @if may { (asks("route-new", "small", "Another route…", "A route", fields(visitor, None))) }
            (asks("explain", "small", "What would happen…", "What would become of a request?", form(visitor, "/gateway/explain", html! {
                label.field { "Name" input name="model" required value=(table.routes.first().map_or("", |r| r.name.as_str())); }
                label.field { "Prompt" textarea name="prompt" rows="4" {} }
                label.field { "Effort" input type="number" name="effort" min="1" max="10" placeholder="judged by the prompt"; }
                div.actions { button.main { "Explain" } }
            })))
        }
    }
}

fn said(route: &Route) -> String {
    let mut parts: Vec<String> = vec![];
    if !route.backends.is_empty() {
        parts.push(route.backends.iter().map(|b| format!("{} × {}", b.backend, b.weight)).collect::<Vec<_>>().join(", "));
    }
    parts.extend(route.tiers.iter().map(|(tier, model)| format!("{tier} → {model}")));
    if !route.fallback.is_empty() {
        parts.push(format!("then {}", route.fallback.join(" → ")));
    }
    if let Some(price) = &route.price {
        parts.push(format!("{} in, {} out for 1 M tokens", usd(price.input.0), usd(price.output.0)));
    }
    parts.join(" · ")
}

fn lines<'a>(act: &'a Act, name: &str) -> Vec<&'a str> {
    act.text(name).lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The route that the form says. What has no field stays as it was.
async fn wanted(console: &Console, act: &Act) -> Answer<RouteWish> {
    let known = routes::get(State(console.app.clone()), act.caller(), Path(act.text("name").to_owned())).await;
    let known: RouteWish = known.ok().map(|known| known.0.into()).unwrap_or_default();
    let tier = |tier: &&str| Some(((*tier).to_owned(), act.said(&format!("tier-{tier}"))?.to_owned()));
    let price = match (super::keys::micros(act, "price-in")?, super::keys::micros(act, "price-out")?) {
        (None, None) => None,
        (Some(input_usd_micros), Some(output_usd_micros)) => {
            Some(Price { input_usd_micros, cached_usd_micros: super::keys::micros(act, "price-cached")?, output_usd_micros })
        }
        _ => return Err(failed(422, "A0422", "one of the two prices is missing", "name both, or none")),
    };
    let policy = Policy::parse(act.text("policy")).unwrap_or_default();
    Ok(RouteWish {
        policy,
        backends: lines(act, "backends").into_iter().map(member).collect::<Answer<_>>()?,
        fallback: lines(act, "fallback").into_iter().map(str::to_owned).collect(),
        tiers: TIERS.iter().filter_map(tier).collect(),
        price,
        cache_seconds: act.number("cache")?,
        start_seconds: act.number("start")?.or(known.start_seconds),
        queue_seconds: act.number("queue")?.or(known.queue_seconds),
        first_token_seconds: act.number("first")?.or(known.first_token_seconds),
        between_tokens_seconds: act.number("between")?.or(known.between_tokens_seconds),
        whole_seconds: act.number("whole")?.or(known.whole_seconds),
    })
}

fn member(line: &str) -> Answer<Member> {
    let (name, weight) = line.rsplit_once(char::is_whitespace).unwrap_or((line, "1"));
    let weight = weight
        .parse()
        .map_err(|_| failed(422, "A0422", format!("`{line}` is no member"), "write a name and a weight: `my-model 1`"))?;
    Ok(Member { backend: name.trim().to_owned(), weight })
}

pub(crate) async fn put(State(console): State<Console>, act: Act) -> Response {
    let name = act.text("name").to_owned();
    let said = async {
        let wanted = wanted(&console, &act).await?;
        let _kept = routes::put(State(console.app.clone()), act.caller(), Path(name.clone()), Body(wanted)).await?;
        Ok(format!("`{name}` is answered so from now on."))
    }
    .await;
    back("/gateway", said)
}

pub(crate) async fn remove(State(console): State<Console>, act: Act) -> Response {
    let name = act.text("name").to_owned();
    let gone = routes::remove(State(console.app.clone()), act.caller(), Path(name.clone())).await;
    back("/gateway", gone.map(|_| format!("What was said of `{name}` is forgotten.")))
}

/// What would become of a request, on a page of its own.
pub(crate) async fn explain(State(console): State<Console>, act: Act) -> Response {
    let told: Answer<Explained> = async {
        let effort = act.number("effort")?;
        let request = json!({"model": act.text("model"), "messages": [{"role": "user", "content": act.text("prompt")}]});
        Ok(routes::explain(State(console.app.clone()), act.caller(), Body(RouteQuestion { request, effort })).await?.0)
    }
    .await;
    let (status, shown) = match told {
        Ok(told) => (StatusCode::OK, card("told", act.text("model"), html! {}, explained(&told))),
        Err(failed) => {
            (StatusCode::from_u16(failed.0.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY), Note::of(&failed.0).shown())
        }
    };
    let page = html! {
        div.head { div { nav.crumb aria-label="Way back" { a href="/gateway" { "Gateway" } " / what would happen" } h1 { "What would become of it" } p.soft { "Nothing was sent." } } }
        (shown)
        p { a.button href="/gateway" { "Back" } }
    };
    let mut page = whole(&act.visitor, Place::Gateway, "What would happen", page);
    *page.status_mut() = status;
    page
}

fn explained(told: &Explained) -> Markup {
    html! {
        dl.pairs {
            @if let (Some(effort), Some(tier)) = (told.effort, &told.tier) { dt { "Effort" } dd { (effort) " of 10, " (tier) } }
            dt { "Model" } dd { code { (told.model) } }
            dt { "Why" } dd { (told.why) }
            dt { "Asked" } dd { ol { @for step in &told.chain { li { code { (step.name) } " " span.soft { (step.state) } } } } }
        }
        @if !told.parts.is_empty() {
            div.scroll { table { caption { "What was found in the prompt" } thead { tr { th { "Part" } th.num { "Found" } th.num { "Weight" } th.num { "Points" } } }
                tbody { @for part in told.parts.iter().filter(|p| p.points != 0.0) { tr { td { (part.name) } td.num { (figure(part.found)) } td.num { (figure(part.weight)) } td.num { (figure(part.points)) } } } } } }
        }
    }
}

fn figure(value: f64) -> String {
    format!("{value:.2}")
}
