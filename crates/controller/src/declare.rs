//! What users ask for: declare a deployment, give it more time, move its port, end it.

use crate::controller::Controller;
use crate::money::{END_BEFORE, paid};
use charter_domain::deployment::{Deployment, Forward, Wish};
use charter_domain::ids::DeploymentId;
use charter_domain::money::Usd;
use charter_domain::profile::Profile;
use charter_domain::replica::Replica;
use charter_domain::reservation::Asked;
use charter_domain::scale::Scale;
use charter_domain::succession::told;
use charter_domain::time::{Span, Time};
use charter_domain::upgrade::Strategy;
use charter_store::{Commit, Error, Write};
use std::sync::PoisonError;

/// What a user wants to run.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The deployment's name.
    pub name: String,
    /// Who pays.
    pub tenant: String,
    /// Who asks.
    pub owner: String,
    /// The profile's name.
    pub profile_name: String,
    /// The file that it came from.
    pub source_file: Option<String>,
    /// What runs.
    pub profile: Profile,
    /// Exactly this offer.
    pub offer: Option<String>,
    /// How many copies.
    pub replicas: u32,
    /// Between how many and how many, where requests decide.
    pub scale: Option<Scale>,
    /// A local port for other programs.
    pub forward: Option<Forward>,
    /// The engine's version, resolved.
    pub engine_version: String,
    /// Go on searching where the market has nothing that fits.
    pub wait: bool,
    /// End it so long after it was asked for.
    pub serve_for: Option<Span>,
    /// How it is upgraded; nothing lets charter choose.
    pub strategy: Option<Strategy>,
    /// The same for this once.
    pub strategy_now: Option<Strategy>,
    /// Who says so.
    pub by: String,
}

/// Why a deployment was not changed.
#[derive(Debug)]
pub enum DeclareError {
    /// Copies of the deployment of this name are being replaced one by one; that has to end first.
    UnderWay(String),
    /// The store failed, or somebody else has the name.
    Store(Error),
}

impl From<Error> for DeclareError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// How much longer a deployment may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// By so much.
    By(Span),
    /// Without an end of its own.
    Forever,
}

/// Why a deployment was given no more time.
#[derive(Debug)]
pub enum ExtendError {
    /// It does not run.
    NotActive,
    /// The store failed, or a limit has no room.
    Store(Error),
}

