//! A conversation in the words of Chat Completions, read and put in order: every call of a tool is followed by one result.
//! Clients that shorten their history lose results, leave results without calls and use ids twice; the hosted APIs refuse all
//! of that.

use crate::Untranslatable;
use crate::field::{given, list, text};
use crate::names::is_plain;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What stands in for a result that the client does not have any more.
pub(crate) const NO_RESULT: &str = "The result of this call is not available.";
/// Ids are cut to this length.
const ID_MAX: usize = 56;

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Image { url: String, detail: Option<String> },
    File { name: String, data: String },
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// No other call of the conversation has it.
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON, as a text.
    pub(crate) arguments: String,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    /// Nothing where the client lost it.
    pub(crate) parts: Option<Vec<Part>>,
}

/// One turn. Results follow their calls at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Turn {
    System(String),
    User(Vec<Part>),
    Assistant { texts: Vec<String>, calls: Vec<Call> },
    Results(Vec<Outcome>),
}

impl Turn {
    /// The calls that were made in it.
    pub(crate) fn calls(&self) -> &[Call] {
        match self {
            Self::Assistant { calls, .. } => calls,
            Self::System(_) | Self::User(_) | Self::Results(_) => &[],
        }
    }
}

/// Ids, each given once.
#[derive(Default)]
struct Ids(BTreeSet<String>, BTreeMap<String, u32>);

impl Ids {
    fn unique(&mut self, id: &str) -> String {
        let clean: String = id.chars().map(|c| if is_plain(c) { c } else { '_' }).take(ID_MAX).collect();
        let base = if clean.is_empty() { "call".to_owned() } else { clean };
        let mut new = base.clone();
        while !self.0.insert(new.clone()) {
            let next = self.1.entry(base.clone()).or_insert(1);
            *next += 1;
            new = format!("{base}_{next}");
        }
        new
    }
}

/// Where every id is called, and where its results stand.
struct Places<'a> {
    calls: BTreeMap<&'a str, BTreeSet<usize>>,
    results: BTreeMap<&'a str, BTreeSet<usize>>,
}

impl<'a> Places<'a> {
    fn of(all: &'a [Value]) -> Self {
        let mut places = Self { calls: BTreeMap::new(), results: BTreeMap::new() };
        for (at, message) in all.iter().enumerate() {
            match text(message, "role") {
                "assistant" => {
                    for call in list(message, "tool_calls") {
                        places.calls.entry(text(call, "id")).or_default().insert(at);
                    }
                }
                "tool" => {
                    places.results.entry(text(message, "tool_call_id")).or_default().insert(at);
                }
                _ => {}
            }
        }
        places
    }

    /// Takes the first result that stands behind a call and before the next call with the same id.
    fn take(&mut self, id: &str, behind: usize) -> Option<usize> {
        let next = self.calls.get(id).and_then(|all| all.range(behind + 1..).next()).copied().unwrap_or(usize::MAX);
        let results = self.results.get_mut(id)?;
        let found = results.range(behind..next).next().copied()?;
        results.remove(&found);
        Some(found)
    }
}

/// Reads the messages of a request. What nobody can use is named in `left_out`.
pub(crate) fn read(chat: &Value, left_out: &mut Vec<String>) -> Result<Vec<Turn>, Untranslatable> {
    let all = list(chat, "messages");
    if all.is_empty() {
        return Err(Untranslatable::new("messages", "`messages` must be a list with at least one message"));
    }
    let (mut places, mut ids, mut turns, mut at) = (Places::of(all), Ids::default(), vec![], 0);
    let mut used = BTreeSet::new();
    while let Some(message) = all.get(at) {
        let content = || parts(&message["content"]);
        match text(message, "role") {
            "system" | "developer" => turns.push(Turn::System(joined(&content()?))),
            "user" => turns.push(Turn::User(content()?)),
            "assistant" => {
                let begin = at;
                while all.get(at + 1).is_some_and(|next| text(next, "role") == "assistant") {
                    at += 1;
                }
                let run = all.get(begin..=at).unwrap_or_default();
                let (turn, outcomes) = spoken(all, run, at, &mut places, &mut ids, &mut used)?;
                turns.push(turn);
                turns.extend(Some(outcomes).filter(|all| !all.is_empty()).map(Turn::Results));
            }
            "tool" if used.contains(&at) => {}
            // It has no call before it, or a call that has its result.
            "tool" => left_out.push(format!("messages.{at}")),
            other => return Err(Untranslatable::new("messages", format!("messages of role `{other}` are not supported"))),
        }
        at += 1;
    }
    Ok(turns)
}

