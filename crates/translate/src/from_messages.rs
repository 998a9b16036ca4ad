//! From Anthropic's Messages to Chat Completions, for clients of the one and models of the other; and answers and errors back.
//!
//! Thoughts are not shown to these clients: a block of thoughts must be signed, ours would not be, and a client that sends it
//! back to the API it was made for is refused from then on. Thoughts of earlier turns are dropped for the same reason.

use crate::field::{count, given, id, list, object, text};
use crate::history::arguments;
use crate::messages::{by_status, unhandled};
use crate::usage::Usage;
use crate::{Names, Question, Untranslatable, fault};
use serde_json::{Map, Value, json};

/// `OpenAI`'s names of tools are shorter.
const NAME_MAX: usize = 64;
/// Fields that are translated, or mean nothing to the target.
const HANDLED: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "system",
    "tools",
    "tool_choice",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "stream",
    "output_config",
    "metadata",
    "thinking",
    "cache_control",
];

/// Puts a request of Anthropic's into the words of Chat Completions.
///
/// # Errors
/// What has no counterpart: files that are named by an id, unknown blocks and roles.
pub fn question(messages: &Value) -> Result<Question, Untranslatable> {
    let turns = list(messages, "messages");
    if turns.is_empty() {
        return Err(Untranslatable::new("messages", "`messages` must be a list with at least one message"));
    }
    let mut left_out = unhandled(messages, HANDLED);
    let blocks = turns.iter().flat_map(|turn| list(turn, "content"));
    let called = blocks.filter(|b| text(b, "type") == "tool_use").map(|b| text(b, "name"));
    let names = Names::of(called.chain(list(messages, "tools").iter().map(|tool| text(tool, "name"))), NAME_MAX, "");
    let (mut body, mut chat) = (Map::new(), vec![]);
    let system = plain(&messages["system"]);
    if !system.is_empty() {
        chat.push(json!({"role": "system", "content": system}));
    }
    for turn in turns {
        match text(turn, "role") {
            "user" => user(&turn["content"], &mut chat, &mut left_out)?,
            "assistant" => assistant(&turn["content"], &names, &mut chat, &mut left_out)?,
            "system" => chat.push(json!({"role": "system", "content": plain(&turn["content"])})),
            other => return Err(Untranslatable::new("messages", format!("messages of role `{other}` are not supported"))),
        }
    }
    body.insert("messages".to_owned(), chat.into());
    for (from, to) in [
        ("model", "model"),
        ("max_tokens", "max_tokens"),
        ("stop_sequences", "stop"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("top_k", "top_k"),
        ("stream", "stream"),
    ] {
        let value = given(messages, from).filter(|v| v.as_array().is_none_or(|all| !all.is_empty()));
        body.extend(value.map(|v| (to.to_owned(), v.clone())));
    }
    if messages["stream"] == true {
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    tools(messages, &names, &mut body, &mut left_out)?;
    output(&messages["output_config"], &mut body);
    let user = text(&messages["metadata"], "user_id");
    if !user.is_empty() {
        body.insert("user".to_owned(), user.into());
    }
    if text(&messages["thinking"], "type") == "enabled" {
        left_out.push("thinking".to_owned());
    }
    Ok(Question { body: body.into(), names, left_out, json_tool: false })
}

/// The texts of some content, one behind the other.
fn plain(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(all) => {
            let texts = all.iter().filter_map(|b| b.get("text").and_then(Value::as_str)).filter(|t| !t.is_empty());
            texts.collect::<Vec<_>>().join("\n\n")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// What is left out, once.
fn note(left_out: &mut Vec<String>, what: &str) {
    if !left_out.iter().any(|known| known == what) {
        left_out.push(what.to_owned());
    }
}

/// The blocks of some content. A text is one block.
fn blocks(content: &Value) -> Result<Vec<Value>, Untranslatable> {
    match content {
        Value::Null => Ok(vec![]),
        Value::String(text) => Ok(vec![json!({"type": "text", "text": text})]),
        Value::Array(all) => Ok(all.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err(Untranslatable::new("messages", "`content` must be a text or a list of blocks"))
        }
    }
}

/// What a user said. Results come first, as messages of their own; pictures inside of them have no place there and follow.
fn user(content: &Value, chat: &mut Vec<Value>, left_out: &mut Vec<String>) -> Result<(), Untranslatable> {
    let blocks = blocks(content)?;
    let is_result = |block: &&Value| text(block, "type") == "tool_result";
    let mut parts = vec![];
    for result in blocks.iter().filter(is_result) {
        let mut said = plain(&result["content"]);
        if result["is_error"] == true && !said.to_lowercase().starts_with("error") {
            said = format!("Error: {said}");
        }
        for block in list(result, "content").iter().filter(|b| text(b, "type") != "text") {
            parts.extend(part(block, left_out)?);
        }
        chat.push(json!({"role": "tool", "tool_call_id": text(result, "tool_use_id"), "content": said}));
    }
    for block in blocks.iter().filter(|block| !is_result(block)) {
        parts.extend(part(block, left_out)?);
    }
    match parts.as_slice() {
        [] => {}
        [one] if text(one, "type") == "text" => chat.push(json!({"role": "user", "content": text(one, "text")})),
        _ => chat.push(json!({"role": "user", "content": parts})),
    }
    Ok(())
}

/// A block of a user's, as a part.
fn part(block: &Value, left_out: &mut Vec<String>) -> Result<Option<Value>, Untranslatable> {
    let source = &block["source"];
    let inside = || format!("data:{};base64,{}", text(source, "media_type"), text(source, "data"));
    let wrong = |what: String| Err(Untranslatable::new("messages", what));
    let said = |text: &str| Ok(Some(json!({"type": "text", "text": text})));
    match (text(block, "type"), text(source, "type")) {
        ("text", _) => said(text(block, "text")),
        ("image", "base64") => Ok(Some(json!({"type": "image_url", "image_url": {"url": inside()}}))),
        ("image", "url") => Ok(Some(json!({"type": "image_url", "image_url": {"url": text(source, "url")}}))),
        ("document", "base64") => {
            let name = Some(text(block, "title")).filter(|t| !t.is_empty()).unwrap_or("document.pdf");
            Ok(Some(json!({"type": "file", "file": {"filename": name, "file_data": inside()}})))
        }
        ("document", "text") => said(text(source, "data")),
        ("document", "content") => said(&plain(&source["content"])),
        ("search_result", _) => said(&plain(&block["content"])),
        ("image" | "document", kind) => wrong(format!("a source of type `{kind}` is not supported")),
        ("tool_reference" | "container_upload", _) => {
            note(left_out, text(block, "type"));
            Ok(None)
        }
        (kind, _) => wrong(format!("blocks of type `{kind}` are not supported")),
    }
}

/// What the model said.
fn assistant(content: &Value, names: &Names, chat: &mut Vec<Value>, left_out: &mut Vec<String>) -> Result<(), Untranslatable> {
    let (mut said, mut calls) = (String::new(), vec![]);
    for block in &blocks(content)? {
        match text(block, "type") {
            "text" => said.push_str(text(block, "text")),
            "tool_use" => calls.push(json!({
                "id": text(block, "id"),
                "type": "function",
                "function": {"name": names.sent(text(block, "name")), "arguments": arguments(&block["input"])},
            })),
            "thinking" | "redacted_thinking" => {}
            // What ran at the other provider cannot be told here; its outcome is in the text that follows it.
            other => note(left_out, other),
        }
    }
    if said.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let mut message = json!({"role": "assistant", "content": said});
    if !calls.is_empty() {
        if said.is_empty() {
            message["content"] = Value::Null;
        }
        message["tool_calls"] = calls.into();
    }
    chat.push(message);
    Ok(())
}

fn tools(
    messages: &Value,
    names: &Names,
    body: &mut Map<String, Value>,
    left_out: &mut Vec<String>,
) -> Result<(), Untranslatable> {
    let mut tools = vec![];
    for tool in list(messages, "tools") {
        if !matches!(text(tool, "type"), "" | "custom") {
            note(left_out, &format!("tools.{}", text(tool, "name")));
            continue;
        }
        let schema = given(tool, "input_schema").cloned().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let mut function = json!({"name": names.sent(text(tool, "name")), "parameters": schema});
        for field in ["description", "strict"] {
            if let Some(value) = given(tool, field) {
                function[field] = value.clone();
            }
        }
        tools.push(json!({"type": "function", "function": function}));
    }
    if tools.is_empty() {
        return Ok(());
    }
    let choice = &messages["tool_choice"];
    let chosen = match text(choice, "type") {
        "auto" => Some(json!("auto")),
        "any" => Some(json!("required")),
        "none" => Some(json!("none")),
        "tool" => {
            let name = names.sent(text(choice, "name"));
            if !tools.iter().any(|tool| text(&tool["function"], "name") == name) {
                return Err(Untranslatable::new("tool_choice", "`tool_choice` names a tool that is not offered here"));
            }
            Some(json!({"type": "function", "function": {"name": name}}))
        }
        _ => None,
    };
    body.insert("tools".to_owned(), tools.into());
    body.extend(chosen.map(|chosen| ("tool_choice".to_owned(), chosen)));
    if choice["disable_parallel_tool_use"] == true {
        body.insert("parallel_tool_calls".to_owned(), false.into());
    }
    Ok(())
}

fn output(config: &Value, body: &mut Map<String, Value>) {
    let effort = text(config, "effort");
    if !effort.is_empty() {
        body.insert("reasoning_effort".to_owned(), effort.into());
    }
    let format = &config["format"];
    if text(format, "type") == "json_schema" {
        let schema = json!({"name": "answer", "schema": format["schema"], "strict": false});
        body.insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": schema}));
    }
}

/// Puts an answer of Chat Completions into Anthropic's words.
#[must_use]
pub fn answer(chat: &Value, names: &Names) -> Value {
    let choice = &chat["choices"][0];
    let message = &choice["message"];
    let mut content = vec![];
    for said in [text(message, "content"), text(message, "refusal")] {
        if !said.is_empty() {
            content.push(json!({"type": "text", "text": said}));
        }
    }
    let own = id("msg_", text(chat, "id"));
    for (at, call) in list(message, "tool_calls").iter().enumerate() {
        let function = &call["function"];
        let given = Some(text(call, "id")).filter(|id| !id.is_empty()).map(str::to_owned);
        content.push(json!({
            "type": "tool_use",
            "id": given.unwrap_or_else(|| call_id(&own, at)),
            "name": names.original(text(function, "name")),
            "input": object(&arguments(&function["arguments"])),
        }));
    }
    let has_calls = content.iter().any(|block| text(block, "type") == "tool_use");
    let (stop, sequence) = stop(choice, has_calls);
    json!({
        "id": own,
        "type": "message",
        "role": "assistant",
        "model": text(chat, "model"),
        "content": content,
        "stop_reason": stop,
        "stop_sequence": sequence,
        "usage": Usage::of_openai(&chat["usage"]).messages(),
    })
}

/// An id for a call that has none.
pub(crate) fn call_id(answer: &str, at: usize) -> String {
    let clean: String = answer.chars().filter(|c| crate::names::is_plain(*c)).take(40).collect();
    format!("toolu_{clean}_{at}")
}

/// Why an answer ends, and the text it ended at where the engine tells. Engines that write calls and say `stop` mean the calls.
pub(crate) fn stop(choice: &Value, has_calls: bool) -> (&'static str, Option<String>) {
    let at = choice.get("stop_reason").and_then(Value::as_str).map(str::to_owned);
    match text(choice, "finish_reason") {
        "length" => ("max_tokens", None),
        "content_filter" => ("refusal", None),
        "tool_calls" | "function_call" => ("tool_use", None),
        _ if has_calls => ("tool_use", None),
        _ if at.is_some() => ("stop_sequence", at),
        _ => ("end_turn", None),
    }
}

/// Puts an error in `OpenAI`'s words into Anthropic's. The status stays, the type is the one that goes with it.
#[must_use]
pub fn error(status: u16, chat_error: &Value) -> (u16, Value) {
    let message = Some(fault::message(chat_error)).filter(|m| !m.is_empty()).unwrap_or_else(|| format!("status {status}"));
    (status, json!({"type": "error", "error": {"type": by_status(status), "message": message}}))
}

/// The status that goes with an error of which only the words are known.
pub(crate) fn status_of(chat_error: &Value) -> u16 {
    let error = &chat_error["error"];
    let told = count(error, "code").or_else(|| count(error, "status")).and_then(|s| u16::try_from(s).ok());
    if let Some(status) = told.filter(|s| (400..600).contains(s)) {
        return status;
    }
    let is = |word: &str| text(error, "code") == word || text(error, "type") == word;
    let table = [
        ("context_length_exceeded", 400),
        ("overloaded", 503),
        ("overloaded_error", 503),
        ("rate_limit_exceeded", 429),
        ("rate_limit_error", 429),
        ("insufficient_quota", 429),
        ("invalid_api_key", 401),
        ("authentication_error", 401),
        ("model_not_found", 404),
        ("timeout", 504),
        ("invalid_request_error", 400),
    ];
    table.iter().find(|(word, _)| is(word)).map_or(500, |(_, status)| *status)
}
