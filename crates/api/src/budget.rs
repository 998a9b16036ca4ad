//! `charter.budget/1`: limits on money, and what counts against them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All limits that concern the one who asks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// `charter.budget/1`.
    pub schema: String,
    /// The limits.
    pub limits: Vec<Limit>,
    /// What everything costs now.
    pub price_usd_micros_per_hour: i64,
    /// Spent since the month began, in UTC.
    pub spent_this_month_usd_micros: i64,
    /// What the month will have cost if all of it goes on.
    pub forecast_month_usd_micros: i64,
    /// The most that a hard limit may be overshot by.
    pub overshoot_bound_usd_micros: i64,
    /// What stands in our accounts, costs money, and is not touched.
    pub quarantined: Vec<Quarantined>,
    /// Providers at which nothing new is rented for now, and why.
    pub frozen: BTreeMap<String, String>,
}

/// One limit.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// `hour`, `day`, `week`, `month`, `tenant` or another of the file's scopes.
    pub scope: String,
    /// The tenant or deployment that it is of.
    pub of: Option<String>,
    /// `ok`, `target`, `alert` or `hard`: how far it has come.
    pub state: String,
    /// What is aimed at.
    pub target_usd_micros: i64,
    /// From here on people are told.
    pub alert_usd_micros: i64,
    /// Nothing is rented beyond this.
    pub hard_usd_micros: i64,
    /// Spent so far.
    pub spent_usd_micros: i64,
    /// Spent or set aside.
    pub committed_usd_micros: i64,
}

/// Something that nobody here holds, and that is not surely ours.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Quarantined {
    /// Where it stands.
    pub provider: String,
    /// Its id there.
    pub id: String,
    /// Its label there.
    pub label: String,
    /// Its status there.
    pub status: String,
    /// What it costs.
    pub price_usd_micros_per_hour: i64,
    /// Why it is shown and not ended.
    pub why: String,
}
