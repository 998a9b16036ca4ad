//! The data plane: one OpenAI-compatible address in front of every backend.
//!
//! It knows a routing table and nothing else: no database, no control plane, no provider. Bodies pass through byte for
//! byte, a stream is never held back, a client that leaves cancels its request, and no POST is ever sent twice.

mod body;
mod connect;
mod errors;
mod request;
mod server;
mod table;

pub use server::{Gateway, Now, Stats};
