//! Answers and errors, translated back.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use charter_translate::fault::{self, Class};
use charter_translate::{Api, Names, from_messages, messages, responses};
use serde_json::{Value, json};

#[test]
fn an_answer_of_messages_becomes_one_of_chat() {
    let said = json!({"id": "msg_7", "model": "c", "stop_reason": "tool_use", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"}, {"type": "server_tool_use",
            "id": "s"},
        {"type": "text", "text": "b"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}],
        "usage": {"input_tokens": 1, "cache_read_input_tokens": 10, "output_tokens": 3,
            "output_tokens_details": {"thinking_tokens": 2}}});
    let chat = messages::answer(&said, &Names::default(), false);
    let choice = &chat["choices"][0];
    assert_eq!((chat["id"].as_str(), choice["finish_reason"].as_str()), (Some("chatcmpl-7"), Some("tool_calls")));
    assert_eq!(choice["message"]["content"], "ab");
    assert_eq!(choice["message"]["reasoning_content"], "hm");
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}])
    );
    assert_eq!(chat["usage"]["prompt_tokens"], 11);
    assert_eq!(chat["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
    for (reason, expected) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("pause_turn", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "stop"),
        ("new", "stop"),
    ] {
        let chat = messages::answer(&json!({"stop_reason": reason}), &Names::default(), false);
        assert_eq!(chat["choices"][0]["finish_reason"], expected, "{reason}");
        assert_eq!(chat["usage"]["total_tokens"], 0);
        assert_eq!(chat["choices"][0]["message"]["refusal"].is_string(), reason == "refusal");
    }
}

#[test]
fn the_input_of_the_shaping_tool_is_the_answer() {
    let said = json!({"stop_reason": "tool_use", "content": [{"type": "tool_use", "name": "json_tool_call", "input": {"a": 1}}]});
    let choice = &messages::answer(&said, &Names::default(), true)["choices"][0];
    assert_eq!((choice["message"]["content"].as_str(), choice["finish_reason"].as_str()), (Some("{\"a\":1}"), Some("stop")));
    assert_eq!(messages::answer(&said, &Names::default(), false)["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn an_answer_of_responses_becomes_one_of_chat() {
    let said = json!({"id": "resp_1", "status": "completed", "model": "g", "created_at": 5.0, "output": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "r"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "function_call", "call_id": "c", "id": "fc", "name": "f", "arguments": ""}],
        "usage": {"input_tokens": 4, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 1}}});
    let chat = responses::answer(&said, &Names::default());
    let message = &chat["choices"][0]["message"];
    assert_eq!((message["content"].as_str(), message["reasoning_content"].as_str()), (Some("a"), Some("r")));
    assert_eq!(message["tool_calls"][0], json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}));
    assert_eq!(
        (&chat["created"], &chat["usage"]["total_tokens"], &chat["choices"][0]["finish_reason"]),
        (&json!(5), &json!(6), &json!("tool_calls"))
    );
    for (reason, expected) in [("max_output_tokens", "length"), ("content_filter", "content_filter")] {
        let cut = json!({"status": "incomplete", "incomplete_details": {"reason": reason}});
        assert_eq!(responses::answer(&cut, &Names::default())["choices"][0]["finish_reason"], expected);
    }
    let failed = json!({"status": "failed", "error": {"code": "server_error", "message": "m"}});
    assert_eq!(responses::answer(&failed, &Names::default())["error"]["message"], "m");
}

