//! Blocks of Anthropic's Messages.

use super::errors::{Refusal, wrong};
use super::field::{given, is_name, media_type, text};
use super::messages::signature;
use super::messages_read::extra;
use serde_json::Value;

/// Looks at one block of a message of a role.
pub(super) fn check(block: &Value, role: &str, path: &str) -> Result<(), Refusal> {
    let kind = text(block, "type");
    let fields: &[&str] = match kind {
        "text" => &["type", "text", "cache_control", "citations"],
        "image" => &["type", "source", "cache_control"],
        "document" => &["type", "source", "title", "context", "citations", "cache_control"],
        "tool_use" => &["type", "id", "name", "input", "cache_control", "caller"],
        "tool_result" => &["type", "tool_use_id", "content", "is_error", "cache_control"],
        "thinking" => &["type", "thinking", "signature"],
        "redacted_thinking" => &["type", "data"],
        other => {
            let tags = "'document', 'image', 'redacted_thinking', 'text', 'thinking', 'tool_result', 'tool_use'";
            return Err(wrong(format!(
                "{path}: Input tag '{other}' found using 'type' does not match any of the expected tags: {tags}"
            )));
        }
    };
    extra(block, fields, &format!("{path}.{kind}"))?;
    let place = match kind {
        "text" => None,
        "tool_use" | "thinking" | "redacted_thinking" => Some("assistant"),
        _ => Some("user"),
    };
    if let Some(place) = place.filter(|place| *place != role) {
        return Err(wrong(format!("{path}: `{kind}` blocks can only be in `{place}` messages")));
    }
    match kind {
        "text" => said(block, path),
        "image" => image(&block["source"], &format!("{path}.image.source")),
        "document" if !block["source"].is_object() => Err(wrong(format!("{path}.document.source: Field required"))),
        "tool_use" => tool_use(block, &format!("{path}.tool_use")),
        "tool_result" => tool_result(block, &format!("{path}.tool_result")),
        "thinking" if text(block, "signature") != signature(text(block, "thinking")) => {
            Err(wrong(format!("{path}: Invalid `signature` in `thinking` block")))
        }
        _ => Ok(()),
    }
}

fn said(block: &Value, path: &str) -> Result<(), Refusal> {
    match block["text"].as_str() {
        None => Err(wrong(format!("{path}.text.text: Field required"))),
        Some("") => Err(wrong("messages: text content blocks must be non-empty")),
        Some(text) if text.trim().is_empty() => Err(wrong("messages: text content blocks must contain non-whitespace text")),
        Some(_) => Ok(()),
    }
}

fn image(source: &Value, path: &str) -> Result<(), Refusal> {
    let kind = text(source, "type");
    let known: &[&str] = match kind {
        "base64" => &["type", "media_type", "data"],
        "url" => &["type", "url"],
        "file" => &["type", "file_id"],
        other => {
            let tags = "'base64', 'file', 'url'";
            return Err(wrong(format!(
                "{path}: Input tag '{other}' found using 'type' does not match any of the expected tags: {tags}"
            )));
        }
    };
    extra(source, known, &format!("{path}.{kind}"))?;
    let told = text(source, "media_type");
    match kind {
        "base64" if !matches!(told, "image/jpeg" | "image/png" | "image/gif" | "image/webp") => Err(wrong(format!(
            "{path}.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        ))),
        "base64" => match media_type(text(source, "data")) {
            None => Err(wrong(format!("{path}.base64.data: Could not process image"))),
            Some(found) if found != told => {
                Err(wrong(format!("{path}.base64.data: Image does not match the provided media type {told}")))
            }
            Some(_) => Ok(()),
        },
        "url" if !text(source, "url").starts_with("http") => {
            Err(wrong(format!("{path}.url.url: Only HTTPS URLs are supported.")))
        }
        _ => Ok(()),
    }
}

fn tool_use(block: &Value, path: &str) -> Result<(), Refusal> {
    for name in ["id", "name", "input"] {
        if given(block, name).is_none() {
            return Err(wrong(format!("{path}.{name}: Field required")));
        }
    }
    if !is_name(text(block, "id"), 256) {
        return Err(wrong(format!("{path}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")));
    }
    if !is_name(text(block, "name"), 200) {
        return Err(wrong(format!("{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'")));
    }
    if !block["input"].is_object() {
        return Err(wrong(format!("{path}.input: Input should be a valid dictionary")));
    }
    Ok(())
}

fn tool_result(block: &Value, path: &str) -> Result<(), Refusal> {
    if !is_name(text(block, "tool_use_id"), 256) {
        return Err(wrong(format!("{path}.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'")));
    }
    if given(block, "is_error").is_some_and(|is_error| !is_error.is_boolean()) {
        return Err(wrong(format!("{path}.is_error: Input should be a valid boolean")));
    }
    match given(block, "content") {
        None | Some(Value::String(_)) => Ok(()),
        Some(Value::Array(inner)) => {
            for (at, one) in inner.iter().enumerate() {
                let path = format!("{path}.content.{at}");
                if !matches!(text(one, "type"), "text" | "image" | "document") {
                    return Err(wrong(format!("{path}: Input tag '{}' is not expected here", text(one, "type"))));
                }
                check(one, "user", &path)?;
            }
            Ok(())
        }
        Some(_) => Err(wrong(format!("{path}.content: Input should be a valid list"))),
    }
}

/// What a picture is called: its media type, or where it is.
pub(super) fn image_name(block: &Value) -> String {
    let source = &block["source"];
    let named = ["media_type", "url", "file_id"].iter().map(|name| text(source, name)).find(|name| !name.is_empty());
    named.unwrap_or_default().to_owned()
}

/// The text of a result.
pub(super) fn plain(content: &Value) -> String {
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<&str> = blocks.iter().map(|block| text(block, "text")).filter(|text| !text.is_empty()).collect();
    content.as_str().map_or_else(|| texts.join("\n"), str::to_owned)
}
