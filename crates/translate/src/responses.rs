//! From Chat Completions to `OpenAI`'s Responses, and the answers and errors back. Nothing is stored there: each request carries
//! the whole conversation. Its reasoning cannot be carried along, because Chat Completions has no place for it.

use crate::field::{given, id, list, text};
use crate::history::{self, NO_RESULT, Part, Turn, arguments, joined};
use crate::messages::{one_answer, tokens, unhandled};
use crate::models::Model;
use crate::openai::{SAMPLING, is_reasoning};
use crate::usage::Usage;
use crate::{Names, Question, Untranslatable, fault};
use serde_json::{Map, Value, json};

/// A name may have so many characters.
const NAME_MAX: usize = 64;
/// An answer may not be bound to fewer tokens.
const TOKENS_MIN: u64 = 16;
/// Fields that are passed on under the same name.
const SAME: &[&str] = &[
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "stream",
];
/// Fields that are translated, or mean nothing to the target.
const HANDLED: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "tools",
    "tool_choice",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "stream_options",
    "store",
];

/// Puts a request of Chat Completions into the words of Responses.
///
/// # Errors
/// What has no counterpart: more than one answer, sound, unknown parts and roles, functions of the old kind.
pub fn question(chat: &Value, model: &Model) -> Result<Question, Untranslatable> {
    one_answer(chat)?;
    let handled: Vec<&str> = HANDLED.iter().chain(SAME).copied().collect();
    let mut left_out = unhandled(chat, &handled);
    let turns = history::read(chat, &mut left_out)?;
    let offered = list(chat, "tools").iter().map(|tool| text(&tool["function"], "name"));
    let called = turns.iter().flat_map(Turn::calls).map(|call| call.name.as_str());
    let names = Names::of(offered.chain(called), NAME_MAX, "");
    let mut body = Map::new();
    body.insert("model".to_owned(), model.id.as_str().into());
    body.insert("input".to_owned(), turns.iter().flat_map(|turn| items(turn, &names)).collect());
    body.insert("store".to_owned(), false.into());
    let is_bound = ["max_tokens", "max_completion_tokens"].iter().any(|name| given(chat, name).is_some());
    if is_bound {
        body.insert("max_output_tokens".to_owned(), tokens(chat, model.max_output)?.max(TOKENS_MIN).into());
    }
    for name in SAME {
        let Some(value) = given(chat, name) else { continue };
        let is_refused = SAMPLING.contains(name) && is_reasoning(chat, model);
        if !is_refused {
            body.insert((*name).to_owned(), value.clone());
        } else if value.as_f64() != Some(1.0) {
            left_out.push((*name).to_owned());
        }
    }
    tools(chat, &names, &mut body)?;
    let effort = text(chat, "reasoning_effort");
    if !effort.is_empty() && model.reasoning {
        body.insert("reasoning".to_owned(), json!({"effort": effort}));
    }
    let shape = shape(chat)?;
    if !shape.is_empty() {
        body.insert("text".to_owned(), shape.into());
    }
    Ok(Question { body: body.into(), names, left_out, json_tool: false })
}

/// The items of a turn.
fn items(turn: &Turn, names: &Names) -> Vec<Value> {
    let message = |role: &str, content: Vec<Value>| {
        if content.is_empty() { vec![] } else { vec![json!({"type": "message", "role": role, "content": content})] }
    };
    match turn {
        Turn::System(text) if text.is_empty() => vec![],
        Turn::System(text) => message("developer", vec![json!({"type": "input_text", "text": text})]),
        Turn::User(parts) => message("user", parts.iter().map(part).collect()),
        Turn::Assistant { texts, calls } => {
            let said = texts.iter().filter(|t| !t.is_empty()).map(|text| json!({"type": "output_text", "text": text}));
            let mut items = message("assistant", said.collect());
            items.extend(calls.iter().map(|call| {
                let (name, arguments) = (names.sent(&call.name), call.arguments.as_str());
                json!({"type": "function_call", "call_id": call.id, "name": name, "arguments": arguments})
            }));
            items
        }
        Turn::Results(outcomes) => {
            let output = |outcome: &history::Outcome| match outcome.parts.as_deref() {
                None => NO_RESULT.into(),
                Some(parts) if parts.iter().all(|p| matches!(p, Part::Text(_))) => Value::from(joined(parts)),
                Some(parts) => parts.iter().map(part).collect(),
            };
            let item = |outcome: &history::Outcome| {
                json!({"type": "function_call_output", "call_id": outcome.id,
                "output": output(outcome)})
            };
            outcomes.iter().map(item).collect()
        }
    }
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({"type": "input_text", "text": text}),
        Part::Image { url, detail } => {
            json!({"type": "input_image", "image_url": url, "detail": detail.as_deref().unwrap_or("auto")})
        }
        Part::File { name, data } => json!({"type": "input_file", "filename": name, "file_data": data}),
    }
}

