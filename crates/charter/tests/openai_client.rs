//! OpenAI's own Python client, unmodified, against the gateway: answers, streams, tools, errors, timeouts and retries; and what
//! of each call arrived upstream.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::Place;

const MODELS: &str = r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#;
const TOOLS: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Bern\"}"}}]}}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}"#;
const PLAIN: &str = r#"{"id":"c2","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hello"}}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;
const CHUNK: &str = r#"{"id":"c3","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}"#;
const USAGE: &str = r#"{"id":"c3","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}"#;

/// An engine that answers by what the prompt says.
struct Engine {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<String>>>,
}

fn engine() -> Engine {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let posts: Arc<Mutex<Vec<String>>> = Arc::default();
    let (kept, busy) = (Arc::clone(&posts), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (kept, busy) = (Arc::clone(&kept), Arc::clone(&busy));
            std::thread::spawn(move || serve(socket, &kept, &busy));
        }
    });
    Engine { address, posts }
}

fn serve(mut socket: TcpStream, kept: &Mutex<Vec<String>>, busy: &AtomicUsize) {
    while let Some((head, body)) = read(&mut socket) {
        if head.starts_with("GET") {
            json(&mut socket, 200, MODELS);
            continue;
        }
        kept.lock().expect("a lock").push(body.clone());
        if body.contains("use a tool") {
            json(&mut socket, 200, TOOLS);
        } else if body.contains("be overloaded once") && busy.fetch_add(1, Ordering::SeqCst) == 0 {
            json(&mut socket, 503, r#"{"error":{"message":"later","type":"api_error","code":"overloaded"}}"#);
        } else if body.contains("refuse") {
            json(&mut socket, 400, r#"{"error":{"message":"no","type":"invalid_request_error","param":"x","code":"bad"}}"#);
        } else if body.contains("be slow") {
            std::thread::sleep(Duration::from_secs(5));
            json(&mut socket, 200, PLAIN);
        } else if body.contains("\"stream\":true") {
            let mut text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            for data in [CHUNK, CHUNK, CHUNK, USAGE, "[DONE]"] {
                let event = format!("data: {data}\n\n");
                text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
            }
            socket.write_all((text + "0\r\n\r\n").as_bytes()).ok();
        } else {
            json(&mut socket, 200, PLAIN);
        }
    }
}

fn read(socket: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut part) = (vec![], [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
            if body.len() >= length {
                return Some((text.split("\r\n").next()?.to_owned(), body.to_owned()));
            }
        }
        let n = socket.read(&mut part).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&part[..n]);
    }
}

fn json(socket: &mut TcpStream, status: u16, body: &str) {
    let text = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(text.as_bytes()).ok();
}

const SCRIPT: &str = r#"
import os, openai
c = openai.OpenAI(base_url=os.environ["URL"], api_key=os.environ["KEY"], max_retries=2)
ask = lambda text, **more: c.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **more)
r = ask("hi")
assert r.choices[0].message.content == "hello" and r.usage.total_tokens == 7, r
tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
r = ask("use a tool", tools=tools)
assert r.choices[0].message.tool_calls[0].function.arguments == '{"city":"Bern"}', r
chunks = list(ask("hi", stream=True))
assert "".join(x.choices[0].delta.content for x in chunks) == "word word word " and all(x.usage is None for x in chunks), chunks
chunks = list(ask("hi", stream=True, stream_options={"include_usage": True}))
assert chunks[-1].usage.total_tokens == 8 and chunks[-1].choices == [], chunks
r = ask("hi", extra_body={"top_k": 5, "chat_template_kwargs": {"x": [1, 2.5]}, "unknown": None})
try: ask("refuse"); assert False
except openai.BadRequestError as e: assert e.code == "bad" and e.param == "x", e
r = ask("be overloaded once")
assert r.choices[0].message.content == "hello"
try: c.with_options(timeout=1, max_retries=0).chat.completions.create(model="m", messages=[{"role": "user", "content": "be slow"}]); assert False
except openai.APITimeoutError: pass
try: c.chat.completions.create(model="nobody", messages=[]); assert False
except openai.NotFoundError as e: assert e.code == "model_not_found" and e.param == "model", e
try: openai.OpenAI(base_url=os.environ["URL"], api_key="chk_wrong").models.list(); assert False
except openai.AuthenticationError as e: assert e.code == "invalid_api_key", e
poor = openai.OpenAI(base_url=os.environ["URL"], api_key=os.environ["POOR"], max_retries=5)
poor.chat.completions.create(model="m", messages=[], max_tokens=4)
try: poor.chat.completions.create(model="m", messages=[], max_tokens=4); assert False
except openai.RateLimitError as e: assert e.code == "insufficient_quota", e
assert [m.id for m in c.models.list().data] == ["m"]
print("all is well")
"#;

#[test]
fn the_official_client_gets_what_it_knows_and_each_call_arrives_as_often_as_it_should() {
    let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/clients/openai-3.54.0/bin/python"));
    assert!(program.exists(), "the official client is missing: `cargo xtask test` installs it (PyPI package openai 3.54.0)");
    let mut place = Place::new("openai");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    let engine = engine();
    place.ok(&["backend", "register", "own", &format!("http://{}", engine.address)]);
    // A dollar for each written token: an answer writes two of the four that it may.
    place.ok(&["route", "set", "m", "--price", "0,1000000"]);
    let poor = place.ok(&["key", "create", "--usd-per-day", "5"]).trim().to_owned();
    let output = Command::new(program)
        .args(["-c", SCRIPT])
        .env("URL", format!("http://{}/v1", place.gateway()))
        .env("KEY", place.key())
        .env("POOR", poor)
        .output()
        .expect("python");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all is well"), "{said}");
    let posts = engine.posts.lock().expect("a lock");
    let count = |part: &str| posts.iter().filter(|p| p.contains(part)).count();
    let counts = ["use a tool", "refuse", "be overloaded once", "be slow"].map(count);
    assert_eq!(counts, [1, 1, 2, 1], "sent again by the client alone, and only what it was told to");
    assert!(posts.iter().any(|p| p.contains(r#""top_k":5"#) && p.contains(r#""chat_template_kwargs":{"x":[1,2.5]}"#)));
    assert_eq!(count("nobody"), 0);
    drop(posts);
    support::wait_until("the usage is written", || place.ok(&["--json", "spend"]).contains("\"requests\""));
    let spent: serde_json::Value =
        serde_json::from_str(&place.ok(&["--json", "spend", "--requests", "--limit", "50"])).expect("JSON");
    let ends: Vec<&str> = spent["items"].as_array().expect("items").iter().filter_map(|r| r["end"].as_str()).collect();
    assert!(ends.contains(&"done") && ends.contains(&"failed"), "{ends:?}");
}
