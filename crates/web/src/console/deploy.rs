//! A new deployment: what it is on the left; beside it, live, whether it fits, what it would run on, and what that costs.

use super::act::back;
use super::console::Console;
use super::figures::{marked, per_hour, usd};
use super::form::{self, Fields, Kind, LIMITS, OPTIONS};
use super::layout::{Place, asks, card, encoded, of_deployment, page as whole};
use super::note::Note;
use super::visitor::{Act, Visitor};
use crate::auth::Caller;
use crate::problem::Query;
use crate::problem::{Answer, Body, Failed, failed};
use crate::router::App;
use crate::{cloud_model, defaults, deployments, manifest, offers, plan, saved};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use charter_api::deployment::{Declare, PlanQuestion};
use charter_api::market::OffersQuestion;
use charter_store::Role;
use maud::{Markup, html};
use serde_json::{Value, json};

/// Offers that are shown beside the form.
const SHOWN: usize = 6;

#[derive(Default, serde::Deserialize)]
pub(crate) struct From_ {
    /// A profile of the server's file.
    profile: Option<String>,
    /// A saved configuration.
    saved: Option<String>,
    /// A deployment that there was.
    again: Option<String>,
    /// An offer of the market, and whose it is.
    offer: Option<String>,
    provider: Option<String>,
    /// A manifest that was pasted. It is too long for an address.
    #[serde(skip)]
    manifest: Option<String>,
}

impl From_ {
    /// As a form carries it along.
    fn of(act: &Act) -> Self {
        let said = |name: &str| act.said(name).map(str::to_owned);
        let (profile, saved, again) = (said("from-profile"), said("from-saved"), said("from-again"));
        Self { profile, saved, again, offer: None, provider: None, manifest: said("from-manifest") }
    }
}

/// What the form begins with: a profile and a deployment that exist, or nothing.
async fn base(app: &App, caller: &Caller, from: &From_) -> Answer<(String, Value, Value)> {
    if let Some(name) = &from.profile {
        let all = (app.profiles)();
        let found = all.into_iter().find(|(known, _)| known == name);
        let (_, profile) = found.ok_or_else(|| crate::problem::unknown("profile", name))?;
        return Ok((name.clone(), profile, Value::Null));
    }
    let paper = if let Some(name) = &from.saved {
        saved::get(State(app.clone()), caller.clone(), crate::problem::Path(name.clone())).await?.0.manifest
    } else if let Some(name) = &from.again {
        let state = deployments::find(app, caller, name).await?;
        json!(manifest::of(&state, &[]))
    } else if let Some(text) = &from.manifest {
        let hint = "paste what `charter manifest export` printed, or what a deployment’s page downloads, as it is";
        let paper: Value =
            serde_json::from_str(text).map_err(|e| failed(422, "A0422", "this is no manifest", hint).detail(e.to_string()))?;
        manifest::check(&paper)?;
        paper
    } else {
        return Ok((String::new(), Value::Null, Value::Null));
    };
    let name = paper["name"].as_str().unwrap_or_default().to_owned();
    let mut profile = paper["profile"].clone();
    let keys = paper["env_keys"].as_array().cloned().unwrap_or_default();
    let env: serde_json::Map<String, Value> =
        keys.iter().filter_map(Value::as_str).map(|key| (key.to_owned(), json!({"env": key}))).collect();
    if profile["engine"].is_object() {
        profile["engine"]["env"] = env.into();
    }
    Ok((name, profile, paper["deployment"].clone()))
}

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Query(from): Query<From_>) -> Response {
    if !visitor.caller.is(Role::Operator) {
        return failed(403, "A0003", "only an operator deploys", "ask for a key with that role").into_response();
    }
    let (name, profile, deployment) = match base(&console.app, &visitor.caller, &from).await {
        Ok(base) => base,
        Err(failed) => return failed.into_response(),
    };
    let mut fields = form::fields(&name, &profile, &deployment);
    if profile.is_null() {
        fields = match empty(&console.app).await {
            Ok(empty) => empty,
            Err(failed) => return failed.into_response(),
        };
    }
    for (field, said) in [("offer", &from.offer), ("provider", &from.provider)] {
        fields.extend(said.iter().map(|text| (field.to_owned(), text.clone())));
    }
    shown(&console.app, &visitor, &from, &fields, None).await
}

