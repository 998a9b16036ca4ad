//! The planner: from what is wished and what is there to commands, and for each thing it does not do, why.

use crate::deployment::{Deployment, Wish};
use crate::ids::ReplicaId;
use crate::replica::{Replica, Stop};

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
    /// Open a replica of the present generation.
    Open {
        /// Which copy.
        slot: u32,
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
    let (current, older): (Vec<&Replica>, Vec<&Replica>) = order.into_iter().partition(|r| r.generation == deployment.generation);
    let leaving: Vec<&Replica> = older.into_iter().filter(live).collect();
    stop_all(&mut plan, leaving.iter().copied(), Stop::Replaced);
    stop_all(&mut plan, current.iter().copied().filter(live).filter(|r| r.slot >= deployment.replicas), Stop::ScaledDown);
    for slot in 0..deployment.replicas {
        let same: Vec<&&Replica> = current.iter().filter(|r| r.slot == slot).collect();
        if same.iter().any(|r| live(r) && r.stop.is_none()) {
            continue;
        }
        if let Some(failed) = same.iter().find(|r| r.phase.is_closed() && r.stop.is_none()) {
            let class = failed.cause.as_ref().map_or("unknown", |c| c.class.as_str());
            let text = format!("copy {slot} ended with `{class}` and is not tried again before the deployment changes");
            plan.reports.push(Report { code: "P0101", text });
            continue;
        }
        if let Some(old) = leaving.iter().chain(same.iter().copied().filter(|r| live(r))).find(|r| r.slot == slot) {
            let text = format!("copy {slot} waits until `{}` has given its machine back", old.id);
            plan.reports.push(Report { code: "P0102", text });
            continue;
        }
        plan.commands.push(Command::Open { slot });
    }
    plan
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
