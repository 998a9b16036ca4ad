//! What both APIs of `OpenAI`'s refuse.

use super::errors::{Refusal, invalid, missing, openai, unsupported, wrong_type};
use super::field::{data_url, given, is_name, list, media_type, text};
use super::mind::Asked;
use super::models::{self, Gpt};
use serde_json::Value;

const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];
/// What a model refuses while it reasons.
const SAMPLING: &[&str] = &["top_p", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "stop"];

/// The model of a request.
pub(super) fn model(body: &Value) -> Result<Gpt, Refusal> {
    let Some(name) = given(body, "model") else {
        return Err(openai(400, "you must provide a model parameter", None, None));
    };
    let Some(name) = name.as_str() else { return Err(wrong_type("model", "a string", name)) };
    let message = format!("The model `{name}` does not exist or you do not have access to it.");
    models::gpt(name).ok_or_else(|| openai(404, &message, None, Some("model_not_found")))
}

/// Does it reason about this request? `effort` is the field's name.
pub(super) fn reasons(model: Gpt, effort: &str, asked: Option<&Value>) -> Result<bool, Refusal> {
    let Some(value) = asked else { return Ok(model.reasons) };
    let word = value.as_str().unwrap_or_default();
    if !model.reasons {
        return Err(unsupported(effort, ""));
    }
    if !EFFORTS.contains(&word) || (word == "none" && !model.may_rest) {
        let message = format!("Unsupported value: '{effort}' does not support '{word}' with this model.");
        return Err(openai(400, &message, Some(effort), Some("unsupported_value")));
    }
    Ok(word != "none")
}

/// Temperature and the like.
pub(super) fn sampling(body: &Value, reasons: bool, takes_one: bool) -> Result<(), Refusal> {
    if let Some(value) = given(body, "temperature") {
        let Some(number) = value.as_f64() else { return Err(wrong_type("temperature", "a decimal", value)) };
        if reasons && !takes_one {
            return Err(unsupported("temperature", ""));
        }
        if reasons && (number - 1.0).abs() > f64::EPSILON {
            let message = format!(
                "Unsupported value: 'temperature' does not support {value} with this model. Only the default (1) value \
                 is supported."
            );
            return Err(openai(400, &message, Some("temperature"), Some("unsupported_value")));
        }
        between("temperature", number, 0.0, 2.0)?;
    }
    if let Some(name) = SAMPLING.iter().find(|name| reasons && given(body, name).is_some()) {
        return Err(unsupported(name, ""));
    }
    for (name, min, max) in [("top_p", 0.0, 1.0), ("presence_penalty", -2.0, 2.0), ("frequency_penalty", -2.0, 2.0)] {
        let Some(value) = given(body, name) else { continue };
        let Some(number) = value.as_f64() else { return Err(wrong_type(name, "a decimal", value)) };
        between(name, number, min, max)?;
    }
    Ok(())
}

fn between(name: &str, number: f64, min: f64, max: f64) -> Result<(), Refusal> {
    let (word, sign, bound) = if number > max { ("above maximum", "<=", max) } else { ("below minimum", ">=", min) };
    if (min..=max).contains(&number) {
        return Ok(());
    }
    let code = if number > max { "decimal_above_max_value" } else { "decimal_below_min_value" };
    let message = format!("Invalid '{name}': decimal {word} value. Expected a value {sign} {bound}, but got {number} instead.");
    Err(openai(400, &message, Some(name), Some(code)))
}

/// A bound for the answer's length.
pub(super) fn bound(body: &Value, name: &str, min: u64, model: Gpt) -> Result<Option<u64>, Refusal> {
    let Some(value) = given(body, name) else { return Ok(None) };
    let Some(number) = value.as_i64() else { return Err(wrong_type(name, "an integer", value)) };
    let Some(number) = u64::try_from(number).ok().filter(|number| *number >= min) else {
        let message =
            format!("Invalid '{name}': integer below minimum value. Expected a value >= {min}, but got {number} instead.");
        return Err(openai(400, &message, Some(name), Some("integer_below_min_value")));
    };
    if number > model.max_output {
        let most = model.max_output;
        let message = format!(
            "{name} is too large: {number}. This model supports at most {most} completion tokens, whereas you provided {number}."
        );
        return Err(openai(400, &message, Some(name), Some("invalid_value")));
    }
    Ok(Some(number))
}

