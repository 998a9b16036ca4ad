//! The engine stand-in's answers for clients that speak Anthropic's language, as vLLM gives them.

use bytes::Bytes;
use serde_json::{Value, json};

/// A whole answer.
pub(crate) fn whole(model: &str, words: &[String]) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "max_tokens", "stop_sequence": null,
        "content": [{"type": "text", "text": words.concat()}], "usage": {"input_tokens": 1, "output_tokens": words.len()},
    })
}

/// The same as the events of a stream.
pub(crate) fn events(model: &str, words: &[String]) -> Vec<Bytes> {
    let event = |name: &str, data: Value| Bytes::from(format!("event: {name}\ndata: {data}\n\n"));
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 0},
    });
    let mut all = vec![
        event("message_start", json!({"type": "message_start", "message": message})),
        event(
            "content_block_start",
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
    ];
    all.extend(words.iter().map(|word| {
        let delta = json!({"type": "text_delta", "text": word});
        event("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    }));
    let end = json!({"stop_reason": "max_tokens", "stop_sequence": null});
    all.push(event("content_block_stop", json!({"type": "content_block_stop", "index": 0})));
    all.push(event("message_delta", json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": words.len()}})));
    all.push(event("message_stop", json!({"type": "message_stop"})));
    all
}
