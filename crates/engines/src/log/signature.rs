//! What failures look like. The order matters: on one line the first class that matches counts.

mod machine;
mod model;

use crate::log::phase::Phase;
use charter_domain::cause::Action;

/// A failure class and how it shows itself.
pub(crate) struct Signature {
    pub(crate) class: &'static str,
    /// Alternatives; all parts of one must stand in the line, in this order.
    pub(crate) texts: &'static [&'static [&'static str]],
    /// The phase it always belongs to; `None` takes the phase the log has reached.
    pub(crate) phase: Option<Phase>,
    pub(crate) action: Action,
    pub(crate) hint: &'static str,
}

const fn sign(
    class: &'static str,
    phase: Option<Phase>,
    action: Action,
    hint: &'static str,
    texts: &'static [&'static [&'static str]],
) -> Signature {
    Signature { class, texts, phase, action, hint }
}

/// Root causes, most telling first.
pub(crate) fn all() -> impl Iterator<Item = &'static Signature> {
    machine::SIGNATURES.iter().chain(model::SIGNATURES)
}

/// Lines that name a failure only to wrap it, to advise, or to say that something optional is missing.
pub(crate) const NEVER: &[&str] = &[
    "Engine core initialization failed",
    "See root cause above",
    "died unexpectedly",
    "ChildFailedError",
    "to avoid out-of-memory",
    "Exception happens when checking",
    "leaked shared_memory",
    "leaked semaphore",
    "FutureWarning",
    "UserWarning",
    "DeprecationWarning",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "chat_template",
    "adapter_config.json",
    "During handling of the above exception",
    "The above exception was the direct cause",
    "Please check the logs above",
];

/// Words of a dead engine after a healthy start.
pub(crate) const DEATH: &[&str] = &[
    "EngineDeadError",
    "EngineCore encountered",
    "Engine core proc",
    "engine process failed",
    "AsyncEngineDeadError",
    "died unexpectedly",
    "Engine background task failed",
    "EngineCore failed",
    "fatal error",
    "Segmentation fault",
    "is already dead, terminating",
    "terminating server process",
    "engine is dead",
    "background loop has errored",
];

/// Does `text` hold all parts of one alternative, in order?
pub(crate) fn matches(signature: &Signature, text: &str) -> bool {
    signature.texts.iter().any(|parts| {
        let mut rest = text;
        parts.iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}
