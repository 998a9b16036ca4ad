//! Drivers: one per open replica. A driver looks where its replica's state wants to look, when it wants to, and turns
//! what it sees into events. The planner beside them turns wishes into replicas.

use crate::controller::Controller;
use crate::tasks::Kind;
use charter_domain::deployment::Deployment;
use charter_domain::filter::cap;
use charter_domain::host_memory::{HostKey, Reputation, reputations};
use charter_domain::ids::{DeploymentId, ReplicaId};
use charter_domain::instance::Instance;
use charter_domain::look::{Look, NoOffer, Sight, Verdict};
use charter_domain::money::UsdPerHour;
use charter_domain::offer::Offer;
use charter_domain::order::{LaunchWay, Order, Way};
use charter_domain::placement::{Placement, Rejection, Requirement, choose, explain};
use charter_domain::profile::{EnvValue, Profile, Vram, built_in_tiers};
use charter_domain::replica::{Phase, Replica};
use charter_domain::step::Event;
use charter_domain::time::{Span, Time};
use charter_engines::fit;
use charter_engines::ollama;
use charter_engines::vllm::launch::{Arg, IMAGE, IMAGE_PORT, Place, launch};
use charter_engines::vllm::version::{BUILT_IN, Version, image_cuda_tenths};
use charter_store::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use tokio::sync::Notify;

/// What wakes a driver before its time.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    /// The state was changed by somebody else.
    changed: Notify,
    /// Somebody saw it fail.
    suspected: Notify,
}

/// What a look asks, for people who wait for it.
const fn asks(look: &Look) -> &'static str {
    match look {
        Look::Offers => "asking what could be had; the answer is slow",
        Look::Tag(_) => "asking the provider what became of the order",
        Look::Machine(_) => "asking the machine what it has",
        Look::Engine(..) => "asking the engine; it is slow",
        Look::InFlight => "asking the gateways for requests that still run",
        Look::Absence(_) => "asking whether the machine is gone",
    }
}

