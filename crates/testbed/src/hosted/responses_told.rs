//! How an answer of Responses looks, at once and as a stream.

use super::events::{Events, event};
use super::field::{given, list};
use super::mind::{self, End, Reply};
use bytes::Bytes;
use serde_json::{Value, json};

/// What is said of an answer besides its output.
fn frame(body: &Value, number: u64, status: &str, output: Value, usage: Value, is_cut: bool) -> Value {
    let or = |name: &str, usual: Value| given(body, name).cloned().unwrap_or(usual);
    let reasoning = |name: &str| given(&body["reasoning"], name).cloned().unwrap_or_default();
    json!({
        "id": format!("resp_{number:08}"), "object": "response", "created_at": super::CREATED, "status": status,
        "background": false, "error": null,
        "incomplete_details": if is_cut { json!({"reason": "max_output_tokens"}) } else { Value::Null },
        "instructions": body["instructions"], "max_output_tokens": body["max_output_tokens"], "model": body["model"],
        "output": output, "parallel_tool_calls": or("parallel_tool_calls", true.into()), "previous_response_id": null,
        "reasoning": {"effort": reasoning("effort"), "summary": reasoning("summary")}, "service_tier": "default",
        "store": or("store", true.into()), "temperature": or("temperature", json!(1.0)),
        "text": or("text", json!({"format": {"type": "text"}})), "tool_choice": or("tool_choice", "auto".into()),
        "tools": or("tools", json!([])), "top_p": or("top_p", json!(1.0)), "truncation": or("truncation", "disabled".into()),
        "usage": usage, "user": body["user"], "metadata": or("metadata", json!({})),
    })
}

fn usage(reply: &Reply) -> Value {
    let spent = reply.spent;
    json!({
        "input_tokens": spent.prompt, "input_tokens_details": {"cached_tokens": spent.cached, "cache_write_tokens": 0},
        "output_tokens": spent.completion, "output_tokens_details": {"reasoning_tokens": spent.reasoning},
        "total_tokens": spent.prompt + spent.completion,
    })
}

/// Is the summary of thoughts asked for?
fn tells_thoughts(body: &Value) -> bool {
    given(&body["reasoning"], "summary").is_some()
}

