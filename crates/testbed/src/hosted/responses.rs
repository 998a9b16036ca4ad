//! Responses of `OpenAI`'s: what a request is refused for. How an answer looks is in `responses_told`.

use super::errors::{Refusal, missing, openai, unknown as unknown_field, unsupported};
use super::field::{given, is_name, list, text, unknown};
use super::mind::Asked;
use super::openai as own;
use super::responses_input;
use serde_json::Value;

const KNOWN: &[&str] = &[
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "max_output_tokens",
    "max_tool_calls",
    "reasoning",
    "text",
    "include",
    "store",
    "previous_response_id",
    "conversation",
    "prompt",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_logprobs",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "truncation",
    "background",
];
/// Fields of Chat Completions, and where they went.
const MOVED: &[(&str, &str)] = &[
    ("messages", "input"),
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
    ("verbosity", "text.verbosity"),
];
/// The fewest tokens that an answer may be bound to.
const TOKENS_MIN: u64 = 16;

/// Reads a request, or refuses it as the API does.
pub(super) fn read(body: &Value) -> Result<Asked, Refusal> {
    if let Some((old, new)) = MOVED.iter().find(|(old, _)| body.get(*old).is_some()) {
        let message = format!(
            "Unsupported parameter: '{old}'. In the Responses API, this parameter has moved to '{new}'. Try again \
             with the new parameter."
        );
        return Err(openai(400, &message, Some(old), Some("unsupported_parameter")));
    }
    if let Some(name) = unknown(body, KNOWN) {
        return Err(unknown_field(name));
    }
    let model = own::model(body)?;
    if let Some(id) = given(body, "previous_response_id") {
        let message = format!("Previous response with id '{}' not found.", id.as_str().unwrap_or_default());
        return Err(openai(400, &message, Some("previous_response_id"), Some("previous_response_not_found")));
    }
    let input = given(body, "input").ok_or_else(|| missing("input"))?;
    let mut asked = responses_input::read(input)?;
    asked.bytes += text(body, "instructions").len();
    let reasoning = &body["reasoning"];
    if let Some(name) = unknown(reasoning, &["effort", "summary", "generate_summary"]) {
        return Err(unknown_field(&format!("reasoning.{name}")));
    }
    let reasons = own::reasons(model, "reasoning.effort", given(reasoning, "effort"))?;
    asked.may_think = model.reasons && reasons;
    own::sampling(body, reasons, false)?;
    asked.max = own::bound(body, "max_output_tokens", TOKENS_MIN, model)?;
    tools(body, &mut asked)?;
    shape(body, &mut asked)?;
    if given(body, "stream_options").is_some() && body["stream"] != true {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(openai(400, message, Some("stream_options"), None));
    }
    if let Some(name) = unknown(&body["stream_options"], &["include_obfuscation"]) {
        return Err(unknown_field(&format!("stream_options.{name}")));
    }
    if !model.reasons && list(body, "include").iter().any(|word| word == "reasoning.encrypted_content") {
        return Err(openai(400, "Encrypted content is not supported with this model.", Some("include"), None));
    }
    if body["background"] == true && body["store"] == false {
        return Err(unsupported("background", " Background mode needs 'store'."));
    }
    Ok(asked)
}

fn tools(body: &Value, asked: &mut Asked) -> Result<(), Refusal> {
    for (at, tool) in list(body, "tools").iter().enumerate() {
        let path = format!("tools[{at}]");
        match text(tool, "type") {
            "function" => {}
            "" => return Err(missing(&format!("{path}.type"))),
            other => {
                let message = format!("Invalid value: '{other}'. Supported values are: 'function'.");
                return Err(openai(400, &message, Some(&format!("{path}.type")), Some("invalid_value")));
            }
        }
        let name = own::name(&tool["name"], &format!("{path}.name"))?;
        if let Some(name) = unknown(tool, &["type", "name", "description", "parameters", "strict"]) {
            return Err(unknown_field(&format!("{path}.{name}")));
        }
        let of = format!("function '{name}'");
        own::schema(given(tool, "parameters"), tool["strict"] == true, &of, &format!("{path}.parameters"))?;
        asked.tools.push(name);
    }
    let choice = &body["tool_choice"];
    if choice.is_object() {
        match text(choice, "type") {
            "function" if text(choice, "name").is_empty() => return Err(missing("tool_choice.name")),
            "function" | "allowed_tools" => {}
            other => {
                let message = format!("Invalid value: '{other}'. Supported values are: 'function' and 'allowed_tools'.");
                return Err(openai(400, &message, Some("tool_choice.type"), Some("invalid_value")));
            }
        }
        let fields: &[&str] = if text(choice, "type") == "function" { &["type", "name"] } else { &["type", "mode", "tools"] };
        if let Some(name) = unknown(choice, fields) {
            return Err(unknown_field(&format!("tool_choice.{name}")));
        }
    }
    own::choice(body, choice.get("name").and_then(Value::as_str), asked)
}

/// The shape of the answer's text.
fn shape(body: &Value, asked: &mut Asked) -> Result<(), Refusal> {
    let shape = &body["text"];
    if let Some(name) = unknown(shape, &["format", "verbosity"]) {
        return Err(unknown_field(&format!("text.{name}")));
    }
    let Some(format) = given(shape, "format") else { return Ok(()) };
    match text(format, "type") {
        "text" => Ok(()),
        "json_object" => {
            asked.wants_json = true;
            if body["input"].to_string().to_lowercase().contains("json") {
                return Ok(());
            }
            let message =
                "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'.";
            Err(openai(400, message, Some("input"), None))
        }
        "json_schema" => {
            asked.wants_json = true;
            if !is_name(text(format, "name"), 64) {
                return Err(missing("text.format.name"));
            }
            if given(format, "schema").is_none() {
                return Err(missing("text.format.schema"));
            }
            if let Some(name) = unknown(format, &["type", "name", "schema", "strict", "description"]) {
                return Err(unknown_field(&format!("text.format.{name}")));
            }
            let of = format!("response_format '{}'", text(format, "name"));
            own::schema(given(format, "schema"), format["strict"] == true, &of, "text.format.schema")
        }
        other => {
            let message = format!("Invalid value: '{other}'. Supported values are: 'text', 'json_object', and 'json_schema'.");
            Err(openai(400, &message, Some("text.format.type"), Some("invalid_value")))
        }
    }
}
