//! Clients of a gateway while something happens behind it: so many requests a second, half of them streams of 5 to 20 seconds at four
//! chunks a second. Every answer is looked at to its end.
//!
//!   crowd --address 127.0.0.1:8471 --model m --rate 200      (the key in CROWD_KEY)
//!
//! It asks until its standard input ends, waits for what is under way, and prints one document.

#![allow(
    clippy::exit,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    reason = "a rig, and no part of the product: what goes wrong ends it"
)]

use charter_bench::Args;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How an answer ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Whole,
    /// A stream that told in an event why it ended.
    Told,
    /// A stream that just ended.
    Cut,
    /// Any other answer than a good one.
    Failed,
}

struct Seen {
    stream: bool,
    end: End,
    first: Option<Duration>,
    said: String,
}

fn main() {
    let args = Args::from_env();
    let address: Arc<str> = args.get("address").expect("--address").into();
    let model: Arc<str> = args.get("model").unwrap_or("m").into();
    let key: Arc<str> = std::env::var("CROWD_KEY").expect("CROWD_KEY").into();
    let rate: u64 = args.num("rate", 200);
    assert!(address.starts_with("127."), "loopback only");
    let over = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&over);
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        heard.store(true, Ordering::SeqCst);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seen = runtime.block_on(async move {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let mut tasks = tokio::task::JoinSet::new();
        let (begun, mut number) = (Instant::now(), 0_u64);
        while !over.load(Ordering::SeqCst) {
            let due = begun + Duration::from_micros(number * 1_000_000 / rate);
            tokio::time::sleep_until(due.into()).await;
            let stream = number % 2 == 0;
            // Five to twenty seconds, evenly.
            let tokens = if stream { 20 + number * 7919 % 61 } else { 1 };
            let (address, model, key, seen) = (Arc::clone(&address), Arc::clone(&model), Arc::clone(&key), Arc::clone(&seen));
            tasks.spawn(async move {
                let one = ask(&address, &model, &key, stream, tokens).await;
                seen.lock().unwrap().push(one);
            });
            while tasks.try_join_next().is_some() {}
            number += 1;
        }
        while tasks.join_next().await.is_some() {}
        Arc::into_inner(seen).unwrap().into_inner().unwrap()
    });
    println!("{}", report(&seen));
}

async fn ask(address: &str, model: &str, key: &str, stream: bool, tokens: u64) -> Seen {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"max_tokens":{tokens},"messages":[{{"role":"user","content":"one two "}}]}}"#
    );
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let begun = Instant::now();
    let mut seen = Seen { stream, end: End::Failed, first: None, said: String::new() };
    let Ok(mut socket) = TcpStream::connect(address).await else {
        seen.said = "no connection".into();
        return seen;
    };
    if socket.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
        seen.said = "not sent".into();
        return seen;
    }
    let mut bytes = Vec::with_capacity(4096);
    loop {
        let before = bytes.len();
        match tokio::time::timeout(Duration::from_secs(120), socket.read_buf(&mut bytes)).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
        let marks: [&[u8]; 2] = [b"\"content\":\"", b"\"usage\""];
        if seen.first.is_none() && marks.iter().any(|m| memchr::memmem::find(&bytes[before.saturating_sub(16)..], m).is_some()) {
            seen.first = Some(begun.elapsed());
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let good = text.starts_with("HTTP/1.1 200");
    seen.end = match (good, stream) {
        (true, true) if text.contains("data: [DONE]") => End::Whole,
        (true, false) if text.contains("completion_tokens") => End::Whole,
        (true, true) if text.contains("data: {\"error\"") => End::Told,
        (true, _) => End::Cut,
        (false, _) => End::Failed,
    };
    if seen.end != End::Whole {
        let short: String = text.lines().next().unwrap_or("no answer").chars().chain(" ... ".chars()).collect();
        let tail: String = text.chars().rev().take(160).collect::<Vec<_>>().into_iter().rev().collect();
        seen.said = format!("{short}{tail}").replace(['\r', '\n'], " ");
    }
    seen
}

fn report(all: &[Seen]) -> String {
    let count =
        |end: End, stream: Option<bool>| all.iter().filter(|s| s.end == end && stream.is_none_or(|w| s.stream == w)).count();
    let mut first: Vec<Duration> = all.iter().filter(|s| s.stream).filter_map(|s| s.first).collect();
    first.sort();
    let at = |permille: usize| {
        first.get((first.len() * permille / 1000).min(first.len().saturating_sub(1))).map_or(0, |d| d.as_micros() as u64)
    };
    let held = all.iter().filter_map(|s| s.first).max().map_or(0, |d| d.as_micros() as u64);
    let examples: Vec<&str> = all.iter().filter(|s| s.end != End::Whole).map(|s| s.said.as_str()).take(3).collect();
    serde_json::json!({
        "requests": all.len(), "streams": all.iter().filter(|s| s.stream).count(), "whole": count(End::Whole, None),
        "failed": count(End::Failed, None), "cut": count(End::Cut, None), "ended_with_an_error": count(End::Told, None),
        "first_p50_us": at(500), "first_p99_us": at(990), "longest_us": held, "examples": examples,
    })
    .to_string()
}
