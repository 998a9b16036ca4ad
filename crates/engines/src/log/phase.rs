//! The phases of a start, found by lines that have stayed the same over many versions.

use crate::log::clean::Line;
use charter_domain::time::Span;

/// How far a start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Phase {
    /// The container is being made.
    Container,
    /// The process runs.
    Process,
    /// The model's configuration is read.
    Config,
    /// The engine is being set up.
    EngineInit,
    /// The workers find each other.
    Distributed,
    /// Weights are fetched.
    Download,
    /// Weights are read.
    Load,
    /// Weights are in memory.
    Loaded,
    /// Code is compiled.
    Compile,
    /// Memory is measured.
    Profile,
    /// The cache is made.
    KvCache,
    /// Graphs are captured.
    Graphs,
    /// The engine is set up.
    EngineReady,
    /// The HTTP server starts.
    Http,
    /// It answers.
    Running,
}

/// In the order of a start; the last entry that matches a line counts.
const MARKERS: &[(Phase, &[&str])] = &[
    (Phase::Process, &["vLLM API server version", "non-default args:", "  version 0.", "  version 1."]),
    (Phase::Config, &["Resolved architecture:", "Using max model len", "Automatically detected platform"]),
    (Phase::EngineInit, &["Initializing a V1 LLM engine", "Initializing an LLM engine", "Initializing a V0 LLM engine"]),
    (Phase::Distributed, &["in world size", "vLLM is using nccl=="]),
    (Phase::Download, &["Starting to load model", "Time spent downloading weights"]),
    (Phase::Load, &["Loading safetensors checkpoint shards", "Loading pt checkpoint shards", "Loading weights took"]),
    (Phase::Loaded, &["Model loading took", "model weights take"]),
    (Phase::Compile, &["torch_compile_cache", "Dynamo bytecode transform time", "torch.compile take", "torch.compile took"]),
    (Phase::Profile, &["Available KV cache memory", "Memory profiling takes", "Explicitly set ("]),
    (Phase::KvCache, &["KV cache size:", "Maximum concurrency for", "# GPU blocks:", "# cuda blocks:"]),
    (Phase::Graphs, &["Capturing CUDA graph", "Capturing the model for CUDA graphs", "Graph capturing finished"]),
    (Phase::EngineReady, &["init engine (profile"]),
    (
        Phase::Http,
        &["Starting vLLM server on", "Starting vLLM API server", "Started server process", "Waiting for application startup"],
    ),
    (Phase::Running, &["Application startup complete."]),
];

impl Phase {
    /// The phase's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Process => "process",
            Self::Config => "config",
            Self::EngineInit => "engine-init",
            Self::Distributed => "distributed",
            Self::Download => "download",
            Self::Load => "load",
            Self::Loaded => "loaded",
            Self::Compile => "compile",
            Self::Profile => "profile",
            Self::KvCache => "kv-cache",
            Self::Graphs => "graphs",
            Self::EngineReady => "engine-ready",
            Self::Http => "http",
            Self::Running => "running",
        }
    }

    /// What happens in it, for people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Container => "preparing",
            Self::Process => "starting the process",
            Self::Config => "reading the model's configuration",
            Self::EngineInit => "setting up the engine",
            Self::Distributed => "connecting the workers",
            Self::Download => "downloading weights",
            Self::Load => "loading weights",
            Self::Loaded => "weights loaded",
            Self::Compile => "compiling",
            Self::Profile => "measuring memory",
            Self::KvCache => "making the KV cache",
            Self::Graphs => "capturing graphs",
            Self::EngineReady => "engine ready",
            Self::Http => "starting the HTTP server",
            Self::Running => "running",
        }
    }

    /// The phase that a line announces, if it announces one.
    #[must_use]
    pub fn of(line: &Line) -> Option<Self> {
        // A traceback or an error may quote such words; only what the engine reports as its progress counts.
        if line.level == crate::log::clean::Level::Error {
            return None;
        }
        // Arguments and messages may quote the words of a healthy start; the server says them at the beginning of a line.
        if line.text.contains("Application startup complete")
            && !line.text.trim_start().starts_with("Application startup complete")
        {
            return None;
        }
        MARKERS.iter().rev().find(|(_, texts)| texts.iter().any(|t| line.text.contains(t))).map(|(phase, _)| *phase)
    }
}

