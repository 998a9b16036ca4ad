//! Streams, translated: each event at the right place, whatever the backend's habits.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use charter_translate::fault::Class;
use charter_translate::{Api, Names, Stream};
use serde_json::{Value, json};
use support::{Chat, chunk, chunks, events, messages, stream, words};

fn to_chat(from: Api, text: &str) -> (Chat, Stream) {
    let mut stream = Stream::to_chat(from, Names::default(), false, true);
    let mut out = stream.take(text.as_bytes());
    out.extend(stream.end());
    (Chat::of(&out), stream)
}

#[test]
fn a_stream_of_messages_becomes_one_of_chat() {
    let (chat, stream) = to_chat(Api::Messages, &messages());
    assert_eq!((chat.content.as_str(), chat.reasoning.as_str()), ("Hello there", "hm"));
    // Numbers count calls alone; a call without arguments has an empty object, and nothing stands before the others.
    assert_eq!(chat.calls, [("t1".into(), "f".into(), "{\"x\":1}".into()), ("t2".into(), "g".into(), "{}".into())]);
    assert_eq!((chat.id.as_str(), chat.finish.as_deref()), ("chatcmpl-1", Some("tool_calls")));
    assert_eq!((&chat.usage["prompt_tokens"], &chat.usage["completion_tokens"]), (&json!(18), &json!(20)));
    assert!(chat.is_done && chat.comments == 1 && stream.is_finished() && stream.failure().is_none());
}

#[test]
fn what_a_later_event_leaves_out_of_the_usage_stays() {
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 9, "cache_read_input_tokens": 3,
            "output_tokens": 1}}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 6, "input_tokens": null}}),
        json!({"type": "message_stop"}),
    ];
    let (chat, _) = to_chat(Api::Messages, &stream(&events));
    assert_eq!((&chat.usage["prompt_tokens"], &chat.usage["completion_tokens"]), (&json!(12), &json!(6)));
}

#[test]
fn a_second_beginning_starts_over() {
    let start = |id: &str| json!({"type": "message_start", "message": {"id": id, "model": "c", "usage": {"input_tokens": 5}}});
    let twice = [start("msg_1"), start("msg_1")].into_iter().chain(words("Hi"));
    let (chat, _) = to_chat(Api::Messages, &stream(&twice.collect::<Vec<_>>()));
    assert_eq!((chat.roles, chat.content.as_str(), chat.is_done), (1, "Hi", true));
    let tool = |at: u64, id: &str| {
        json!({"type": "content_block_start", "index": at, "content_block": {"type": "tool_use",
        "id": id, "name": "f", "input": {}}})
    };
    let part =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":2}"}});
    let spliced =
        [start("msg_1"), tool(0, "t1"), part.clone(), start("msg_2"), tool(0, "t2"), part, json!({"type": "message_stop"})];
    let (chat, _) = to_chat(Api::Messages, &stream(&spliced));
    assert_eq!(chat.id, "chatcmpl-1", "the client has seen it already");
    assert_eq!(chat.calls[1], ("t2".into(), "f".into(), "{\"a\":2}".into()), "no number is used twice");
}

#[test]
fn a_call_that_comes_whole_with_its_beginning_keeps_its_arguments() {
    let whole = json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "t", "name": "f",
        "input": {"a": 1}}});
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}});
    let (chat, stream) = to_chat(Api::Messages, &stream(&[whole, end]));
    assert_eq!(chat.calls, [("t".into(), "f".into(), "{\"a\":1}".into())]);
    assert!(chat.is_done && stream.is_finished(), "only the last event was missing");
}

