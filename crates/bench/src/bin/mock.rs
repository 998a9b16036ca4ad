//! Mock OpenAI-compatible upstream, one thread, as cheap as it can be made.
//!
//!   mock --listen 127.0.0.1:9101 --listen 127.0.0.1:9102 [--model mock]
//!
//! `GET /ctl?chunks=64&delay_us=0&json_delay_us=0` changes what all later requests get.
//! `GET /count` tells how many completions were served, streams included, and how many POSTs came in all.
//! A streamed chunk carries the monotonic clock at the moment it was written ("@" + 19 digits),
//! so a client on the same machine can read the one-way delay.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::exit,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::get_unwrap,
    clippy::let_underscore_must_use,
    clippy::uninlined_format_args,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::large_futures,
    clippy::str_to_string,
    clippy::collapsible_match,
    clippy::collapsible_if,
    reason = "a rig, and no part of the product: what goes wrong ends it"
)]

use charter_bench::{Args, Chunked, ascii_contains, header, now_ns, parse_usize};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

static CHUNKS: AtomicU64 = AtomicU64::new(64);
static DELAY_US: AtomicU64 = AtomicU64::new(0);
static JSON_DELAY_US: AtomicU64 = AtomicU64::new(0);
static SERVED: AtomicU64 = AtomicU64::new(0);
static POSTS: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicU64 = AtomicU64::new(0);

fn main() {
    let a = Args::from_env();
    let model: &'static str = Box::leak(a.get("model").unwrap_or("mock").to_string().into_boxed_str());
    let listens: Vec<String> = a.all("listen").map(String::from).collect();
    assert!(!listens.is_empty(), "--listen ADDR is needed");
    assert!(listens.iter().all(|l| l.starts_with("127.")), "loopback only");
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async move {
        for l in listens {
            let lis = TcpListener::bind(&l).await.unwrap_or_else(|e| panic!("{l}: {e}"));
            tokio::spawn(async move {
                loop {
                    if let Ok((s, _)) = lis.accept().await {
                        let _ = s.set_nodelay(true);
                        tokio::spawn(async move {
                            OPEN.fetch_add(1, Relaxed);
                            let _ = serve(s, model).await;
                            OPEN.fetch_sub(1, Relaxed);
                        });
                    }
                }
            });
        }
        let _ = tokio::signal::ctrl_c().await;
    });
}

