//! What stands before a line: container runtimes, schedulers, system logs, log collectors, and the engine's own loggers.

use crate::log::clean::Level;

/// A prefix is no longer than this, in bytes.
const PREFIX_MAX: usize = 120;
/// How the engine's processes call themselves.
const PROCESSES: &[&str] = &["(APIServer", "(EngineCore", "(Worker", "(VllmWorker", "(RayWorker", "(ApiServer", "(DPCoordinator"];

/// Prefixes of container runtimes, schedulers and system logs.
pub(crate) fn strip_outer(text: &str) -> (&str, bool) {
    let mut rest = unboxed(text);
    let mut found = false;
    while let Some(next) = outer(rest).or_else(|| before_logger(rest)) {
        rest = next;
        found = true;
    }
    (rest, found)
}

/// What a terminal program has drawn a frame around.
fn unboxed(text: &str) -> &str {
    match text.trim_start().strip_prefix(['│', '┃', '║']) {
        Some(inside) => inside.strip_prefix(' ').unwrap_or(inside).trim_end_matches(|c: char| " │┃║".contains(c)),
        None => text,
    }
}

/// The engine's own loggers are known by their shape, whatever stands before them.
fn before_logger(text: &str) -> Option<&str> {
    let window = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= PREFIX_MAX);
    let begins = |rest: &str| {
        let process = PROCESSES.iter().any(|name| rest.starts_with(name)) && strip_process(rest).1;
        process || is_stamped(rest)
    };
    let spaced = |at: &usize| *at > 0 && text.get(..*at).is_some_and(|before| before.ends_with([' ', '|', ':', '\t']));
    window.filter(spaced).find_map(|at| text.get(at..).filter(|rest| begins(rest)))
}

/// `INFO 11-20 18:00:01 ...`
fn is_stamped(text: &str) -> bool {
    let Some((word, rest)) = text.split_once(' ') else { return false };
    let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
    let stamp: String = rest.chars().take(14).map(shape).collect();
    ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"].contains(&word) && stamp == "00-00 00:00:00"
}

fn outer(text: &str) -> Option<&str> {
    let trimmed = text.trim_start();
    for tag in ["[docker] ", "[agent] ", "stdout F ", "stderr F ", "stdout P ", "stderr P "] {
        if let Some(rest) = trimmed.strip_prefix(tag) {
            return Some(rest);
        }
    }
    if let Some(said) = bracketed(trimmed) {
        return Some(said);
    }
    let (first, rest) = trimmed.split_once(' ')?;
    if is_timestamp(first) {
        return Some(rest);
    }
    if let Some((second, said)) = rest.trim_start().split_once(' ') {
        let level = ["INFO", "WARNING", "ERROR", "DEFAULT", "NOTICE", "CRITICAL"].contains(&first);
        if (level && is_timestamp(second)) || (is_date(first) && is_clock(second)) {
            return Some(said);
        }
    }
    // `service-1  | text`, as compose prints it.
    if let Some((name, said)) = trimmed.split_once(" | ") {
        let name = name.trim_end();
        let plain = !name.is_empty() && name.len() <= 40 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if plain && name.contains(|c: char| c.is_ascii_alphabetic()) {
            return Some(said);
        }
    }
    syslog(trimmed)
}

/// `[pod/vllm-0/server] `, `[rank0]: `, `[2026-11-20 18:00:01] `: who said it, or when.
fn bracketed(text: &str) -> Option<&str> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let plain = !inside.is_empty()
        && inside.len() <= PREFIX_MAX
        && !inside.starts_with("Errno")
        && !inside.contains(['[', '\'', '"', '{']);
    // A progress bar's brackets end its line, and a list stands alone.
    let said = rest.strip_prefix(' ')?;
    (plain && !said.trim().is_empty()).then_some(said)
}

fn is_date(word: &str) -> bool {
    let digits = |part: &str, n: usize| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = word.split(['-', '/']).collect();
    matches!(parts.as_slice(), [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

fn is_clock(word: &str) -> bool {
    let shape: String = word.chars().take(8).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00:00:00"
}

/// The text of a log line that a runtime has wrapped into JSON.
pub(crate) fn embedded(raw: &str) -> Option<String> {
    let trimmed = raw.trim();
    if !(trimmed.starts_with('{') && trimmed.ends_with('}')) {
        return None;
    }
    let json: serde_json::Value = serde_json::from_str(trimmed).ok()?;
    // Who wraps says when; an answer of the engine's own API is no log line.
    let when = ["time", "timestamp", "@timestamp", "ts", "receiveTimestamp"].iter().any(|name| json.get(name).is_some());
    let said = ["log", "message", "msg", "textPayload", "MESSAGE"].iter().find_map(|name| json.get(name)?.as_str());
    said.filter(|_| when).map(|said| said.trim_end_matches('\n').to_owned())
}

/// `2026-11-20T18:00:01.123Z`, alone or in brackets.
fn is_timestamp(word: &str) -> bool {
    let word = word.trim_matches(|c| c == '[' || c == ']');
    let bytes = word.as_bytes();
    bytes.len() >= 19 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':'
}

/// `Nov 20 18:00:01 host program[123]: text`.
fn syslog(text: &str) -> Option<&str> {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (month, rest) = text.split_once(' ')?;
    let (day, rest) = rest.trim_start().split_once(' ')?;
    let (time, rest) = rest.split_once(' ')?;
    let looks = months.contains(&month) && day.parse::<u8>().is_ok() && time.len() == 8 && time.as_bytes()[2] == b':';
    let (_, said) = rest.split_once("]: ").or_else(|| rest.split_once(": "))?;
    looks.then_some(said)
}

/// `(EngineCore_DP0 pid=12)`, `(Worker_TP1 pid=34)`, `(VllmWorker rank=0 pid=9)`; several may stand in a row.
pub(crate) fn strip_process(text: &str) -> (&str, bool) {
    let mut rest = text;
    let mut found = false;
    while let Some(inner) = rest.trim_start().strip_prefix('(') {
        let Some((name, after)) = inner.split_once(')') else { break };
        if !name.contains("pid=") || name.len() > 80 {
            break;
        }
        rest = after.trim_start_matches(' ');
        found = true;
    }
    (rest, found)
}

/// `11-20 18:00:01 engine.py:135`, as older versions write it, without the opening bracket.
fn is_place(text: &str) -> bool {
    let Some((file, line)) = text.rsplit_once(".py:") else { return false };
    line.bytes().all(|b| b.is_ascii_digit()) && file.split(' ').count() <= 3
}

/// `ERROR 11-20 18:00:01 [core.py:396]` or uvicorn's `INFO:     `.
pub(crate) fn strip_logger(text: &str) -> (Level, &str, bool) {
    let trimmed = text.trim_start();
    let levels = [
        ("DEBUG", Level::Info),
        ("INFO", Level::Info),
        ("WARNING", Level::Warning),
        ("ERROR", Level::Error),
        ("CRITICAL", Level::Error),
    ];
    for (word, level) in levels {
        let Some(rest) = trimmed.strip_prefix(word) else { continue };
        if let Some(said) = rest.strip_prefix(':') {
            return (level, said.trim_start(), true);
        }
        let Some(stamp) = rest.strip_prefix(' ') else { continue };
        if !stamp.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        return match stamp.split_once("] ") {
            Some((place, said)) if place.contains('[') || is_place(place) => (level, said, true),
            _ => (level, stamp.rsplit_once(']').map_or(stamp, |(_, said)| said), true),
        };
    }
    (Level::Plain, text, false)
}
