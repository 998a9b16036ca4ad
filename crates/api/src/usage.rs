//! `charter.spend/1` and `charter.requests/1`: requests added up, and single ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Requests added up by key, tenant, model and deployment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Spend {
    /// `charter.spend/1`.
    pub schema: String,
    /// From when on.
    pub since: String,
    /// The sums.
    pub items: Vec<SpendRow>,
}

/// One sum.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SpendRow {
    /// The key's name, or its id where it is gone.
    pub key: String,
    /// Its tenant.
    pub tenant: String,
    /// The name that was asked for.
    pub model: String,
    /// Who answered.
    pub deployment: String,
    /// How many requests.
    pub requests: u64,
    /// Tokens in.
    pub prompt_tokens: u64,
    /// Of these, read from a cache.
    pub cached_tokens: u64,
    /// Tokens out.
    pub completion_tokens: u64,
    /// Of these, thought.
    pub reasoning_tokens: u64,
    /// How long they took together.
    pub busy_ms: u64,
    /// What they were charged with.
    pub cost_usd_micros: i64,
    /// Their share of the rent.
    pub rent_usd_micros: i64,
    /// What kept answers saved.
    pub saved_usd_micros: i64,
}

/// Single requests, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// `charter.requests/1`.
    pub schema: String,
    /// The requests.
    pub items: Vec<RequestRow>,
    /// Never said: ask for more with `limit`.
    pub next: Option<String>,
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequestRow {
    /// Its id, `x-request-id`.
    pub request: String,
    /// When it came.
    pub at: String,
    /// The key's name, or its id where it is gone.
    pub key: String,
    /// Its tenant.
    pub tenant: String,
    /// The name that was asked for.
    pub model: String,
    /// The name that was asked before it and could not answer.
    pub instead_of: Option<String>,
    /// Who answered.
    pub deployment: String,
    /// Which place of it.
    pub backend: String,
    /// Tokens in.
    pub prompt_tokens: u64,
    /// Of these, read from a cache.
    pub cached_tokens: u64,
    /// Tokens out.
    pub completion_tokens: u64,
    /// Of these, thought.
    pub reasoning_tokens: u64,
    /// The tokens were counted by charter, because nobody said them.
    pub estimated: bool,
    /// From its first byte to its answer's last.
    pub duration_ms: u64,
    /// To the first token.
    pub first_token_ms: u64,
    /// Waiting for a place.
    pub queue_ms: u64,
    /// Waiting for a machine that had to be started.
    pub cold_start_ms: u64,
    /// The status of the answer.
    pub status: u16,
    /// How it ended.
    pub end: String,
    /// What it was charged with.
    pub cost_usd_micros: i64,
    /// Its share of the rent.
    pub rent_usd_micros: i64,
    /// What a kept answer saved.
    pub saved_usd_micros: i64,
}

/// What is asked of requests; all of it may be left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsageWish {
    /// Rows, 50 without a word.
    #[serde(default)]
    pub limit: Option<usize>,
    /// A key's id or name.
    #[serde(default)]
    pub key: Option<String>,
    /// A name that was asked for.
    #[serde(default)]
    pub model: Option<String>,
    /// Who answered.
    #[serde(default)]
    pub deployment: Option<String>,
    /// Who pays.
    #[serde(default)]
    pub tenant: Option<String>,
    /// The last so many hours, 24 without a word.
    #[serde(default)]
    pub hours: Option<i64>,
}

/// A gateway's wish for money of a key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Draw {
    /// The key's id.
    pub key: String,
    /// So much at the most; below zero what is put back.
    pub want_usd_micros: i64,
}

/// What was drawn.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Drawn {
    /// So much.
    pub drawn_usd_micros: i64,
}

/// What was written down of a batch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// So many requests; those of a batch that came before are counted again here and nowhere else.
    pub written: usize,
}
