//! The playground: a model is asked, its answer streams, and beside it stand the plan that was made for it and what it cost.

use super::console::Console;
use super::layout::{Place, card, empty, page as whole};
use super::visitor::{Act, Visitor};
use crate::auth::hash;
use crate::problem::Query;
use crate::problem::{Answer, failed};
use crate::router::App;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_domain::ids::KeyId;
use charter_domain::time::Span;
use charter_store::{KeyRow, Role};
use maud::html;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// A key of the playground is good for so long.
const GOOD_FOR: Span = Span::min(15);
/// Held of an answer until an event of it is whole.
const HELD_MAX: usize = 4 * 1024 * 1024;
/// Until the gateway has heard of a new key.
const HEARD: Duration = Duration::from_secs(2);

#[derive(Default, serde::Deserialize)]
pub(crate) struct Wish {
    #[serde(default)]
    model: String,
}

/// Names that can be asked.
fn names(app: &App, caller: &crate::auth::Caller) -> BTreeSet<String> {
    let table = app.controller.routes().borrow().clone();
    let mut all: BTreeSet<String> = table
        .backends
        .iter()
        .filter(|b| b.hosted.is_none())
        .flat_map(|b| b.served_names.iter().map(|s| s.name.clone()))
        .collect();
    all.extend(table.routes.iter().map(|r| r.name.clone()));
    all.retain(|name| caller.routes.is_empty() || caller.routes.contains(name));
    all
}

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Query(wish): Query<Wish>) -> Response {
    let all = names(&console.app, &visitor.caller);
    let body = html! {
        div.head { div { h1 { "Playground" } p.soft { "Ask as a client would: through the gateway, with limits, accounting and plans." } } }
        @if all.is_empty() {
            (card("ask", "Ask", html! {}, empty("No model answers yet", html! { @if visitor.caller.is(Role::Operator) { p { a.button.main href="/deploy" { "Deploy a model" } } } @else { p { "An operator deploys one." } } })))
        } @else {
            div.two {
                (card("ask", "Ask", html! {}, html! {
                    form.grid method="post" action="/playground" data-ask {
                        input type="hidden" name="form" value=(visitor.form_token);
                        div.fields {
                            label.field { "Model" select name="model" { @for name in &all { option selected[*name == wish.model] { (name) } } } }
                            label.field { "Effort" select name="effort" { option value="" { "as it is classified" } @for n in 1..=10 { option value=(n) { (n) } } } }
                            label.field { "Answer at most, tokens" input name="max_tokens" inputmode="numeric" value="512"; }
                        }
                        label.field { "System" textarea name="system" placeholder="You are a helpful assistant." {} }
                        label.field { "Question" textarea name="question" required placeholder="What is the capital of France?" {} }
                        div.actions { button.main { "Ask" } button type="button" data-stop hidden { "Stop" } }
                    }
                }))
                div.stack {
                    (card("answer", "Answer", html! { span data-speed {} }, html! { div.answer aria-live="polite" aria-busy="false" data-answer { span.soft { "The answer is written here." } } }))
                    (card("way", "The way it took", html! {}, html! { dl.pairs data-way { dt { "Plan" } dd.soft { "made when something is asked" } } }))
                }
            }
        }
    };
    whole(&visitor, Place::Playground, "Playground", body)
}

/// A key for these questions, in the name of the one who asks. It is made anew for each, and ends by itself.
async fn key(app: &App, act: &Act) -> Answer<(KeyRow, String)> {
    let (caller, now, secret) = (act.caller(), app.controller.now(), (app.new_key)());
    let row = KeyRow {
        // One for each who asks: what they have spent today counts on, however often they ask.
        id: KeyId(format!("key_play_{}", caller.id)),
        name: format!("playground of {}", caller.name),
        sha256: hash(&secret),
        prefix: crate::auth::prefix_of(&secret),
        role: Role::Viewer,
        routes: caller.routes.clone(),
        created_at: now,
        expires_at: Some(now + GOOD_FOR),
        tenant: caller.tenant.clone(),
        limits: charter_domain::routing::KeyLimits { agentic: caller.is(Role::Admin), ..caller.limits },
    };
    app.controller.store().put_key(row.clone()).await?;
    app.controller.publish().await?;
    Ok((row, secret))
}

fn question(act: &Act) -> Value {
    let mut messages = vec![];
    if let Some(system) = act.said("system") {
        messages.push(json!({"role": "system", "content": system}));
    }
    messages.push(json!({"role": "user", "content": act.text("question")}));
    let mut body =
        json!({"model": act.text("model"), "messages": messages, "stream": true, "stream_options": {"include_usage": true}});
    if let Some(most) = act.said("max_tokens").and_then(|t| t.parse::<u64>().ok()) {
        body["max_tokens"] = most.into();
    }
    body
}

