//! API keys. A key is shown once, in the answer that made it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a new key may do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyWish {
    /// Its name, for people.
    pub name: Option<String>,
    /// `viewer`, `operator` or `admin`; a viewer without a word.
    pub role: Option<String>,
    /// The names that it may ask for; empty means all.
    pub routes: Vec<String>,
    /// So long it stands; without a word, for good.
    pub expires_in_seconds: Option<i64>,
    /// Who pays.
    pub tenant: Option<String>,
    /// Requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Requests at the same time.
    pub parallel: Option<u32>,
    /// Money in a day, in UTC.
    pub day_usd_micros: Option<i64>,
    /// Money in a month, in UTC.
    pub month_usd_micros: Option<i64>,
    /// Hard requests may be answered in steps.
    pub agentic: bool,
}

/// A key, without itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do.
    pub role: String,
    /// The names that it may ask for; empty means all.
    pub routes: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// When it stops to stand.
    pub expires_at: Option<String>,
    /// Who pays.
    pub tenant: String,
    /// How much it may ask.
    pub limits: KeyLimits,
}

/// How much a key may ask; what is left out has no limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct KeyLimits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Requests at the same time.
    pub parallel: Option<u32>,
    /// Money in a day.
    pub day_usd_micros: Option<i64>,
    /// Money in a month.
    pub month_usd_micros: Option<i64>,
    /// Hard requests may be answered in steps.
    pub agentic: bool,
}

/// A key that was made just now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NewKey {
    /// The key. It is not stored, and never shown again.
    pub key: String,
    /// What is stored of it.
    #[serde(flatten)]
    pub kept: Key,
}
