//! What must always hold, by name. One registry for the simulation, the tests and a running server.

use crate::intent::Effect;
use crate::replica::{Phase, Replica};
use std::collections::BTreeMap;

/// The named invariants of this project's life cycle. Those with a number are known by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvariantId {
    /// I1: an instance at the provider that no stored row accounts for.
    Accounted,
    /// I2: something is still held after all is closed.
    CleanSlate,
    /// I3: what was counted is less than what the provider took.
    LedgersAgree,
    /// I4: more was spent than the limit and the published bound.
    WithinBudget,
    /// I5: more than one live instance under one replica.
    OneInstancePerReplica,
    /// I6: a foreign instance was destroyed.
    StrangersUntouched,
    /// I7: two generations of one deployment get new requests.
    OneGenerationRouted,
    /// I8: a client saw a failure while a healthy copy was there.
    NoRequestLost,
    /// I9: an answer of another model or another tenant's machine.
    RightModelAnswers,
    /// I10: a row that is not final and that nothing will ever touch again.
    NothingStuck,
    /// I11: more was ended at once, without a person's word, than the brake lets through.
    Braked,
    /// I12: one seed gave two traces.
    SameTrace,
    /// I13: a fault or a way to leak was never reached.
    Covered,
    /// More than one engine process alive on one instance.
    OneEnginePerInstance,
    /// An effect was begun without a stored intent.
    IntentBeforeEffect,
    /// An open deployment did not come to run, or a stopped one did not end.
    Converges,
}

impl InvariantId {
    /// The number that it is known by, if it has one.
    #[must_use]
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Accounted => Some(1),
            Self::CleanSlate => Some(2),
            Self::LedgersAgree => Some(3),
            Self::WithinBudget => Some(4),
            Self::OneInstancePerReplica => Some(5),
            Self::StrangersUntouched => Some(6),
            Self::OneGenerationRouted => Some(7),
            Self::NoRequestLost => Some(8),
            Self::RightModelAnswers => Some(9),
            Self::NothingStuck => Some(10),
            Self::Braked => Some(11),
            Self::SameTrace => Some(12),
            Self::Covered => Some(13),
            Self::OneEnginePerInstance | Self::IntentBeforeEffect | Self::Converges => None,
        }
    }
}

/// An invariant that does not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub id: InvariantId,
    /// Where.
    pub text: String,
}

/// What can be seen of a world at one moment.
#[derive(Clone, Debug, Default)]
pub struct World<'a> {
    /// Stored replicas with the time of their next look, if one is planned.
    pub replicas: Vec<(&'a Replica, bool)>,
    /// Stored intents by replica.
    pub intents: BTreeMap<String, Vec<&'a Effect>>,
    /// Instances alive at the provider: tag as text, engines alive on it.
    pub alive: Vec<(String, u32)>,
}

/// Checks what must hold at every moment.
#[must_use]
pub fn check(world: &World<'_>) -> Vec<Violation> {
    let mut found = vec![];
    let mut per_replica: BTreeMap<String, u32> = BTreeMap::new();
    for (tag, engines) in &world.alive {
        if *engines > 1 {
            found.push(violation(InvariantId::OneEnginePerInstance, format!("{engines} engines on `{tag}`")));
        }
        let owner = tag.rsplit_once('.').map_or(tag.as_str(), |(owner, _)| owner);
        *per_replica.entry(owner.to_owned()).or_default() += 1;
        if !world.replicas.iter().any(|(r, _)| accounts_for(r, tag)) {
            found.push(violation(InvariantId::Accounted, format!("nobody knows `{tag}`")));
        }
    }
    for (owner, count) in per_replica.into_iter().filter(|(_, count)| *count > 1) {
        found.push(violation(InvariantId::OneInstancePerReplica, format!("{count} instances under `{owner}`")));
    }
    for (replica, awaited) in &world.replicas {
        let due = world.intents.get(&replica.id.0).is_some_and(|i| !i.is_empty());
        let held = matches!(replica.phase, Phase::Unreachable { held: true, .. });
        if !replica.phase.is_closed() && !held && !due && !awaited {
            let text = format!("`{}` is {} and nothing is planned", replica.id, replica.phase.name());
            found.push(violation(InvariantId::NothingStuck, text));
        }
    }
    found
}

/// Does the stored state of `replica` know that `tag` may exist?
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "all phases but one hold their instance in the same way")]
pub fn accounts_for(replica: &Replica, tag: &str) -> bool {
    let known = match &replica.phase {
        Phase::Acquiring(state) => Some(&state.bid().tag),
        _ => replica.instance().map(|i| &i.tag),
    };
    known.is_some_and(|t| t.to_string() == tag)
}

/// A violation in one call.
#[must_use]
pub const fn violation(id: InvariantId, text: String) -> Violation {
    Violation { id, text }
}
