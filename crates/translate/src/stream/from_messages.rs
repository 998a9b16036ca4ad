//! Anthropic's events, told as chunks of Chat Completions.

use super::Progress;
use super::chunks::Chunks;
use crate::field::{count, text};
use crate::messages::{JSON_TOOL, finish, refusal};
use crate::usage::Usage;
use crate::{Api, Names};
use serde_json::Value;
use std::collections::BTreeMap;

/// So many blocks may be open at once; there is one at a time.
const OPEN_MAX: usize = 1024;

/// A call whose end has not come.
#[derive(Debug)]
struct Call {
    /// Its number among the calls; nothing for the tool that gives the answer its shape.
    index: Option<u64>,
    /// A part of its arguments was told.
    is_told: bool,
    /// Its arguments, where they came with its beginning.
    whole: Option<String>,
}

/// One answer of Anthropic's on its way.
#[derive(Debug)]
pub(super) struct Messages {
    names: Names,
    json_tool: bool,
    chunks: Chunks,
    open: BTreeMap<u64, Call>,
}

impl Messages {
    pub(super) fn new(names: Names, json_tool: bool, wants_usage: bool) -> Self {
        Self { names, json_tool, chunks: Chunks::new(wants_usage), open: BTreeMap::new() }
    }

    /// Tells what an event means.
    pub(super) fn event(&mut self, event: &Value, now: &mut Progress, out: &mut Vec<u8>) {
        match text(event, "type") {
            "message_start" => {
                // A second one starts over: what was open comes to nothing.
                self.open.clear();
                let message = &event["message"];
                self.chunks.usage = Usage::of_messages(&message["usage"]);
                self.chunks.begin(text(message, "id"), text(message, "model"), 0.into(), out);
            }
            "content_block_start" => self.start(event, now, out),
            "content_block_delta" => self.delta(event, now, out),
            "content_block_stop" => self.stop(count(event, "index").unwrap_or(0), out),
            "message_delta" => {
                self.chunks.usage.merge(Usage::of_messages(&event["usage"]));
                let delta = &event["delta"];
                let reason = text(delta, "stop_reason");
                if !reason.is_empty() {
                    self.finish(reason, delta, now, out);
                }
            }
            "message_stop" => {
                self.finish("", event, now, out);
                now.done = true;
                self.chunks.close(out);
            }
            "ping" => out.extend_from_slice(b": ping\n\n"),
            "error" => now.fail(Api::Messages, event),
            _ if event.get("error").is_some_and(|e| !e.is_null()) => now.fail(Api::Messages, event),
            _ => {}
        }
    }

    fn start(&mut self, event: &Value, now: &mut Progress, out: &mut Vec<u8>) {
        let (at, block) = (count(event, "index").unwrap_or(0), &event["content_block"]);
        self.stop(at, out);
        match text(block, "type") {
            "text" => self.text("content", text(block, "text"), now, out),
            "thinking" => self.text("reasoning_content", text(block, "thinking"), now, out),
            "tool_use" if self.open.len() < OPEN_MAX => {
                now.begun = true;
                let name = text(block, "name");
                let is_shape = self.json_tool && name == JSON_TOOL;
                let index = (!is_shape).then(|| self.chunks.call(text(block, "id"), self.names.original(name), out));
                let input = &block["input"];
                let whole = input.as_object().filter(|all| !all.is_empty()).map(|_| input.to_string());
                self.open.insert(at, Call { index, is_told: false, whole });
            }
            _ => {}
        }
    }

    fn text(&mut self, field: &str, text: &str, now: &mut Progress, out: &mut Vec<u8>) {
        now.begun |= !text.is_empty();
        self.chunks.text(field, text, out);
    }

    fn delta(&mut self, event: &Value, now: &mut Progress, out: &mut Vec<u8>) {
        let delta = &event["delta"];
        match text(delta, "type") {
            "text_delta" => self.text("content", text(delta, "text"), now, out),
            "thinking_delta" => self.text("reasoning_content", text(delta, "thinking"), now, out),
            "input_json_delta" => {
                let part = text(delta, "partial_json");
                let Some(call) = self.open.get_mut(&count(event, "index").unwrap_or(0)).filter(|_| !part.is_empty()) else {
                    return;
                };
                call.is_told = true;
                tell(&mut self.chunks, call.index, part, out);
            }
            _ => {}
        }
    }

    /// A block has ended. A call without any arguments has an empty object of them.
    fn stop(&mut self, at: u64, out: &mut Vec<u8>) {
        if let Some(call) = self.open.remove(&at).filter(|call| !call.is_told) {
            tell(&mut self.chunks, call.index, call.whole.as_deref().unwrap_or("{}"), out);
        }
    }

    fn finish(&mut self, reason: &str, delta: &Value, now: &mut Progress, out: &mut Vec<u8>) {
        if now.finished {
            return;
        }
        while let Some(at) = self.open.keys().next().copied() {
            self.stop(at, out);
        }
        if reason == "refusal" {
            self.chunks.text("refusal", &refusal(delta), out);
        }
        self.chunks.finish(finish(reason, self.chunks.has_calls()), out);
        (now.begun, now.finished) = (true, true);
    }

    /// What is missing of an answer that has ended.
    pub(super) fn end(&mut self, now: &Progress, out: &mut Vec<u8>) {
        if now.finished {
            self.chunks.close(out);
        }
    }
}

/// Tells a part of what a tool is given: as arguments, or as the answer's text.
fn tell(chunks: &mut Chunks, index: Option<u64>, part: &str, out: &mut Vec<u8>) {
    match index {
        Some(index) => chunks.arguments(index, part, out),
        None => chunks.text("content", part, out),
    }
}
