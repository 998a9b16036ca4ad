//! What ended, or holds up, the run that a log tells of.
//!
//! The first error in time that has a class wins, since everything after it is its consequence. Wrappers, advice and
//! optional files are never matched; an error that the engine demonstrably outlived does not count.

use crate::log::clean::{Level, Line, lines};
use crate::log::exception;
use crate::log::phase::{Phase, last_run};
use crate::log::signature::{DEATH, NEVER, Signature, all, matches};
use charter_domain::cause::{Action, Cause};

/// What a log means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The class.
    pub class: &'static str,
    /// How far the start had come.
    pub phase: Phase,
    /// The number of the line that shows it.
    pub line: Option<usize>,
    /// That line, cleaned and cut.
    pub evidence: String,
    /// What a person can do.
    pub hint: String,
    /// What charter does.
    pub action: Action,
    /// Options that would have worked: name and value.
    pub suggest: Vec<(&'static str, u64)>,
}

impl Explanation {
    /// The explanation as a cause of the life cycle.
    #[must_use]
    pub fn cause(&self) -> Cause {
        Cause::new(self.class, self.action, self.evidence.clone(), self.hint.clone())
    }

    /// Does it tell of a failure?
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(self.class, "ok_ready" | "starting")
    }
}

/// So soon after the words of a healthy start a port that cannot be bound is told.
const BIND_LINES: usize = 12;
/// A runtime gives its reason within so many lines.
const REASON_LINES: usize = 8;
/// Words of an engine that never came up.
const STILLBORN: &[&str] = &[
    "EngineCore failed to start",
    "Engine core initialization failed",
    "WorkerProc failed to start",
    "WorkerProc initialization failed",
];
/// Words of a process that is over, for a reason that they do not tell.
const ENDED: &[&str] = &[
    "CrashLoopBackOff",
    "Back-off restarting failed container",
    "The actor died",
    "ActorDiedError",
    "exited with code 1",
    "Exit Code:    1",
    "core dumped",
    "Fatal Python error",
];
/// Longest evidence, in characters.
const EVIDENCE_MAX: usize = 400;

struct Candidate<'a> {
    at: usize,
    phase: Phase,
    /// How far the start had come by then.
    reached: Phase,
    signature: &'a Signature,
    text: String,
}

/// Explains a log.
#[must_use]
pub fn explain(log: &str) -> Explanation {
    let all = lines(log);
    let run = last_run(&all);
    let ready = run.iter().position(|l| Phase::of(l) == Some(Phase::Running));
    // An engine that failed to start is not up, whatever the server before it says afterwards.
    let refuted = |ready: usize| run[..ready].iter().any(|l| STILLBORN.iter().any(|words| l.text.contains(words)));
    if let Some(ready) = ready.filter(|at| !refuted(*at)) {
        return after_ready(run, ready);
    }
    let reached = run.iter().filter_map(Phase::of).max().unwrap_or(Phase::Process);
    let roots: Vec<Candidate<'_>> = candidates(run).into_iter().filter(|c| !outlived(run, c)).collect();
    if let Some(found) = roots.first() {
        // That a container could not be made is told first, and why in the lines that follow.
        let near = |c: &&Candidate<'_>| c.signature.class == "container_driver_too_old" && c.at <= found.at + REASON_LINES;
        let wrapped = found.signature.class == "container_gpu_runtime";
        let reason = roots.iter().find(near).filter(|_| wrapped).unwrap_or(found);
        return from_candidate(run, reason);
    }
    if let Some(bug) = unclassed(run, reached) {
        return bug;
    }
    // It says that it is dead, and not why.
    if let Some(line) = run.iter().find(|l| ENDED.iter().chain(STILLBORN).any(|words| l.text.contains(words))) {
        let hint = "the log tells that it ended and not why; read it with `charter logs`".to_owned();
        let (line, evidence) = (Some(line.number), cut(&line.text));
        return Explanation {
            class: "unknown",
            phase: reached,
            line,
            evidence,
            hint,
            action: Action::RetryHere,
            suggest: vec![],
        };
    }
    let line = run.iter().rev().find(|l| Phase::of(l).is_some()).or(run.last());
    let is_log =
        run.iter().any(|l| Phase::of(l).is_some()) || (is_about_engines(run) && run.iter().all(|l| looks_like_text(&l.text)));
    Explanation {
        class: if is_log { "starting" } else { "unknown" },
        phase: reached,
        line: line.map(|l| l.number),
        evidence: line.map(|l| cut(&l.text)).unwrap_or_default(),
        hint: if is_log { "nothing has failed so far".into() } else { "this is no log of an engine, or an empty one".into() },
        action: if is_log { Action::Wait } else { Action::RetryHere },
        suggest: vec![],
    }
}

