//! What is refused, as tables.

use super::{PATHS, tools};
use serde_json::{Value, json};

/// What that API refuses, and what it takes although it looks alike: fields that are changed, the status, and what is said.
pub(super) fn refusals(path: &str, png: &str) -> Vec<(Value, u16, &'static str)> {
    match path {
        "/v1/messages" => [of_messages(), of_conversations(png)].concat(),
        "/v1/responses" => of_responses(),
        _ => of_chat(),
    }
}

fn of_chat() -> Vec<(Value, u16, &'static str)> {
    let path = PATHS[0];
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "a", "arguments": "{}"}});
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    let user = json!({"role": "user", "content": "x"});
    let called = json!({"role": "assistant", "content": null, "tool_calls": [call("c1"), call("c2")]});
    vec![
        (json!({"top_k": 4}), 400, "Unrecognized request argument supplied: top_k"),
        (json!({"model": "gpt-7"}), 404, "model_not_found"),
        (json!({"model": "claude-haiku-5-5"}), 404, "model_not_found"),
        (json!({"model": "gpt-5.4-pro"}), 404, "v1/responses"),
        (json!({"max_tokens": 9}), 200, "echo"),
        (json!({"max_tokens": 0}), 400, "integer_below_min_value"),
        (json!({"max_tokens": 99_999}), 400, "too large"),
        (json!({"max_tokens": 9, "max_completion_tokens": 9}), 400, "at the same time"),
        (json!({"model": "gpt-6-luna", "max_tokens": 9}), 400, "Use 'max_completion_tokens' instead"),
        (json!({"model": "gpt-6-luna", "max_completion_tokens": 9}), 200, "echo"),
        (json!({"model": "gpt-6-luna", "temperature": 0.5}), 400, "unsupported_value"),
        (json!({"model": "gpt-6-luna", "temperature": 1}), 200, "echo"),
        (json!({"model": "gpt-6-luna", "top_p": 0.5}), 400, "unsupported_parameter"),
        (json!({"model": "gpt-6-luna", "logprobs": true}), 400, "unsupported_parameter"),
        (json!({"model": "gpt-6-luna", "temperature": 0.5, "reasoning_effort": "none"}), 200, "echo"),
        (json!({"model": "gpt-5", "reasoning_effort": "none"}), 400, "unsupported_value"),
        (json!({"reasoning_effort": "low"}), 400, "unsupported_parameter"),
        (json!({"model": "gpt-5.4", "tools": tools(path, &["a"])}), 400, "/v1/responses"),
        (json!({"model": "gpt-5.4", "tools": tools(path, &["a"]), "reasoning_effort": "none"}), 200, "echo"),
        (json!({"model": "gpt-5.2", "tools": tools(path, &["a"])}), 200, "echo"),
        (json!({"temperature": 3}), 400, "decimal_above_max_value"),
        (json!({"tools": []}), 400, "empty_array"),
        (json!({"tools": tools(path, &["weather.now"])}), 400, "does not match pattern"),
        (json!({"tool_choice": "auto"}), 400, "only allowed when 'tools' are specified"),
        (json!({"stream_options": {"include_usage": true}}), 400, "only allowed when 'stream' is enabled"),
        (json!({"messages": []}), 400, "empty_array"),
        (json!({"messages": [{"role": "user", "content": null}]}), 400, "got null"),
        (json!({"messages": [{"role": "bot", "content": "x"}]}), 400, "Supported values"),
        (json!({"messages": [user, {"role": "assistant", "content": "x", "reasoning_content": "y"}]}), 400, "reasoning_content"),
        (json!({"messages": [user, tool("c1")]}), 400, "must be a response to a preceeding message"),
        (json!({"messages": [user, called, tool("c1")]}), 400, "did not have response messages: c2"),
        (json!({"messages": [user, called, tool("c1"), user]}), 400, "did not have response messages: c2"),
        (json!({"messages": [user, called, tool("c2"), tool("c1")], "tools": tools(path, &["a"])}), 200, "x x"),
        (json!({"response_format": {"type": "json_object"}}), 200, "Bern"),
        (json!({"response_format": {"type": "json_schema"}}), 400, "json_schema.name"),
        (json!({"n": 2}), 200, "\"index\":1"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), 400, "array too long"),
    ]
}

