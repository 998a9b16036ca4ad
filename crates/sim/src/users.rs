//! Users of a simulated world: what they ask for, and how they change their minds. And how long the parts of a world are.

use crate::fixtures::deployment;
use crate::world::{Sim, now};
use charter_domain::deployment::Wish;
use charter_domain::time::Time;
use charter_store::{Commit, Store, Write};

/// How long the parts of a world are: faults, then none, then everything is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Faults end.
    pub(crate) calm: Time,
    /// Everything must have come to rest, and is ended.
    pub(crate) settled: Time,
    /// Nothing may be left.
    pub(crate) end: Time,
    /// The most deployments; a fifth of a long one's at the least.
    pub(crate) most: i64,
    /// The most changes of mind for each.
    wishes: u64,
}

pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const SHORT: Shape = Shape { calm: Time(HOUR), settled: Time(6 * HOUR), end: Time(9 * HOUR), most: 3, wishes: 3 };
pub(crate) const LONG: Shape =
    Shape { calm: Time(24 * HOUR), settled: Time(30 * HOUR), end: Time(33 * HOUR), most: 40, wishes: 30 };

impl Sim {
    pub(crate) fn declare(&mut self, n: i64) {
        let state = deployment(n, u32::try_from(self.rng.between(1, 2)).unwrap_or(1));
        let write = Write { expected: 0, state };
        self.expect(now(self.store.commit(Commit { deployments: vec![write], ..Commit::default() })));
    }

    /// Users stop, restart and change what they asked for at times of their own; at the end they stop everything.
    pub(crate) fn wishes(&mut self) -> Vec<(Time, String, Wish, bool)> {
        let names: Vec<String> =
            now(self.store.deployments()).map(|all| all.into_iter().map(|d| d.state.name).collect()).unwrap_or_default();
        let mut wishes = vec![];
        for name in names {
            for _ in 0..self.rng.below(self.shape.wishes) {
                let at = Time(self.rng.between(0, self.shape.settled.0 / 2));
                let (wish, generation) = if self.rng.chance(50) { (Wish::Stop, false) } else { (Wish::Run, true) };
                wishes.push((at, name.clone(), wish, generation));
                // Who changes something often changes it once more, before it has come about.
                for _ in 0..self.rng.below(3) {
                    let soon = Time(at.0 + self.rng.between(1, 15 * 60_000));
                    wishes.push((soon, name.clone(), Wish::Run, true));
                }
            }
            wishes.push((self.shape.settled, name, Wish::Stop, false));
        }
        wishes.sort_by_key(|(at, ..)| *at);
        wishes
    }

    pub(crate) fn wish(&mut self, name: &str, wish: Wish, generation: bool) {
        if self.now >= self.shape.settled {
            self.converged(name);
        }
        let Ok(Some(row)) = now(self.store.deployment(name)) else {
            return;
        };
        self.touch(&row.state.id);
        if generation {
            return self.change(row);
        }
        let mut state = row.state;
        state.wish = wish;
        if wish == Wish::Stop {
            state.forget_upgrade("it was told to end");
        }
        let write = Write { expected: row.version, state };
        self.expect(now(self.store.commit(Commit { deployments: vec![write], ..Commit::default() })));
    }
}
