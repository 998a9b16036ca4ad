//! Effects on the outside world, stored before they are begun, and their outcomes.

use crate::cause::{Action, Cause};
use crate::ids::{IntentId, ReplicaId};
use crate::instance::{Bid, Instance};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Something to be done outside. What is only looked at is no effect: see [`crate::look::Look`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Take an instance. At most one call per tag, whatever happens.
    Create {
        /// What is asked for.
        bid: Bid,
    },
    /// Start the engine. Repeatable: the machine refuses a number that it has started already.
    Launch {
        /// Where.
        instance: Instance,
        /// Which start on this instance, from 1.
        number: u32,
    },
    /// Give the instance back. Repeatable: what is gone already counts as success.
    Destroy {
        /// What is given back.
        instance: Instance,
    },
}

impl Effect {
    /// May the effect be begun only once, even when its end was never recorded?
    #[must_use]
    pub const fn once(&self) -> bool {
        matches!(self, Self::Create { .. })
    }

    /// Its name in stored rows and logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Launch { .. } => "launch",
            Self::Destroy { .. } => "destroy",
        }
    }
}

/// An effect that a step wants, not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What.
    pub effect: Effect,
    /// Not before.
    pub not_before: Time,
}

/// A stored effect that is not known to be finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its id.
    pub id: IntentId,
    /// The replica whose state asked for it.
    pub replica: ReplicaId,
    /// What is to be done.
    pub effect: Effect,
    /// Not before.
    pub due_at: Time,
}

/// Why a provider, or a machine, said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What it said.
    pub message: String,
    /// Who should be asked next.
    pub action: Action,
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The instance is ours.
    Created(Box<Instance>),
    /// Nothing was made.
    Refused(Refusal),
    /// It may or may not have happened.
    Unknown,
    /// The engine's process runs.
    Launched(Process),
    /// The engine cannot be started here.
    LaunchFailed(Cause),
    /// The provider accepted the end, or knew nothing of it.
    Destroyed,
    /// It did not work this time.
    Retry(String),
}

/// The engine's process on its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// The port on the machine's loopback address where it will listen.
    pub port: u16,
}
