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
    /// What was looked at, on the server's own computer too; for operators of the house alone.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What.
    pub what: String,
    /// It is in order.
    pub good: bool,
    /// What was seen.
    pub said: String,
    /// What to do where it is not in order.
    pub todo: String,
}

impl Finding {
    /// It is in order.
    #[must_use]
    pub fn good(what: &str, said: impl Into<String>) -> Self {
        Self { what: what.to_owned(), good: true, said: said.into(), todo: String::new() }
    }

    /// It is not.
    #[must_use]
    pub fn bad(what: &str, said: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what: what.to_owned(), good: false, said: said.into(), todo: todo.into() }
    }
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
