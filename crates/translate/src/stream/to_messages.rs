//! Chunks of Chat Completions, told as Anthropic's events. There one block is open at a time: calls that come at the same time
//! are told one after the other.

use super::Progress;
use crate::field::{count, given, id, list, text};
use crate::from_messages::{call_id, error, status_of, stop};
use crate::history::arguments;
use crate::usage::Usage;
use crate::{Api, Names};
use serde_json::{Value, json};

/// So many calls are followed.
const CALLS_MAX: usize = 1024;
/// So many bytes of arguments are held of calls that wait for their turn.
const HELD_MAX: usize = 8 * 1024 * 1024;

/// How far a call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It waits for its name, or for its turn.
    Waits,
    /// Its block is open.
    Open,
    /// Its block is closed.
    Closed,
}

#[derive(Debug)]
struct Call {
    /// Its number, as the backend gives it.
    index: Option<u64>,
    id: String,
    name: String,
    /// What was not told yet of its arguments.
    held: String,
    told: Told,
}

/// One answer on its way to a client of Anthropic's language.
#[derive(Debug)]
pub(super) struct ToMessages {
    names: Names,
    id: String,
    has_begun: bool,
    is_over: bool,
    /// A block of text is open.
    is_text_open: bool,
    /// The number of the next block.
    next: u64,
    calls: Vec<Call>,
    held: usize,
    stop: Option<(&'static str, Option<String>)>,
    usage: Usage,
}

/// Writes an event.
fn write(event: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("event: {}\ndata: {event}\n\n", text(event, "type")).as_bytes());
}

