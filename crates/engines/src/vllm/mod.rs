//! vLLM: versions, command line, installation, and the traps of its image.

pub mod install;
pub mod launch;
pub mod version;
