//! The messages of Chat Completions.

use super::errors::{Refusal, missing, openai, unknown as unknown_field, wrong_type};
use super::field::{given, list, text, unknown};
use super::mind::{Asked, Outcome, weigh};
use super::openai as own;
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads a conversation, or refuses it as the API does.
pub(super) fn read(messages: &[Value]) -> Result<Asked, Refusal> {
    let mut asked = Asked { bytes: messages.iter().map(weigh).sum(), ..Asked::default() };
    // The calls that were made, and those of the last answer that nothing came back for yet.
    let mut tools: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open: Vec<&str> = vec![];
    for (at, message) in messages.iter().enumerate() {
        let role = fields(message, at)?;
        if role == "tool" {
            let id = text(message, "tool_call_id");
            if !open.contains(&id) {
                let why = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                return Err(openai(400, &format!("Invalid parameter: {why}"), Some(&format!("messages.[{at}].role")), None));
            }
            open.retain(|known| *known != id);
            let tool = tools.get(id).copied().unwrap_or_default().to_owned();
            asked.results.push(Outcome { tool, said: plain(&message["content"]) });
            content(message, at, &["text"], &mut asked)?;
            continue;
        }
        answered(&open)?;
        if role == "assistant" {
            asked.results.clear();
            calls(message, at)?;
            for call in list(message, "tool_calls") {
                tools.insert(text(call, "id"), text(&call["function"], "name"));
                open.push(text(call, "id"));
            }
            let is_silent = ["tool_calls", "refusal", "audio", "function_call"].iter().all(|name| given(message, name).is_none());
            if given(message, "content").is_some() || is_silent {
                content(message, at, &["text", "refusal"], &mut asked)?;
            }
            continue;
        }
        if role == "user" {
            asked.results.clear();
            asked.last_user = plain(&message["content"]);
            content(message, at, &["text", "image_url", "input_audio", "file"], &mut asked)?;
        } else {
            content(message, at, &["text"], &mut asked)?;
        }
    }
    answered(&open)?;
    Ok(asked)
}

/// A message's own fields; its role.
fn fields(message: &Value, at: usize) -> Result<&str, Refusal> {
    let path = format!("messages[{at}]");
    if !message.is_object() {
        return Err(wrong_type(&path, "an object", message));
    }
    let role = text(message, "role");
    let known: &[&str] = match role {
        "system" | "developer" | "user" | "function" => &["role", "content", "name"],
        "assistant" => &["role", "content", "name", "refusal", "audio", "tool_calls", "function_call", "annotations"],
        "tool" => &["role", "content", "tool_call_id", "name"],
        "" => return Err(missing(&format!("{path}.role"))),
        other => {
            let supported = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'";
            let message = format!("Invalid value: '{other}'. Supported values are: {supported}.");
            return Err(openai(400, &message, Some(&format!("{path}.role")), Some("invalid_value")));
        }
    };
    if let Some(name) = unknown(message, known) {
        return Err(unknown_field(&format!("{path}.{name}")));
    }
    if role == "tool" && text(message, "tool_call_id").is_empty() {
        return Err(missing(&format!("{path}.tool_call_id")));
    }
    Ok(role)
}

fn answered(open: &[&str]) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
         The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    );
    Err(openai(400, &message, Some("messages"), None))
}

/// The calls that an assistant made.
fn calls(message: &Value, at: usize) -> Result<(), Refusal> {
    let path = format!("messages[{at}].tool_calls");
    if let Some(calls) = given(message, "tool_calls") {
        own::not_empty(calls, &path)?;
    }
    let mut seen = vec![];
    for (nth, call) in list(message, "tool_calls").iter().enumerate() {
        let (path, id) = (format!("{path}[{nth}]"), text(call, "id"));
        for (name, is_there) in
            [("id", !id.is_empty()), ("type", text(call, "type") == "function"), ("function", call["function"].is_object())]
        {
            if !is_there {
                return Err(missing(&format!("{path}.{name}")));
            }
        }
        if let Some(name) = unknown(call, &["id", "type", "function"]) {
            return Err(unknown_field(&format!("{path}.{name}")));
        }
        own::name(&call["function"]["name"], &format!("{path}.function.name"))?;
        if !call["function"]["arguments"].is_string() {
            return Err(wrong_type(&format!("{path}.function.arguments"), "a string", &call["function"]["arguments"]));
        }
        if seen.contains(&id) {
            let message = format!("Duplicate value for 'tool_call_id' of '{id}' in message[{at}].");
            return Err(openai(400, &message, Some("messages"), None));
        }
        seen.push(id);
    }
    Ok(())
}

/// The content of a message: a text, or parts of the kinds that its role may have.
fn content(message: &Value, at: usize, kinds: &[&str], asked: &mut Asked) -> Result<(), Refusal> {
    let path = format!("messages[{at}].content");
    let content = &message["content"];
    let parts = match content {
        Value::String(_) => return Ok(()),
        Value::Array(parts) if !parts.is_empty() => parts,
        Value::Array(_) => return own::not_empty(content, &path),
        Value::Null => {
            let message = "Invalid value for 'content': expected a string, got null.";
            return Err(openai(400, message, Some(&format!("messages.[{at}].content")), None));
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(wrong_type(&path, "one of a string or array of objects", content));
        }
    };
    for (nth, part) in parts.iter().enumerate() {
        let (path, kind) = (format!("{path}[{nth}]"), text(part, "type"));
        if !kinds.contains(&kind) {
            let kinds = kinds.iter().map(|k| format!("'{k}'")).collect::<Vec<_>>().join(", ");
            let message = format!("Invalid value: '{kind}'. Supported values are: {kinds}.");
            return Err(openai(400, &message, Some(&format!("{path}.type")), Some("invalid_value")));
        }
        if !part.get(kind).is_some_and(|inner| matches!(kind, "text" | "refusal") == inner.is_string() && !inner.is_null()) {
            return Err(wrong_type(&format!("{path}.{kind}"), "another type", part.get(kind).unwrap_or(&Value::Null)));
        }
        if let Some(name) = unknown(part, &["type", kind]) {
            return Err(unknown_field(&format!("{path}.{name}")));
        }
        if kind == "image_url" {
            let inner = &part["image_url"];
            if let Some(name) = unknown(inner, &["url", "detail"]) {
                return Err(unknown_field(&format!("{path}.image_url.{name}")));
            }
            asked.images.push(own::image(text(inner, "url"), &format!("{path}.image_url.url"))?);
        }
    }
    Ok(())
}

/// The text of some content.
fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().map(|part| text(part, "text")).filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}
