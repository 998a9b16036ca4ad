//! The controller's shared parts, and what users ask of it.

use crate::backends::Heard;
use crate::by_hand::Hands;
use crate::exam::Exams;
use crate::live::{EngineView, Live};
use crate::peers::Peers;
use crate::ports::{Asker, Clock, DataPlane, Ids, Machines, Secrets};
use crate::tasks::Tasks;
use charter_domain::budget::{Budget, Scope};
use charter_domain::deployment::Deployment;
use charter_domain::fact::Fact;
use charter_domain::ids::{DeploymentId, ReplicaId};
use charter_domain::money::Usd;
use charter_domain::plan::{Command, Plan, plan};
use charter_domain::policy::Policy;
use charter_domain::replica::{Phase, Replica};
use charter_domain::routing::{Backend, RouteTable};
use charter_domain::step::Event;
use charter_domain::sweep::Judgement;
use charter_domain::time::Span;
use charter_providers::Provider;
use charter_remote::{Forward as OpenForward, Host, Links};
use charter_store::{Commit, Error, ReplicaWrite, Store, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a server is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits on money.
    pub budgets: Vec<Budget>,
    /// Leave failed machines as they are.
    pub keep_on_error: bool,
    /// Where the logs of engines are kept.
    pub logs: PathBuf,
    /// How much of them.
    pub log_limits: crate::run_log::LogLimits,
    /// How long what is rented may answer nobody, where its profile says nothing.
    pub keep_alive: Span,
    /// Between looks at something that is starting, and at something that runs.
    pub look: (Span, Span),
    /// How long somebody may work on an intent before somebody else takes it over.
    pub lease: Span,
    /// Models of hosted providers, as routes know them.
    pub hosted: Vec<Backend>,
    /// A day in which rented machines cost more than this is no usual one: they get no more requests. 0 lets any day pass.
    pub runaway: Usd,
}

/// What the controller is made of.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Where machines come from, in the order of the configuration.
    pub providers: Vec<Arc<dyn Provider>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
    /// The gateway's counters.
    pub data_plane: Arc<dyn DataPlane>,
    /// SSH, shared with the gateway of the same process.
    pub links: Links,
    /// Machines that are not reached over SSH.
    pub machines: Option<Arc<dyn Machines>>,
    /// Asks backends that people registered; nobody asks them where there is none.
    pub asker: Option<Arc<dyn Asker>>,
    /// The providers that the file names, by name.
    pub named: Vec<String>,
    /// Begins the name of every process of this data directory, in a database that others may share.
    pub place: String,
    /// Marks what is ours; eight characters.
    pub installation: String,
    /// Where engine keys are derived from.
    pub secret: Vec<u8>,
    /// How it is set.
    pub settings: Settings,
}

/// The controller. Clones share everything.
#[derive(Clone)]
pub struct Controller(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    /// Different for every controller that works on the database.
    pub(crate) process: String,
    pub(crate) live: Live,
    pub(crate) peers: Peers,
    /// Nothing is known of requests before this.
    pub(crate) started_at: charter_domain::time::Time,
    pub(crate) tasks: Tasks,
    pub(crate) routes: watch::Sender<Arc<RouteTable>>,
    /// Rises with every commit, so that people can wait for a change.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) drivers: Mutex<BTreeMap<ReplicaId, Arc<crate::driver::Driver>>>,
    pub(crate) forwards: Mutex<BTreeMap<ReplicaId, (u16, OpenForward)>>,
    /// Where nothing runs by itself.
    pub(crate) hands: Option<Hands>,
    /// How far each limit has come: 1 past its target, 2 past its alert.
    pub(crate) marks: Mutex<BTreeMap<(Scope, Option<String>), u8>>,
    /// What is remembered of each deployment whose copies come and go.
    pub(crate) scaling: Mutex<BTreeMap<DeploymentId, charter_domain::scale::Memory>>,
    /// What was heard of backends between requests.
    pub(crate) heard: Mutex<Heard>,
    /// What came of examining copies of new generations, by copy and start; nothing while it is under way.
    pub(crate) exams: Mutex<Exams>,
    /// Providers that have accepted our key and told what they hold.
    pub(crate) proven: Mutex<BTreeSet<String>>,
    /// Models that are being fetched or loaded.
    pub(crate) works: Mutex<crate::ollama::Works>,
    /// Why rented machines get no requests.
    pub(crate) closed: Mutex<Option<String>>,
    /// What the last sweep found.
    pub(crate) swept: Mutex<Judgement>,
    /// How busy engines were lately.
    pub(crate) samples: crate::samples::Samples,
    /// Somebody wants the providers to be looked at now.
    pub(crate) look_around: AtomicBool,
    pub(crate) ended: CancellationToken,
}

