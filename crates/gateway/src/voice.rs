//! What a client hears of an answer in several steps: one conversation in OpenAI's words, whoever said which part of it.

use crate::body::Answer;
use crate::errors::Refusal;
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// The longest event that is read.
const EVENT_MAX: usize = 8 * 1024 * 1024;
/// Tools that are called at once, at the most.
const CALLS_MAX: u64 = 128;
const ARGUMENTS_MAX: usize = 256 * 1024;
const WRITTEN_MAX: usize = 16 * 1024 * 1024;

/// A call of a tool, put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl ToolCall {
    /// As it stands in a message.
    pub(crate) fn shown(&self) -> Value {
        let arguments = if self.arguments.is_empty() { "{}" } else { &self.arguments };
        json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}})
    }
}

/// What was said in one step.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) reason: String,
}

/// The client's side.
pub(crate) struct Voice {
    out: Option<mpsc::Sender<Bytes>>,
    id: String,
    model: String,
    created: u64,
    text: String,
    reasoning: String,
    calls: Vec<ToolCall>,
    reason: String,
    /// Read and written, in all steps.
    tokens: [u64; 2],
}

impl Voice {
    /// One that tells a stream, or one that keeps all for the end.
    pub(crate) const fn new(out: Option<mpsc::Sender<Bytes>>) -> Self {
        Self {
            out,
            id: String::new(),
            model: String::new(),
            created: 0,
            text: String::new(),
            reasoning: String::new(),
            calls: vec![],
            reason: String::new(),
            tokens: [0, 0],
        }
    }

