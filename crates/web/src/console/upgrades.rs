//! Upgrades of the whole fleet: what would change as one table, one button, and what became of each.

use super::act::back;
use super::console::Console;
use super::deployment::json as value;
use super::figures::{marked, per_hour, span, usd, when_said};
use super::layout::{Place, asks, card, empty, encoded, form, of_deployment, page as whole, sign};
use super::visitor::{Act, Visitor};
use crate::problem::{Answer, Body, Query};
use crate::router::App;
use crate::upgrades;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_api::status::{Plan, PlanEntry};
use charter_api::upgrade::{Several, Upgrade};
use charter_domain::fleet::Target;
use charter_domain::time::Time;
use charter_store::Role;
use maud::{Markup, html};
use std::collections::BTreeMap;

#[derive(Default, serde::Deserialize)]
pub(crate) struct Wish {
    /// Only this one.
    name: Option<String>,
    /// Only those of this profile.
    profile: Option<String>,
}

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Query(wish): Query<Wish>) -> Response {
    match shown(&console.app, &visitor, &wish).await {
        Ok(body) => whole(&visitor, Place::Upgrades, "Upgrades", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor, wish: &Wish) -> Answer<Markup> {
    let names: Vec<String> = wish.name.iter().cloned().collect();
    let asked = Several { all: names.is_empty(), names, profile: wish.profile.clone(), ..Several::default() };
    let states = upgrades::meant(app, &visitor.caller, &asked).await?;
    let plan = crate::plan::what_if(app, &visitor.caller, &states, &Target::File, None).await;
    let fleets = upgrades::fleets_of(app, &visitor.caller).await?;
    let now = app.controller.now();
    let verdicts = verdicts(app, visitor).await?;
    let of = wish.name.as_ref().map_or_else(|| "everything that runs".to_owned(), |name| format!("`{name}`"));
    Ok(html! {
        div.head {
            div { h1 { "Upgrades" } p.soft { "What would change if " (of) " became what its file says now. Nothing is touched by looking." } }
            @if visitor.caller.is(Role::Operator) && plan.as_ref().is_ok_and(|p| p.pending) { div.actions #acts data-live { (start(visitor, wish)) } } @else { div.actions #acts data-live {} }
        }
        div #what-if-now data-live {
            @match &plan {
                Ok(plan) => (card("what-if", "What if", html! {}, table(plan))),
                Err(failed) => (super::note::Note::of(&failed.0).shown()),
            }
        }
        div #fleets data-live {
            (card("fleets-now", "Upgrades that were begun", html! { "newest first" }, html! {
                @if fleets.is_empty() { (empty("None yet", html! { p { "An upgrade goes wave by wave, is examined at each one, and stops at the first failure; what served before serves on." } })) }
                @for fleet in fleets.iter().rev().take(20) { (one(&upgrades::shown(fleet), &fleet.waves, &verdicts, now)) }
            }))
        }
    })
}

fn start(visitor: &Visitor, wish: &Wish) -> Markup {
    let what = wish.name.as_ref().map_or_else(|| "all that has changed".to_owned(), |name| format!("`{name}`"));
    asks(
        "go",
        "main",
        "Upgrade…",
        &format!("Upgrade {what}?"),
        form(
            visitor,
            "/upgrades",
            html! {
                @if let Some(name) = &wish.name { input type="hidden" name="name" value=(name); }
                @if let Some(profile) = &wish.profile { input type="hidden" name="profile" value=(profile); }
                p { "Each new generation is brought up and examined before it serves. One that fails goes back by itself." }
                div.fields {
                    label.field { "Waves" input name="waves" placeholder="1,50%"; small { "one first, then half, then the rest" } }
                    label.field { "Strategy" select name="strategy" { @for s in ["auto", "side-by-side", "rolling", "in-place", "recreate"] { option { (s) } } } }
                }
                label.tick { input type="checkbox" name="keep-going"; "go on after a failure" }
                div.actions { button.main { "Upgrade" } }
            },
        ),
    )
}

fn table(plan: &Plan) -> Markup {
    if plan.deployments.is_empty() {
        return empty(
            "Nothing runs",
            html! { p { "What runs is compared with its file here, field by field." } p { a.button href="/deploy" { "Deploy a model" } } },
        );
    }
    html! {
        div.scroll { table.cards {
            thead { tr { th { "Deployment" } th { "What" } th { "Changes" } th.num { "Price" } th.num { "Extra" } th { "Gap" } } }
            tbody { @for d in &plan.deployments { (row(d)) } }
        } }
    }
}

fn row(d: &PlanEntry) -> Markup {
    html! {
        tr {
            td.lead { a.name href=(of_deployment(&d.name)) { (d.name) } }
            td data-label="What" { div { @if d.action == "none" { "nothing" } @else { strong { (d.action) } " " span.tag { (d.strategy) } } span.under { (marked(&d.why)) }
                @for report in &d.reports { span.under { (marked(&report.text)) " (" (report.code) ")" } } } }
            td data-label="Changes" { div {
                @if d.changes.is_empty() { span.faint { "none" } }
                @for c in &d.changes { div { code { (c.field) } " " (value(&c.started_with)) " → " strong { (value(&c.profile)) } " " span.tag { (c.effect) }
                    @if !c.engine_reports.is_null() { span.under { "the engine reports " (value(&c.engine_reports)) } } } }
            } }
            td.num data-label="Price" { (per_hour(d.price_before_usd_micros_per_hour)) @if d.price_after_usd_micros_per_hour != d.price_before_usd_micros_per_hour { " → " (per_hour(d.price_after_usd_micros_per_hour)) } }
            td.num data-label="Extra" { @if d.extra_usd_micros > 0 { (usd(d.extra_usd_micros)) } @else { "–" } }
            td data-label="Gap" { @match d.gap_ms { Some(0) => "none", Some(ms) => { "requests wait " (span(ms)) }, None => "not known" } }
        }
    }
}

/// Why each generation came to serve, or did not: `dep_....3` and the words.
async fn verdicts(app: &App, visitor: &Visitor) -> Answer<BTreeMap<String, String>> {
    let rows = app.controller.store().deployments().await?.into_iter().map(|row| row.state);
    let mut all = BTreeMap::new();
    for d in rows.filter(|d| visitor.caller.sees(&d.tenant)) {
        let told = d.history.iter().filter_map(|g| Some((format!("{}.{}", d.id, g.number), g.verdict.clone()?)));
        all.extend(told);
    }
    Ok(all)
}

/// The waves in words.
fn waves(all: &[u32]) -> String {
    let words: Vec<String> = all.iter().map(u32::to_string).collect();
    if words.len() < 2 { "in one wave".to_owned() } else { format!("in waves of {}", words.join(", ")) }
}

fn one(fleet: &Upgrade, sizes: &[u32], verdicts: &BTreeMap<String, String>, now: Time) -> Markup {
    html! {
        details open[!fleet.over] {
            summary { "by " (fleet.by) ", " (when_said(&fleet.at, now)) ": " (fleet.upgraded.len()) " of " (fleet.total) " upgraded"
                @if !fleet.failed.is_empty() { ", " (fleet.failed.len()) " failed" } ", " (waves(sizes)) @if !fleet.over { ", under way" } }
            ul.notes {
                @for name in &fleet.running { li { (sign("upgrading")) p { a href=(of_deployment(name)) { (name) } } span {} } }
                @for name in &fleet.waiting { li { (sign("waiting")) p { (name) small { "its wave has not come" } } span {} } }
                @for done in &fleet.upgraded { li { (sign("upgraded")) p { a href=(of_deployment(&done.name)) { (done.name) } small { (done.from) " → " (done.to) " in " (done.seconds) " s" } @if let Some(verdict) = verdicts.get(&done.to) { small { (marked(verdict)) } } } span {} } }
                @for failed in &fleet.failed { li { (sign("failed")) p { a href=(of_deployment(&failed.name)) { (failed.name) } small { (failed.error.message) @if failed.rolled_back { " – what served before serves on" } } } span {} } }
                @for skipped in &fleet.skipped { li { (sign("skipped")) p { (skipped.name) small { (skipped.reason) } } span {} } }
            }
        }
    }
}

/// What a move to another provider would do, on a page of its own.
pub(crate) async fn move_what_if(console: &Console, act: &Act, name: &str) -> Response {
    let told = async {
        let state = crate::deployments::find(&console.app, &act.caller(), name).await?;
        let to = Target::Provider(act.text("provider").to_owned());
        crate::plan::what_if(&console.app, &act.caller(), &[state], &to, None).await
    }
    .await;
    let shown = match told {
        Ok(plan) => card("what-if", "What if", html! { "to " (act.text("provider")) }, table(&plan)),
        Err(failed) => super::note::Note::of(&failed.0).shown(),
    };
    let page = html! {
        div.head { div { nav.crumb aria-label="Way back" { a href=(of_deployment(name)) { (name) } " / move" } h1 { "What a move would do" } p.soft { "Nothing was touched." } } }
        (shown)
        p { a.button href=(of_deployment(name)) { "Back" } }
    };
    whole(&act.visitor, Place::Overview, "What a move would do", page)
}

pub(crate) async fn begin(State(console): State<Console>, act: Act) -> Response {
    let path = act.said("name").map_or_else(|| "/upgrades".to_owned(), |name| format!("/upgrades?name={}", encoded(name)));
    let said = async {
        let names: Vec<String> = act.said("name").into_iter().map(str::to_owned).collect();
        let owned = |name: &str| act.said(name).map(str::to_owned);
        let wanted = Several {
            all: names.is_empty(),
            names,
            profile: owned("profile"),
            what_if: false,
            strategy: Some(owned("strategy").unwrap_or_else(|| "auto".to_owned())),
            waves: owned("waves"),
            keep_going: act.is_on("keep-going"),
        };
        let begun = upgrades::start_all(State(console.app.clone()), act.caller(), Body(wanted)).await?;
        super::act::came_of(begun, "The upgrade has begun.".to_owned()).await
    }
    .await;
    back(&path, said)
}