/// The items of the output.
fn items(body: &Value, reply: &Reply, number: u64) -> Vec<Value> {
    let mut items = vec![];
    if !reply.thoughts.is_empty() {
        let summary = if tells_thoughts(body) { json!([{"type": "summary_text", "text": reply.thoughts}]) } else { json!([]) };
        let mut item = json!({"id": format!("rs_{number:08}"), "type": "reasoning", "summary": summary});
        if list(body, "include").iter().any(|word| word == "reasoning.encrypted_content") {
            item["encrypted_content"] = format!("gAAAAtestbed{number:08}").into();
        }
        items.push(item);
    }
    if reply.calls.is_empty() {
        let part = json!({"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []});
        let status = if reply.end == End::Cut { "incomplete" } else { "completed" };
        let id = format!("msg_{number:08}");
        items.push(json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": [part]}));
    }
    for (at, call) in reply.calls.iter().enumerate() {
        items.push(json!({
            "id": format!("fc_{number:08}x{at}"), "type": "function_call", "status": "completed", "name": call.name,
            "call_id": format!("call_{number:08}x{at}"), "arguments": call.arguments,
        }));
    }
    items
}

/// An answer at once.
pub(super) fn whole(body: &Value, reply: &Reply, number: u64) -> Value {
    let is_cut = reply.end == End::Cut;
    let status = if is_cut { "incomplete" } else { "completed" };
    frame(body, number, status, items(body, reply, number).into(), usage(reply), is_cut)
}

/// Events, each with its number.
#[derive(Default)]
struct Tape {
    count: u64,
}

impl Tape {
    fn next(&mut self, kind: &str, mut fields: Value) -> Bytes {
        fields["type"] = kind.into();
        fields["sequence_number"] = self.count.into();
        self.count += 1;
        event(&fields)
    }
}

/// An answer in a stream.
pub(super) fn events(body: &Value, reply: &Reply, number: u64) -> Events {
    let (mut tape, mut events) = (Tape::default(), Events::default());
    let begun = frame(body, number, "in_progress", json!([]), Value::Null, false);
    for kind in ["response.created", "response.in_progress"] {
        events.opening.push(tape.next(kind, json!({"response": begun})));
    }
    for (at, item) in items(body, reply, number).iter().enumerate() {
        let told = match item["type"].as_str() {
            Some("reasoning") => reasoning(&mut tape, at, item),
            Some("message") => message(&mut tape, at, item),
            Some(_) | None => call(&mut tape, at, item),
        };
        events.content.extend(told);
    }
    let end = whole(body, reply, number);
    let kind = if reply.end == End::Cut { "response.incomplete" } else { "response.completed" };
    events.ending.push(tape.next(kind, json!({"response": end})));
    events
}

fn reasoning(tape: &mut Tape, at: usize, item: &Value) -> Vec<Bytes> {
    let mut begun = item.clone();
    begun["summary"] = json!([]);
    let mut told = vec![tape.next("response.output_item.added", json!({"output_index": at, "item": begun}))];
    for part in list(item, "summary") {
        let text = part["text"].as_str().unwrap_or_default();
        let of = |more: Value| {
            let mut fields = json!({"item_id": item["id"], "output_index": at, "summary_index": 0});
            for (name, value) in more.as_object().into_iter().flatten() {
                fields[name] = value.clone();
            }
            fields
        };
        let empty = json!({"type": "summary_text", "text": ""});
        told.push(tape.next("response.reasoning_summary_part.added", of(json!({"part": empty}))));
        for word in mind::words(text) {
            told.push(tape.next("response.reasoning_summary_text.delta", of(json!({"delta": word}))));
        }
        told.push(tape.next("response.reasoning_summary_text.done", of(json!({"text": text}))));
        told.push(tape.next("response.reasoning_summary_part.done", of(json!({"part": part}))));
    }
    told.push(tape.next("response.output_item.done", json!({"output_index": at, "item": item})));
    told
}

fn message(tape: &mut Tape, at: usize, item: &Value) -> Vec<Bytes> {
    let (id, part) = (&item["id"], &item["content"][0]);
    let text = part["text"].as_str().unwrap_or_default();
    let mut begun = item.clone();
    begun["content"] = json!([]);
    begun["status"] = "in_progress".into();
    let empty = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
    let mut told = vec![
        tape.next("response.output_item.added", json!({"output_index": at, "item": begun})),
        tape.next("response.content_part.added", json!({"item_id": id, "output_index": at, "content_index": 0, "part": empty})),
    ];
    for word in mind::words(text) {
        let delta =
            json!({"item_id": id, "output_index": at, "content_index": 0, "delta": word, "logprobs": [], "obfuscation": "x7"});
        told.push(tape.next("response.output_text.delta", delta));
    }
    let done = json!({"item_id": id, "output_index": at, "content_index": 0, "text": text, "logprobs": []});
    told.push(tape.next("response.output_text.done", done));
    let done = json!({"item_id": id, "output_index": at, "content_index": 0, "part": part});
    told.push(tape.next("response.content_part.done", done));
    told.push(tape.next("response.output_item.done", json!({"output_index": at, "item": item})));
    told
}

fn call(tape: &mut Tape, at: usize, item: &Value) -> Vec<Bytes> {
    let mut begun = item.clone();
    begun["arguments"] = "".into();
    begun["status"] = "in_progress".into();
    let arguments = item["arguments"].as_str().unwrap_or_default();
    let mut told = vec![tape.next("response.output_item.added", json!({"output_index": at, "item": begun}))];
    for part in mind::fragments(arguments) {
        let delta = json!({"item_id": item["id"], "output_index": at, "delta": part, "obfuscation": "x7"});
        told.push(tape.next("response.function_call_arguments.delta", delta));
    }
    let done = json!({"item_id": item["id"], "output_index": at, "name": item["name"], "arguments": arguments});
    told.push(tape.next("response.function_call_arguments.done", done));
    told.push(tape.next("response.output_item.done", json!({"output_index": at, "item": item})));
    told
}
