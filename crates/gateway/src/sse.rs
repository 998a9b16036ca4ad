//! A stream of server-sent events on its way: cut into events where that is needed, its usage read, and the one event taken
//! out that the client did not ask for. Bytes are passed on as they came; nothing is written anew.

use bytes::{Bytes, BytesMut};
use memchr::memmem::{self, Finder, FinderRev};
use std::sync::LazyLock;

/// What is looked for in every event. Each is prepared once: that takes longer than a look through one event.
static DATA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"data:"));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static USAGE_BACK: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(b"\"usage\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static STOP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"message_stop\""));
static DONE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"data: [DONE]"));

/// An event longer than this is passed on unread.
const EVENT_MAX: usize = 1024 * 1024;

/// Tokens as an engine counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) completion: u64,
    pub(crate) reasoning: u64,
}

#[derive(serde::Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
    #[serde(default)]
    completion_tokens_details: Option<Details>,
    /// Anthropic's words, which leave out of the first what the next two count; and those of OpenAI's newer API.
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    input_tokens_details: Option<Details>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    output_tokens_details: Option<Details>,
}

/// What one object of usage tells.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    prompt: Option<u64>,
    cached: Option<u64>,
    completion: Option<u64>,
    reasoning: Option<u64>,
}

impl Told {
    /// Later words count, and what they leave out stays.
    fn over(self, before: Option<Tokens>) -> Tokens {
        let before = before.unwrap_or_default();
        Tokens {
            prompt: self.prompt.map_or(before.prompt, counted),
            cached: self.cached.map_or(before.cached, counted),
            completion: self.completion.map_or(before.completion, counted),
            reasoning: self.reasoning.map_or(before.reasoning, counted),
        }
    }
}

#[derive(Default, serde::Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default, alias = "thinking_tokens")]
    reasoning_tokens: Option<u64>,
}

/// The object of the last `"usage":{...}` in a document. Inside a string its quotes would be escaped, so text is never
/// taken for it.
pub(crate) fn usage(document: &[u8]) -> Option<Tokens> {
    let mut before = document;
    while let Some(at) = USAGE_BACK.rfind(before) {
        if let Some(told) = document.get(at + 7..).and_then(tokens) {
            return Some(told.over(None));
        }
        before = &document[..at];
    }
    None
}

/// What follows the name, if it is an object of numbers.
fn tokens(rest: &[u8]) -> Option<Told> {
    let skip = |bytes: &[u8]| bytes.iter().position(|b| !matches!(b, b' ' | b'\t'));
    let colon = skip(rest).filter(|i| rest[*i] == b':')?;
    let rest = &rest[colon + 1..];
    let start = skip(rest).filter(|i| rest[*i] == b'{')?;
    let mut reader = serde_json::Deserializer::from_slice(&rest[start..]).into_iter::<Usage>();
    let usage = reader.next()?.ok()?;
    let read = usage.prompt_tokens_details.or(usage.input_tokens_details).unwrap_or_default();
    let written = usage.completion_tokens_details.or(usage.output_tokens_details).unwrap_or_default();
    let beside = counted(usage.cache_creation_input_tokens) + counted(usage.cache_read_input_tokens);
    Some(Told {
        prompt: usage.prompt_tokens.or_else(|| usage.input_tokens.map(|n| n.saturating_add(beside))),
        cached: read.cached_tokens.or(usage.cache_read_input_tokens),
        completion: usage.completion_tokens.or(usage.output_tokens),
        reasoning: written.reasoning_tokens,
    })
}

/// A count that can be believed: whoever tells more would make sums overflow.
fn counted(told: impl Into<Option<u64>>) -> u64 {
    told.into().unwrap_or(0).min(crate::request::TOKENS_MAX)
}

/// Reads a stream in passing.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// The event with nothing but the usage is taken out.
    strip: bool,
    /// The beginning of an event whose end has not come.
    tail: BytesMut,
    /// The present event is too long to be read: it is passed on until it ends.
    passing: bool,
    /// What the engine counted.
    pub(crate) tokens: Option<Tokens>,
    /// Events that carried something for the client.
    pub(crate) events: u64,
    /// `[DONE]` has come.
    pub(crate) done: bool,
    /// An error was told in an event.
    pub(crate) failed: bool,
    /// Its words are Anthropic's.
    messages: bool,
}

/// What is passed on of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) first: Bytes,
    /// What follows behind an event that was taken out.
    pub(crate) then: Option<Bytes>,
}

impl Scanner {
    pub(crate) fn new(strip: bool) -> Self {
        Self { strip, ..Self::default() }
    }

