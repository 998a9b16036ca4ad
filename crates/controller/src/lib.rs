//! The shell of the core: it claims what is to be done, performs it, and records what came of it; it looks where a state
//! wants to look, and keeps plan, routes and reality together.
//!
//! The controller never calls a provider's create without a stored intent, and never matches on a provider's name.

mod advice;
mod backends;
mod by_hand;
mod check;
mod closing;
mod command;
pub mod controller;
mod cut_back;
mod declare;
mod declared;
mod drawing;
mod driver;
mod engine_host;
mod engine_key;
mod exam;
mod executor;
mod image_host;
mod keep_alive;
mod live;
mod machine_host;
mod money;
mod ollama;
mod peers;
pub mod ports;
mod probe;
mod routes;
mod run_log;
mod samples;
mod scaling;
mod script;
mod sweep;
pub mod tasks;
mod upgrading;

pub use advice::Advice;
pub use command::{NotRun, Ran, shell_line};
pub use controller::{Controller, Parts, Settings};
pub use declare::{DeclareError, Declared, ExtendError, Extension};
pub use engine_key::engine_key;
pub use executor::LEASE;
pub use live::{EngineView, Progress};
pub use money::Account;
pub use ports::{Asker, Clock, DataPlane, Ids, Machines, Secrets};
pub use run_log::{LogLimits, Piece};
pub use samples::Sample;
pub use sweep::EndError;
pub use tasks::Activation;
