//! Backends that people register by hand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An address that charter did not start.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendWish {
    /// Its name here.
    pub name: String,
    /// Its address, such as `http://10.0.0.7:8000`.
    pub base_url: String,
    /// The one model that is meant, served under the backend's name; without a word all that it lists, under their own.
    #[serde(default)]
    pub model: Option<String>,
    /// Requests at the same time, 16 without a word.
    #[serde(default)]
    pub max_concurrent: Option<u32>,
}

/// What it serves from now on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// What clients ask for.
    pub served_names: Vec<String>,
    /// It answered just now.
    pub healthy: bool,
}

/// A registered backend.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub base_url: String,
    /// The one model that is meant.
    pub model: Option<String>,
    /// What clients ask for.
    pub served_names: Vec<String>,
    /// Requests at the same time.
    pub max_concurrent: u32,
    /// It gets requests.
    pub healthy: bool,
    /// What was seen wrong last.
    pub problem: Option<String>,
}