#[test]
fn the_shaping_tool_becomes_text_and_a_refusal_has_words() {
    let mut shaped = Stream::to_chat(Api::Messages, Names::default(), true, false);
    let out = shaped.take(messages().replace("\"g\"", "\"json_tool_call\"").replace("\"f\"", "\"json_tool_call\"").as_bytes());
    let chat = Chat::of(&out);
    assert_eq!((chat.content.as_str(), chat.finish.as_deref()), ("Hello there{\"x\":1}{}", Some("stop")));
    assert!(chat.calls.is_empty() && chat.usage.is_null());
    let refused = [
        json!({"type": "message_start", "message": {"id": "msg_1"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": {"explanation": "no"}}}),
        json!({"type": "message_stop"}),
    ];
    let (chat, _) = to_chat(Api::Messages, &stream(&refused));
    assert_eq!((chat.refusal.as_str(), chat.finish.as_deref()), ("no", Some("content_filter")));
}

#[test]
fn a_stream_of_responses_becomes_one_of_chat() {
    let (chat, stream) = to_chat(Api::Responses, &support::responses());
    assert_eq!((chat.content.as_str(), chat.reasoning.as_str()), ("Hello there", "hm"));
    assert_eq!(chat.calls, [("c1".into(), "f".into(), "{\"x\":1}".into()), ("c2".into(), "g".into(), "{}".into())]);
    assert_eq!((chat.finish.as_deref(), &chat.usage["total_tokens"]), (Some("tool_calls"), &json!(38)));
    assert!(chat.is_done && stream.is_finished() && chat.roles == 1);
}

#[test]
fn a_stream_of_chat_becomes_one_of_messages() {
    let mut stream = Stream::to_messages(Names::default());
    let out = stream.take(chunks().as_bytes());
    let events = events(&out);
    let kinds: Vec<&str> = events.iter().filter_map(|e| e["type"].as_str()).filter(|k| *k != "ping").collect();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let text = ["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"];
    let last = ["content_block_start", "content_block_stop", "message_delta", "message_stop"];
    assert_eq!(kinds, [&["message_start"][..], &text, &block, &last].concat());
    let blocks: Vec<&Value> = events.iter().filter(|e| e["type"] == "content_block_start").collect();
    assert_eq!(blocks[1]["content_block"], json!({"type": "tool_use", "id": "t1", "name": "f", "input": {}}));
    assert_eq!((&blocks[1]["index"], &blocks[2]["index"]), (&json!(1), &json!(2)));
    let end = &events[events.len() - 2];
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]["input_tokens"]), (&json!("tool_use"), &json!(15)));
    assert!(stream.is_finished() && stream.end().is_empty());
}

