//! One copy of a deployment that can answer requests, and the phase it is in.

use crate::cause::Cause;
use crate::ids::{DeploymentId, ReplicaId};
use crate::instance::{Acquisition, Instance, Release};
use crate::intent::Process;
use crate::look::Look;
use crate::time::{Span, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A replica's whole stored state.
/// A start is begun within so long where its machine is well.
pub const LAUNCH_QUIET: Span = Span::s(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its id.
    pub id: ReplicaId,
    /// Whose copy it is.
    pub deployment: DeploymentId,
    /// The generation of the deployment that it runs.
    pub generation: u32,
    /// Which copy, from 0.
    pub slot: u32,
    /// Set once it has to end; never cleared.
    pub stop: Option<Stop>,
    /// Machines asked for so far.
    pub attempt: u32,
    /// Of those, how many were refused before anything was rented: an offer that is gone is no failed machine.
    #[serde(default)]
    pub refused: u32,
    /// Attempts that count no longer: those before it ran well for a while, and numbers that a restored backup leaves out.
    #[serde(default)]
    pub left_out: u32,
    /// It has run well for a while: from then on it comes back, however long that takes.
    #[serde(default)]
    pub settled: bool,
    /// Searches in a row that found nothing.
    pub searches: u32,
    /// Engine starts on the present machine.
    pub launches: u32,
    /// Of those, how many failed since it last settled.
    pub failed_launches: u32,
    /// Hosts that failed this replica.
    pub excluded_hosts: Vec<String>,
    /// Providers that failed this replica, as a whole or by a machine that let nobody in.
    pub excluded_providers: Vec<String>,
    /// The cards of rented machines that failed this replica, once for each machine.
    #[serde(default)]
    pub failed_cards: Vec<String>,
    /// The last thing that went wrong.
    pub cause: Option<Cause>,
    /// The generation that failed on its machine, so that it runs the one before it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fell_back: Option<FellBack>,
    /// Where it is.
    pub phase: Phase,
    /// When it came there.
    pub since: Time,
    /// How long it was in each phase that it has left, the last time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub took: BTreeMap<String, Span>,
}

/// A generation that failed on a machine which now runs the one before it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FellBack {
    /// The one that failed.
    pub generation: u32,
    /// Why.
    pub why: String,
}

/// Why a replica has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The user said so.
    Requested,
    /// A newer generation takes its place.
    Replaced,
    /// Fewer copies are wanted.
    ScaledDown,
}

/// Where a replica is. Each phase holds exactly what it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Looking for an offer, not before a time.
    Pending {
        /// Not before.
        not_before: Time,
    },
    /// A machine is being taken.
    Acquiring(Acquisition),
    /// The machine is ours and does not answer yet.
    Booting {
        /// The machine.
        instance: Instance,
        /// Until when it may take.
        deadline: Time,
    },
    /// The engine is being started.
    Loading {
        /// The machine.
        instance: Instance,
        /// Known once the start was confirmed.
        process: Option<Process>,
        /// Until when it may take.
        deadline: Time,
    },
    /// It answers.
    Ready {
        /// The machine.
        instance: Instance,
        /// The engine.
        process: Process,
        /// Looks in a row that were not answered well.
        failures: u32,
    },
    /// It answered once and cannot be asked now, or is kept after a failure for a person to look at.
    Unreachable {
        /// The machine.
        instance: Instance,
        /// The engine, if it was started.
        process: Option<Process>,
        /// Since when.
        since: Time,
        /// Kept on purpose.
        held: bool,
    },
    /// No new requests; the present ones may finish.
    Draining {
        /// The machine.
        instance: Instance,
        /// Until when.
        deadline: Time,
        /// It is started anew as this generation, and not given back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart: Option<u32>,
        /// The engine that finishes its requests.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<Process>,
    },
    /// The machine is given back.
    Releasing(Release),
    /// Over; nothing is left outside.
    Closed,
}

impl Replica {
    /// Cards on which it has failed on more than one machine.
    #[must_use]
    pub fn doubtful_cards(&self) -> Vec<String> {
        let mut twice: Vec<String> = self
            .failed_cards
            .iter()
            .enumerate()
            .filter(|(n, c)| self.failed_cards[..*n].contains(c))
            .map(|(_, c)| c.clone())
            .collect();
        twice.sort();
        twice.dedup();
        twice
    }

