//! Random conversations, streams and garbage that are easy to believe.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use charter_translate::fault;
use charter_translate::{Api, Names, Stream, from_messages, messages, models, openai, responses};
use serde_json::{Value, json};

const ROUNDS: u64 = 3_000;

/// Xorshift.
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from((self.bits() >> 11) % n.max(1) as u64).unwrap_or(0)
    }

    fn one<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// Any JSON.
    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 4 } else { 6 }) {
            0 => Value::Null,
            1 => json!(self.below(3)),
            2 => json!(self.below(2) == 0),
            3 => json!(self.one(WORDS)),
            4 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => Value::Object((0..self.below(5)).map(|_| (self.one(WORDS).to_owned(), self.value(depth - 1))).collect()),
        }
    }

    /// The same with a few places changed to anything.
    fn bend(&mut self, value: &mut Value) {
        if self.below(12) == 0 {
            *value = self.value(3);
        }
        match value {
            Value::Array(all) => all.iter_mut().for_each(|v| self.bend(v)),
            Value::Object(all) => all.values_mut().for_each(|v| self.bend(v)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Words that mean something somewhere.
const WORDS: &[&str] = &[
    "type",
    "text",
    "content",
    "role",
    "user",
    "assistant",
    "tool",
    "system",
    "messages",
    "tools",
    "tool_calls",
    "function",
    "name",
    "id",
    "arguments",
    "input",
    "index",
    "delta",
    "choices",
    "usage",
    "error",
    "message",
    "tool_use",
    "tool_result",
    "finish_reason",
    "stop",
    "message_start",
    "message_delta",
    "content_block_start",
    "content_block_delta",
    "content_block",
    "response",
    "output",
    "item",
    "response.output_item.added",
    "response.completed",
    "json_schema",
    "response_format",
    "image_url",
    "url",
    "data:image/png;base64,é",
    "schema",
    "properties",
    "anyOf",
    "{\"a\":1}",
    "{",
    "",
    " ",
    "é",
];

/// A conversation as a careful client keeps it.
fn conversation(chance: &mut Chance) -> Value {
    let mut all = vec![json!({"role": "system", "content": "s"})];
    let mut calls = 0;
    for turn in 0..1 + chance.below(6) {
        all.push(json!({"role": "user", "content": format!("q{turn}")}));
        for step in 0..chance.below(3) {
            let count = 1 + chance.below(3);
            let ids: Vec<String> = (calls..calls + count).map(|n| format!("call-{n}")).collect();
            calls += count;
            let made: Vec<Value> = ids
                .iter()
                .map(|id| {
                    let arguments =
                        Value::Object((0..chance.below(3)).map(|_| (chance.one(WORDS).to_owned(), chance.value(2))).collect());
                    let name = chance.one(&["f", "a.b", "x/y", "très"]);
                    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}})
                })
                .collect();
            let said = if chance.below(2) == 0 { Value::Null } else { format!("s{turn}.{step}").into() };
            all.push(json!({"role": "assistant", "content": said, "tool_calls": made}));
            all.extend(ids.iter().map(|id| json!({"role": "tool", "tool_call_id": id, "content": format!("r{id}")})));
        }
        all.push(json!({"role": "assistant", "content": format!("a{turn}")}));
    }
    all.push(json!({"role": "user", "content": "last"}));
    json!({"model": "m", "messages": all})
}

#[test]
fn a_conversation_is_the_same_after_both_ways() {
    let model = models::find("anthropic", "claude-haiku-5-5");
    for seed in 0..ROUNDS {
        let chat = conversation(&mut Chance::of(seed));
        let there = messages::question(&chat, &model).expect("there");
        assert_eq!(there.left_out, Vec::<String>::new());
        let back = from_messages::question(&there.body).expect("back").body;
        let plain = |body: &Value, names: &Names| {
            let mut all = body["messages"].clone();
            for call in
                all.as_array_mut().into_iter().flatten().flat_map(|m| m["tool_calls"].as_array_mut().into_iter().flatten())
            {
                let function = &mut call["function"];
                function["name"] = names.original(function["name"].as_str().expect("a name")).into();
                let arguments = function["arguments"].as_str().expect("a text");
                function["arguments"] = serde_json::from_str(arguments).expect("JSON");
            }
            all
        };
        // A field that is not there comes into being when it is looked at for change: on both sides.
        assert_eq!(plain(&chat, &Names::default()), plain(&back, &there.names), "seed {seed}");
        let input = responses::question(&chat, &models::find("openai", "gpt-6-luna")).expect("there").body;
        let ids = |kind: &str| -> Vec<Value> {
            let items = input["input"].as_array().expect("a list");
            items.iter().filter(|i| i["type"] == kind).map(|i| i["call_id"].clone()).collect()
        };
        assert_eq!(ids("function_call"), ids("function_call_output"), "seed {seed}");
    }
}

