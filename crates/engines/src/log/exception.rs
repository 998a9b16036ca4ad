//! Exceptions that no signature knows by their words: their class, and the code that raised them, still tell what they are.
//!
//! A log of a version that nobody has seen yet says new sentences, but it raises the same exceptions from the same places: a
//! `ValueError` from the engine's own configuration is an option that it refuses, whatever the sentence.

use crate::log::clean::Line;
use crate::log::signature::NEVER;
use charter_domain::cause::Action;

/// What an exception means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) class: &'static str,
    pub(crate) action: Action,
    pub(crate) hint: &'static str,
}

const fn means(class: &'static str, action: Action, hint: &'static str) -> Meaning {
    Meaning { class, action, hint }
}

const ARGS: Meaning = means(
    "bad_args",
    Action::ChangeProfile,
    "the engine refuses an option or a combination of them: correct `options` and `extra-args`",
);
const HUB: Meaning = means(
    "hub_unreachable",
    Action::RetryHere,
    "the model hub cannot be reached from that machine: try again, use a mirror, or a local path",
);
const NO_MODEL: Meaning =
    means("model_not_found", Action::ChangeProfile, "check the model's name or path; a private model also needs `HF_TOKEN`");
const ENV: Meaning =
    means("env_broken", Action::OtherHost, "the engine's environment is broken: other version, or another `source`");
const WEIGHTS: Meaning = means(
    "weights_mismatch",
    Action::ChangeProfile,
    "weights and loader do not fit: other engine version, or other `quantization`",
);
const NCCL: Meaning =
    means("nccl_error", Action::OtherHost, "the GPUs cannot talk to each other: more shared memory, or another host");
const BUG: Meaning = means(
    "vllm_bug",
    Action::AskUser,
    "an exception inside the engine: try another version, and report it to the engine's makers",
);

/// Exceptions whose name is enough.
const NAMES: &[(&str, Meaning)] = &[
    (
        "OutOfMemoryError",
        means(
            "cuda_oom",
            Action::ChangeProfile,
            "too little GPU memory: smaller `max-num-seqs` or `max-model-len`, a quantized model, or a larger card",
        ),
    ),
    ("MemoryError", means("host_oom", Action::OtherHost, "the machine ran out of main memory: take one with more")),
    ("GatedRepoError", means("hf_auth", Action::AskUser, "accept the model's licence and give `HF_TOKEN` in `env`")),
    ("LocalTokenNotFoundError", means("hf_auth", Action::AskUser, "accept the model's licence and give `HF_TOKEN` in `env`")),
    ("RepositoryNotFoundError", NO_MODEL),
    ("RevisionNotFoundError", NO_MODEL),
    ("EntryNotFoundError", NO_MODEL),
    ("HFValidationError", NO_MODEL),
    ("LocalEntryNotFoundError", HUB),
    ("OfflineModeIsEnabled", HUB),
    ("HfHubHTTPError", HUB),
    ("ConnectionError", HUB),
    ("ConnectTimeout", HUB),
    ("ReadTimeout", HUB),
    ("ReadTimeoutError", HUB),
    ("SSLError", HUB),
    ("ProxyError", HUB),
    ("MaxRetryError", HUB),
    ("NameResolutionError", HUB),
    ("ChunkedEncodingError", HUB),
    ("IncompleteRead", HUB),
    (
        "SafetensorError",
        means("corrupt_weights", Action::RetryHere, "delete the downloaded files of this model and load them again"),
    ),
    (
        "UnpicklingError",
        means("corrupt_weights", Action::RetryHere, "delete the downloaded files of this model and load them again"),
    ),
    ("ImportError", ENV),
    ("ModuleNotFoundError", ENV),
    ("PermissionError", ENV),
    ("CalledProcessError", ENV),
    ("ArgumentError", ARGS),
    ("ValidationError", ARGS),
    ("DistBackendError", NCCL),
    ("DistNetworkError", NCCL),
    ("DistStoreError", NCCL),
    (
        "AcceleratorError",
        means("engine_crash_cuda", Action::RetryHere, "a fault on the GPU: started again; if it comes back, the host is bad"),
    ),
];

