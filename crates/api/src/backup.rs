//! Backups that a server keeps on its own computer. They hold the installation's key, and so are never sent anywhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// Where it lies on the server's computer.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// When it was made.
    pub made_at: String,
}
