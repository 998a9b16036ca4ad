//! Money: what machines and requests have cost, by day, model, tenant, deployment, provider and key; for a request and for a million tokens.

use super::chart::{Column, columns, meter};
use super::console::Console;
use super::figures::{count, usd};
use super::layout::{Place, card, empty, encoded, page as whole, sign};
use super::visitor::Visitor;
use crate::problem::Query;
use crate::problem::{Answer, failed};
use crate::router::App;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_domain::time::Time;
use charter_store::Role;
use charter_store::usage::{Of, Total};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Days of the chart, and at the most.
const DAYS: i64 = 30;
const DAYS_MAX: i64 = 366;
const DAY_MS: i64 = 86_400_000;

#[derive(serde::Deserialize)]
pub(crate) struct Wish {
    /// What a row stands for.
    #[serde(default = "model")]
    by: String,
    /// So many days.
    #[serde(default = "days")]
    days: i64,
}

fn model() -> String {
    "model".to_owned()
}

const fn days() -> i64 {
    DAYS
}

/// What rows may stand for.
const BY: [(&str, &str); 5] =
    [("model", "Model"), ("deployment", "Deployment"), ("tenant", "Tenant"), ("key", "Key"), ("day", "Day")];

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Query(wish): Query<Wish>) -> Response {
    match shown(&console.app, &visitor, &wish).await {
        Ok(body) => whole(&visitor, Place::Spend, "Spend", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor, wish: &Wish) -> Answer<Markup> {
    if !visitor.caller.is(Role::Operator) {
        return Err(failed(403, "A0003", "money is shown to operators", "ask for a key with that role"));
    }
    let days = wish.days.clamp(1, DAYS_MAX);
    let (today, rows) = rows(app, visitor, days).await?;
    let names = crate::usage::key_names(app).await?;
    let machines = machines(app, visitor, today, days).await?;
    Ok(html! {
        div.head { div { h1 { "Spend" } p.soft { "The last " (days) " days, in UTC." } }
            nav.row aria-label="How long" { @for n in [7, 30, 90, 365] { a.button.small href={ "/spend?by=" (encoded(&wish.by)) "&days=" (n) } aria-current=[(n == days).then_some("true")] { (n) " days" } } } }
        (card("limits", "Limits", html! {}, limits(app, visitor).await?))
        (card("days", "Machines, day by day", html! { "the last " (charted(visitor, days)) " days: " (usd(machines.iter().map(|(_, v)| v).sum())) " together" }, columns(
            "What machines cost each day",
            &machines.iter().map(|(day, micros)| column(*day, *micros)).collect::<Vec<_>>(),
            &[],
            dollars,
        )))
        (card("places", "Machines, by provider and deployment", html! { "the same days" }, places(app, visitor, today, days).await?))
        (card("rows", "Requests", html! { nav.row aria-label="By" { a href="/requests" { "one by one" } " · by " @for (name, label) in BY { a href={ "/spend?by=" (name) "&days=" (days) } aria-current=[(name == wish.by).then_some("true")] { (label) } } } }, table(&wish.by, &rows, &names)))
    })
}

/// Dollars on an axis.
fn dollars(figure: f64) -> String {
    match figure {
        v if v >= 10.0 || v == 0.0 => format!("${v:.0}"),
        v if v >= 0.1 => format!("${v:.2}"),
        v => format!("${v:.4}"),
    }
}

fn column(day: i64, micros: i64) -> Column {
    let date = jiff::Timestamp::from_millisecond(day * DAY_MS).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a chart shows a few digits")]
    let dollars = micros as f64 / 1e6;
    Column {
        name: date.strftime("%d %b").to_string(),
        parts: [dollars, 0.0],
        said: format!("{}: {}", date.strftime("%Y-%m-%d"), usd(micros)),
    }
}

/// Sums for each day and each of whom.
async fn rows(app: &App, visitor: &Visitor, days: i64) -> Answer<(i64, Vec<(i64, Of, Total)>)> {
    let now = app.controller.now();
    let today = charter_store::usage::day_of(now);
    let since = Time((today - days + 1) * DAY_MS);
    let all = app.controller.store().daily(since).await?;
    let mine = all.into_iter().filter(|(_, of, _)| visitor.caller.sees(&of.tenant));
    Ok((today, mine.collect()))
}

/// Days that are charted: for a tenant each one is added up deployment by deployment.
fn charted(visitor: &Visitor, days: i64) -> i64 {
    days.min(if visitor.caller.is_house() { 90 } else { 30 })
}

/// What machines have cost on each day.
async fn machines(app: &App, visitor: &Visitor, today: i64, days: i64) -> Answer<Vec<(i64, i64)>> {
    let days = charted(visitor, days);
    let (mut out, mut later) = (vec![], 0);
    for day in (today - days + 1..=today).rev() {
        let since = Time(day * DAY_MS);
        let until_now = crate::money::spent(app, &visitor.caller, since).await?.0;
        out.push((day, (until_now - later).max(0)));
        later = until_now;
    }
    out.reverse();
    Ok(out)
}

/// What machines have cost, by provider, and at each of them by deployment.
async fn places(app: &App, visitor: &Visitor, today: i64, days: i64) -> Answer<Markup> {
    let since = Time((today - days + 1) * DAY_MS);
    let rows = app.controller.store().deployments().await?.into_iter().map(|row| row.state);
    let names: BTreeMap<String, String> = rows.filter(|d| visitor.caller.sees(&d.tenant)).map(|d| (d.id.0, d.name)).collect();
    let mut all: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    for ((provider, of), amount) in app.controller.spent_at(since).await? {
        let Some(name) = names.get(of.as_str()) else { continue };
        *all.entry(provider).or_default().entry(name.clone()).or_default() += amount.0;
    }
    all.values_mut().for_each(|of| of.retain(|_, micros| *micros > 0));
    all.retain(|_, of| !of.is_empty());
    if all.is_empty() {
        return Ok(html! { p.soft { "No machine has cost anything in these days." } });
    }
    Ok(html! {
        div.scroll { table.cards {
            thead { tr { th { "Provider" } th { "Deployment" } th.num { "Cost" } } }
            tbody { @for (provider, of) in &all {
                @let shown = if provider.is_empty() { "(before providers were written down)" } else { provider };
                @if of.len() > 1 { tr { td.lead { strong { (shown) } } td data-label="Deployment" { "all" } td.num data-label="Cost" { strong { (usd(of.values().sum())) } } } }
                @for (name, micros) in of { tr { td.lead { (shown) } td data-label="Deployment" { (name) } td.num data-label="Cost" { (usd(*micros)) } } }
            } }
        } }
    })
}

async fn limits(app: &App, visitor: &Visitor) -> Answer<Markup> {
    let accounts = crate::money::accounts(app, &visitor.caller).await?;
    Ok(html! {
        @for a in &accounts {
            @let (spent, committed, hard) = (a.spent.0, a.committed.0, a.budget.hard.0);
            div.meter {
                div.legend {
                    strong { (a.budget.scope.as_str()) @if let Some(of) = &a.of { " " (of) } }
                    span { (usd(spent)) " spent" } span.second { (usd((committed - spent).max(0))) " set aside" }
                    b.soft { "target " (usd(a.budget.target.0)) ", alert " (usd(a.budget.alert.0)) ", limit " (usd(hard)) }
                    (sign(crate::money::mark(a)))
                }
                (meter(&format!("{} of {}", usd(committed), usd(hard)), spent, committed, None, hard))
            }
        }
        p.small.soft { "At a limit nothing more is rented, and what runs is ended before its money is. Beyond it at most " (usd(app.controller.overshoot_bound().await?.0)) " can be spent while machines are being ended." }
    })
}

fn name_of(by: &str, day: i64, of: &Of, names: &BTreeMap<String, String>) -> String {
    match by {
        "deployment" => of.group.clone(),
        "tenant" => of.tenant.clone(),
        "key" => names.get(&of.key).unwrap_or(&of.key).clone(),
        "day" => jiff::Timestamp::from_millisecond(day * DAY_MS).unwrap_or_default().strftime("%Y-%m-%d").to_string(),
        _ => of.model.clone(),
    }
}

fn table(by: &str, rows: &[(i64, Of, Total)], names: &BTreeMap<String, String>) -> Markup {
    let mut sums: BTreeMap<String, Total> = BTreeMap::new();
    for (day, of, total) in rows {
        let sum = sums.entry(name_of(by, *day, of, names)).or_default();
        *sum = sum.and(*total);
    }
    let mut sums: Vec<(String, Total)> = sums.into_iter().collect();
    if by == "day" {
        sums.reverse()
    } else {
        sums.sort_by_key(|(_, t)| -t.cost.0)
    }
    let whole = sums.iter().fold(Total::default(), |sum, (_, t)| sum.and(*t));
    if sums.is_empty() {
        return empty(
            "Nobody has asked anything yet",
            html! { p { "Each request is counted here: tokens, what it was charged, and its share of the machine’s rent." } p { a.button href="/playground" { "Ask a model" } } },
        );
    }
    html! {
        div.scroll { table.cards {
            thead { tr { th { (BY.iter().find(|(name, _)| *name == by).map_or("Model", |(_, label)| label)) } th.num { "Requests" } th.num { "Tokens in" } th.num { "cached" } th.num { "Tokens out" } th.num { "Charged" } th.num { "Rent" } th.num { "For a request" } th.num { "For 1 M tokens" } } }
            tbody {
                @for (name, t) in &sums { (row(if name.is_empty() { "(kept answers)" } else { name }, t)) }
                @if sums.len() > 1 { (row("all", &whole)) }
            }
        } }
    }
}

fn row(name: &str, t: &Total) -> Markup {
    let tokens = t.prompt_tokens + t.completion_tokens;
    let each = i64::try_from(i128::from(t.cost.0) / i128::from(t.requests.max(1))).unwrap_or(0);
    let million = i64::try_from(i128::from(t.cost.0) * 1_000_000 / i128::from(tokens.max(1))).unwrap_or(0);
    html! {
        tr {
            td.lead { strong { (name) } }
            td.num data-label="Requests" { (count(t.requests)) } td.num data-label="Tokens in" { (count(t.prompt_tokens)) }
            td.num data-label="cached" { (count(t.cached_tokens)) } td.num data-label="Tokens out" { (count(t.completion_tokens)) }
            td.num data-label="Charged" { (usd(t.cost.0)) } td.num data-label="Rent" { (usd(t.rent.0)) }
            td.num data-label="For a request" { (usd(each)) } td.num data-label="For 1 M tokens" { @if tokens > 0 { (usd(million)) } @else { "–" } }
        }
    }
}
