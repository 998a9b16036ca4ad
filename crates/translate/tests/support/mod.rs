//! Streams as backends write them, and what a client reads out of them.

#![allow(dead_code, reason = "not every test needs all of it")]

use serde_json::{Value, json};

/// Events as a stream. `[DONE]` is not among them.
pub(crate) fn stream(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// A chunk with a delta.
pub(crate) fn chunk(delta: &Value) -> Value {
    json!({"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

/// A stream of Anthropic's: thoughts, a text, a call and a call without arguments.
pub(crate) fn messages() -> String {
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let tool = |id: &str, name: &str| json!({"type": "tool_use", "id": id, "name": name, "input": {}});
    let delta = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    let text = |text: &str| json!({"type": "text_delta", "text": text});
    let input = |part: &str| json!({"type": "input_json_delta", "partial_json": part});
    let usage = json!({"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 1});
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "c", "content": [], "usage": usage}}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "s"})),
        stop(0),
        json!({"type": "ping"}),
        start(1, json!({"type": "text", "text": ""})),
        delta(1, text("Hello")),
        delta(1, text(" there")),
        stop(1),
        start(2, tool("t1", "f")),
        delta(2, input("")),
        delta(2, input("{\"x\":")),
        delta(2, input("1}")),
        stop(2),
        start(3, tool("t2", "g")),
        delta(3, input("")),
        stop(3),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 20}}),
        json!({"type": "message_stop"}),
    ];
    events.iter().map(|e| format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or_default())).collect()
}

/// The events of a text that ends, without their beginning.
pub(crate) fn words(text: &str) -> Vec<Value> {
    vec![
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ]
}

/// The same as events of Responses.
pub(crate) fn responses() -> String {
    let call = |id: &str, name: &str, arguments: &str| {
        json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id,
        "name": name, "arguments": arguments})
    };
    let item = |kind: &str, at: u64, item: Value| {
        json!({"type": format!("response.output_item.{kind}"), "output_index": at,
        "item": item})
    };
    let part = |part: &str| json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": part});
    let usage = json!({"input_tokens": 18, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 5}});
    let events = [
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "g", "created_at": 7}}),
        json!({"type": "response.in_progress", "response": {"id": "resp_1", "model": "g", "created_at": 7}}),
        json!({"type": "response.reasoning_summary_part.added", "summary_index": 0}),
        json!({"type": "response.reasoning_summary_text.delta", "delta": "hm"}),
        json!({"type": "response.reasoning_summary_text.done", "text": "hm"}),
        json!({"type": "response.output_text.delta", "delta": "Hello"}),
        json!({"type": "response.output_text.delta", "delta": " there"}),
        json!({"type": "response.output_text.done", "text": "Hello there"}),
        item("added", 2, call("c1", "f", "")),
        part("{\"x\":"),
        part("1}"),
        json!({"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{\"x\":1}"}),
        item("done", 2, call("c1", "f", "{\"x\":1}")),
        item("done", 3, call("c2", "g", "")),
        json!({"type": "response.new_thing", "x": [1]}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "usage": usage}}),
    ];
    events.iter().map(|e| format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or_default())).collect()
}

/// The same as chunks.
pub(crate) fn chunks() -> String {
    let call = |index: u64, id: &str, name: &str| {
        json!({"tool_calls": [{"index": index, "id": id, "type": "function",
        "function": {"name": name, "arguments": ""}}]})
    };
    let part = |part: &str| chunk(&json!({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}));
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}});
    let events = [
        chunk(&json!({"role": "assistant", "content": ""})),
        chunk(&json!({"reasoning_content": "hm"})),
        chunk(&json!({"content": "Hello"})),
        chunk(&json!({"content": " there"})),
        chunk(&call(0, "t1", "f")),
        part("{\"x\":1}"),
        chunk(&call(1, "t2", "g")),
        json!({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": null}),
        json!({"id": "chatcmpl-1", "choices": [], "usage": usage}),
    ];
    format!(": a comment\n\n{}data: [DONE]\n\n", stream(&events))
}

/// The data of every event.
pub(crate) fn events(out: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(out.to_vec()).expect("UTF-8");
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

/// What a client has read.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    pub(crate) id: String,
    pub(crate) roles: usize,
    pub(crate) content: String,
    pub(crate) reasoning: String,
    pub(crate) refusal: String,
    /// Id, name and arguments.
    pub(crate) calls: Vec<(String, String, String)>,
    pub(crate) finish: Option<String>,
    pub(crate) usage: Value,
    pub(crate) is_done: bool,
    pub(crate) comments: usize,
}

impl Chat {
    /// Reads chunks as `OpenAI`'s client does, which joins parts of calls by their number.
    pub(crate) fn of(out: &[u8]) -> Self {
        let text = String::from_utf8(out.to_vec()).expect("UTF-8");
        let mut chat = Self { comments: text.lines().filter(|l| l.starts_with(':')).count(), ..Self::default() };
        chat.is_done = text.ends_with("data: [DONE]\n\n") && text.matches("[DONE]").count() == 1;
        for event in events(out) {
            assert_eq!(event["object"], "chat.completion.chunk");
            chat.id = event["id"].as_str().expect("an id").to_owned();
            if event["usage"].is_object() {
                assert_eq!(event["choices"], json!([]));
                chat.usage = event["usage"].clone();
            }
            let Some(choice) = event["choices"].get(0) else { continue };
            let delta = &choice["delta"];
            chat.roles += usize::from(delta["role"].is_string());
            for (field, to) in
                [("content", &mut chat.content), ("reasoning_content", &mut chat.reasoning), ("refusal", &mut chat.refusal)]
            {
                to.push_str(delta[field].as_str().unwrap_or_default());
            }
            for part in delta["tool_calls"].as_array().into_iter().flatten() {
                let index = usize::try_from(part["index"].as_u64().expect("a number")).expect("a small one");
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                if index == chat.calls.len() {
                    chat.calls.push((text(&part["id"]), text(&part["function"]["name"]), String::new()));
                }
                chat.calls[index].2.push_str(&text(&part["function"]["arguments"]));
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                assert!(chat.finish.replace(reason.to_owned()).is_none(), "one end is enough");
            }
        }
        chat
    }
}

/// Reads Anthropic's events as its client does: one block is open at a time, and they are numbered from 0.
pub(crate) fn told(out: &[u8]) -> Chat {
    let (mut chat, mut open, mut next) = (Chat::default(), false, 0);
    for event in events(out) {
        let kind = event["type"].as_str().expect("a kind");
        if kind.starts_with("content_block") {
            assert_eq!(event["index"], next);
            assert_eq!(open, kind != "content_block_start");
        }
        let (block, delta) = (&event["content_block"], &event["delta"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match kind {
            "message_start" => chat.id = text(&event["message"]["id"]),
            "content_block_start" => {
                open = true;
                if block["type"] == "tool_use" {
                    chat.calls.push((text(&block["id"]), text(&block["name"]), String::new()));
                }
            }
            "content_block_stop" => (open, next) = (false, next + 1),
            "content_block_delta" if delta["type"] == "text_delta" => chat.content.push_str(&text(&delta["text"])),
            "content_block_delta" => {
                chat.calls.last_mut().expect("a call").2.push_str(&text(&delta["partial_json"]));
            }
            "message_delta" => chat.finish = Some(text(&delta["stop_reason"])),
            "message_stop" => chat.is_done = true,
            _ => assert_eq!(kind, "ping"),
        }
    }
    assert!(!open);
    chat
}