/// Streams an answer as events of our own: `plan`, `text`, `usage`, `error`, `end`.
pub(crate) async fn ask(State(console): State<Console>, act: Act) -> Response {
    let app = console.app.clone();
    if act.said("question").is_none() || act.said("model").is_none() {
        return failed(422, "A0422", "nothing is asked, or nobody", "choose a model and write a question").into_response();
    }
    let (row, secret) = match key(&app, &act).await {
        Ok(made) => made,
        Err(failed) => return failed.into_response(),
    };
    let headers =
        act.said("effort").map(|effort| ("x-charter-effort".to_owned(), effort.to_owned())).into_iter().collect::<Vec<_>>();
    let body = question(&act).to_string();
    let (events, receiver) = tokio::sync::mpsc::channel(16);
    let by = act.caller().name;
    tokio::spawn(async move {
        let said = |name: &str, data: &Value| Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
        let ended = tokio::select! {
            ended = tell(&app, &secret, headers, body, &events) => ended,
            () = events.closed() => Ok(()),
        };
        if let Err(why) = ended {
            events.send(said("error", &json!({"message": why}))).await.ok();
        }
        if let Some(text) = cost(&app, &row.id.0).await {
            events.send(said("cost", &json!({"text": text}))).await.ok();
        }
        events.send(said("end", &json!({}))).await.ok();
        tracing::debug!(by, "a question of the playground is over");
    });
    crate::stream::response(receiver)
}

/// What the question was charged, once the gateway has written it down.
async fn cost(app: &App, key: &str) -> Option<String> {
    let since = app.controller.now() - GOOD_FOR;
    for _ in 0..30 {
        let owned = key.to_owned();
        let mine = move |used: &charter_domain::usage::Used| *used.key == *owned;
        if let Some(used) = app.controller.store().used(since, 1, &mine).await.ok()?.first() {
            let (cost, rent) = (super::figures::usd(used.cost.0), super::figures::usd(used.rent.0));
            return Some(format!("{cost} charged, {rent} of the machine’s rent"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

async fn tell(
    app: &App,
    key: &str,
    headers: Vec<(String, String)>,
    body: String,
    events: &tokio::sync::mpsc::Sender<Bytes>,
) -> Result<(), String> {
    let said = |name: &str, data: &Value| Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
    let late = tokio::time::Instant::now() + HEARD;
    // A gateway in a process of its own hears of a new key a moment later.
    let mut answer = loop {
        let answer = app.ask.ask(key, headers.clone(), body.clone()).await?;
        if answer.status != 401 || tokio::time::Instant::now() >= late {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let told: serde_json::Map<String, Value> =
        answer.told.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    events.send(said("plan", &json!({"status": answer.status, "headers": told}))).await.ok();
    // Bytes, since a character may be cut between two pieces.
    let mut held: Vec<u8> = vec![];
    while let Some(piece) = answer.pieces.recv().await {
        held.extend_from_slice(&piece?);
        if held.len() > HELD_MAX {
            return Err("the answer has an event that is too long to be shown".to_owned());
        }
        while let Some(end) = held.windows(2).position(|two| two == b"\n\n").filter(|_| answer.status == 200) {
            let event = String::from_utf8_lossy(&held[..end]).into_owned();
            held.drain(..end + 2);
            for data in event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim) {
                for (name, value) in parts(data) {
                    if events.send(said(name, &value)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    if answer.status != 200 {
        let why: Value = serde_json::from_slice(&held).unwrap_or_default();
        return Err(why["error"]["message"]
            .as_str()
            .map_or_else(|| format!("the gateway answered {}", answer.status), str::to_owned));
    }
    Ok(())
}

/// What one event of a stream says.
fn parts(data: &str) -> Vec<(&'static str, Value)> {
    let Ok(event) = serde_json::from_str::<Value>(data) else { return vec![] };
    let mut all = vec![];
    let delta = &event["choices"][0]["delta"];
    for (field, name) in [("reasoning_content", "thought"), ("reasoning", "thought"), ("content", "text")] {
        if let Some(text) = delta[field].as_str().filter(|t| !t.is_empty()) {
            all.push((name, json!({"text": text})));
        }
    }
    if event["usage"].is_object() {
        all.push(("usage", event["usage"].clone()));
    }
    if event["error"].is_object() {
        all.push(("error", json!({"message": event["error"]["message"]})));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        assert_eq!(parts(r#"{"choices":[{"delta":{"content":"a"}}]}"#), [("text", json!({"text": "a"}))]);
        assert_eq!(parts(r#"{"choices":[{"delta":{"reasoning_content":"t"}}]}"#), [("thought", json!({"text": "t"}))]);
        assert_eq!(parts(r#"{"choices":[],"usage":{"prompt_tokens":1}}"#), [("usage", json!({"prompt_tokens": 1}))]);
        assert_eq!(parts(r#"{"error":{"message":"no"}}"#), [("error", json!({"message": "no"}))]);
        assert!(parts("[DONE]").is_empty() && parts("{}").is_empty());
    }
}
