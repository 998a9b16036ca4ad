//! The stand-in as a client sees it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod refusals;

use super::*;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::json;

/// A status, and the body as far as it came. `None`: the connection ended before the head.
struct Heard {
    status: u16,
    headers: BTreeMap<String, String>,
    text: String,
    is_whole: bool,
}

impl Heard {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The data of all events.
    fn events(&self) -> Vec<Value> {
        self.text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    }
}

async fn send(hosted: &Hosted, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Option<Heard> {
    let socket = tokio::net::TcpStream::connect(hosted.shared.address).await.expect("a connection");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("HTTP");
    let task = tokio::spawn(connection);
    let mut request = Request::builder().method(if body.is_some() { "POST" } else { "GET" }).uri(path).header("host", "testbed");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).expect("a request");
    let answer = sender.send_request(request).await.ok()?;
    let (head, mut body) = answer.into_parts();
    let (mut all, mut is_whole) = (vec![], true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => all.extend(frame.into_data().unwrap_or_default()),
            Err(_) => is_whole = false,
        }
    }
    task.abort();
    let headers = head.headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_owned())).collect();
    let text = String::from_utf8_lossy(&all).into_owned();
    Some(Heard { status: head.status.as_u16(), headers, text, is_whole })
}

/// Asks as a client of that API does.
async fn ask(hosted: &Hosted, path: &str, body: &Value) -> Option<Heard> {
    let bearer = format!("Bearer {}", hosted.key());
    let headers: &[(&str, &str)] = if path == "/v1/messages" {
        &[("x-api-key", hosted.key()), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")]
    } else {
        &[("authorization", &bearer), ("content-type", "application/json")]
    };
    send(hosted, path, headers, Some(body.to_string())).await
}

/// A request with one message of a user, and with what the table changes in it.
fn body(path: &str, said: &str, more: &Value) -> Value {
    let messages = json!([{"role": "user", "content": said}]);
    let mut body = match path {
        "/v1/messages" => json!({"model": "claude-haiku-5-5", "max_tokens": 100, "messages": messages}),
        "/v1/responses" => json!({"model": "gpt-6-luna", "input": messages}),
        _ => json!({"model": "gpt-4o-mini", "messages": messages}),
    };
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
        if value == "-" {
            body.as_object_mut().expect("an object").remove(name);
        }
    }
    body
}

fn tools(path: &str, names: &[&str]) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let one = |name: &&str| match path {
        "/v1/messages" => json!({"name": name, "input_schema": schema}),
        "/v1/responses" => json!({"type": "function", "name": name, "parameters": schema, "strict": false}),
        _ => json!({"type": "function", "function": {"name": name, "parameters": schema}}),
    };
    names.iter().map(one).collect()
}

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/responses", "/v1/messages"];

/// Text, calls and thoughts of an answer at once.
fn read(path: &str, told: &Value) -> (String, Vec<(String, String)>, u64) {
    let (mut text, mut calls) = (String::new(), vec![]);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    match path {
        "/v1/messages" => {
            for block in told["content"].as_array().expect("blocks") {
                text += &word(&block["text"]);
                if block["type"] == "tool_use" {
                    calls.push((word(&block["name"]), block["input"].to_string()));
                }
            }
            (text, calls, number("/usage/output_tokens_details/thinking_tokens"))
        }
        "/v1/responses" => {
            for item in told["output"].as_array().expect("items") {
                text += &word(&item["content"][0]["text"]);
                if item["type"] == "function_call" {
                    calls.push((word(&item["name"]), word(&item["arguments"])));
                }
            }
            (text, calls, number("/usage/output_tokens_details/reasoning_tokens"))
        }
        _ => {
            let message = &told["choices"][0]["message"];
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                calls.push((word(&call["function"]["name"]), word(&call["function"]["arguments"])));
            }
            (word(&message["content"]), calls, number("/usage/completion_tokens_details/reasoning_tokens"))
        }
    }
}

