//! Ways to a deployment's machine that do not lead through the gateway.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How its machine is reached by SSH. The key itself is never sent: its place on the server's machine is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SshWay {
    /// The address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user there.
    pub user: String,
    /// The host key that was seen first, or that the file names; none before the first look.
    pub host_key: Option<String>,
    /// The provider's name of the host.
    pub machine: Option<String>,
    /// The file of the private key on the server's machine; none where charter makes it from its own.
    pub key_file: Option<String>,
    /// The instance that the key belongs to; none for the key of the installation.
    pub key_of: Option<String>,
}

/// A local port that leads to the engine, opened or closed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortWish {
    /// The address that it listens at.
    #[serde(default = "loopback")]
    pub bind: String,
    /// The port; 0 takes a free one.
    #[serde(default)]
    pub port: u16,
    /// Listen on other addresses than loopback.
    #[serde(default)]
    pub insecure: bool,
    /// Close it instead.
    #[serde(default)]
    pub close: bool,
}

fn loopback() -> String {
    "127.0.0.1".to_owned()
}

/// The open port; nothing where it was closed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OpenPort {
    /// Where it listens.
    pub address: Option<String>,
    /// The engine's own key: one that asked for none would be open to every user of this machine.
    pub key: Option<String>,
    /// The port that was open before, and is closed now.
    pub closed: Option<String>,
}

/// A command to run on its machine.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandWish {
    /// As the login shell there reads it.
    pub command: String,
}

/// What came of a command.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CommandDone {
    /// Its exit status; none where a signal ended it.
    pub status: Option<u32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
    /// It printed more than is shown, or ran for longer than a minute, and was not waited for.
    pub cut: bool,
}
