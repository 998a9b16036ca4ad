//! Messages of Anthropic's: how an answer looks. What a request is refused for is in `messages_read`.

use super::events::{Events, event};
use super::field::text;
use super::mind::{self, Call, End, Reply};
use serde_json::{Value, json};

/// A signature of thoughts. What is sent back has to carry the one that goes with it.
pub(super) fn signature(thoughts: &str) -> String {
    let sum =
        thoughts.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("EuYBCkQYAiJA{sum:016x}")
}

fn reason(reply: &Reply) -> (&'static str, Option<&str>) {
    match &reply.end {
        End::Said => ("end_turn", None),
        End::Calls => ("tool_use", None),
        End::Cut => ("max_tokens", None),
        End::At(stop) => ("stop_sequence", Some(stop)),
    }
}

fn usage(reply: &Reply) -> Value {
    let spent = reply.spent;
    json!({
        "input_tokens": spent.prompt - spent.cached, "cache_creation_input_tokens": 0, "cache_read_input_tokens": spent.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}, "output_tokens": spent.completion,
        "output_tokens_details": {"thinking_tokens": spent.reasoning}, "server_tool_use": null, "service_tier": "standard",
    })
}

fn thoughts<'a>(body: &Value, reply: &'a Reply) -> &'a str {
    if text(&body["thinking"], "display") == "omitted" { "" } else { &reply.thoughts }
}

fn call_id(number: u64, at: usize) -> String {
    format!("toolu_{number:08}x{at}")
}

/// An answer at once.
pub(super) fn whole(body: &Value, reply: &Reply, number: u64) -> Value {
    let mut content = vec![];
    if !reply.thoughts.is_empty() {
        let thinking = thoughts(body, reply);
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": signature(thinking)}));
    }
    if !reply.text.is_empty() {
        content.push(json!({"type": "text", "text": reply.text}));
    }
    for (at, call) in reply.calls.iter().enumerate() {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        content.push(json!({"type": "tool_use", "id": call_id(number, at), "name": call.name, "input": input}));
    }
    let (reason, sequence) = reason(reply);
    json!({
        "id": format!("msg_{number:08}"), "type": "message", "role": "assistant", "model": body["model"], "content": content,
        "stop_reason": reason, "stop_sequence": sequence, "stop_details": null, "usage": usage(reply),
    })
}

/// An answer in a stream.
pub(super) fn events(body: &Value, reply: &Reply, number: u64) -> Events {
    let mut begun = whole(body, reply, number);
    for (name, value) in [("content", json!([])), ("stop_reason", Value::Null), ("stop_sequence", Value::Null)] {
        begun[name] = value;
    }
    begun["usage"]["output_tokens"] = 1.into();
    begun["usage"]["output_tokens_details"] = json!({"thinking_tokens": 0});
    let mut events = Events::default();
    events.opening.push(event(&json!({"type": "message_start", "message": begun})));
    events.opening.push(event(&json!({"type": "ping"})));
    let mut blocks = vec![];
    if !reply.thoughts.is_empty() {
        blocks.push(thinking(thoughts(body, reply)));
    }
    if !reply.text.is_empty() {
        let deltas = mind::words(&reply.text).iter().map(|word| json!({"type": "text_delta", "text": word})).collect();
        blocks.push((json!({"type": "text", "text": ""}), deltas));
    }
    blocks.extend(reply.calls.iter().enumerate().map(|(at, call)| tool_use(&call_id(number, at), call)));
    for (index, (block, deltas)) in blocks.into_iter().enumerate() {
        events.content.push(event(&json!({"type": "content_block_start", "index": index, "content_block": block})));
        for delta in deltas {
            events.content.push(event(&json!({"type": "content_block_delta", "index": index, "delta": delta})));
        }
        events.content.push(event(&json!({"type": "content_block_stop", "index": index})));
    }
    let (reason, sequence) = reason(reply);
    let delta = json!({"stop_reason": reason, "stop_sequence": sequence, "stop_details": null});
    // What was told of the prompt is not told again.
    let spent = json!({
        "output_tokens": reply.spent.completion, "output_tokens_details": {"thinking_tokens": reply.spent.reasoning},
    });
    events.ending.push(event(&json!({"type": "message_delta", "delta": delta, "usage": spent})));
    events.ending.push(event(&json!({"type": "message_stop"})));
    events
}

fn thinking(thoughts: &str) -> (Value, Vec<Value>) {
    let mut deltas: Vec<Value> =
        mind::words(thoughts).iter().map(|word| json!({"type": "thinking_delta", "thinking": word})).collect();
    deltas.push(json!({"type": "signature_delta", "signature": signature(thoughts)}));
    (json!({"type": "thinking", "thinking": "", "signature": ""}), deltas)
}

fn tool_use(id: &str, call: &Call) -> (Value, Vec<Value>) {
    let mut deltas = vec![json!({"type": "input_json_delta", "partial_json": ""})];
    deltas.extend(mind::fragments(&call.arguments).iter().map(|part| json!({"type": "input_json_delta", "partial_json": part})));
    (json!({"type": "tool_use", "id": id, "name": call.name, "input": {}}), deltas)
}
