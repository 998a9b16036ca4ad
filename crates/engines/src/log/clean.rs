//! Makes one log line readable: no terminal codes, no carriage returns, no prefix of a container runtime or a logger.

use crate::log::prefix::{embedded, strip_logger, strip_outer, strip_process};

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
    let embedded = embedded(raw);
    let plain = without_lost_codes(strip_codes(embedded.as_deref().unwrap_or(raw)));
    let (text, outer) = strip_outer(&plain);
    let (text, process) = strip_process(text);
    let (level, text, logger) = strip_logger(text);
    Line { number, level, prefixed: outer || process || logger, text: text.chars().take(LINE_MAX).collect() }
}

/// Whoever copies a log from a page has lost the escape and kept the rest of a colour: `[1;36m`.
fn without_lost_codes(text: String) -> String {
    if !text.contains('m') || !text.contains('[') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        let code = after
            .split_once('m')
            .filter(|(code, _)| !code.is_empty() && code.len() <= 12 && code.bytes().all(|b| b.is_ascii_digit() || b == b';'));
        match code {
            Some((_, said)) => rest = said,
            None => {
                out.push('[');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
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
            ("│ INFO:     Application startup complete.      │", Level::Info, "Application startup complete."),
            ("[rank0]: ValueError: no", Level::Plain, "ValueError: no"),
            ("[pod/vllm-0/server] (APIServer pid=1) ERROR 11-20 18:00:01 [x.py:7] bad", Level::Error, "bad"),
            (
                "INFO 2025-11-19T20:16:36.1Z [resource.labels.containerName: vllm] torch.OutOfMemoryError: CUDA out of memory.",
                Level::Plain,
                "torch.OutOfMemoryError: CUDA out of memory.",
            ),
            ("2026-11-20 18:00:01,123 ValueError: no", Level::Plain, "ValueError: no"),
            (
                r#"{"log":"\u001b[31mERROR\u001b[0m 11-20 18:00:01 [x.py:7] bad\n","stream":"stderr","time":"2026-11-20T18:00:01Z"}"#,
                Level::Error,
                "bad",
            ),
            (r#"{"error": {"message": "no", "code": 400}}"#, Level::Plain, r#"{"error": {"message": "no", "code": 400}}"#),
            ("vllm-7d9f server INFO 11-20 18:00:01 [x.py:7] hello", Level::Info, "hello"),
            ("[1;36m(VllmWorkerProcess pid=62)[0;0m ERROR 12-26 16:20:06 w.py:236] no [x] y", Level::Error, "no [x] y"),
            ("[Errno 98] Address already in use", Level::Plain, "[Errno 98] Address already in use"),
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
