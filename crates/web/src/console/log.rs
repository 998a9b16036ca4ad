//! The log of a deployment's engine: followed, searched, downloaded. Terminal codes and our own looking are not in it.

use super::console::Console;
use super::layout::{Place, card, empty, encoded, of_deployment, page as whole};
use super::visitor::Visitor;
use crate::auth::Caller;
use crate::deployments;
use crate::problem::Answer;
use crate::problem::{Path, Query};
use crate::router::App;
use crate::stream::QUIET;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use charter_domain::replica::Replica;
use maud::html;
use std::time::Duration;

/// Shown of a log, in bytes.
const SHOWN: u64 = 400 * 1024;
/// What is searched: the newest bytes of the run.
const SEARCHED: u64 = 16_000_000;
/// Lines that a search shows.
const LINES_MAX: usize = 5000;
/// What a follower gets first.
const FIRST: u64 = 48 * 1024;
/// How often it is looked for new lines while somebody follows.
const EACH: Duration = Duration::from_secs(1);

#[derive(Default, serde::Deserialize)]
pub(crate) struct Wish {
    /// Only lines with this.
    #[serde(default)]
    q: String,
}

/// The run that people mean: of the newest copy that has an engine, or had one.
async fn run(app: &App, caller: &Caller, name: &str) -> Answer<Option<Replica>> {
    let state = deployments::find(app, caller, name).await?;
    deployments::replica_of(app, &state).await
}

/// What is kept of a run; of one that failed before anything was copied, what was seen last.
fn text(app: &App, replica: &Replica, from: Option<u64>, most: u64) -> charter_controller::Piece {
    let mut piece = app.controller.run_log(replica, from, most);
    if piece.text.is_empty() && from.is_none() {
        piece.text = app.controller.kept_log(&replica.id).unwrap_or_default();
    }
    piece
}

pub(crate) async fn page(
    State(console): State<Console>,
    visitor: Visitor,
    Path(name): Path<String>,
    Query(wish): Query<Wish>,
) -> Response {
    let app = &console.app;
    let found = match run(app, &visitor.caller, &name).await {
        Ok(found) => found,
        Err(failed) => return failed.into_response(),
    };
    let asked = wish.q.to_lowercase();
    let part = if asked.is_empty() { SHOWN } else { SEARCHED };
    let all = found.as_ref().map(|r| text(app, r, None, part).text).unwrap_or_default();
    let mut lines: Vec<&str> = all.lines().filter(|line| asked.is_empty() || line.to_lowercase().contains(&asked)).collect();
    let found_all = lines.len();
    let lines = lines.split_off(found_all.saturating_sub(LINES_MAX));
    let base = of_deployment(&name);
    let body = html! {
        div.head {
            div { nav.crumb aria-label="Way back" { a href="/" { "Overview" } " / " a href=(base) { (name) } " / log" } h1 { "Log of " (name) } }
            div.actions { a.button href={ (base) "/log/file" } download { "Download the whole log" } }
        }
        (card("lines", "The newest lines", html! { (super::figures::many(lines.len(), "line", "lines")) @if !asked.is_empty() { " with “" (wish.q) "”" } }, html! {
            form.row role="search" method="get" {
                label.sr for="q" { "Only lines with" } input #q type="search" name="q" value=(wish.q) placeholder="only lines with…"; button.small { "Search" }
                @if !wish.q.is_empty() { a href={ (base) "/log" } { "all lines" } }
            }
            @if asked.is_empty() {
                @if lines.is_empty() { p.soft { "An engine writes its first lines once its machine has been found and its process begun." } }
                pre.log tabindex="0" aria-label="Log of the engine" data-log={ (base) "/log/stream" } data-all { (lines.join("\n")) }
                div.row { label.tick { input type="checkbox" checked data-follow; "follow" } input type="search" placeholder="mark lines with…" aria-label="Mark lines" data-mark; }
            } @else if lines.is_empty() {
                (empty("No such line", html! { p { "It is not in the newest " (SEARCHED / 1_000_000) " MB of this run; the whole log is there to be downloaded." } }))
            } @else {
                pre.log tabindex="0" aria-label="Lines that were found" { (lines.join("\n")) }
                p.small.soft { "Of the newest " (SEARCHED / 1_000_000) " MB of this run" @if found_all > lines.len() { ", the last " (lines.len()) " of " (found_all) " lines" } "." }
            }
        }))
    };
    whole(&visitor, Place::Overview, &format!("Log of {name}"), body)
}

