//! The routing table: everything that the gateway knows. It is pushed to the gateway, which never asks a database.

use crate::instance::Address;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// All routes and keys at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Rises with every change.
    pub version: u64,
    /// Where requests can go.
    pub backends: Vec<Backend>,
    /// Who may send them.
    pub keys: Vec<Key>,
}

/// A routable endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Unique; shown to clients in `x-charter-backend`.
    pub id: String,
    /// The names it answers to.
    pub served_names: Vec<ServedName>,
    /// The model's name at the backend, where it differs from the served name.
    pub upstream_model: Option<String>,
    /// The way there.
    pub reach: Reach,
    /// The key that the backend asks for. Never shown.
    pub bearer: Option<String>,
    /// Requests that it answers at the same time.
    pub max_concurrent: u32,
    /// It takes requests now; else its names are known and a client is told to come back.
    pub ready: bool,
    /// It is on its way to being ready.
    #[serde(default)]
    pub starting: bool,
}

/// A name that clients use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedName {
    /// The name.
    pub name: String,
    /// For an adapter, the model it belongs to.
    pub parent: Option<String>,
}

/// The way to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// HTTP to a base address such as `http://10.0.0.7:8000`, without the `/v1`.
    Http {
        /// The base address.
        base_url: String,
    },
    /// A stream inside an SSH session, to a port on the machine's loopback address.
    Ssh {
        /// The machine.
        address: Address,
        /// The only host key that is accepted.
        host_key: Option<String>,
        /// The private key in OpenSSH's format. Never shown.
        private_key: String,
        /// The engine's port.
        port: u16,
    },
}

/// An API key, as far as the gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of the key, in hex.
    pub sha256: String,
    /// The names it may use; empty means all.
    pub routes: Vec<String>,
    /// From when on it is refused.
    pub expires_at: Option<Time>,
}
