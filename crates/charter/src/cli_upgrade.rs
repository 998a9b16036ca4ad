//! Flags of upgrades, manifests and saved configurations.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub(crate) struct Upgrade {
    /// Which; or `--all`
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Everything that runs, one after the other
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// Of these, only those of this profile
    #[arg(long, value_name = "P")]
    pub(crate) profile: Option<String>,
    /// Show what it would do, touching nothing; exit 2 when there is something to do
    #[arg(long)]
    pub(crate) what_if: bool,
    #[command(flatten)]
    pub(crate) how: How,
    /// Several at once, wave by wave: numbers or parts, such as `1,50%`
    #[arg(long, value_name = "W")]
    pub(crate) waves: Option<String>,
    /// Go on where one has failed
    #[arg(long)]
    pub(crate) keep_going: bool,
}

/// How an upgrade is done and watched.
#[derive(Clone, Debug, Args)]
pub(crate) struct How {
    /// auto, side-by-side, rolling, in-place or recreate; else what the file says, or what fits
    #[arg(long, value_name = "S")]
    pub(crate) strategy: Option<String>,
    /// Return at once
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Rollback {
    pub(crate) name: String,
    /// To this generation; else the one before
    #[arg(long, value_name = "GEN")]
    pub(crate) to: Option<u32>,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Migrate {
    pub(crate) name: String,
    /// Where to
    #[arg(long, value_name = "X")]
    pub(crate) provider: String,
    /// Show what it would do, touching nothing; exit 2 when there is something to do
    #[arg(long)]
    pub(crate) what_if: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Manifest {
    /// Print a deployment's manifest
    Export { name: String },
    /// Run what a manifest says: the same version, revision and seed
    Apply {
        file: PathBuf,
        #[command(flatten)]
        again: Again,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Saved {
    /// Keep what a deployment is now
    Save {
        /// The name that it is kept under
        name: String,
        /// The deployment
        #[arg(long, value_name = "DEPLOYMENT")]
        from: String,
    },
    /// List what is kept
    List,
    /// Print one
    Show { name: String },
    /// Forget one
    Remove { name: String },
    /// Run one
    Deploy {
        name: String,
        #[command(flatten)]
        again: Again,
    },
}

/// What a manifest does not hold.
#[derive(Clone, Debug, Args)]
pub(crate) struct Again {
    /// Run it under another name
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) under: Option<String>,
    /// On this machine of ours
    #[arg(long, value_name = "MACHINE")]
    pub(crate) node: Option<String>,
    /// With this local port
    #[arg(long, value_name = "P")]
    pub(crate) port: Option<u16>,
    /// A variable of this command's environment that the engine gets; may be repeated
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) env: Vec<String>,
    /// Return at once
    #[arg(long)]
    pub(crate) detach: bool,
}
