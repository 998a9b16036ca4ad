//! What charter knows, kept across a crash: one port, a store in memory for simulations, SQLite in a file, and PostgreSQL.
//!
//! A commit is all or nothing. State, the intents that follow from it, money set aside and the lines of the time line
//! are written together, under the versions that the caller has read. Nothing outside this crate contains SQL.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_usage;
mod connection;
pub mod copy;
pub mod database;
#[cfg(test)]
mod databases;
mod lives;
pub mod mem;
mod migrations;
mod persist;
pub mod port;
mod rows;
mod sql;
pub mod usage;
mod usage_rows;

pub use port::{
    BackendRow, Begun, Claimed, Close, Commit, ControlPlane, Error, KeyRow, Lease, Logged, NewIntent, ReplicaWrite, Role, Store,
    StoredIntent, Tombstone, Versioned, Write,
};
