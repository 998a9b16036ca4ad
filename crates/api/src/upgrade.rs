//! `charter.upgrade/1`: what became of an upgrade, and the generations of a deployment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An upgrade of one deployment or of several.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Upgrade {
    /// `charter.upgrade/1`.
    pub schema: String,
    /// Its id, `upg_...`.
    #[serde(default)]
    pub id: String,
    /// Who asked.
    #[serde(default)]
    pub by: String,
    /// When.
    #[serde(default, rename = "asked_at")]
    pub at: String,
    /// Nothing is left to be done.
    #[serde(default)]
    pub over: bool,
    /// How many deployments it is about.
    #[serde(default)]
    pub total: usize,
    /// Those that run the new generation.
    #[serde(default)]
    pub upgraded: Vec<Upgraded>,
    /// Those that do not.
    #[serde(default)]
    pub failed: Vec<Failed>,
    /// Those of which nothing had to be done, or nothing was done.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// Those that are being upgraded.
    #[serde(default)]
    pub running: Vec<String>,
    /// Those whose turn has not come.
    #[serde(default)]
    pub waiting: Vec<String>,
}

/// One that runs the new generation.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Upgraded {
    /// Its name.
    pub name: String,
    /// What ran, `dep_....3`.
    pub from: String,
    /// What runs.
    pub to: String,
    /// How long it took.
    pub seconds: f64,
}

/// One that does not.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// Its name.
    pub name: String,
    /// What happened.
    pub error: Error,
    /// What ran before runs on.
    pub rolled_back: bool,
}

/// What happened.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Error {
    /// The code of its page.
    pub code: String,
    /// In words, with the numbers that decided.
    pub message: String,
}

/// One of which nothing was done.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// One generation of a deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// The deployment and the number together.
    pub session_id: String,
    /// When it was asked for.
    #[serde(rename = "asked_at")]
    pub at: String,
    /// Who asked.
    pub by: String,
    /// `coming`, `serving`, `replaced` or `failed`.
    pub fate: String,
    /// Why, with the numbers that decided.
    pub verdict: Option<String>,
    /// What it changed, field by field.
    pub changes: serde_json::Value,
}
