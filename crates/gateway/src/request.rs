//! What the gateway reads of a request: the model, whether it streams, what it may write; and where that stands in the body,
//! so that single values are replaced in place and every other byte stays.

use crate::compact::Compact;
use crate::errors::Refusal;
use crate::said::Said;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// Largest body.
pub(crate) const BODY_MAX: usize = 32 * 1024 * 1024;
/// Written where the client named no bound, for limits per minute, which are made right afterwards.
const WRITTEN_USUAL: u64 = 1024;
/// The same where money is set aside: as much as a large context holds.
pub(crate) const WRITTEN_UNBOUND: u64 = 32_768;
/// Nobody writes more: what is larger is a mistake, or meant to make sums overflow.
pub(crate) const TOKENS_MAX: u64 = 1_000_000_000;

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    n: Option<&'a RawValue>,
    #[serde(borrow, default)]
    best_of: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    effort: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "there")]
    min_effort: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_effort: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    functions: Option<&'a RawValue>,
}

/// A value that is there, and may be `null`: there must not be a second one of its name.
fn there<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow, default, deserialize_with = "there")]
    include_usage: Option<&'a RawValue>,
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) name: String,
    /// Where the model's name stands.
    at: Range<usize>,
    pub(crate) stream: bool,
    /// The client wants the usage of a stream.
    pub(crate) usage: bool,
    /// Where the wish for usage goes, and what is put there.
    wish: Option<(Range<usize>, &'static str)>,
    /// A number is an empty text, or one whose inside was left out.
    odd: bool,
    /// What it will write, as far as can be told.
    pub(crate) written_usual: u64,
    /// The most that it may write.
    pub(crate) written_max: u64,
    /// What it says of its effort.
    pub(crate) said: Said,
    /// It offers tools.
    pub(crate) tools: bool,
}

/// Reads a body once, copying nothing but the name; of a large one, without the inside of its long texts.
pub(crate) fn asked(body: &[u8]) -> Result<Asked, Refusal> {
    let Some(short) = Compact::of(body) else { return read(body) };
    // Whatever is wrong with it, or has a long text in a place that matters, is read whole.
    let Ok(asked) = read(&short.bytes) else { return read(body) };
    if asked.odd {
        return read(body);
    }
    let wish = asked.wish.as_ref().map(|(at, _)| at);
    if short.is_cut(&asked.at) || wish.is_some_and(|at| short.is_cut(at)) {
        return read(body);
    }
    let wish = asked.wish.map(|(at, text)| (short.whole(&at), text));
    let own = asked.said.own.iter().map(|at| short.whole(at)).collect();
    Ok(Asked { at: short.whole(&asked.at), wish, said: Said { own, ..asked.said }, ..asked })
}

fn read(body: &[u8]) -> Result<Asked, Refusal> {
    // A list would be read as the values in their order, by us alone.
    if !body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        return Err(Refusal::InvalidJson("an object is expected".into()));
    }
    let peek: Peek<'_> = serde_json::from_slice(body).map_err(|e| Refusal::InvalidJson(e.to_string()))?;
    let raw = peek.model.ok_or(Refusal::MissingModel)?;
    let name: Cow<'_, str> = serde_json::from_str(raw.get()).map_err(|_| Refusal::MissingModel)?;
    let stream = peek.stream.is_some_and(|s| s.get() == "true");
    let (usage, wish) = if stream { wish(body, peek.stream_options, peek.stream) } else { (false, None) };
    let bound = [peek.max_completion_tokens, peek.max_tokens].into_iter().filter_map(number).max();
    let answers = number(peek.n).max(number(peek.best_of)).unwrap_or(1).max(1).saturating_mul(prompts(peek.prompt));
    let numbers = [peek.max_completion_tokens, peek.max_tokens, peek.n, peek.best_of];
    let odd = numbers.iter().flatten().any(|raw| raw.get() == "\"\"");
    let written = |each: u64| bound.unwrap_or(each).saturating_mul(answers).min(TOKENS_MAX);
    let (written_usual, written_max) = (written(WRITTEN_USUAL), written(WRITTEN_UNBOUND));
    let said = Said::read(body, peek.effort, peek.min_effort, peek.reasoning_effort)?;
    let any = |raw: Option<&RawValue>| raw.is_some_and(|raw| raw.get().starts_with('[') && raw.get() != "[]");
    let tools = any(peek.tools) || any(peek.functions);
    let (name, at) = (name.into_owned(), place(body, raw));
    Ok(Asked { name, at, stream, usage, wish, odd, written_usual, written_max, said, tools })
}

