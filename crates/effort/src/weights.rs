//! Weights as data, made by `examples/tune.rs` from the part of the labelled set that is for tuning.

use crate::features::{COUNT, NAMES};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The table.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Weights {
    /// When it was made.
    pub as_of: String,
    /// The score of a prompt in which nothing is found.
    pub bias: f32,
    /// What each feature adds where it is found whole.
    pub weights: BTreeMap<String, f32>,
    /// The same in the order of the features.
    #[serde(skip)]
    pub(crate) in_order: [f32; COUNT],
}

impl Weights {
    /// What a feature weighs; one that the table does not name weighs nothing.
    #[must_use]
    pub fn of(&self, name: &str) -> f32 {
        self.weights.get(name).copied().unwrap_or(0.0)
    }
}

static TABLE: LazyLock<Weights> = LazyLock::new(|| {
    let mut table: Weights = serde_json::from_str(include_str!("../data/weights.json")).unwrap_or_default();
    table.in_order = NAMES.map(|name| table.of(name));
    table
});

/// The table in use.
#[must_use]
pub fn weights() -> &'static Weights {
    &TABLE
}
