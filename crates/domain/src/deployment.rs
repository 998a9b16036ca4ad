//! What the user wants to run: a profile, how many copies, and whether at all.

use crate::cause::{Action, Cause};
use crate::generation::Generation;
use crate::ids::DeploymentId;
use crate::profile::{Limits, Profile};
use crate::replica::{Phase, Replica};
use crate::scale::Scale;
use crate::time::Time;
use crate::upgrade::{Strategy, Upgrade};
use serde::{Deserialize, Serialize};

/// A deployment's whole stored state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// Its name, unique among those that are not stopped.
    pub name: String,
    /// Who pays.
    pub tenant: String,
    /// Who asked.
    pub owner: String,
    /// The profile's name in its file.
    pub profile_name: String,
    /// The file it came from, if it was on the server's machine.
    pub source_file: Option<String>,
    /// Number of the present specification, from 1. Older commands are refused.
    pub generation: u32,
    /// What runs.
    pub profile: Profile,
    /// Exactly this offer, if one was named.
    pub offer: Option<String>,
    /// How many copies at this moment.
    pub replicas: u32,
    /// Between how many and how many, where requests decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// A local port for other programs, if wanted.
    pub forward: Option<Forward>,
    /// The engine's version, resolved when the generation was made.
    pub engine_version: String,
    /// Should it run?
    pub wish: Wish,
    /// Where the market has nothing that fits, it goes on searching.
    #[serde(default)]
    pub wait: bool,
    /// When it is ended, whatever it does.
    #[serde(default)]
    pub expires_at: Option<Time>,
    /// Until then it is not ended for answering nobody.
    #[serde(default)]
    pub keep_until: Option<Time>,
    /// When it was made.
    pub created_at: Time,
    /// The generations that it had, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Generation>,
    /// The upgrade that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// How it is upgraded, where people have said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
}

/// A listening address on the server's machine that leads to the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The address to bind.
    pub bind: String,
    /// The port; 0 takes a free one.
    pub port: u16,
}

/// Should a deployment run?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Yes.
    Run,
    /// No, and what it holds is given back.
    Stop,
}

/// A deployment as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// On its way to a machine.
    Starting,
    /// The engine is being loaded.
    Loading,
    /// It answers.
    Running,
    /// It answered and cannot be reached now.
    Unreachable,
    /// Nothing runs because nobody asks; the first request starts it.
    Asleep,
    /// On its way out.
    Stopping,
    /// Over, as wished.
    Stopped,
    /// Over, or held, with a cause.
    Error,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Running => "running",
            Self::Unreachable => "unreachable",
            Self::Asleep => "asleep",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }
}

impl Deployment {
    /// The profile's limits, as far as this deployment keeps to them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let limits = self.profile.limits;
        Limits { search_retries: if self.wait { u32::MAX } else { limits.search_retries }, ..limits }
    }

    /// Does nothing of it run because nobody asks?
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.wish == Wish::Run && self.replicas == 0 && self.scale.is_some()
    }

    /// The status that its replicas add up to: the best of them speaks for all.
    #[must_use]
    pub fn status(&self, replicas: &[Replica]) -> Status {
        let open = || replicas.iter().filter(|r| !r.phase.is_closed());
        let any = |f: fn(&Phase) -> bool| open().any(|r| f(&r.phase));
        if any(|p| matches!(p, Phase::Ready { .. })) {
            return Status::Running;
        }
        if self.wish == Wish::Stop {
            return if open().next().is_none() { Status::Stopped } else { Status::Stopping };
        }
        if self.is_asleep() && open().next().is_none() {
            return Status::Asleep;
        }
        if any(|p| matches!(p, Phase::Loading { .. })) {
            return Status::Loading;
        }
        if any(|p| matches!(p, Phase::Pending { .. } | Phase::Acquiring(_) | Phase::Booting { .. })) {
            return Status::Starting;
        }
        // A machine that failed is given back before the next one is looked for: that is no end yet.
        let attempts = self.profile.limits.attempts;
        let goes_on = |r: &&Replica| matches!(r.phase, Phase::Releasing(_)) && r.stop.is_none() && r.tried() < attempts;
        if open().filter(|r| r.generation == self.generation).any(|r| goes_on(&r)) {
            return Status::Starting;
        }
        if self.cause(replicas).is_some_and(|c| c.action != Action::None) {
            return Status::Error;
        }
        if any(|p| matches!(p, Phase::Unreachable { .. })) {
            return Status::Unreachable;
        }
        if open().next().is_some() { Status::Stopping } else { Status::Starting }
    }

    /// A copy of the present generation that has failed for good, and that nothing has come in the place of.
    #[must_use]
    pub fn is_given_up(&self, replica: &Replica, replicas: &[Replica]) -> bool {
        let same = |r: &Replica| r.slot == replica.slot && r.generation == self.generation;
        let lives = |r: &Replica| same(r) && !r.phase.is_closed() && r.stop.is_none();
        let failed = replica.phase.is_closed() && replica.stop.is_none() && replica.generation == self.generation;
        failed && !replicas.iter().any(lives)
    }

    /// What went wrong with the present generation, if anything did and nothing of it answers.
    #[must_use]
    pub fn cause<'a>(&self, replicas: &'a [Replica]) -> Option<&'a Cause> {
        let counts = |r: &&Replica| !r.phase.is_closed() || r.stop.is_some() || self.is_given_up(r, replicas);
        replicas.iter().filter(|r| r.generation == self.generation).filter(counts).find_map(|r| r.cause.as_ref())
    }
}