fn json_response(status: &str, body: &str) -> Vec<u8> {
    let mut v = Vec::with_capacity(body.len() + 160);
    let _ = write!(
        v,
        "HTTP/1.1 {status}\r\nserver: mock\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    v
}

fn completion(model: &str) -> String {
    // About 1 KB in all, the size of a short chat answer.
    let text = "The quick brown fox jumps over the lazy dog while the cat looks on. ".repeat(8);
    format!(
        "{{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\",\"refusal\":null,\"tool_calls\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":{{\"prompt_tokens\":57,\"total_tokens\":185,\"completion_tokens\":128,\"prompt_tokens_details\":null}}}}"
    )
}

fn sse_chunk(out: &mut Vec<u8>, payload: &[u8]) {
    let _ = write!(out, "{:x}\r\n", payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// A request's head and body, taken off the front of what was read.
struct Asked {
    post: bool,
    path: String,
    close: bool,
    body: Vec<u8>,
}

/// The next request, or none where the peer is gone or speaks nonsense.
async fn read(s: &mut TcpStream, buf: &mut Vec<u8>) -> std::io::Result<Option<Asked>> {
    let (head_len, post, path, clen, chunked, expect, close) = loop {
        let mut hs = [httparse::EMPTY_HEADER; 96];
        let mut rq = httparse::Request::new(&mut hs);
        match rq.parse(buf) {
            Ok(httparse::Status::Complete(n)) => {
                let path = rq.path.unwrap_or("/").to_string();
                let post = rq.method == Some("POST");
                let te = header(rq.headers, "transfer-encoding").is_some_and(|v| ascii_contains(v, "chunked"));
                let cl = header(rq.headers, "content-length").and_then(parse_usize).unwrap_or(0);
                let ex = header(rq.headers, "expect").is_some();
                let close = header(rq.headers, "connection").is_some_and(|v| ascii_contains(v, "close"));
                break (n, post, path, cl, te, ex, close);
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Ok(None),
        }
        if s.read_buf(buf).await? == 0 {
            return Ok(None);
        }
    };
    if expect {
        s.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut body = Vec::new();
    let mut used = head_len;
    if chunked {
        let mut d = Chunked::default();
        loop {
            match d.feed(&buf[used..], &mut body) {
                Some(n) => used += n,
                None => return Ok(None),
            }
            if d.done() {
                break;
            }
            buf.clear();
            used = 0;
            if s.read_buf(buf).await? == 0 {
                return Ok(None);
            }
        }
    } else {
        while buf.len() - head_len < clen {
            if buf.capacity() - buf.len() < 4096 {
                buf.reserve(clen + 4096);
            }
            if s.read_buf(buf).await? == 0 {
                return Ok(None);
            }
        }
        used = head_len + clen;
        body.extend_from_slice(&buf[head_len..used]);
    }
    buf.drain(..used);
    Ok(Some(Asked { post, path, close, body }))
}

async fn serve(mut s: TcpStream, model: &str) -> std::io::Result<()> {
    let done = json_response("200 OK", &completion(model));
    let mut buf: Vec<u8> = Vec::with_capacity(16 * 1024);
    let mut out: Vec<u8> = Vec::with_capacity(1024);
    let mut payload: Vec<u8> = Vec::with_capacity(512);
    while let Some(asked) = read(&mut s, &mut buf).await? {
        if asked.post {
            POSTS.fetch_add(1, Relaxed);
        }
        if !asked.post {
            s.write_all(&json_response("200 OK", &other(&asked.path, model))).await?;
        } else if is_completion(&asked.path) {
            let stream = memchr::memmem::find(&asked.body, b"\"stream\":true").is_some()
                || memchr::memmem::find(&asked.body, b"\"stream\": true").is_some();
            if stream {
                stream_out(&mut s, model, &mut out, &mut payload).await?;
            } else {
                let d = JSON_DELAY_US.load(Relaxed);
                if d > 0 {
                    tokio::time::sleep(Duration::from_micros(d)).await;
                }
                s.write_all(&done).await?;
            }
            SERVED.fetch_add(1, Relaxed);
        } else if asked.path.ends_with("/render") {
            s.write_all(&json_response("200 OK", &rendered(&asked.body))).await?;
        } else {
            // Tokenize and the like: not offered, as by a plain OpenAI-compatible server.
            s.write_all(&json_response("404 Not Found", "{\"detail\":\"Not Found\"}")).await?;
        }
        if asked.close {
            return Ok(());
        }
    }
    Ok(())
}

/// What vLLM's render endpoint gives routers that match prefixes on token ids: about one id for each four bytes, spread by the
/// text so that prompts differ.
fn rendered(body: &[u8]) -> String {
    let mut t = String::with_capacity(body.len() * 2 + 128);
    t.push_str("{\"request_id\":\"r\",\"model\":\"mock\",\"sampling_params\":{},\"token_ids\":[");
    for (i, w) in body.chunks(4).enumerate() {
        if i > 0 {
            t.push(',');
        }
        let id = w.iter().fold(17u32, |a, c| a.wrapping_mul(31).wrapping_add(u32::from(*c))) % 100_000;
        t.push_str(&id.to_string());
    }
    t.push_str("]}");
    t
}

fn is_completion(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or("");
    ["/completions", "/messages", "/responses"].iter().any(|e| path.ends_with(e))
}

fn other(path: &str, model: &str) -> String {
    if let Some(q) = path.strip_prefix("/ctl?") {
        for kv in q.split('&') {
            if let Some((k, v)) = kv.split_once('=') {
                let v: u64 = v.parse().unwrap_or(0);
                match k {
                    "chunks" => CHUNKS.store(v, Relaxed),
                    "delay_us" => DELAY_US.store(v, Relaxed),
                    "json_delay_us" => JSON_DELAY_US.store(v, Relaxed),
                    _ => {}
                }
            }
        }
        return "{\"ok\":true}".into();
    }
    if path.starts_with("/count") {
        return format!(
            "{{\"served\":{},\"posts\":{},\"open\":{}}}",
            SERVED.load(Relaxed),
            POSTS.load(Relaxed),
            OPEN.load(Relaxed)
        );
    }
    if path.ends_with("/models") {
        return format!(
            "{{\"object\":\"list\",\"data\":[{{\"id\":\"{model}\",\"object\":\"model\",\"created\":1760000000,\"owned_by\":\"vllm\",\"root\":\"{model}\",\"parent\":null,\"max_model_len\":131072}}]}}"
        );
    }
    if path.contains("version") {
        return "{\"version\":\"0.11.0\"}".into();
    }
    format!("{{\"status\":\"ok\",\"model_path\":\"{model}\",\"served_model_name\":\"{model}\"}}")
}

async fn stream_out(s: &mut TcpStream, model: &str, out: &mut Vec<u8>, payload: &mut Vec<u8>) -> std::io::Result<()> {
    let n = CHUNKS.load(Relaxed);
    let delay = Duration::from_micros(DELAY_US.load(Relaxed));
    let id = "chatcmpl-0123456789abcdef0123456789abcdef";
    out.clear();
    out.extend_from_slice(
        b"HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    payload.clear();
    let _ = write!(
        payload,
        "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
    );
    sse_chunk(out, payload);
    s.write_all(out).await?;
    let mut next = tokio::time::Instant::now();
    for _ in 0..n {
        if delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            next += delay;
            tokio::time::sleep_until(next).await;
        }
        payload.clear();
        let _ = write!(
            payload,
            "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"@{:019}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n",
            now_ns()
        );
        out.clear();
        sse_chunk(out, payload);
        s.write_all(out).await?;
    }
    out.clear();
    payload.clear();
    let _ = write!(
        payload,
        "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"stop\"}}]}}\n\n"
    );
    sse_chunk(out, payload);
    payload.clear();
    let _ = write!(
        payload,
        "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"{model}\",\"choices\":[],\"usage\":{{\"prompt_tokens\":57,\"total_tokens\":{},\"completion_tokens\":{n}}}}}\n\n",
        57 + n
    );
    sse_chunk(out, payload);
    sse_chunk(out, b"data: [DONE]\n\n");
    out.extend_from_slice(b"0\r\n\r\n");
    s.write_all(out).await
}
