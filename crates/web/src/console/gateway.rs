//! The gateway: names and who answers them, how busy they are, how long people waited, who stood in, and backends by hand.

use super::act::back;
use super::console::Console;
use super::deployment::percentile;
use super::figures::{count, many};
use super::layout::{Place, asks, card, empty, encoded, form, form_of, page as whole, sign};
use super::visitor::{Act, Visitor};
use crate::problem::{Answer, Body, Path};
use crate::router::App;
use crate::{backends, routes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_api::backend::BackendWish;
use charter_api::route::Switch;
use charter_domain::routing::{Backend, Route, RouteTable};
use charter_domain::time::Span;
use charter_domain::usage::{End, Used};
use charter_store::Role;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Requests that the latencies are counted from, and how far back.
const REQUESTS: usize = 20_000;
const BACK: Span = Span::min(24 * 60);

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor) -> Response {
    match shown(&console.app, &visitor).await {
        Ok(body) => whole(&visitor, Place::Gateway, "Gateway", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor) -> Answer<Markup> {
    let table = visible(app, visitor).await?;
    let now = app.controller.now();
    let caller = visitor.caller.clone();
    let used = app.controller.store().used(now - BACK, REQUESTS, &move |u: &Used| caller.sees(&u.tenant)).await?;
    let may = visitor.caller.is(Role::Operator) && visitor.caller.is_house();
    let closed = app.controller.rented_closed();
    let mut registered = app.controller.store().backends().await?;
    registered.retain(|_| visitor.caller.is_house());
    Ok(html! {
        div.head {
            div { h1 { "Gateway" } p.soft { @match &app.gateway_url { Some(url) => { "One address for everything: " code { (url) } }, None => "It runs in a process of its own." } } }
            @if may { div.actions #acts data-live { (rented_switch(visitor, closed.as_deref())) } }
        }
        div #closed data-live { @if let Some(why) = &closed { div.said.warn { p { strong { "Rented machines get no requests" } } p { small { (why) } } } } }
        div #routes data-live { (card("names", "Names", html! { "the last 24 hours" }, names(app, &table, &used))) }
        div #backends data-live { (card("places", "Backends", html! { (many(table.backends.len(), "place", "places")) }, places(app, &table))) }
        @if visitor.caller.is_house() { (card("said", "Routes", html! { "what was said of names" }, html! { div.stack #said-now data-live { (super::routing::list(visitor, &table, may)) } })) }
        (card("hand", "Registered by hand", html! {}, html! {
            div.stack #hand-now data-live { @if registered.is_empty() {
                (empty("None", html! { p { "Any OpenAI-compatible server can stand behind the gateway beside charter’s own: it gets the same keys, limits and accounting." } }))
            } @else {
                ul.notes { @for row in &registered {
                    @let (healthy, why) = app.controller.health(&row.name);
                    li { (sign(if healthy { "healthy" } else { "unhealthy" }))
                        p { strong { (row.name) } " " code { (row.base_url) } small { "serves " (row.served_names.join(", ")) @if let Some(why) = why { " · " (why) } } }
                        div { @if may { (asks(&format!("remove-{}", row.id), "small bad", "Remove…", &format!("Remove {}?", row.name), form(visitor, &format!("/gateway/backends/{}/remove", encoded(&row.name)), html! {
                            p { "Requests that are under way finish; new ones for " (row.served_names.join(", ")) " are refused unless somebody else serves them. The server itself is not touched." }
                            div.actions { button.bad { "Remove it" } } }))) } } }
                } }
            } }
            @if may { (form_of("row", visitor, "/gateway/backends", html! {
                input name="name" placeholder="name" aria-label="Name" required; input name="url" placeholder="http://10.0.0.7:8000" aria-label="Address" required; input name="model" placeholder="model (all it lists)" aria-label="Model"; input name="max-concurrent" type="number" min="1" placeholder="at once (16)" aria-label="Requests at the same time"; button { "Register" }
            })) }
        }))
    })
}

/// The routing table as far as the visitor may see it: for the house all, for a tenant what its own deployments serve.
async fn visible(app: &App, visitor: &Visitor) -> Answer<RouteTable> {
    let mut table = RouteTable::clone(&app.controller.routes().borrow());
    if !visitor.caller.is_house() {
        let rows = app.controller.store().deployments().await?.into_iter().map(|row| row.state);
        let own: BTreeSet<String> = rows.filter(|d| visitor.caller.sees(&d.tenant)).map(|d| d.name).collect();
        table.backends.retain(|b| own.contains(&b.group));
        table.routes.clear();
    }
    Ok(table)
}

fn rented_switch(visitor: &Visitor, closed: Option<&str>) -> Markup {
    if closed.is_some() {
        return form(
            visitor,
            "/gateway/rented",
            html! { input type="hidden" name="on" value="yes"; button { "Send requests to rented machines again" } },
        );
    }
    asks(
        "rented",
        "",
        "Rented machines off…",
        "Send nothing to rented machines?",
        form(
            visitor,
            "/gateway/rented",
            html! {
                p { "New requests go to what is yours, and to hosted providers behind it. Machines that are rented stay, and cost on, until they are ended." }
                div.actions { button.bad { "Off" } }
            },
        ),
    )
}

fn serves<'a>(table: &'a RouteTable, name: &'a str) -> impl Iterator<Item = &'a Backend> {
    table.backends.iter().filter(move |b| b.served_names.iter().any(|s| s.name == name))
}

fn state_of(table: &RouteTable, name: &str, route: Option<&Route>) -> &'static str {
    let any = |is: fn(&Backend) -> bool| serves(table, name).any(is);
    match () {
        () if any(|b| b.ready) => "ready",
        () if any(|b| b.starting) => "starting",
        () if any(|b| b.asleep) => "asleep",
        () if any(|b| b.hosted.is_some()) => "hosted",
        () if route.is_some_and(|r| !r.tiers.is_empty() || !r.fallback.is_empty()) => "chooses",
        () => "nobody",
    }
}

fn names(app: &App, table: &RouteTable, used: &[Used]) -> Markup {
    let mut all: BTreeSet<&str> = table
        .backends
        .iter()
        .filter(|b| b.hosted.is_none())
        .flat_map(|b| b.served_names.iter().map(|s| s.name.as_str()))
        .collect();
    all.extend(table.routes.iter().map(|r| r.name.as_str()));
    if all.is_empty() {
        return empty(
            "No name is served",
            html! { p { "A deployment that answers, or a registered backend, appears here under its served name." } p { a.button href="/deploy" { "Deploy a model" } } },
        );
    }
    html! {
        div.scroll { table.cards {
            thead { tr { th { "Name" } th { "State" } th { "How" } th.num { "Requests" } th.num title="half of them, and 95 of 100" { "First token" } th.num title="half of them, and 95 of 100" { "Whole answer" } th.num { "Waiting" } th.num { "Waited" } th.num title="answered by another name, because this one could not" { "Fell back" } th.num { "Failed" } } }
            tbody { @for name in all {
                @let route = table.routes.iter().find(|r| r.name == name);
                @let mine: Vec<&Used> = used.iter().filter(|u| *u.model == *name).collect();
                @let done: Vec<&Used> = mine.iter().copied().filter(|u| matches!(u.end, End::Done)).collect();
                tr {
                    td.lead { strong { (name) } }
                    td data-label="State" { (sign(state_of(table, name, route))) }
                    td data-label="How" { div { (how(table, name, route)) } }
                    td.num data-label="Requests" { (count(u64::try_from(mine.len()).unwrap_or(0))) }
                    td.num data-label="First token" { div { (percentile(&done, 50, |u| u.first_ms)) span.under { "95 %: " (percentile(&done, 95, |u| u.first_ms)) } } }
                    td.num data-label="Whole answer" { div { (percentile(&done, 50, |u| u.duration_ms)) span.under { "95 %: " (percentile(&done, 95, |u| u.duration_ms)) } } }
                    td.num data-label="Waiting" { (waiting(app, table, name)) }
                    td.num data-label="Waited" { (mine.iter().filter(|u| u.queue_ms + u.cold_ms > 0).count()) }
                    @let stood_in = mine.iter().filter(|u| !u.instead_of.is_empty()).count();
                    td.num data-label="Fell back" { div { (used.iter().filter(|u| *u.instead_of == *name).count()) @if stood_in > 0 { span.under { "stood in " (stood_in) } } } }
                    td.num data-label="Failed" { (mine.iter().filter(|u| matches!(u.end, End::Failed | End::Cut)).count()) }
                }
            } }
        } }
        p.small.soft { "An answer that another name gave in its place stands in the row of the name that answered." }
    }
}

/// Requests that wait in gateways at this moment.
fn waiting(app: &App, table: &RouteTable, name: &str) -> u64 {
    let groups: BTreeSet<&str> = serves(table, name).map(|b| b.group.as_str()).collect();
    groups.into_iter().map(|group| app.controller.waiting(group)).sum()
}

fn how(table: &RouteTable, name: &str, route: Option<&Route>) -> Markup {
    let groups: BTreeSet<&str> = serves(table, name).map(|b| b.group.as_str()).collect();
    html! {
        (groups.into_iter().collect::<Vec<_>>().join(", "))
        @if let Some(route) = route {
            @for (tier, model) in &route.tiers { span.under { (tier) " → " (model) } }
            @if !route.fallback.is_empty() { span.under { "then " (route.fallback.join(" → ")) } }
            @if route.cache.is_some() { " " span.tag { "keeps answers" } }
        }
    }
}

fn places(app: &App, table: &RouteTable) -> Markup {
    html! {
        @if table.backends.is_empty() { (empty("None", html! { p { "Copies of deployments, registered backends and hosted providers stand here." } })) }
        @else { div.scroll { table.cards {
            thead { tr { th { "Of" } th { "State" } th { "Serves" } th.num { "Answering" } th.num { "At most" } th.num { "Queue in the engine" } } }
            tbody { @for b in &table.backends {
                tr {
                    td.lead { strong { (b.group) } span.under { (b.id) } }
                    td data-label="State" { @if b.hosted.is_some() { (sign("hosted")) } @else if b.ready { (sign("ready")) } @else if b.starting { (sign("starting")) } @else if b.asleep { (sign("asleep")) } @else { (sign("unreachable")) } }
                    td data-label="Serves" { (b.served_names.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")) }
                    td.num data-label="Answering" { (app.controller.answering(&b.id)) }
                    td.num data-label="At most" { (b.max_concurrent) }
                    td.num data-label="Queue" { (b.queue) }
                }
            } }
        } } }
    }
}

pub(crate) async fn register(State(console): State<Console>, act: Act) -> Response {
    let said = async {
        let wanted = BackendWish {
            name: act.text("name").to_owned(),
            base_url: act.text("url").to_owned(),
            model: act.said("model").map(str::to_owned),
            max_concurrent: act.number("max-concurrent")?,
        };
        let made = backends::register(State(console.app.clone()), act.caller(), Body(wanted)).await?.1.0;
        Ok(format!("`{}` answers, and is registered: it serves {}.", made.name, made.served_names.join(", ")))
    }
    .await;
    back("/gateway", said)
}

pub(crate) async fn remove(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let gone = backends::remove(State(console.app.clone()), act.caller(), Path(name.clone())).await;
    back("/gateway", gone.map(|_| format!("`{name}` is registered no more.")))
}

pub(crate) async fn rented(State(console): State<Console>, act: Act) -> Response {
    let said = async {
        let on = act.is_on("on");
        let _now = routes::switch_rented(State(console.app.clone()), act.caller(), Body(Switch { on })).await?;
        Ok(if on { "Rented machines get requests again." } else { "Rented machines get no new requests." }.to_owned())
    }
    .await;
    back("/gateway", said)
}
