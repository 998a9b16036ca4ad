//! What an engine's log says: cleaned lines, the phase of the start, and the class of a failure.

pub mod capacity;
pub mod clean;
mod exception;
pub mod explain;
pub mod load;
pub mod phase;
mod prefix;
mod signature;

pub use explain::{Explanation, explain};
pub use phase::Phase;