/// What the place that raised it says: a part of the innermost frames, and the exceptions that it holds for.
const PLACES: &[(&[&str], &[&str], Meaning)] = &[
    (
        &["load_weights", "weight_loader", "weight_utils.py", "model_loader"],
        &["KeyError", "AssertionError", "ValueError", "RuntimeError", "AttributeError"],
        WEIGHTS,
    ),
    (
        &["arg_utils.py", "/vllm/config/", "/vllm/config.py", "cli_args.py", "argparse_utils.py", "tool_parsers", "reasoning"],
        &["ValueError", "AssertionError", "KeyError", "TypeError", "NotImplementedError"],
        ARGS,
    ),
    (
        &["parallel_state.py", "distributed_c10d.py", "pynccl", "rendezvous.py", "device_communicators"],
        &["RuntimeError", "ValueError", "TimeoutError", "OSError"],
        NCCL,
    ),
    (
        &["configuration_auto.py", "transformers_utils/config.py", "configuration_utils.py"],
        &["KeyError", "ValueError", "OSError", "EnvironmentError"],
        means("unsupported_arch", Action::ChangeProfile, "this version does not know the model: take a newer engine version"),
    ),
    (
        &["quantization/"],
        &["ValueError", "NotImplementedError", "AssertionError"],
        means(
            "quant_unsupported_gpu",
            Action::ChangeProfile,
            "this GPU or model cannot run the quantization: choose another one, or a newer card",
        ),
    ),
];

/// One traceback: its frames, and the line that ends it.
struct Raised<'a> {
    frames: &'a [Line],
    at: usize,
}

/// The first exception in time that is no wrapper, with what it means and its line.
pub(crate) fn first(run: &[Line]) -> Option<(Meaning, &Line)> {
    let mut begin = 0;
    while let Some(found) = run[begin..].iter().position(|l| l.text.contains("Traceback (most recent call last)")) {
        let start = begin + found + 1;
        let end = start + run[start..].iter().position(|l| is_exception(&l.text))?;
        let raised = Raised { frames: &run[start..end], at: end };
        let line = &run[raised.at];
        let wrapper = NEVER.iter().any(|never| line.text.contains(never));
        if !wrapper {
            return Some((meaning(raised.frames, &line.text), line));
        }
        begin = end + 1;
    }
    None
}

fn meaning(frames: &[Line], text: &str) -> Meaning {
    let name = name_of(text);
    let files: Vec<&str> = frames.iter().rev().map(|l| l.text.trim_start()).filter(|t| t.starts_with("File \"")).collect();
    let inside = files.iter().any(|f| f.contains("/vllm/"));
    if let Some((_, meaning)) = NAMES.iter().find(|(known, _)| *known == name) {
        return *meaning;
    }
    // The innermost frames count; further out everything passes through the same few functions.
    let near = &files[..files.len().min(4)];
    for frame in near {
        let place = PLACES.iter().find(|(parts, names, _)| names.contains(&name) && parts.iter().any(|p| frame.contains(p)));
        if let Some((.., meaning)) = place {
            return *meaning;
        }
    }
    match name {
        "FileNotFoundError" if text.contains("config.json") || text.contains("/model") || text.contains("snapshots") => NO_MODEL,
        "FileNotFoundError" | "NotADirectoryError" => ENV,
        "TimeoutError" => {
            means("startup_timeout", Action::OtherHost, "the engine did not come up in its own time: take a faster host")
        }
        _ if inside => BUG,
        _ => means("unknown", Action::RetryHere, "the log names no cause that charter knows; read it with `charter logs`"),
    }
}

/// The exception's own name, without the module before it.
fn name_of(text: &str) -> &str {
    let name = text.split([':', ' ', '(']).next().unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default()
}

/// `SomeError: text`, at the beginning of a line.
pub(crate) fn is_exception(text: &str) -> bool {
    let name = text.split(':').next().unwrap_or_default();
    let word = name.rsplit('.').next().unwrap_or_default();
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    let known = NAMES.iter().any(|(known, _)| *known == word);
    let named = word.ends_with("Error") || word.ends_with("Exception") || word == "KeyboardInterrupt" || word == "Timeout";
    plain && (known || named) && word.starts_with(|c: char| c.is_ascii_uppercase())
}