fn of_responses() -> Vec<(Value, u16, &'static str)> {
    let path = PATHS[1];
    let user = json!({"role": "user", "content": "x"});
    let call = json!({"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}"});
    let result = json!({"type": "function_call_output", "call_id": "c1", "output": "x"});
    let part = |role: &str, kind: &str| json!({"input": [user, {"role": role, "content": [{"type": kind, "text": "x"}]}]});
    vec![
        (json!({"messages": []}), 400, "moved to 'input'"),
        (json!({"max_tokens": 20}), 400, "moved to 'max_output_tokens'"),
        (json!({"max_output_tokens": 15}), 400, "integer_below_min_value"),
        (json!({"max_output_tokens": 16}), 200, "echo"),
        (json!({"stop": "x"}), 400, "unknown_parameter"),
        (json!({"temperature": 1}), 400, "unsupported_parameter"),
        (json!({"temperature": 1, "reasoning": {"effort": "none"}}), 200, "echo"),
        (json!({"model": "gpt-5.4-pro"}), 200, "echo"),
        (json!({"input": "-"}), 400, "missing_required_parameter"),
        (json!({"input": "plain"}), 200, "echo: plain"),
        (json!({"tools": tools(PATHS[0], &["a"])}), 400, "tools[0].name"),
        (
            json!({"tools": tools(path, &["a"]), "tool_choice": {"type": "function", "function": {"name": "a"}}}),
            400,
            "tool_choice.name",
        ),
        (json!({"tools": tools(path, &["a"]), "tool_choice": {"type": "function", "name": "a"}}), 200, "function_call"),
        (json!({"tools": tools(path, &["a"]), "tool_choice": {"type": "function", "name": "b"}}), 400, "not found in 'tools'"),
        (json!({"input": [user, call]}), 400, "No tool output found for function call c1"),
        (json!({"input": [user, result]}), 400, "No tool call found"),
        (json!({"input": [user, call, result]}), 200, "x"),
        (part("user", "text"), 400, "Supported values are: 'input_text'"),
        (part("assistant", "input_text"), 400, "'output_text'"),
        (part("user", "input_text"), 200, "echo"),
        (json!({"stream": true, "stream_options": {"include_usage": true}}), 400, "stream_options.include_usage"),
        (json!({"previous_response_id": "resp_1"}), 400, "previous_response_not_found"),
    ]
}

