//! What the stand-in says: decided by the user's last words alone, so that a test knows it beforehand.

use serde_json::{Value, json};

/// The tool by which a model asks a better one.
const REASONER: &str = "consult_reasoner";
/// What a tool is called with, and the second one of two.
const BERN: &str = r#"{"city":"Bern"}"#;
const BASEL: &str = r#"{"city":"Basel"}"#;
/// What it thinks where it is told to think.
const THOUGHTS: &str = "Let me think about this. ";
/// Fields whose texts a model reads.
const READ: &[&str] =
    &["text", "content", "arguments", "output", "instructions", "system", "input", "summary", "thinking", "refusal"];

/// What came back from a tool.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The tool's name.
    pub(super) tool: String,
    /// What it said.
    pub(super) said: String,
}

/// What is left of a request in any language.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// The user's last words.
    pub(super) last_user: String,
    /// What came back from tools since the user spoke last.
    pub(super) results: Vec<Outcome>,
    /// Tools that may be called.
    pub(super) tools: Vec<String>,
    /// The tool that has to be called.
    pub(super) forced: Option<String>,
    /// At most one call.
    pub(super) one_call: bool,
    /// Pictures: their media type, or their address.
    pub(super) images: Vec<String>,
    /// The answer has to be JSON.
    pub(super) wants_json: bool,
    /// It may think.
    pub(super) may_think: bool,
    /// Texts that end the answer.
    pub(super) stops: Vec<String>,
    /// The longest answer, in tokens.
    pub(super) max: Option<u64>,
    /// Bytes of all text.
    pub(super) bytes: usize,
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All is said.
    Said,
    /// A tool has to answer.
    Calls,
    /// It would have been too long.
    Cut,
    /// This text would have come next.
    At(String),
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The tool's name.
    pub(super) name: String,
    /// JSON.
    pub(super) arguments: String,
}

/// Tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// The whole prompt.
    pub(super) prompt: usize,
    /// What of it came out of a cache.
    pub(super) cached: usize,
    /// The answer, thoughts included.
    pub(super) completion: usize,
    /// The thoughts.
    pub(super) reasoning: usize,
}

/// An answer in no language yet.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// What it thought first; mostly nothing.
    pub(super) thoughts: String,
    /// The text.
    pub(super) text: String,
    /// The calls.
    pub(super) calls: Vec<Call>,
    /// Why it ends.
    pub(super) end: End,
    /// What it costs.
    pub(super) spent: Spent,
}

/// A text in the pieces in which it is streamed.
pub(super) fn words(text: &str) -> Vec<&str> {
    text.split_inclusive(' ').collect()
}

/// JSON in fragments that no parser likes on their own.
pub(super) fn fragments(arguments: &str) -> Vec<String> {
    let letters: Vec<char> = arguments.chars().collect();
    letters.chunks(6).map(|some| some.iter().collect()).collect()
}

/// The bytes of all that a model reads in a request.
pub(super) fn weigh(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(weigh).sum(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| READ.contains(&name.as_str()))
            .map(|(name, inner)| if name == "input" && inner.is_object() { inner.to_string().len() } else { weigh(inner) })
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Answers.
pub(super) fn reply(asked: &Asked) -> Reply {
    let (mut text, mut calls) = decide(asked);
    if asked.one_call {
        calls.truncate(1);
    }
    if asked.wants_json && calls.is_empty() {
        BERN.clone_into(&mut text);
    }
    let said = asked.last_user.to_lowercase();
    let thoughts = if asked.may_think && said.contains("think") { THOUGHTS.to_owned() } else { String::new() };
    let reasoning = words(&thoughts).len();
    let mut end = if calls.is_empty() { End::Said } else { End::Calls };
    let first = asked.stops.iter().filter_map(|stop| Some((text.find(stop.as_str())?, stop))).min();
    if let Some((at, stop)) = first {
        text = text.get(..at).unwrap_or_default().to_owned();
        end = End::At(stop.clone());
    }
    let room = asked.max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX).saturating_sub(reasoning);
    if calls.is_empty() && words(&text).len() > room {
        text = words(&text).into_iter().take(room).collect();
        end = End::Cut;
    }
    let spoken = words(&text).len() + calls.iter().map(|call| call.arguments.split(':').count()).sum::<usize>();
    let prompt = (asked.bytes / 4).max(1);
    let cached = if said.contains("cache") { prompt / 2 } else { 0 };
    Reply { thoughts, text, calls, end, spent: Spent { prompt, cached, completion: reasoning + spoken, reasoning } }
}

fn decide(asked: &Asked) -> (String, Vec<Call>) {
    let said = asked.last_user.to_lowercase();
    let call = |name: &str, arguments: &str| Call { name: name.to_owned(), arguments: arguments.to_owned() };
    let calls = |calls| (String::new(), calls);
    let consult = || calls(vec![call(REASONER, &json!({"question": asked.last_user}).to_string())]);
    let has_reasoner = asked.tools.iter().any(|tool| tool == REASONER);
    if let Some(name) = &asked.forced {
        return if name == REASONER { consult() } else { calls(vec![call(name, BERN)]) };
    }
    if has_reasoner && said.contains("consult forever") {
        return consult();
    }
    if !asked.results.is_empty() {
        let told = asked.results.iter().map(|result| result.said.as_str()).collect::<Vec<_>>().join(" ");
        let is_considered = asked.results.iter().any(|result| result.tool == REASONER);
        return (if is_considered { format!("considered: {told}") } else { told }, vec![]);
    }
    if has_reasoner && said.contains("hard") {
        return consult();
    }
    if let Some(first) = asked.tools.first() {
        if said.contains("use two tools") {
            let second = asked.tools.get(1).unwrap_or(first);
            return calls(vec![call(first, BERN), call(second, BASEL)]);
        }
        if said.contains("use a tool") {
            return calls(vec![call(first, BERN)]);
        }
    }
    if said.contains("describe the image") {
        return (asked.images.last().cloned().unwrap_or_else(|| "there is no image".to_owned()), vec![]);
    }
    (format!("echo: {}", asked.last_user), vec![])
}
