//! From Chat Completions to Anthropic's Messages, and the answers and errors back.

mod answer;
mod schema;
mod tools;

pub use answer::{answer, error};
pub(crate) use answer::{by_status, finish, refusal};

use crate::field::{given, hash, is_neutral, text};
use crate::history::{self, NO_RESULT, Outcome, Part, Turn, is_said};
use crate::models::Model;
use crate::{Names, Question, Untranslatable, image};
use serde_json::{Map, Value, json};

/// The tool by which a model without structured output is made to keep to a schema.
pub(crate) const JSON_TOOL: &str = "json_tool_call";
/// Said for the user where the API wants the user to speak and the client has nothing.
const CONTINUE: &str = "Continue.";
/// Fields that are translated, or mean nothing to the target.
const HANDLED: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "user",
    "safety_identifier",
    "stream",
    "stream_options",
    "store",
];

/// Puts a request of Chat Completions into Anthropic's words, as far as the model can do what is asked.
///
/// # Errors
/// What has no counterpart at all: more than one answer, sound, unknown parts and roles, functions of the old kind.
pub fn question(chat: &Value, model: &Model) -> Result<Question, Untranslatable> {
    one_answer(chat)?;
    let mut left_out = unhandled(chat, HANDLED);
    let turns = history::read(chat, &mut left_out)?;
    let names = tools::names(chat, &turns, JSON_TOOL);
    let (mut body, mut system) = (Map::new(), vec![]);
    body.insert("model".to_owned(), model.id.as_str().into());
    let most = tokens(chat, model.max_output)?;
    body.insert("max_tokens".to_owned(), most.into());
    let has_calls = turns.iter().any(|turn| !turn.calls().is_empty());
    let mut offer = tools::offer(chat, &turns, model, &names, &mut left_out)?;
    let messages = conversation(turns, model, &names, &mut system)?;
    body.insert("messages".to_owned(), messages.into());
    let format = shape(chat, model, &mut offer, &mut system)?;
    let is_forced = offer.is_forced();
    offer.put(&mut body, &mut system);
    let mut output = Map::new();
    output.extend(format.map(|f| ("format".to_owned(), f)));
    think(chat, model, (is_forced, has_calls, most), (&mut body, &mut output), &mut left_out);
    if !output.is_empty() {
        body.insert("output_config".to_owned(), output.into());
    }
    sampling(chat, model, &mut body, &mut left_out);
    let stops = stops(chat);
    if !stops.is_empty() {
        body.insert("stop_sequences".to_owned(), stops.into());
    }
    let user = Some(text(chat, "user")).filter(|u| !u.is_empty()).unwrap_or_else(|| text(chat, "safety_identifier"));
    if !user.is_empty() {
        body.insert("metadata".to_owned(), json!({"user_id": nameless(user)}));
    }
    if chat.get("stream").and_then(Value::as_bool) == Some(true) {
        body.insert("stream".to_owned(), true.into());
    }
    if !system.is_empty() {
        let blocks: Vec<Value> = system.iter().map(|text| json!({"type": "text", "text": text})).collect();
        body.insert("system".to_owned(), blocks.into());
    }
    Ok(Question { body: body.into(), names, left_out, json_tool: offer.json_tool })
}

/// The fields of a request that say something and that nobody translates.
pub(crate) fn unhandled(request: &Value, handled: &[&str]) -> Vec<String> {
    let fields = request.as_object().into_iter().flatten();
    fields.filter(|(name, value)| !handled.contains(&name.as_str()) && !is_neutral(value)).map(|(name, _)| name.clone()).collect()
}

/// More than one answer is asked for where only one can be had?
pub(crate) fn one_answer(chat: &Value) -> Result<(), Untranslatable> {
    if given(chat, "n").is_some_and(|n| n.as_u64() != Some(1)) {
        return Err(Untranslatable::new("n", "`n` must be 1: this model gives one answer to a request"));
    }
    for old in ["functions", "function_call"] {
        if given(chat, old).is_some() {
            return Err(Untranslatable::new(old, format!("`{old}` is not supported: use `tools`")));
        }
    }
    Ok(())
}

