//! The items that a request of Responses carries.

use super::errors::{Refusal, missing, openai, unknown as unknown_field, wrong_type};
use super::field::{text, unknown};
use super::mind::{Asked, Outcome, weigh};
use super::openai as own;
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads a conversation, or refuses it as the API does.
pub(super) fn read(input: &Value) -> Result<Asked, Refusal> {
    let mut asked = Asked { bytes: weigh(input), ..Asked::default() };
    if let Value::String(text) = input {
        text.clone_into(&mut asked.last_user);
        return Ok(asked);
    }
    if !input.is_array() {
        return Err(wrong_type("input", "one of a string or an array of input items", input));
    }
    own::not_empty(input, "input")?;
    let mut calls: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open: Vec<&str> = vec![];
    for (at, item) in input.as_array().into_iter().flatten().enumerate() {
        let path = format!("input[{at}]");
        let id = text(item, "call_id");
        match text(item, "type") {
            "message" | "" => message(item, &path, &mut asked)?,
            "function_call" => {
                known(item, &["type", "id", "call_id", "name", "arguments", "status"], &path)?;
                for name in ["call_id", "name", "arguments"] {
                    if !item[name].is_string() {
                        return Err(missing(&format!("{path}.{name}")));
                    }
                }
                own::name(&item["name"], &format!("{path}.name"))?;
                asked.results.clear();
                calls.insert(id, text(item, "name"));
                open.push(id);
            }
            "function_call_output" => {
                known(item, &["type", "id", "call_id", "output", "status"], &path)?;
                let Some(tool) = calls.get(id).filter(|_| open.contains(&id)) else {
                    let message = format!("No tool call found for function call output with call_id {id}.");
                    return Err(openai(400, &message, Some("input"), None));
                };
                let said = output(&item["output"], &path, &mut asked)?;
                asked.results.push(Outcome { tool: (*tool).to_owned(), said });
                open.retain(|known| *known != id);
            }
            "reasoning" => {
                known(item, &["type", "id", "summary", "content", "encrypted_content", "status"], &path)?;
                if !item["summary"].is_array() {
                    return Err(missing(&format!("{path}.summary")));
                }
            }
            other => {
                let supported = "'message', 'function_call', 'function_call_output', and 'reasoning'";
                let message = format!("Invalid value: '{other}'. Supported values are: {supported}.");
                return Err(openai(400, &message, Some(&path), Some("invalid_value")));
            }
        }
    }
    match open.first() {
        None => Ok(asked),
        Some(id) => Err(openai(400, &format!("No tool output found for function call {id}."), Some("input"), None)),
    }
}

fn known(item: &Value, fields: &[&str], path: &str) -> Result<(), Refusal> {
    unknown(item, fields).map_or(Ok(()), |name| Err(unknown_field(&format!("{path}.{name}"))))
}

fn message(item: &Value, path: &str, asked: &mut Asked) -> Result<(), Refusal> {
    known(item, &["type", "id", "role", "content", "status", "phase"], path)?;
    let kinds: &[&str] = match text(item, "role") {
        "user" => &["input_text", "input_image", "input_file"],
        "system" | "developer" => &["input_text"],
        "assistant" => &["output_text", "refusal"],
        other => {
            let supported = "'assistant', 'system', 'developer', and 'user'";
            let message = format!("Invalid value: '{other}'. Supported values are: {supported}.");
            return Err(openai(400, &message, Some(&format!("{path}.role")), Some("invalid_value")));
        }
    };
    let said = content(&item["content"], kinds, &format!("{path}.content"), asked)?;
    match text(item, "role") {
        "user" => {
            asked.results.clear();
            asked.last_user = said;
        }
        "assistant" => asked.results.clear(),
        _ => {}
    }
    Ok(())
}

fn output(output: &Value, path: &str, asked: &mut Asked) -> Result<String, Refusal> {
    content(output, &["input_text", "input_image", "input_file"], &format!("{path}.output"), asked)
}

/// The text of some content, each part of which has to be of one of these kinds.
fn content(content: &Value, kinds: &[&str], path: &str, asked: &mut Asked) -> Result<String, Refusal> {
    if let Value::String(text) = content {
        return Ok(text.clone());
    }
    if content.is_null() {
        return Err(missing(path));
    }
    let Some(parts) = content.as_array() else {
        return Err(wrong_type(path, "one of a string or an array of objects", content));
    };
    let mut said = vec![];
    for (at, part) in parts.iter().enumerate() {
        let (path, kind) = (format!("{path}[{at}]"), text(part, "type"));
        if !kinds.contains(&kind) {
            let kinds = kinds.iter().map(|k| format!("'{k}'")).collect::<Vec<_>>().join(", ");
            let message = format!("Invalid value: '{kind}'. Supported values are: {kinds}.");
            return Err(openai(400, &message, Some(&path), Some("invalid_value")));
        }
        match kind {
            "input_image" => {
                known(part, &["type", "image_url", "file_id", "detail"], &path)?;
                if !part["image_url"].is_string() {
                    return Err(wrong_type(&format!("{path}.image_url"), "an image URL", &part["image_url"]));
                }
                asked.images.push(own::image(text(part, "image_url"), &format!("{path}.image_url"))?);
            }
            "input_file" => known(part, &["type", "filename", "file_data", "file_id", "file_url", "detail"], &path)?,
            "refusal" => known(part, &["type", "refusal"], &path)?,
            _ => {
                known(part, &["type", "text", "annotations", "logprobs"], &path)?;
                if !part["text"].is_string() {
                    return Err(missing(&format!("{path}.text")));
                }
                said.push(text(part, "text"));
            }
        }
    }
    Ok(said.join("\n"))
}
