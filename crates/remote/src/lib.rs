//! Machines reached by SSH: sessions with pinned host keys, commands, files, streams to a port there, local forwards.
//!
//! A stream leads straight to a port on the machine's loopback address, without a listening port here. This crate knows
//! nothing of providers, engines or deployments, and runs nothing that a machine sends back.

pub mod error;
pub mod forward;
pub mod host;
pub mod keys;
pub mod link;
pub mod server;
pub mod session;

pub use error::Error;
pub use forward::Forward;
pub use host::{Host, HostError};
pub use keys::KeyPair;
pub use link::{Link, Links, State};
pub use session::{Output, Session, Stream, Target};
