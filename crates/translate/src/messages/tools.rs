//! Tools in Anthropic's words: what is offered, what must be called, and what was called.

use super::{JSON_TOOL, schema};
use crate::field::{given, list, object, text};
use crate::history::{Call, Turn};
use crate::models::Model;
use crate::{Names, Untranslatable};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A name may have so many characters.
const NAME_MAX: usize = 128;

/// What the model may, must or must not call.
#[derive(Clone, Debug, PartialEq)]
enum Choice {
    /// Nothing was said.
    Open,
    Auto,
    Any,
    None,
    One(String),
}

/// What a request offers.
#[derive(Debug)]
pub(super) struct Offer {
    tools: Vec<Value>,
    choice: Choice,
    one_at_a_time: bool,
    /// A wish that the model cannot be forced to follow, said in words.
    wish: Option<String>,
    /// The answer's shape is made by a tool.
    pub(super) json_tool: bool,
}

/// The names of all tools of a request: of those that are offered, and of those that were called.
pub(super) fn names(chat: &Value, turns: &[Turn], reserved: &str) -> Names {
    let offered = list(chat, "tools").iter().map(|tool| text(&tool["function"], "name"));
    let called = turns.iter().flat_map(Turn::calls).map(|call| call.name.as_str());
    Names::of(offered.chain(called), NAME_MAX, reserved)
}

/// The name that a choice of one tool names.
fn chosen(choice: &Value) -> &str {
    text(&choice["function"], "name")
}

/// Reads what a request offers.
pub(super) fn offer(
    chat: &Value,
    turns: &[Turn],
    model: &Model,
    names: &Names,
    left_out: &mut Vec<String>,
) -> Result<Offer, Untranslatable> {
    let mut tools = vec![];
    for tool in list(chat, "tools") {
        let kind = text(tool, "type");
        if !matches!(kind, "function" | "") || !tool["function"].is_object() {
            return Err(Untranslatable::new("tools", format!("tools of type `{kind}` are not supported")));
        }
        if tool["function"]["strict"] == true && !left_out.iter().any(|f| f == "tools.strict") {
            left_out.push("tools.strict".to_owned());
        }
        tools.push(tool_of(&tool["function"], names));
    }
    let said = &chat["tool_choice"];
    let mut choice = match said.as_str().unwrap_or_else(|| text(said, "type")) {
        "none" => Choice::None,
        "required" => Choice::Any,
        "auto" => Choice::Auto,
        "function" => Choice::One(names.sent(chosen(said)).to_owned()),
        "allowed_tools" => {
            let allowed = &said["allowed_tools"];
            let kept: BTreeSet<&str> = list(allowed, "tools").iter().map(|tool| names.sent(chosen(tool))).collect();
            tools.retain(|tool| kept.contains(text(tool, "name")));
            if text(allowed, "mode") == "required" { Choice::Any } else { Choice::Auto }
        }
        _ => Choice::Open,
    };
    let mut wish = None;
    if tools.is_empty() {
        (tools, choice) = without(turns, names);
    } else if !model.forced_tool {
        wish = match &choice {
            Choice::Any => Some("Call at least one of the tools.".to_owned()),
            Choice::One(name) => Some(format!("Call the tool `{name}`.")),
            Choice::Open | Choice::Auto | Choice::None => None,
        };
        if wish.is_some() {
            choice = Choice::Auto;
            left_out.push("tool_choice".to_owned());
        }
    }
    let one_at_a_time = given(chat, "parallel_tool_calls") == Some(&Value::Bool(false));
    Ok(Offer { tools, choice, one_at_a_time, wish, json_tool: false })
}

/// Nothing is offered: what was called before must be declared all the same, and may not be called again.
fn without(turns: &[Turn], names: &Names) -> (Vec<Value>, Choice) {
    let called: BTreeSet<&str> = turns.iter().flat_map(Turn::calls).map(|call| call.name.as_str()).collect();
    let choice = if called.is_empty() { Choice::Open } else { Choice::None };
    (called.iter().map(|name| tool_of(&json!({"name": name}), names)).collect(), choice)
}

fn tool_of(function: &Value, names: &Names) -> Value {
    let mut tool = json!({"name": names.sent(text(function, "name")), "input_schema": schema::input(&function["parameters"])});
    let description = text(function, "description");
    if !description.is_empty() {
        tool["description"] = description.into();
    }
    tool
}

/// A call that was made. Arguments must be an object; what is none is put into one.
pub(super) fn used(call: &Call, names: &Names) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": names.sent(&call.name), "input": object(&call.arguments)})
}

impl Offer {
    /// The model must call something.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self.choice, Choice::Any | Choice::One(_))
    }

    /// Nothing may be called though tools are known.
    pub(super) fn is_off(&self) -> bool {
        self.choice == Choice::None && !self.tools.is_empty()
    }

    /// The answer is given by a tool; the client's own tools may be called instead.
    pub(super) fn answer_by_tool(&mut self, asked: &Value) {
        self.choice = if self.tools.is_empty() { Choice::One(JSON_TOOL.to_owned()) } else { Choice::Any };
        self.tools.push(json!({"name": JSON_TOOL, "description": "Gives the answer.", "input_schema": schema::input(asked)}));
        self.json_tool = true;
    }

    /// Puts it into the request.
    pub(super) fn put(&mut self, body: &mut Map<String, Value>, system: &mut Vec<String>) {
        system.extend(self.wish.take());
        if self.tools.is_empty() {
            return;
        }
        body.insert("tools".to_owned(), std::mem::take(&mut self.tools).into());
        let mut choice = match &self.choice {
            Choice::Open if !self.one_at_a_time => return,
            Choice::Open | Choice::Auto => json!({"type": "auto"}),
            Choice::Any => json!({"type": "any"}),
            Choice::None => json!({"type": "none"}),
            Choice::One(name) => json!({"type": "tool", "name": name}),
        };
        if self.one_at_a_time && self.choice != Choice::None {
            choice["disable_parallel_tool_use"] = true.into();
        }
        body.insert("tool_choice".to_owned(), choice);
    }
}
