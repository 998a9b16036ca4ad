//! Money as the controller counts it: what was spent, what is set aside, and what the limits leave. A rental runs as long as
//! money is set aside for it; its reservation is renewed while it runs, and where no limit has room any more it is ended in
//! time.

use crate::controller::Controller;
use charter_domain::budget::{Budget, OverBudget, Scope};
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::ids::DeploymentId;
use charter_domain::instance::Instance;
use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::replica::Replica;
use charter_domain::reservation::{Asked, Reservation, Spend, Whose, part, room, whose};
use charter_domain::time::{Span, Time};
use charter_store::{Commit, Error};
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Money is set aside for so long a run before it is looked at again; longer where `keep-alive` lets it run longer unasked.
const HORIZON: Span = Span::min(60);
/// A reservation that ends sooner than this is renewed.
const RENEW_BEFORE: Span = Span::min(30);
/// Where it cannot be renewed, the rental is ended so long before: what is set aside pays for its end too.
pub(crate) const END_BEFORE: Span = Span::min(5);
/// Until a need to end is seen, and from then on until the provider has shown that it is gone, at the most that the published
/// bound counts with.
const DETECT: Span = Span::s(10);
const ENDING_MAX: Span = Span::min(15);
/// How often reservations are looked at.
const PERIOD: Span = Span::s(5);
/// Less time than this is not worth a renewal of its own.
const WORTH: Span = Span::s(30);

/// One limit with what counts against it.
#[derive(Clone, Debug)]
pub struct Account {
    /// The limit.
    pub budget: Budget,
    /// Whose money, where a limit counts each tenant or deployment by itself.
    pub of: Option<String>,
    /// What ended rentals cost, and running ones up to now.
    pub spent: Usd,
    /// What ended rentals cost, and what is set aside for running ones.
    pub committed: Usd,
}

/// What is paid for, and from when on.
pub(crate) fn paid(instance: Option<&Instance>) -> Option<(UsdPerHour, Time)> {
    instance.filter(|i| i.placement.offer.price.0 > 0).map(|i| (i.placement.offer.price, i.since))
}

