//! Single requests, the newest first: who asked what, who answered, how long it took, and what it cost.

use super::console::Console;
use super::figures::{count, span, usd, when_said};
use super::layout::{Place, card, empty, page as whole};
use super::visitor::Visitor;
use crate::problem::{Answer, Query, failed};
use crate::router::App;
use crate::usage;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_api::usage::{RequestRow, UsageWish};
use charter_domain::time::Time;
use charter_store::Role;
use maud::{Markup, html};

/// Rows of a page, and the most that may be asked for.
const ROWS: usize = 100;
const ROWS_MAX: usize = 1000;

/// How far back people look.
const SPANS: [(i64, &str); 4] =
    [(1, "the last hour"), (24, "the last day"), (24 * 7, "the last week"), (24 * 30, "the last month")];

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Wish {
    key: String,
    model: String,
    deployment: String,
    hours: Option<i64>,
    limit: Option<usize>,
}

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Query(wish): Query<Wish>) -> Response {
    match shown(&console.app, &visitor, &wish).await {
        Ok(body) => whole(&visitor, Place::Spend, "Requests", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor, wish: &Wish) -> Answer<Markup> {
    if !visitor.caller.is(Role::Operator) {
        return Err(failed(403, "A0003", "single requests are shown to operators", "ask for a key with that role"));
    }
    let some = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    let (hours, limit) = (wish.hours.unwrap_or(24), wish.limit.unwrap_or(ROWS).clamp(1, ROWS_MAX));
    let asked = UsageWish {
        limit: Some(limit),
        key: some(&wish.key),
        model: some(&wish.model),
        deployment: some(&wish.deployment),
        tenant: None,
        hours: Some(hours),
    };
    let rows = usage::requests(State(app.clone()), visitor.caller.clone(), Query(asked)).await?.0.items;
    let now = app.controller.now();
    Ok(html! {
        div.head { div { nav.crumb aria-label="Way back" { a href="/spend" { "Spend" } " / requests" } h1 { "Requests" } p.soft { "One by one, the newest first. What was asked and answered is not kept." } } }
        (card("requests", "The last ones", html! { (rows.len()) @if rows.len() == limit { " and more" } }, html! {
            form.row role="search" method="get" {
                label.sr for="key" { "Key" } input #key name="key" value=(wish.key) placeholder="key";
                label.sr for="model" { "Model" } input #model name="model" value=(wish.model) placeholder="model";
                label.sr for="deployment" { "Deployment" } input #deployment name="deployment" value=(wish.deployment) placeholder="deployment";
                label.sr for="hours" { "Of the last" } select #hours name="hours" { @for (n, said) in SPANS { option value=(n) selected[n == hours] { (said) } } @if !SPANS.iter().any(|(n, _)| *n == hours) { option value=(hours) selected { (hours) " hours" } } }
                label.sr for="limit" { "Rows" } select #limit name="limit" { @for n in [50, ROWS, 500, ROWS_MAX] { option value=(n) selected[n == limit] { (n) " rows" } } }
                button.small { "Show" }
            }
            div #rows data-live { (table(&rows, now)) }
        }))
    })
}

fn took(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { span(i64::try_from(ms).unwrap_or(i64::MAX)) }
}

fn table(rows: &[RequestRow], now: Time) -> Markup {
    if rows.is_empty() {
        return empty(
            "No request fits",
            html! { p { "Ask for more hours, or for fewer things at once." } p { a.button href="/playground" { "Ask a model" } } },
        );
    }
    html! {
        div.scroll { table.cards {
            thead { tr { th { "When" } th { "Key" } th { "Model" } th { "Answered by" } th.num { "Tokens in" } th.num { "Tokens out" } th.num { "First token" } th.num { "Whole" } th.num { "Waited" } th { "End" } th.num { "Cost" } } }
            tbody { @for r in rows { tr title=(r.request) {
                td.lead { (when_said(&r.at, now)) }
                td data-label="Key" { div { (r.key) span.under { (r.tenant) } } }
                td data-label="Model" { div { (r.model) @if let Some(first) = &r.instead_of { span.under { "instead of " (first) } } } }
                td data-label="Answered by" { div { (r.deployment) @if r.saved_usd_micros > 0 { span.under { "kept answer" } } } }
                td.num data-label="Tokens in" { div { (count(r.prompt_tokens)) @if r.cached_tokens > 0 { span.under { (r.cached_tokens) " cached" } } } }
                td.num data-label="Tokens out" { div { (count(r.completion_tokens)) @if r.estimated { span.under { "counted here" } } } }
                td.num data-label="First token" { (took(r.first_token_ms)) }
                td.num data-label="Whole" { (took(r.duration_ms)) }
                td.num data-label="Waited" { @if r.queue_ms + r.cold_start_ms > 0 { (took(r.queue_ms + r.cold_start_ms)) } @else { "–" } }
                td data-label="End" { (r.end) @if r.status >= 400 { " " (r.status) } }
                td.num data-label="Cost" { (usd(r.cost_usd_micros)) }
            } } }
        } }
    }
}
