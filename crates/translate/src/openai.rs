//! Requests of Chat Completions made fit for `OpenAI`'s own service: engines take more than it does, and its reasoning models
//! take less than the others.

use crate::field::{is_neutral, list, text};
use crate::models::Model;
use crate::{Names, Question, Untranslatable};
use serde_json::{Map, Value};

/// What the service knows. Anything else, such as an engine's own field, is refused there.
const KNOWN: &[&str] = &[
    "model",
    "messages",
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
/// What models that reason refuse while they do.
pub(crate) const SAMPLING: &[&str] =
    &["temperature", "top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "stop"];
/// What engines add to the messages of an answer, and clients send back.
const ADDED: &[&str] = &["reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "provider_specific_fields"];

/// Makes a request fit for the service.
///
/// # Errors
/// A bound for the answer's length that is none, and a request that is no object.
pub fn adjust(chat: &Value, model: &Model) -> Result<Question, Untranslatable> {
    let Some(asked) = chat.as_object() else {
        return Err(Untranslatable::new("messages", "the request must be a JSON object"));
    };
    let (mut body, mut left_out) = (Map::new(), vec![]);
    let reasons = is_reasoning(chat, model);
    for (name, value) in asked {
        let is_refused = reasons && SAMPLING.contains(&name.as_str());
        // An effort is nothing for a model that does not reason.
        let is_idle = name == "reasoning_effort" && !model.reasoning;
        if name == "max_tokens" || value.is_null() {
            continue;
        }
        if KNOWN.contains(&name.as_str()) && !is_refused && !is_idle {
            body.insert(name.clone(), value.clone());
        } else if !is_neutral(value) && (name != "temperature" || value.as_f64() != Some(1.0)) {
            left_out.push(name.clone());
        }
    }
    let is_bound = ["max_tokens", "max_completion_tokens"].iter().any(|name| asked.get(*name).is_some_and(|v| !v.is_null()));
    if is_bound {
        body.insert("max_completion_tokens".to_owned(), crate::messages::tokens(chat, model.max_output)?.into());
    }
    if !model.id.is_empty() {
        body.insert("model".to_owned(), model.id.as_str().into());
    }
    let messages = body.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten();
    for message in messages.filter_map(Value::as_object_mut) {
        ADDED.iter().for_each(|name| drop(message.remove(*name)));
    }
    // Empty lists are refused, and so is what goes with tools where there are none.
    if list(chat, "tools").is_empty() {
        ["tools", "tool_choice", "parallel_tool_calls"].iter().for_each(|name| drop(body.remove(*name)));
    }
    Ok(Question { body: body.into(), names: Names::default(), left_out, json_tool: false })
}

/// Does the model reason about this request?
pub(crate) fn is_reasoning(chat: &Value, model: &Model) -> bool {
    model.reasoning && text(chat, "reasoning_effort") != "none"
}

/// Can this request only be sent over Responses?
#[must_use]
pub fn needs_responses(chat: &Value, model: &Model) -> bool {
    let has_tools = !list(chat, "tools").is_empty() || !list(chat, "functions").is_empty();
    model.responses_only || (model.responses_for_tools && has_tools && is_reasoning(chat, model))
}