impl Controller {
    /// What one deployment, or everything, has cost since a time: ended rentals, and those that run on up to now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn spent(&self, of: Option<&DeploymentId>, since: Time) -> Result<Usd, Error> {
        let whose = of.map_or(Whose::All, |id| Whose::Deployment(id.clone()));
        let ended = self.store().spent(&whose, since).await?;
        let open = self.store().replicas(None).await?;
        let mine = open.iter().map(|(row, _)| &row.state).filter(|r| of.is_none_or(|id| r.deployment == *id));
        Ok(mine.fold(ended, |sum, r| sum.plus(self.running_up(r, since))))
    }

    /// What machines have cost from `since` on, those that are rented now included, by provider and deployment.
    ///
    /// # Errors
    /// What the store says.
    pub async fn spent_at(&self, since: Time) -> Result<BTreeMap<(String, DeploymentId), Usd>, Error> {
        let mut all: BTreeMap<(String, DeploymentId), Usd> = BTreeMap::new();
        let mut add = |provider: String, of: DeploymentId, amount: Usd| {
            let sum = all.entry((provider, of)).or_insert(Usd(0));
            *sum = sum.plus(amount);
        };
        for rental in self.store().rentals(since).await? {
            let amount = rental.amount_since(since);
            add(rental.provider, rental.deployment, amount);
        }
        for (row, _) in self.store().replicas(None).await? {
            if let Some(instance) = row.state.instance() {
                let amount = self.running_up(&row.state, since);
                add(instance.placement.offer.provider.clone(), row.state.deployment.clone(), amount);
            }
        }
        Ok(all)
    }

    /// What a rental has cost up to now, counted from `since`.
    fn running_up(&self, replica: &Replica, since: Time) -> Usd {
        let Some(instance) = replica.instance() else { return Usd(0) };
        let spend = Spend::of(&replica.deployment, "", &replica.id, instance, self.now());
        part(spend.amount, spend.from, spend.until, since)
    }

    /// Money set aside at present.
    ///
    /// # Errors
    /// What the store says.
    pub async fn reserved(&self) -> Result<Usd, Error> {
        let all = self.store().reservations().await?;
        Ok(all.iter().fold(Usd(0), |sum, r| sum.plus(r.amount(Time(0)))))
    }

    /// The limits that the server was started with.
    #[must_use]
    pub fn budgets(&self) -> &[Budget] {
        &self.0.parts.settings.budgets
    }

    /// Every limit with what counts against it: those of a tenant or deployment once for each that has spent or may spend.
    ///
    /// # Errors
    /// What the store says.
    pub async fn accounts(&self) -> Result<Vec<Account>, Error> {
        let deployments: Vec<Deployment> = self.store().deployments().await?.into_iter().map(|row| row.state).collect();
        let open = self.store().replicas(None).await?;
        let reservations = self.store().reservations().await?;
        let mut all = vec![];
        for budget in self.budgets() {
            for (of, whose) in owners(budget.scope, &deployments) {
                let since = budget.scope.since(self.now());
                let ended = self.store().spent(&whose, since).await?;
                let tenant = |id: &DeploymentId| deployments.iter().find(|d| d.id == *id).map_or("", |d| d.tenant.as_str());
                let mine = open.iter().map(|(row, _)| &row.state).filter(|r| whose.counts(&r.deployment, tenant(&r.deployment)));
                let spent = mine.fold(ended, |sum, r| sum.plus(self.running_up(r, since)));
                let held = reservations.iter().filter(|r| whose.counts(&r.deployment, &r.tenant));
                let committed = held.fold(ended, |sum, r| sum.plus(r.amount(since))).max(spent);
                if of.is_none() || committed.0 > 0 {
                    all.push(Account { budget: *budget, of, spent, committed });
                }
            }
        }
        Ok(all)
    }

    /// The most that may be spent beyond a hard limit: what all rentals cost while an end takes longer than what was set
    /// aside pays for.
    ///
    /// # Errors
    /// What the store says.
    pub async fn overshoot_bound(&self) -> Result<Usd, Error> {
        let late = Span(DETECT.0 + ENDING_MAX.0 - END_BEFORE.0);
        let all = self.store().reservations().await?;
        Ok(all.iter().fold(Usd(0), |sum, r| sum.plus(r.price.cost(late))))
    }

    /// The limit that leaves nothing for anything that costs money, in words; looked at before a search is begun.
    ///
    /// # Errors
    /// What the store says.
    pub async fn exhausted(&self, deployment: &Deployment) -> Result<Option<String>, Error> {
        let reservations = self.store().reservations().await?;
        for budget in self.budgets() {
            let since = budget.scope.since(self.now());
            let committed = match scope_of(budget.scope, deployment) {
                None => Usd(0),
                Some(whose) => {
                    let held = reservations.iter().filter(|r| whose.counts(&r.deployment, &r.tenant));
                    held.fold(self.store().spent(&whose, since).await?, |sum, r| sum.plus(r.amount(since)))
                }
            };
            if committed >= budget.hard {
                return Ok(Some(format!(
                    "the budget `{}` leaves nothing: {committed} are spent or set aside, and its hard limit is {}",
                    budget.scope.as_str(),
                    budget.hard
                )));
            }
        }
        Ok(None)
    }

    /// The most that an hour of one more rental may cost under every limit, and the limit that says so in words. `None` where
    /// there is no limit.
    ///
    /// # Errors
    /// What the store says.
    pub async fn affordable(&self, deployment: &Deployment) -> Result<Option<(UsdPerHour, String)>, Error> {
        let reservations = self.store().reservations().await?;
        let horizon = self.horizon(deployment);
        let mut least: Option<(UsdPerHour, String)> = None;
        for budget in self.budgets() {
            let since = budget.scope.since(self.now());
            let committed = match scope_of(budget.scope, deployment) {
                None => Usd(0),
                Some(whose) => {
                    let held = reservations.iter().filter(|r| whose.counts(&r.deployment, &r.tenant));
                    held.fold(self.store().spent(&whose, since).await?, |sum, r| sum.plus(r.amount(since)))
                }
            };
            let left = budget.hard.0.saturating_sub(committed.0).max(0);
            let most = i128::from(left) * 3_600_000 / i128::from(horizon.0.max(1));
            let most = UsdPerHour(i64::try_from(most).unwrap_or(i64::MAX));
            if least.as_ref().is_none_or(|(price, _)| most < *price) {
                let (scope, hard) = (budget.scope.as_str(), budget.hard);
                let why = format!(
                    "the hard limit of the budget `{scope}` is {hard}, and {committed} of it are spent or set aside: {} are left, or {most} for {horizon}",
                    Usd(left)
                );
                least = Some((most, why));
            }
        }
        Ok(least)
    }

    /// For so long money is set aside at first: as long as it may run unasked.
    fn horizon(&self, deployment: &Deployment) -> Span {
        let idle = deployment.profile.keep_alive.unwrap_or(self.0.parts.settings.keep_alive);
        if idle.0 < Span::min(7 * 24 * 60).0 { idle.max(HORIZON) } else { HORIZON }
    }

    /// What is set aside for one rental at a price.
    #[must_use]
    pub fn commits(&self, deployment: &Deployment, price: UsdPerHour) -> Usd {
        price.cost(self.horizon(deployment))
    }

    /// Tells once of each limit that has passed its target or its alert.
    async fn tell_marks(&self) -> Result<(), Error> {
        for account in self.accounts().await? {
            let budget = &account.budget;
            let mark = match account.committed {
                c if c >= budget.alert && budget.alert < budget.hard => 2,
                c if c >= budget.target && budget.target < budget.alert => 1,
                _ => 0,
            };
            let key = (budget.scope, account.of.clone());
            let before = {
                let mut marks = self.0.marks.lock().unwrap_or_else(PoisonError::into_inner);
                marks.insert(key, mark).unwrap_or(0)
            };
            if mark > before {
                let (name, passed) = if mark == 2 { ("alert", budget.alert) } else { ("target", budget.target) };
                let of = account.of.as_ref().map_or_else(String::new, |of| format!(" of `{of}`"));
                let text = format!(
                    "the budget `{}`{of} has passed its {name} of {passed}: {} are spent or set aside; it refuses from {} on",
                    budget.scope.as_str(),
                    account.committed,
                    budget.hard
                );
                tracing::warn!(text);
                let running = self.store().deployments().await?.into_iter().filter(|row| row.state.wish == Wish::Run);
                let facts = running.map(|row| self.fact(&row.state.id, None, text.clone())).collect();
                self.store().commit(Commit { facts, ..Commit::default() }).await?;
                self.changed();
            }
        }
        Ok(())
    }

    /// What is set aside for an order: the most that it may cost, for as long as it may run unasked.
    pub(crate) fn asked(&self, deployment: &Deployment, replica: &Replica, price: UsdPerHour, traffic: Usd) -> Asked {
        let now = self.now();
        let horizon = self.horizon(deployment);
        // What is fetched at the beginning is set aside as time: it is spent as soon as the machine is ours.
        let traffic = i128::from(traffic.0) * 3_600_000 / i128::from(price.0.max(1));
        let horizon = Span(horizon.0.saturating_add(i64::try_from(traffic).unwrap_or(0)));
        let reservation = Reservation {
            deployment: deployment.id.clone(),
            tenant: deployment.tenant.clone(),
            replica: replica.id.clone(),
            price,
            from: now,
            until: now + horizon,
        };
        Asked { budgets: self.budgets().to_vec(), reservation, now }
    }

    pub(crate) fn spawn_money(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "money", PERIOD, move || {
            let this = this.clone();
            async move { this.renew_all().await.map_err(|e| e.to_string()) }
        });
    }

    pub(crate) async fn renew_all(&self) -> Result<String, Error> {
        self.judge_rented().await?;
        self.cut_back().await?;
        let held = self.store().reservations().await?;
        let (mut renewed, mut ended) = (0, 0);
        for (row, _) in self.store().replicas(None).await? {
            let replica = row.state;
            if !self.my_deployment(&replica.deployment) {
                continue;
            }
            let Some((price, since)) = paid(replica.instance()) else { continue };
            let Some(deployment) = self.store().deployment(replica.deployment.as_str()).await? else { continue };
            let held = held.iter().find(|r| r.replica == replica.id);
            match self.renew(&deployment.state, &replica, (price, since), held).await? {
                Renewed::Not => {}
                Renewed::Yes => renewed += 1,
                Renewed::Over(over) => {
                    ended += 1;
                    self.end_for_money(&deployment.state, &over).await?;
                }
            }
        }
        if self.mine("money") {
            self.tell_marks().await?;
        }
        Ok(format!("{renewed} reservations renewed, {ended} deployments ended"))
    }

    async fn renew(
        &self,
        deployment: &Deployment,
        replica: &Replica,
        (price, since): (UsdPerHour, Time),
        held: Option<&Reservation>,
    ) -> Result<Renewed, Error> {
        // What is on its way out is paid for by what was set aside.
        if replica.stop.is_some() {
            return Ok(Renewed::Not);
        }
        let now = self.now();
        let until = held.map_or(now, |r| r.until);
        if until.since(now) >= RENEW_BEFORE && held.is_some_and(|r| r.price == price) {
            return Ok(Renewed::Not);
        }
        let mut asked = self.asked(deployment, replica, price, Usd(0));
        asked.reservation.from = held.map_or(since, |r| r.from);
        asked.reservation.until = until.max(now + HORIZON);
        // Every refusal shortens the wish to what that limit leaves; there are as many limits.
        for _ in 0..=asked.budgets.len() {
            let commit = Commit { reserve: vec![asked.clone()], ..Commit::default() };
            match self.store().commit(commit).await {
                Ok(()) => return Ok(Renewed::Yes),
                Err(Error::OverBudget(over)) => {
                    let from = asked.reservation.from.max(over.budget.scope.since(now));
                    let longest = from + room(&over, price);
                    asked.reservation.until = longest;
                    if longest.since(until) >= WORTH {
                        continue;
                    }
                    let over_now = until.since(now) <= END_BEFORE;
                    return Ok(if over_now { Renewed::Over(over) } else { Renewed::Not });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Renewed::Not)
    }

    pub(crate) async fn end_for_money(&self, deployment: &Deployment, over: &OverBudget) -> Result<(), Error> {
        let (scope, hard) = (over.budget.scope.as_str(), over.budget.hard);
        let text = format!("the budget `{scope}` has no room left under its hard limit of {hard}: it is ended");
        tracing::warn!(deployment = deployment.name, scope, %hard, "ended by its budget");
        let fact = self.fact(&deployment.id, None, text);
        self.store().commit(Commit { facts: vec![fact], ..Commit::default() }).await?;
        self.end(deployment.id.as_str()).await?;
        Ok(())
    }
}

/// What became of a renewal.
enum Renewed {
    Not,
    Yes,
    Over(Box<OverBudget>),
}

/// Whose money a limit counts for a deployment; nobody's where it counts each rental by itself.
fn scope_of(scope: Scope, deployment: &Deployment) -> Option<Whose> {
    let reservation = Reservation {
        deployment: deployment.id.clone(),
        tenant: deployment.tenant.clone(),
        replica: charter_domain::ids::ReplicaId(String::new()),
        price: UsdPerHour(0),
        from: Time(0),
        until: Time(0),
    };
    whose(scope, &reservation)
}

/// Those for whom a limit counts, by name.
pub(crate) fn owners(scope: Scope, deployments: &[Deployment]) -> Vec<(Option<String>, Whose)> {
    match scope {
        Scope::Total | Scope::Day | Scope::Month => vec![(None, Whose::All)],
        Scope::Tenant => {
            let mut names: Vec<String> = deployments.iter().map(|d| d.tenant.clone()).collect();
            names.sort();
            names.dedup();
            names.into_iter().map(|n| (Some(n.clone()), Whose::Tenant(n))).collect()
        }
        Scope::Deployment | Scope::Rental => {
            deployments.iter().map(|d| (Some(d.name.clone()), Whose::Deployment(d.id.clone()))).collect()
        }
    }
}
