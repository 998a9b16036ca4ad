//! A machine and an engine on your own computer: the demo runs on them, and so do the tests.
//!
//! The machine is an SSH server in this process whose commands are real processes. The engine is a stand-in with vLLM's
//! command line, log, phases, HTTP API and ways to fail, but no model: it answers with the words it was asked.

mod anthropic;
pub mod engine;
pub mod hosted;
pub mod machine;
pub mod market;
mod sshd;
