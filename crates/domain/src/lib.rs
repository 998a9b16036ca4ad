//! The nouns of charter, the money, the state machines and the planner.
//!
//! Everything here is a pure function of its arguments: no clock, no chance, no network, no files, no `async`.
//! Time and ids come in as arguments; what should be done outside comes back as [`intent::Effect`] values that
//! the caller must store before it acts on them. This crate never knows which provider, engine or database is used.

pub mod budget;
pub mod card;
pub mod cause;
pub mod change;
pub mod clock_jump;
pub mod cutback;
pub mod deployment;
pub mod fact;
pub mod filter;
pub mod fleet;
pub mod generation;
pub mod host_memory;
pub mod ids;
pub mod instance;
pub mod intent;
pub mod invariants;
pub mod inventory;
pub mod look;
pub mod money;
pub mod offer;
pub mod order;
mod pace;
pub mod placement;
pub mod plan;
pub mod policy;
pub mod profile;
pub mod replica;
pub mod reservation;
pub mod routing;
pub mod scale;
pub mod score;
pub mod step;
pub mod succession;
pub mod sweep;
mod switching;
pub mod time;
pub mod upgrade;
pub mod usage;
pub mod verdict;