    /// For a stream of Anthropic's language, from which nothing is taken out.
    pub(crate) fn for_messages() -> Self {
        Self { messages: true, ..Self::default() }
    }

    /// Are its words Anthropic's?
    pub(crate) const fn of_messages(&self) -> bool {
        self.messages
    }

    /// Was the last event too long to be read?
    pub(crate) const fn is_unread(&self) -> bool {
        self.passing
    }

    /// Is one event taken out, and so an unfinished one held back?
    pub(crate) const fn strips(&self) -> bool {
        self.strip
    }

    /// Takes a frame in, and gives back what the client gets of it.
    pub(crate) fn frame(&mut self, frame: Bytes) -> Passed {
        if !self.tail.is_empty() {
            return self.joined(&frame);
        }
        let end = whole_events(&frame);
        if self.passing {
            // The end of a long event; what begins behind it is read again with the next frame.
            self.passing = end == 0;
            return Passed { first: frame, then: None };
        }
        self.cut(frame, end)
    }

    /// What is left when the stream ends.
    pub(crate) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.tail).freeze()
    }

    fn joined(&mut self, frame: &Bytes) -> Passed {
        if self.strip {
            // What was held back has not been passed on: it comes with its end.
            self.tail.extend_from_slice(frame);
            let all = std::mem::take(&mut self.tail).freeze();
            let end = whole_events(&all);
            return self.cut(all, end);
        }
        let before = self.tail.len();
        self.tail.extend_from_slice(frame);
        let end = whole_events(&self.tail);
        if end > 0 {
            let all = std::mem::take(&mut self.tail);
            self.read(&all[..end]);
            self.tail.extend_from_slice(&all[end.max(before.min(end))..]);
        }
        self.forget_long();
        Passed { first: frame.clone(), then: None }
    }

    /// Whole events up to `end`, and the beginning of another behind them.
    fn cut(&mut self, all: Bytes, end: usize) -> Passed {
        self.read(&all[..end]);
        if end < all.len() {
            self.tail.extend_from_slice(&all[end..]);
        }
        if !self.strip {
            self.forget_long();
            return Passed { first: all, then: None };
        }
        if self.tail.len() > EVENT_MAX {
            self.tail.clear();
            self.passing = true;
            return Passed { first: all, then: None };
        }
        let shown = all.slice(..end);
        match extra(&shown) {
            None => Passed { first: shown, then: None },
            Some((from, to)) => {
                let then = shown.slice(to..);
                Passed { first: shown.slice(..from), then: (!then.is_empty()).then_some(then) }
            }
        }
    }

    fn forget_long(&mut self) {
        if self.tail.len() > EVENT_MAX {
            self.tail.clear();
            self.passing = true;
        }
    }

    fn read(&mut self, events: &[u8]) {
        if events.is_empty() {
            return;
        }
        self.events += DATA.find_iter(events).count() as u64;
        for at in USAGE.find_iter(events) {
            if let Some(told) = events.get(at + 7..).and_then(tokens) {
                // Anthropic tells it bit by bit, others all of it each time.
                self.tokens = Some(told.over(self.tokens.filter(|_| self.messages)));
            }
        }
        self.failed |= ERROR.find(events).is_some();
        if self.messages {
            self.done |= STOP.find(events).is_some();
        } else if DONE.find(events).is_some() {
            self.done = true;
            // It says nothing, and counts for nothing.
            self.events = self.events.saturating_sub(1);
        }
    }
}

/// How many bytes at the beginning are whole events.
fn whole_events(bytes: &[u8]) -> usize {
    // Nearly every frame ends with its event.
    if bytes.ends_with(b"\n\n") {
        return bytes.len();
    }
    let unix = memmem::rfind(bytes, b"\n\n").map_or(0, |at| at + 2);
    let dos = memmem::rfind(bytes, b"\r\n\r\n").map_or(0, |at| at + 4);
    unix.max(dos)
}

/// Where the event stands that has usage and no choice, if there is one.
fn extra(events: &[u8]) -> Option<(usize, usize)> {
    let usage_at = USAGE.find_iter(events).find(|at| {
        let (from, to) = event_around(events, *at);
        is_extra(&events[from..to])
    })?;
    Some(event_around(events, usage_at))
}

fn event_around(events: &[u8], at: usize) -> (usize, usize) {
    let before = &events[..at];
    let unix = memmem::rfind(before, b"\n\n").map_or(0, |i| i + 2);
    let dos = memmem::rfind(before, b"\r\n\r\n").map_or(0, |i| i + 4);
    let to = whole_event(&events[at..]).map_or(events.len(), |n| at + n);
    (unix.max(dos), to)
}

