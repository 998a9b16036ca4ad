//! The control plane's HTTP API: thin handlers over the controller, with a key and a role for every route.

mod admin_vllm;
mod afresh;
mod auth;
mod backends;
mod cloud_model;
mod cloud_upgrade;
mod convert;
mod deployments;
mod gateways;
mod hosts;
mod keys;
mod manifest;
mod metrics;
mod money;
mod offers;
mod plan;
mod problem;
mod router;
mod routes;
mod saved;
mod status;
mod stream;
mod upgrades;
mod usage;

pub use afresh::{Files, Sections};
pub use auth::{hash, prefix_of};
pub use convert::secret;
pub use gateways::{Gateways, Published};
pub use router::{App, Explain, Register, Versions, router, serve};
pub use status::rfc3339;
pub use upgrades::spawn_fleets;
pub use usage::{Batch as UsageBatch, Draw as UsageDraw, Drawn as UsageDrawn};