/// What the model said in messages that follow each other, and the results of its calls.
fn spoken<'a>(
    all: &'a [Value],
    run: &'a [Value],
    last: usize,
    places: &mut Places<'a>,
    ids: &mut Ids,
    used: &mut BTreeSet<usize>,
) -> Result<(Turn, Vec<Outcome>), Untranslatable> {
    let (mut texts, mut calls, mut outcomes) = (vec![], vec![], vec![]);
    for message in run {
        if given(message, "function_call").is_some() {
            return Err(Untranslatable::new("messages", "`function_call` is not supported: use `tool_calls`"));
        }
        texts.extend(parts(&message["content"])?.into_iter().filter_map(|part| match part {
            Part::Text(text) => Some(text),
            Part::Image { .. } | Part::File { .. } => None,
        }));
        texts.extend(Some(text(message, "refusal").to_owned()).filter(|t| !t.is_empty()));
        for call in list(message, "tool_calls") {
            let function = &call["function"];
            if function.get("name").and_then(Value::as_str).is_none() {
                return Err(Untranslatable::new("messages", "only calls of functions are supported"));
            }
            let id = ids.unique(text(call, "id"));
            let found = places.take(text(call, "id"), last);
            used.extend(found);
            let parts = found.and_then(|at| all.get(at)).map(|result| parts(&result["content"])).transpose()?;
            outcomes.push(Outcome { id: id.clone(), parts });
            calls.push(Call { id, name: text(function, "name").to_owned(), arguments: arguments(&function["arguments"]) });
        }
    }
    Ok((Turn::Assistant { texts, calls }, outcomes))
}

/// Arguments as a text: some write the object itself, and nothing where a tool takes none.
pub(crate) fn arguments(given: &Value) -> String {
    match given {
        Value::Null => "{}".to_owned(),
        Value::String(text) if text.trim().is_empty() => "{}".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => given.to_string(),
    }
}

/// The parts of a message's content.
fn parts(content: &Value) -> Result<Vec<Part>, Untranslatable> {
    let wrong = |what: &str| Untranslatable::new("messages", what.to_owned());
    let all = match content {
        Value::Null => return Ok(vec![]),
        Value::String(text) => return Ok(vec![Part::Text(text.clone())]),
        Value::Array(all) => all,
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(wrong("`content` must be a text or a list of parts"));
        }
    };
    all.iter()
        .map(|part| match text(part, "type") {
            "text" | "input_text" | "output_text" => Ok(Part::Text(text(part, "text").to_owned())),
            "refusal" => Ok(Part::Text(text(part, "refusal").to_owned())),
            "image_url" => {
                let image = &part["image_url"];
                let url = image.as_str().unwrap_or_else(|| text(image, "url")).to_owned();
                Ok(Part::Image { url, detail: image.get("detail").and_then(Value::as_str).map(str::to_owned) })
            }
            "file" if !text(&part["file"], "file_data").is_empty() => Ok(Part::File {
                name: text(&part["file"], "filename").to_owned(),
                data: text(&part["file"], "file_data").to_owned(),
            }),
            other => Err(wrong(&format!("content of type `{other}` is not supported"))),
        })
        .collect()
}

/// The texts of parts, one behind the other.
pub(crate) fn joined(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Image { .. } | Part::File { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Does it say anything?
pub(crate) fn is_said(text: &str) -> bool {
    !text.trim().is_empty()
}
