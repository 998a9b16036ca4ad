//! What a marketplace is asked to run: an image, a disk, and how the engine in it is begun. It holds no secret.

use crate::money::UsdPerHour;
use serde::{Deserialize, Serialize};

/// How the engine of a container is begun, which decides how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The image's entrypoint is replaced by an SSH server; we start the engine over SSH, on the loopback address.
    Ssh,
    /// The image's own entrypoint runs with these arguments, and is reached through a port that the host maps.
    Args {
        /// Arguments.
        argv: Vec<String>,
        /// Environment that is no secret.
        env: Vec<(String, String)>,
        /// The port inside.
        port: u16,
    },
}

/// The two ways by their names, as a provider's configuration chooses between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaunchWay {
    /// [`Way::Ssh`].
    #[default]
    Ssh,
    /// [`Way::Args`].
    Args,
}

/// An order for a container on a rented machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The image with its tag.
    pub image: String,
    /// Disk in bytes.
    pub disk_bytes: u64,
    /// More than this it may not cost, whatever the offer said.
    pub max_price: Option<UsdPerHour>,
    /// How the engine is begun.
    pub way: Way,
}
