//! Deployments: declared, shown, ended; their logs, time lines, and the way to their machines.

use crate::auth::Caller;
use crate::convert;
use crate::problem::{Answer, Body, Failed, Path, Query, failed, unknown};
use crate::router::App;
use crate::status::{self, rfc3339};
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::deployment::{Declare, Fact, LogPart, Watched};
use charter_api::list::List;
use charter_api::problem::Problem;
use charter_api::status as wire;
use charter_controller::{DeclareError, Declared};
use charter_domain::deployment::{Deployment, Status, Wish};
use charter_domain::profile::{EnvValue, SecretRef};
use charter_domain::replica::Replica;
use charter_store::{Error, Role};
use std::time::Duration;

/// What asks a question about its profile alone.
pub(crate) fn of_profile(name: &str, profile: serde_json::Value) -> Declare {
    described(name, profile, serde_json::json!({"profile": name}), None)
}

/// A deployment as a file describes it.
pub(crate) fn described(
    name: &str,
    profile: serde_json::Value,
    deployment: serde_json::Value,
    source_file: Option<String>,
) -> Declare {
    Declare { name: name.to_owned(), profile, deployment, source_file, keep_others: false }
}

/// Reads and checks what a caller wants.
pub(crate) fn declare(app: &App, caller: &Caller, wanted: Declare) -> Answer<Declared> {
    let declared = read(app, caller, wanted)?;
    check(app, &declared)?;
    Ok(declared)
}

/// Can it be run here at all?
pub(crate) fn check(app: &App, declared: &Declared) -> Answer<()> {
    app.controller.check(&declared.profile).map_err(|faults| invalid(&declared.name, faults.join("\n")))
}

fn invalid(name: &str, detail: String) -> Failed {
    // A secret that the server lacks is not in the file, and a server without providers is no fault of it either.
    let hint = if detail.contains("the server's environment has no") {
        "give it to the server: `charter stop`, then `charter up` with the variable set"
    } else if detail.contains("server's configuration") {
        "start the server from a file with providers: `charter stop`, then `charter serve --config FILE`"
    } else {
        "correct what it says"
    };
    let message = format!("the deployment `{name}` cannot be run as it is described");
    Failed(Problem::new(422, "C0010", message, hint).with_detail(detail))
}

/// Reads what a caller wants.
pub(crate) fn read(app: &App, caller: &Caller, wanted: Declare) -> Answer<Declared> {
    let invalid = |detail: String| invalid(&wanted.name, detail);
    if !charter_api::file::is_name(&wanted.name) {
        return Err(invalid(format!("`{}` is no name: letters, digits, `.`, `_` and `-`", wanted.name)));
    }
    let (profile, deployment) =
        charter_api::file::from_wire(&wanted.profile, &wanted.deployment).map_err(|faults| invalid(faults.join("\n")))?;
    let profile = convert::profile(profile, app.limits);
    let source_file = wanted.source_file.filter(|_| caller.role == Role::Admin);
    own_secrets(app, caller, &profile)?;
    let mut declared = convert::declared(wanted.name, &caller.name, source_file, profile, deployment);
    if !caller.sees(&declared.tenant) {
        // Nothing said is the key's own tenant; another one is an admin's to name.
        if declared.tenant != "default" {
            caller.need(Role::Admin)?;
        }
        declared.tenant.clone_from(&caller.tenant);
    }
    declared.engine_version = app.versions.resolve(&declared.profile);
    Ok(declared)
}

/// Secrets that stand on the server's machine are an admin's to give: a caller who is none names those that the server's own file
/// gives to a profile already, or the hub's token.
fn own_secrets(app: &App, caller: &Caller, profile: &charter_domain::profile::Profile) -> Answer<()> {
    if caller.role == Role::Admin {
        return Ok(());
    }
    let said = |raw: &serde_json::Value| raw.pointer("/engine/env").and_then(|env| env.as_object()).cloned().unwrap_or_default();
    let given: Vec<serde_json::Value> =
        (app.profiles)().iter().flat_map(|(_, raw)| said(raw).into_iter().map(|(_, v)| v)).collect();
    for (name, value) in &profile.engine.env {
        let written = match value {
            EnvValue::Plain(_) => continue,
            EnvValue::Secret(SecretRef::Env(variable)) if variable == "HF_TOKEN" => continue,
            EnvValue::Secret(SecretRef::Env(variable)) => serde_json::json!({"env": variable}),
            EnvValue::Secret(SecretRef::File(path)) => serde_json::json!({"file": path}),
            EnvValue::Secret(SecretRef::Command(argv)) => serde_json::json!({"command": argv}),
        };
        if !given.contains(&written) {
            let message = format!("`{name}` is read on the server's machine, and only an admin may name what is read there");
            return Err(failed(
                403,
                "A0003",
                message,
                "name a secret that a profile of the server's file has, or write the value itself",
            ));
        }
    }
    Ok(())
}

pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(wanted): Body<Declare>,
) -> Answer<(StatusCode, Json<wire::Deployment>)> {
    let made_up = wanted.keep_others;
    let declared = declare(&app, &caller, wanted)?;
    if made_up {
        keep_others(&app, &declared).await?;
    }
    if let Some(taken) = clash(&app, &declared).await? {
        let hint = format!("give it another `served-name`, such as `{taken}-2`");
        return Err(failed(409, "G0003", format!("`{taken}` is served by another deployment already"), hint));
    }
    let name = declared.name.clone();
    match app.controller.declare(declared).await {
        Ok(state) => {
            app.controller.write_down(&state.id, format!("`{}` said to run it", caller.name)).await?;
            Ok((StatusCode::ACCEPTED, Json(status::one(&app, &state).await?)))
        }
        Err(DeclareError::Store(Error::NameTaken)) => {
            Err(failed(409, "A0410", format!("another tenant has a deployment `{name}`"), "choose another name"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses what would end a deployment that runs another model, or the same under another name, because the name that was
/// made up for it happens to be the same.
pub(crate) async fn keep_others(app: &App, declared: &Declared) -> Answer<()> {
    let Some(row) = app.controller.store().deployment(&declared.name).await? else { return Ok(()) };
    let other = &row.state;
    if other.tenant != declared.tenant {
        // Whose it is, and what it runs, is not told.
        return Ok(());
    }
    let same = other.profile.model == declared.profile.model && other.profile.served_name == declared.profile.served_name;
    if other.wish == Wish::Stop || same {
        return Ok(());
    }
    let message = format!(
        "`{}` runs `{}` as `{}` already, and would be ended for this",
        other.name, other.profile.model, other.profile.served_name
    );
    Err(failed(409, "A0420", message, "give the new one a name of its own: `--name`, or `backend_name` in the alias"))
}

/// A served name that another deployment, or a registered backend, has.
pub(crate) async fn clash(app: &App, declared: &Declared) -> Answer<Option<String>> {
    let mut names = vec![declared.profile.served_name.clone()];
    names.extend(declared.profile.engine.lora.iter().map(|l| l.name.clone()));
    for row in app.controller.store().deployments().await? {
        let other = row.state;
        let theirs =
            |name: &&String| other.profile.served_name == **name || other.profile.engine.lora.iter().any(|l| l.name == **name);
        let replicas = app.controller.replicas_of(&other.id).await?;
        // What has failed for good answers to nothing and keeps no name from others.
        let lives = other.wish == Wish::Run && other.status(&replicas) != Status::Error;
        if other.name != declared.name && lives && names.iter().any(|n| theirs(&n)) {
            return Ok(names.iter().find(theirs).cloned());
        }
    }
    let backends = app.controller.store().backends().await?;
    Ok(names.into_iter().find(|n| backends.iter().any(|b| b.served_names.contains(n))))
}

/// Which part of a list is asked for.
#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    limit: Option<usize>,
    /// The name of the last one that is known already.
    after: Option<String>,
}

/// Deployments in one answer, where nobody says how many, and at the most.
const EACH: usize = 1000;

pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Answer<Json<List<wire::Deployment>>> {
    let limit = page.limit.unwrap_or(EACH).clamp(1, EACH);
    let mut skipping = page.after.clone();
    let seen = status::some(&app, &caller, (0, limit), |d| match &skipping {
        Some(after) => {
            if d.name == *after {
                skipping = None;
            }
            false
        }
        None => true,
    })
    .await?;
    if let Some(after) = skipping {
        return Err(failed(422, "A0422", format!("there is no deployment `{after}` to go on after"), "begin the list anew"));
    }
    let next = (seen.total > seen.shown.len()).then(|| seen.shown.last().map(|d| d.name.clone())).flatten();
    Ok(Json(List { items: seen.shown, next }))
}

pub(crate) async fn overview(State(app): State<App>, caller: Caller) -> Answer<Json<wire::Status>> {
    Ok(Json(status::all(&app, &caller).await?))
}

/// The deployment of that name or id, if it is one that the caller may see.
pub(crate) async fn find(app: &App, caller: &Caller, name: &str) -> Answer<Deployment> {
    let row = app.controller.store().deployment(name).await?;
    row.map(|r| r.state).filter(|d| caller.sees(&d.tenant)).ok_or_else(|| unknown("deployment", name))
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    /// Answer when something has changed after this number, or after a while.
    #[serde(default)]
    after: Option<u64>,
}

impl Wait {
    /// Waits for a change; the number that it brought.
    pub(crate) async fn until(&self, app: &App) -> u64 {
        let mut changes = app.controller.changes();
        if let Some(after) = self.after {
            // Whether it came in time does not matter: the present state is the answer.
            let waited = tokio::time::timeout(WAIT, changes.wait_for(|n| *n > after)).await;
            tracing::trace!(in_time = waited.is_ok(), "waited for a change");
        }
        *changes.borrow_and_update()
    }
}

/// How long a question may wait for a change.
const WAIT: Duration = Duration::from_secs(20);

pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(wait): Query<Wait>,
) -> Answer<Json<Watched>> {
    find(&app, &caller, &name).await?;
    let change = wait.until(&app).await;
    let state = find(&app, &caller, &name).await?;
    let facts = app.controller.store().facts(&state.id, 50).await?;
    let facts = facts.into_iter().map(told).collect();
    Ok(Json(Watched { change, deployment: status::one(&app, &state).await?, facts }))
}

fn told(fact: charter_domain::fact::Fact) -> Fact {
    Fact { at: rfc3339(fact.at), at_ms: fact.at.0, replica: fact.replica.map(|r| r.0), text: fact.text }
}

/// Its time line, oldest first.
pub(crate) async fn facts(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<List<Fact>>> {
    let state = find(&app, &caller, &name).await?;
    let facts = app.controller.store().facts(&state.id, 1000).await?;
    Ok(Json(List::whole(facts.into_iter().map(told).collect())))
}

pub(crate) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<(StatusCode, Json<wire::Deployment>)> {
    caller.need(Role::Operator)?;
    let id = find(&app, &caller, &name).await?.id;
    app.controller.write_down(&id, format!("`{}` said to end it", caller.name)).await?;
    let Some(state) = app.controller.end(id.as_str()).await? else {
        return Err(unknown("deployment", &name));
    };
    Ok((StatusCode::ACCEPTED, Json(status::one(&app, &state).await?)))
}

/// The replica whose engine people mean: the newest that has one, or the newest that failed.
pub(crate) async fn replica_of(app: &App, state: &Deployment) -> Answer<Option<Replica>> {
    let mut all = app.controller.replicas_of(&state.id).await?;
    all.sort_by_key(|r| (r.process().is_some(), r.instance().is_some(), r.generation, r.since));
    Ok(all.pop())
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default)]
    from: Option<u64>,
    #[serde(default)]
    tail: Option<usize>,
}

/// Most of a log that one answer carries.
const LOG_MAX: usize = 256 * 1024;

/// The engine's log: its end, or what follows a position. `start` names the run, so that a follower notices a new one.
pub(crate) async fn logs(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Answer<Json<LogPart>> {
    let state = find(&app, &caller, &name).await?;
    let Some(replica) = replica_of(&app, &state).await? else {
        return Ok(Json(LogPart { start: String::new(), next: 0, text: String::new(), ended: true }));
    };
    let start = format!("{}.{}", replica.id, replica.launches);
    let (Some(instance), true) = (replica.instance().cloned(), replica.process().is_some()) else {
        let text = app.controller.kept_log(&replica.id).unwrap_or_default();
        let ended = replica.phase.is_closed();
        let shown = if part.from.is_some() { String::new() } else { tail(&text, part.tail) };
        return Ok(Json(LogPart { start, next: text.len() as u64, text: shown, ended }));
    };
    let read = app.controller.read_log(&replica, part.from, LOG_MAX).await;
    let (next, text) = read.map_err(|why| {
        failed(502, "R0006", format!("the log of `{name}` cannot be read"), "it is tried again by itself").detail(why)
    })?;
    let masked = app.controller.masked(&state, &instance.tag, &text);
    let shown = if part.from.is_some() { masked } else { tail(&masked, part.tail) };
    Ok(Json(LogPart { start, next, text: shown, ended: false }))
}

fn tail(text: &str, lines: Option<usize>) -> String {
    let Some(count) = lines else { return text.to_owned() };
    let all: Vec<&str> = text.lines().collect();
    let mut out = all[all.len().saturating_sub(count)..].join("\n");
    if !out.is_empty() {
        out.push('\n');
    }
    out
}
