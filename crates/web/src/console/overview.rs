//! The first page: what runs, whether it answers, what it costs, what is wrong and what to do.

use super::attention;
use super::chart::meter;
use super::console::Console;
use super::figures::{count, many, moment, per_hour, usd, when};
use super::layout::{Place, card, empty, encoded, of_deployment, page as whole, sign};
use super::visitor::Visitor;
use crate::problem::Answer;
use crate::problem::Query;
use crate::router::App;
use crate::status;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_api::status::Deployment;
use charter_domain::budget::Scope;
use charter_domain::time::Time;
use charter_store::Role;
use maud::{Markup, html};

/// Deployments that figures are added up of.
const RUNNING_MAX: usize = 2000;
/// Deployments on one page.
const EACH: usize = 50;

#[derive(Default, serde::Deserialize)]
pub(crate) struct Wish {
    /// Part of a name, model or owner.
    #[serde(default)]
    q: String,
    /// Those that are stopped too.
    #[serde(default)]
    all: bool,
    /// How many are before the first one.
    #[serde(default)]
    from: usize,
}

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Query(wish): Query<Wish>) -> Response {
    match shown(&console.app, &visitor, &wish).await {
        Ok(body) => whole(&visitor, Place::Overview, "Overview", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor, wish: &Wish) -> Answer<Markup> {
    let now = app.controller.now();
    let asked = wish.q.to_lowercase();
    let seen = status::Seen::read(app, &visitor.caller).await?;
    let fits = |d: &charter_domain::deployment::Deployment| {
        let texts = [&d.name, &d.profile.model, &d.profile.served_name, &d.owner];
        (wish.all || attention::is_wished(d.wish) || !asked.is_empty())
            && (asked.is_empty() || texts.iter().any(|t| t.to_lowercase().contains(&asked)))
    };
    let rows = seen.window(app, (wish.from, EACH), fits).await?;
    // Figures and warnings are of all that is to run, whatever page or search is shown.
    let running = seen.window(app, (0, RUNNING_MAX), |d| attention::is_wished(d.wish)).await?;
    let lines = attention::lines(app, visitor, &running.shown).await?;
    Ok(html! {
        div.head {
            div { h1 { "Overview" } }
            div.actions { @if visitor.caller.is(Role::Operator) { a.button.main href="/deploy" { "Deploy a model" } } a.button href="/playground" { "Ask a model" } }
        }
        div #figures data-live { (tiles(app, visitor, &running).await?) }
        div #money data-live { @if visitor.caller.is(Role::Operator) { (money(app, visitor, seen.price_usd_micros_per_hour).await?) } }
        @if !lines.is_empty() {
            div #attention data-live { (card("needs", "Needs attention", html! { (many(lines.len(), "thing", "things")) }, attention::list(&lines))) }
        } @else {
            div #attention data-live {}
        }
        (card("fleet", "Deployments", html! {
            form.row role="search" method="get" action="/" {
                label.sr for="q" { "Find a deployment" }
                input #q type="search" name="q" value=(wish.q) placeholder="name, model or owner" data-search;
                label.tick { input type="checkbox" name="all" value="true" checked[wish.all]; "stopped too" }
                button.small { "Find" }
            }
        }, html! {
            div #deployments data-live {
                @if rows.shown.is_empty() { (nothing(&wish.q, rows.total)) } @else { (table(&rows, now)) }
            }
            (pager(wish, rows.total))
        }))
    })
}

fn nothing(asked: &str, total: usize) -> Markup {
    if !asked.is_empty() || total > 0 {
        return empty("Nothing is called so", html! { p { "Look for a part of a name, of a model, or of an owner." } });
    }
    empty(
        "Nothing runs yet",
        html! {
            p { "Name a model and a price, and charter rents a machine, starts the engine there, proves that it answers, and gives you an address." }
            p { a.button.main href="/deploy" { "Deploy a model" } }
            p.small { "or in a terminal: " code { "charter deploy Qwen/Qwen2.5-7B-Instruct --max-price 0.25" } }
        },
    )
}

async fn tiles(app: &App, visitor: &Visitor, rows: &status::Window) -> Answer<Markup> {
    let running = rows.shown.iter().filter(|d| d.status == "running").count();
    let price = rows.price_usd_micros_per_hour;
    let speed: u64 = rows.shown.iter().filter(|d| d.status == "running").map(|d| d.usage.tokens_per_second).sum();
    let requests: u64 = rows.shown.iter().map(|d| d.usage.requests).sum();
    let month = crate::money::spent(app, &visitor.caller, Scope::Month.since(app.controller.now())).await?.0;
    Ok(html! {
        dl.tiles {
            div.tile { dt { "Answering" } dd { (running) " of " (rows.shown.len()) small { (many(rows.total, "deployment", "deployments")) @if rows.total > rows.shown.len() { "; figures and warnings are of the first " (rows.shown.len()) } } } }
            div.tile { dt { "Machines cost now" } dd { (per_hour(price)) small { (usd(price * 24)) " a day" } } }
            div.tile { dt { "Spent this month" } dd { (usd(month)) small { "all machines, UTC month" } } }
            div.tile { dt { "Requests" } dd { (count(requests)) small { "since each was made" } } }
            div.tile { dt { "Speed" } dd { (count(speed)) " tok/s" small { "written, per request, added up" } } }
        }
    })
}

/// The budgets that count everything, as bars.
async fn money(app: &App, visitor: &Visitor, price: i64) -> Answer<Markup> {
    let accounts = crate::money::accounts(app, &visitor.caller).await?;
    let now = app.controller.now();
    let rest = charter_domain::money::UsdPerHour(price).cost(crate::money::month_end(now).since(now));
    let bars: Vec<_> = accounts.iter().filter(|a| a.of.is_none()).collect();
    Ok(card(
        "budget",
        "Money",
        html! { a href="/spend" { "Spend" } },
        html! {
            @for account in bars {
                @let (spent, committed, hard) = (account.spent.0, account.committed.0, account.budget.hard.0);
                @let forecast = (account.budget.scope == Scope::Month).then(|| account.spent.plus(rest).0);
                @let scope = account.budget.scope.as_str();
                div.meter {
                    div.legend {
                        strong { (scope) }
                        span { (usd(spent)) " spent" }
                        span.second { (usd((committed - spent).max(0))) " set aside" }
                        @if let Some(forecast) = forecast { span.third { (usd(forecast)) " at the month’s end, if all runs on" } }
                        b.soft { "limit " (usd(hard)) }
                    }
                    (meter(&format!("{scope}: {} spent, {} spent or set aside, of {}", usd(spent), usd(committed), usd(hard)), spent, committed, forecast, hard))
                }
            }
        },
    ))
}

fn ends(d: &Deployment, now: Time) -> Markup {
    let lease = d.expires_at.as_deref().and_then(moment);
    let idle = d.idle_destroy_at.as_deref().and_then(moment);
    match (lease, idle) {
        (None, None) => html! { "never" },
        (lease, idle) => {
            let first = [lease, idle].into_iter().flatten().min().unwrap_or(now);
            let why = if lease == Some(first) { "its lease is over" } else { "if nobody asks" };
            html! { (when(first, now)) span.under { (why) } }
        }
    }
}

fn machine(d: &Deployment) -> Markup {
    let held: Vec<_> = d.replicas.iter().filter(|r| r.gpu.is_some()).collect();
    let Some(first) = held.first() else { return html! { span.faint { "none" } } };
    let place = [first.provider.as_deref(), first.instance.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" · ");
    html! {
        (first.gpu.as_deref().unwrap_or_default())
        @if held.len() > 1 { " × " (held.len()) }
        span.under { (place) }
    }
}

/// What its engines say of themselves, the worst of it.
fn health(d: &Deployment) -> Option<u16> {
    d.replicas.iter().filter(|r| r.phase == "ready").filter_map(|r| r.health).max()
}

/// Where it stands: the word, and how far a start has come.
fn state(d: &Deployment) -> Markup {
    let progress = d.replicas.iter().find_map(|r| r.progress.as_ref());
    let phases: Vec<&str> = d.replicas.iter().map(|r| r.phase.as_str()).filter(|p| *p != "ready").collect();
    html! {
        (sign(&d.status))
        @if let Some(upgrade) = &d.upgrade { " " (sign("upgrading")) span.under { "generation " (upgrade.from) " → " (upgrade.to) ", " (upgrade.strategy) } }
        @if let Some(p) = progress { span.under { (p.text) @if let Some(percent) = p.percent { " " (percent) " %" } } }
        @else if !phases.is_empty() { span.under { (phases.join(", ")) } }
        @if !d.drift.is_empty() { " " span.tag { "drift" } }
        @if let Some(health) = health(d) { span.under title="what the engine says of itself" { "health " (health) } }
    }
}

fn table(rows: &status::Window, now: Time) -> Markup {
    html! {
        div.scroll {
            table.cards {
                thead { tr { th { "Name" } th { "State" } th { "Engine" } th { "Machine" } th.num { "Price" } th { "Ends" } th.num { "Requests" } th.num { "Speed" } th.num { "Spent" } } }
                tbody {
                    @for (d, model) in rows.shown.iter().zip(&rows.models) {
                        tr {
                            td.lead { a.name href=(of_deployment(&d.name)) { (d.name) } span.under { (model) @if d.served_names.first() != Some(model) { " as " (d.served_names.join(", ")) } } }
                            td data-label="State" { div { (state(d)) } }
                            td data-label="Engine" { div { (d.engine.kind) " " (d.engine.version) @if d.wanted > 1 { span.under { (many(d.replicas.len(), "copy", "copies")) " of " (d.wanted) } } } }
                            td data-label="Machine" { div { (machine(d)) } }
                            td.num data-label="Price" { (per_hour(d.replicas.iter().map(|r| r.price_usd_micros_per_hour).sum())) }
                            td data-label="Ends" { div { (ends(d, now)) } }
                            td.num data-label="Requests" { (count(d.usage.requests)) }
                            td.num data-label="Speed" { (count(d.usage.tokens_per_second)) " tok/s" }
                            td.num data-label="Spent" { (usd(d.spent_usd_micros)) }
                        }
                    }
                }
            }
        }
    }
}

fn pager(wish: &Wish, total: usize) -> Markup {
    let link = |from: usize| format!("/?q={}&all={}&from={from}", encoded(&wish.q), wish.all);
    html! {
        @if total > EACH {
            nav.pager aria-label="Pages of deployments" {
                @if wish.from > 0 { a href=(link(wish.from.saturating_sub(EACH))) { "← earlier" } } @else { span {} }
                span { (wish.from + 1) " to " ((wish.from + EACH).min(total)) " of " (super::figures::thousands(u64::try_from(total).unwrap_or(0))) }
                @if wish.from + EACH < total { a href=(link(wish.from + EACH)) { "later →" } } @else { span {} }
            }
        }
    }
}
