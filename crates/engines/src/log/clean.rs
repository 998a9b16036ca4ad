//! Makes one log line readable: no terminal codes, no carriage returns, no prefix of a container runtime or a logger.

/// How serious a line says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Below a warning.
    Info,
    /// A warning.
    Warning,
    /// An error.
    Error,
    /// The line says nothing of it: a traceback, a progress bar, a program's own words.
    Plain,
}

/// A line without what surrounds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// How serious it says it is.
    pub level: Level,
    /// It began with a prefix of its own, so it continues no other line.
    pub prefixed: bool,
    /// What it says.
    pub text: String,
}

/// Longest line that is looked at, in characters; the rest is cut.
const LINE_MAX: usize = 4000;

/// Splits a log into cleaned lines. Bytes that are no text are replaced; a carriage return begins a new line.
#[must_use]
pub fn lines(log: &str) -> Vec<Line> {
    let mut all = vec![];
    for (index, raw) in log.split('\n').enumerate() {
        for part in raw.split('\r').filter(|p| !p.trim().is_empty()) {
            all.push(line(index + 1, part));
        }
    }
    all
}

fn line(number: usize, raw: &str) -> Line {
    let plain = strip_codes(raw);
    let (text, outer) = strip_outer(&plain);
    let (text, process) = strip_process(text);
    let (level, text, logger) = strip_logger(text);
    Line { number, level, prefixed: outer || process || logger, text: text.chars().take(LINE_MAX).collect() }
}

/// Removes terminal codes: colours, cursor movements, titles, and other control characters.
#[must_use]
pub fn strip_codes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            if !c.is_control() || c == '\t' {
                out.push(c);
            }
            continue;
        }
        match chars.next() {
            Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
            Some(']') => {
                while let Some(c) = chars.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    out
}

/// Prefixes of container runtimes, schedulers and system logs.
fn strip_outer(text: &str) -> (&str, bool) {
    let mut rest = text;
    let mut found = false;
    while let Some(next) = outer(rest) {
        rest = next;
        found = true;
    }
    (rest, found)
}

fn outer(text: &str) -> Option<&str> {
    let trimmed = text.trim_start();
    for tag in ["[docker] ", "[agent] ", "stdout F ", "stderr F ", "stdout P ", "stderr P "] {
        if let Some(rest) = trimmed.strip_prefix(tag) {
            return Some(rest);
        }
    }
    let (first, rest) = trimmed.split_once(' ')?;
    if is_timestamp(first) {
        return Some(rest);
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
fn strip_process(text: &str) -> (&str, bool) {
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

/// `ERROR 11-20 18:00:01 [core.py:396]` or uvicorn's `INFO:     `.
fn strip_logger(text: &str) -> (Level, &str, bool) {
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
            Some((place, said)) if place.contains('[') => (level, said, true),
            _ => (level, stamp.rsplit_once(']').map_or(stamp, |(_, said)| said), true),
        };
    }
    (Level::Plain, text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surrounds_a_line_goes_and_what_it_says_stays() {
        let cases = [
            ("(EngineCore_DP0 pid=12) ERROR 11-20 18:00:01 [core.py:396] ValueError: no", Level::Error, "ValueError: no"),
            ("\u{1b}[1;36m(APIServer pid=1)\u{1b}[0;0m INFO 11-20 18:00:01 [api.py:1] hello", Level::Info, "hello"),
            (
                "2026-11-20T18:00:01.123456789Z stderr F INFO:     Application startup complete.",
                Level::Info,
                "Application startup complete.",
            ),
            ("vllm-1  | (APIServer pid=1) WARNING 11-20 18:00:01 [x.py:1] careful", Level::Warning, "careful"),
            (
                "Nov 20 18:00:01 gpu01 docker[812]: torch.OutOfMemoryError: CUDA out of memory.",
                Level::Plain,
                "torch.OutOfMemoryError: CUDA out of memory.",
            ),
            ("(VllmWorker rank=0 pid=9) ERROR 01-02 03:04:05 [w.py:7] x", Level::Error, "x"),
            ("vllm: error: unrecognized arguments: --x", Level::Plain, "vllm: error: unrecognized arguments: --x"),
        ];
        for (raw, level, text) in cases {
            let line = &lines(raw)[0];
            assert_eq!((line.level, line.text.as_str()), (level, text), "{raw}");
        }
    }

    #[test]
    fn a_progress_bar_is_many_lines() {
        let texts: Vec<String> = lines("a:  0%\ra: 50%\ra: 100%\n").into_iter().map(|l| l.text).collect();
        assert_eq!(texts, ["a:  0%", "a: 50%", "a: 100%"]);
    }
}
