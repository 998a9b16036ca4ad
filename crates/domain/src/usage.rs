//! What a request used and cost: the row that is kept of each.

use crate::money::Usd;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Answered whole.
    #[default]
    Done,
    /// The client left.
    Left,
    /// The backend broke off, was too slow, or answered with an error.
    Failed,
    /// A limit on money ended it.
    Cut,
    /// Answered from the cache.
    Cached,
}

impl End {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Left => "left",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::Cached => "cached",
        }
    }

    /// The end with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Done, Self::Left, Self::Failed, Self::Cut, Self::Cached].into_iter().find(|end| end.as_str() == name)
    }
}

/// Most figures of most requests are nothing: they are not written down, and what is not written is nothing.
fn is_nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// The id that the client was told, `req_...`.
    pub request: String,
    /// When it came.
    pub at: Time,
    /// The key's id.
    pub key: Arc<str>,
    /// Who pays.
    pub tenant: Arc<str>,
    /// The name that the client used.
    pub model: Arc<str>,
    /// The name that was asked before it and could not answer; empty where none was.
    #[serde(skip_serializing_if = "is_nothing")]
    pub instead_of: Arc<str>,
    /// The deployment or registered backend.
    pub group: Arc<str>,
    /// The replica.
    pub backend: Arc<str>,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Of those, found in the engine's cache.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Of those, thoughts.
    #[serde(skip_serializing_if = "is_nothing")]
    pub reasoning_tokens: u64,
    /// The counts are the gateway's own, because the engine told none.
    #[serde(skip_serializing_if = "is_nothing")]
    pub estimated: bool,
    /// From its coming to its end, in milliseconds.
    pub duration_ms: u64,
    /// From its coming to the first part of the answer.
    pub first_ms: u64,
    /// For how long it waited for a place.
    #[serde(skip_serializing_if = "is_nothing")]
    pub queue_ms: u64,
    /// For how long it waited for a model that was being started.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cold_ms: u64,
    /// The status of the answer.
    pub status: u16,
    /// How it ended.
    #[serde(skip_serializing_if = "is_nothing")]
    pub end: End,
    /// What it is charged with.
    pub cost: Usd,
    /// Its share of the rent of the machine that answered it.
    #[serde(skip_serializing_if = "is_nothing")]
    pub rent: Usd,
    /// What it would have cost, had the answer not been kept from before.
    #[serde(skip_serializing_if = "is_nothing")]
    pub saved: Usd,
}