impl From<Error> for ExtendError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// A time as people read it in a time line.
fn stamp(at: Time) -> String {
    let stamp = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    stamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

impl Controller {
    /// Writes down what is wanted, plans, and begins. What is the same already, and not in error, stays untouched.
    ///
    /// # Errors
    /// What the store says; [`Error::NameTaken`] when another tenant has the name.
    pub async fn declare(&self, wanted: Declared) -> Result<Deployment, DeclareError> {
        for _ in 0..20 {
            match self.try_declare(&wanted).await {
                Err(DeclareError::Store(Error::Conflict)) => {}
                other => return other,
            }
        }
        Err(Error::Conflict.into())
    }

    async fn try_declare(&self, wanted: &Declared) -> Result<Deployment, DeclareError> {
        let old = self.store().deployment(&wanted.name).await?;
        if old.as_ref().is_some_and(|o| o.state.tenant != wanted.tenant) {
            return Err(Error::NameTaken.into());
        }
        let replicas = match &old {
            Some(old) => self.replicas_of(&old.state.id).await?,
            None => vec![],
        };
        let state =
            self.next_generation(wanted, old.as_ref(), &replicas).ok_or_else(|| DeclareError::UnderWay(wanted.name.clone()))?;
        let unchanged = old.as_ref().is_some_and(|o| o.state == state);
        if unchanged {
            return Ok(state);
        }
        let fact = match &old {
            None => format!("asked for `{}`", state.profile.model),
            Some(old) => told(&old.state, &state),
        };
        let mut commit = self.planned(&state, &replicas);
        commit.facts.insert(0, self.fact(&state.id, None, fact));
        let expected = old.map_or(0, |o| o.version);
        commit.deployments.push(Write { expected, state: state.clone() });
        self.store().commit(commit).await?;
        self.changed();
        self.0.tasks.wake("planner");
        self.0.tasks.wake("routes");
        self.drive_all(&state.id).await;
        Ok(state)
    }

    /// Ends a deployment. Ending it again changes nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn end(&self, id_or_name: &str) -> Result<Option<Deployment>, Error> {
        for _ in 0..20 {
            let Some(row) = self.store().deployment(id_or_name).await? else {
                return Ok(None);
            };
            let mut state = row.state;
            if state.wish == Wish::Stop {
                return Ok(Some(state));
            }
            state.wish = Wish::Stop;
            state.forget_upgrade("it was told to end");
            let fact = self.fact(&state.id, None, "was told to end".to_owned());
            let write = Write { expected: row.version, state: state.clone() };
            match self.store().commit(Commit { deployments: vec![write], facts: vec![fact], ..Commit::default() }).await {
                Ok(()) => {
                    self.plan_one(&state).await?;
                    self.changed();
                    return Ok(Some(state));
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// Tells everything to end, in one commit: whatever happens to this process, either all of it is to end or nothing was said. The
    /// names of what ran, or was to.
    ///
    /// # Errors
    /// What the store says.
    pub async fn end_everything(&self, by: &str) -> Result<Vec<String>, Error> {
        for _ in 0..20 {
            let running = self.store().deployments().await?.into_iter().filter(|row| row.state.wish == Wish::Run);
            let (mut names, mut deployments, mut facts) = (vec![], vec![], vec![]);
            for row in running {
                let mut state = row.state;
                state.wish = Wish::Stop;
                state.forget_upgrade("it was told to end");
                names.push(state.name.clone());
                facts.push(self.fact(&state.id, None, format!("`{by}` said to end everything")));
                deployments.push(Write { expected: row.version, state });
            }
            let ending: Vec<Deployment> = deployments.iter().map(|write| write.state.clone()).collect();
            match self.store().commit(Commit { deployments, facts, ..Commit::default() }).await {
                Ok(()) => {
                    for state in &ending {
                        // What cannot be planned now is planned by the planner, which looks at everything anew.
                        if let Err(error) = self.plan_one(state).await {
                            tracing::warn!(deployment = state.name, %error, "its end is planned a moment later");
                        }
                    }
                    self.changed();
                    self.0.tasks.wake("planner");
                    return Ok(names);
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// Gives a deployment more time, if money can be set aside for it: its own end moves, or where it has none, the time
    /// before which it is not ended for answering nobody.
    ///
    /// # Errors
    /// That it does not run, or which limit has no room for it.
    pub async fn extend(&self, id_or_name: &str, by: Extension) -> Result<Option<Deployment>, ExtendError> {
        for _ in 0..20 {
            let Some(row) = self.store().deployment(id_or_name).await? else {
                return Ok(None);
            };
            let mut state = row.state;
            let replicas = self.replicas_of(&state.id).await?;
            if state.wish == Wish::Stop || replicas.iter().all(|r| r.phase.is_closed()) {
                return Err(ExtendError::NotActive);
            }
            let until = match (by, state.expires_at) {
                (Extension::Forever, _) => {
                    state.expires_at = None;
                    None
                }
                (Extension::By(span), Some(at)) => {
                    state.expires_at = Some(at + span);
                    state.expires_at
                }
                (Extension::By(span), None) => {
                    let idle = self.idle_end(&state, &replicas).unwrap_or(self.now());
                    state.keep_until = Some(state.keep_until.unwrap_or(Time(0)).max(idle).max(self.now()) + span);
                    state.keep_until
                }
            };
            let reserve = until.map_or(vec![], |until| self.asked_until(&state, &replicas, until));
            let text = until.map_or("has no end of its own any more".to_owned(), |at| format!("may run until {}", stamp(at)));
            let facts = vec![self.fact(&state.id, None, text)];
            let deployments = vec![Write { expected: row.version, state: state.clone() }];
            match self.store().commit(Commit { deployments, reserve, facts, ..Commit::default() }).await {
                Ok(()) => {
                    self.changed();
                    return Ok(Some(state));
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Conflict.into())
    }

    /// What has to be set aside for all its rentals to run until a time, their end included.
    fn asked_until(&self, state: &Deployment, replicas: &[Replica], until: Time) -> Vec<Asked> {
        let rentals = replicas.iter().filter_map(|r| Some((r, paid(r.instance())?)));
        let asked = rentals.map(|(replica, (price, since))| {
            let mut asked = self.asked(state, replica, price, Usd(0));
            asked.reservation.from = since;
            asked.reservation.until = asked.reservation.until.max(until + END_BEFORE);
            asked
        });
        asked.collect()
    }

    /// Changes where a deployment's local port listens; with nothing it is closed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn set_forward(&self, id: &DeploymentId, forward: Option<Forward>) -> Result<(), Error> {
        for _ in 0..20 {
            let Some(row) = self.store().deployment(id.as_str()).await? else {
                return Ok(());
            };
            let mut state = row.state;
            state.forward.clone_from(&forward);
            let write = Write { expected: row.version, state };
            match self.store().commit(Commit { deployments: vec![write], ..Commit::default() }).await {
                Ok(()) => {
                    let replicas = self.replicas_of(id).await?;
                    let mut open = self.0.forwards.lock().unwrap_or_else(PoisonError::into_inner);
                    replicas.iter().for_each(|r| drop(open.remove(&r.id)));
                    drop(open);
                    self.0.tasks.wake("routes");
                    return Ok(());
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }
}
