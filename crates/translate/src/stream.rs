//! Streams of answers: bytes of server-sent events in any pieces in, whole events out, in the client's language. What came is
//! followed, so that whoever passes it on knows whether it has begun, ended or failed.

mod chat;
mod chunks;
mod from_messages;
mod from_responses;
mod sse;
mod to_messages;

use crate::fault::{self, Class};
use crate::{Api, Names};
use from_messages::Messages;
use from_responses::Responses;
use serde_json::Value;
use sse::{Cutter, Piece};
use to_messages::ToMessages;

/// An error that came inside a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do.
    pub class: Class,
    /// The backend's words; its code where it has no words.
    pub message: String,
}

/// How far a stream has come.
#[derive(Debug, Default)]
struct Progress {
    begun: bool,
    finished: bool,
    done: bool,
    failure: Option<Failure>,
}

impl Progress {
    /// It failed, for good. The first error counts.
    fn fail(&mut self, api: Api, event: &Value) {
        if self.failure.is_none() {
            let fault = fault::of_event(api, event);
            let message = Some(fault::message(event)).filter(|m| !m.is_empty()).unwrap_or(fault.reason);
            self.failure = Some(Failure { class: fault.class, message });
        }
    }
}

/// What is made of the events.
#[derive(Debug)]
enum Side {
    /// Nothing: the bytes are passed on.
    Same,
    /// Chunks, of Anthropic's events.
    Messages(Box<Messages>),
    /// Chunks, of those of Responses.
    Responses(Box<Responses>),
    /// Anthropic's events, of chunks.
    ToMessages(Box<ToMessages>),
}

/// One stream on its way from a backend to a client. It makes the same of the same bytes, in whatever pieces they come.
#[derive(Debug)]
pub struct Stream {
    cutter: Cutter,
    now: Progress,
    side: Side,
}

impl Stream {
    /// For a client of Chat Completions. A stream that is one already passes unchanged. With `usage` a chunk without choices
    /// tells the usage before the end.
    #[must_use]
    pub fn to_chat(from: Api, names: Names, json_tool: bool, usage: bool) -> Self {
        Self::new(match from {
            Api::Chat => Side::Same,
            Api::Messages => Side::Messages(Box::new(Messages::new(names, json_tool, usage))),
            Api::Responses => Side::Responses(Box::new(Responses::new(names, usage))),
        })
    }

    /// For a client of Anthropic's Messages, from Chat Completions.
    #[must_use]
    pub fn to_messages(names: Names) -> Self {
        Self::new(Side::ToMessages(Box::new(ToMessages::new(names))))
    }

    fn new(side: Side) -> Self {
        Self { cutter: Cutter::default(), now: Progress::default(), side }
    }

    /// What the client gets now. An error in the stream is told by `failure`, and only a client of Messages gets it from here;
    /// after it nothing comes any more.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        for piece in self.cutter.feed(bytes) {
            self.piece(&piece, &mut out);
        }
        if matches!(self.side, Side::Same) { bytes.to_vec() } else { out }
    }

    /// The backend has ended. What is missing of an answer that is complete comes now; of one that broke off nothing comes:
    /// whether it did is told by `is_finished`.
    pub fn end(&mut self) -> Vec<u8> {
        let is_between = self.cutter.is_between();
        let mut out = vec![];
        for piece in self.cutter.rest() {
            self.piece(&piece, &mut out);
        }
        if self.now.failure.is_some() || !self.now.finished || self.now.done {
            return out;
        }
        self.now.done = true;
        match &mut self.side {
            Side::Same => {
                out.extend_from_slice(if is_between { b"" } else { b"\n\n" });
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
            Side::Messages(messages) => messages.end(&self.now, &mut out),
            Side::Responses(_) => {}
            Side::ToMessages(chunks) => chunks.done(&mut out),
        }
        out
    }

    fn piece(&mut self, piece: &Piece, out: &mut Vec<u8>) {
        let now = &mut self.now;
        if now.failure.is_some() || now.done {
            return;
        }
        let data = match (piece, &self.side) {
            (Piece::Data(data), _) => data,
            (Piece::Comment, Side::ToMessages(_)) => return to_messages::ping(out),
            (Piece::Comment, Side::Messages(_) | Side::Responses(_)) => return out.extend_from_slice(b": ping\n\n"),
            (Piece::Comment, Side::Same) => return,
        };
        if data.trim_ascii() == b"[DONE]" {
            match &mut self.side {
                Side::Same => (now.finished, now.done) = (true, true),
                Side::ToMessages(chunks) => {
                    (now.finished, now.done) = (true, true);
                    chunks.done(out);
                }
                Side::Messages(_) | Side::Responses(_) => {}
            }
            return;
        }
        let Ok(event) = serde_json::from_slice::<Value>(data) else { return };
        match &mut self.side {
            Side::Same => chat::follow(&event, now),
            Side::Messages(messages) => messages.event(&event, now, out),
            Side::Responses(responses) => responses.event(&event, now, out),
            Side::ToMessages(chunks) => chunks.event(&event, now, out),
        }
    }

    /// The first content has been seen: text, thoughts, a call, a refusal, or a reason to end. Until then another backend may
    /// answer instead. Roles, pings and comments are no content.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.now.begun
    }

    /// The end of the answer has been seen.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.now.finished
    }

    /// The error that came inside the stream.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.now.failure.as_ref()
    }

    /// An error in `OpenAI`'s words as an event for this client.
    #[must_use]
    pub fn error_event(&self, chat_error: &Value) -> Vec<u8> {
        match self.side {
            Side::Same | Side::Messages(_) | Side::Responses(_) => format!("data: {chat_error}\n\n").into_bytes(),
            Side::ToMessages(_) => {
                let (_, event) = crate::from_messages::error(crate::from_messages::status_of(chat_error), chat_error);
                format!("event: error\ndata: {event}\n\n").into_bytes()
            }
        }
    }
}
