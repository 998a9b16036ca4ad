//! Tools of Anthropic's Messages.

use super::errors::{Refusal, wrong};
use super::field::{given, is_name, list, text};
use super::messages_read::extra;
use super::mind::Asked;
use super::models::Claude;
use serde_json::Value;

const KNOWN: &[&str] = &[
    "type",
    "name",
    "description",
    "input_schema",
    "strict",
    "cache_control",
    "eager_input_streaming",
    "input_examples",
    "defer_loading",
    "allowed_callers",
];
/// The longest name.
const NAME_MAX: usize = 128;

/// Reads the tools and the choice among them. `thinks`: the request asks for thoughts.
pub(super) fn read(body: &Value, model: Claude, thinks: bool, asked: &mut Asked) -> Result<(), Refusal> {
    if given(body, "tools").is_some_and(|tools| !tools.is_array()) {
        return Err(wrong("tools: Input should be a valid list"));
    }
    for (at, tool) in list(body, "tools").iter().enumerate() {
        let kind = text(tool, "type");
        if !matches!(kind, "" | "custom") {
            return Err(wrong(format!(
                "tools.{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'custom'"
            )));
        }
        let path = format!("tools.{at}.custom");
        if !tool["name"].is_string() {
            return Err(wrong(format!("{path}.name: Field required")));
        }
        if !is_name(text(tool, "name"), NAME_MAX) {
            return Err(wrong(format!("{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")));
        }
        extra(tool, KNOWN, &path)?;
        schema(given(tool, "input_schema"), &format!("{path}.input_schema"))?;
        let name = text(tool, "name").to_owned();
        if asked.tools.contains(&name) {
            return Err(wrong("tools: Tool names must be unique."));
        }
        asked.tools.push(name);
    }
    choice(body, model, thinks, asked)
}

fn schema(schema: Option<&Value>, path: &str) -> Result<(), Refusal> {
    let Some(schema) = schema else { return Err(wrong(format!("{path}: Field required"))) };
    if !schema.is_object() {
        return Err(wrong(format!("{path}: Input should be a valid dictionary")));
    }
    match given(schema, "type") {
        None => return Err(wrong(format!("{path}.type: Field required"))),
        Some(kind) if kind != "object" => return Err(wrong(format!("{path}.type: Input should be 'object'"))),
        Some(_) => {}
    }
    if ["oneOf", "allOf", "anyOf"].iter().any(|word| schema.get(*word).is_some()) {
        return Err(wrong(format!("{path}: input_schema does not support oneOf, allOf, or anyOf at the top level")));
    }
    Ok(())
}

fn choice(body: &Value, model: Claude, thinks: bool, asked: &mut Asked) -> Result<(), Refusal> {
    let Some(choice) = given(body, "tool_choice") else { return Ok(()) };
    let kind = text(choice, "type");
    let known: &[&str] = match kind {
        "auto" | "any" => &["type", "disable_parallel_tool_use"],
        "tool" => &["type", "disable_parallel_tool_use", "name"],
        "none" => &["type"],
        other => {
            let tags = "'auto', 'any', 'tool', 'none'";
            return Err(wrong(format!(
                "tool_choice: Input tag '{other}' found using 'type' does not match any of the expected tags: {tags}"
            )));
        }
    };
    extra(choice, known, &format!("tool_choice.{kind}"))?;
    if asked.tools.is_empty() {
        return Err(wrong("tool_choice: may only be specified while providing tools"));
    }
    asked.one_call = choice["disable_parallel_tool_use"] == true;
    let is_forced = matches!(kind, "any" | "tool");
    if is_forced && !model.can_be_forced() {
        return Err(wrong("tool_choice: forced tool use (`any` or `tool`) is not supported for this model"));
    }
    if is_forced && thinks {
        return Err(wrong("Thinking may not be enabled when tool_choice forces tool use."));
    }
    match kind {
        "none" => asked.tools.clear(),
        "any" => asked.forced = asked.tools.first().cloned(),
        "tool" => {
            let name = text(choice, "name");
            if !asked.tools.iter().any(|tool| tool == name) {
                return Err(wrong(format!("Tool '{name}' not found in provided tools")));
            }
            asked.forced = Some(name.to_owned());
        }
        _ => {}
    }
    Ok(())
}
