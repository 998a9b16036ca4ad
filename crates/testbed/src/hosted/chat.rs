//! Chat Completions of `OpenAI`'s: what a request is refused for, and how an answer looks.

use super::chat_history;
use super::errors::{Refusal, invalid, missing, openai, unsupported, wrong_type};
use super::events::{Events, data};
use super::field::{given, is_name, list, text, unknown};
use super::mind::{self, Asked, End, Reply};
use super::openai as own;
use serde_json::{Map, Value, json};

const KNOWN: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "logprobs",
    "top_logprobs",
    "n",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "seed",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prediction",
    "modalities",
    "audio",
    "web_search_options",
    "stream",
    "stream_options",
];

/// Reads a request, or refuses it as the API does.
pub(super) fn read(body: &Value) -> Result<Asked, Refusal> {
    if let Some(name) = unknown(body, KNOWN) {
        return Err(openai(400, &format!("Unrecognized request argument supplied: {name}"), None, None));
    }
    let model = own::model(body)?;
    if model.only_responses {
        let message = "This model is only supported in v1/responses and not in v1/chat/completions.";
        return Err(openai(404, message, Some("model"), None));
    }
    let messages = given(body, "messages").ok_or_else(|| missing("messages"))?;
    own::not_empty(messages, "messages")?;
    let mut asked = chat_history::read(list(body, "messages"))?;
    let reasons = own::reasons(model, "reasoning_effort", given(body, "reasoning_effort"))?;
    asked.may_think = model.reasons && reasons;
    own::sampling(body, reasons, true)?;
    if model.reasons && given(body, "max_tokens").is_some() {
        return Err(unsupported("max_tokens", " Use 'max_completion_tokens' instead."));
    }
    let bounds = [own::bound(body, "max_tokens", 1, model)?, own::bound(body, "max_completion_tokens", 1, model)?];
    if let [Some(_), Some(_)] = bounds {
        let message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
        return Err(openai(400, message, Some("max_tokens"), Some("invalid_parameter_combination")));
    }
    asked.max = bounds.into_iter().flatten().next();
    tools(body, &mut asked)?;
    if reasons && model.keeps_tools_apart && (!list(body, "tools").is_empty() || given(body, "functions").is_some()) {
        let message = format!(
            "Function tools with reasoning_effort are not supported for {} in /v1/chat/completions. \
             Please use /v1/responses instead.",
            text(body, "model")
        );
        return Err(openai(400, &message, Some("reasoning_effort"), None));
    }
    if given(body, "verbosity").is_some_and(|v| !model.has_verbosity && v != "medium") {
        let message =
            "Unsupported value: 'verbosity' does not support this value with this model. Supported values are: 'medium'.";
        return Err(openai(400, message, Some("verbosity"), Some("unsupported_value")));
    }
    format(body, &mut asked)?;
    if given(body, "stream_options").is_some() && body["stream"] != true {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(openai(400, message, Some("stream_options"), None));
    }
    stops(body, &mut asked)?;
    count(body)?;
    Ok(asked)
}

fn tools(body: &Value, asked: &mut Asked) -> Result<(), Refusal> {
    if let Some(tools) = given(body, "tools") {
        own::not_empty(tools, "tools")?;
    }
    for (at, tool) in list(body, "tools").iter().enumerate() {
        let (function, path) = (&tool["function"], format!("tools[{at}].function"));
        if text(tool, "type") != "function" {
            let found = text(tool, "type");
            let message = format!("Invalid value: '{found}'. Supported values are: 'function' and 'custom'.");
            return Err(openai(400, &message, Some(&format!("tools[{at}].type")), Some("invalid_value")));
        }
        if !function.is_object() {
            return Err(missing(&path));
        }
        if let Some(name) = unknown(function, &["name", "description", "parameters", "strict"]) {
            return Err(super::errors::unknown(&format!("{path}.{name}")));
        }
        let name = own::name(&function["name"], &format!("{path}.name"))?;
        let of = format!("function '{name}'");
        own::schema(given(function, "parameters"), function["strict"] == true, &of, &format!("{path}.parameters"))?;
        asked.tools.push(name);
    }
    let choice = &body["tool_choice"];
    let chosen = choice.is_object().then(|| choice["function"]["name"].as_str());
    if let Some(chosen) = chosen {
        let is_allowed = text(choice, "type") == "allowed_tools" && choice["allowed_tools"].is_object();
        if !is_allowed && chosen.is_none() {
            return Err(missing("tool_choice.function"));
        }
    }
    own::choice(body, chosen.flatten(), asked)
}

fn format(body: &Value, asked: &mut Asked) -> Result<(), Refusal> {
    let Some(format) = given(body, "response_format") else { return Ok(()) };
    match text(format, "type") {
        "text" => {}
        "json_object" => {
            asked.wants_json = true;
            if !body["messages"].to_string().to_lowercase().contains("json") {
                let message =
                    "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";
                return Err(openai(400, message, Some("messages"), None));
            }
        }
        "json_schema" => {
            asked.wants_json = true;
            let (named, path) = (&format["json_schema"], "response_format.json_schema");
            if !is_name(text(named, "name"), 64) {
                return Err(missing(&format!("{path}.name")));
            }
            let of = format!("response_format '{}'", text(named, "name"));
            own::schema(given(named, "schema"), named["strict"] == true, &of, "response_format")?;
        }
        other => {
            let message = format!("Invalid value: '{other}'. Supported values are: 'text', 'json_object', and 'json_schema'.");
            return Err(openai(400, &message, Some("response_format.type"), Some("invalid_value")));
        }
    }
    Ok(())
}

