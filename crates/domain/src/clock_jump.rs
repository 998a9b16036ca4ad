//! Clocks jump. A stored time that lies further ahead than anything is ever planned was written under another clock, and is
//! taken back to what the rules allow: otherwise a machine would be waited for, or paid for, as long as the jump was wide.

use crate::instance::Acquisition;
use crate::policy::Policy;
use crate::replica::{Phase, Replica};
use crate::time::{Span, Time};

/// Nothing that is to be done is ever put off by so much.
pub const NEVER_SO_FAR: Span = Span::min(60);

/// Is a stored time one that was written under another clock?
#[must_use]
pub fn is_from_another_clock(at: Time, now: Time) -> bool {
    at.since(now) > NEVER_SO_FAR
}

/// Takes the times of a replica back to what its rules allow, seen from now.
pub(crate) fn bring_back(replica: &mut Replica, now: Time, policy: &Policy) {
    let limits = &policy.limits;
    let nearest = |at: &mut Time, longest: Span| *at = (*at).min(now + longest);
    replica.since = replica.since.min(now);
    match &mut replica.phase {
        Phase::Pending { not_before } => nearest(not_before, policy.backoff_max),
        Phase::Acquiring(Acquisition::Resolving { give_up_at, .. }) => nearest(give_up_at, policy.visibility_horizon),
        Phase::Booting { deadline, .. } => nearest(deadline, Span(limits.boot.0.max(limits.ssh.0))),
        Phase::Loading { deadline, .. } => nearest(deadline, limits.load),
        Phase::Unreachable { since, .. } => nearest(since, Span(0)),
        Phase::Draining { deadline, .. } => nearest(deadline, policy.drain),
        Phase::Acquiring(Acquisition::Renting(_)) | Phase::Ready { .. } | Phase::Releasing(_) | Phase::Closed => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeploymentId, ReplicaId};

    #[test]
    fn after_a_jump_back_nothing_is_waited_for_longer_than_the_rules_say() {
        let mut replica = Replica::open(ReplicaId("rep_a".into()), DeploymentId("dep_a".into()), 1, 0, Time(86_400_000));
        bring_back(&mut replica, Time(0), &Policy::default());
        assert!(matches!(replica.phase, Phase::Pending { not_before } if not_before == Time(300_000)));
        assert_eq!(replica.since, Time(0));
        assert!(is_from_another_clock(Time(86_400_000), Time(0)) && !is_from_another_clock(Time(300_000), Time(0)));
    }
}
