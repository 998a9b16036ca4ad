//! When a replica wants to look around next.

use crate::replica::{LAUNCH_QUIET, Phase};
use crate::step::Turn;
use crate::time::{Span, Time};

impl Turn<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other phases are looked at at the usual pace")]
    pub(crate) fn wake_at(&self) -> Option<Time> {
        self.r.look()?;
        // A drain is watched closely: every moment of it is paid for.
        let closely = Span::ms(self.policy.look_starting.0 / 8);
        // What has just begun may be over at once; what takes long is looked at less and less, up to the usual pace.
        let elapsed = self.now.since(self.r.since);
        let young =
            Span((elapsed.0 / 4).clamp(self.policy.look_gap.0.min(self.policy.look_starting.0), self.policy.look_starting.0));
        Some(match &self.r.phase {
            // A search that could not even be made is made again, and not at once for ever.
            Phase::Pending { not_before } if *not_before <= self.now => self.now + self.policy.look_starting,
            Phase::Pending { not_before } => *not_before,
            // A machine that is rented may be there at any moment, and is paid for from then on.
            Phase::Booting { instance, .. } if instance.placement.order.is_some() => {
                self.now + self.policy.look_gap.min(self.policy.look_starting)
            }
            Phase::Ready { failures: 0, .. } => self.now + self.policy.look_ready,
            // What takes long to begin is looked at through its provider.
            Phase::Loading { process: None, .. } => self.now + LAUNCH_QUIET,
            Phase::Booting { .. } | Phase::Loading { .. } => self.now + young,
            Phase::Releasing(release) if release.absent_looks == 0 => self.now + young,
            Phase::Draining { .. } if elapsed.0 == 0 => self.now + young,
            Phase::Draining { deadline, .. } => (self.now + closely).min(*deadline),
            Phase::Releasing(release) if release.absent_looks > 0 => self.now + self.policy.absence_gap,
            _ => self.now + self.policy.look_starting,
        })
    }
}
