//! Events: every line of every time line in one order, as a stream that can be taken up again without a gap and without a line
//! twice.

use crate::auth::Caller;
use crate::console;
use crate::problem::{Answer, Path, Query, failed};
use crate::router::App;
use crate::status::rfc3339;
use crate::stream::QUIET;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use charter_domain::ids::DeploymentId;
use charter_domain::time::Time;
use charter_store::{Error, Logged};
use serde_json::json;
use std::collections::BTreeMap;

/// Lines that are read at once.
const EACH: u32 = 500;
/// Lines that are looked through for a page.
const LOOKED_AT: usize = 20_000;

/// Words that follow the name of a person in a line that tells who did something.
const DONE: [&str; 7] = [" said ", " made ", " revoked ", " registered ", " removed ", " changed ", " saved "];

/// Writes down who did what, where it is about no deployment.
pub(crate) async fn told(app: &App, caller: &Caller, did: String) -> Answer<()> {
    let text = format!("`{}` {did}", caller.name);
    Ok(app.controller.write_down(&DeploymentId(String::new()), text).await?)
}

/// One line.
pub(crate) struct Event {
    /// Rises with every line.
    pub(crate) id: u64,
    pub(crate) at: Time,
    /// The deployment's name; empty where it is about none.
    pub(crate) name: String,
    pub(crate) text: String,
    /// Who did it; empty where nobody said.
    pub(crate) by: String,
}

/// Names of deployments that the caller may see, by id.
async fn names(app: &App, caller: &Caller) -> Result<BTreeMap<String, String>, Error> {
    let rows = app.controller.store().deployments().await?.into_iter().map(|row| row.state);
    Ok(rows.filter(|d| caller.sees(&d.tenant)).map(|d| (d.id.0, d.name)).collect())
}

/// A line for a caller; none that is not theirs. What is about no deployment is an admin's.
fn event(logged: &Logged, names: &BTreeMap<String, String>, caller: &Caller) -> Option<Event> {
    let fact = &logged.fact;
    let name = match names.get(fact.deployment.as_str()) {
        Some(name) => name.clone(),
        None if fact.deployment.as_str().is_empty() && caller.role == charter_store::Role::Admin => String::new(),
        None => return None,
    };
    // Who did it stands first in a line that tells of a person.
    let by = fact.text.strip_prefix('`').and_then(|rest| rest.split_once('`'));
    let by = by.filter(|(_, rest)| DONE.iter().any(|word| rest.starts_with(word)));
    let by = by.map(|(who, _)| who.to_owned()).unwrap_or_default();
    Some(Event { id: logged.seq, at: fact.at, name, text: fact.text.clone(), by })
}

/// The newest lines that fit, before one of them, the newest first.
pub(crate) async fn newest(
    app: &App,
    caller: &Caller,
    before: Option<u64>,
    limit: usize,
    fits: impl Fn(&Event) -> bool,
) -> Answer<Vec<Event>> {
    let known = names(app, caller).await?;
    let (mut found, mut before, mut looked) = (vec![], before, 0);
    loop {
        let part = app.controller.store().logged_before(before, EACH).await?;
        for logged in &part {
            looked += 1;
            before = Some(logged.seq);
            if let Some(event) = event(logged, &known, caller).filter(|e| fits(e)) {
                found.push(event);
            }
            if found.len() == limit {
                return Ok(found);
            }
        }
        if part.is_empty() || looked >= LOOKED_AT {
            return Ok(found);
        }
    }
}

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// Only what comes after this line; without it, only what comes from now on.
    after: Option<u64>,
}

/// The stream. `Last-Event-ID` takes it up again.
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(wish): Query<Wish>,
) -> Answer<Response> {
    let said = headers.get("last-event-id").and_then(|v| v.to_str().ok());
    let resumed = match said {
        Some(text) => Some(text.trim().parse::<u64>().map_err(|_| {
            failed(
                422,
                "A0422",
                format!("`{text}` is no id of an event"),
                "leave `Last-Event-ID` out to begin with what comes next",
            )
        })?),
        None => wish.after,
    };
    let mut after = match resumed {
        Some(after) => after,
        None => app.controller.store().logged_before(None, 1).await?.first().map_or(0, |l| l.seq),
    };
    let (events, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let mut changes = app.controller.changes();
        loop {
            changes.borrow_and_update();
            while let Ok(part) = app.controller.store().logged_after(after, EACH).await {
                if part.is_empty() {
                    break;
                }
                let Ok(known) = names(&app, &caller).await else { break };
                for logged in &part {
                    after = logged.seq;
                    if let Some(e) = event(logged, &known, &caller)
                        && events.send(shown(&e)).await.is_err()
                    {
                        return;
                    }
                }
            }
            let waited = tokio::select! {
                waited = tokio::time::timeout(QUIET, changes.changed()) => waited,
                () = app.stop.cancelled() => return,
                () = events.closed() => return,
            };
            match waited {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) if !caller.stands(&app).await => return,
                // The place stands in the comment's stead too: a client that heard nothing of its own goes on from here.
                Err(_) if events.send(Bytes::from(format!("id: {after}\n: still there\n\n"))).await.is_err() => return,
                Err(_) => {}
            }
        }
    });
    Ok(crate::stream::response(receiver))
}

fn shown(event: &Event) -> Bytes {
    let data = json!({
        "id": event.id, "at": rfc3339(event.at), "deployment": Some(&event.name).filter(|n| !n.is_empty()),
        "by": Some(&event.by).filter(|b| !b.is_empty()), "text": event.text,
    });
    Bytes::from(format!("id: {}\nevent: fact\ndata: {data}\n\n", event.id))
}

/// New lines of a log as they come.
pub(crate) async fn log_stream(State(app): State<App>, caller: Caller, Path(name): Path<String>, headers: HeaderMap) -> Response {
    console::follow_log(app, caller, name, &headers).await
}

/// The whole log of the present run.
pub(crate) async fn log_file(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Response {
    console::log_file(&app, &caller, &name).await
}