    /// Hears one step to its end, and passes on what is for the client.
    pub(crate) async fn listen(&mut self, answer: Response<Answer>) -> Result<Said, Refusal> {
        let mut body = answer.into_body();
        let (mut buffer, mut said, mut calls) = (BytesMut::new(), Said::default(), BTreeMap::<u64, ToolCall>::new());
        let mut over = false;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Refusal::BrokeOff)?;
            buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
            if buffer.len() > EVENT_MAX {
                return Err(Refusal::BrokeOff);
            }
            while let Some(event) = next_event(&mut buffer) {
                match data(&event) {
                    Some(b"[DONE]") => over = true,
                    Some(data) => {
                        let chunk: Value = serde_json::from_slice(data).unwrap_or_default();
                        if chunk.get("error").is_some_and(|e| !e.is_null()) {
                            return Err(Refusal::BrokeOff);
                        }
                        self.chunk(&chunk, &mut said, &mut calls).await;
                    }
                    None => {}
                }
            }
            if said.text.len() > WRITTEN_MAX {
                return Err(Refusal::BrokeOff);
            }
        }
        if !over && said.reason.is_empty() {
            return Err(Refusal::BrokeOff);
        }
        said.calls = calls.into_values().filter(|call| !call.name.is_empty()).collect();
        Ok(said)
    }

    async fn chunk(&mut self, chunk: &Value, said: &mut Said, calls: &mut BTreeMap<u64, ToolCall>) {
        if self.id.is_empty() {
            let text = |name: &str| chunk.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            (self.id, self.model) = (text("id"), text("model"));
            self.created = chunk.get("created").and_then(Value::as_u64).unwrap_or(0);
            self.send(&json!({"role": "assistant", "content": ""}), None).await;
        }
        for (at, name) in ["prompt_tokens", "completion_tokens"].iter().enumerate() {
            let told = chunk.get("usage").and_then(|u| u.get(name)).and_then(Value::as_u64).unwrap_or(0);
            self.tokens[at] = self.tokens[at].saturating_add(told);
        }
        let choices = chunk.get("choices").and_then(Value::as_array).into_iter().flatten();
        let mut first = choices.filter(|choice| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0);
        let Some(choice) = first.next() else { return };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            reason.clone_into(&mut said.reason);
        }
        let Some(delta) = choice.get("delta").and_then(Value::as_object) else { return };
        for part in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            let known = u64::try_from(calls.len()).unwrap_or(0);
            let at = part.get("index").and_then(Value::as_u64).unwrap_or(known).min(CALLS_MAX);
            let id = part.get("id").and_then(Value::as_str).unwrap_or_default();
            // Some give every call the same place, and a name of its own.
            let another = calls.get(&at).is_some_and(|call| !id.is_empty() && !call.id.is_empty() && call.id != id);
            let at = if another { known.min(CALLS_MAX) } else { at };
            let call = calls.entry(at).or_default();
            let text = |path: &str| part.pointer(path).and_then(Value::as_str).unwrap_or_default();
            if call.id.is_empty() {
                text("/id").clone_into(&mut call.id);
            }
            if call.name.is_empty() {
                text("/function/name").clone_into(&mut call.name);
            }
            if call.arguments.len() < ARGUMENTS_MAX {
                call.arguments.push_str(text("/function/arguments"));
            }
        }
        let mut shown = Map::new();
        for name in ["content", "reasoning", "reasoning_content", "refusal"] {
            let Some(text) = delta.get(name).and_then(Value::as_str).filter(|t| !t.is_empty()) else { continue };
            if name == "content" {
                said.text.push_str(text);
            }
            shown.insert(name.to_owned(), text.into());
        }
        if !shown.is_empty() {
            self.send(&Value::Object(shown), None).await;
        }
    }

    /// One chunk to the client, or to what is kept for it.
    async fn send(&mut self, delta: &Value, reason: Option<&str>) {
        let Some(out) = &self.out else {
            let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
            self.text.push_str(text("content"));
            if self.reasoning.len() < WRITTEN_MAX {
                self.reasoning.push_str(text("reasoning"));
                self.reasoning.push_str(text("reasoning_content"));
            }
            return;
        };
        let chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        });
        // A client that has left needs nothing.
        out.send(format!("data: {chunk}\n\n").into()).await.ok();
    }

    /// The end of the last step: tools that the client has to call, and why nothing more is written.
    pub(crate) async fn hand_over(&mut self, calls: Vec<ToolCall>, reason: String) {
        for (at, call) in calls.iter().enumerate() {
            let mut shown = call.shown();
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("index".to_owned(), at.into());
            }
            if self.out.is_some() {
                self.send(&json!({"tool_calls": [shown]}), None).await;
            }
        }
        self.reason = match reason.as_str() {
            _ if !calls.is_empty() => "tool_calls".to_owned(),
            // Only the gateway's own tool was called.
            "" | "tool_calls" => "stop".to_owned(),
            other => other.to_owned(),
        };
        self.calls = calls;
        if self.out.is_some() {
            let reason = self.reason.clone();
            self.send(&json!({}), Some(&reason)).await;
        }
    }

    fn usage(&self) -> Value {
        let [read, written] = self.tokens;
        json!({"prompt_tokens": read, "completion_tokens": written, "total_tokens": read.saturating_add(written)})
    }

    /// The end of a stream.
    pub(crate) async fn end(self, usage: bool) {
        let Some(out) = &self.out else { return };
        if usage {
            let chunk = json!({
                "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": [],
                "usage": self.usage(),
            });
            out.send(format!("data: {chunk}\n\n").into()).await.ok();
        }
        out.send(Bytes::from_static(b"data: [DONE]\n\n")).await.ok();
    }

    /// The end of a stream that cannot go on.
    pub(crate) async fn fail(self, why: &Refusal) {
        if let Some(out) = &self.out {
            out.send(why.event()).await.ok();
        }
    }

    /// All that was kept, as one answer.
    pub(crate) fn whole(&self) -> Value {
        let content = if self.text.is_empty() && !self.calls.is_empty() { Value::Null } else { self.text.clone().into() };
        let mut message = json!({"role": "assistant", "content": content});
        if let Some(fields) = message.as_object_mut() {
            if !self.reasoning.is_empty() {
                fields.insert("reasoning_content".to_owned(), self.reasoning.clone().into());
            }
            if !self.calls.is_empty() {
                let calls: Vec<Value> = self.calls.iter().map(ToolCall::shown).collect();
                fields.insert("tool_calls".to_owned(), calls.into());
            }
        }
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.reason}], "usage": self.usage(),
        })
    }
}

/// Takes the first whole event off the front.
fn next_event(buffer: &mut BytesMut) -> Option<BytesMut> {
    let unix = memchr::memmem::find(buffer, b"\n\n").map(|at| at + 2);
    let dos = memchr::memmem::find(buffer, b"\r\n\r\n").map(|at| at + 4);
    let end = match (unix, dos) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b)?,
    };
    Some(buffer.split_to(end))
}

/// What an event carries.
fn data(event: &[u8]) -> Option<&[u8]> {
    event.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"data:")).map(<[u8]>::trim_ascii)
}