/// How far the last start in a log has come, with the newest percentage that its phase printed.
#[must_use]
pub fn progress(lines: &[Line]) -> (Phase, Option<u8>) {
    let mut now = (Phase::Container, None);
    for line in last_run(lines) {
        if let Some(phase) = Phase::of(line).filter(|p| *p >= now.0) {
            now = (phase, percent(&line.text));
        }
    }
    now
}

/// A log may hold several starts; the last one counts.
#[must_use]
pub fn last_run(lines: &[Line]) -> &[Line] {
    let begins = |l: &Line| l.text.contains("non-default args:") || l.text.contains("vLLM API server version");
    let starts: Vec<usize> = lines.iter().enumerate().filter(|(_, l)| begins(l)).map(|(i, _)| i).collect();
    // The banner comes in several lines of one process; a new start is one that follows progress of an older one.
    let mut from = 0;
    for pair in starts.windows(2) {
        let between = &lines[pair[0]..pair[1]];
        let ended = between.iter().any(|l| l.text.contains("shutdown complete") || l.text.contains("Shutting down"));
        if ended || between.iter().any(|l| Phase::of(l).is_some_and(|p| p > Phase::Config)) || between.len() > 40 {
            from = pair[1];
        }
    }
    &lines[from..]
}

fn percent(text: &str) -> Option<u8> {
    let (before, _) = text.split_once('%')?;
    let digits: String = before.chars().rev().take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().ok().filter(|p| *p <= 100)
}

/// How long the engine says that fetching the weights took: `Time spent downloading weights for M: S seconds`.
#[must_use]
pub fn fetched_in(lines: &[Line]) -> Option<Span> {
    let told = lines.iter().rev().find_map(|l| l.text.split_once("Time spent downloading weights for ").map(|(_, rest)| rest))?;
    let (_, seconds) = told.rsplit_once(": ")?;
    let seconds: f64 = seconds.split_whitespace().next()?.parse().ok().filter(|s| (0.0..1e7).contains(s))?;
    #[expect(clippy::cast_possible_truncation, reason = "within ten million seconds")]
    Some(Span::ms((seconds * 1000.0) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::clean::lines;

    #[test]
    fn the_time_of_a_download_is_read_from_the_log() {
        let log = "(EngineCore_DP0 pid=7) INFO 11-20 18:00:01 [weight_utils.py:392] Time spent downloading weights for org/m-7B: 112.500000 seconds";
        assert_eq!(fetched_in(&lines(log)), Some(Span::ms(112_500)));
        for odd in ["nothing", "Time spent downloading weights for x: many seconds", "Time spent downloading weights for "] {
            assert_eq!(fetched_in(&lines(odd)), None, "{odd}");
        }
    }

    #[test]
    fn a_real_start_passes_its_phases_in_order() {
        let log = include_str!("../../tests/logs/ok-cpu-0.32.log");
        let all = lines(log);
        let mut seen: Vec<&str> = all.iter().filter_map(Phase::of).map(Phase::as_str).collect();
        seen.dedup();
        let want = [
            "process",
            "config",
            "engine-init",
            "distributed",
            "download",
            "load",
            "profile",
            "kv-cache",
            "engine-ready",
            "http",
            "running",
        ];
        assert_eq!(seen, want);
        assert_eq!(progress(&all).0, Phase::Running);
    }

    #[test]
    fn loading_shows_its_percentage() {
        let log = "INFO 11-20 10:00:00 [l.py:1] Starting to load model m...\nLoading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:03]\n";
        assert_eq!(progress(&lines(log)), (Phase::Load, Some(25)));
    }
}