/// A number in any of the ways that engines read one: `7`, `7.0`, `7e0`, `"7"`.
fn number(raw: Option<&RawValue>) -> Option<u64> {
    let text = raw?.get().trim_matches('"').trim();
    if let Ok(plain) = text.parse::<u64>() {
        return Some(plain.min(TOKENS_MAX));
    }
    let figure: f64 = text.parse().ok().filter(|f: &f64| f.is_finite() && *f >= 0.0)?;
    format!("{:.0}", figure.ceil().min(1e9)).parse().ok()
}

/// How many prompts there are: a list of texts, or of lists of tokens, has one answer for each.
fn prompts(raw: Option<&RawValue>) -> u64 {
    let Some(text) = raw.map(RawValue::get).filter(|t| t.starts_with('[')) else { return 1 };
    let all: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    let many = all.first().is_some_and(|first| first.get().starts_with(['"', '[']));
    if many { u64::try_from(all.len()).unwrap_or(TOKENS_MAX).max(1) } else { 1 }
}

/// Where a raw value stands: it borrows from the body, so its place is the difference of the two addresses.
fn place(body: &[u8], raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
    start..start + raw.get().len()
}

/// Does the client want the usage of its stream? And if not, what is to be put where, so that the engine tells it to us.
fn wish(body: &[u8], options: Option<&RawValue>, stream: Option<&RawValue>) -> (bool, Option<(Range<usize>, &'static str)>) {
    let Some(options) = options else {
        let end = stream.map_or(0, |s| place(body, s).end);
        return (false, Some((end..end, ",\"stream_options\":{\"include_usage\":true}")));
    };
    let at = place(body, options);
    if options.get() == "null" {
        return (false, Some((at, "{\"include_usage\":true}")));
    }
    let object = Some(options.get()).filter(|text| text.starts_with('{'));
    let Some(Ok(said)) = object.map(serde_json::from_str::<Options<'_>>) else {
        // What is no object at all is the engine's to refuse.
        return (true, None);
    };
    match said.include_usage {
        Some(raw) if raw.get() == "true" => (true, None),
        Some(raw) => (false, Some((place(body, raw), "true"))),
        None => {
            let empty = options.get().trim_start_matches('{').trim_start().starts_with('}');
            let text = if empty { "\"include_usage\":true" } else { "\"include_usage\":true," };
            (false, Some((at.start + 1..at.start + 1, text)))
        }
    }
}

impl Asked {
    /// The body with another name alone.
    fn renamed(&self, body: &Bytes, name: &str) -> Bytes {
        let is_plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        let (before, after) = (&body[..self.at.start], &body[self.at.end..]);
        if is_plain {
            return [before, b"\"", name.as_bytes(), b"\"", after].concat().into();
        }
        [before, quoted(name).as_bytes(), after].concat().into()
    }

    /// The body with another name, and with the wish for usage; every other byte stays. Without either it is the same.
    pub(crate) fn spliced(&self, body: &Bytes, name: Option<&str>, ask_usage: bool) -> Bytes {
        let wish = self.wish.as_ref().filter(|_| ask_usage);
        if let (Some(name), None, true) = (name, wish, self.said.own.is_empty()) {
            return self.renamed(body, name);
        }
        let quoted = name.map(quoted);
        let mut edits: Vec<(&Range<usize>, &str)> = Vec::with_capacity(2 + self.said.own.len());
        edits.extend(quoted.as_deref().map(|text| (&self.at, text)));
        edits.extend(wish.map(|(at, text)| (at, *text)));
        edits.extend(self.said.own.iter().map(|at| (at, "")));
        if edits.is_empty() {
            return body.clone();
        }
        edits.sort_by_key(|(at, _)| (at.start, at.end));
        let mut out = Vec::with_capacity(body.len() + 64);
        let mut done = 0;
        for (at, text) in edits {
            out.extend_from_slice(&body[done..at.start]);
            out.extend_from_slice(text.as_bytes());
            done = at.end;
        }
        out.extend_from_slice(&body[done..]);
        out.into()
    }
}

/// A name as JSON writes it.
fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

/// Marks of how a conversation begins: one for each message boundary, so that two that share a beginning share marks. Without
/// messages the prompt itself is cut into even parts.
pub(crate) fn beginnings(body: &[u8]) -> Vec<u64> {
    #[derive(Deserialize)]
    struct Talk<'a> {
        #[serde(borrow, default)]
        messages: Option<Vec<&'a RawValue>>,
        #[serde(borrow, default)]
        prompt: Option<&'a RawValue>,
    }
    const PART: usize = 1024;
    const MOST: usize = 64;
    let Ok(talk) = serde_json::from_slice::<Talk<'_>>(body) else { return vec![] };
    let mut mark: u64 = 0xcbf2_9ce4_8422_2325;
    let mut take = |bytes: &[u8]| {
        for word in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight[..word.len()].copy_from_slice(word);
            mark = (mark ^ u64::from_le_bytes(eight)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        }
        mark
    };
    match (talk.messages, talk.prompt) {
        (Some(messages), _) => messages.iter().take(MOST).map(|m| take(m.get().as_bytes())).collect(),
        (None, Some(prompt)) => prompt.get().as_bytes().chunks(PART).take(MOST).map(take).collect(),
        (None, None) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_wherever_it_stands() {
        let bodies = [r#"{"model":"m","x":1}"#, r#"{"x":{"model":"no"}, "model" : "m" }"#, "{\"model\":\"\\u006d\"}"];
        for body in bodies {
            assert_eq!(asked(body.as_bytes()).map(|m| m.name).ok().as_deref(), Some("m"), "{body}");
        }
    }

    #[test]
    fn renaming_touches_nothing_else() {
        let body = Bytes::from_static(b"{ \"a\" : 1.50,\"model\":\"old\" , \"b\":\"\\u00e9\"}");
        let found = asked(&body).expect("a model");
        let other = Bytes::from_static(b"{ \"a\" : 1.50,\"model\":\"ne\\\"w\" , \"b\":\"\\u00e9\"}");
        assert_eq!(found.spliced(&body, Some("ne\"w"), true), other);
        assert_eq!(found.spliced(&body, None, true).as_ptr(), body.as_ptr(), "and without a change nothing is copied");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(matches!(asked(b"not json"), Err(Refusal::InvalidJson(_))));
        assert!(matches!(asked(b""), Err(Refusal::InvalidJson(_))));
        // Two readers could each take another one of them.
        assert!(matches!(asked(br#"{"model":"a","model":"b"}"#), Err(Refusal::InvalidJson(_))));
        assert!(matches!(asked(br#"{"model":"a","mod\u0065l":"b"}"#), Err(Refusal::InvalidJson(_))));
        for body in [&br#"["m"]"#[..], br#""m""#, b"7"] {
            assert!(matches!(asked(body), Err(Refusal::InvalidJson(why)) if why == "an object is expected"));
        }
        for body in [&b"{}"[..], br#"{"model":7}"#, br#"{"model":null}"#] {
            assert!(matches!(asked(body), Err(Refusal::MissingModel)));
        }
    }

    #[test]
    fn usage_is_asked_for_where_the_client_did_not() {
        let cases = [
            (r#"{"model":"m","stream":true}"#, r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#, false),
            (
                r#"{"stream": true ,"model":"m"}"#,
                r#"{"stream": true,"stream_options":{"include_usage":true} ,"model":"m"}"#,
                false,
            ),
            (
                r#"{"stream_options":null,"stream":true,"model":"m"}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true,"model":"m"}"#,
                false,
            ),
            (
                r#"{"stream_options":{ },"stream":true,"model":"m"}"#,
                r#"{"stream_options":{"include_usage":true },"stream":true,"model":"m"}"#,
                false,
            ),
            (
                r#"{"stream_options":{"x":1},"stream":true,"model":"m"}"#,
                r#"{"stream_options":{"include_usage":true,"x":1},"stream":true,"model":"m"}"#,
                false,
            ),
            (
                r#"{"stream_options":{"include_usage":false},"stream":true,"model":"m"}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true,"model":"m"}"#,
                false,
            ),
            (
                r#"{"stream_options":{"include_usage":true},"stream":true,"model":"m"}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true,"model":"m"}"#,
                true,
            ),
            (r#"{"stream":false,"model":"m"}"#, r#"{"stream":false,"model":"m"}"#, false),
            (r#"{"stream":"yes","model":"m"}"#, r#"{"stream":"yes","model":"m"}"#, false),
            (r#"{"stream_options":[],"stream":true,"model":"m"}"#, r#"{"stream_options":[],"stream":true,"model":"m"}"#, true),
            (r#"{"stream_options":7,"stream":true,"model":"m"}"#, r#"{"stream_options":7,"stream":true,"model":"m"}"#, true),
        ];
        for (body, upstream, usage) in cases {
            let found = asked(body.as_bytes()).expect("a request");
            let sent = found.spliced(&Bytes::from_static(body.as_bytes()), None, true);
            assert_eq!((sent.as_ref(), found.usage), (upstream.as_bytes(), usage), "{body}");
        }
    }

    #[test]
    fn what_is_charters_own_is_taken_out_and_nothing_else() {
        let cases = [
            (r#"{"model":"m","effort":8}"#, r#"{"model":"m"}"#),
            (r#"{"effort": 8 , "model":"m"}"#, r#"{ "model":"m"}"#),
            (r#"{"effort":8,"min_effort":5,"model":"m"}"#, r#"{"model":"m"}"#),
            (r#"{"model":"m","effort":8 , "min_effort":5}"#, r#"{"model":"m"}"#),
            (r#"{"min_effort":2,"model":"m","x":{"effort":3},"effort":8,"y":[1]}"#, r#"{"model":"m","x":{"effort":3},"y":[1]}"#),
            (r#"{"model":"m","\u0065ffort":8,"reasoning_effort":"high"}"#, r#"{"model":"m","reasoning_effort":"high"}"#),
            (
                r#"{"model":"m","stream":true,"effort":null}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
        ];
        for (body, upstream) in cases {
            let long = format!("{},\"z\":\"{}\"}}", body.trim_end_matches('}'), "z".repeat(9000));
            let found = asked(body.as_bytes()).expect("a request");
            assert_eq!(found.spliced(&Bytes::from_static(body.as_bytes()), None, true), upstream.as_bytes(), "{body}");
            if !body.ends_with("}}") && asked(long.as_bytes()).is_ok() {
                let sent = asked(long.as_bytes()).expect("one").spliced(&Bytes::from(long.clone()), None, true);
                let plain: serde_json::Value = serde_json::from_slice(&sent).expect("JSON");
                assert!(plain.get("effort").is_none() && plain["z"].as_str().is_some_and(|z| z.len() == 9000), "{body}");
            }
        }
        for wrong in [r#"{"model":"m","effort":11}"#, r#"{"model":"m","effort":"8"}"#, r#"{"model":"m","min_effort":0}"#] {
            assert!(matches!(asked(wrong.as_bytes()), Err(Refusal::Wrong { .. })), "{wrong}");
        }
    }

    #[test]
    fn conversations_with_the_same_beginning_share_their_first_marks() {
        let one = beginnings(br#"{"messages":[{"role":"system","content":"S"},{"role":"user","content":"a"}]}"#);
        let two = beginnings(br#"{"x":1,"messages":[{"role":"system","content":"S"},{"role":"user","content":"b"}]}"#);
        assert!(one.len() == 2 && one[0] == two[0] && one[1] != two[1]);
        assert_eq!(beginnings(b"{}"), Vec::<u64>::new());
        assert_eq!(beginnings(br#"{"prompt":"abc"}"#).len(), 1);
    }

    #[test]
    fn the_most_that_is_written_counts_every_choice() {
        let most = |body: &str| asked(body.as_bytes()).map(|a| a.written_max).ok();
        assert_eq!(most(r#"{"model":"m","max_tokens":5,"n":3}"#), Some(15));
        assert_eq!(
            most(r#"{"model":"m","max_completion_tokens":1,"max_tokens":5}"#),
            Some(5),
            "an engine may know one of them alone"
        );
        for (said, counts) in
            [("\"6\"", 6), ("6.0", 6), ("6e1", 60), ("-1", WRITTEN_UNBOUND), ("18446744073709551615", TOKENS_MAX)]
        {
            assert_eq!(most(&format!(r#"{{"model":"m","max_tokens":{said}}}"#)), Some(counts), "{said}");
        }
        assert_eq!(most(r#"{"model":"m","max_tokens":5,"prompt":["a","b"],"best_of":3}"#), Some(30));
        assert_eq!(most(r#"{"model":"m","max_tokens":5,"prompt":[1,2,3]}"#), Some(5), "one prompt, in tokens");
        assert_eq!(most(r#"{"model":"m"}"#), Some(WRITTEN_UNBOUND));
        // A long number in a large body is no less a number.
        let long = format!(r#"{{"model":"m","max_tokens":5,"n":"{}7","x":"{}"}}"#, "0".repeat(300), "y".repeat(5000));
        assert_eq!(most(&long), Some(35));
    }
}
