//! Two real engines behind the gateway: what it counts is what they count, and one of them dies under load.

use crate::real_engine::{Stage, on_stage, timed};
use crate::say;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Threads that ask, and requests of each.
const THREADS: u64 = 6;
const EACH: u64 = 20;

pub(crate) fn two_engines(keep: bool) -> Result<(), String> {
    on_stage(keep, flow)
}

/// A running engine: its process, and its port on loopback.
#[derive(Debug)]
struct Engine {
    pid: String,
    port: String,
}

fn engines() -> Vec<Engine> {
    let mut all: Vec<Engine> = vec![];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        let args: Vec<&str> = line.split('\0').collect();
        let port = args.iter().position(|a| *a == "--port").and_then(|at| args.get(at + 1));
        if let Some(port) = port.filter(|_| line.contains("tiny-llama\0--host"))
            && !all.iter().any(|e| e.port == **port)
        {
            all.push(Engine { pid: entry.file_name().to_string_lossy().into_owned(), port: (*port).to_owned() });
        }
    }
    all
}

/// What an engine has counted: requests, tokens read, tokens written.
type Counted = [u64; 3];

fn counters(engine: &Engine) -> Result<Counted, String> {
    let mut socket = TcpStream::connect(format!("127.0.0.1:{}", engine.port)).map_err(|e| e.to_string())?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").map_err(|e| e.to_string())?;
    let mut text = String::new();
    socket.read_to_string(&mut text).map_err(|e| e.to_string())?;
    let value = |name: &str| {
        let lines = text.lines().filter(|l| l.starts_with(name));
        lines.filter_map(|l| l.rsplit(' ').next()?.split('.').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    Ok(["vllm:request_success_total{", "vllm:prompt_tokens_total{", "vllm:generation_tokens_total{"].map(value))
}

fn all_counters(of: &[Engine]) -> Result<Counted, String> {
    of.iter().try_fold([0; 3], |sum, engine| counters(engine).map(|more| std::array::from_fn(|n| sum[n] + more[n])))
}

/// What the load saw.
#[derive(Default)]
struct Seen {
    whole: AtomicU64,
    /// Answered with an error before anything of the answer came.
    refused: AtomicU64,
    /// Broken off in the middle, and told so.
    broken: AtomicU64,
    /// Anything else: a wrong answer.
    wrong: Mutex<Vec<String>>,
}

fn load(gateway: &str, key: &str, seen: &Arc<Seen>) -> Vec<std::thread::JoinHandle<()>> {
    let one = |thread: u64| {
        let (gateway, key, seen) = (gateway.to_owned(), key.to_owned(), Arc::clone(seen));
        std::thread::spawn(move || (0..EACH).for_each(|n| ask(&gateway, &key, thread * EACH + n, &seen)))
    };
    (0..THREADS).map(one).collect()
}

fn ask(gateway: &str, key: &str, number: u64, seen: &Seen) {
    let stream = number.is_multiple_of(2);
    let body = format!(
        r#"{{"model":"tiny","stream":{stream},"max_tokens":{},"messages":[{{"role":"user","content":"say {number}"}}]}}"#,
        8 + number % 24
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    let read = TcpStream::connect(gateway)
        .and_then(|mut socket| socket.write_all(request.as_bytes()).and_then(|()| socket.read_to_string(&mut answer)));
    let good = answer.starts_with("HTTP/1.1 200");
    let whole = good && if stream { answer.contains("data: [DONE]") } else { answer.contains("\"usage\"") };
    let told = answer.contains("upstream_unreachable");
    let count = |counter: &AtomicU64| drop(counter.fetch_add(1, Ordering::Relaxed).to_string());
    match (read.is_ok(), whole, good, told) {
        (true, true, _, false) => count(&seen.whole),
        (true, false, false, true) => count(&seen.refused),
        (_, false, true, _) if told || !stream => count(&seen.broken),
        _ => seen.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(answer),
    }
}

fn spent(stage: &Stage) -> Result<(u64, u64, u64), String> {
    let answer: Value = serde_json::from_slice(&stage.charter(&["--json", "spend"])?.stdout).map_err(|e| e.to_string())?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let sum = |key: &str| items.iter().filter_map(|i| i[key].as_u64()).sum();
    Ok((sum("requests"), sum("prompt_tokens"), sum("completion_tokens")))
}

fn finish(threads: Vec<std::thread::JoinHandle<()>>) -> Result<(), String> {
    threads.into_iter().try_for_each(|t| t.join().map_err(|_| "a thread of the load failed".to_owned()))
}

fn flow(stage: &Stage) -> Result<(), String> {
    stage.two()?;
    let up = timed("up: two engines", || stage.charter(&["up"]))?;
    if !up.status.success() {
        return Err("`charter up` failed".into());
    }
    stage.charter(&["route", "set", "tiny", "--backends", "one=1,two=1"])?;
    let (gateway, key) = stage.gateway()?;
    let running = engines();
    if running.len() != 2 {
        return Err(format!("two engines should run: {running:?}"));
    }
    // Nobody but charter has asked them so far: each of its questions is the same, and costs the same.
    let before = all_counters(&running)?;
    let seen = Arc::new(Seen::default());
    timed("load on both", || finish(load(&gateway, &key, &seen)))?;
    let total = THREADS * EACH;
    if seen.whole.load(Ordering::Relaxed) != total {
        return Err(format!("{} of {total} answers were whole", seen.whole.load(Ordering::Relaxed)));
    }
    // The usage of the last second is on its way to the database.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let (after, ours) = (all_counters(&running)?, spent(stage)?);
    let theirs: Counted = std::array::from_fn(|n| after[n] - before[n]);
    let probes = theirs[0].saturating_sub(total);
    let probe = |n: usize| probes * before[n] / before[0].max(1);
    let asked = (theirs[0] - probes, theirs[1] - probe(1), theirs[2] - probe(2));
    say(&format!(
        "          requests, tokens read and written: engines {asked:?}, and {probes} questions of charter's own; charter {ours:?}"
    ));
    if ours != asked {
        return Err("charter and the engines count differently".into());
    }
    let seen = Arc::new(Seen::default());
    let threads = load(&gateway, &key, &seen);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let killed = Command::new("kill").args(["-9", &running[0].pid]).status();
    say(&format!("          killed one engine under load: {}", killed.is_ok_and(|s| s.success())));
    timed("load while one dies", || finish(threads))?;
    let (whole, refused, broken) =
        (seen.whole.load(Ordering::Relaxed), seen.refused.load(Ordering::Relaxed), seen.broken.load(Ordering::Relaxed));
    let wrong = seen.wrong.lock().map_or(0, |w| w.len());
    say(&format!("          {whole} whole, {refused} refused, {broken} broken off and told so, {wrong} wrong"));
    // What the dead engine was answering is lost, and nothing else: no more than were under way.
    if wrong > 0 || refused + broken > THREADS || whole + refused + broken != total {
        return Err("more was lost than what was under way at the engine that died".into());
    }
    Ok(())
}