/// An empty list where one has to have something in it.
pub(super) fn not_empty(value: &Value, param: &str) -> Result<(), Refusal> {
    match value.as_array() {
        None => Err(wrong_type(param, "an array of objects", value)),
        Some(all) if all.is_empty() => {
            let message = format!(
                "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
            );
            Err(openai(400, &message, Some(param), Some("empty_array")))
        }
        Some(_) => Ok(()),
    }
}

/// The name of a function.
pub(super) fn name(value: &Value, param: &str) -> Result<String, Refusal> {
    let Some(name) = value.as_str() else {
        return Err(if value.is_null() { missing(param) } else { wrong_type(param, "a string", value) });
    };
    if name.len() > 64 {
        let message = format!(
            "Invalid '{param}': string too long. Expected a string with maximum length 64, but got a string with length {} \
             instead.",
            name.len()
        );
        return Err(openai(400, &message, Some(param), Some("string_above_max_length")));
    }
    if !is_name(name, 64) {
        return Err(invalid(
            param,
            "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ));
    }
    Ok(name.to_owned())
}

/// The parameters of a function, or the schema of an answer.
pub(super) fn schema(schema: Option<&Value>, is_strict: bool, of: &str, param: &str) -> Result<(), Refusal> {
    let Some(schema) = schema else { return Ok(()) };
    let wrong = |why: &str| {
        let message = format!("Invalid schema for {of}: {why}");
        Err(openai(
            400,
            &message,
            Some(param),
            Some(if of.starts_with('f') { "invalid_function_parameters" } else { "invalid_json_schema" }),
        ))
    };
    if !schema.is_object() {
        return Err(wrong_type(param, "an object", schema));
    }
    if text(schema, "type") != "object" {
        let found = given(schema, "type").map_or_else(|| "\"None\"".to_owned(), Value::to_string);
        return wrong(&format!("schema must be a JSON Schema of 'type: \"object\"', got 'type: {found}'."));
    }
    let properties = schema["properties"].as_object();
    let required = list(schema, "required");
    if is_strict && schema["additionalProperties"] != false {
        return wrong("In context=(), 'additionalProperties' is required to be supplied and to be false.");
    }
    if is_strict && let Some(absent) = properties.into_iter().flatten().find(|(name, _)| !required.iter().any(|r| r == *name)) {
        let name = absent.0;
        return wrong(&format!(
            "In context=(), 'required' is required to be supplied and to be an array including every key in properties. \
             Missing '{name}'."
        ));
    }
    Ok(())
}

/// What may stand in `tool_choice`, without what goes with one API alone. `chosen` is the function that is named.
pub(super) fn choice(body: &Value, chosen: Option<&str>, asked: &mut Asked) -> Result<(), Refusal> {
    let choice = given(body, "tool_choice");
    for name in ["tool_choice", "parallel_tool_calls"] {
        if given(body, "tools").is_none() && given(body, name).is_some_and(|v| v != "none") {
            let message = format!("Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.");
            return Err(openai(400, &message, Some(name), None));
        }
    }
    asked.one_call = given(body, "parallel_tool_calls").is_some_and(|v| v == false);
    match (choice.and_then(Value::as_str), chosen) {
        (Some("none"), _) => asked.tools.clear(),
        (Some("required"), _) => asked.forced = asked.tools.first().cloned(),
        (Some("auto"), _) => {}
        (Some(other), _) => {
            let message = format!("Invalid value: '{other}'. Supported values are: 'none', 'auto', and 'required'.");
            return Err(openai(400, &message, Some("tool_choice"), Some("invalid_value")));
        }
        (None, Some(name)) if asked.tools.iter().any(|tool| tool == name) => asked.forced = Some(name.to_owned()),
        (None, Some(name)) => {
            let message = format!("Tool choice '{name}' not found in 'tools' parameter.");
            return Err(openai(400, &message, Some("tool_choice"), None));
        }
        (None, None) => {}
    }
    Ok(())
}

/// The address of a picture: its media type, or itself.
pub(super) fn image(url: &str, param: &str) -> Result<String, Refusal> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(url.to_owned());
    }
    let Some((kind, data)) = data_url(url) else {
        let message = "Invalid image URL. Expected a URL that starts with http:// or https://, or a base64-encoded data URL.";
        return Err(openai(400, message, Some(param), Some("invalid_value")));
    };
    if media_type(data).is_none() {
        let message = "You uploaded an unsupported image. Please make sure your image has of one the following formats: \
                       ['png', 'jpeg', 'gif', 'webp'].";
        return Err(openai(400, message, None, Some("invalid_image_format")));
    }
    Ok(kind.to_owned())
}
