//! What the server's own tasks did last, and what is advised.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server lives, or why it does not serve.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`, `ready`, or what fails.
    pub status: String,
}

/// The server's state of health.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Doctor {
    /// Its background tasks.
    pub tasks: Vec<Task>,
    /// Commits since it started.
    pub commits: u64,
    /// What the last day's requests advise.
    pub advice: Vec<Advice>,
    /// Why rented machines get no requests.
    pub rented_closed: Option<String>,
}

/// What a background task did last.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// How often it ran.
    pub count: u64,
    /// How long the last time took.
    pub took_ms: u64,
    /// What it said then.
    pub said: String,
    /// It failed then.
    pub failed: bool,
}

/// What would save money or time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// For this model.
    pub model: String,
    /// What was seen.
    pub said: String,
    /// What to do.
    pub todo: String,
}
