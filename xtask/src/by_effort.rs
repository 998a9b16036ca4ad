//! Two real engines under two names, and effort between them: each request goes to the model of its tier, one of them is killed and
//! the chain goes on, Anthropic's language is passed through to the engine itself, and the reasoning model is asked in steps by a
//! scripted model that calls tools.

use crate::real_engine::{Stage, on_stage, timed};
use crate::say;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) fn by_effort(keep: bool) -> Result<(), String> {
    on_stage(keep, flow)
}

const CHAT: &str = "/v1/chat/completions";

/// An answer: its status, its headers in one text, its body.
struct Answer {
    status: String,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines();
        lines.filter_map(|l| l.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }
}

fn ask((gateway, key): (&str, &str), path: &str, more: &str, body: &str) -> Result<Answer, String> {
    let mut socket = TcpStream::connect(gateway).map_err(|e| e.to_string())?;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{more}content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut text = String::new();
    socket.read_to_string(&mut text).map_err(|e| e.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A model that calls the gateway's tool once, and then says what it heard.
fn scripted() -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?.to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || serve(socket));
        }
    });
    Ok(address)
}

fn serve(mut socket: TcpStream) {
    let (mut bytes, mut part) = (vec![], [0; 65_536]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole = text.split_once("\r\n\r\n").filter(|(head, body)| {
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
            body.len() >= length.unwrap_or(0)
        });
        if let Some((head, body)) = whole {
            let answer = if head.starts_with("GET") {
                plain(r#"{"object":"list","data":[{"id":"caller","object":"model"}]}"#)
            } else {
                spoken(body)
            };
            if socket.write_all(answer.as_bytes()).is_err() {
                return;
            }
            bytes.clear();
            continue;
        }
        match socket.read(&mut part) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&part[..n]),
            _ => return,
        }
    }
}

fn plain(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn spoken(body: &str) -> String {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    let heard = asked["messages"].as_array().and_then(|all| all.iter().rev().find(|m| m["role"] == "tool")).cloned();
    let delta = match heard {
        Some(result) => {
            serde_json::json!({"content": format!("considered {} characters", result["content"].as_str().map_or(0, str::len))})
        }
        None => serde_json::json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
            "function": {"name": "consult_reasoner", "arguments": "{\"question\":\"what is it?\"}"}}]}),
    };
    let reason = if delta["content"].is_string() { "stop" } else { "tool_calls" };
    let chunk = |delta: &Value, reason: &Value| {
        let choice = serde_json::json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!(
            "data: {}\n\n",
            serde_json::json!({"id": "s", "object": "chat.completion.chunk", "model": "caller", "choices": [choice]})
        )
    };
    let text = chunk(&delta, &Value::Null) + &chunk(&serde_json::json!({}), &reason.into()) + "data: [DONE]\n\n";
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

fn expect(what: &str, answer: &Answer, backend: &str, plan: &str) -> Result<(), String> {
    let (told, by) = (answer.header("x-charter-plan"), answer.header("x-charter-backend"));
    say(&format!("          {what}: {} of {by}, plan `{told}` {}", answer.status, answer.header("x-charter-attempts")));
    if answer.status == "200" && told.contains(plan) && (backend.is_empty() || by == backend) {
        Ok(())
    } else {
        Err(format!("{what}: {}\n{}", answer.head, answer.body))
    }
}

/// The copy behind a deployment, which answers carry the name of.
fn copy(stage: &Stage, name: &str) -> Result<String, String> {
    let status: Value = serde_json::from_slice(&stage.charter(&["--json", "status", name])?.stdout).map_err(|e| e.to_string())?;
    let id = status.pointer("/deployments/0/replicas/0/id").and_then(Value::as_str);
    id.map(str::to_owned).ok_or_else(|| format!("`{name}` has no copy"))
}

fn flow(stage: &Stage) -> Result<(), String> {
    stage.two()?;
    let up = timed("up: two engines under two names", || stage.charter(&["up"]))?;
    if !up.status.success() {
        return Err("`charter up` failed".into());
    }
    let (gateway, _) = stage.gateway()?;
    let caller = scripted()?;
    stage.charter(&["backend", "register", "caller", &format!("http://{caller}")])?;
    let tiers = ["--tier", "reflex=tiny-1,simple=tiny-1,moderate=caller,complex=tiny-2"];
    stage.charter(&[&["route", "set", "auto"], &tiers[..], &["--fallback", "tiny-2,tiny-1"]].concat())?;
    let made = stage.charter(&["key", "create", "--agentic"])?;
    let agentic = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let plain = stage.charter(&["key", "create"])?;
    let plain = String::from_utf8_lossy(&plain.stdout).trim().to_owned();
    let as_plain = (gateway.as_str(), plain.as_str());
    let (small, large) = (copy(stage, "one")?, copy(stage, "two")?);
    let body =
        |more: &str| format!(r#"{{"model":"auto","max_tokens":8,"messages":[{{"role":"user","content":"hello"}}]{more}}}"#);
    for (what, header, more, backend, plan) in [
        ("effort 2", "x-charter-effort: 2\r\n", "", &small, "tier=reflex; model=tiny-1"),
        ("effort 8", "x-charter-effort: 8\r\n", "", &large, "tier=complex; model=tiny-2"),
        ("effort 9, as a stream", "", r#","effort":9,"stream":true"#, &large, "tier=critical; model=tiny-2"),
        ("classified", "", "", &small, "model=tiny-1"),
    ] {
        expect(what, &ask(as_plain, CHAT, header, &body(more))?, backend, plan)?;
    }
    let message = r#"{"model":"tiny-1","max_tokens":8,"messages":[{"role":"user","content":"hello"}]}"#;
    let answer = ask(as_plain, "/v1/messages", "anthropic-version: 2023-06-01\r\n", message)?;
    say(&format!(
        "          /v1/messages, passed through to the engine: {} of {}",
        answer.status,
        answer.header("x-charter-backend")
    ));
    if answer.status != "200" || !answer.body.contains("\"output_tokens\"") {
        return Err(format!("/v1/messages: {}\n{}", answer.head, answer.body));
    }
    let steps = ask((&gateway, &agentic), CHAT, "x-charter-effort: 9\r\n", &body(""))?;
    expect("in steps, asking the real engine", &steps, "", "effort=9")?;
    if !steps.body.contains("considered") {
        return Err(format!("the reasoning model was not asked: {}", steps.body));
    }
    kill(&large_pid()?)?;
    let begun = Instant::now();
    // What is told of it first may still be that it broke off; from then on the chain goes on.
    let answer = loop {
        let answer = ask(as_plain, CHAT, "x-charter-effort: 8\r\n", &body(""))?;
        if answer.status == "200" || begun.elapsed() > Duration::from_secs(20) {
            break answer;
        }
    };
    expect("effort 8 with its engine killed", &answer, &small, "tier=complex; model=tiny-2")
}

/// The engine of the second deployment.
fn large_pid() -> Result<String, String> {
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("--served-model-name\0tiny-2") {
            return Ok(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Err("the second engine does not run".to_owned())
}

fn kill(pid: &str) -> Result<(), String> {
    let killed = Command::new("kill").args(["-9", pid]).status().map_err(|e| e.to_string())?;
    say(&format!("          killed the engine of `two`: {}", killed.success()));
    Ok(())
}