    /// The instance that was held before and is not any more: its end was seen.
    #[must_use]
    pub fn let_go<'a>(&'a self, after: &Self) -> Option<&'a Instance> {
        self.instance().filter(|i| after.instance().is_none_or(|held| held.tag != i.tag))
    }

    /// A replica that has done nothing yet.
    #[must_use]
    pub const fn open(id: ReplicaId, deployment: DeploymentId, generation: u32, slot: u32, now: Time) -> Self {
        Self {
            id,
            deployment,
            generation,
            slot,
            stop: None,
            attempt: 0,
            refused: 0,
            left_out: 0,
            settled: false,
            searches: 0,
            launches: 0,
            failed_launches: 0,
            excluded_hosts: vec![],
            excluded_providers: vec![],
            failed_cards: vec![],
            cause: None,
            fell_back: None,
            phase: Phase::Pending { not_before: now },
            since: now,
            took: BTreeMap::new(),
        }
    }

    /// Machines that were tried in earnest.
    #[must_use]
    pub const fn tried(&self) -> u32 {
        self.attempt.saturating_sub(self.refused).saturating_sub(self.left_out)
    }

    /// What has run well for a while begins anew when it fails: earlier failures say nothing of it any more.
    pub(crate) fn settle(&mut self, now: Time, settled_after: Span) {
        if matches!(self.phase, Phase::Ready { .. }) && now.since(self.since) >= settled_after {
            self.settled = true;
            self.failed_launches = 0;
            self.left_out = self.attempt.saturating_sub(self.refused);
        }
    }

    /// The instance that is held now, if one is known.
    #[must_use]
    pub const fn instance(&self) -> Option<&Instance> {
        match &self.phase {
            Phase::Booting { instance, .. }
            | Phase::Loading { instance, .. }
            | Phase::Ready { instance, .. }
            | Phase::Unreachable { instance, .. }
            | Phase::Draining { instance, .. } => Some(instance),
            Phase::Releasing(release) => Some(&release.instance),
            Phase::Pending { .. } | Phase::Acquiring(_) | Phase::Closed => None,
        }
    }

    /// The engine's process, if it was started.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        match &self.phase {
            Phase::Ready { process, .. } => Some(process),
            Phase::Loading { process, .. } | Phase::Unreachable { process, .. } => process.as_ref(),
            Phase::Pending { .. } | Phase::Acquiring(_) | Phase::Booting { .. } | Phase::Draining { .. } => None,
            Phase::Releasing(_) | Phase::Closed => None,
        }
    }

    /// From when on it wants to look: a start that is on its way is not disturbed.
    #[must_use]
    pub fn looks_from(&self) -> Time {
        match self.phase {
            Phase::Pending { not_before } => not_before,
            Phase::Loading { process: None, .. } => self.since + LAUNCH_QUIET,
            Phase::Acquiring(_)
            | Phase::Booting { .. }
            | Phase::Loading { .. }
            | Phase::Ready { .. }
            | Phase::Unreachable { .. }
            | Phase::Draining { .. }
            | Phase::Releasing(_)
            | Phase::Closed => self.since,
        }
    }

    /// What it wants to see next; `None` while an effect is under way, and at the end.
    #[must_use]
    pub fn look(&self) -> Option<Look> {
        match &self.phase {
            Phase::Pending { .. } => Some(Look::Offers),
            Phase::Acquiring(Acquisition::Resolving { bid, .. }) => Some(Look::Tag(bid.clone())),
            Phase::Booting { instance, .. } => Some(Look::Machine(instance.clone())),
            Phase::Loading { instance, process: Some(process), .. } | Phase::Ready { instance, process, .. } => {
                Some(Look::Engine(instance.clone(), process.clone()))
            }
            Phase::Unreachable { instance, process: Some(process), held: false, .. } => {
                Some(Look::Engine(instance.clone(), process.clone()))
            }
            Phase::Draining { .. } => Some(Look::InFlight),
            Phase::Releasing(release) if release.accepted => Some(Look::Absence(release.instance.clone())),
            // A rented machine may be taken away before anything was started there.
            Phase::Loading { instance, process: None, .. } if instance.placement.order.is_some() => {
                Some(Look::Machine(instance.clone()))
            }
            Phase::Acquiring(Acquisition::Renting(_)) | Phase::Loading { process: None, .. } => None,
            Phase::Unreachable { .. } | Phase::Releasing(_) | Phase::Closed => None,
        }
    }
}

impl Phase {
    /// The phase's name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Acquiring(Acquisition::Renting(_)) => "renting",
            Self::Acquiring(Acquisition::Resolving { .. }) => "resolving",
            Self::Booting { .. } => "booting",
            Self::Loading { .. } => "loading",
            Self::Ready { .. } => "ready",
            Self::Unreachable { .. } => "unreachable",
            Self::Draining { .. } => "draining",
            Self::Releasing(_) => "releasing",
            Self::Closed => "closed",
        }
    }

    /// Is nothing left to be done?
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }
}