fn stops(body: &Value, asked: &mut Asked) -> Result<(), Refusal> {
    match given(body, "stop") {
        None => {}
        Some(Value::String(one)) => asked.stops.push(one.clone()),
        Some(Value::Array(all)) if all.len() <= 4 && all.iter().all(Value::is_string) => {
            asked.stops.extend(all.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        Some(Value::Array(_)) => {
            let message = "Invalid 'stop': array too long. Expected an array with maximum length 4.";
            return Err(openai(400, message, Some("stop"), Some("array_above_max_length")));
        }
        Some(other) => return Err(wrong_type("stop", "one of a string or an array of strings", other)),
    }
    asked.stops.retain(|stop| !stop.is_empty());
    Ok(())
}

/// How many answers are asked for.
fn count(body: &Value) -> Result<u64, Refusal> {
    let Some(value) = given(body, "n") else { return Ok(1) };
    value.as_u64().filter(|n| (1..=128).contains(n)).ok_or_else(|| invalid("n", "expected an integer from 1 to 128."))
}

fn finish(reply: &Reply) -> &'static str {
    match reply.end {
        End::Said | End::At(_) => "stop",
        End::Calls => "tool_calls",
        End::Cut => "length",
    }
}

fn usage(reply: &Reply) -> Value {
    let spent = reply.spent;
    json!({
        "prompt_tokens": spent.prompt, "completion_tokens": spent.completion, "total_tokens": spent.prompt + spent.completion,
        "prompt_tokens_details": {"cached_tokens": spent.cached, "cache_write_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": spent.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn call_id(number: u64, at: usize) -> String {
    format!("call_{number:08}x{at}")
}

/// An answer at once.
pub(super) fn whole(body: &Value, reply: &Reply, number: u64) -> Value {
    let mut message = json!({"role": "assistant", "content": reply.text, "refusal": null, "annotations": []});
    if !reply.calls.is_empty() {
        let call = |(at, call): (usize, &mind::Call)| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call_id(number, at), "type": "function", "function": function})
        };
        message["content"] = Value::Null;
        message["tool_calls"] = reply.calls.iter().enumerate().map(call).collect();
    }
    let choice = |index| json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish(reply)});
    json!({
        "id": format!("chatcmpl-{number:08}"), "object": "chat.completion", "created": super::CREATED, "model": body["model"],
        "choices": (0..count(body).unwrap_or(1)).map(choice).collect::<Vec<_>>(), "usage": usage(reply),
        "service_tier": "default",
        "system_fingerprint": "fp_testbed",
    })
}

/// An answer in a stream.
pub(super) fn events(body: &Value, reply: &Reply, number: u64) -> Events {
    let options = &body["stream_options"];
    let (tells_usage, pads) = (options["include_usage"] == true, options["include_obfuscation"] != false);
    let chunk = |choices: Value, spent: Value| {
        let mut chunk = Map::new();
        let own = json!({
            "id": format!("chatcmpl-{number:08}"), "object": "chat.completion.chunk", "created": super::CREATED,
            "model": body["model"], "service_tier": "default", "system_fingerprint": "fp_testbed", "choices": choices,
        });
        chunk.extend(own.as_object().cloned().unwrap_or_default());
        if tells_usage {
            chunk.insert("usage".to_owned(), spent);
        }
        if pads {
            chunk.insert("obfuscation".to_owned(), "aB3".into());
        }
        data(&chunk.into())
    };
    let answers = count(body).unwrap_or(1);
    let delta = |index: u64, delta: Value, finish: Value| {
        chunk(json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}]), Value::Null)
    };
    let mut events = Events::default();
    for index in 0..answers {
        let content = if reply.calls.is_empty() { json!("") } else { Value::Null };
        events.opening.push(delta(index, json!({"role": "assistant", "content": content, "refusal": null}), Value::Null));
        for word in mind::words(&reply.text) {
            events.content.push(delta(index, json!({"content": word}), Value::Null));
        }
        for (at, call) in reply.calls.iter().enumerate() {
            let function = json!({"name": call.name, "arguments": ""});
            let first = json!({"index": at, "id": call_id(number, at), "type": "function", "function": function});
            events.content.push(delta(index, json!({"tool_calls": [first]}), Value::Null));
            for part in mind::fragments(&call.arguments) {
                let more = json!({"index": at, "function": {"arguments": part}});
                events.content.push(delta(index, json!({"tool_calls": [more]}), Value::Null));
            }
        }
        events.ending.push(delta(index, json!({}), finish(reply).into()));
    }
    if tells_usage {
        events.ending.push(chunk(json!([]), usage(reply)));
    }
    events.ending.push(bytes::Bytes::from_static(b"data: [DONE]\n\n"));
    events
}
