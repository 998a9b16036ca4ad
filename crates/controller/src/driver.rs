//! Drivers: one per open replica. A driver looks where its replica's state wants to look, when it wants to, and turns
//! what it sees into events. The planner beside them turns wishes into replicas.

use crate::controller::Controller;
use crate::tasks::Kind;
use charter_domain::deployment::Deployment;
use charter_domain::ids::{DeploymentId, ReplicaId};
use charter_domain::instance::Instance;
use charter_domain::look::{Look, NoOffer, Sight};
use charter_domain::placement::{Requirement, choose};
use charter_domain::profile::Vram;
use charter_domain::replica::Replica;
use charter_domain::step::Event;
use charter_domain::time::{Span, Time};
use charter_engines::fit;
use charter_store::Error;
use std::sync::{Arc, PoisonError};
use tokio::sync::Notify;

/// How long one look may take.
const LOOK_PATIENCE: Span = Span::s(180);
/// After the store failed, a driver waits so long.
const STORE_PAUSE: Span = Span::s(2);

impl Controller {
    pub(crate) fn spawn_planner(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "planner", Span::s(30), move || {
            let this = this.clone();
            async move { this.plan_all().await.map_err(|e| e.to_string()) }
        });
    }

    async fn plan_all(&self) -> Result<String, Error> {
        let (mut commands, mut reports) = (0, vec![]);
        let deployments = self.store().deployments().await?;
        for row in &deployments {
            let made = self.plan_one(&row.state).await?;
            commands += made.commands.len();
            reports.extend(made.reports.into_iter().map(|r| format!("`{}`: {}", row.state.name, r.text)));
        }
        for (row, _) in self.store().replicas(None).await? {
            self.drive(&row.state.id);
        }
        let said = format!("{} deployments, {commands} commands", deployments.len());
        Ok(if reports.is_empty() { said } else { format!("{said}; {}", reports.join("; ")) })
    }

    /// Makes sure that every open replica of a deployment has a driver that looks now.
    pub(crate) async fn drive_all(&self, deployment: &DeploymentId) {
        if let Ok(replicas) = self.replicas_of(deployment).await {
            replicas.iter().filter(|r| !r.phase.is_closed()).for_each(|r| self.drive(&r.id));
        }
    }

    /// Wakes a replica's driver, or makes one.
    pub(crate) fn drive(&self, id: &ReplicaId) {
        if self.0.ended.is_cancelled() {
            return;
        }
        let mut drivers = self.0.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = drivers.get(id) {
            driver.notify_one();
            return;
        }
        let woken = Arc::new(Notify::new());
        drivers.insert(id.clone(), Arc::clone(&woken));
        drop(drivers);
        let (this, id) = (self.clone(), id.clone());
        self.0.tasks.spawn(Kind::Timer(self.0.ended.clone()), async move {
            while this.turn(&id, &woken).await {}
            this.0.drivers.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    /// One look of a driver; false when there is nothing left to look at.
    async fn turn(&self, id: &ReplicaId, woken: &Notify) -> bool {
        let row = match self.store().replica(id).await {
            Ok(Some(row)) if !row.state.phase.is_closed() => row,
            Ok(_) => return false,
            Err(error) => {
                tracing::warn!(%error, "a driver could not read its replica");
                tokio::time::sleep(STORE_PAUSE.std()).await;
                return true;
            }
        };
        let Some(look) = row.state.look() else {
            woken.notified().await;
            return true;
        };
        // A change of the state by somebody else makes the look pointless.
        let seen = tokio::select! {
            seen = tokio::time::timeout(LOOK_PATIENCE.std(), self.see(&row.state, look)) => seen,
            () = woken.notified() => return true,
        };
        let sight = seen.unwrap_or_else(|_| Sight::Unclear(format!("no answer within {LOOK_PATIENCE}")));
        match self.apply(id, Event::Saw(sight), None).await {
            Ok(wake_at) => self.rest(wake_at, woken).await,
            Err(error) => {
                tracing::warn!(%error, replica = %id, "what was seen was not recorded");
                tokio::time::sleep(STORE_PAUSE.std()).await;
            }
        }
        true
    }

    async fn rest(&self, wake_at: Option<Time>, woken: &Notify) {
        let Some(at) = wake_at else { return };
        tokio::select! {
            () = tokio::time::sleep(at.since(self.now()).std()) => {}
            () = woken.notified() => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only a pending replica waits before it looks")]
    async fn see(&self, replica: &Replica, look: Look) -> Sight {
        let deployment = match self.store().deployment(replica.deployment.as_str()).await {
            Ok(Some(row)) => row.state,
            Ok(None) => return Sight::Unclear("the deployment is gone".into()),
            Err(error) => return Sight::Unclear(error.to_string()),
        };
        match look {
            Look::Offers => {
                let wait = match &replica.phase {
                    charter_domain::replica::Phase::Pending { not_before } => not_before.since(self.now()),
                    _ => Span::ms(0),
                };
                tokio::time::sleep(wait.std()).await;
                self.see_offers(replica, &deployment).await
            }
            Look::Tag(bid) => {
                let Some(provider) = self.provider(&bid.placement.offer.provider) else {
                    return Sight::Unclear("its provider is not in the configuration".into());
                };
                match provider.find(&bid, self.now()).await {
                    Ok(found) => Sight::Tagged(found.map(Box::new)),
                    Err(error) => Sight::Unclear(error.to_string()),
                }
            }
            Look::Machine(instance) => self.see_machine(&instance, &deployment).await,
            Look::Engine(instance, process) => self.see_engine(replica, &deployment, &instance, &process).await,
            Look::InFlight => self.see_in_flight(replica),
            Look::Absence(instance) => self.see_absence(&instance).await,
        }
    }

    /// What a deployment needs of a machine.
    #[must_use]
    pub fn requirement(&self, deployment: &Deployment) -> Requirement {
        let profile = &deployment.profile;
        let vram_bytes = match profile.gpu.min_vram {
            Vram::Bytes(bytes) => bytes,
            Vram::Auto => fit::per_gpu(profile).unwrap_or(0),
        };
        Requirement {
            providers: profile.providers.clone(),
            offer: deployment.offer.clone(),
            gpu_count: profile.gpu.count,
            gpu_indices: profile.gpu.indices.clone(),
            vram_bytes,
            compute_tenths: profile.gpu.min_compute_tenths,
            max_price: profile.gpu.max_price,
            disk_bytes: profile.disk_bytes,
            ..Requirement::default()
        }
    }

    /// All offers of the providers that a profile names, and what could not be asked.
    pub async fn offers(&self, names: &[String]) -> (Vec<charter_domain::offer::Offer>, Vec<(String, bool)>) {
        let (mut offers, mut problems) = (vec![], vec![]);
        for provider in self.providers().iter().filter(|p| names.is_empty() || names.iter().any(|n| n == p.name())) {
            let page = provider.offers().await;
            offers.extend(page.offers);
            problems.extend(page.problems);
        }
        for name in names.iter().filter(|n| self.provider(n).is_none()) {
            problems.push((format!("provider `{name}` is not in the configuration"), true));
        }
        (offers, problems)
    }

    async fn see_offers(&self, replica: &Replica, deployment: &Deployment) -> Sight {
        let need = Requirement {
            excluded_hosts: replica.excluded_hosts.clone(),
            excluded_providers: replica.excluded_providers.clone(),
            ..self.requirement(deployment)
        };
        let (offers, problems) = self.offers(&need.providers).await;
        Sight::Offers(choose(&need, &offers).map(Box::new).map_err(|rejections| {
            let lasting = rejections.iter().all(|r| r.lasting) && problems.iter().all(|(_, lasting)| *lasting);
            let mut reasons: Vec<String> = rejections.into_iter().map(|r| format!("`{}` {}", r.host, r.why)).collect();
            reasons.extend(problems.into_iter().map(|(text, _)| text));
            NoOffer { reasons, lasting }
        }))
    }

    fn see_in_flight(&self, replica: &Replica) -> Sight {
        let version = self.0.routes.borrow().version;
        let routed = self.0.routes.borrow().backends.iter().any(|b| b.id == replica.id.0 && b.ready);
        if routed {
            self.0.tasks.wake("routes");
            return Sight::Unclear("it is still routed to".into());
        }
        match self.0.parts.data_plane.in_flight(&replica.id.0, version) {
            Some(count) => Sight::InFlight(count),
            None => Sight::Unclear("a gateway has not confirmed the new routes yet".into()),
        }
    }

    async fn see_absence(&self, instance: &Instance) -> Sight {
        let Some(provider) = self.provider(&instance.placement.offer.provider) else {
            return Sight::Unclear("its provider is not in the configuration".into());
        };
        match provider.is_present(instance).await {
            Ok(false) => Sight::Absent,
            Ok(true) => Sight::Present,
            Err(error) => Sight::Unclear(error.to_string()),
        }
    }
}

impl Controller {
    /// What is wrong with a profile that no machine could cure; found before anything is asked for.
    ///
    /// # Errors
    /// One sentence per fault.
    pub fn check(&self, profile: &charter_domain::profile::Profile) -> Result<(), Vec<String>> {
        use charter_engines::vllm::{launch::check_option, version::Version};
        let mut faults: Vec<String> = profile.engine.options.iter().filter_map(|(n, v)| check_option(n, v).err()).collect();
        if let Err(why) = Version::resolve(&profile.engine.version, charter_engines::vllm::version::BUILT_IN) {
            faults.push(why);
        }
        // A secret that cannot be read now would fail the start later, after the running engine was given back.
        for (name, value) in &profile.engine.env {
            if let charter_domain::profile::EnvValue::Secret(secret) = value
                && let Err(why) = self.0.parts.secrets.read(secret)
            {
                faults.push(format!("`{name}`: {why}"));
            }
        }
        for name in profile.providers.iter().filter(|n| self.provider(n).is_none()) {
            let known: Vec<&str> = self.providers().iter().map(|p| p.name()).collect();
            faults.push(format!("provider `{name}` is not in the server's configuration (it has: {})", known.join(", ")));
        }
        if self.providers().is_empty() {
            faults.push("the server's configuration has no provider: write one under `server.providers`, and start the server from that file".to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}