fn of_messages() -> Vec<(Value, u16, &'static str)> {
    let path = PATHS[2];
    let one = tools(path, &["a"]);
    let format = |schema: Value| json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    vec![
        (json!({"max_tokens": "-"}), 400, "max_tokens: Field required"),
        (json!({"max_tokens": 200_000}), 400, "128000"),
        (json!({"max_tokens": 2}), 200, "\"max_tokens\""),
        (json!({"stop": "x"}), 400, "stop: Extra inputs are not permitted"),
        (json!({"model": "gpt-4o"}), 404, "not_found_error"),
        (json!({"temperature": 0.5}), 400, "deprecated for this model"),
        (json!({"temperature": 1}), 200, "echo"),
        (json!({"top_p": 0.5}), 400, "deprecated for this model"),
        (json!({"top_k": 5}), 400, "deprecated for this model"),
        (json!({"model": "claude-sonnet-4-6", "temperature": 0.5, "top_k": 5}), 200, "echo"),
        (json!({"model": "claude-haiku-4-5", "temperature": 1.5}), 400, "range: 0..1"),
        (json!({"model": "claude-haiku-4-5", "temperature": 0.5, "top_p": 0.5}), 400, "cannot both be specified"),
        (json!({"model": "claude-haiku-4-5-20251001", "temperature": 0.5}), 200, "echo"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096}), 400, "thinking.type.adaptive"),
        (json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}), 200, "echo"),
        (json!({"model": "claude-haiku-4-5", "thinking": {"type": "adaptive"}}), 400, "adaptive"),
        (json!({"model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 1024}}), 400, "must be greater"),
        (json!({"model": "claude-haiku-4-5", "output_config": {"effort": "low"}}), 400, "effort"),
        (json!({"tools": tools(PATHS[0], &["a"])}), 400, "Input tag 'function'"),
        (json!({"tools": tools(path, &["weather.now"])}), 400, "String should match pattern"),
        (json!({"tools": [{"name": "a"}]}), 400, "input_schema: Field required"),
        (json!({"tools": [{"name": "a", "input_schema": {}}]}), 400, "input_schema.type: Field required"),
        (json!({"tools": [{"name": "a", "input_schema": {"type": "object", "anyOf": []}}]}), 400, "at the top level"),
        (json!({"tools": tools(path, &["a", "a"])}), 400, "unique"),
        (json!({"tool_choice": {"type": "auto"}}), 400, "only be specified while providing tools"),
        (json!({"tools": one, "tool_choice": {"type": "any"}}), 200, "tool_use"),
        (json!({"tools": one, "tool_choice": {"type": "any"}, "model": "claude-opus-5-5"}), 400, "forced tool use"),
        (
            json!({"tools": one, "tool_choice": {"type": "tool", "name": "a"}, "model": "claude-mythos-5-1"}),
            400,
            "forced tool use",
        ),
        (json!({"tools": one, "tool_choice": {"type": "tool", "name": "b"}}), 400, "not found in provided tools"),
        (
            json!({"tools": one, "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}}),
            400,
            "Thinking may not be enabled",
        ),
        (json!({"tools": one, "tool_choice": {"type": "none", "disable_parallel_tool_use": true}}), 400, "Extra inputs"),
        (json!({"stop_sequences": [" "]}), 400, "non-whitespace"),
        (json!({"stop_sequences": ["json"]}), 200, "stop_sequence"),
        (json!({"metadata": {"user_id": "a@example.com"}}), 400, "email"),
        (json!({"system": [{"type": "text", "text": ""}]}), 400, "non-empty"),
        (format(json!({"type": "object"})), 400, "additionalProperties"),
        (
            format(json!({"type": "object", "additionalProperties": false, "properties": {"minimum": {"type": "string"}}})),
            200,
            "Bern",
        ),
        (format(json!({"type": "array", "items": {"type": "number", "minimum": 1}})), 400, "'minimum' is not supported"),
    ]
}

fn of_conversations(png: &str) -> Vec<(Value, u16, &'static str)> {
    let user = json!({"role": "user", "content": "x"});
    let says = |text: &str| json!({"role": "assistant", "content": text});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "a", "input": {}});
    let called = |calls: &[Value]| json!({"role": "assistant", "content": calls});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "x"});
    let heard = |blocks: &[Value]| json!({"role": "user", "content": blocks});
    let text = |text: &str| json!({"type": "text", "text": text});
    let image = |kind: &str| json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": png}});
    let all = |messages: &[Value]| json!({"messages": messages, "tools": tools(PATHS[2], &["a"])});
    let old = |messages: &[Value]| json!({"messages": messages, "model": "claude-haiku-4-5"});
    vec![
        (all(&[]), 400, "at least one message"),
        (all(&[says("x"), user.clone()]), 400, "first message must use the"),
        (all(&[user.clone(), says("x")]), 400, "prefill"),
        (old(&[user.clone(), says("x")]), 200, "echo: x"),
        (old(&[user.clone(), says("x ")]), 400, "trailing whitespace"),
        (all(&[heard(&[text("")])]), 400, "must be non-empty"),
        (all(&[heard(&[text(" ")])]), 400, "non-whitespace"),
        (all(&[json!({"role": "user", "content": ""})]), 400, "non-empty content"),
        (all(&[user.clone(), json!({"role": "system", "content": "s"})]), 200, "echo: x"),
        (old(&[user.clone(), json!({"role": "system", "content": "s"})]), 400, "Unexpected role"),
        (all(&[user.clone(), called(&[call("c1")]), heard(&[result("c1")])]), 200, "\"x\""),
        (old(&[user.clone(), called(&[call("c1")]), heard(&[result("c1")])]), 400, "must define tools"),
        (all(&[user.clone(), called(&[call("c1")]), heard(&[text("y"), result("c1")])]), 400, "without `tool_result` blocks"),
        (all(&[user.clone(), called(&[call("c1")]), heard(&[result("c1"), text("y")])]), 200, "echo: y"),
        (all(&[user.clone(), called(&[call("c1"), call("c2")]), heard(&[result("c1")])]), 400, "immediately after: c2"),
        (all(&[user.clone(), called(&[call("c1"), call("c2")]), heard(&[result("c1")]), heard(&[result("c2")])]), 200, "x x"),
        (all(&[user.clone(), heard(&[result("c1")])]), 400, "unexpected `tool_use_id`"),
        (all(&[user.clone(), called(&[call("c1")]), heard(&[result("c1"), result("c1")])]), 400, "single result"),
        (all(&[user.clone(), called(&[call("c1"), call("c1")]), heard(&[result("c1")])]), 400, "ids must be unique"),
        (all(&[user.clone(), called(&[call("c:1")]), heard(&[result("c:1")])]), 400, "tool_use.id: String should match"),
        (all(&[heard(&[call("c1")])]), 400, "can only be in `assistant`"),
        (all(&[heard(&[json!({"type": "image_url", "image_url": {}})])]), 400, "Input tag 'image_url'"),
        (all(&[heard(&[text("describe the image"), image("image/png")])]), 200, "\"image/png\""),
        (all(&[heard(&[text("describe the image"), image("image/jpeg")])]), 400, "does not match the provided media type"),
        (
            all(&[user, called(&[json!({"type": "thinking", "thinking": "t", "signature": "s"})]), heard(&[text("x")])]),
            400,
            "signature",
        ),
    ]
}
