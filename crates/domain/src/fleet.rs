//! Upgrades of several deployments: which of them is next, and what came of each. One after the other, unless waves are asked for.

use crate::deployment::{Deployment, Wish};
use crate::time::Time;
use crate::upgrade::Strategy;
use serde::{Deserialize, Serialize};

/// What a deployment is taken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// What its file says at that moment.
    File,
    /// What an earlier generation ran.
    Generation(u32),
    /// The same on another provider.
    Provider(String),
}

/// How far one deployment has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is not its turn yet.
    Waiting,
    /// It is being upgraded; the new generation is known once it was asked for.
    Running {
        /// Its number.
        to: Option<u32>,
    },
    /// It runs the new generation.
    Upgraded {
        /// Its number.
        to: u32,
    },
    /// It does not.
    Failed {
        /// The code of the error.
        code: String,
        /// What happened.
        message: String,
        /// What ran before runs on.
        rolled_back: bool,
    },
    /// Nothing was to be done.
    Skipped {
        /// Why not.
        reason: String,
    },
}

/// One deployment of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The deployment's name.
    pub name: String,
    /// Its id.
    pub deployment: String,
    /// The generation that it ran.
    pub from: u32,
    /// How far it has come.
    pub state: State,
    /// When it was begun.
    pub began_at: Option<Time>,
    /// When it was over.
    pub ended_at: Option<Time>,
}

/// Several deployments that are upgraded by one word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Its id.
    pub id: String,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: Time,
    /// What each is taken to.
    pub target: Target,
    /// How, where somebody said so.
    pub strategy: Option<Strategy>,
    /// How many may be under way at once, wave by wave; the last one takes all that are left.
    pub waves: Vec<u32>,
    /// Go on where one has failed.
    pub keep_going: bool,
    /// In their order.
    pub items: Vec<Item>,
}

impl Item {
    const fn is_over(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Running { .. })
    }
}

impl Fleet {
    /// Is nothing left to be done?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.items.iter().all(Item::is_over)
    }

    /// Those that may begin now. A wave begins when the one before it is over; without waves each is one of its own.
    #[must_use]
    pub fn next(&self) -> Vec<usize> {
        let mut at = 0;
        let mut waves = self.waves.iter().copied();
        while at < self.items.len() {
            let size = if self.waves.is_empty() { 1 } else { waves.next().unwrap_or(u32::MAX) };
            let until = at.saturating_add(usize::try_from(size.max(1)).unwrap_or(usize::MAX)).min(self.items.len());
            let wave = &self.items[at..until];
            if !wave.iter().all(Item::is_over) {
                return (at..until).filter(|n| self.items[*n].state == State::Waiting).collect();
            }
            at = until;
        }
        vec![]
    }

    /// Where one has failed, those that have not begun are left as they are, unless somebody said to go on.
    pub fn brake(&mut self) {
        let failed = self.items.iter().find(|i| matches!(i.state, State::Failed { .. })).map(|i| i.name.clone());
        let Some(failed) = failed.filter(|_| !self.keep_going) else { return };
        for item in self.items.iter_mut().filter(|i| i.state == State::Waiting) {
            item.state = State::Skipped { reason: format!("stopped: `{failed}` failed before its turn") };
        }
    }
}

/// What became of a deployment that was to run the generation `to`; nothing while it is under way. `up` says that it answers.
#[must_use]
pub fn came_of(deployment: &Deployment, to: u32, up: bool, error: Option<&str>) -> Option<State> {
    let failed =
        |message: &str, rolled_back| State::Failed { code: "E0003".to_owned(), message: message.to_owned(), rolled_back };
    if deployment.wish == Wish::Stop {
        return Some(failed("it was told to end meanwhile", false));
    }
    if deployment.upgrade.as_ref().is_some_and(|u| u.to == to) {
        return None;
    }
    let known = deployment.generation(to);
    if let Some(verdict) = known.filter(|g| g.fate.is_lost()).map(|g| g.verdict.clone().unwrap_or_default()) {
        return Some(failed(&verdict, deployment.generation != to));
    }
    if deployment.generation != to {
        return Some(failed("another change came before it was over", false));
    }
    match error {
        _ if up => Some(State::Upgraded { to }),
        Some(why) => Some(failed(why, false)),
        None => None,
    }
}

/// Reads waves such as `1,50%`: numbers, or parts of the whole, each rounded up.
///
/// # Errors
/// What cannot be read.
pub fn waves(text: &str, whole: usize) -> Result<Vec<u32>, String> {
    let one = |part: &str| {
        let wrong = || format!("`{part}` is no wave: write a number such as `1`, or a part such as `50%`");
        let number = |digits: &str| digits.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(wrong);
        match part.strip_suffix('%') {
            Some(percent) => {
                let percent = number(percent).and_then(|p| if p <= 100 { Ok(p) } else { Err(wrong()) })?;
                let whole = u32::try_from(whole).unwrap_or(u32::MAX);
                Ok(whole.saturating_mul(percent).div_ceil(100).max(1))
            }
            None => number(part),
        }
    };
    text.split(',').map(str::trim).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(count: usize, waves: &[u32], keep_going: bool) -> Fleet {
        let item = |n| Item {
            name: format!("d{n}"),
            deployment: format!("dep_{n}"),
            from: 1,
            state: State::Waiting,
            began_at: None,
            ended_at: None,
        };
        Fleet {
            id: "upg_1".into(),
            by: "alice".into(),
            at: Time(0),
            target: Target::File,
            strategy: None,
            waves: waves.to_vec(),
            keep_going,
            items: (0..count).map(item).collect(),
        }
    }

    fn played(mut fleet: Fleet, fails: usize) -> Vec<Vec<usize>> {
        let mut order = vec![];
        while !fleet.is_over() {
            let next = fleet.next();
            assert!(!next.is_empty(), "something always comes next: {fleet:?}");
            for n in &next {
                fleet.items[*n].state = State::Running { to: None };
            }
            assert!(fleet.next().is_empty(), "nothing begins beside a wave");
            for n in &next {
                let failed = State::Failed { code: "E0003".into(), message: String::new(), rolled_back: true };
                fleet.items[*n].state = if *n == fails { failed } else { State::Upgraded { to: 2 } };
            }
            fleet.brake();
            order.push(next);
        }
        order
    }

    #[test]
    fn one_after_the_other_in_waves_and_no_further_than_the_first_failure() {
        assert_eq!(played(fleet(3, &[], false), 9), [vec![0], vec![1], vec![2]]);
        assert_eq!(played(fleet(5, &[1, 2], false), 9), [vec![0], vec![1, 2], vec![3, 4]]);
        assert_eq!(played(fleet(3, &[], false), 1), [vec![0], vec![1]]);
        assert_eq!(played(fleet(3, &[], true), 1), [vec![0], vec![1], vec![2]]);
        assert_eq!(played(fleet(4, &[2], false), 0), [vec![0, 1]]);
    }

    #[test]
    fn waves_are_numbers_or_parts() {
        assert_eq!(waves("1,50%", 5), Ok(vec![1, 3]));
        assert_eq!(waves(" 2 , 100%", 3), Ok(vec![2, 3]));
        for wrong in ["", "0", "x", "1,,2", "-1", "0%", "101%", "1;2"] {
            assert!(waves(wrong, 5).is_err(), "{wrong}");
        }
    }
}
