//! Generations: every specification that a deployment had, who asked for it, and what became of it.

use crate::change::{Change, changes};
use crate::deployment::Deployment;
use crate::profile::Profile;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// So many generations are remembered.
const KEPT: usize = 20;

/// What a generation runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The profile's name in its file.
    pub profile_name: String,
    /// How the model is run.
    pub profile: Profile,
    /// Exactly this offer, if one was named.
    pub offer: Option<String>,
    /// The engine's version, resolved.
    pub engine_version: String,
}

/// What became of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is being brought up beside, or in place of, the one that serves.
    Coming,
    /// It is the one that serves.
    Serving,
    /// A later one took its place.
    Replaced,
    /// It did not pass, and the one before it serves on.
    Failed,
    /// Somebody undid it, or asked for another one, before it had passed.
    Undone,
}

impl Fate {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Coming => "coming",
            Self::Serving => "serving",
            Self::Replaced => "replaced",
            Self::Failed => "failed",
            Self::Undone => "undone",
        }
    }

    /// It never came to serve for good.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Failed | Self::Undone)
    }
}

/// One generation of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u32,
    /// What it runs.
    pub spec: Spec,
    /// When it was asked for.
    pub at: Time,
    /// Who asked.
    pub by: String,
    /// What became of it.
    pub fate: Fate,
    /// Why, with the numbers that decided.
    pub verdict: Option<String>,
}

impl Deployment {
    /// What it runs, or is to run.
    #[must_use]
    pub fn spec(&self) -> Spec {
        Spec {
            profile_name: self.profile_name.clone(),
            profile: self.profile.clone(),
            offer: self.offer.clone(),
            engine_version: self.engine_version.clone(),
        }
    }

    /// Takes over a specification.
    pub fn put(&mut self, spec: Spec) {
        let Spec { profile_name, profile, offer, engine_version } = spec;
        (self.profile_name, self.profile, self.offer, self.engine_version) = (profile_name, profile, offer, engine_version);
    }

    /// One of its generations, if it is remembered.
    #[must_use]
    pub fn generation(&self, number: u32) -> Option<&Generation> {
        self.history.iter().find(|g| g.number == number)
    }

    /// The deployment as it is for a copy of a generation: while two of them are there, each runs what it was made for.
    #[must_use]
    pub fn as_of(&self, number: u32) -> Self {
        let mut seen = self.clone();
        if number != self.generation
            && let Some(older) = self.generation(number)
        {
            seen.put(older.spec.clone());
        }
        seen
    }

    /// The number that comes next. Numbers are never used twice, those of failed generations neither.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        self.history.iter().map(|g| g.number).max().unwrap_or(0).max(self.generation) + 1
    }

    /// Writes the present specification down under the present number.
    pub fn remember(&mut self, at: Time, by: &str, fate: Fate) {
        let (number, spec) = (self.generation, self.spec());
        match self.history.iter_mut().find(|g| g.number == number) {
            Some(known) => known.spec = spec,
            None => self.history.push(Generation { number, spec, at, by: by.to_owned(), fate, verdict: None }),
        }
        if fate == Fate::Serving {
            self.take_over(number);
        }
        let serving = self.upgrade.as_ref().map(|u| u.from);
        while self.history.len() > KEPT {
            let Some(oldest) = self.history.iter().position(|g| Some(g.number) != serving) else { break };
            self.history.remove(oldest);
        }
    }

    /// There is one that serves.
    fn take_over(&mut self, number: u32) {
        let others = self.history.iter_mut().filter(|g| g.number != number && g.fate == Fate::Serving);
        others.for_each(|g| g.fate = Fate::Replaced);
    }

    /// Writes down what became of a generation.
    pub fn decide(&mut self, number: u32, fate: Fate, verdict: Option<String>) {
        if fate == Fate::Serving {
            self.take_over(number);
        }
        if let Some(known) = self.history.iter_mut().find(|g| g.number == number) {
            if fate == Fate::Replaced && known.fate.is_lost() {
                // What never served is not replaced by anything: it stays what it was.
                return;
            }
            known.fate = fate;
            known.verdict = verdict.or_else(|| known.verdict.take());
        }
    }

    /// The deployment ends: an upgrade that is under way comes to nothing.
    pub fn forget_upgrade(&mut self, why: &str) {
        if let Some(upgrade) = self.upgrade.take() {
            self.decide(upgrade.to, Fate::Undone, Some(why.to_owned()));
        }
    }

    /// What a generation changed of the one before it.
    #[must_use]
    pub fn changed_by(&self, number: u32) -> Vec<Change> {
        let Some(at) = self.history.iter().position(|g| g.number == number) else { return vec![] };
        // What failed was never what the next one came from.
        let before = self.history[..at].iter().rev().find(|g| !g.fate.is_lost());
        before.map(|before| changes(&before.spec, &self.history[at].spec)).unwrap_or_default()
    }
}
