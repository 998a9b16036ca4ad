//! Messages of Anthropic's: what a request is refused for.

use super::errors::{Refusal, anthropic, wrong};
use super::field::{given, list, text, unknown};
use super::mind::Asked;
use super::models::{self, Claude};
use super::{messages_history, messages_tools, schema};
use serde_json::Value;

const KNOWN: &[&str] = &[
    "model",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "stop_sequences",
    "thinking",
    "output_config",
    "metadata",
    "service_tier",
    "cache_control",
    "inference_geo",
    "speed",
    "stream",
    "temperature",
    "top_p",
    "top_k",
];
const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];
/// The smallest budget for thoughts, in tokens.
const BUDGET_MIN: u64 = 1024;

/// Refuses a request whose field is not known.
pub(super) fn extra(of: &Value, known: &[&str], path: &str) -> Result<(), Refusal> {
    let dot = if path.is_empty() { "" } else { "." };
    unknown(of, known).map_or(Ok(()), |name| Err(wrong(format!("{path}{dot}{name}: Extra inputs are not permitted"))))
}

/// Reads a request, or refuses it as the API does.
pub(super) fn read(body: &Value) -> Result<Asked, Refusal> {
    for name in ["model", "max_tokens", "messages"] {
        if given(body, name).is_none() {
            return Err(wrong(format!("{name}: Field required")));
        }
    }
    extra(body, KNOWN, "")?;
    let name = text(body, "model");
    let model = models::claude(name).ok_or_else(|| anthropic(404, "not_found_error", &format!("model: {name}")))?;
    let max = bound(body, name, model)?;
    sampling(body, model)?;
    let thinks = thinking(body, model, max)?;
    output(body, model)?;
    extra(&body["metadata"], &["user_id"], "metadata")?;
    user_id(text(&body["metadata"], "user_id"))?;
    if given(body, "service_tier").is_some_and(|tier| tier != "auto" && tier != "standard_only") {
        return Err(wrong("service_tier: Input should be 'auto' or 'standard_only'"));
    }
    system(body)?;
    let mut asked = messages_history::read(body, model)?;
    asked.bytes += super::mind::weigh(&body["system"]);
    asked.max = Some(max);
    asked.may_think = model.thinks() && text(&body["thinking"], "type") != "disabled";
    asked.wants_json = given(&body["output_config"], "format").is_some();
    messages_tools::read(body, model, thinks, &mut asked)?;
    stops(body, &mut asked)?;
    Ok(asked)
}

fn bound(body: &Value, name: &str, model: Claude) -> Result<u64, Refusal> {
    let (Some(max), most) = (body["max_tokens"].as_u64(), model.max_output()) else {
        return Err(wrong("max_tokens: Input should be a valid integer"));
    };
    match max {
        0 => Err(wrong("max_tokens: Input should be greater than or equal to 1")),
        max if max > most => {
            Err(wrong(format!("max_tokens: {max} > {most}, which is the maximum allowed number of output tokens for {name}")))
        }
        max => Ok(max),
    }
}

fn sampling(body: &Value, model: Claude) -> Result<(), Refusal> {
    let number = |name: &str| given(body, name).map(|value| value.as_f64().unwrap_or(f64::NAN));
    let temperature = number("temperature");
    if temperature.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
        return Err(wrong("temperature: range: 0..1"));
    }
    if number("top_p").is_some_and(|p| !(0.0..=1.0).contains(&p)) {
        return Err(wrong("top_p: range: 0..1"));
    }
    let is_one = temperature.is_none_or(|t| (t - 1.0).abs() < f64::EPSILON);
    let refused = [("temperature", !is_one), ("top_p", number("top_p").is_some()), ("top_k", number("top_k").is_some())];
    if let Some((name, _)) = refused.iter().find(|(_, is_set)| *is_set && !model.samples()) {
        return Err(wrong(format!("`{name}` is deprecated for this model.")));
    }
    if temperature.is_some() && number("top_p").is_some() && model.wants_one_of_both() {
        return Err(wrong("`temperature` and `top_p` cannot both be specified for this model. Please use only one."));
    }
    if !is_one && text(&body["thinking"], "type") == "enabled" {
        return Err(wrong("`temperature` may only be set to 1 when thinking is enabled."));
    }
    Ok(())
}

