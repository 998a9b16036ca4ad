//! The routing table: made anew from the store whenever something changed, and published if it differs.

use crate::controller::Controller;
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::ids::DeploymentId;
use charter_domain::instance::{Address, Instance};
use charter_domain::money::UsdPerHour;
use charter_domain::replica::{Phase, Replica};
use charter_domain::routing::{Backend, Key, Reach, RouteTable, ServedName, Speaks};
use charter_domain::time::Span;
use charter_engines::capability::calls_tools;
use charter_engines::ollama;
use charter_remote::Forward;
use charter_store::{BackendRow, Commit, Error, Role, Write};
use std::sync::{Arc, PoisonError};

impl Controller {
    pub(crate) fn spawn_routes(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "routes", Span::s(5), move || {
            let this = this.clone();
            async move { this.publish().await.map_err(|e| e.to_string()) }
        });
    }

    /// Publishes the present table now; whoever changed keys or backends calls it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn publish(&self) -> Result<String, Error> {
        let routes = self.store().routes().await?;
        let gateways = self.0.parts.data_plane.gateways();
        let mut table = RouteTable { version: 0, backends: vec![], keys: self.keys().await?, routes, gateways };
        let open = self.store().replicas(None).await?;
        for (row, _) in &open {
            if let Some(deployment) = self.store().deployment(row.state.deployment.as_str()).await?
                && let Some(backend) = self.backend(&row.state, &deployment.state)
            {
                self.supervise(&row.state, &deployment.state, &backend).await;
                table.backends.push(self.open_or_closed(backend, &deployment.state));
            }
        }
        table.backends.extend(self.names_without_replica(&table.backends).await?);
        table.backends.extend(self.0.parts.settings.hosted.iter().cloned());
        table.backends.extend(self.store().backends().await?.into_iter().map(|row| self.registered(row)));
        let present = Arc::clone(&self.0.routes.borrow());
        table.version = present.version;
        if *present != table {
            table.version += 1;
            self.0.routes.send_replace(Arc::new(table.clone()));
            self.tell_when_used(table.version);
        }
        self.close_forwards(&open.iter().map(|(r, _)| &r.state).collect::<Vec<_>>());
        Ok(format!("version {}, {} backends, {} keys", table.version, table.backends.len(), table.keys.len()))
    }

    /// Names of deployments that should run and have nothing that could: clients learn that they are known.
    async fn names_without_replica(&self, routed: &[Backend]) -> Result<Vec<Backend>, Error> {
        let closed = |d: &Deployment| self.rented_closed().is_some() && self.rents(d);
        let has = |name: &str| routed.iter().any(|b| b.served_names.iter().any(|s| s.name == name));
        let wished = self.store().deployments().await?.into_iter().map(|row| row.state).filter(|d| d.wish == Wish::Run);
        let lost = wished.filter(|d| !has(&d.profile.served_name));
        Ok(lost
            .map(|d| (d.is_asleep(), d.upgrade.is_some(), d))
            .map(|(asleep, starting, d)| (asleep && !closed(&d), starting && !closed(&d), d))
            .map(|(asleep, starting, d)| Backend {
                id: d.id.0,
                group: d.name,
                served_names: vec![ServedName { name: d.profile.served_name, parent: None }],
                upstream_model: None,
                reach: Reach::Http { base_url: String::new() },
                bearer: None,
                max_concurrent: d.profile.max_concurrent,
                ready: false,
                // What was ended first, on purpose, comes back as its next generation: whoever asks waits for that.
                starting,
                asleep,
                kept: true,
                rent: UsdPerHour(0),
                queue: 0,
                speaks: Speaks::Both,
                tools: true,
                hosted: None,
            })
            .collect())
    }

    /// The version that an engine tells, or the one that was asked for.
    fn version_of(&self, replica: &Replica, asked: &str) -> String {
        let seen = self.0.live.get(&replica.id).and_then(|view| view.version);
        seen.unwrap_or_else(|| asked.to_owned())
    }

    /// Is it run on machines that cost something?
    pub(crate) fn rents(&self, deployment: &Deployment) -> bool {
        let names = &deployment.profile.providers;
        let of = self.providers().iter().filter(|p| names.is_empty() || names.iter().any(|n| n == p.name()));
        let mut kinds = of.map(|p| p.descriptor().rented);
        kinds.any(|rented| rented)
    }

    /// Tells waiting people of a table once every gateway uses it: only then is a new backend really there.
    fn tell_when_used(&self, version: u64) {
        if self.0.hands.is_some() {
            return;
        }
        let this = self.clone();
        self.0.tasks.spawn(crate::tasks::Kind::Timer(self.0.ended.clone()), async move {
            for _ in 0..2000 {
                if this.0.parts.data_plane.in_flight("", version).is_ok() {
                    break;
                }
                tokio::time::sleep(Span::ms(2).std()).await;
            }
            this.changed();
        });
    }

    /// Do clients reach this replica through every gateway that is there?
    #[must_use]
    pub fn is_routed(&self, replica: &Replica) -> bool {
        let table = Arc::clone(&self.0.routes.borrow());
        let routed = table.backends.iter().any(|b| b.id == replica.id.0 && b.ready);
        routed && self.0.parts.data_plane.in_flight(&replica.id.0, table.version).is_ok() && self.is_routed_by_others(replica)
    }

    async fn keys(&self) -> Result<Vec<Key>, Error> {
        let keys = self.store().keys().await?.into_iter();
        Ok(keys
            .map(|k| Key {
                sha256: k.sha256,
                routes: k.routes,
                expires_at: k.expires_at,
                id: k.id.0.into(),
                tenant: k.tenant.into(),
                operator: k.role >= Role::Operator,
                limits: k.limits,
            })
            .collect())
    }

    fn backend(&self, replica: &Replica, deployment: &Deployment) -> Option<Backend> {
        if deployment.wish == Wish::Stop || !deployment.serves(replica) || replica.stop.is_some() {
            return None;
        }
        let of = deployment.as_of(replica.generation);
        let profile = &of.profile;
        let mut served_names = vec![ServedName { name: profile.served_name.clone(), parent: None }];
        let adapters = profile.engine.lora.iter();
        served_names.extend(adapters.map(|l| ServedName { name: l.name.clone(), parent: Some(profile.served_name.clone()) }));
        let known = Backend {
            id: replica.id.0.clone(),
            group: deployment.name.clone(),
            served_names,
            upstream_model: Some(profile.own_name().to_owned()).filter(|own| *own != profile.served_name),
            reach: Reach::Http { base_url: String::new() },
            bearer: None,
            max_concurrent: profile.max_concurrent,
            ready: false,
            starting: !matches!(replica.phase, Phase::Unreachable { .. }),
            asleep: false,
            kept: true,
            rent: replica.instance().map_or(UsdPerHour(0), |i| i.placement.offer.price),
            queue: self.queue_of(&replica.id.0),
            speaks: if ollama::runs(profile) { Speaks::Chat } else { speaks(&self.version_of(replica, &of.engine_version)) },
            tools: calls_tools(&profile.model),
            hosted: None,
        };
        let (Phase::Ready { instance, process, .. } | Phase::Unreachable { instance, process: Some(process), .. }) =
            &replica.phase
        else {
            return Some(known);
        };
        let reach = self.reach(instance, process.port)?;
        let ready = matches!(replica.phase, Phase::Ready { .. });
        Some(Backend { reach, ready, starting: false, bearer: Some(self.engine_key(&instance.tag)), ..known })
    }

    fn reach(&self, instance: &Instance, port: u16) -> Option<Reach> {
        if instance.mapped_port().is_some() {
            let Address { host, port, .. } = instance.address.as_ref()?;
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            return Some(Reach::Http { base_url: format!("http://{host}:{port}") });
        }
        let target = self.provider(&instance.placement.offer.provider)?.target(instance).ok()?;
        Some(Reach::Ssh {
            address: Address { host: target.host.clone(), port: target.port, user: target.user.clone() },
            host_key: target.host_key.clone(),
            private_key: target.key.to_openssh().ok()?,
            port,
        })
    }

    /// Keeps the link of a ready replica up, and its local port open if one is wanted.
    async fn supervise(&self, replica: &Replica, deployment: &Deployment, backend: &Backend) {
        let Reach::Ssh { port, .. } = &backend.reach else { return };
        let Some(link) = self.link_of(replica) else { return };
        let Some(wanted) = &deployment.forward else { return };
        if !self.my_deployment(&deployment.id) {
            return;
        }
        let is_open = |c: &Self| {
            let open = c.0.forwards.lock().unwrap_or_else(PoisonError::into_inner);
            open.get(&replica.id).is_some_and(|(to, _)| to == port)
        };
        if is_open(self) {
            return;
        }
        // A port that moved with its engine is freed before it is bound anew.
        self.0.forwards.lock().unwrap_or_else(PoisonError::into_inner).remove(&replica.id);
        tokio::task::yield_now().await;
        match Forward::open(link, &wanted.bind, wanted.port, *port).await {
            Ok(forward) => {
                if wanted.port == 0 && deployment.replicas == 1 {
                    self.keep_port(&deployment.id, forward.address().port()).await;
                }
                self.0.forwards.lock().unwrap_or_else(PoisonError::into_inner).insert(replica.id.clone(), (*port, forward));
                self.changed();
            }
            Err(error) => tracing::warn!(%error, deployment = deployment.name, "its local port is not open"),
        }
    }

    /// Other programs hold on to a port that was free once: after a restart it is the same.
    async fn keep_port(&self, id: &DeploymentId, port: u16) {
        let Ok(Some(row)) = self.store().deployment(id.as_str()).await else { return };
        let mut state = row.state;
        if let Some(forward) = state.forward.as_mut().filter(|f| f.port == 0) {
            forward.port = port;
            let write = Write { expected: row.version, state };
            let kept = self.store().commit(Commit { deployments: vec![write], ..Commit::default() }).await;
            tracing::debug!(?kept, port, "the port of a forward was kept");
        }
    }

    fn close_forwards(&self, open: &[&Replica]) {
        let mut forwards = self.0.forwards.lock().unwrap_or_else(PoisonError::into_inner);
        forwards.retain(|id, _| open.iter().any(|r| r.id == *id && r.process().is_some()));
    }

    fn registered(&self, row: BackendRow) -> Backend {
        Backend {
            ready: self.health(&row.name).0,
            queue: self.queue_of(&row.name),
            group: row.name.clone(),
            id: row.name,
            served_names: row.served_names.into_iter().map(|name| ServedName { name, parent: None }).collect(),
            upstream_model: row.upstream_model,
            reach: Reach::Http { base_url: row.base_url },
            bearer: None,
            max_concurrent: row.max_concurrent,
            starting: false,
            asleep: false,
            kept: false,
            rent: UsdPerHour(0),
            speaks: Speaks::Chat,
            tools: true,
            hosted: None,
        }
    }
}

/// Anthropic's paths came to vLLM with this version.
const MESSAGES_SINCE: [u32; 2] = [0, 12];

/// What an engine of this version understands; one that nobody knows is taken for an old one.
fn speaks(version: &str) -> Speaks {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    let known = [numbers.next().flatten(), numbers.next().flatten()];
    match known {
        [Some(major), Some(minor)] if [major, minor] >= MESSAGES_SINCE => Speaks::Both,
        _ => Speaks::Chat,
    }
}
