//! The planner: from what is wished and what is there to commands, and for each thing it does not do, why.

use crate::deployment::{Deployment, Wish};
use crate::ids::ReplicaId;
use crate::replica::{Phase, Replica, Stop};
use crate::upgrade::Strategy;

/// What the planner decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in order.
    pub commands: Vec<Command>,
    /// Why something else was not done.
    pub reports: Vec<Report>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a replica.
    Open {
        /// Which copy.
        slot: u32,
        /// What it runs.
        generation: u32,
    },
    /// Start another generation on the machine that a replica holds.
    Switch {
        /// Which.
        replica: ReplicaId,
        /// What it is to run.
        generation: u32,
    },
    /// End a replica.
    Stop {
        /// Which.
        replica: ReplicaId,
        /// Why.
        why: Stop,
    },
}

/// Why the planner did not act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// A stable code.
    pub code: &'static str,
    /// A sentence for people.
    pub text: String,
}

/// Compares the wish with what is there. `replicas` must hold all that are open and all of the present generation.
///
/// The same input always gives the same plan, and applying a plan and planning again gives no commands.
#[must_use]
pub fn plan(deployment: &Deployment, replicas: &[Replica]) -> Plan {
    let mut plan = Plan::default();
    let mut order: Vec<&Replica> = replicas.iter().collect();
    order.sort_by(|a, b| (a.generation, a.slot, &a.id).cmp(&(b.generation, b.slot, &b.id)));
    let live = |r: &&Replica| !r.phase.is_closed();
    if deployment.wish == Wish::Stop {
        stop_all(&mut plan, order.iter().copied().filter(live), Stop::Requested);
        return plan;
    }
    // What no place wants: older generations, and copies beyond those that are wanted.
    let wanted = |r: &&Replica| deployment.wants(r.generation, r.slot) || is_switched(deployment, r);
    let (current, leaving): (Vec<&Replica>, Vec<&Replica>) = order.into_iter().partition(wanted);
    let leaving: Vec<&Replica> = leaving.into_iter().filter(live).collect();
    let known = |r: &&Replica| r.generation == deployment.generation || is_switched(deployment, r);
    stop_all(&mut plan, leaving.iter().copied().filter(|r| !known(r)), Stop::Replaced);
    stop_all(&mut plan, leaving.iter().copied().filter(known), Stop::ScaledDown);
    let in_place = deployment.upgrade.as_ref().filter(|u| u.strategy == Strategy::InPlace);
    let generations: Vec<u32> = match &deployment.upgrade {
        Some(u) if in_place.is_none() => vec![u.from, u.to],
        _ => vec![deployment.generation],
    };
    for (slot, generation) in (0..deployment.replicas).flat_map(|slot| generations.iter().map(move |g| (slot, *g))) {
        let generation = if in_place.is_some() { deployment.in_place_of(slot) } else { generation };
        if deployment.wants(generation, slot) {
            let same: Vec<&Replica> = current
                .iter()
                .copied()
                .filter(|r| r.slot == slot && (r.generation == generation || in_place.is_some()))
                .collect();
            one(&mut plan, deployment, (generation, slot), &same, &leaving);
        }
    }
    plan
}

/// A copy that stays on its machine whatever it runs.
fn is_switched(deployment: &Deployment, replica: &Replica) -> bool {
    let in_place = deployment.upgrade.as_ref().filter(|u| u.strategy == Strategy::InPlace);
    let both = in_place.is_some_and(|u| replica.generation == u.from || replica.generation == u.to);
    both && replica.slot < deployment.replicas && !replica.phase.is_closed()
}

/// One place of one generation: who is there, and who has to come.
fn one(plan: &mut Plan, deployment: &Deployment, (generation, slot): (u32, u32), same: &[&Replica], leaving: &[&Replica]) {
    let live = |r: &&&Replica| !r.phase.is_closed();
    if let Some(there) = same.iter().filter(live).find(|r| r.stop.is_none()) {
        let other = there.generation != generation && there.fell_back.as_ref().is_none_or(|f| f.generation != generation);
        if (other && !is_switching(there, generation)) || is_switching_away(there, generation) {
            plan.commands.push(Command::Switch { replica: there.id.clone(), generation });
        }
        return;
    }
    let of = |r: &&&Replica| r.generation == generation && r.phase.is_closed() && r.stop.is_none();
    if let Some(failed) = same.iter().find(of) {
        let class = failed.cause.as_ref().map_or("unknown", |c| c.class.as_str());
        let text = format!("copy {slot} ended with `{class}` and is not tried again before the deployment changes");
        plan.reports.push(Report { code: "P0101", text });
        return;
    }
    // Beside each other only where that is the way of an upgrade; a place that is left by its own kind is waited for.
    let beside = deployment.upgrade.as_ref().is_some_and(|u| u.strategy != Strategy::Recreate);
    let before = leaving.iter().filter(|r| !beside || r.generation == generation).chain(same.iter().filter(live));
    if let Some(old) = before.into_iter().find(|r| r.slot == slot) {
        let text = format!("copy {slot} waits until `{}` has given its machine back", old.id);
        plan.reports.push(Report { code: "P0102", text });
        return;
    }
    plan.commands.push(Command::Open { slot, generation });
}

/// It is on its way to another generation already.
fn is_switching(replica: &Replica, to: u32) -> bool {
    matches!(replica.phase, Phase::Draining { restart: Some(generation), .. } if generation == to)
}

/// It is on its way to another generation than the one that is wanted of it.
fn is_switching_away(replica: &Replica, wanted: u32) -> bool {
    matches!(replica.phase, Phase::Draining { restart: Some(generation), .. } if generation != wanted)
}

fn stop_all<'a>(plan: &mut Plan, replicas: impl Iterator<Item = &'a Replica>, why: Stop) {
    for replica in replicas {
        if replica.stop.is_none() {
            plan.commands.push(Command::Stop { replica: replica.id.clone(), why });
        } else {
            let text = format!("`{}` is on its way out ({})", replica.id, replica.phase.name());
            plan.reports.push(Report { code: "P0103", text });
        }
    }
}