/// The same of a stream.
fn read_stream(path: &str, events: &[Value]) -> (String, Vec<(String, String)>) {
    let (mut text, mut calls): (String, Vec<(String, String)>) = (String::new(), vec![]);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for event in events {
        let (said, begun, part) = match path {
            "/v1/messages" => (&event["delta"]["text"], &event["content_block"]["name"], &event["delta"]["partial_json"]),
            "/v1/responses" => {
                let is = |kind: &str| event["type"] == kind;
                let of = |yes: bool, value: &'static str| if yes { &event[value] } else { &Value::Null };
                let begun = if is("response.output_item.added") { &event["item"]["name"] } else { &Value::Null };
                (of(is("response.output_text.delta"), "delta"), begun, of(is("response.function_call_arguments.delta"), "delta"))
            }
            _ => {
                let delta = &event["choices"][0]["delta"];
                let function = &delta["tool_calls"][0]["function"];
                (&delta["content"], &function["name"], &function["arguments"])
            }
        };
        text += &word(said);
        if begun.is_string() {
            calls.push((word(begun), String::new()));
        }
        if let Some(last) = calls.last_mut() {
            last.1 += &word(part);
        }
    }
    (text, calls)
}

#[tokio::test]
async fn what_is_answered_is_decided_by_the_last_words_in_every_language() {
    let hosted = Hosted::start().await.expect("a server");
    let (bern, basel) = (r#"{"city":"Bern"}"#, r#"{"city":"Basel"}"#);
    let pair = |name: &str, given: &str| (name.to_owned(), given.to_owned());
    for path in PATHS {
        for (said, offered, text, calls) in [
            ("one two", vec![], "echo: one two", vec![]),
            ("one two", vec!["weather"], "echo: one two", vec![]),
            ("use a tool", vec![], "echo: use a tool", vec![]),
            ("use a tool", vec!["weather", "b"], "", vec![pair("weather", bern)]),
            ("use two tools", vec!["weather", "b"], "", vec![pair("weather", bern), pair("b", basel)]),
            ("hard", vec!["a", "consult_reasoner"], "", vec![pair("consult_reasoner", r#"{"question":"hard"}"#)]),
            ("hard", vec!["a"], "echo: hard", vec![]),
            ("describe the image", vec![], "there is no image", vec![]),
            ("übergröße ☃", vec![], "echo: übergröße ☃", vec![]),
        ] {
            let mut asked = body(path, said, &json!({}));
            if !offered.is_empty() {
                asked["tools"] = tools(path, &offered);
            }
            let told = ask(&hosted, path, &asked).await.expect("an answer");
            assert_eq!(told.status, 200, "{path} {said}: {}", told.text);
            let (found, made, _) = read(path, &told.json());
            assert_eq!((found.as_str(), &made), (text, &calls), "{path} {said}");
            asked["stream"] = true.into();
            let told = ask(&hosted, path, &asked).await.expect("an answer");
            assert!(told.headers["content-type"].starts_with("text/event-stream"), "{path}");
            assert_eq!(read_stream(path, &told.events()), (text.to_owned(), calls), "{path} {said}: {}", told.text);
        }
    }
}

#[tokio::test]
async fn a_result_is_answered_with_its_text_and_a_considered_one_says_so() {
    let hosted = Hosted::start().await.expect("a server");
    for path in PATHS {
        for (said, tool, text) in [
            ("use a tool", "weather", "sunny"),
            ("hard", "consult_reasoner", "considered: sunny"),
            ("consult forever", "consult_reasoner", ""),
        ] {
            let call = json!({"id": "call_1", "type": "function", "function": {"name": tool, "arguments": "{}"}});
            let history = match path {
                "/v1/messages" => json!([
                    {"role": "user", "content": said},
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": tool, "input": {}}]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}]},
                ]),
                "/v1/responses" => json!([
                    {"role": "user", "content": said},
                    {"type": "function_call", "call_id": "call_1", "name": tool, "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
                ]),
                _ => json!([
                    {"role": "user", "content": said},
                    {"role": "assistant", "content": null, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
                ]),
            };
            let field = if path == "/v1/responses" { "input" } else { "messages" };
            let mut asked = body(path, said, &json!({"tools": tools(path, &[tool])}));
            asked[field] = history;
            let told = ask(&hosted, path, &asked).await.expect("an answer");
            assert_eq!(told.status, 200, "{path} {said}: {}", told.text);
            let (found, calls, _) = read(path, &told.json());
            assert_eq!((found.as_str(), calls.len()), (text, usize::from(text.is_empty())), "{path} {said}");
        }
    }
}

#[tokio::test]
async fn thoughts_and_caches_are_counted_as_each_api_counts_them() {
    let hosted = Hosted::start().await.expect("a server");
    for path in PATHS {
        let model = if path == "/v1/chat/completions" { json!({"model": "gpt-6-luna"}) } else { json!({}) };
        let told = ask(&hosted, path, &body(path, "think of the cache", &model)).await.expect("an answer").json();
        let (text, _, thoughts) = read(path, &told);
        assert_eq!((text.as_str(), thoughts), ("echo: think of the cache", 5), "{told}");
        let usage = &told["usage"];
        let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
        match path {
            "/v1/messages" => {
                assert_eq!(told["content"][0]["type"], "thinking");
                assert_eq!(
                    (count("/input_tokens"), count("/cache_read_input_tokens"), count("/output_tokens")),
                    (Some(2), Some(2), Some(10))
                );
            }
            "/v1/responses" => {
                let cached = count("/input_tokens_details/cached_tokens");
                assert_eq!((count("/input_tokens"), cached, count("/output_tokens")), (Some(4), Some(2), Some(10)));
            }
            _ => {
                let cached = count("/prompt_tokens_details/cached_tokens");
                assert_eq!((count("/prompt_tokens"), cached, count("/completion_tokens")), (Some(4), Some(2), Some(10)));
            }
        }
    }
}

#[tokio::test]
async fn usage_comes_in_a_chunk_of_its_own_and_only_for_those_who_ask() {
    let hosted = Hosted::start().await.expect("a server");
    let path = PATHS[0];
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let with = ask(&hosted, path, &body(path, "hi", &more)).await.expect("an answer");
    let (last, before) = with.events().split_last().map(|(last, all)| (last.clone(), all.to_vec())).expect("chunks");
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(2)), "{}", with.text);
    assert!(before.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)), "{}", with.text);
    assert!(with.text.ends_with("data: [DONE]\n\n"));
    let without = ask(&hosted, path, &body(path, "hi", &json!({"stream": true}))).await.expect("an answer");
    assert!(without.events().iter().all(|chunk| chunk.get("usage").is_none()), "{}", without.text);
}

#[tokio::test]
async fn streams_tell_their_events_in_the_order_of_the_api() {
    let hosted = Hosted::start().await.expect("a server");
    let kinds =
        |heard: &Heard| heard.events().iter().map(|e| e["type"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    let told = ask(&hosted, PATHS[1], &body(PATHS[1], "hi", &json!({"stream": true}))).await.expect("an answer");
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&told), expected.map(|kind| format!("response.{kind}")));
    let numbers: Vec<u64> = told.events().iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert!(!told.text.contains("[DONE]"));
    let told = ask(&hosted, PATHS[2], &body(PATHS[2], "think", &json!({"stream": true}))).await.expect("an answer");
    let mut found = kinds(&told);
    found.dedup();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let expected = [&["message_start", "ping"][..], &block, &block, &["message_delta", "message_stop"]].concat();
    assert_eq!(found, expected, "{}", told.text);
}

#[tokio::test]
async fn what_the_real_api_refuses_is_refused_here() {
    let hosted = Hosted::start().await.expect("a server");
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
    for path in PATHS {
        for (more, status, said) in refusals::refusals(path, png) {
            let told = ask(&hosted, path, &body(path, "hi json", &more)).await.expect("an answer");
            assert_eq!(told.status, status, "{path} {more}: {}", told.text);
            assert!(told.text.contains(said), "{path} {more}: {}", told.text);
        }
    }
}

#[tokio::test]
async fn the_key_and_the_version_are_asked_for_and_every_post_is_kept() {
    let hosted = Hosted::start().await.expect("a server");
    let bearer = format!("Bearer {}", hosted.key());
    let key = hosted.key().to_owned();
    let version = ("anthropic-version", "2023-06-01");
    for (path, headers, status, said) in [
        (PATHS[0], vec![], 401, "You didn't provide an API key"),
        (PATHS[0], vec![("authorization", "Bearer no")], 401, "invalid_api_key"),
        (PATHS[0], vec![("x-api-key", key.as_str())], 401, "You didn't provide"),
        (PATHS[0], vec![("authorization", bearer.as_str())], 400, "unsupported_content_type"),
        (PATHS[2], vec![version], 401, "authentication_error"),
        (PATHS[2], vec![("x-api-key", "no"), version], 401, "authentication_error"),
        (PATHS[2], vec![("x-api-key", key.as_str())], 400, "anthropic-version"),
        (PATHS[2], vec![("authorization", bearer.as_str()), version], 200, "echo"),
        ("/v1/files", vec![("authorization", bearer.as_str())], 404, "Invalid URL"),
    ] {
        let told = send(&hosted, path, &headers, Some(body(path, "hi", &json!({})).to_string())).await.expect("an answer");
        assert_eq!((told.status, told.text.contains(said)), (status, true), "{path} {headers:?}: {}", told.text);
        let request_id = if path == PATHS[2] { "request-id" } else { "x-request-id" };
        assert!(told.headers.contains_key(request_id));
    }
    assert_eq!(hosted.posts().len(), 9);
    assert_eq!(hosted.posts()[5].headers["x-api-key"], "no");
    assert_eq!(hosted.posts()[0].body["messages"][0]["content"], "hi");
    for (headers, kind) in
        [(vec![("authorization", bearer.as_str())], "object"), (vec![("x-api-key", key.as_str()), version], "type")]
    {
        let told = send(&hosted, "/v1/models", &headers, None).await.expect("an answer").json();
        assert_eq!(told["data"][0][kind], "model", "{told}");
    }
    assert_eq!(hosted.posts().len(), 9);
}

#[tokio::test]
async fn every_row_of_the_table_fails_as_it_says_and_the_next_answer_is_good() {
    let hosted = Hosted::start().await.expect("a server");
    let rows = faults();
    assert!(rows.len() >= 45, "{}", rows.len());
    for (name, fault) in rows {
        let path = if name.starts_with("anthropic") { PATHS[2] } else { PATHS[0] };
        hosted.script(vec![Fault::Table(name)]);
        let told = ask(&hosted, path, &body(path, "one two", &json!({"stream": true}))).await.expect("an answer");
        match fault {
            Fault::Status(status, _, headers) => {
                assert!(name.contains(&format!(" {status} ")) && told.status == status, "{name}: {}", told.status);
                assert!(headers.iter().all(|(name, value)| told.headers.get(name) == Some(value)), "{name}");
                assert_eq!(path == PATHS[2], told.json()["type"] == "error", "{name}");
            }
            Fault::ErrorInFirstEvent(word) => {
                assert!(told.status == 200 && told.events()[0]["error"].to_string().contains(word), "{name}: {}", told.text);
            }
            Fault::ErrorMidStream(word) => {
                let last = told.events().last().cloned().unwrap_or_default();
                assert!(told.text.contains("echo") && last["error"].to_string().contains(word), "{name}: {}", told.text);
            }
            Fault::Table(_)
            | Fault::DropBeforeHead
            | Fault::DropAfterHead
            | Fault::StallAfterHead
            | Fault::CutMidStream
            | Fault::EmptyStream
            | Fault::Garbage
            | Fault::RoleThenError => panic!("{name} has no business in the table"),
        }
        let next = ask(&hosted, path, &body(path, "one two", &json!({}))).await.expect("an answer");
        assert_eq!(next.status, 200, "{name}: {}", next.text);
    }
}

#[tokio::test]
async fn broken_answers_break_where_they_say() {
    let hosted = Hosted::start().await.expect("a server");
    // Whether there is a head, whether the body ended as it should, and what was and was not said.
    let table = [
        (Fault::DropBeforeHead, None, "", "echo"),
        (Fault::DropAfterHead, Some(false), "", "echo"),
        (Fault::EmptyStream, Some(true), "", "echo"),
        (Fault::Garbage, Some(true), "<html>", "echo"),
        (Fault::CutMidStream, Some(true), "echo", "message_stop"),
        (Fault::CutMidStream, Some(true), "echo", "completed\""),
        (Fault::CutMidStream, Some(true), "echo", "[DONE]"),
        (Fault::RoleThenError, Some(true), "error", "echo"),
    ];
    for path in PATHS {
        for (fault, whole, said, unsaid) in table.clone() {
            hosted.script(vec![fault.clone()]);
            let told = ask(&hosted, path, &body(path, "one two", &json!({"stream": true}))).await;
            assert_eq!(told.as_ref().map(|told| told.is_whole), whole, "{path} {fault:?}");
            let text = told.map(|told| told.text).unwrap_or_default();
            assert!(text.contains(said) && !text.contains(unsaid), "{path} {fault:?}: {text}");
        }
        hosted.script(vec![Fault::CutMidStream, Fault::RoleThenError]);
        let cut = ask(&hosted, path, &body(path, "one two", &json!({}))).await.expect("a head");
        assert!(!cut.is_whole && cut.status == 200, "{path}: {}", cut.text);
        let failed = ask(&hosted, path, &body(path, "one two", &json!({}))).await.expect("an answer");
        assert_eq!(failed.status, if path == PATHS[2] { 529 } else { 500 }, "{path}");
    }
}

#[tokio::test]
async fn a_stalled_answer_has_a_head_and_ends_with_the_server() {
    let hosted = Hosted::start().await.expect("a server");
    hosted.script(vec![Fault::StallAfterHead]);
    let mut socket = tokio::net::TcpStream::connect(hosted.shared.address).await.expect("a connection");
    let asked = body(PATHS[0], "hi", &json!({"stream": true})).to_string();
    let (key, length) = (hosted.key(), asked.len());
    let head =
        format!("POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n", PATHS[0]);
    tokio::io::AsyncWriteExt::write_all(&mut socket, (head + &asked).as_bytes()).await.expect("written");
    let mut seen = vec![];
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(tokio::io::AsyncReadExt::read_u8(&mut socket).await.expect("a head"));
    }
    drop(hosted);
    let mut rest = vec![];
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut rest).await;
    assert!(seen.starts_with(b"HTTP/1.1 200") && rest.is_empty(), "{ended:?} {rest:?}");
}

#[test]
fn a_thread_of_its_own_answers_to_callers_without_a_runtime() {
    let hosted = HostedThread::start().expect("a server");
    let url = hosted.base_url();
    let address = url.strip_prefix("http://").expect("a URL");
    let mut socket = std::net::TcpStream::connect(address).expect("a connection");
    let asked = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
    let request = format!("{head}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{asked}", hosted.key(), asked.len());
    std::io::Write::write_all(&mut socket, request.as_bytes()).expect("written");
    let mut told = String::new();
    std::io::Read::read_to_string(&mut socket, &mut told).expect("read");
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("echo: hi"), "{told}");
    assert_eq!(hosted.posts().len(), 1);
    drop(hosted);
}