/// What an empty form begins with here.
async fn empty(app: &App) -> Answer<Fields> {
    let kept = defaults::kept(app).await?;
    let port = match kept.port {
        Some(from) => defaults::free_port(app, from).await?,
        None => None,
    };
    let all = [
        ("other-names", Some("on".to_owned())),
        ("port", port.map(|n| n.to_string())),
        ("option-gpu-memory-utilization", kept.gpu_memory_utilization.map(|n| n.to_string())),
        ("serve-for", kept.serve_for_hours.map(|n| n.to_string())),
        ("version", kept.engine_version),
        ("limit-failed-restarts", kept.failed_restarts.map(|n| n.to_string())),
    ];
    Ok(all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// The form, filled in as a manifest says.
pub(crate) async fn paste(State(console): State<Console>, act: Act) -> Response {
    let from = From_ { manifest: Some(act.text("manifest").to_owned()), ..From_::default() };
    match base(&console.app, &act.caller(), &from).await {
        Ok((name, profile, deployment)) => {
            let fields = form::fields(&name, &profile, &deployment);
            shown(&console.app, &act.visitor, &from, &fields, None).await
        }
        Err(why) => {
            // What was typed stays, to be corrected.
            let mut fields = empty(&console.app).await.unwrap_or_default();
            fields.insert("manifest".to_owned(), act.text("manifest").to_owned());
            let mut response = shown(&console.app, &act.visitor, &From_::default(), &fields, Some(&why)).await;
            *response.status_mut() = StatusCode::from_u16(why.0.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
            response
        }
    }
}

async fn shown(app: &App, visitor: &Visitor, from: &From_, fields: &Fields, note: Option<&Failed>) -> Response {
    let saved = saved::list(State(app.clone()), visitor.caller.clone()).await.map(|j| j.0.items).unwrap_or_default();
    let saved: Vec<String> = saved.into_iter().map(|s| s.name).collect();
    let profiles: Vec<String> = (app.profiles)().into_iter().map(|(name, _)| name).collect();
    let page = html! {
        div.head { div { h1 { "Deploy a model" } p.soft { "From a model’s name to an address that answers. What is left blank is chosen well." } } }
        @if let Some(problem) = note { (Note::of(&problem.0).shown()) }
        div.row {
            span.soft #begin { "Begin with" }
            @if !profiles.is_empty() || !saved.is_empty() {
                nav.row aria-labelledby="begin" {
                    @for name in &profiles { a.button.small href={ "/deploy?profile=" (encoded(name)) } aria-current=[(from.profile.as_ref() == Some(name)).then_some("true")] { (name) } }
                    @for name in &saved { a.button.small href={ "/deploy?saved=" (encoded(name)) } aria-current=[(from.saved.as_ref() == Some(name)).then_some("true")] { (name) " (saved)" } }
                }
            }
            (asks("paste", "small", "A manifest…", "Begin with a manifest", super::layout::form(visitor, "/deploy/manifest", html! {
                label.field { "Manifest" textarea.mono name="manifest" rows="9" required spellcheck="false" placeholder="{\"schema\": \"charter.manifest/1\", …}" { (value(fields, "manifest")) } small { "What a deployment’s page copies or downloads. Values of its environment never stand in one: the server’s own are taken, or what you type." } }
                div.actions { button.main { "Fill in the form" } }
            })))
        }
        form method="post" action="/deploy" data-check="/deploy/check" {
            input type="hidden" name="form" value=(visitor.form_token);
            @for (name, value) in [("from-profile", &from.profile), ("from-saved", &from.saved), ("from-again", &from.again), ("from-manifest", &from.manifest)] {
                @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
            }
            div.two {
                div.stack { (what(app, fields, visitor.caller.is(Role::Admin))) (machine(app, fields)) (life(fields)) (more(fields)) }
                div.stack.stuck {
                    section.card aria-label="What this would be" {
                        header { h2 { "What this would be" } }
                        div.in #check aria-live="polite" { p.soft { "Fill in a model: whether it fits, what it runs on and what it costs is shown here." }
                            noscript { button name="check" value="yes" formaction="/deploy/check" { "Show it" } } }
                        div.in { @if note.is_some_and(|why| why.0.code == "A0420") { (tick(fields, "replace", "Replace what runs under this name: it ends once the new one serves, and its name is answered no more")) } button.main type="submit" { "Deploy" } }
                    }
                }
            }
        }
    };
    whole(visitor, Place::Deploy, "Deploy", page)
}

fn value<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

fn text(fields: &Fields, name: &str, label: &str, hint: &str, under: &str) -> Markup {
    html! { label.field { (label) input name=(name) value=(value(fields, name)) placeholder=(hint) autocomplete="off" spellcheck="false"; @if !under.is_empty() { small { (under) } } } }
}

fn lines(fields: &Fields, name: &str, label: &str, hint: &str, under: &str) -> Markup {
    html! { label.field { (label) textarea.mono name=(name) placeholder=(hint) spellcheck="false" { (value(fields, name)) } @if !under.is_empty() { small { (under) } } } }
}

fn tick(fields: &Fields, name: &str, label: &str) -> Markup {
    html! { label.tick { input type="checkbox" name=(name) checked[fields.contains_key(name)]; (label) } }
}

fn choice(fields: &Fields, name: &str, label: &str, blank: &str, all: &[&str]) -> Markup {
    let chosen = value(fields, name);
    html! { label.field { (label) select name=(name) {
        @if !blank.is_empty() { option value="" { (blank) } }
        @for one in all { option value=(one) selected[*one == chosen] { (one) } }
        @if !chosen.is_empty() && !all.contains(&chosen) { option value=(chosen) selected { (chosen) } }
    } } }
}

fn what(app: &App, fields: &Fields, is_admin: bool) -> Markup {
    let newest = app.versions.newest();
    card(
        "what",
        "Model",
        html! {},
        html! {
            label.field { "Model" input name="model" required value=(value(fields, "model")) placeholder="Qwen/Qwen2.5-7B-Instruct" autocomplete="off" spellcheck="false"; small { "a name of the hub, or an absolute path on the machine" } }
            div.fields {
                (text(fields, "name", "Name", "made from the model", "how you call it"))
                (text(fields, "served-name", "Served name", "the model", "how clients call it"))
                (text(fields, "owner", "Owner", "you", "shown in tables and reports"))
                @if is_admin { (text(fields, "tenant", "Tenant", "default", "who pays")) }
            }
            div.fields {
                (choice(fields, "engine", "Engine", "", &["vllm", "ollama"]))
                (text(fields, "version", "Engine version", &newest, &format!("blank is {newest} now; x.y.z, nightly, or a commit")))
            }
        },
    )
}

fn machine(app: &App, fields: &Fields) -> Markup {
    let providers: Vec<String> = app.controller.providers().iter().map(|p| p.name().to_owned()).collect();
    card(
        "machine",
        "Machine",
        html! {},
        html! {
            div.fields {
                (text(fields, "provider", "Provider", "all", &format!("of: {}", if providers.is_empty() { "none is configured".to_owned() } else { providers.join(", ") })))
                (text(fields, "max-price", "At most, $ an hour", "0.25", "for the machine, disk included"))
                (text(fields, "min-vram", "Memory of each GPU", "auto", "such as 24GB; auto goes by the model’s size"))
                (text(fields, "gpu-count", "GPUs", "1", ""))
            }
            details {
                summary { "Cards, disk, an offer" }
                div.stack {
                    (lines(fields, "tiers", "Cards in their order, with the most that each may cost", "RTX 3090 0.15\nRTX 4090 0.18", "one a line; blank takes the built-in order"))
                    (tick(fields, "other-names", "after these, any card that fits and is under the cap"))
                    div.fields {
                        (text(fields, "disk", "Disk", "60GB", ""))
                        (text(fields, "min-reliability", "Reliability", "0.95", "of the host, 0 to 1"))
                        (text(fields, "min-compute", "Compute capability", "8.0", "of the cards, at least"))
                        (text(fields, "gpu-indices", "Exactly these GPUs", "0,1", "on a machine of your own"))
                        (text(fields, "offer", "Exactly this offer", "", "its number on the market"))
                    }
                }
            }
        },
    )
}

fn life(fields: &Fields) -> Markup {
    card(
        "life",
        "Life",
        html! {},
        html! {
            div.fields {
                (text(fields, "serve-for", "Serve for, hours", "never ends", "then it is ended; it can be extended"))
                (text(fields, "keep-alive", "End if nobody asks for", "45m", "or never"))
                (text(fields, "limit-failed-restarts", "Failed starts at most", "3", "on one machine, one after the other"))
                (text(fields, "replicas", "Copies", "1", ""))
                (text(fields, "replicas-max", "Copies at most", "", "with it, load decides; 0 copies sleep"))
            }
            (tick(fields, "wait", "go on searching where the market has nothing that fits"))
            details {
                summary { "Limits, how it is upgraded" }
                div.fields {
                    (choice(fields, "strategy", "Upgrades", "auto", &["side-by-side", "rolling", "in-place", "recreate"]))
                    @for (name, label, hint) in LIMITS.iter().skip(1) { (text(fields, &format!("limit-{name}"), label, hint, name)) }
                }
            }
        },
    )
}

fn more(fields: &Fields) -> Markup {
    card(
        "options",
        "Engine options",
        html! { "blank leaves them to the engine" },
        html! {
            div.fields {
                @for option in OPTIONS.iter().filter(|o| o.kind != Kind::Switch) {
                    @let name = format!("option-{}", option.name);
                    @match option.kind {
                        Kind::OneOf(all) => (choice(fields, &name, option.label, "–", all)),
                        _ => (text(fields, &name, option.label, "", option.name)),
                    }
                }
            }
            @for option in OPTIONS.iter().filter(|o| o.kind == Kind::Switch) { (tick(fields, &format!("option-{}", option.name), option.label)) }
            details {
                summary { "Extra arguments, adapters, environment" }
                div.stack {
                    (lines(fields, "extra-args", "Extra arguments", "--enable-auto-tool-choice", "one a line, as the engine takes them; they come last and win"))
                    (lines(fields, "lora", "Adapters", "sql=org/sql-adapter", "name=path, one a line"))
                    (lines(fields, "env", "Environment", "HF_TOKEN", "one a line. A name alone is read from the server’s own environment, and its value is never shown; NAME=text is written as it is"))
                    div.fields { (text(fields, "max-concurrent", "Requests at once", "16", "that the gateway sends to each copy")) (text(fields, "port", "Local port to the engine", "", "on the server’s computer")) }
                }
            }
        },
    )
}

/// What the form says, as the API takes it.
async fn wanted(app: &App, act: &Act) -> Answer<Declare> {
    let from = From_::of(act);
    let (_, base, _) = base(app, &act.caller(), &from).await?;
    let made_up = cloud_model::name_of(act.text("model"));
    let name = act.said("name").unwrap_or(&made_up);
    let profile_name = from.profile.as_deref().unwrap_or(name);
    Ok(Declare {
        name: name.to_owned(),
        profile: form::profile(act.fields(), &base),
        deployment: form::deployment(act.fields(), profile_name),
        source_file: None,
        keep_others: !act.is_on("replace"),
    })
}

/// The page again, with what is wrong above it and everything that was typed.
async fn again(app: &App, act: &Act, why: &Failed) -> Response {
    let from = From_::of(act);
    let mut response = shown(app, &act.visitor, &from, act.fields(), Some(why)).await;
    *response.status_mut() = StatusCode::from_u16(why.0.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    response
}

pub(crate) async fn begin(State(console): State<Console>, act: Act) -> Response {
    let app = &console.app;
    let made = async {
        let wanted = wanted(app, &act).await?;
        deployments::create(State(app.clone()), act.caller(), Body(wanted)).await
    }
    .await;
    match made {
        Ok((_, made)) => back(&of_deployment(&made.0.name), Ok(format!("`{}` is on its way.", made.0.name))),
        Err(why) => again(app, &act, &why).await,
    }
}

/// What the form would come to, as a part of the page.
pub(crate) async fn check(State(console): State<Console>, act: Act) -> Response {
    let app = &console.app;
    let told = match judged(app, &act).await {
        Ok(told) => told,
        Err(why) => Note::of(&why.0).shown(),
    };
    if act.is_on("check") {
        let body = html! { div.head { h1 { "What this would be" } } (card("told", "Now", html! {}, told)) p { "Go back to change it, or deploy from there." } };
        return whole(&act.visitor, Place::Deploy, "Deploy", body);
    }
    Html(told.into_string()).into_response()
}

async fn judged(app: &App, act: &Act) -> Answer<Markup> {
    if act.said("model").is_none() {
        return Ok(html! { p.soft { "Fill in a model: whether it fits, what it runs on and what it costs is shown here." } });
    }
    let one = wanted(app, act).await?;
    let (profile, one_name) = (one.profile.clone(), one.name.clone());
    let question = PlanQuestion { deployments: vec![one] };
    let told = plan::plan(State(app.clone()), act.caller(), Body(question)).await?.0;
    let market = offers::ask(State(app.clone()), act.caller(), Body(OffersQuestion { profile: profile.clone() })).await?.0;
    let Some(entry) = told.deployments.first() else { return Ok(html! {}) };
    let fits = !entry.offers.is_empty() || entry.action != "create";
    let hours: Option<i64> = act.said("serve-for").and_then(|h| h.parse().ok()).filter(|h| (1..=87_600).contains(h));
    let price = entry.price_after_usd_micros_per_hour;
    let replaced = replaced(app, act, &one_name, &profile).await?;
    Ok(html! {
        @if let Some(text) = replaced { div.said.warn role="alert" { p { (text) } } }
        dl.tiles {
            div.tile { dt { "Would run on" } dd { @if let Some(o) = entry.offers.first() { (o.gpu) } @else { "–" } small { @if let Some(o) = entry.offers.first() { (o.provider) ", offer " (o.id) } @else { "nothing fits at this moment" } } } }
            div.tile { dt { "Price" } dd { @if price > 0 || fits { (per_hour(price)) } @else { "–" } small { @match hours { Some(h) => { (usd(price.saturating_mul(h))) " for " (h) " h" }, None => { (usd(price.saturating_mul(24))) " a day" } } } } }
        }
        dl.pairs {
            dt { "What happens" } dd { (entry.action) @if !entry.why.is_empty() { ": " (entry.why) } }
            dt { "Engine" } dd { (act.said("engine").unwrap_or("vllm")) " " (version(app, &profile)) }
            @if entry.committed_usd_micros > 0 { dt { "Set aside" } dd { (usd(entry.committed_usd_micros)) " at first, renewed while it runs" } }
            dt { "Market" } dd { (market.fitting) " of " (market.seen) " offers fit" }
        }
        @if !fits || !entry.reports.is_empty() { ul.notes { @for report in &entry.reports { li { (super::layout::sign(if fits { "waiting" } else { "alert" })) p { (marked(&report.text)) small { (report.code) } } span {} } } } }
        @if !market.offers.is_empty() {
            div.scroll { table { caption { "The best offers now" } thead { tr { th { "Card" } th { "Where" } th.num { "Price" } th.num { "Score" } } }
                tbody { @for row in market.offers.iter().take(SHOWN) { tr { td { (row.gpu) } td { (row.provider) " " span.faint { (row.country.as_deref().unwrap_or_default()) } } td.num { (per_hour(row.price_usd_micros_per_hour)) } td.num { (format!("{:.0}", row.score * 100.0)) } } } } } }
        }
        (super::market::left_out(&market.filtered))
    })
}

/// What runs under this name already, with another model: it would be ended for this.
async fn replaced(app: &App, act: &Act, name: &str, profile: &Value) -> Answer<Option<String>> {
    let Ok(state) = deployments::find(app, &act.caller(), name).await else { return Ok(None) };
    let served = act.said("served-name").or_else(|| profile["served-name"].as_str()).unwrap_or_default();
    let same = profile["model"] == *state.profile.model && (served.is_empty() || served == state.profile.served_name);
    if same || !super::attention::is_wished(state.wish) {
        return Ok(None);
    }
    let (model, served) = (&state.profile.model, &state.profile.served_name);
    Ok(Some(format!(
        "“{name}” runs already: {model}, asked for as “{served}”. It would be replaced by this. Give the new one another name to have both."
    )))
}

/// What the version comes to.
fn version(app: &App, profile: &Value) -> String {
    let said = profile["engine"]["version"].as_str().unwrap_or_default();
    if said.is_empty() && profile["engine"]["kind"] == "vllm" {
        format!("{} (the newest now)", app.versions.newest())
    } else if said.is_empty() {
        "latest".to_owned()
    } else {
        said.to_owned()
    }
}
