//! The events of Responses, told as chunks of Chat Completions.

use super::Progress;
use super::chunks::Chunks;
use crate::field::{count, text};
use crate::responses::{created, finish};
use crate::usage::Usage;
use crate::{Api, Names};
use serde_json::Value;
use std::collections::BTreeMap;

/// So many calls are followed.
const CALLS_MAX: usize = 1024;

/// A call.
#[derive(Debug)]
struct Call {
    /// Its number among the calls.
    index: u64,
    /// A part of its arguments was told.
    is_told: bool,
}

/// One answer of Responses on its way.
#[derive(Debug)]
pub(super) struct Responses {
    names: Names,
    chunks: Chunks,
    /// By their place in the output.
    calls: BTreeMap<u64, Call>,
}

impl Responses {
    pub(super) fn new(names: Names, wants_usage: bool) -> Self {
        Self { names, chunks: Chunks::new(wants_usage), calls: BTreeMap::new() }
    }

    /// Tells what an event means. There are many kinds; what is not known here is passed over.
    pub(super) fn event(&mut self, event: &Value, now: &mut Progress, out: &mut Vec<u8>) {
        let response = &event["response"];
        let at = count(event, "output_index").unwrap_or(0);
        match text(event, "type") {
            "response.created" | "response.in_progress" => {
                self.chunks.begin(text(response, "id"), text(response, "model"), created(response), out);
            }
            "response.output_text.delta" => self.text("content", text(event, "delta"), now, out),
            "response.refusal.delta" => self.text("refusal", text(event, "delta"), now, out),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.text("reasoning_content", text(event, "delta"), now, out);
            }
            "response.reasoning_summary_part.added" if count(event, "summary_index").unwrap_or(0) > 0 => {
                self.text("reasoning_content", "\n\n", now, out);
            }
            "response.output_item.added" => self.call(at, &event["item"], now, out),
            "response.function_call_arguments.delta" => {
                let part = text(event, "delta");
                if let Some(call) = self.calls.get_mut(&at).filter(|_| !part.is_empty()) {
                    call.is_told = true;
                    self.chunks.arguments(call.index, part, out);
                }
            }
            "response.function_call_arguments.done" => self.whole(at, text(event, "arguments"), out),
            "response.output_item.done" => {
                let item = &event["item"];
                self.call(at, item, now, out);
                if text(item, "type") == "function_call" {
                    let arguments = text(item, "arguments");
                    self.whole(at, if arguments.trim().is_empty() { "{}" } else { arguments }, out);
                }
            }
            "response.completed" | "response.incomplete" => self.complete(response, now, out),
            "response.failed" | "response.cancelled" | "error" => now.fail(Api::Responses, event),
            "" if event.get("error").is_some_and(|e| !e.is_null()) => now.fail(Api::Responses, event),
            _ => {}
        }
    }

    fn text(&mut self, field: &str, text: &str, now: &mut Progress, out: &mut Vec<u8>) {
        now.begun |= !text.is_empty();
        self.chunks.text(field, text, out);
    }

    /// Begins a call, where the item is one that is not known yet.
    fn call(&mut self, at: u64, item: &Value, now: &mut Progress, out: &mut Vec<u8>) {
        if text(item, "type") == "function_call" && !self.calls.contains_key(&at) && self.calls.len() < CALLS_MAX {
            now.begun = true;
            let index = self.chunks.call(text(item, "call_id"), self.names.original(text(item, "name")), out);
            self.calls.insert(at, Call { index, is_told: false });
        }
    }

    /// All arguments of a call at once, unless they were told in parts.
    fn whole(&mut self, at: u64, arguments: &str, out: &mut Vec<u8>) {
        if let Some(call) = self.calls.get_mut(&at).filter(|call| !call.is_told && !arguments.is_empty()) {
            call.is_told = true;
            self.chunks.arguments(call.index, arguments, out);
        }
    }

    fn complete(&mut self, response: &Value, now: &mut Progress, out: &mut Vec<u8>) {
        let silent: Vec<u64> = self.calls.iter().filter(|(_, call)| !call.is_told).map(|(at, _)| *at).collect();
        for at in silent {
            self.whole(at, "{}", out);
        }
        self.chunks.usage.merge(Usage::of_openai(&response["usage"]));
        self.chunks.begin(text(response, "id"), text(response, "model"), created(response), out);
        self.chunks.finish(finish(response, self.chunks.has_calls()), out);
        (now.begun, now.finished, now.done) = (true, true, true);
        self.chunks.close(out);
    }
}
