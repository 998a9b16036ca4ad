//! The end of everything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is being ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ending {
    /// Deployments that ran, or were to run.
    pub deployments: Vec<String>,
    /// What their machines cost until they are gone.
    pub price_usd_micros_per_hour: i64,
}