#[test]
fn the_habits_of_backends_do_not_change_what_a_client_of_messages_gets() {
    let call = |index: Value, id: &str, name: &str, arguments: Value| {
        json!({"tool_calls": [{"index": index, "id": id,
        "type": "function", "function": {"name": name, "arguments": arguments}}]})
    };
    let whole = call(json!(null), "a", "f", json!("{\"x\":1}"));
    let mistral = vec![json!({"id": "m", "choices": [{"index": 0, "delta": whole, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 1}})];
    let glm = vec![
        chunk(&call(json!(0), "a", "f", json!(""))),
        chunk(&call(json!(0), "", "", json!("{\"x\":"))),
        chunk(&call(json!(0), "", "", json!("1}"))),
    ];
    let from_one = vec![chunk(&call(json!(1), "a", "f", json!("{\"x\":1}")))];
    let object = vec![chunk(&call(json!(0), "a", "f", json!({"x": 1})))];
    let late_name = vec![chunk(&call(json!(0), "a", "", json!("{\"x\""))), chunk(&call(json!(0), "", "f", json!(":1}")))];
    for (habit, mut all) in
        [("mistral", mistral), ("glm", glm), ("from one", from_one), ("object", object), ("late name", late_name)]
    {
        all.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
        let mut stream = Stream::to_messages(Names::default());
        let mut out = stream.take(support::stream(&all).as_bytes());
        assert!(stream.is_finished(), "{habit}");
        out.extend(stream.end());
        let told = support::told(&out);
        assert_eq!(told.calls, [("a".into(), "f".into(), "{\"x\":1}".into())], "{habit}");
        assert_eq!(told.finish.as_deref(), Some("tool_use"), "{habit}");
    }
}

#[test]
fn calls_that_come_at_the_same_time_are_told_one_after_the_other() {
    let part = |index: u64, id: &str, name: &str, arguments: &str| {
        json!({"index": index, "id": id, "function": {"name": name,
        "arguments": arguments}})
    };
    let all = [
        chunk(&json!({"content": "t", "tool_calls": [part(0, "a", "f", "{"), part(1, "b", "g", "[")]})),
        chunk(&json!({"tool_calls": [part(1, "", "", "1")]})),
        chunk(&json!({"tool_calls": [part(0, "", "", "}"), part(1, "", "", "]")]})),
        chunk(&json!({"tool_calls": [part(0, "c", "h", "")]})),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
    ];
    let mut stream = Stream::to_messages(Names::default());
    let mut out = stream.take(support::stream(&all).as_bytes());
    out.extend(stream.end());
    let told = support::told(&out);
    assert_eq!(told.content, "t", "a text beside calls is not lost");
    let expected = [("a", "f", "{}"), ("b", "g", "[1]"), ("c", "h", "")].map(|(i, n, a)| (i.into(), n.into(), a.into()));
    assert_eq!(told.calls, expected);
}

#[test]
fn nothing_has_begun_before_the_first_content() {
    let start = json!({"type": "message_start", "message": {"id": "msg_1"}});
    let text = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let role = chunk(&json!({"role": "assistant", "content": ""}));
    let open = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    for (from, quiet, loud) in [
        (Api::Messages, vec![start, json!({"type": "ping"}), open, text("")], text("x")),
        (Api::Chat, vec![role.clone(), json!({"choices": [], "usage": {}})], chunk(&json!({"reasoning": "x"}))),
        (Api::Chat, vec![role, json!({"type": "response.created", "response": {}})], json!({"choices": [{"text": "x"}]})),
        (
            Api::Responses,
            vec![
                json!({"type": "response.created", "response": {"id": "resp_1"}}),
                json!({"type": "response.output_item.added",
            "item": {"type": "message"}}),
            ],
            json!({"type": "response.output_text.delta", "delta": "x"}),
        ),
    ] {
        let mut follows = Stream::to_chat(from, Names::default(), false, false);
        follows.take(b": hello\n\n");
        follows.take(stream(&quiet).as_bytes());
        assert!(!follows.has_begun() && !follows.is_finished(), "{from:?}");
        follows.take(stream(&[loud]).as_bytes());
        assert!(follows.has_begun() && !follows.is_finished(), "{from:?}");
        assert_eq!(follows.end(), b"", "it broke off: whoever reads it tells that");
    }
}

#[test]
fn an_error_in_a_stream_is_a_failure_and_ends_it() {
    for (from, error, class) in [
        (Api::Messages, json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), Class::Next),
        (Api::Chat, json!({"error": {"message": "x", "code": "insufficient_quota"}}), Class::Off),
        (
            Api::Responses,
            json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}}),
            Class::Retry,
        ),
        (Api::Responses, json!({"type": "error", "code": "rate_limit_exceeded", "message": "x"}), Class::Cool(10)),
    ] {
        let mut failing = Stream::to_chat(from, Names::default(), false, true);
        failing.take(stream(&[error]).as_bytes());
        assert_eq!(failing.failure().map(|f| f.class.clone()), Some(class));
        if from != Api::Chat {
            assert_eq!(failing.take(messages().as_bytes()), b"");
        }
        assert_eq!(failing.end(), b"");
    }
    let mut stream = Stream::to_messages(Names::default());
    let error = json!({"error": {"message": "m", "type": "server_error", "code": "overloaded"}});
    let expected = json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}});
    assert_eq!(stream.error_event(&error), format!("event: error\ndata: {expected}\n\n").into_bytes());
    assert_eq!(stream.take(support::stream(std::slice::from_ref(&error)).as_bytes()), stream.error_event(&error));
    let chat = Stream::to_chat(Api::Responses, Names::default(), false, false);
    assert_eq!(chat.error_event(&error), format!("data: {error}\n\n").into_bytes());
}

#[test]
fn a_stream_of_chat_passes_unchanged_and_gets_the_end_it_lacks() {
    let mut same = Stream::to_chat(Api::Chat, Names::default(), false, true);
    assert_eq!(same.take(chunks().as_bytes()), chunks().into_bytes());
    assert!(same.is_finished() && same.end().is_empty());
    let finish = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    for (text, missing) in
        [(format!("data: {finish}\n\n"), "data: [DONE]\n\n"), (format!("data: {finish}"), "\n\ndata: [DONE]\n\n")]
    {
        let mut same = Stream::to_chat(Api::Chat, Names::default(), false, true);
        same.take(text.as_bytes());
        assert_eq!(same.end(), missing.as_bytes());
    }
}
