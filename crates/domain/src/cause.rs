//! Why something failed, and what follows from it. The class drives the life cycle, never the text.

use serde::{Deserialize, Serialize};

/// What ended, or holds up, a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The failure class, in the words of the log classifier, such as `cuda_oom`.
    pub class: String,
    /// The line or sentence that shows it, cleaned and cut.
    pub evidence: String,
    /// What a person can do.
    pub hint: String,
    /// What charter does.
    pub action: Action,
}

/// What a failure class leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing is wrong.
    None,
    /// Give it time.
    Wait,
    /// Start the engine again on the same machine.
    RetryHere,
    /// Give this machine back and take another.
    OtherHost,
    /// Leave this provider.
    OtherProvider,
    /// No machine helps: the profile must change.
    ChangeProfile,
    /// Only a person can decide.
    AskUser,
}

impl Action {
    /// The action's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Wait => "wait",
            Self::RetryHere => "retry-here",
            Self::OtherHost => "other-host",
            Self::OtherProvider => "other-provider",
            Self::ChangeProfile => "change-profile",
            Self::AskUser => "ask-user",
        }
    }
}

impl Cause {
    /// A cause in one call.
    #[must_use]
    pub fn new(class: &str, action: Action, evidence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { class: class.to_owned(), evidence: evidence.into(), hint: hint.into(), action }
    }
}