/// All ways that a stream can go.
fn ways() -> Vec<Stream> {
    let to = |from, json_tool, usage| Stream::to_chat(from, Names::default(), json_tool, usage);
    vec![
        to(Api::Chat, false, false),
        to(Api::Messages, false, true),
        to(Api::Messages, true, false),
        to(Api::Responses, false, true),
        Stream::to_messages(Names::default()),
    ]
}

fn told(stream: &mut Stream, parts: &[&[u8]]) -> String {
    let mut out: Vec<u8> = parts.iter().flat_map(|part| stream.take(part)).collect();
    out.extend(stream.end());
    format!("{}{:?}{}{}", String::from_utf8_lossy(&out), stream.failure(), stream.has_begun(), stream.is_finished())
}

#[test]
fn pieces_do_not_matter() {
    let whole = [support::chunks(), support::messages(), support::responses()];
    for seed in 0..ROUNDS {
        let mut chance = Chance::of(seed);
        let mut text = whole[chance.below(3)].clone().into_bytes();
        match chance.below(4) {
            0 => text = String::from_utf8_lossy(&text).replace('\n', "\r\n").into_bytes(),
            1 => text = String::from_utf8_lossy(&text).replace('\n', "\r").into_bytes(),
            2 => text.truncate(chance.below(text.len())),
            _ => {}
        }
        for _ in 0..chance.below(3) {
            let at = chance.below(text.len());
            text.insert(at, *b"\n\r:x{\"".get(chance.below(6)).expect("a byte"));
        }
        let mut parts: Vec<&[u8]> = vec![];
        let mut rest = &text[..];
        let most = 1 + chance.below(200);
        while !rest.is_empty() {
            let (part, later) = rest.split_at(1 + chance.below(rest.len().min(most)));
            parts.push(part);
            rest = later;
        }
        for (mut once, mut often) in ways().into_iter().zip(ways()) {
            assert_eq!(told(&mut once, &[&text]), told(&mut often, &parts), "seed {seed}");
        }
    }
}

#[test]
fn garbage_is_survived_and_what_is_sent_stays_well_formed() {
    let events: Vec<Value> = [support::chunks(), support::messages(), support::responses()]
        .iter()
        .flat_map(|text| support::events(text.as_bytes()))
        .collect();
    for seed in 0..ROUNDS {
        let mut chance = Chance::of(seed);
        let mut bent = events.clone();
        bent.iter_mut().for_each(|event| chance.bend(event));
        for _ in 0..chance.below(8) {
            let (a, b) = (chance.below(bent.len()), chance.below(bent.len()));
            bent.swap(a, b);
        }
        for mut way in ways() {
            let mut out = way.take(support::stream(&bent).as_bytes());
            out.extend(way.end());
            let text = String::from_utf8(out).expect("UTF-8");
            let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|d| *d != "[DONE]");
            data.for_each(|data| drop(serde_json::from_str::<Value>(data).expect("JSON")));
        }
        let mut request = conversation(&mut chance);
        chance.bend(&mut request);
        for value in [request, chance.value(6)] {
            for id in ["claude-haiku-5-5", "claude-haiku-4-5", "?"] {
                if let Ok(question) = messages::question(&value, &models::find("anthropic", id)) {
                    drop(from_messages::question(&question.body));
                }
            }
            let luna = models::find("openai", "gpt-6-luna");
            drop((openai::adjust(&value, &luna), openai::needs_responses(&value, &luna), responses::question(&value, &luna)));
            drop(from_messages::question(&value));
            let none = Names::default();
            drop((messages::answer(&value, &none, true), responses::answer(&value, &none), from_messages::answer(&value, &none)));
            drop((messages::error(400, &value), responses::error(0, &value), from_messages::error(600, &value)));
            drop((fault::of_event(Api::Chat, &value), fault::of(Api::Chat, 999, Some("é"), value.to_string().as_bytes())));
        }
    }
}
