//! Whole worlds: the real controller, with all its turns, on a real store that fails now and then, in a market that lies. One
//! control plane or several on the same store; they die, sleep, and are cut off from the market or from the store.

mod market;
mod plane;
mod rules;
mod store;
mod world;

pub use world::{Bug, Kind, Whole, run};
