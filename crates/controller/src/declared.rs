//! From what is wanted to what is stored; the core decides ([`charter_domain::succession`]).

use crate::controller::Controller;
use crate::declare::Declared;
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::generation::Fate;
use charter_domain::ids::DeploymentId;
use charter_domain::replica::Replica;
use charter_domain::succession::{Asked, next};
use charter_store::Versioned;

impl Controller {
    fn first_generation(&self, wanted: &Declared) -> Deployment {
        Deployment {
            id: DeploymentId::new(&self.fresh()),
            name: wanted.name.clone(),
            tenant: wanted.tenant.clone(),
            owner: wanted.owner.clone(),
            profile_name: wanted.profile_name.clone(),
            source_file: wanted.source_file.clone(),
            generation: 1,
            profile: wanted.profile.clone(),
            offer: wanted.offer.clone(),
            replicas: wanted.replicas,
            scale: wanted.scale,
            forward: wanted.forward.clone(),
            engine_version: wanted.engine_version.clone(),
            wish: Wish::Run,
            wait: wanted.wait,
            expires_at: wanted.serve_for.map(|span| self.now() + span),
            keep_until: None,
            created_at: self.now(),
            history: vec![],
            upgrade: None,
            strategy: wanted.strategy,
        }
    }

    /// What the deployment is from now on; nothing where copies are being replaced one by one, which has to end first.
    pub(crate) fn next_generation(
        &self,
        wanted: &Declared,
        old: Option<&Versioned<Deployment>>,
        replicas: &[Replica],
    ) -> Option<Deployment> {
        let mut state = self.first_generation(wanted);
        let asked = Asked { by: &wanted.by, now: self.now(), strategy: wanted.strategy_now };
        match old {
            Some(old) => next(&old.state, state, replicas, asked),
            None => {
                state.remember(asked.now, asked.by, Fate::Serving);
                Some(state)
            }
        }
    }

    /// What a deployment would be if it were declared now.
    #[must_use]
    pub fn as_deployment(&self, wanted: &Declared, old: Option<Deployment>) -> Deployment {
        let old = old.map(|state| Versioned { version: 0, state });
        self.next_generation(wanted, old.as_ref(), &[]).unwrap_or_else(|| self.first_generation(wanted))
    }
}
