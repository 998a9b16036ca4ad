//! Inference servers as data: how they are started, what their logs mean, how they are probed, what they need.
//!
//! Nothing here runs anything. This crate knows no provider, no network and no clock.

pub mod capability;
pub mod fit;
pub mod log;
pub mod ollama;
pub mod probe;
pub mod vllm;
