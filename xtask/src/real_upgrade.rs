//! The real engine upgraded under a small load: side by side on one machine with two ports, in place, and a bad version that undoes
//! itself.

use crate::real_engine::{Stage, timed};
use crate::say;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Requests a second, each an answer of eight tokens.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Asked {
    over: AtomicBool,
    requests: AtomicU32,
    failed: AtomicU32,
    longest_ms: AtomicU32,
    first: std::sync::Mutex<Option<String>>,
}

fn ask(gateway: &str, key: &str, stream: bool) -> Result<(), String> {
    let body = format!(r#"{{"model":"tiny","stream":{stream},"max_tokens":8,"messages":[{{"role":"user","content":"hello"}}]}}"#);
    let mut socket = TcpStream::connect(gateway).map_err(|e| e.to_string())?;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {gateway}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut text = String::new();
    socket.read_to_string(&mut text).map_err(|e| e.to_string())?;
    let end = if stream { "data: [DONE]" } else { "\"completion_tokens\"" };
    let whole = text.starts_with("HTTP/1.1 200") && text.contains(end);
    if whole { Ok(()) } else { Err(text) }
}

fn begin(stage: &Stage) -> Result<(Arc<Asked>, std::thread::JoinHandle<()>), String> {
    let (gateway, key) = stage.gateway()?;
    let asked = Arc::<Asked>::default();
    let seen = Arc::clone(&asked);
    let clients = std::thread::spawn(move || {
        let mut under_way = vec![];
        while !seen.over.load(Ordering::SeqCst) {
            let (gateway, key, seen) = (gateway.clone(), key.clone(), Arc::clone(&seen));
            under_way.push(std::thread::spawn(move || {
                let number = seen.requests.fetch_add(1, Ordering::SeqCst);
                let begun = Instant::now();
                if let Err(why) = ask(&gateway, &key, number.is_multiple_of(2)) {
                    seen.failed.fetch_add(1, Ordering::SeqCst);
                    if let Ok(mut first) = seen.first.lock() {
                        first.get_or_insert(why);
                    }
                }
                let took = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
                seen.longest_ms.fetch_max(took, Ordering::SeqCst);
            }));
            std::thread::sleep(PAUSE);
        }
        // A client that ended with a panic has counted nothing, and is missed in the numbers.
        under_way.into_iter().for_each(|client| drop(client.join()));
    });
    Ok((asked, clients))
}

/// Upgrades what runs; `stage` has its first configuration, and its deployment answers.
pub(crate) fn upgrades(stage: &Stage) -> Result<(), String> {
    for (how, length, extra, good) in [
        ("side-by-side", 768, "", true),
        ("in-place", 512, "", true),
        ("side-by-side", 512, "\"--no-such-flag\"", false),
        ("in-place", 512, "\"--no-such-flag\"", false),
    ] {
        stage.config("tiny", &format!("max-model-len: {length}, enforce-eager: true"), extra)?;
        let (asked, clients) = begin(stage)?;
        let what =
            if good { format!("upgrade to {length} tokens, {how}") } else { format!("a bad version, {how}, that undoes itself") };
        let done = timed(&what, || stage.charter(&["--json", "upgrade", "tiny", "--strategy", how]));
        asked.over.store(true, Ordering::SeqCst);
        clients.join().map_err(|_| "the clients ended with a panic")?;
        let said = String::from_utf8_lossy(&done?.stdout).into_owned();
        let answer: serde_json::Value = serde_json::from_str(&said).map_err(|e| format!("{e}: {said}"))?;
        let (requests, failed) = (asked.requests.load(Ordering::SeqCst), asked.failed.load(Ordering::SeqCst));
        let longest = f64::from(asked.longest_ms.load(Ordering::SeqCst)) / 1000.0;
        say(&format!("          {requests} requests, {failed} failed, the longest took {longest:.1} s"));
        if let Some(why) = asked.first.lock().ok().and_then(|mut first| first.take()) {
            return Err(format!("a request failed: {why}"));
        }
        let right = if good {
            answer["upgraded"].as_array().is_some_and(|u| u.len() == 1)
        } else {
            answer["failed"][0]["rolled_back"] == true
        };
        if !right {
            return Err(format!("it came out otherwise: {answer}"));
        }
    }
    let listed = stage.charter(&["generations", "tiny"])?;
    say(&String::from_utf8_lossy(&listed.stdout));
    Ok(())
}