fn tools(chat: &Value, names: &Names, body: &mut Map<String, Value>) -> Result<(), Untranslatable> {
    let mut tools = vec![];
    for tool in list(chat, "tools") {
        let function = &tool["function"];
        if !matches!(text(tool, "type"), "function" | "") || !function.is_object() {
            let kind = text(tool, "type");
            return Err(Untranslatable::new("tools", format!("tools of type `{kind}` are not supported")));
        }
        let parameters = given(function, "parameters").cloned().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let name = names.sent(text(function, "name"));
        // Here a tool is strict unless it is said that it is not.
        let strict = function["strict"] == true;
        let mut flat = json!({"type": "function", "name": name, "parameters": parameters, "strict": strict});
        if let Some(description) = given(function, "description") {
            flat["description"] = description.clone();
        }
        tools.push(flat);
    }
    if tools.is_empty() {
        body.remove("parallel_tool_calls");
        return Ok(());
    }
    body.insert("tools".to_owned(), tools.into());
    let flat = |choice: &Value| json!({"type": "function", "name": names.sent(text(&choice["function"], "name"))});
    let said = &chat["tool_choice"];
    let choice = match said.as_str().map_or_else(|| text(said, "type"), |_| "a word") {
        "a word" => Some(said.clone()),
        "function" => Some(flat(said)),
        "allowed_tools" => {
            let allowed = &said["allowed_tools"];
            let tools: Vec<Value> = list(allowed, "tools").iter().map(flat).collect();
            Some(json!({"type": "allowed_tools", "mode": text(allowed, "mode"), "tools": tools}))
        }
        _ => None,
    };
    body.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
    Ok(())
}

/// The shape and the length that the answer's text is asked to have.
fn shape(chat: &Value) -> Result<Map<String, Value>, Untranslatable> {
    let mut shape = Map::new();
    if let Some(format) = given(chat, "response_format") {
        let flat = match text(format, "type") {
            "json_schema" => {
                let mut flat = format["json_schema"].as_object().cloned().unwrap_or_default();
                flat.insert("type".to_owned(), "json_schema".into());
                Value::from(flat)
            }
            kind @ ("text" | "json_object") => json!({"type": kind}),
            other => {
                let message = format!("`response_format` of type `{other}` is not supported");
                return Err(Untranslatable::new("response_format", message));
            }
        };
        shape.insert("format".to_owned(), flat);
    }
    shape.extend(given(chat, "verbosity").map(|v| ("verbosity".to_owned(), v.clone())));
    Ok(shape)
}

/// Puts an answer of Responses into the words of Chat Completions. One that failed becomes an error.
#[must_use]
pub fn answer(response: &Value, names: &Names) -> Value {
    if text(response, "status") == "failed" {
        return error(500, response).1;
    }
    let (mut content, mut refusal, mut thoughts, mut calls) = (String::new(), String::new(), vec![], vec![]);
    for item in list(response, "output") {
        match text(item, "type") {
            "message" => {
                for part in list(item, "content") {
                    match text(part, "type") {
                        "output_text" => content.push_str(text(part, "text")),
                        "refusal" => refusal.push_str(text(part, "refusal")),
                        _ => {}
                    }
                }
            }
            "reasoning" => thoughts.extend(list(item, "summary").iter().map(|part| text(part, "text"))),
            "function_call" => calls.push(json!({
                "id": text(item, "call_id"),
                "type": "function",
                "function": {"name": names.original(text(item, "name")), "arguments": arguments(&item["arguments"])},
            })),
            _ => {}
        }
    }
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if content.is_empty() && (!calls.is_empty() || !refusal.is_empty()) {
        message["content"] = Value::Null;
    }
    if !refusal.is_empty() {
        message["refusal"] = refusal.into();
    }
    if thoughts.iter().any(|t| !t.is_empty()) {
        message["reasoning_content"] = thoughts.join("\n\n").into();
    }
    let finish = finish(response, !calls.is_empty());
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({
        "id": id("chatcmpl-", text(response, "id")),
        "object": "chat.completion",
        "created": created(response),
        "model": text(response, "model"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}],
        "usage": Usage::of_openai(&response["usage"]).chat(),
    })
}

/// When it was made, in seconds since 1970; 0 where that is not told. Some tell it with a fraction.
pub(crate) fn created(response: &Value) -> Value {
    let told = &response["created_at"];
    let whole = told.to_string().split('.').next().and_then(|s| s.parse::<u64>().ok());
    whole.unwrap_or(0).into()
}

/// Why the answer ends.
pub(crate) fn finish(response: &Value, has_calls: bool) -> &'static str {
    let is_cut = text(response, "status") == "incomplete";
    match text(&response["incomplete_details"], "reason") {
        "content_filter" if is_cut => "content_filter",
        _ if is_cut => "length",
        _ if has_calls => "tool_calls",
        _ => "stop",
    }
}

/// An error of Responses. It has the shape of the others of `OpenAI`'s; what has another shape gets this one.
#[must_use]
pub fn error(status: u16, body: &Value) -> (u16, Value) {
    let status = if (400..=504).contains(&status) { status } else { 500 };
    let own = [&body["error"], &body["response"]["error"]].into_iter().find(|e| !e.is_null()).unwrap_or(body);
    let message = Some(fault::message(body)).filter(|m| !m.is_empty()).unwrap_or_else(|| format!("status {status}"));
    let usual = if status < 500 { "invalid_request_error" } else { "server_error" };
    let kind = Some(text(own, "type")).filter(|t| !t.is_empty() && *t != "error").unwrap_or(usual);
    let error = json!({"message": message, "type": kind, "param": own.get("param"), "code": own.get("code")});
    (status, json!({ "error": error }))
}