/// The length of the first event.
fn whole_event(bytes: &[u8]) -> Option<usize> {
    let unix = memmem::find(bytes, b"\n\n").map(|at| at + 2);
    let dos = memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    match (unix, dos) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn is_extra(event: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Chunk<'a> {
        #[serde(borrow)]
        choices: Option<&'a serde_json::value::RawValue>,
        #[serde(borrow)]
        usage: Option<&'a serde_json::value::RawValue>,
    }
    let Some(data) = event.trim_ascii_start().strip_prefix(b"data:") else { return false };
    let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data.trim_ascii()) else { return false };
    let inner = chunk.choices.and_then(|raw| raw.get().strip_prefix('[')?.strip_suffix(']'));
    let empty = inner.is_some_and(|inner| inner.trim().is_empty());
    empty && chunk.usage.is_some_and(|raw| raw.get().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a \\\"usage\\\":{\\\"completion_tokens\\\":9}\"}}]}\n\n";
    const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":2},\"completion_tokens_details\":{\"reasoning_tokens\":1}}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";
    const TOKENS: Tokens = Tokens { prompt: 7, cached: 2, completion: 3, reasoning: 1 };

    /// What a client gets when the stream comes in pieces of this size.
    fn through(text: &str, piece: usize, strip: bool) -> (String, Scanner) {
        let mut scanner = Scanner::new(strip);
        let mut out = vec![];
        for frame in text.as_bytes().chunks(piece) {
            let passed = scanner.frame(Bytes::copy_from_slice(frame));
            out.extend_from_slice(&passed.first);
            out.extend_from_slice(&passed.then.unwrap_or_default());
        }
        let rest = scanner.rest();
        if strip {
            out.extend_from_slice(&rest);
        }
        (String::from_utf8(out).expect("text"), scanner)
    }

    #[test]
    fn however_it_is_cut_the_bytes_are_the_same_and_the_usage_is_read() {
        for ending in ["\n\n", "\r\n\r\n"] {
            let text = [CONTENT, CONTENT, USAGE, DONE].concat().replace("\n\n", ending);
            for piece in 1..=text.len() {
                let (out, scanner) = through(&text, piece, false);
                assert_eq!(out, text, "{piece}");
                assert_eq!((scanner.tokens, scanner.events, scanner.done), (Some(TOKENS), 3, true), "{piece} {ending:?}");
            }
        }
    }

    #[test]
    fn the_event_that_nobody_asked_for_is_taken_out_and_nothing_else() {
        for ending in ["\n\n", "\r\n\r\n"] {
            let text = [CONTENT, CONTENT, USAGE, DONE].concat().replace("\n\n", ending);
            let without = [CONTENT, CONTENT, DONE].concat().replace("\n\n", ending);
            for piece in 1..=text.len() {
                let (out, scanner) = through(&text, piece, true);
                assert_eq!(out, without, "{piece}");
                assert_eq!((scanner.tokens, scanner.done), (Some(TOKENS), true), "{piece} {ending:?}");
            }
        }
        // Usage beside a choice is part of an answer.
        let beside = "data: {\"choices\":[{\"index\":0}],\"usage\":{\"prompt_tokens\":1}}\n\n";
        assert_eq!(through(beside, 1000, true).0, beside);
        // Found by random streams: a list with an empty list in it is not empty.
        let nested = "data: {\"choices\":[[]],\"usage\":{\"prompt_tokens\":1}}\n\n";
        assert_eq!(through(nested, 1000, true).0, nested);
        let null = "data: {\"choices\":[],\"usage\":null}\n\n: a comment\n\n";
        assert_eq!(through(null, 3, true).0, null);
    }

    #[test]
    fn an_endless_event_is_passed_on_and_does_not_fill_the_memory() {
        for strip in [false, true] {
            let text = format!("data: {}\n\n{DONE}", "x".repeat(3 * EVENT_MAX));
            let (out, scanner) = through(&text, 10_000, strip);
            assert!(out == text && scanner.tail.capacity() < 3 * EVENT_MAX);
        }
    }

    #[test]
    fn a_whole_answer_tells_its_usage_too() {
        let answer = br#"{"id":"x","usage": {"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":null},"z":1}"#;
        assert_eq!(usage(answer), Some(Tokens { prompt: 7, completion: 3, ..Tokens::default() }));
        for none in [
            &br#"{"usage":null}"#[..],
            br#"{"text":"\"usage\":{\"prompt_tokens\":1}"}"#,
            b"",
            b"\"usage\"",
            b"\"usage\":{\"prompt_tokens\":-1}",
        ] {
            assert_eq!(usage(none), None, "{none:?}");
        }
    }
}
