//! Copies that come and go with what is asked: from none on the first request, between the two bounds by what waits and how full
//! the engines' caches are, and back to none when nobody asks any more. Money has the last word, as with every order.

use crate::controller::Controller;
use crate::probe::Engine;
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::replica::{Phase, Replica};
use charter_domain::scale::{Demand, Memory};
use charter_domain::time::Span;
use charter_engines::log::load::Load;
use charter_store::{Commit, Error, Write};
use std::sync::PoisonError;

/// How often it is looked at.
const PERIOD: Span = Span::s(5);

impl Controller {
    pub(crate) fn spawn_scaling(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "scaling", PERIOD, move || {
            let this = this.clone();
            async move { this.scale_all().await.map_err(|e| e.to_string()) }
        });
    }

    async fn scale_all(&self) -> Result<String, Error> {
        let mut said = vec![];
        for row in self.store().deployments().await? {
            let state = row.state;
            let Some(scale) = state.scale.filter(|_| state.wish == Wish::Run && self.my_deployment(&state.id)) else { continue };
            let replicas = self.replicas_of(&state.id).await?;
            let demand = self.demand(&state, &replicas);
            let wanted = {
                let mut all = self.0.scaling.lock().unwrap_or_else(PoisonError::into_inner);
                let memory: &mut Memory = all.entry(state.id.clone()).or_default();
                scale.judge(state.replicas, demand, memory, self.now())
            };
            if wanted == state.replicas {
                continue;
            }
            let text = format!(
                "{wanted} copies are wanted and not {}: {} requests wait, {} are being answered, the fullest cache is at {} %",
                state.replicas,
                demand.waiting,
                demand.in_flight,
                demand.kv_permille / 10
            );
            self.set_copies(state.id.as_str(), wanted, text).await?;
            said.push(format!("{}: {wanted}", state.name));
        }
        Ok(if said.is_empty() { "nothing to change".to_owned() } else { said.join(", ") })
    }

    /// What is asked of a deployment at this moment.
    fn demand(&self, state: &Deployment, replicas: &[Replica]) -> Demand {
        let open = replicas.iter().filter(|r| !r.phase.is_closed() && r.stop.is_none() && state.serves(r));
        let mut demand = Demand {
            waiting: self.0.parts.data_plane.waiting(&state.name),
            room: state.profile.max_concurrent,
            ..Demand::default()
        };
        for replica in open {
            if !matches!(replica.phase, Phase::Ready { .. }) {
                demand.starting += 1;
                continue;
            }
            demand.ready += 1;
            demand.in_flight += self.0.parts.data_plane.in_flight(&replica.id.0, 0).unwrap_or(0);
            let load = self.load_of(&replica.id.0);
            demand.waiting += load.waiting;
            demand.kv_permille = demand.kv_permille.max(load.kv_permille);
        }
        demand
    }

    /// What an engine says of itself.
    pub(crate) async fn engine_load(&self, replica: &Replica) -> Option<Load> {
        let (way, instance) = (self.way_to(replica)?, replica.instance()?);
        let key = self.engine_key(&instance.tag);
        let metrics = Engine { way: &way, key: &key }.metrics().await?;
        let load = Load::from_metrics(&metrics);
        self.0.samples.add(&replica.id, load, self.now());
        Some(load)
    }

    /// Another number of copies from now on.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn set_copies(&self, id: &str, copies: u32, text: String) -> Result<(), Error> {
        for _ in 0..20 {
            let Some(row) = self.store().deployment(id).await? else { return Ok(()) };
            if row.state.replicas == copies || row.state.wish == Wish::Stop {
                return Ok(());
            }
            let state = Deployment { replicas: copies, ..row.state };
            let fact = self.fact(&state.id, None, text.clone());
            let write = Write { expected: row.version, state: state.clone() };
            match self.store().commit(Commit { deployments: vec![write], facts: vec![fact], ..Commit::default() }).await {
                Ok(()) => {
                    self.plan_one(&state).await?;
                    self.changed();
                    self.0.tasks.wake("routes");
                    return Ok(());
                }
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// Somebody asks for a deployment of which nothing runs because nobody had asked for long.
    pub async fn wanted(&self, name: &str) {
        let row = self.store().deployment(name).await;
        let asleep = row.ok().flatten().filter(|row| row.state.is_asleep());
        let Some(row) = asleep else { return };
        let text = "somebody asks for it: it is started".to_owned();
        if let Err(error) = self.set_copies(row.state.id.as_str(), 1, text).await {
            tracing::warn!(%error, deployment = name, "it could not be woken");
        }
    }
}