#[test]
fn an_answer_of_chat_becomes_one_of_messages() {
    let call =
        |id: &str, arguments: Value| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let chat = json!({"id": "chatcmpl-9", "model": "m", "choices": [{"finish_reason": "stop", "message": {"content": "t",
        "reasoning_content": "r",
        "tool_calls": [call("a", json!("")), call("", json!({"x": 1})), call("c", json!("{bad"))]}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}});
    let said = from_messages::answer(&chat, &Names::default());
    assert_eq!((said["id"].as_str(), said["stop_reason"].as_str()), (Some("msg_9"), Some("tool_use")));
    assert_eq!(
        said["content"],
        json!([{"type": "text", "text": "t"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "tool_use", "id": "toolu_msg_9_1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"arguments": "{bad"}}])
    );
    assert_eq!(
        said["usage"],
        json!({"input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 2})
    );
    for (choice, reason, sequence) in [
        (json!({"finish_reason": "stop"}), "end_turn", json!(null)),
        (json!({"finish_reason": "stop", "stop_reason": "END"}), "stop_sequence", json!("END")),
        (json!({"finish_reason": "stop", "stop_reason": 151_645}), "end_turn", json!(null)),
        (json!({"finish_reason": "length"}), "max_tokens", json!(null)),
        (json!({"finish_reason": "content_filter"}), "refusal", json!(null)),
    ] {
        let said = from_messages::answer(&json!({"choices": [choice]}), &Names::default());
        assert_eq!((&said["stop_reason"], &said["stop_sequence"]), (&json!(reason), &sequence));
    }
    assert_eq!(from_messages::answer(&json!("x"), &Names::default())["content"], json!([]));
}

#[test]
fn errors_are_told_in_the_clients_words() {
    let of = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    for (status, kind, message, expected, code) in [
        (529, "overloaded_error", "m", 503, json!("overloaded")),
        (529, "", "m", 503, json!("overloaded")),
        (429, "rate_limit_error", "m", 429, json!("rate_limit_exceeded")),
        (400, "invalid_request_error", "prompt is too long: 9 > 8", 400, json!("context_length_exceeded")),
        (400, "invalid_request_error", "m", 400, json!(null)),
        (402, "billing_error", "m", 429, json!("insufficient_quota")),
        (500, "api_error", "m", 500, json!(null)),
        (200, "api_error", "m", 500, json!(null)),
        (504, "timeout_error", "m", 504, json!("timeout")),
        (418, "new_error", "m", 500, json!(null)),
    ] {
        let (status, body) = messages::error(status, &of(kind, message));
        assert_eq!((status, &body["error"]["code"]), (expected, &code), "{kind}");
        assert_eq!(body["error"]["message"], message);
    }
    let own = json!({"error": {"message": "m", "type": "x", "code": "y"}});
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (503, "overloaded_error"),
        (502, "api_error"),
        (504, "timeout_error"),
    ] {
        assert_eq!(from_messages::error(status, &own), (status, of(kind, "m")));
    }
    assert_eq!(responses::error(429, &own), (429, json!({"error": {"message": "m", "type": "x", "code": "y", "param": null}})));
    assert_eq!(responses::error(599, &Value::Null).0, 500);
}

#[test]
fn the_same_status_means_different_things() {
    let openai = |code: &str, kind: &str| json!({"error": {"message": "m", "type": kind, "code": code}}).to_string();
    let claude = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}}).to_string();
    for (status, after, body, class, reason) in [
        (400, None, openai("context_length_exceeded", "invalid_request_error"), Class::Context, "400 context_length_exceeded"),
        (400, None, openai("unsupported_parameter", "invalid_request_error"), Class::Refused, "400 unsupported_parameter"),
        (400, None, claude("invalid_request_error", "prompt is too long: 2 > 1"), Class::Context, "400 invalid_request_error"),
        (
            400,
            None,
            claude("invalid_request_error", "You have reached your workspace API usage limits."),
            Class::Off,
            "400 invalid_request_error",
        ),
        (400, None, claude("invalid_request_error", "Your credit balance is too low"), Class::Off, "400 invalid_request_error"),
        (
            400,
            None,
            r#"{"object":"error","message":"This model's maximum context length is 8","type":"BadRequestError","code":400}"#
                .to_owned(),
            Class::Context,
            "400 BadRequestError",
        ),
        (401, None, openai("invalid_api_key", "invalid_request_error"), Class::Off, "401 invalid_api_key"),
        (402, None, String::new(), Class::Off, "402"),
        (403, None, claude("permission_error", "no"), Class::Elsewhere, "403 permission_error"),
        (404, None, openai("model_not_found", "invalid_request_error"), Class::Elsewhere, "404 model_not_found"),
        (408, None, String::new(), Class::Retry, "408"),
        (413, None, claude("request_too_large", "32 MB"), Class::Refused, "413 request_too_large"),
        (429, Some("7"), openai("rate_limit_exceeded", "requests"), Class::Cool(7), "429 rate_limit_exceeded"),
        (429, Some("0.2"), "<html>".to_owned(), Class::Cool(1), "429"),
        (429, Some("Wed, 21 Oct 2026 07:28:00 GMT"), String::new(), Class::Cool(10), "429"),
        (429, Some("99999999999"), claude("rate_limit_error", "slow"), Class::Cool(3600), "429 rate_limit_error"),
        (429, None, openai("slow_down", "server_error"), Class::Cool(10), "429 slow_down"),
        (429, Some("1"), openai("", "insufficient_quota"), Class::Off, "429 insufficient_quota"),
        (429, None, openai("project_spend_limit_exceeded", "insufficient_quota"), Class::Off, "429 project_spend_limit_exceeded"),
        (500, None, claude("api_error", "x"), Class::Retry, "500 api_error"),
        (500, None, claude("overloaded_error", "x"), Class::Next, "500 overloaded_error"),
        (502, None, "<html>".to_owned(), Class::Next, "502"),
        (503, None, openai("overloaded", "server_error"), Class::Next, "503 overloaded"),
        (503, Some("4"), String::new(), Class::Cool(4), "503"),
        (529, None, claude("overloaded_error", "Overloaded"), Class::Next, "529 overloaded_error"),
        (302, None, String::new(), Class::Elsewhere, "302"),
    ] {
        let fault = fault::of(Api::Chat, status, after, body.as_bytes());
        assert_eq!((&fault.class, fault.reason.as_str()), (&class, reason), "{status} {body}");
    }
    for (event, class) in [
        (json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), Class::Next),
        (json!({"error": {"message": "x", "type": "server_error", "code": "insufficient_quota"}}), Class::Off),
        (
            json!({"type": "error", "sequence_number": 2, "error": {"type": "invalid_request_error", "code": "invalid_prompt"}}),
            Class::Refused,
        ),
        (json!({"type": "error", "code": "rate_limit_exceeded", "message": "m", "param": null}), Class::Cool(10)),
        (json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}}), Class::Retry),
        (json!({"error": {"code": 502, "message": "Bad gateway"}}), Class::Next),
        (json!({"error": "gone"}), Class::Next),
    ] {
        assert_eq!(fault::of_event(Api::Responses, &event).class, class, "{event}");
    }
}
