//! The chunks of a stream of Chat Completions, written for a client.

use crate::field::id;
use crate::usage::Usage;
use serde_json::{Value, json};

/// Writes one answer as chunks: first its role, and its usage and its end last, each once.
#[derive(Debug)]
pub(crate) struct Chunks {
    id: String,
    model: String,
    created: Value,
    /// The client asked for the usage.
    wants_usage: bool,
    has_role: bool,
    has_finish: bool,
    is_closed: bool,
    /// So many calls were told.
    calls: u64,
    /// What was used, as far as it is known.
    pub(crate) usage: Usage,
}

impl Chunks {
    pub(crate) fn new(wants_usage: bool) -> Self {
        Self {
            id: id("chatcmpl-", ""),
            model: String::new(),
            created: 0.into(),
            wants_usage,
            has_role: false,
            has_finish: false,
            is_closed: false,
            calls: 0,
            usage: Usage::default(),
        }
    }

    /// Begins the answer. A second beginning changes nothing of what the client has seen.
    pub(crate) fn begin(&mut self, given: &str, model: &str, created: Value, out: &mut Vec<u8>) {
        if !self.has_role {
            (self.id, self.model, self.created) = (id("chatcmpl-", given), model.to_owned(), created);
        }
        self.role(out);
    }

    fn role(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_role, true) {
            self.write(&json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]), None, out);
        }
    }

    fn write(&self, choices: &Value, usage: Option<Value>, out: &mut Vec<u8>) {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        out.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
    }

    fn delta(&mut self, delta: &Value, out: &mut Vec<u8>) {
        self.role(out);
        self.write(&json!([{"index": 0, "delta": delta, "finish_reason": null}]), None, out);
    }

    /// Tells a text, in the field that it belongs to.
    pub(crate) fn text(&mut self, field: &str, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.delta(&json!({ field: text }), out);
        }
    }

    /// Begins a call, and gives its number.
    pub(crate) fn call(&mut self, id: &str, name: &str, out: &mut Vec<u8>) -> u64 {
        let index = self.calls;
        self.calls += 1;
        let function = json!({"name": name, "arguments": ""});
        self.delta(&json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]}), out);
        index
    }

    /// Tells a part of a call's arguments.
    pub(crate) fn arguments(&mut self, index: u64, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.delta(&json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]}), out);
        }
    }

    /// Something was called.
    pub(crate) const fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// Tells why the answer ends.
    pub(crate) fn finish(&mut self, reason: &str, out: &mut Vec<u8>) {
        self.role(out);
        if !std::mem::replace(&mut self.has_finish, true) {
            self.write(&json!([{"index": 0, "delta": {}, "finish_reason": reason}]), None, out);
        }
    }

    /// Tells the usage where it is wanted, and the end.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_closed, true) {
            return;
        }
        if self.wants_usage {
            self.write(&json!([]), Some(self.usage.chat()), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
