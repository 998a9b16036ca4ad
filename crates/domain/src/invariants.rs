//! What must always hold, by name. One registry for the simulation, the tests and a running server.

use crate::intent::Effect;
use crate::replica::{Phase, Replica};
use std::collections::BTreeMap;

/// The named invariants of this project's life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvariantId {
    /// An instance at the provider that no stored row accounts for.
    Accounted,
    /// Something is still held after all is closed.
    CleanSlate,
    /// More than one live instance under one replica.
    OneInstancePerReplica,
    /// More than one engine process alive on one instance.
    OneEnginePerInstance,
    /// An effect was begun without a stored intent.
    IntentBeforeEffect,
    /// A row that is not final and that nothing will ever touch again.
    NothingStuck,
    /// A foreign instance was destroyed.
    StrangersUntouched,
    /// An open deployment did not come to run, or a stopped one did not end.
    Converges,
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
