//! Upgrades under way: what is seen of them is put before the core, and what it decides is committed and made true.

use crate::controller::Controller;
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::replica::{Phase, Replica};
use charter_domain::time::{Span, Time};
use charter_domain::upgrade::{Seen, Stage, Step, Upgrade, abort, step};
use charter_domain::verdict::Numbers;
use charter_store::{Commit, Error, Versioned, Write};

/// How often they are looked at.
const PERIOD: Span = Span::s(1);
/// What the new generation is compared with: so much of the old one's time.
const BEFORE: Span = Span::min(60);
/// Requests that are compared at the most.
const REQUESTS_MAX: usize = 5_000;

impl Controller {
    pub(crate) fn spawn_upgrades(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "upgrades", PERIOD, move || {
            let this = this.clone();
            async move { this.upgrade_all().await.map_err(|e| e.to_string()) }
        });
    }

    pub(crate) async fn upgrade_all(&self) -> Result<String, Error> {
        let mut said = vec![];
        for row in self.store().deployments().await? {
            let mine = row.state.wish == Wish::Run && self.my_deployment(&row.state.id);
            let Some(upgrade) = row.state.upgrade.clone().filter(|_| mine) else { continue };
            said.push(format!("{}: generation {}", row.state.name, upgrade.to));
            self.upgrade_one(row, &upgrade).await?;
        }
        Ok(if said.is_empty() { "none under way".to_owned() } else { said.join(", ") })
    }

    async fn upgrade_one(&self, row: Versioned<Deployment>, upgrade: &Upgrade) -> Result<(), Error> {
        let replicas = self.replicas_of(&row.state.id).await?;
        let seen = self.seen_of(&row.state, upgrade, &replicas).await?;
        match step(&row.state, &replicas, &seen, self.now()) {
            Some(done) => self.commit_step(row, done).await.map(drop),
            None => Ok(()),
        }
    }

    /// Stores what an upgrade came to, and makes routes and copies follow. False where somebody else was quicker.
    async fn commit_step(&self, row: Versioned<Deployment>, done: Step) -> Result<bool, Error> {
        let facts = done.facts.into_iter().map(|text| self.fact(&row.state.id, None, text)).collect();
        let deployments = vec![Write { expected: row.version, state: done.next.clone() }];
        match self.store().commit(Commit { deployments, facts, ..Commit::default() }).await {
            Ok(()) => {}
            Err(Error::Conflict) => return Ok(false),
            Err(error) => return Err(error),
        }
        // Requests go over first; then copies come and go.
        self.publish().await?;
        self.plan_one(&done.next).await?;
        self.0.tasks.wake("planner");
        self.changed();
        Ok(true)
    }

    async fn seen_of(&self, state: &Deployment, upgrade: &Upgrade, replicas: &[Replica]) -> Result<Seen, Error> {
        let mut seen = Seen::default();
        for replica in replicas.iter().filter(|r| r.generation == upgrade.to && matches!(r.phase, Phase::Ready { .. })) {
            if let Some(came) = self.exam_of(replica, &state.as_of(upgrade.to)) {
                seen.exams.insert(replica.id.clone(), came);
            }
        }
        if let Stage::Bake { since } = upgrade.stage {
            (seen.old, seen.new) = self.numbers(state, upgrade, replicas, since).await?;
        }
        Ok(seen)
    }

    /// What requests show of both generations.
    async fn numbers(
        &self,
        state: &Deployment,
        upgrade: &Upgrade,
        replicas: &[Replica],
        since: Time,
    ) -> Result<(Numbers, Numbers), Error> {
        let of = |generation: u32| -> Vec<&str> {
            replicas.iter().filter(|r| r.generation == generation).map(|r| r.id.0.as_str()).collect()
        };
        let group = state.name.clone();
        let wanted = move |used: &charter_domain::usage::Used| *used.group == *group;
        let all = self.store().used(Time(upgrade.began_at.0 - BEFORE.0), REQUESTS_MAX, &wanted).await?;
        // In place one copy is both, one after the other: what began before it took over is the old one's.
        let (old, new) = (of(upgrade.from), of(upgrade.to));
        let is_new = |u: &&charter_domain::usage::Used| u.at >= since && (new.contains(&&*u.backend) || old.is_empty());
        let is_old = |u: &&charter_domain::usage::Used| u.at < since && (old.contains(&&*u.backend) || old.is_empty());
        Ok((Numbers::of(all.iter().filter(is_old)), Numbers::of(all.iter().filter(is_new))))
    }

    /// Ends the upgrade that is under way: what served before serves on, or again. False where there is none to end.
    ///
    /// # Errors
    /// What the store says.
    pub async fn abort_upgrade(&self, id_or_name: &str, why: &str) -> Result<bool, Error> {
        for _ in 0..20 {
            let Some(row) = self.store().deployment(id_or_name).await? else { return Ok(false) };
            let replicas = self.replicas_of(&row.state.id).await?;
            let Some(done) = abort(&row.state, &replicas, why) else { return Ok(false) };
            if self.commit_step(row, done).await? {
                return Ok(true);
            }
        }
        Err(Error::Conflict)
    }
}

/// How long a start takes where nothing is known of earlier ones.
const START: Span = Span::min(5);

impl Controller {
    /// How long a start of this deployment took last time, by its own time line; a guess where there is none.
    pub async fn usual_start(&self, state: &Deployment) -> Span {
        let facts = self.store().facts(&state.id, 200).await.unwrap_or_default();
        let began = facts.iter().rposition(|f| f.text.starts_with("chose `") || f.text.starts_with("engine started"));
        let ready = facts.iter().rposition(|f| f.text.starts_with("answers requests after"));
        match (began, ready) {
            (Some(began), Some(ready)) if began < ready => facts[ready].at.since(facts[began].at),
            _ => START,
        }
    }

    /// What the engine of a copy says of itself.
    pub async fn reported(&self, replica: &Replica, name: &str) -> Option<charter_engines::probe::Reported> {
        let (way, instance) = (self.way_to(replica)?, replica.instance()?);
        let key = self.engine_key(&instance.tag);
        Some(crate::probe::Engine { way: &way, key: &key }.reported(name).await)
    }
}