/// The most that the answer may have, in tokens; the model's own most where nothing is said.
pub(crate) fn tokens(chat: &Value, most: u64) -> Result<u64, Untranslatable> {
    for name in ["max_completion_tokens", "max_tokens"] {
        if let Some(asked) = given(chat, name) {
            let wrong = || Untranslatable::new(name, format!("`{name}` must be a whole number above 0"));
            return asked.as_u64().filter(|n| *n > 0).map(|n| n.min(most)).ok_or_else(wrong);
        }
    }
    Ok(most)
}

/// Texts at which the answer ends. Blank ones are refused, and dropped.
pub(crate) fn stops(chat: &Value) -> Vec<Value> {
    let said = &chat["stop"];
    let all = said.as_array().map_or_else(|| std::slice::from_ref(said), Vec::as_slice);
    all.iter().filter(|stop| stop.as_str().is_some_and(is_said)).cloned().collect()
}

/// Mail addresses and telephone numbers are refused as names of users: such a name is hashed.
fn nameless(user: &str) -> String {
    let digits = user.chars().filter(char::is_ascii_digit).count();
    let is_phone = digits >= 7 && user.chars().all(|c| c.is_ascii_digit() || " +-().".contains(c));
    if user.contains('@') || is_phone || user.len() > 256 { format!("{:016x}", hash(user)) } else { user.to_owned() }
}