/// A look that takes longer is told.
const SLOW_LOOK: Span = Span::s(3);
/// Between looks that failing requests bring about.
const SUSPICION_PAUSE: Span = Span::s(1);
/// A slower host takes longer to load image and model than it saves.
const INET_DOWN_MBPS: u32 = 100;
/// How long one look may take.
const LOOK_PATIENCE: Span = Span::s(180);
/// How often a driver asks whether its replica has become its share.
const SHARE_PAUSE: Span = Span::s(5);
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

    pub(crate) async fn plan_all(&self) -> Result<String, Error> {
        let (mut commands, mut reports) = (0, vec![]);
        let deployments = self.store().deployments().await?;
        for row in deployments.iter().filter(|row| self.my_deployment(&row.state.id)) {
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

    /// Something went wrong at a backend: its driver looks now, and not only when its usual pause is over.
    pub fn suspect(&self, backend: &str) {
        let drivers = self.0.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = drivers.get(&ReplicaId(backend.to_owned())) {
            driver.suspected.notify_one();
        } else {
            // One that people registered.
            self.0.tasks.wake("backends");
        }
    }

    /// Wakes a replica's driver, or makes one.
    pub(crate) fn drive(&self, id: &ReplicaId) {
        if self.0.ended.is_cancelled() {
            return;
        }
        if let Some(hands) = &self.0.hands {
            return hands.look(id, self.now());
        }
        let mut drivers = self.0.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = drivers.get(id) {
            driver.changed.notify_one();
            return;
        }
        let driver = Arc::new(Driver::default());
        drivers.insert(id.clone(), Arc::clone(&driver));
        drop(drivers);
        let (this, id) = (self.clone(), id.clone());
        self.0.tasks.spawn(Kind::Timer(self.0.ended.clone()), async move {
            while Box::pin(this.turn(&id, &driver)).await {}
            this.0.live.forget(&id);
            this.0.drivers.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    /// One look of a driver; false when there is nothing left to look at.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other sight is an answer, and nothing is waited for")]
    async fn turn(&self, id: &ReplicaId, driver: &Driver) -> bool {
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
            driver.changed.notified().await;
            return true;
        };
        if !self.my_deployment(&row.state.deployment) {
            // Another control plane looks after it; what fails here is looked at here all the same.
            self.0.live.forget(id);
            tokio::select! {
                () = driver.changed.notified() => return true,
                () = tokio::time::sleep(SHARE_PAUSE.std()) => return true,
                () = driver.suspected.notified() => {}
            }
        }
        // A pause is no look: whoever waits is told why it is made, and not that an answer is slow.
        if row.state.looks_from() > self.now() {
            self.rest(Some(row.state.looks_from()), driver).await;
            return true;
        }
        let asks = asks(&look);
        let mut seeing = std::pin::pin!(tokio::time::timeout(LOOK_PATIENCE.std(), self.see(&row.state, look)));
        // People who wait are told what a slow look waits for.
        let mut slow = std::pin::pin!(tokio::time::sleep(SLOW_LOOK.std()));
        let mut told = false;
        let seen = loop {
            tokio::select! {
                seen = &mut seeing => break seen,
                // A change of the state by somebody else makes the look pointless.
                () = driver.changed.notified() => return true,
                () = &mut slow, if !told => {
                    told = true;
                    self.wait_for(id, asks);
                }
            }
        };
        let sight = seen.unwrap_or_else(|_| Sight::Unclear(format!("no answer within {LOOK_PATIENCE}")));
        match &sight {
            Sight::Unclear(why) => self.wait_for(id, why),
            Sight::Engine(seen) if matches!(seen.verdict, Verdict::Away(_)) => {
                if let Verdict::Away(why) = &seen.verdict {
                    self.wait_for(id, why);
                }
            }
            Sight::Offers(Err(none)) => self.wait_for(id, &format!("no machine yet: {}", none.reasons.join("; "))),
            _ => self.wait_for(id, ""),
        }
        match self.apply(id, Event::Saw(sight), None).await {
            Ok(wake_at) => self.rest(wake_at, driver).await,
            Err(error) => {
                tracing::warn!(%error, replica = %id, "what was seen was not recorded");
                tokio::time::sleep(STORE_PAUSE.std()).await;
            }
        }
        true
    }

    async fn rest(&self, wake_at: Option<Time>, driver: &Driver) {
        let Some(at) = wake_at else { return };
        let pause = at.since(self.now());
        let begun = tokio::time::Instant::now();
        tokio::select! {
            () = tokio::time::sleep(pause.std()) => {}
            () = driver.changed.notified() => {}
            // What is looked at soon in any case, or was looked at a moment ago, is not looked at more often.
            () = driver.suspected.notified(), if pause > SUSPICION_PAUSE => {
                tokio::time::sleep_until(begun + SUSPICION_PAUSE.std()).await;
            }
        }
    }

    /// Tells people what a replica waits for; nothing, with an empty text.
    fn wait_for(&self, id: &ReplicaId, what: &str) {
        if self.0.live.wait_for(id, what) {
            self.changed();
        }
    }

    pub(crate) async fn see(&self, replica: &Replica, look: Look) -> Sight {
        let deployment = match self.store().deployment(replica.deployment.as_str()).await {
            Ok(Some(row)) => row.state.as_of(replica.generation),
            Ok(None) => return Sight::Unclear("the deployment is gone".into()),
            Err(error) => return Sight::Unclear(error.to_string()),
        };
        match look {
            Look::Offers => self.see_offers(replica, &deployment).await,
            Look::Tag(bid) => {
                let Some(provider) = self.provider(&bid.placement.offer.provider) else {
                    return Sight::Unclear("its provider is not in the configuration".into());
                };
                match provider.find(&bid, self.now()).await {
                    Ok(found) => Sight::Tagged(found.map(Box::new)),
                    Err(error) => Sight::Unclear(error.to_string()),
                }
            }
            Look::Machine(instance) => self.see_machine(replica, &instance, &deployment).await,
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
            tiers: if profile.gpu.tiers.is_empty() { built_in_tiers() } else { profile.gpu.tiers.clone() },
            other_names: profile.gpu.other_names,
            cuda_tenths: Version::resolve(&deployment.engine_version, BUILT_IN)
                .ok()
                .filter(|_| !ollama::runs(profile))
                .map(|v| image_cuda_tenths(&v)),
            min_reliability_permille: profile.min_reliability_permille,
            inet_down_mbps: INET_DOWN_MBPS,
            direct_ports: u32::from(self.entrypoint_provider(profile).is_some()),
            ..Requirement::default()
        }
    }

    /// A provider of the profile that lets the image's own entrypoint run the engine.
    pub(crate) fn entrypoint_provider(&self, profile: &Profile) -> Option<String> {
        let named = |name: &str| profile.providers.is_empty() || profile.providers.iter().any(|n| n == name);
        let providers = self.providers();
        let found = providers.iter().find(|p| named(p.name()) && p.descriptor().container == Some(LaunchWay::Args))?;
        Some(found.name().to_owned())
    }

    /// The offers of what costs nothing.
    async fn own_offers(&self, need: &Requirement) -> (Vec<Offer>, Vec<(String, bool)>) {
        let own = self.providers().iter().filter(|p| !p.descriptor().rented).map(|p| p.name().to_owned());
        let providers: Vec<String> = own.filter(|n| need.providers.is_empty() || need.providers.contains(n)).collect();
        if providers.is_empty() {
            return (vec![], vec![]);
        }
        self.offers(&Requirement { providers, ..need.clone() }).await
    }

    /// All offers, as far as they come in the time that a search may take.
    pub async fn offers_within(&self, need: &Requirement, patience: Span) -> (Vec<Offer>, Vec<(String, bool)>) {
        let late = || (vec![], vec![(format!("the search took longer than `limits.search`, {patience}"), false)]);
        tokio::time::timeout(patience.std(), self.offers(need)).await.unwrap_or_else(|_| late())
    }

    /// All offers of the providers that a profile names, and what could not be asked.
    pub async fn offers(&self, need: &Requirement) -> (Vec<Offer>, Vec<(String, bool)>) {
        let (mut offers, mut problems) = (vec![], vec![]);
        let names = &need.providers;
        for provider in self.providers().iter().filter(|p| names.is_empty() || names.iter().any(|n| n == p.name())) {
            let page = provider.offers(need).await;
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
            avoided_providers: replica.excluded_providers.clone(),
            avoided_cards: replica.doubtful_cards(),
            reputations: self.reputations().await,
            ..self.requirement(deployment)
        };
        // Nothing that costs money is even searched for when there is none left; what is ours costs none.
        let exhausted = self.exhausted(deployment).await.unwrap_or_else(|error| Some(error.to_string()));
        let (mut offers, mut problems) = match &exhausted {
            Some(_) => self.own_offers(&need).await,
            None => self.offers_within(&need, deployment.profile.limits.search).await,
        };
        offers.retain(|o| exhausted.is_none() || o.price.0 == 0);
        self.slow_down(&mut offers).await;
        let named = |name: &str| need.providers.is_empty() || need.providers.iter().any(|n| n == name);
        let frozen: Vec<String> =
            self.providers().iter().filter(|p| named(p.name())).filter_map(|p| self.frozen(p.name())).collect();
        offers.retain(|o| self.frozen(&o.provider).is_none());
        let dear = self.too_dear(deployment, &need, &mut offers).await;
        // What another replica is ordering at this moment would be gone: several that start together would all run after it.
        let ordered = self.ordered_by_others(replica).await;
        offers.retain(|o| o.market.is_none() || !ordered.contains(&(o.provider.clone(), o.id.clone())));
        problems.extend(exhausted.iter().map(|why| (why.clone(), true)));
        let chosen = choose(&need, &offers);
        // Money says no only where something dearer would have fitted.
        let short = dear.filter(|_| chosen.is_err()).filter(|(dear, _)| choose(&need, dear).is_ok()).map(|(_, why)| why);
        problems.extend(short.iter().map(|why| (why.clone(), true)));
        let lasting = problems.iter().any(|(_, lasting)| *lasting);
        if chosen.is_err() && !frozen.is_empty() && !lasting {
            // It is no search that failed: as soon as the list is clear again, it is made.
            return Sight::Unclear(frozen.join("; "));
        }
        let chosen = chosen.map(|mut placement| {
            placement.order = self.order(&need, &placement, deployment);
            placement
        });
        Sight::Offers(chosen.map(Box::new).map_err(|rejections| {
            let lasting = rejections.iter().all(Rejection::is_lasting) && problems.iter().all(|(_, lasting)| *lasting);
            let mut reasons = explain(&rejections);
            let market = self
                .providers()
                .iter()
                .any(|p| p.descriptor().rented && (need.providers.is_empty() || need.providers.iter().any(|n| n == p.name())));
            let empty = market && rejections.is_empty() && problems.is_empty();
            // What a market lists changes by the minute.
            let lasting = lasting && !empty;
            if empty {
                reasons.push(match &need.offer {
                    Some(id) => format!("the offer `{id}` is not there any more; `charter offers` shows what is"),
                    None => "the market lists nothing at all at this moment".to_owned(),
                });
            }
            // Nothing else can come of one offer that was named.
            let lasting = lasting || need.offer.is_some();
            let refused =
                offers.is_empty() && exhausted.is_none() && !problems.is_empty() && problems.iter().all(|(_, lasting)| *lasting);
            reasons.extend(problems.into_iter().map(|(text, _)| text));
            NoOffer {
                reasons,
                lasting: lasting || short.is_some(),
                over_budget: exhausted.is_some() || short.is_some(),
                refused: refused && market,
            }
        }))
    }

    /// A host that was measured to be slower than it says is taken by its measure.
    pub async fn slow_down(&self, offers: &mut [Offer]) {
        let speeds = self.store().host_speeds().await.unwrap_or_default();
        for speed in speeds.into_iter().filter(|s| s.counts(self.now())) {
            let same = offers.iter_mut().filter(|o| o.provider == speed.provider && o.host == speed.host);
            same.filter_map(|o| o.market.as_mut()).for_each(|m| m.inet_down_mbps = m.inet_down_mbps.min(speed.mbps));
        }
    }

    /// Takes out what costs more than the limits leave, so that a cheaper card is taken where there is one; returns it, with
    /// what the limits leave in words.
    async fn too_dear(
        &self,
        deployment: &Deployment,
        need: &Requirement,
        offers: &mut Vec<Offer>,
    ) -> Option<(Vec<Offer>, String)> {
        let (most, why) = self.affordable(deployment).await.ok()??;
        let price = |o: &Offer| if o.market.is_some() { agreed(o, cap(need, o)) } else { o.price };
        let (dear, fitting) = std::mem::take(offers).into_iter().partition(|o| o.price.0 > 0 && price(o) > most);
        *offers = fitting;
        let dear: Vec<Offer> = dear;
        (!dear.is_empty()).then_some((dear, why))
    }

    /// What is remembered of hosts that failed. Where that cannot be read, nothing is held against anybody.
    pub async fn reputations(&self) -> BTreeMap<HostKey, Reputation> {
        let records = self.store().hosts().await.unwrap_or_default();
        reputations(&records, self.now())
    }

    /// Offers, by provider and id, that other replicas are ordering now.
    async fn ordered_by_others(&self, replica: &Replica) -> BTreeSet<(String, String)> {
        let open = self.store().replicas(None).await.unwrap_or_default();
        let others = open.iter().map(|(row, _)| &row.state).filter(|r| r.id != replica.id);
        let bids = others
            .filter_map(|r| if let Phase::Acquiring(taking) = &r.phase { Some(&taking.bid().placement.offer) } else { None });
        bids.map(|offer| (offer.provider.clone(), offer.id.clone())).collect()
    }

    /// What a marketplace is asked to run; nothing for a machine of ours.
    fn order(&self, need: &Requirement, placement: &Placement, deployment: &Deployment) -> Option<Order> {
        let provider = self.provider(&placement.offer.provider)?;
        let image = if ollama::runs(&deployment.profile) {
            ollama::image(&deployment.engine_version)
        } else {
            let version = Version::resolve(&deployment.engine_version, &deployment.engine_version).ok()?;
            format!("{IMAGE}:{}", version.image_tag())
        };
        provider.descriptor().container.map(|launched| Order {
            image,
            disk_bytes: deployment.profile.disk_bytes,
            // What moves a little between search and order is let pass, up to the cap where there is one.
            max_price: Some(agreed(&placement.offer, cap(need, &placement.offer))),
            way: way(launched, &deployment.profile),
        })
    }

    fn see_in_flight(&self, replica: &Replica) -> Sight {
        let version = self.0.routes.borrow().version;
        let routed = self.0.routes.borrow().backends.iter().any(|b| b.id == replica.id.0 && b.ready);
        if routed {
            self.0.tasks.wake("routes");
            return Sight::Unclear("it is still routed to".into());
        }
        match self.in_flight(replica, version) {
            Ok(count) => Sight::InFlight(count),
            Err(why) => Sight::Unclear(why),
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

/// How the engine of a container is begun.
fn way(launched: LaunchWay, profile: &Profile) -> Way {
    if launched == LaunchWay::Ssh {
        return Way::Ssh;
    }
    let made = launch(profile, &Place::Image { port: IMAGE_PORT });
    let word = |arg: Arg| match arg {
        Arg::Word(word) => word,
        Arg::Port => IMAGE_PORT.to_string(),
    };
    let plain = profile.engine.env.iter().filter_map(|(name, value)| match value {
        EnvValue::Plain(text) => Some((name.clone(), text.clone())),
        EnvValue::Secret(_) => None,
    });
    Way::Args {
        argv: made.argv.into_iter().map(word).collect(),
        env: made.env.into_iter().chain(plain).collect(),
        port: IMAGE_PORT,
    }
}

/// The most that an order for an offer may cost: a tenth more than it says, and never more than the cap.
fn agreed(offer: &Offer, cap: Option<UsdPerHour>) -> UsdPerHour {
    let tenth = UsdPerHour(offer.price.0.saturating_add(offer.price.0 / 10));
    cap.map_or(tenth, |cap| tenth.min(cap.max(offer.price)))
}