/// Is it told to think?
fn thinking(body: &Value, model: Claude, max: u64) -> Result<bool, Refusal> {
    let Some(thinking) = given(body, "thinking") else { return Ok(false) };
    let kind = text(thinking, "type");
    let known: &[&str] = match kind {
        "enabled" => &["type", "budget_tokens", "display"],
        "adaptive" | "between_tools" => &["type", "display"],
        _ => &["type"],
    };
    match kind {
        "enabled" if !model.thinks_by_budget() => Err(wrong(
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \
             \"output_config.effort\" to control thinking behavior.",
        )),
        "adaptive" | "between_tools" if !model.thinks_adaptively() => {
            Err(wrong("adaptive thinking is not supported on this model"))
        }
        "enabled" => {
            extra(thinking, known, "thinking.enabled")?;
            let Some(budget) = thinking["budget_tokens"].as_u64() else {
                return Err(wrong("thinking.enabled.budget_tokens: Field required"));
            };
            if budget < BUDGET_MIN {
                return Err(wrong("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"));
            }
            if budget >= max {
                return Err(wrong("`max_tokens` must be greater than `thinking.budget_tokens`."));
            }
            Ok(true)
        }
        "adaptive" | "between_tools" => extra(thinking, known, &format!("thinking.{kind}")).map(|()| true),
        "disabled" => extra(thinking, known, "thinking.disabled").map(|()| false),
        other => Err(wrong(format!("thinking: Input tag '{other}' found using 'type' does not match any of the expected tags"))),
    }
}

fn output(body: &Value, model: Claude) -> Result<(), Refusal> {
    let config = &body["output_config"];
    extra(config, &["effort", "format"], "output_config")?;
    if let Some(effort) = given(config, "effort") {
        if !EFFORTS.iter().any(|known| effort == known) {
            return Err(wrong("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'"));
        }
        if !model.takes_effort() {
            return Err(wrong("This model does not support the effort parameter."));
        }
    }
    let Some(format) = given(config, "format") else { return Ok(()) };
    if text(format, "type") != "json_schema" {
        return Err(wrong("output_config.format.type: Input should be 'json_schema'"));
    }
    extra(format, &["type", "schema"], "output_config.format")?;
    if !model.is_structured() {
        return Err(wrong("output_config.format: This model does not support output format."));
    }
    if !format["schema"].is_object() {
        return Err(wrong("output_config.format.schema: Field required"));
    }
    schema::check(&format["schema"]).map_err(|why| wrong(format!("output_config.format.schema: {why}")))
}

/// Nobody shall be recognised by it.
fn user_id(id: &str) -> Result<(), Refusal> {
    if id.contains('@') && id.contains('.') {
        return Err(wrong("metadata.user_id: user_id appears to contain an email address"));
    }
    let is_number = id.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '(' | ')' | '+'));
    if id.starts_with('+') && is_number && id.len() > 7 {
        return Err(wrong("metadata.user_id: user_id appears to contain a phone number"));
    }
    Ok(())
}

fn system(body: &Value) -> Result<(), Refusal> {
    match given(body, "system") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => {
            for (at, block) in blocks.iter().enumerate() {
                if text(block, "type") != "text" {
                    return Err(wrong(format!("system.{at}.type: Input should be 'text'")));
                }
                extra(block, &["type", "text", "cache_control", "citations"], &format!("system.{at}"))?;
                if text(block, "text").is_empty() {
                    return Err(wrong("system: text content blocks must be non-empty"));
                }
            }
            Ok(())
        }
        Some(_) => Err(wrong("system: Input should be a valid list")),
    }
}

fn stops(body: &Value, asked: &mut Asked) -> Result<(), Refusal> {
    if given(body, "stop_sequences").is_some_and(|stops| !stops.is_array()) {
        return Err(wrong("stop_sequences: Input should be a valid list"));
    }
    for (at, stop) in list(body, "stop_sequences").iter().enumerate() {
        match stop.as_str() {
            None => return Err(wrong(format!("stop_sequences.{at}: Input should be a valid string"))),
            Some(stop) if stop.trim().is_empty() => {
                return Err(wrong("stop_sequences: each stop sequence must contain non-whitespace"));
            }
            Some(stop) => asked.stops.push(stop.to_owned()),
        }
    }
    Ok(())
}
