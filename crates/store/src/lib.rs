//! What charter knows, kept across a crash: one port, a store in memory for simulations, and SQLite.
//!
//! A commit is all or nothing. State, the intents that follow from it, money set aside and the lines of the time line
//! are written together, under the versions that the caller has read. Nothing outside this crate contains SQL.

#[cfg(test)]
mod conformance;
pub mod mem;
mod persist;
pub mod port;
mod sql;
pub mod sqlite;

pub use port::{
    BackendRow, Begun, Claimed, Close, Commit, Error, KeyRow, NewIntent, ReplicaWrite, Role, Store, StoredIntent, Versioned,
    Write,
};
