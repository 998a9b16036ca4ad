//! Another generation on the machine that a copy has, and the way back to the one before.

use crate::cause::Cause;
use crate::instance::Instance;
use crate::replica::{FellBack, Phase};
use crate::step::Turn;

impl Turn<'_> {
    /// Another generation is to run: on the machine that is held, once its requests are over.
    pub(crate) fn switch(&mut self, phase: Phase, to: u32) -> Phase {
        if self.r.stop.is_some() {
            return phase;
        }
        match phase {
            // It was to run another one, and is not any more: what it runs goes on.
            Phase::Draining { instance, process: Some(process), restart: Some(_), .. } if self.r.generation == to => {
                Phase::Ready { instance, process, failures: 0 }
            }
            _ if self.r.generation == to => phase,
            Phase::Ready { instance, process, .. } => Phase::Draining {
                instance,
                deadline: self.now + self.policy.limits.drain,
                restart: Some(to),
                process: Some(process),
            },
            Phase::Draining { instance, deadline, restart: Some(_), process } => {
                Phase::Draining { instance, deadline, restart: Some(to), process }
            }
            Phase::Loading { instance, .. } | Phase::Unreachable { instance, .. } => self.run_another(instance, to),
            // Nothing of the old one runs yet.
            Phase::Pending { .. } | Phase::Acquiring(_) | Phase::Booting { .. } => {
                (self.r.generation, self.r.fell_back) = (to, None);
                phase
            }
            Phase::Draining { .. } | Phase::Releasing(_) | Phase::Closed => phase,
        }
    }

    pub(crate) fn run_another(&mut self, instance: Instance, to: u32) -> Phase {
        self.facts.push(format!("starts its engine anew, as generation {to}, on the machine that it has"));
        self.r.generation = to;
        self.r.failed_launches = 0;
        self.r.fell_back = None;
        self.launch(instance, self.now)
    }

    /// The generation that this machine runs again when the present one fails on it.
    pub(crate) fn falls_back(&self) -> Option<u32> {
        self.policy.falls_back_to.filter(|from| self.r.stop.is_none() && *from != self.r.generation)
    }

    pub(crate) fn fall_back(&mut self, instance: Instance, from: u32, cause: &Cause) -> Phase {
        let why = format!("{}: {}", cause.class, cause.evidence);
        let fell = FellBack { generation: self.r.generation, why };
        let next = self.run_another(instance, from);
        self.r.fell_back = Some(fell);
        next
    }
}
