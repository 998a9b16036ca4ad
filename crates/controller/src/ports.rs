//! What the controller is given from outside: time, ids, secrets, and the data plane's counters.

use async_trait::async_trait;
use charter_domain::instance::Instance;
use charter_domain::intent::Outcome;
use charter_domain::look::{EngineSight, Sight};
use charter_domain::profile::SecretRef;
use charter_domain::time::Time;

/// The present time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
}

/// Fresh ids.
pub trait Ids: Send + Sync {
    /// The part of an id after its prefix: letters and digits, rising with time.
    fn fresh(&self) -> String;
}

/// Reads secrets where the configuration says they are.
pub trait Secrets: Send + Sync {
    /// The secret's value.
    ///
    /// # Errors
    /// Why it cannot be had, without any part of it.
    fn read(&self, secret: &SecretRef) -> Result<String, String>;
}

/// Machines and the engines on them, where they are not reached over SSH: in simulations.
#[async_trait]
pub trait Machines: Send + Sync {
    /// Does a machine that is called running let us in?
    async fn enter(&self, instance: &Instance) -> Sight;
    /// Starts its engine under a number; the same number again starts nothing.
    async fn launch(&self, instance: &Instance, number: u32) -> Outcome;
    /// What its engine does.
    async fn engine(&self, instance: &Instance) -> EngineSight;
}

/// The gateway, as far as the controller must know it.
pub trait DataPlane: Send + Sync {
    /// Requests that are being answered by a backend, once every gateway has the table of `version` or a later one.
    ///
    /// # Errors
    /// Which gateway may still send it new ones.
    fn in_flight(&self, backend: &str, version: u64) -> Result<u64, String>;
    /// When the backend answered its last request.
    fn last_used(&self, backend: &str) -> Option<Time>;
    /// Requests that wait for a deployment at all gateways.
    fn waiting(&self, _deployment: &str) -> u64 {
        0
    }
    /// Gateways that use the table.
    fn gateways(&self) -> u32 {
        1
    }
}

/// Asks backends that charter did not start.
#[async_trait]
pub trait Asker: Send + Sync {
    /// The names that it lists.
    ///
    /// # Errors
    /// Why it gave no good answer.
    async fn names(&self, base_url: &str) -> Result<Vec<String>, String>;
    /// Its metrics, if it shows any.
    async fn metrics(&self, base_url: &str) -> Option<String>;
}
