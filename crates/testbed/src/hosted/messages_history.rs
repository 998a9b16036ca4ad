//! The conversation that a request of Anthropic's Messages carries.

use super::errors::{Refusal, wrong};
use super::field::{given, list, text};
use super::messages_block as block;
use super::messages_read::extra;
use super::mind::{Asked, Outcome, weigh};
use super::models::Claude;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Messages of one role that stand together: the API takes them for one.
struct Turn<'a> {
    role: &'a str,
    /// The place of its first message.
    at: usize,
    blocks: Vec<Value>,
}

impl Turn<'_> {
    /// The ids of its blocks of one type.
    fn ids<'b>(&'b self, kind: &'b str, name: &'b str) -> impl Iterator<Item = &'b str> {
        self.blocks.iter().filter(move |block| text(block, "type") == kind).map(move |block| text(block, name))
    }
}

/// Reads a conversation, or refuses it as the API does.
pub(super) fn read(body: &Value, model: Claude) -> Result<Asked, Refusal> {
    let Some(messages) = body["messages"].as_array() else { return Err(wrong("messages: Input should be a valid list")) };
    let turns = turns(messages, model)?;
    let calls = calls(&turns)?;
    if !calls.is_empty() && list(body, "tools").is_empty() {
        return Err(wrong("Requests which include `tool_use` or `tool_result` blocks must define tools"));
    }
    if text(&body["thinking"], "type") == "enabled" {
        thought(&turns)?;
    }
    end(&turns, model)?;
    let mut asked = Asked { bytes: weigh(&body["messages"]), ..Asked::default() };
    for turn in &turns {
        hear(turn, &calls, &mut asked);
    }
    Ok(asked)
}

fn turns(messages: &[Value], model: Claude) -> Result<Vec<Turn<'_>>, Refusal> {
    if messages.is_empty() {
        return Err(wrong("messages: at least one message is required"));
    }
    let mut turns: Vec<Turn<'_>> = vec![];
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages.{at}");
        if !message.is_object() {
            return Err(wrong(format!("{path}: Input should be a valid dictionary")));
        }
        extra(message, &["role", "content"], &path)?;
        let role = text(message, "role");
        match role {
            "user" | "assistant" => {}
            "system" if !model.takes_system_midway() => {
                return Err(wrong(
                    "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, \
                     not \"system\" as an input message role.",
                ));
            }
            "system" if turns.last().is_none_or(|before| before.role != "user") => {
                return Err(wrong(format!("{path}: a message of role \"system\" must follow a user turn")));
            }
            "system" => {}
            _ => return Err(wrong(format!("{path}.role: Input should be 'user' or 'assistant'"))),
        }
        if turns.is_empty() && role != "user" {
            return Err(wrong("messages: first message must use the \"user\" role"));
        }
        let blocks = blocks(message, role, &path, at + 1 == messages.len())?;
        match turns.last_mut().filter(|before| before.role == role && role != "system") {
            Some(before) => before.blocks.extend(blocks),
            None => turns.push(Turn { role, at, blocks }),
        }
    }
    Ok(turns)
}

/// The blocks of a message, each of them looked at.
fn blocks(message: &Value, role: &str, path: &str, is_last: bool) -> Result<Vec<Value>, Refusal> {
    let empty = |what: &str| Err(wrong(format!("{path}: {what}")));
    let blocks = match given(message, "content") {
        Some(Value::String(text)) if text.is_empty() => vec![],
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        Some(Value::Array(blocks)) => blocks.clone(),
        Some(_) => return empty("Input should be a valid list"),
        None => return Err(wrong(format!("{path}.content: Field required"))),
    };
    if blocks.is_empty() && !(is_last && role == "assistant") {
        return empty("all messages must have non-empty content except for the optional final assistant message");
    }
    for (at, one) in blocks.iter().enumerate() {
        block::check(one, role, &format!("{path}.content.{at}"))?;
    }
    Ok(blocks)
}