impl Controller {
    /// A controller that does nothing yet: see [`Controller::start`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self::made(parts, None)
    }

    /// A controller whose turns somebody calls, one after the other: no task and no timer of its own.
    #[must_use]
    pub fn by_hand(parts: Parts) -> Self {
        Self::made(parts, Some(Hands::default()))
    }

    fn made(parts: Parts, hands: Option<Hands>) -> Self {
        let (routes, _) = watch::channel(Arc::new(RouteTable::default()));
        let (changes, _) = watch::channel(0);
        let started_at = parts.clock.now();
        let process = format!("{}.{}", parts.place, parts.ids.fresh());
        Self(Arc::new(Inner {
            parts,
            started_at,
            process,
            live: Live::default(),
            peers: Peers::default(),
            tasks: Tasks::default(),
            routes,
            changes,
            drivers: Mutex::default(),
            forwards: Mutex::default(),
            hands,
            marks: Mutex::default(),
            scaling: Mutex::default(),
            heard: Mutex::default(),
            exams: Mutex::default(),
            proven: Mutex::default(),
            works: Mutex::default(),
            closed: Mutex::default(),
            swept: Mutex::default(),
            samples: crate::samples::Samples::default(),
            look_around: AtomicBool::default(),
            ended: CancellationToken::new(),
        }))
    }

    /// Begins to work: goes on with everything that was under way when the last process ended.
    pub fn start(&self) {
        self.spawn_peers();
        self.spawn_executor();
        self.spawn_planner();
        self.spawn_routes();
        self.spawn_forgetting();
        self.spawn_scaling();
        self.spawn_backends();
        self.spawn_upgrades();
        self.spawn_sweep();
        self.spawn_keep_alive();
        self.spawn_money();
        self.spawn_run_logs();
    }

    /// Stops working and waits until what is being done has been recorded, or the patience is over.
    pub async fn stop(&self, patience: Span) {
        self.0.ended.cancel();
        if tokio::time::timeout(patience.std(), self.0.tasks.wait()).await.is_err() {
            tracing::warn!("some work was not recorded; it will be found at the next start");
        }
        self.leave().await;
    }

    /// The routing table, now and whenever it changes.
    #[must_use]
    pub fn routes(&self) -> watch::Receiver<Arc<RouteTable>> {
        self.0.routes.subscribe()
    }

    /// A number that rises with every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.parts.store
    }

    /// What the background tasks did last.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// What a replica waits for, where its last look brought no answer.
    #[must_use]
    pub fn waits_for(&self, replica: &ReplicaId) -> Option<String> {
        self.0.live.waits_for(replica).or_else(|| self.waited_for_by_others(replica))
    }

    /// What was last seen of a replica's engine.
    #[must_use]
    pub fn engine(&self, replica: &ReplicaId) -> Option<EngineView> {
        self.0.live.get(replica).or_else(|| self.seen_by_others(replica))
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> charter_domain::time::Time {
        self.0.parts.clock.now()
    }

    /// Fresh part of an id.
    #[must_use]
    pub fn fresh(&self) -> String {
        self.0.parts.ids.fresh()
    }

    /// The installation's secret, and the providers that the file names: whoever keeps their keys sealed needs both.
    #[must_use]
    pub fn secrets_for_keeping(&self) -> (String, Vec<String>) {
        (String::from_utf8_lossy(&self.0.parts.secret).into_owned(), self.0.parts.named.clone())
    }

    /// The providers, in the order of the configuration.
    #[must_use]
    pub fn providers(&self) -> &[Arc<dyn Provider>] {
        &self.0.parts.providers
    }

    pub(crate) fn provider(&self, name: &str) -> Option<Arc<dyn Provider>> {
        self.0.parts.providers.iter().find(|p| p.name() == name).cloned()
    }

    /// All replicas of a deployment, the closed ones too.
    ///
    /// # Errors
    /// What the store says.
    pub async fn replicas_of(&self, id: &DeploymentId) -> Result<Vec<Replica>, Error> {
        Ok(self.store().replicas(Some(id)).await?.into_iter().map(|(row, _)| row.state).collect())
    }

    /// Where a replica's local port listens, if it has one.
    #[must_use]
    pub fn forward_of(&self, replica: &ReplicaId) -> Option<std::net::SocketAddr> {
        self.0.forwards.lock().unwrap_or_else(PoisonError::into_inner).get(replica).map(|(_, f)| f.address())
    }

    /// How busy its engine was in the last hour, the oldest first.
    #[must_use]
    pub fn samples_of(&self, replica: &ReplicaId) -> Vec<crate::samples::Sample> {
        self.0.samples.of(replica)
    }

    /// The state of the SSH link to a replica's machine.
    #[must_use]
    pub fn link_of(&self, replica: &Replica) -> Option<charter_remote::Link> {
        let instance = replica.instance()?;
        let provider = self.provider(&instance.placement.offer.provider)?;
        provider.target(instance).ok().map(|target| self.0.parts.links.to(&target))
    }

    /// The file that holds the key to a replica's machine; `None` means the installation's own key.
    #[must_use]
    pub fn key_file_of(&self, replica: &Replica) -> Option<String> {
        let instance = replica.instance()?;
        self.provider(&instance.placement.offer.provider)?.key_file(instance)
    }

    /// What a rented instance's own key is derived from; nothing for a machine of ours, which knows the installation's.
    #[must_use]
    pub fn key_of(&self, replica: &Replica) -> Option<String> {
        let instance = replica.instance()?;
        let rented = self.provider(&instance.placement.offer.provider)?.descriptor().rented;
        rented.then(|| instance.tag.to_string())
    }

    pub(crate) fn host_of(&self, instance: &charter_domain::instance::Instance) -> Result<Host, String> {
        let name = &instance.placement.offer.provider;
        let provider = self.provider(name).ok_or_else(|| format!("provider `{name}` is not in the configuration"))?;
        let target = provider.target(instance).map_err(|e| e.to_string())?;
        Ok(Host(self.0.parts.links.to(&target)))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all phases but one hold their instance in the same way")]
    pub(crate) fn policy(&self, deployment: &Deployment, replica: &Replica) -> Policy {
        let settings = &self.0.parts.settings;
        let mut policy = Policy {
            limits: deployment.as_of(replica.generation).limits(),
            falls_back_to: deployment.falls_back_to(replica),
            keep_on_error: settings.keep_on_error,
            known_since: self.0.started_at,
            ..Policy::default()
        };
        (policy.look_starting, policy.look_ready) = settings.look;
        let name = match &replica.phase {
            Phase::Acquiring(state) => Some(state.bid().placement.offer.provider.clone()),
            _ => replica.instance().map(|i| i.placement.offer.provider.clone()),
        };
        if let Some(described) = name.and_then(|n| self.provider(&n)).map(|p| p.descriptor()) {
            policy.visibility_horizon = described.visibility_horizon;
            policy.absence_looks = described.absence_looks;
            policy.absence_gap = described.absence_gap;
            // A provider limits how often it is asked; an engine that is reached without it does not.
            let over_ssh = replica.instance().is_some_and(|i| i.mapped_port().is_none());
            if !(over_ssh && matches!(replica.phase, Phase::Loading { .. })) {
                policy.look_gap = described.look_gap;
            }
            if !described.rented {
                // Asking a machine of our own again costs nothing, and people wait for it.
                policy.backoff_max = Span::s(15);
            }
        }
        policy
    }

    pub(crate) fn fact(&self, deployment: &DeploymentId, replica: Option<&ReplicaId>, text: String) -> Fact {
        Fact { at: self.now(), deployment: deployment.clone(), replica: replica.cloned(), text }
    }

    /// Writes a line into the time line of a deployment; of none where it is about something else.
    ///
    /// # Errors
    /// What the store says.
    pub async fn write_down(&self, deployment: &DeploymentId, text: String) -> Result<(), Error> {
        let facts = vec![self.fact(deployment, None, text)];
        self.store().commit(Commit { facts, ..Commit::default() }).await?;
        self.changed();
        Ok(())
    }

    /// Requests that a backend is answering now, as far as its gateways have told.
    #[must_use]
    pub fn answering(&self, backend: &str) -> u64 {
        self.0.parts.data_plane.in_flight(backend, 0).unwrap_or(0)
    }

    /// Requests that wait in gateways for a deployment or a registered backend, as far as they have told.
    #[must_use]
    pub fn waiting(&self, group: &str) -> u64 {
        self.0.parts.data_plane.waiting(group)
    }

    /// Somebody who waits for a change should look.
    pub fn announce(&self) {
        self.changed();
    }

    pub(crate) fn changed(&self) {
        self.0.changes.send_modify(|n| *n += 1);
    }

    /// The commit that opens what the plan opens. Stops are events of their own.
    pub(crate) fn planned(&self, state: &Deployment, replicas: &[Replica]) -> Commit {
        let mut commit = Commit::default();
        for command in plan(state, replicas).commands {
            if let Command::Open { slot, generation } = command {
                let id = ReplicaId::new(&self.fresh());
                let replica = Replica::open(id, state.id.clone(), generation, slot, self.now());
                commit.replicas.push(ReplicaWrite { write: Write { expected: 0, state: replica }, wake_at: Some(self.now()) });
            }
        }
        commit
    }

    /// Plans one deployment and does what the plan says.
    ///
    /// # Errors
    /// What the store says.
    pub async fn plan_one(&self, state: &Deployment) -> Result<Plan, Error> {
        let replicas = self.replicas_of(&state.id).await?;
        let made = plan(state, &replicas);
        let commit = self.planned(state, &replicas);
        if !commit.replicas.is_empty() {
            // A deployment that changed meanwhile is planned again; its version guards what is opened.
            let Some(row) = self.store().deployment(state.id.as_str()).await? else {
                return Ok(made);
            };
            if row.state != *state {
                return Ok(made);
            }
            let write = Write { expected: row.version, state: row.state };
            self.store().commit(Commit { deployments: vec![write], ..commit }).await?;
            self.changed();
        }
        for command in &made.commands {
            match command {
                Command::Stop { replica, why } => drop(self.apply(replica, Event::Stop(*why), None).await?),
                Command::Switch { replica, generation } => drop(self.apply(replica, Event::Switch(*generation), None).await?),
                Command::Open { .. } => {}
            }
        }
        self.drive_all(&state.id).await;
        Ok(made)
    }
}

impl Controller {
    /// Reads an engine's log: from a byte on, or its end. Returns where to go on.
    ///
    /// # Errors
    /// Why the machine could not be asked.
    pub async fn read_log(&self, replica: &Replica, from: Option<u64>, most_bytes: usize) -> Result<(u64, String), String> {
        let instance = replica.instance().ok_or("it holds no machine")?;
        if instance.mapped_port().is_some() {
            return self.container_log(replica, instance, from).await;
        }
        let (host, tag) = (self.host_of(instance)?, instance.tag.to_string());
        let Some(from) = from else {
            let seen = host.observe(&tag, replica.launches, u64::MAX, most_bytes).await.map_err(|e| e.to_string())?;
            return Ok((seen.log_bytes, seen.log.unwrap_or_default()));
        };
        let (size, text) = host.read_log(&tag, replica.launches, from, most_bytes).await.map_err(|e| e.to_string())?;
        let read = u64::try_from(text.len()).unwrap_or(0);
        // A cut in the middle of a character makes the text longer than what was read; never go beyond the end.
        Ok((from.saturating_add(read).min(size), text))
    }
}