/// Everything in the run that looks like a root cause, in time.
fn candidates(run: &[Line]) -> Vec<Candidate<'static>> {
    let mut phase = Phase::Process;
    let mut found = vec![];
    for (at, line) in run.iter().enumerate() {
        if line.level != Level::Error {
            phase = Phase::of(line).map_or(phase, |p| p.max(phase));
        }
        if matches!(line.level, Level::Info | Level::Warning) {
            continue;
        }
        if let Some((signature, text)) = classify(run, at) {
            found.push(Candidate { at, phase: signature.phase.unwrap_or(phase), reached: phase, signature, text });
        }
    }
    found
}

/// The class of the line at `at`, alone or together with the lines that a terminal has wrapped it into.
fn classify(run: &[Line], at: usize) -> Option<(&'static Signature, String)> {
    let text = &run[at].text;
    if let Some(signature) = of_text(text) {
        return Some((signature, text.clone()));
    }
    let mut glued = text.clone();
    let mut spaced = text.clone();
    for next in run.get(at + 1..(at + 4).min(run.len())).unwrap_or_default() {
        if next.prefixed || of_text(&next.text).is_some() {
            return None;
        }
        glued.push_str(&next.text);
        spaced.push(' ');
        spaced.push_str(next.text.trim_start());
        for joined in [&glued, &spaced] {
            if let Some(signature) = of_text(joined) {
                return Some((signature, joined.clone()));
            }
        }
    }
    None
}

fn of_text(text: &str) -> Option<&'static Signature> {
    if NEVER.iter().any(|never| text.contains(never)) {
        return None;
    }
    if text.trim() == "Killed" {
        return all().find(|s| s.class == "host_oom");
    }
    all().find(|s| matches(s, text))
}

/// The engine went on by two phases or more after it: it was no failure.
fn outlived(run: &[Line], candidate: &Candidate<'_>) -> bool {
    let reached = candidate.phase.max(candidate.reached);
    // What an error itself mentions is no progress.
    let told = run.iter().skip(candidate.at + 1).filter(|l| l.level != Level::Error);
    let later = told.filter_map(Phase::of).max();
    later.is_some_and(|later| (later as u8) >= (reached as u8).saturating_add(2))
}

fn from_candidate(run: &[Line], found: &Candidate<'_>) -> Explanation {
    let (class, text) = (found.signature.class, &found.text);
    let suggest = suggest(class, run, found);
    let hint = match suggest.first() {
        Some((name, value)) => format!("set `{name}: {value}`; or {}", found.signature.hint),
        None => found.signature.hint.to_owned(),
    };
    Explanation {
        class,
        phase: found.phase,
        line: Some(run[found.at].number),
        evidence: cut(text),
        hint,
        action: found.signature.action,
        suggest,
    }
}

/// The number that the engine itself says would have worked.
fn suggest(class: &str, run: &[Line], found: &Candidate<'_>) -> Vec<(&'static str, u64)> {
    // The sentence may go on in the lines that follow.
    let following: Vec<&str> = run[found.at..].iter().take(12).map(|l| l.text.as_str()).collect();
    let (glued, spaced) = (following.concat(), following.join(" "));
    let number = |after: &str| [&glued, &spaced].into_iter().find_map(|text| number_after(text, after));
    let length = match class {
        "kv_cache_too_small" => {
            number("estimated maximum model length is").or_else(|| number("that can be stored in KV cache ("))
        }
        "max_len_exceeds_model" => number("max_position_embeddings=").or_else(|| number("derived max_model_len (")),
        _ => None,
    };
    length.map(|n| vec![("max-model-len", n)]).unwrap_or_default()
}

/// The whole number that follows `after`, thousands separated or not.
fn number_after(text: &str, after: &str) -> Option<u64> {
    let (_, rest) = text.split_once(after)?;
    let digits = rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(char::is_ascii_digit);
    digits.collect::<String>().parse().ok().filter(|n| *n > 0)
}