impl ToMessages {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            id: String::new(),
            has_begun: false,
            is_over: false,
            is_text_open: false,
            next: 0,
            calls: vec![],
            held: 0,
            stop: None,
            usage: Usage::default(),
        }
    }

    /// Tells what a chunk means.
    pub(super) fn event(&mut self, chunk: &Value, now: &mut Progress, out: &mut Vec<u8>) {
        if given(chunk, "error").is_some() || [text(chunk, "type"), text(chunk, "object")].contains(&"error") {
            now.fail(Api::Chat, chunk);
            write(&error(status_of(chunk), chunk).1, out);
            return;
        }
        let chunk_usage = [&chunk["usage"], &chunk["x_groq"]["usage"]].into_iter().find(|u| u.is_object());
        if let Some(usage) = chunk_usage {
            self.usage.merge(Usage::of_openai(usage));
        }
        if chunk.get("choices").is_none() {
            return;
        }
        self.begin(chunk, out);
        for choice in list(chunk, "choices").iter().filter(|choice| count(choice, "index").unwrap_or(0) == 0) {
            let delta = &choice["delta"];
            if ["reasoning_content", "reasoning"].iter().any(|field| !text(delta, field).is_empty()) {
                // Thoughts are not shown, but the client must see that something goes on.
                now.begun = true;
                ping(out);
            }
            for field in ["content", "refusal"] {
                self.text(text(delta, field), now, out);
            }
            for part in list(delta, "tool_calls") {
                now.begun = true;
                self.call(part, out);
            }
            if given(choice, "finish_reason").is_some() {
                (now.begun, now.finished) = (true, true);
                self.stop = Some(stop(choice, !self.calls.is_empty()));
            }
        }
    }

    fn begin(&mut self, chunk: &Value, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        self.id = id("msg_", text(chunk, "id"));
        let message = json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": text(chunk, "model"),
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.usage.messages(),
        });
        write(&json!({"type": "message_start", "message": message}), out);
    }

    fn open(&mut self, block: &Value, out: &mut Vec<u8>) {
        write(&json!({"type": "content_block_start", "index": self.next, "content_block": block}), out);
    }

    fn part(&self, delta: &Value, out: &mut Vec<u8>) {
        write(&json!({"type": "content_block_delta", "index": self.next, "delta": delta}), out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        write(&json!({"type": "content_block_stop", "index": self.next}), out);
        self.next += 1;
    }

    fn text(&mut self, said: &str, now: &mut Progress, out: &mut Vec<u8>) {
        if said.is_empty() {
            return;
        }
        now.begun = true;
        if !self.is_text_open {
            self.close_calls(out);
            self.open(&json!({"type": "text", "text": ""}), out);
            self.is_text_open = true;
        }
        self.part(&json!({"type": "text_delta", "text": said}), out);
    }

    /// Which call a fragment belongs to: fragments are joined by their number, and by their id where there is none. A new id with
    /// a name under an old number is a new call.
    fn place(&mut self, part: &Value) -> Option<usize> {
        let (index, id, name) = (count(part, "index"), text(part, "id"), text(&part["function"], "name"));
        let same = |call: &Call| match index {
            Some(_) => call.index == index,
            None => id.is_empty() || call.id == id,
        };
        let found = self.calls.iter().rposition(same);
        let is_new =
            |at: usize| self.calls.get(at).is_some_and(|c| !id.is_empty() && !c.id.is_empty() && c.id != id && !name.is_empty());
        let whole = index.is_none() && id.is_empty() && !name.is_empty();
        if let Some(at) = found.filter(|at| !is_new(*at) && !whole) {
            return Some(at);
        }
        if self.calls.len() >= CALLS_MAX {
            return None;
        }
        self.calls.push(Call { index, id: id.to_owned(), name: String::new(), held: String::new(), told: Told::Waits });
        self.calls.len().checked_sub(1)
    }

    fn call(&mut self, part: &Value, out: &mut Vec<u8>) {
        let Some(at) = self.place(part) else { return };
        let function = &part["function"];
        // Most tell a text, in parts; some tell the object itself.
        let told = &function["arguments"];
        let more = told.as_str().map_or_else(|| if told.is_null() { String::new() } else { arguments(told) }, str::to_owned);
        let Some(call) = self.calls.get_mut(at) else { return };
        if call.told == Told::Waits {
            for (field, given) in [(&mut call.id, text(part, "id")), (&mut call.name, text(function, "name"))] {
                if field.is_empty() {
                    given.clone_into(field);
                }
            }
        }
        if call.told == Told::Closed || self.held.saturating_add(more.len()) > HELD_MAX {
            return;
        }
        self.held += more.len();
        call.held.push_str(&more);
        if self.calls.iter().all(|call| call.told != Told::Open) {
            self.open_call(at, out);
        }
        self.tell_held(at, out);
    }

    /// Opens the block of a call, if its name is known.
    fn open_call(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(call) = self.calls.get_mut(at).filter(|call| !call.name.is_empty()) else { return };
        call.told = Told::Open;
        let id = if call.id.is_empty() { call_id(&self.id, at) } else { call.id.clone() };
        let block = json!({"type": "tool_use", "id": id, "name": self.names.original(&call.name), "input": {}});
        if std::mem::take(&mut self.is_text_open) {
            self.close(out);
        }
        self.open(&block, out);
    }

    fn tell_held(&mut self, at: usize, out: &mut Vec<u8>) {
        let Some(call) = self.calls.get_mut(at).filter(|call| call.told == Told::Open) else { return };
        let held = std::mem::take(&mut call.held);
        self.held = self.held.saturating_sub(held.len());
        if !held.is_empty() {
            self.part(&json!({"type": "input_json_delta", "partial_json": held}), out);
        }
    }

    /// Closes the call that is open, then tells those that waited.
    fn close_calls(&mut self, out: &mut Vec<u8>) {
        let open = self.calls.iter().position(|call| call.told == Told::Open);
        let waiting = self.calls.iter().enumerate().filter(|(_, call)| call.told == Told::Waits).map(|(at, _)| at);
        let all: Vec<usize> = open.into_iter().chain(waiting).collect();
        for at in all {
            if Some(at) != open {
                self.open_call(at, out);
            }
            self.tell_held(at, out);
            let was_open = self.calls.get(at).is_some_and(|call| call.told == Told::Open);
            if let Some(call) = self.calls.get_mut(at) {
                call.told = Told::Closed;
            }
            if was_open {
                self.close(out);
            }
        }
    }

    /// The backend is done.
    pub(super) fn done(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.begin(&Value::Null, out);
        if std::mem::take(&mut self.is_text_open) {
            self.close(out);
        }
        self.close_calls(out);
        let usual = if self.calls.is_empty() { "end_turn" } else { "tool_use" };
        let (reason, sequence) = self.stop.take().unwrap_or((usual, None));
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        write(&json!({"type": "message_delta", "delta": delta, "usage": self.usage.messages()}), out);
        write(&json!({"type": "message_stop"}), out);
    }
}

/// Keeps the connection open.
pub(super) fn ping(out: &mut Vec<u8>) {
    write(&json!({"type": "ping"}), out);
}
