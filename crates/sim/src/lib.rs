//! Simulation of the life cycle: the real core and the real commit rules in a world that lies, loses and crashes.
//!
//! Only a seed goes in. The store and the cloud survive a crash, nothing else does. Every crash point has a number, so
//! that each can be died at; every intent can be delivered twice; invariants are checked after every event.

pub mod cloud;
pub mod coverage;
mod executor;
mod fixtures;
pub mod mutation;
mod orphans;
mod outside;
pub mod rng;
pub mod sweep;
mod upgrades;
mod users;
mod verdict;
pub mod whole;
pub mod world;
