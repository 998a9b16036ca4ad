//! A stream of Chat Completions that is passed on as it comes, and followed: has it begun, has it ended, has it failed?

use super::Progress;
use crate::Api;
use crate::field::{given, list, text};
use serde_json::Value;

/// What a choice may say that is content.
const SAID: &[&str] = &["content", "reasoning_content", "reasoning", "refusal"];

/// Follows one event. Older completions, and those of Responses that an engine answers itself, pass here too.
pub(super) fn follow(event: &Value, now: &mut Progress) {
    let kind = text(event, "type");
    let is_error = given(event, "error").is_some() || text(event, "object") == "error";
    if is_error || matches!(kind, "error" | "response.failed") {
        return now.fail(Api::Chat, event);
    }
    if let Some(word) = kind.strip_prefix("response.") {
        let is_call = text(&event["item"], "type") == "function_call";
        now.begun |= word.ends_with(".delta") || is_call;
        if matches!(word, "completed" | "incomplete") {
            (now.begun, now.finished) = (true, true);
        }
        return;
    }
    for choice in list(event, "choices") {
        let delta = &choice["delta"];
        let says = SAID.iter().any(|field| !text(delta, field).is_empty()) || !text(choice, "text").is_empty();
        let calls = !list(delta, "tool_calls").is_empty() || given(delta, "function_call").is_some();
        let ends = given(choice, "finish_reason").is_some();
        now.begun |= says || calls || ends;
        now.finished |= ends;
    }
}
