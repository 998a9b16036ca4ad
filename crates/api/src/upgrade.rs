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
    /// The number of the last change; the next question says it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<u64>,
}

/// An upgrade that was under way and is undone.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Undone {
    /// `charter.upgrade/1`.
    pub schema: String,
    /// The generation that was coming, `dep_....3`.
    pub aborted: String,
    /// The one that serves.
    pub serves: String,
}

/// What going back came to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Back {
    /// What was under way is undone.
    Undone(Undone),
    /// An earlier generation becomes the next one.
    Begun(Box<Upgrade>),
}

/// Upgrades several, or all.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Several {
    /// All that run.
    pub all: bool,
    /// These.
    pub names: Vec<String>,
    /// Only deployments of this profile.
    pub profile: Option<String>,
    /// Only say what that would do.
    pub what_if: bool,
    /// `auto`, `side-by-side`, `rolling`, `in-place` or `recreate`.
    pub strategy: Option<String>,
    /// How many at a time, such as `1,50%`.
    pub waves: Option<String>,
    /// Go on where one fails.
    pub keep_going: bool,
}

/// Upgrades one, takes it back, or moves it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Single {
    /// Only say what that would do.
    pub what_if: bool,
    /// `auto`, `side-by-side`, `rolling`, `in-place` or `recreate`.
    pub strategy: Option<String>,
    /// Back to this generation.
    pub to: Option<u32>,
    /// To this provider.
    pub provider: Option<String>,
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