/// New lines as they come: each event carries some, its id is the place to go on from.
pub(crate) async fn stream(
    State(console): State<Console>,
    visitor: Visitor,
    Path(name): Path<String>,
    Query(begin): Query<Begin>,
    mut headers: HeaderMap,
) -> Response {
    // A page that was hidden for a while takes it up again under a new connection, which can say no header of its own.
    if let Some(Ok(from)) = begin.from.filter(|_| !headers.contains_key("last-event-id")).map(|from| from.parse()) {
        headers.insert("last-event-id", from);
    }
    follow(console.app, visitor.caller, name, &headers).await
}

#[derive(Default, serde::Deserialize)]
pub(crate) struct Begin {
    /// The place that was heard last.
    from: Option<String>,
}

/// The same for the API.
pub(crate) async fn follow(app: App, caller: Caller, name: String, headers: &HeaderMap) -> Response {
    let first = match run(&app, &caller, &name).await {
        Ok(first) => first,
        Err(failed) => return failed.into_response(),
    };
    // `run@place`: what another run has written is no place in this one.
    let said = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.rsplit_once('@'));
    let resumed = said.and_then(|(run, at)| Some((run.to_owned(), at.parse::<u64>().ok()?)));
    let (events, receiver) = tokio::sync::mpsc::channel(4);
    let stop = app.stop.clone();
    tokio::spawn(async move {
        let mut replica = first;
        let mut at = replica.as_ref().map(|r| (name_of(r), None)).map(|(run, _): (String, Option<u64>)| {
            let from = resumed.filter(|(known, _)| *known == run).map(|(_, at)| at);
            (run, from)
        });
        let mut quiet = Duration::ZERO;
        loop {
            app.controller.fetch_logs();
            if let Some(now) = &replica {
                let run_now = name_of(now);
                let from = at.as_ref().filter(|(run, _)| *run == run_now).and_then(|(_, from)| *from);
                let piece = text(&app, now, from, if from.is_some() { SHOWN } else { FIRST });
                if !piece.text.is_empty() {
                    quiet = Duration::ZERO;
                    if events.send(lines(&run_now, piece.next, &piece.text)).await.is_err() {
                        return;
                    }
                }
                at = Some((run_now, Some(piece.next.max(from.unwrap_or(0)))));
            }
            tokio::select! {
                () = tokio::time::sleep(EACH) => quiet += EACH,
                () = events.closed() => return,
                () = stop.cancelled() => return,
            }
            if quiet >= QUIET {
                quiet = Duration::ZERO;
                if !caller.stands(&app).await || events.send(Bytes::from_static(b": nothing new\n\n")).await.is_err() {
                    return;
                }
            }
            if let Ok(newer) = run(&app, &caller, &name).await {
                replica = newer;
            }
        }
    });
    crate::stream::response(receiver)
}

fn name_of(replica: &Replica) -> String {
    format!("{}.{}", replica.id, replica.launches)
}

/// Lines as one event.
fn lines(run: &str, next: u64, text: &str) -> Bytes {
    let mut out = format!("id: {run}@{next}\n");
    for line in text.lines() {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out.into()
}

/// The whole log of the run, as a file.
pub(crate) async fn file(State(console): State<Console>, visitor: Visitor, Path(name): Path<String>) -> Response {
    whole_file(&console.app, &visitor.caller, &name).await
}

pub(crate) async fn whole_file(app: &App, caller: &Caller, name: &str) -> Response {
    let found = match run(app, caller, name).await {
        Ok(found) => found,
        Err(failed) => return failed.into_response(),
    };
    let mut parts: Vec<tokio::fs::File> = vec![];
    for path in found.as_ref().map(|r| app.controller.run_log_files(r)).unwrap_or_default() {
        parts.extend(tokio::fs::File::open(path).await.ok());
    }
    let kept = found.as_ref().filter(|_| parts.is_empty()).and_then(|r| app.controller.kept_log(&r.id)).unwrap_or_default();
    let body = if parts.is_empty() { Body::from(kept) } else { crate::stream::files(parts) };
    let head = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.log\"", encoded(name))),
    ];
    (head, body).into_response()
}