/// The conversation, as turns of users and the model that take turns.
fn conversation(turns: Vec<Turn>, model: &Model, names: &Names, system: &mut Vec<String>) -> Result<Vec<Value>, Untranslatable> {
    let mut all: Vec<(&'static str, Vec<Value>)> = vec![];
    let push = |all: &mut Vec<(&'static str, Vec<Value>)>, role: &'static str, blocks: Vec<Value>| {
        if blocks.is_empty() {
            return;
        }
        if all.is_empty() && role != "user" {
            all.push(("user", vec![said(CONTINUE)]));
        }
        match all.last_mut() {
            Some((last, before)) if *last == role => before.extend(blocks),
            _ => all.push((role, blocks)),
        }
    };
    let mut is_leading = true;
    for turn in turns {
        is_leading &= matches!(turn, Turn::System(_));
        match turn {
            Turn::System(text) if !is_said(&text) => {}
            Turn::System(text) if is_leading => system.push(text),
            // Where it stands matters: at the front it would mean something else, and all that is cached would be lost.
            Turn::System(text) if model.system_midway && all.last().is_some_and(|(role, _)| *role == "user") => {
                push(&mut all, "system", vec![said(&text)]);
            }
            Turn::System(text) => push(&mut all, "user", vec![said(&format!("<system>\n{text}\n</system>"))]),
            Turn::User(parts) => {
                let blocks = blocks(&parts)?;
                push(&mut all, "user", blocks);
            }
            Turn::Assistant { texts, calls } => {
                let mut blocks: Vec<Value> = texts.iter().filter(|t| is_said(t)).map(|t| said(t)).collect();
                blocks.extend(calls.iter().map(|call| tools::used(call, names)));
                push(&mut all, "assistant", blocks);
            }
            Turn::Results(outcomes) => {
                let results = outcomes.iter().map(result).collect::<Result<_, _>>()?;
                push(&mut all, "user", results);
            }
        }
    }
    match all.last_mut() {
        None => all.push(("user", vec![said(CONTINUE)])),
        Some(("assistant", _)) if !model.prefill => all.push(("user", vec![said(CONTINUE)])),
        Some(("assistant", blocks)) => {
            if let Some(last) = blocks.last_mut()
                && let Some(text) = last.get("text").and_then(Value::as_str)
            {
                *last = said(text.trim_end());
            }
        }
        Some(_) => {}
    }
    Ok(all.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect())
}

fn said(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// Blocks of what a user said. Empty texts are refused, and dropped.
fn blocks(parts: &[Part]) -> Result<Vec<Value>, Untranslatable> {
    let said_parts = parts.iter().filter(|part| !matches!(part, Part::Text(text) if !is_said(text)));
    said_parts
        .map(|part| match part {
            Part::Text(text) => Ok(said(text)),
            Part::Image { url, .. } => image::block(url),
            Part::File { name, data } => image::document(name, data),
        })
        .collect()
}

fn result(outcome: &Outcome) -> Result<Value, Untranslatable> {
    let Some(parts) = &outcome.parts else {
        return Ok(json!({"type": "tool_result", "tool_use_id": outcome.id, "content": NO_RESULT, "is_error": true}));
    };
    let mut result = json!({"type": "tool_result", "tool_use_id": outcome.id});
    let mut blocks = blocks(parts)?;
    let only = blocks.first().filter(|_| blocks.len() == 1).and_then(|b| b.get("text")).cloned();
    if let Some(text) = only {
        result["content"] = text;
    } else if !blocks.is_empty() {
        result["content"] = std::mem::take(&mut blocks).into();
    }
    Ok(result)
}

/// The shape that the answer is asked to have.
fn shape(
    chat: &Value,
    model: &Model,
    offer: &mut tools::Offer,
    system: &mut Vec<String>,
) -> Result<Option<Value>, Untranslatable> {
    let Some(format) = given(chat, "response_format") else { return Ok(None) };
    let wants = "Answer with one JSON object and nothing else: no other words and no Markdown.";
    match text(format, "type") {
        "text" => Ok(None),
        "json_object" => {
            system.push(wants.to_owned());
            Ok(None)
        }
        "json_schema" => {
            let asked = &format["json_schema"]["schema"];
            let asked = if asked.is_object() { asked.clone() } else { json!({"type": "object", "properties": {}}) };
            let fit = schema::output(&asked);
            if model.structured {
                return Ok(Some(json!({"type": "json_schema", "schema": fit})));
            }
            if model.forced_tool && !offer.is_off() {
                offer.answer_by_tool(&asked);
            } else {
                system.push(format!("{wants} It must be valid under this JSON Schema: {asked}"));
            }
            Ok(None)
        }
        other => Err(Untranslatable::new("response_format", format!("`response_format` of type `{other}` is not supported"))),
    }
}

/// How much the model is to think. What a forced tool, or calls whose thoughts are gone, do not go with is left out.
fn think(
    chat: &Value,
    model: &Model,
    (is_forced, has_calls, most): (bool, bool, u64),
    (body, output): (&mut Map<String, Value>, &mut Map<String, Value>),
    left_out: &mut Vec<String>,
) {
    let effort = text(chat, "reasoning_effort");
    let (word, budget) = match effort {
        "" | "none" => return,
        "minimal" | "low" => ("low", 1024),
        "medium" => ("medium", 2048),
        "high" => ("high", 4096),
        // The first models that take an effort do not know this word.
        "xhigh" if model.manual_thinking => ("high", 8192),
        "xhigh" => ("xhigh", 8192),
        "max" => ("max", 16_384),
        _ => return left_out.push("reasoning_effort".to_owned()),
    };
    if model.adaptive_thinking {
        output.insert("effort".to_owned(), word.into());
        if !is_forced {
            body.insert("thinking".to_owned(), json!({"type": "adaptive"}));
        }
    } else if model.manual_thinking && !is_forced && !has_calls && most > 1024 {
        body.insert("thinking".to_owned(), json!({"type": "enabled", "budget_tokens": budget.min(most - 1).max(1024)}));
    } else {
        left_out.push("reasoning_effort".to_owned());
    }
}

fn sampling(chat: &Value, model: &Model, body: &mut Map<String, Value>, left_out: &mut Vec<String>) {
    let is_thinking = body.contains_key("thinking");
    let temperature = chat["temperature"].as_f64();
    let top = chat["top_p"].as_f64();
    let takes = model.sampling && !is_thinking;
    if let Some(asked) = temperature {
        match takes {
            true => drop(body.insert("temperature".to_owned(), json!(asked.clamp(0.0, 1.0)))),
            false if (asked - 1.0).abs() > f64::EPSILON => left_out.push("temperature".to_owned()),
            false => {}
        }
    }
    // Not both: some models refuse that.
    if let Some(asked) = top {
        match takes && temperature.is_none() {
            true => drop(body.insert("top_p".to_owned(), json!(asked.clamp(0.0, 1.0)))),
            false if (asked - 1.0).abs() > f64::EPSILON => left_out.push("top_p".to_owned()),
            false => {}
        }
    }
}