/// The tools that were called, by the ids of the calls. Each call has its result directly behind it, and before anything else.
fn calls(turns: &[Turn<'_>]) -> Result<BTreeMap<String, String>, Refusal> {
    let mut calls = BTreeMap::new();
    let mut before: BTreeSet<String> = BTreeSet::new();
    for (nth, turn) in turns.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for id in turn.ids("tool_result", "tool_use_id") {
            if !before.contains(id) {
                return Err(wrong(format!(
                    "messages.{}.content: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block \
                     must have a corresponding `tool_use` block in the previous message.",
                    turn.at
                )));
            }
            if !seen.insert(id) {
                return Err(wrong(format!(
                    "messages.{}.content: each tool_use must have a single result. Found multiple \
                     `tool_result` blocks with id: {id}",
                    turn.at
                )));
            }
        }
        before.clear();
        for block in turn.blocks.iter().filter(|block| text(block, "type") == "tool_use") {
            before.insert(text(block, "id").to_owned());
            if calls.insert(text(block, "id").to_owned(), text(block, "name").to_owned()).is_some() {
                return Err(wrong("messages: `tool_use` ids must be unique"));
            }
        }
        let next = turns.get(nth + 1).map(|next| next.blocks.as_slice()).unwrap_or_default();
        let leading = next.iter().take_while(|block| text(block, "type") == "tool_result");
        let results: BTreeSet<&str> = leading.map(|block| text(block, "tool_use_id")).collect();
        let absent: Vec<&str> = before.iter().map(String::as_str).filter(|id| !results.contains(id)).collect();
        if !absent.is_empty() {
            return Err(wrong(format!(
                "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
                 `tool_use` block must have a corresponding `tool_result` block in the next message.",
                turn.at,
                absent.join(", ")
            )));
        }
    }
    Ok(calls)
}

/// Where thoughts have a budget, an answer that called tools goes on with the thoughts that led there.
fn thought(turns: &[Turn<'_>]) -> Result<(), Refusal> {
    let is_running = turns.last().is_some_and(|turn| turn.ids("tool_result", "tool_use_id").next().is_some());
    let last = turns.iter().rev().find(|turn| turn.role == "assistant").filter(|_| is_running);
    let first = last.and_then(|turn| turn.blocks.first()).map(|block| text(block, "type"));
    match first {
        None | Some("thinking" | "redacted_thinking") => Ok(()),
        Some(found) => Err(wrong(format!(
            "messages.{}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{found}`. When `thinking` is \
             enabled, a final `assistant` message must start with a thinking block.",
            last.map_or(0, |turn| turn.at)
        ))),
    }
}

/// Who speaks last.
fn end(turns: &[Turn<'_>], model: Claude) -> Result<(), Refusal> {
    let Some(last) = turns.last().filter(|turn| turn.role == "assistant") else { return Ok(()) };
    if !model.prefills() {
        return Err(wrong(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    let said = last.blocks.last().map(|block| text(block, "text")).unwrap_or_default();
    if said.ends_with(char::is_whitespace) {
        return Err(wrong("messages: final assistant content cannot end with trailing whitespace"));
    }
    Ok(())
}

/// Takes in what a turn says.
fn hear(turn: &Turn<'_>, calls: &BTreeMap<String, String>, asked: &mut Asked) {
    if turn.role == "system" {
        return;
    }
    asked.results.clear();
    if turn.role == "assistant" {
        return;
    }
    let mut said = vec![];
    for one in &turn.blocks {
        match text(one, "type") {
            "text" => said.push(text(one, "text")),
            "image" => asked.images.push(block::image_name(one)),
            "tool_result" => {
                let tool = calls.get(text(one, "tool_use_id")).cloned().unwrap_or_default();
                asked.results.push(Outcome { tool, said: block::plain(&one["content"]) });
                asked.images.extend(list(one, "content").iter().filter(|b| text(b, "type") == "image").map(block::image_name));
            }
            _ => {}
        }
    }
    if !said.is_empty() {
        asked.last_user = said.join("\n");
        asked.results.clear();
    }
}
