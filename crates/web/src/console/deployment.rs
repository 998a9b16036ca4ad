//! One deployment: where it stands, what happened and why, its log, its generations, and everything that can be done with it.

use super::chart::{Column, columns};
use super::console::Console;
use super::endpoint;
use super::figures::{count, many, marked, per_hour, span, thousands, usd, when, when_said};
use super::layout::{Place, asks, card, encoded, form, of_deployment, page as whole, sign};
use super::visitor::Visitor;
use crate::problem::Answer;
use crate::problem::Path;
use crate::router::App;
use crate::{deployments, status};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_api::status::Deployment;
use charter_domain::deployment::{self as domain, Wish};
use charter_domain::fact::Fact;
use charter_domain::generation::Fate;
use charter_domain::replica::Replica;
use charter_domain::time::{Span, Time};
use charter_domain::usage::{End, Used};
use charter_store::Role;
use maud::{Markup, html};

/// Lines of its history that are shown.
const FACTS: u32 = 200;
/// Requests that its charts are made of.
const REQUESTS: usize = 20_000;
/// Hours of its charts.
const HOURS: i64 = 24;
const HOUR_MS: i64 = 3_600_000;

/// The phases of a start, in their order.
const PHASES: [&str; 6] = ["pending", "renting", "resolving", "booting", "loading", "ready"];

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Path(name): Path<String>) -> Response {
    match shown(&console.app, &visitor, &name).await {
        Ok((title, body)) => whole(&visitor, Place::Overview, &title, body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor, name: &str) -> Answer<(String, Markup)> {
    let state = deployments::find(app, &visitor.caller, name).await?;
    let d = status::one(app, &state).await?;
    let replicas = app.controller.replicas_of(&state.id).await?;
    let facts = app.controller.store().facts(&state.id, FACTS).await?;
    let now = app.controller.now();
    let may = visitor.caller.is(Role::Operator);
    let way = if visitor.caller.is(Role::Admin) { crate::ssh::way_of(app, &state).await.ok() } else { None };
    let body = html! {
        div.head {
            div {
                nav.crumb aria-label="Way back" { a href="/" { "Overview" } " / deployment" }
                h1 { (d.name) }
                div #state data-live { (sign(&d.status)) @if let Some(u) = &d.upgrade { " " (sign("upgrading")) " generation " (u.from) " → " (u.to) } }
            }
            @if may { div.actions #acts data-live { (actions(app, visitor, &state, &d)) } }
        }
        div #cause data-live { (cause(&d)) }
        div #steps data-live { (steps(&d, &replicas, now)) }
        div.two {
            div.stack {
                (card("log", "Log", html! { a href={ (of_deployment(&d.name)) "/log" } { "search, download" } }, log(&d)))
                (card("history", "What happened", html! { "newest first, UTC on hover" }, html! { div #facts data-live { (history(&facts, now)) } }))
                (card("charts", "Last 24 hours", html! { @if may { a href={ "/requests?deployment=" (encoded(&d.name)) } { "single requests" } } }, html! { div #charts-now data-live { (charts(app, &state, now).await?) (super::busy::shown(app, &replicas, now)) } }))
            }
            div.stack {
                (card("endpoint", "Endpoint", html! {}, html! { div.stack #endpoint-now data-live { (endpoint::shown(app, visitor, &d, may)) } }))
                (card("facts-now", "Now", html! {}, html! { div #now data-live { (pairs(&state, &d, now)) } (ssh(visitor, &d, &replicas, way.as_ref())) }))
                (card("lease", "Lease", html! {}, lease(visitor, &d, now, may)))
                (card("generations", "Generations", html! { (many(state.history.len(), "remembered", "remembered")) }, html! { div #gens data-live { (generations(visitor, &state, now, may)) } }))
                (card("paper", "Manifest", html! {}, paper(visitor, &d, may)))
            }
        }
    };
    Ok((d.name, body))
}

fn cause(d: &Deployment) -> Markup {
    html! {
        @if let Some(cause) = &d.cause {
            div.said.bad role="alert" {
                p { strong { (cause.class.replace('_', " ")) } " – what charter does: " (cause.action) }
                p { (cause.evidence) }
                @if !cause.hint.is_empty() { p { small { (cause.hint) } } }
            }
        }
    }
}

/// How far each copy has come, how long each part took, and since when it is there.
fn steps(d: &Deployment, replicas: &[Replica], now: Time) -> Markup {
    html! {
        @for r in &d.replicas {
            @let at = PHASES.iter().position(|p| *p == r.phase);
            @let known = replicas.iter().find(|known| known.id.0 == r.id);
            @let slot = known.map_or(0, |known| known.slot);
            ol.steps aria-label={ "Copy " (slot) } {
                @if d.replicas.len() > 1 || at.is_none() { li { "copy " (slot) ", generation " (r.generation) } }
                @match at {
                    Some(here) => @for (n, phase) in PHASES.iter().enumerate() {
                        @let took = known.and_then(|known| known.took.get(*phase)).filter(|_| n < here);
                        li class=(if n < here || r.phase == "ready" { "done" } else if n == here { "now" } else { "" }) aria-current=[(n == here).then_some("step")] {
                            (phase) @if n == here { " · " (when_said(&r.since_at, now)) } @if let Some(took) = took { " · " (span(took.0)) }
                        }
                    },
                    None => { li.bad { (r.phase) " · " (when_said(&r.since_at, now)) } }
                }
                @if let Some(p) = &r.progress { li.now { (p.text) @if let Some(percent) = p.percent { " " (percent) " %" } } }
            }
        }
    }
}

fn actions(app: &App, visitor: &Visitor, state: &domain::Deployment, d: &Deployment) -> Markup {
    let here: Vec<&str> = d.replicas.iter().filter_map(|r| r.provider.as_deref()).collect();
    let others: Vec<String> =
        app.controller.providers().iter().map(|p| p.name().to_owned()).filter(|p| !here.contains(&p.as_str())).collect();
    let base = of_deployment(&d.name);
    let price: i64 = d.replicas.iter().map(|r| r.price_usd_micros_per_hour).sum();
    html! {
        @if state.wish == Wish::Run {
            a.button href={ "/upgrades?name=" (encoded(&d.name)) } { "What would an upgrade do?" }
            (asks("upgrade", "", "Upgrade…", "Upgrade to what its file says?", form(visitor, &format!("{base}/upgrade"), html! {
                p { "The file is read afresh. The new generation is brought up and examined before it serves; if it fails, the present one serves on." }
                (super::act::strategies())
                div.actions { button.main { "Upgrade" } }
            })))
            @if !others.is_empty() {
                (asks("move", "", "Move…", "Move it to another provider?", form(visitor, &format!("{base}/migrate"), html! {
                    p { "The next generation is brought up there and examined before it serves; then what runs here is given back." }
                    label.field { "To" select name="provider" { @for other in &others { option { (other) } } } }
                    (super::act::strategies())
                    div.actions { button.main { "Move it" } button name="what-if" value="yes" { "What would it do?" } }
                })))
            }
            (asks("end", "bad", "End…", "End this deployment?", html! {
                p { (many(d.replicas.len(), "copy", "copies")) " of " strong { (d.name) } " end: requests that are under way finish, new ones are refused"
                    @if price > 0 { ", and " (per_hour(price)) " are spent no more" } ". What stands on a rented machine’s disk is lost." }
                (form(visitor, &format!("{base}/end"), html! { div.actions { button.bad { "End it" } } }))
            }))
        } @else {
            a.button.main href={ "/deploy?again=" (encoded(&d.name)) } { "Deploy again" }
        }
    }
}

fn log(d: &Deployment) -> Markup {
    html! {
        pre.log tabindex="0" aria-label="Log of the engine" data-log={ (of_deployment(&d.name)) "/log/stream" } {
            noscript { "The log is shown line by line where scripts run; without them, open “search, download”." }
        }
        div.row { label.tick { input type="checkbox" checked data-follow; "follow" } input type="search" placeholder="mark lines with…" aria-label="Mark lines" data-mark; }
    }
}

/// What kind of a line it is, by its words.
fn kind(text: &str) -> &'static str {
    let any = |words: &[&str]| words.iter().any(|w| text.contains(w));
    match () {
        () if text.starts_with("the budget") => "",
        () if text.contains("has taken over") => "good",
        () if any(&["fail", "error", "refused", "lost", "given up", "cannot", "not there"]) => "bad",
        () if any(&["it answers", "ready", "passed", "serves", "gone for good", "is gone"]) => "good",
        () => "",
    }
}

/// The time line, with how long it was from each line to the next.
fn history(facts: &[Fact], now: Time) -> Markup {
    html! {
        ol.line reversed {
            @for (n, fact) in facts.iter().enumerate().rev() {
                @let took = facts.get(n + 1).map_or(0, |next| next.at.0 - fact.at.0);
                li class=(kind(&fact.text)) {
                    span { (when(fact.at, now)) }
                    span { (marked(&fact.text)) @if took >= 1000 { " " small.faint { (span(took)) } } }
                }
            }
        }
    }
}

fn pairs(state: &domain::Deployment, d: &Deployment, now: Time) -> Markup {
    let price: i64 = d.replicas.iter().map(|r| r.price_usd_micros_per_hour).sum();
    html! {
        dl.pairs {
            dt { "Model" } dd { code { (state.profile.model) } }
            dt { "Engine" } dd { (d.engine.kind) " " (d.engine.version) " · from " (source(state)) }
            dt { "Copies" } dd { (d.replicas.len()) " of " (d.wanted) @if let Some(s) = state.scale { " (" (s.min) " to " (s.max) " by load)" } }
            @for r in &d.replicas {
                dt { "Machine" } dd {
                    @match &r.gpu { Some(gpu) => (gpu), None => span.faint { "being looked for" } }
                    span.small.soft { " " (r.provider.as_deref().unwrap_or_default()) " " (r.instance.as_deref().unwrap_or_default()) @if r.price_usd_micros_per_hour > 0 { " · " (per_hour(r.price_usd_micros_per_hour)) } }
                    @if let Some(tunnel) = &r.tunnel { span.small.soft { " · SSH " (tunnel) } }
                    @if let Some(health) = r.health { span.small.soft { " · health " (health) } }
                    @if let Some(symptom) = &r.symptom { span.small.soft { " · " (symptom) } }
                    @if let Some(tokens) = r.capacity_tokens { span.small.soft { " · room for " (thousands(tokens)) " tokens" } }
                }
            }
            dt { "Costs" } dd { (per_hour(price)) ", " (usd(d.spent_usd_micros)) " so far" }
            dt { "Requests" } dd { (count(d.usage.requests)) " · " (count(d.usage.prompt_tokens)) " tokens in, " (count(d.usage.completion_tokens)) " out" }
            dt { "Profile" } dd { (d.profile) @if let Some(file) = &state.source_file { span.small.soft { " in " (file) } } }
            @if !d.drift.is_empty() { dt { "Drift" } dd { (d.drift.join(", ")) } }
            dt { "Owner" } dd { (d.owner) " · tenant " (d.tenant) }
            dt { "Made" } dd { (when(state.created_at, now)) }
            dt { "Id" } dd { code { (d.id) "." (d.generation) } }
        }
    }
}

/// The way to its machine, where somebody can log in there.
fn ssh(visitor: &Visitor, d: &Deployment, replicas: &[Replica], way: Option<&charter_api::ssh::SshWay>) -> Markup {
    let open = replicas.iter().any(|r| r.instance().is_some_and(|i| i.mapped_port().is_none()));
    html! { div #ssh-now data-live { @if open { h3 { "SSH" } (super::command::way(visitor, &d.name, way)) } } }
}

fn source(state: &domain::Deployment) -> &'static str {
    match state.profile.engine.source {
        charter_domain::profile::Source::Image => "an image",
        charter_domain::profile::Source::Venv => "a Python environment",
        charter_domain::profile::Source::Installed => "what is installed",
    }
}

fn lease(visitor: &Visitor, d: &Deployment, now: Time, may: bool) -> Markup {
    let action = format!("{}/extend", of_deployment(&d.name));
    html! {
        dl.pairs #lease-now data-live {
            dt { "Ends" } dd { @match &d.expires_at { Some(at) => (when_said(at, now)), None => "when somebody ends it" } }
            dt { "If nobody asks" } dd { @match &d.idle_destroy_at { Some(at) => { "is ended " (when_said(at, now)) }, None => "it stays" } }
        }
        @if may {
            (super::layout::form_of("row", visitor, &action, html! {
                @for hours in ["1", "4", "12", "24"] { button.small name="hours" value=(hours) { "+" (hours) " h" } }
                button.small name="infinite" value="yes" { "no end" }
            }))
            (super::layout::form_of("row", visitor, &action, html! {
                label.sr for="more" { "Hours" } input #more type="number" name="hours" min="0" max="8760" placeholder="hours"; label.sr for="minutes" { "Minutes" } input #minutes type="number" name="minutes" min="0" max="59" placeholder="minutes"; button.small { "Extend" }
            }))
        }
    }
}

fn generations(visitor: &Visitor, state: &domain::Deployment, now: Time, may: bool) -> Markup {
    let coming_from = state.upgrade.as_ref().map(|u| u.from);
    html! {
        ul.notes {
            @for g in state.history.iter().rev() {
                @let fate = if g.fate == Fate::Serving && state.wish == Wish::Stop { "stopped" } else if coming_from == Some(g.number) { "serving" } else { g.fate.as_str() };
                @let changes = state.changed_by(g.number);
                li {
                    (sign(fate))
                    p { strong { "Generation " (g.number) } " by " (g.by) ", " (when(g.at, now))
                        @if let Some(verdict) = &g.verdict { small { (verdict) } }
                        @if !changes.is_empty() { details { summary.small { (many(changes.len(), "change", "changes")) }
                            div.scroll { table { thead { tr { th { "Field" } th { "Before" } th { "After" } } } tbody { @for c in changes { tr { td { code { (c.field) } } td { (json(&c.from)) } td { (json(&c.to)) } } } } } } } }
                    }
                    div {
                        @if may && state.wish == Wish::Run && g.number < state.generation && !g.fate.is_lost() {
                            @let id = format!("back-{}", g.number);
                            (asks(&id, "small", "Back to it…", &format!("Back to generation {}?", g.number), form(visitor, &format!("{}/rollback", of_deployment(&state.name)), html! {
                                p { "What generation " (g.number) " ran becomes the next generation. It is examined like every other one before it serves." }
                                input type="hidden" name="to" value=(g.number);
                                (super::act::strategies())
                                div.actions { button.main { "Go back" } }
                            })))
                        }
                    }
                }
            }
        }
    }
}

/// A value as people read it.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    if value.is_null() {
        return "–".to_owned();
    }
    if value.get("changed").is_some() {
        return "a secret".to_owned();
    }
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn paper(visitor: &Visitor, d: &Deployment, may: bool) -> Markup {
    html! {
        p.soft { "Everything that makes it what it is, without a secret: keep it, and run the same again." }
        div.actions {
            a.button.small href={ "/api/v1/deployments/" (encoded(&d.name)) "/manifest" } download={ (d.name) ".manifest.json" } { "Download" }
            button.small type="button" data-copy-from={ "/api/v1/deployments/" (encoded(&d.name)) "/manifest" } { "Copy" }
            @if may {
                (asks("save", "small", "Save as a configuration…", "Save it under a name", form(visitor, &format!("{}/save", of_deployment(&d.name)), html! {
                    label.field { "Name" input name="name" required pattern="[A-Za-z0-9._-]+" value=(d.name); small { "It can then be chosen when something is deployed." } }
                    div.actions { button.main { "Save" } }
                })))
            }
        }
    }
}

/// Requests and tokens of the last day, hour by hour, and how long people waited.
async fn charts(app: &App, state: &domain::Deployment, now: Time) -> Answer<Markup> {
    let since = now - Span::min(HOURS * 60);
    let group = state.name.clone();
    let mine = move |u: &Used| *u.group == *group;
    let used = app.controller.store().used(since, REQUESTS, &mine).await?;
    if used.is_empty() {
        return Ok(html! { p.soft { "Nobody has asked it anything in the last 24 hours." } });
    }
    let begin = now.0.div_euclid(HOUR_MS) - (HOURS - 1);
    let mut hours = vec![(0_u32, 0_u64, 0_u64); usize::try_from(HOURS).unwrap_or(24)];
    for u in &used {
        let at = usize::try_from(u.at.0.div_euclid(HOUR_MS) - begin).unwrap_or(usize::MAX);
        if let Some(hour) = hours.get_mut(at) {
            (hour.0, hour.1, hour.2) = (hour.0 + 1, hour.1 + u.prompt_tokens, hour.2 + u.completion_tokens);
        }
    }
    let name = |n: usize| format!("{:02}:00", (begin + i64::try_from(n).unwrap_or(0)).rem_euclid(24));
    #[expect(clippy::cast_precision_loss, reason = "charts show a few digits")]
    let figure = |n: u64| n as f64;
    let asked: Vec<Column> = hours
        .iter()
        .enumerate()
        .map(|(n, h)| Column { name: name(n), parts: [f64::from(h.0), 0.0], said: format!("{} UTC: {} requests", name(n), h.0) })
        .collect();
    let tokens: Vec<Column> = hours
        .iter()
        .enumerate()
        .map(|(n, h)| Column {
            name: name(n),
            parts: [figure(h.2), figure(h.1)],
            said: format!("{} UTC: {} tokens written, {} read", name(n), thousands(h.2), thousands(h.1)),
        })
        .collect();
    let done: Vec<&Used> = used.iter().filter(|u| matches!(u.end, End::Done)).collect();
    let failed = used.iter().filter(|u| matches!(u.end, End::Failed)).count();
    Ok(html! {
        dl.tiles {
            div.tile { dt { "First token" } dd { (percentile(&done, 50, |u| u.first_ms)) small { "half of them; 95 of 100 within " (percentile(&done, 95, |u| u.first_ms)) } } }
            div.tile { dt { "Whole answer" } dd { (percentile(&done, 50, |u| u.duration_ms)) small { "half of them; 95 of 100 within " (percentile(&done, 95, |u| u.duration_ms)) } } }
            div.tile { dt { "Failed" } dd { (failed) small { "of " (thousands(u64::try_from(used.len()).unwrap_or(0))) } } }
        }
        h3 { "Requests for each hour" } (columns("Requests for each hour of the last day", &asked, &[], |v| format!("{v:.0}")))
        h3 { "Tokens for each hour" } (columns("Tokens for each hour of the last day", &tokens, &["written", "read"], short))
    })
}

/// A large figure on an axis.
pub(crate) fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1} M", v / 1e6),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// So many of a hundred were not slower.
pub(crate) fn percentile(used: &[&Used], percent: usize, of: impl Fn(&Used) -> u64) -> String {
    let mut all: Vec<u64> = used.iter().map(|u| of(u)).collect();
    all.sort_unstable();
    match all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))) {
        Some(ms) if *ms < 10_000 => format!("{ms} ms"),
        Some(ms) => span(i64::try_from(*ms).unwrap_or(i64::MAX)),
        None => "–".to_owned(),
    }
}
