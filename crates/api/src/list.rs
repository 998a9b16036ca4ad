//! A part of a list, and how to go on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries, and what the next question says as `after` where there are more.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct List<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The name of the last one; none where nothing follows.
    pub next: Option<String>,
}

impl<T> List<T> {
    /// All that there is.
    #[must_use]
    pub const fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}
