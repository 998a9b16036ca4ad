//! Random streams and random bodies against slow readers that are easy to believe: `FUZZ_ROUNDS=N` sets how many.

#![allow(clippy::disallowed_methods, reason = "the number of rounds comes from whoever runs it")]

use crate::request::asked;
use crate::sse::{Scanner, usage};
use bytes::Bytes;
use serde_json::Value;

/// Splitmix64.
struct Chance(u64);

impl Chance {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.bits() % n.max(1) as u64).unwrap_or(0)
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    /// Some bytes of it are others, are gone, or stand there twice.
    fn bend(&mut self, text: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            if text.is_empty() {
                return;
            }
            let at = self.below(text.len());
            match self.below(3) {
                0 => text[at] = u8::try_from(self.below(256)).unwrap_or(0),
                1 => drop(text.remove(at)),
                _ => text.insert(at, text[at]),
            }
        }
    }
}

fn rounds() -> u64 {
    std::env::var("FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

const EVENTS: &[&str] = &[
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":1}\\n\\n\"}}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n",
    "data: {\"usage\" : { \"prompt_tokens\" : 9 } , \"choices\" : [ ]}\r\n\r\n",
    "data: {\"choices\":[],\"usage\":null}\n\n",
    "data:{\"choices\":[{}],\"usage\":{\"completion_tokens\":4}}\n\n",
    ": a comment\n\n",
    "event: x\ndata: y\n\n",
    "data: [DONE]\n\n",
    "\n\n",
    "\r\n\r\n",
    "data: ",
    "\n",
    "\r",
];

/// The same, slowly: whole events, one after the other, and what is left behind the last one.
fn events(stream: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut all, mut rest) = (vec![], stream);
    loop {
        let unix = rest.windows(2).position(|w| w == b"\n\n").map(|at| at + 2);
        let dos = rest.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        let Some(end) = [unix, dos].into_iter().flatten().min() else { return (all, rest) };
        all.push(&rest[..end]);
        rest = &rest[end..];
    }
}

fn is_only_usage(event: &[u8]) -> bool {
    let Some(data) = event.trim_ascii_start().strip_prefix(b"data:") else { return false };
    let Ok(value) = serde_json::from_slice::<Value>(data.trim_ascii()) else { return false };
    value.get("choices").and_then(Value::as_array).is_some_and(Vec::is_empty) && value.get("usage").is_some_and(Value::is_object)
}

#[test]
fn streams_in_any_pieces() {
    for seed in 0..rounds() {
        let mut chance = Chance(seed);
        let mut stream: Vec<u8> = (0..chance.below(12)).flat_map(|_| chance.of(EVENTS).bytes().collect::<Vec<_>>()).collect();
        if chance.below(2) == 0 {
            chance.bend(&mut stream);
        }
        for strip in [false, true] {
            let (mut scanner, mut out, mut rest) = (Scanner::new(strip), vec![], &stream[..]);
            while !rest.is_empty() {
                let most = 1 + chance.below(200);
                let (piece, later) = rest.split_at(1 + chance.below(rest.len().min(most)));
                let passed = scanner.frame(Bytes::copy_from_slice(piece));
                out.extend_from_slice(&passed.first);
                out.extend_from_slice(&passed.then.unwrap_or_default());
                rest = later;
            }
            let left = scanner.rest();
            if strip {
                out.extend_from_slice(&left);
            }
            let (all, behind) = events(&stream);
            let counted = all.iter().filter_map(|e| usage(e)).next_back();
            assert_eq!(scanner.tokens, counted, "seed {seed}: {:?}", String::from_utf8_lossy(&stream));
            if !strip {
                assert_eq!(out, stream, "seed {seed}");
                continue;
            }
            // Empty lines between events mean nothing; of events with usage alone that come in one piece one is taken out.
            let plain = |bytes: &[u8]| bytes.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect::<Vec<u8>>();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let shown: Vec<u8> = all.iter().filter(|e| !is_only_usage(e)).copied().chain([behind]).flatten().copied().collect();
            let (got, least, most) = (plain(&out), plain(&shown), plain(&stream));
            let once = all.iter().filter(|e| is_only_usage(e)).count() <= 1;
            let right = if once { got == least } else { (least.len()..=most.len()).contains(&got.len()) };
            assert!(right, "seed {seed}: {:?}\n{:?}\n{:?}", text(&out), text(&shown), text(&stream));
        }
    }
}

const PARTS: &[&str] = &[
    "\"model\":\"m\"",
    "\"model\" : \"a\\u0062\\\"c\"",
    "\"mod\\u0065l\":\"x\"",
    "\"stream\":true",
    "\"stream\" :false",
    "\"stream_options\":{\"include_usage\":false}",
    "\"stream_options\":{ }",
    "\"stream_options\":{\"x\":[1,{\"include_usage\":false}]}",
    "\"stream_options\":null",
    "\"messages\":[{\"role\":\"user\",\"content\":\"\\\"model\\\":\\\"y\\\" \\u00e9 {[\"}]",
    "\"max_tokens\":7",
    "\"max_completion_tokens\":-1",
    "\"n\":2",
    "\"x\":[1,2.50,1e3,-0,null,true,{\"model\":\"deep\"}]",
    "\"\":\"\"",
];

#[test]
fn bodies_of_any_shape() {
    for seed in 0..rounds() {
        let mut chance = Chance(seed);
        let count = chance.below(8);
        let mut parts: Vec<String> = (0..count).map(|_| chance.of(PARTS).to_owned()).collect();
        // Large ones are read without the inside of their long texts.
        if chance.below(4) == 0 {
            let long = chance.of(&["y", "\\\"", "é", "\\u00e9 {[]}:,", "\\\\"]).repeat(5000);
            let at = chance.below(parts.len() + 1);
            parts.insert(at, format!("\"long\":[{{\"model\":\"{long}\"}},\"{long}\"]"));
        }
        let gap = chance.of(&["", " ", "\n\t"]);
        let mut body = format!("{{{gap}{}{gap}}}", parts.join(&format!("{gap},{gap}"))).into_bytes();
        if chance.below(3) == 0 {
            chance.bend(&mut body);
        }
        let shown = String::from_utf8_lossy(&body).into_owned();
        let Ok(found) = asked(&body) else { continue };
        // What is wrong inside of values that nobody here reads is the engine's to refuse: text that is none, most of all.
        let Ok(before) = serde_json::from_slice::<Value>(&body) else { continue };
        assert_eq!(before.get("model").and_then(Value::as_str), Some(found.name.as_str()), "seed {seed}: {shown}");
        assert_eq!(found.stream, before.get("stream") == Some(&Value::Bool(true)), "seed {seed}: {shown}");
        let bytes = Bytes::from(body);
        let sent = found.spliced(&bytes, Some("an\"other"), true);
        let after = serde_json::from_slice::<Value>(&sent).unwrap_or(Value::Null);
        let mut expected = before;
        expected["model"] = "an\"other".into();
        if found.stream && expected.get("stream_options").is_none_or(|o| o.is_object() || o.is_null()) {
            if !expected["stream_options"].is_object() {
                expected["stream_options"] = serde_json::json!({});
            }
            expected["stream_options"]["include_usage"] = true.into();
        }
        assert_eq!(after, expected, "seed {seed}: {shown}");
    }
}
