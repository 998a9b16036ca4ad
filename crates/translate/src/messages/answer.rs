//! Answers and errors of Anthropic's, in the words of Chat Completions.

use super::JSON_TOOL;
use crate::field::{id, list, text};
use crate::usage::Usage;
use crate::{Names, fault, history};
use serde_json::{Value, json};

/// Puts an answer of Anthropic's into the words of Chat Completions.
#[must_use]
pub fn answer(messages: &Value, names: &Names, json_tool: bool) -> Value {
    let (mut content, mut thoughts, mut calls) = (String::new(), String::new(), vec![]);
    for block in list(messages, "content") {
        match text(block, "type") {
            "text" => content.push_str(text(block, "text")),
            "thinking" => thoughts.push_str(text(block, "thinking")),
            "tool_use" if json_tool && text(block, "name") == JSON_TOOL => content.push_str(&block["input"].to_string()),
            "tool_use" => calls.push(json!({
                "id": text(block, "id"),
                "type": "function",
                "function": {
                    "name": names.original(text(block, "name")),
                    "arguments": history::arguments(&block["input"]),
                },
            })),
            _ => {}
        }
    }
    let stop = text(messages, "stop_reason");
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if content.is_empty() && (!calls.is_empty() || stop == "refusal") {
        message["content"] = Value::Null;
    }
    if stop == "refusal" {
        message["refusal"] = refusal(messages).into();
    }
    if !thoughts.is_empty() {
        message["reasoning_content"] = thoughts.into();
    }
    let finish = finish(stop, !calls.is_empty());
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({
        "id": id("chatcmpl-", text(messages, "id")),
        "object": "chat.completion",
        "created": 0,
        "model": text(messages, "model"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}],
        "usage": Usage::of_messages(&messages["usage"]).chat(),
    })
}

/// Why the answer ends, in `OpenAI`'s words. Where the only tool was the one of the answer's shape it simply ends.
pub(crate) fn finish(stop_reason: &str, has_calls: bool) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" => "length",
        "tool_use" | "" if has_calls => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

/// The words of a refusal, from what carries its reason.
pub(crate) fn refusal(carrier: &Value) -> String {
    let told = text(&carrier["stop_details"], "explanation");
    if told.is_empty() { "The model refused to answer.".to_owned() } else { told.to_owned() }
}

/// Puts an error of Anthropic's into `OpenAI`'s words, and its status into one that `OpenAI`'s clients know.
#[must_use]
pub fn error(status: u16, body: &Value) -> (u16, Value) {
    let message = Some(fault::message(body)).filter(|m| !m.is_empty()).unwrap_or_else(|| format!("status {status}"));
    let own = match text(&body["error"], "type") {
        "" => by_status(status),
        own => own,
    };
    let is_long = message.contains("prompt is too long") || message.contains("context limit");
    let (status, kind, code) = match own {
        "invalid_request_error" if is_long => (400, "invalid_request_error", Some("context_length_exceeded")),
        "authentication_error" => (401, "invalid_request_error", Some("invalid_api_key")),
        "billing_error" => (429, "insufficient_quota", Some("insufficient_quota")),
        "permission_error" => (403, "invalid_request_error", None),
        "not_found_error" => (404, "invalid_request_error", Some("model_not_found")),
        "conflict_error" => (409, "invalid_request_error", None),
        "request_too_large" => (413, "invalid_request_error", Some("request_too_large")),
        "rate_limit_error" => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        "overloaded_error" => (503, "server_error", Some("overloaded")),
        "timeout_error" => (504, "server_error", Some("timeout")),
        "invalid_request_error" => (if (400..500).contains(&status) { status } else { 400 }, "invalid_request_error", None),
        _ => (if (500..=504).contains(&status) { status } else { 500 }, "server_error", None),
    };
    (status, json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

/// The type that goes with a status, in Anthropic's words.
pub(crate) fn by_status(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        408 | 504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}
