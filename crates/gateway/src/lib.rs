//! The data plane: one OpenAI-compatible address in front of every backend.
//!
//! It knows a routing table and nothing else: no database, no control plane, no provider. Bodies pass through byte for
//! byte, a stream is never held back, a client that leaves cancels its request, and no POST is ever sent twice. What requests
//! used and what keys may still spend goes through two doors that whoever runs a gateway gives it: [`Sink`] and [`Bank`].

mod arrival;
mod balance;
mod body;
mod breaker;
mod cache;
mod chain;
mod choices;
mod compact;
mod connect;
pub mod destination;
mod errors;
mod explain;
mod form;
mod forward;
mod framing;
mod front;
#[cfg(test)]
mod fuzz;
mod headers;
mod hold;
#[cfg(test)]
mod key_time;
mod lane;
mod limits;
mod line;
mod metrics;
mod opening;
mod plan;
mod plan_log;
mod purse;
mod record;
mod rent;
mod request;
mod said;
mod seat;
mod send;
mod server;
mod sse;
mod steps;
mod table;
mod ticket;
mod turned;
mod voice;
mod words;

pub use explain::explain;
pub use purse::{Bank, Drawn};
pub use record::{Sink, Written};
pub use server::{Door, Gateway, Notice, Now, Outside, Stats};
