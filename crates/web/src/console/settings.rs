//! How this server is set, and how it is: providers, limits, its own tasks. What is secret is told to be there, and never shown.

use super::act::back;
use super::console::Console;
use super::figures::{many, span, thousands, usd};
use super::layout::{Place, asks, card, form, page as whole, sign};
use super::visitor::{Act, Visitor};
use crate::defaults::{self, Defaults};
use crate::problem::{Answer, Body, Path, failed};
use crate::router::App;
use crate::saved;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_store::Role;
use maud::{Markup, html};

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor) -> Response {
    match shown(&console.app, &visitor).await {
        Ok(body) => whole(&visitor, Place::Settings, "Settings", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor) -> Answer<Markup> {
    let saved = saved::list(State(app.clone()), visitor.caller.clone()).await?.0.items;
    let saved: Vec<&str> = saved.iter().map(|s| s.name.as_str()).collect();
    Ok(html! {
        div.head { div { h1 { "Settings" } p.soft { "The server reads most of this from its file and its environment when it starts: change it there." } } }
        @if visitor.caller.is(Role::Operator) && visitor.caller.is_house() { div #order data-live { (super::premises::order(app, visitor).await?) } }
        div.halves {
            (card("server", "Server", html! {}, html! { dl.pairs {
                dt { "Version" } dd { (app.version) }
                dt { "Control plane" } dd { code { (app.url) } }
                dt { "Gateway" } dd { @match &app.gateway_url { Some(url) => code { (url) }, None => "in a process of its own" } }
                dt { "Database" } dd { @if app.controller.store().shared() { "shared with other control planes" } @else { "a file of this server’s own" } ", " (thousands(app.controller.store().commits())) " commits since the start" }
                dt { "Newest engine" } dd { "vLLM " (app.versions.newest()) }
                dt { "API" } dd { a href="/api/docs" { "described and browsable" } ", " a href="/api/v1/openapi.json" { "OpenAPI" } }
            } }))
            (card("providers", "Providers", html! {}, providers(app)))
            (card("limits", "Limits on money", html! { a href="/spend" { "what counts against them" } }, html! { div.scroll { table { thead { tr { th { "Scope" } th.num { "Target" } th.num { "Alert" } th.num { "Limit" } } }
                tbody { @for b in app.controller.budgets() { tr { td { (b.scope.as_str()) } td.num { (usd(b.target.0)) } td.num { (usd(b.alert.0)) } td.num { (usd(b.hard.0)) } } } } } } }))
            (card("files", "Profiles and saved configurations", html! {}, html! { dl.pairs {
                dt { "Profiles" } dd { @let all = (app.profiles)(); @if all.is_empty() { "the server was started without a file" } @for (name, _) in &all { a href={ "/deploy?profile=" (super::layout::encoded(name)) } { (name) } " " } }
                dt { "Saved" } dd { @if saved.is_empty() { "none yet: a deployment’s page saves one" } @for name in &saved { span.nowrap { a href={ "/deploy?saved=" (super::layout::encoded(name)) } { (name) } @if visitor.caller.is(Role::Operator) { " " (forgets(visitor, name)) } } " " } }
            } }))
        }
        (card("defaults", "What a new deployment begins with", html! { "the form’s fields, for everybody" }, beginnings(visitor, &defaults::kept(app).await?)))
        (card("you", "You", html! {}, html! {
            p { strong { (visitor.caller.name) } ", " (visitor.caller.role.as_str()) " of tenant " (visitor.caller.tenant) }
            div.actions {
                (form(visitor, "/theme", html! {
                    input type="hidden" name="back" value="/settings";
                    div.row { @for name in ["light", "dark", "auto"] { button.small name="theme" value=(name) { (name) } } }
                }))
                (form(visitor, "/logout", html! { button.small { "Log out" } }))
            }
        }))
        @if visitor.caller.is(Role::Admin) {
            (card("backups", "Backups", html! {}, html! { div.stack #backups-now data-live { (super::premises::kept(app, visitor)) } }))
            (card("process", "This server", html! {}, html! {
                p.soft { "What is rented stays when the server ends: engines serve on, and the dead man’s switch of a machine ends it if no server comes back." }
                div.actions { (asks("stop", "bad", "End the server…", "End this server?", form(visitor, "/settings/stop", html! {
                    p { "This page and the gateway of this process answer no more; streams that are under way finish. Machines stay, and cost on." }
                    div.actions { button.bad { "End it" } }
                }))) }
            }))
        }
        @if visitor.caller.is(Role::Operator) { div #tasks data-live { (card("own", "The server’s own work", html! { "what each task did last" }, tasks(app))) } }
    })
}

/// What the deploy form is filled in with, and the form to change that.
fn beginnings(visitor: &Visitor, kept: &Defaults) -> Markup {
    let may = visitor.caller.need_house(Role::Operator).is_ok();
    let fields = [
        ("port", "First local port", kept.port.map(|n| n.to_string()), "none", "to the engine; the next free one is taken"),
        (
            "gpu_memory_utilization",
            "Share of GPU memory",
            kept.gpu_memory_utilization.map(|n| n.to_string()),
            "the engine’s own",
            "above 0, at most 1",
        ),
        ("serve_for_hours", "Serve for, hours", kept.serve_for_hours.map(|n| n.to_string()), "never ends", ""),
        ("engine_version", "Engine version", kept.engine_version.clone(), "the newest", "x.y.z, nightly, or a commit"),
        (
            "failed_restarts",
            "Failed starts at most",
            kept.failed_restarts.map(|n| n.to_string()),
            "3",
            "on one machine, one after the other",
        ),
    ];
    html! {
        @if may {
            (form(visitor, "/settings/defaults", html! {
                div.fields { @for (name, label, value, hint, under) in &fields {
                    label.field { (label) input name=(name) value=(value.as_deref().unwrap_or_default()) placeholder=(hint) autocomplete="off"; @if !under.is_empty() { small { (under) } } }
                } }
                div.actions.apart { button { "Keep" } }
            }))
        } @else {
            dl.pairs { @for (_, label, value, hint, _) in &fields { dt { (label) } dd { (value.as_deref().unwrap_or(hint)) } } }
        }
    }
}

pub(crate) async fn change(State(console): State<Console>, act: Act) -> Response {
    let said = async {
        let share = act.said("gpu_memory_utilization").map(str::parse::<f64>).transpose();
        let wanted = Defaults {
            port: act.number("port")?,
            gpu_memory_utilization: share
                .map_err(|_| failed(422, "A0422", "the share of GPU memory is no number", "write 0.9"))?,
            serve_for_hours: act.number("serve_for_hours")?,
            engine_version: act.said("engine_version").map(str::to_owned),
            failed_restarts: act.number("failed_restarts")?,
        };
        defaults::put(State(console.app.clone()), act.caller(), Body(wanted)).await
    }
    .await;
    back("/settings", said.map(|_| "New deployments begin with this now; those that there are stay as they are.".to_owned()))
}

pub(crate) fn providers(app: &App) -> Markup {
    let swept = app.controller.swept();
    html! {
        @if app.controller.providers().is_empty() { p.soft { "None: start the server from a file with " code { "providers:" } ", or with " code { "VASTAI_API_KEY" } " set." } }
        ul.notes { @for p in app.controller.providers() {
            @let (name, described) = (p.name(), p.descriptor());
            @let frozen = swept.suspicious.get(name);
            li { (sign(if frozen.is_some() { "alert" } else if app.controller.proven(name) { "ok" } else { "waiting" }))
                p { strong { (name) } small { @if described.rented { "rented by the hour" } @else { "machines of one’s own" }
                    @match frozen { Some(why) => { "; its list is not believed: " (why) }, None => @if app.controller.proven(name) { "; it has accepted our key" } @else { "; it has not been asked yet" } } } }
                span {} }
        } }
    }
}

fn tasks(app: &App) -> Markup {
    let all = app.controller.tasks().activations();
    html! {
        p.small.soft { (many(all.len(), "task", "tasks")) ", each of which looks at everything anew when it is woken, and at least now and then." }
        div.scroll { table.cards { thead { tr { th { "Task" } th { "State" } th.num { "Runs" } th.num { "Took" } th { "Said" } } }
            tbody { @for (name, a) in &all { tr {
                td.lead { strong { (name) } } td data-label="State" { (sign(if a.failed { "failed" } else { "ok" })) }
                td.num data-label="Runs" { (thousands(a.count)) }
                td.num data-label="Took" { @if a.took_ms < 1000 { (a.took_ms) " ms" } @else { (span(i64::try_from(a.took_ms).unwrap_or(i64::MAX))) } }
                td data-label="Said" { (a.said) }
            } } } } }
    }
}

fn forgets(visitor: &Visitor, name: &str) -> Markup {
    asks(
        &format!("forget-{name}"),
        "plain",
        "forget…",
        &format!("Forget {name}?"),
        form(
            visitor,
            &format!("/settings/saved/{}/remove", super::layout::encoded(name)),
            html! { p { "What runs of it stays." } div.actions { button.bad { "Forget it" } } },
        ),
    )
}

pub(crate) async fn forget(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let gone = saved::remove(State(console.app.clone()), act.caller(), Path(name.clone())).await;
    back("/settings", gone.map(|_| format!("`{name}` is forgotten.")))
}

pub(crate) async fn stop(State(console): State<Console>, act: Act) -> Response {
    match crate::router::stop(State(console.app), act.caller()).await {
        Ok(_) => super::layout::outside(
            "Ended",
            act.visitor.theme,
            html! { div.card { h1 { "The server ends" } p { "Machines stay. Start it again with " code { "charter serve" } "." } } },
        ),
        Err(failed) => back("/settings", Err(failed)),
    }
}