/// A log that reached a healthy start: either it still is, or it crashed.
fn after_ready(run: &[Line], ready: usize) -> Explanation {
    let after = &run[ready + 1..];
    let said = |l: &&Line| matches!(l.level, Level::Error | Level::Plain) && DEATH.iter().any(|d| l.text.contains(d));
    let ordered = after.iter().any(|l| l.text.contains("SIGTERM") || l.text.contains("shutdown triggered"));
    let death = after.iter().find(said);
    let fault = candidates(after)
        .into_iter()
        .find(|c| matches!(c.signature.class, "engine_crash_cuda" | "cuda_oom" | "nccl_error" | "host_oom"));
    // Older engines say that they are up, and bind their port only then.
    let unbound = after.iter().take(BIND_LINES).position(|l| l.text.contains("error while attempting to bind on address"));
    if let Some(found) = unbound.and_then(|at| classify(after, at).map(|(signature, text)| (at, signature, text))) {
        let (at, signature, text) = found;
        return from_candidate(after, &Candidate { at, phase: Phase::Http, reached: Phase::Http, signature, text });
    }
    match (fault, death) {
        (Some(fault), Some(_)) if !ordered => Explanation { phase: Phase::Running, ..from_candidate(after, &fault) },
        (Some(fault), None) if !ordered && matches!(fault.signature.class, "engine_crash_cuda" | "host_oom") => {
            Explanation { phase: Phase::Running, ..from_candidate(after, &fault) }
        }
        (_, Some(death)) if !ordered => Explanation {
            class: "engine_crash_other",
            phase: Phase::Running,
            line: Some(death.number),
            evidence: cut(&death.text),
            hint: "the engine died while it was serving; it is started again".into(),
            action: Action::RetryHere,
            suggest: vec![],
        },
        _ => Explanation {
            class: "ok_ready",
            phase: Phase::Running,
            line: Some(run[ready].number),
            evidence: cut(&run[ready].text),
            hint: String::new(),
            action: Action::None,
            suggest: vec![],
        },
    }
}

/// An exception that no signature knows by its words.
fn unclassed(run: &[Line], phase: Phase) -> Option<Explanation> {
    let (meaning, error) = exception::first(run)?;
    let (line, evidence) = (Some(error.number), cut(&error.text));
    let (class, action, hint) = (meaning.class, meaning.action, meaning.hint.to_owned());
    Some(Explanation { class, phase, line, evidence, hint, action, suggest: vec![] })
}

/// Words that a container on its way, an installation or an engine says, and that other programs do not.
const ABOUT: &[&str] = &[
    "vllm",
    "torch",
    "cuda",
    "nvidia",
    "gpu",
    "safetensors",
    "hugging",
    "model",
    "pulling",
    "pull complete",
    "docker",
    "ray",
    "charter:",
];

fn is_about_engines(run: &[Line]) -> bool {
    let says = |l: &Line| {
        let low = l.text.to_ascii_lowercase();
        low.split(|c: char| !(c.is_ascii_alphanumeric() || " :".contains(c))).any(|part| {
            ABOUT.iter().any(|word| part.split(' ').any(|w| w.starts_with(word)) || (word.contains(' ') && part.contains(word)))
        })
    };
    run.iter().any(says)
}

/// A hub's token, wherever a line repeats one.
fn masked(text: &str) -> String {
    let is_token = |word: &str| {
        let body = word.strip_prefix("hf_").or_else(|| word.strip_prefix("sk-")).unwrap_or_default();
        body.len() >= 16 && body.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let parts = text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
    parts
        .map(|part| {
            let word = part.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
            if is_token(word) { part.replace(word, "***") } else { part.to_owned() }
        })
        .collect()
}

/// Words with spaces between them, and no bytes that are no text.
fn looks_like_text(text: &str) -> bool {
    let longest = text.split_whitespace().map(str::len).max().unwrap_or(0);
    longest < 500 && !text.contains('\u{fffd}')
}

fn cut(text: &str) -> String {
    masked(text.trim()).chars().filter(|c| !c.is_control() && *c != '\u{fffd}').take(EVIDENCE_MAX).collect()
}
