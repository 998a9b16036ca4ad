//! One deployment: declared, watched, given more time; its time line and its log.

use crate::status::Deployment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Declares a deployment, new or changed: one entry of a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Declare {
    /// Its name.
    pub name: String,
    /// Its profile, as the file has it.
    pub profile: Value,
    /// What else the file says of it.
    pub deployment: Value,
    /// The file that it comes from, on the server's machine.
    #[serde(default)]
    pub source_file: Option<String>,
    /// The name was made from the model's: what runs under it with another model is somebody else's.
    #[serde(default)]
    pub keep_others: bool,
}

/// Asks what would become of these; nothing is touched.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanQuestion {
    /// As a file has them.
    pub deployments: Vec<Declare>,
}

/// A deployment with its newest facts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Watched {
    /// The number of the last change; the next question says it as `after`.
    pub change: u64,
    /// As it is now.
    pub deployment: Deployment,
    /// Its newest facts, the oldest of them first.
    pub facts: Vec<Fact>,
}

/// Something that happened, and why.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// When.
    pub at: String,
    /// The same in milliseconds since 1970.
    pub at_ms: i64,
    /// The copy that it is about.
    pub replica: Option<String>,
    /// In words.
    pub text: String,
}

/// A piece of an engine's log.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogPart {
    /// The run that it is of; empty before the first.
    pub start: String,
    /// Where the next piece begins, in bytes.
    pub next: u64,
    /// What is new.
    pub text: String,
    /// Nothing more will come.
    pub ended: bool,
}

/// More time: `hours` and `minutes` together, or without an end.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct More {
    /// So many hours.
    pub hours: Option<u32>,
    /// So many minutes.
    pub minutes: Option<u32>,
    /// Without an end.
    pub infinite: bool,
}

/// How long it runs now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// It ends then.
    pub expires_at: Option<String>,
    /// It is not ended for being idle before then.
    pub kept_until: Option<String>,
}
