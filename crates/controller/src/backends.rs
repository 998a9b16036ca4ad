//! Backends between requests: are those well that people registered, and how much waits inside the engines? What the balance of
//! a gateway should know beside its own counters.

use crate::controller::Controller;
use charter_domain::replica::{Phase, Replica};
use charter_domain::time::Span;
use charter_engines::log::load::Load;
use charter_store::{BackendRow, Error};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use tokio::task::JoinSet;

/// How often they are asked.
const PERIOD: Span = Span::s(5);
/// A registered backend that gave no good answer so many times in a row gets no requests until it gives one.
const BAD_LOOKS: u8 = 3;

/// What was heard of backends last, by the id that routes know them by.
#[derive(Debug, Default)]
pub(crate) struct Heard(BTreeMap<String, Backend>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Backend {
    load: Load,
    /// Bad looks in a row, and what was wrong with the last one.
    bad: u8,
    why: Option<String>,
}

impl Heard {
    /// Takes a look into account; true when gateways should hear of it.
    fn saw(&mut self, id: &str, seen: Result<Option<Load>, String>) -> bool {
        let known = self.0.entry(id.to_owned()).or_default();
        let before = (known.load.waiting, known.bad >= BAD_LOOKS);
        match seen {
            Ok(load) => *known = Backend { load: load.unwrap_or_default(), bad: 0, why: None },
            Err(why) => {
                known.bad = known.bad.saturating_add(1);
                known.why = Some(why);
            }
        }
        before != (known.load.waiting, known.bad >= BAD_LOOKS)
    }

    fn is_well(&self, id: &str) -> bool {
        self.0.get(id).is_none_or(|known| known.bad < BAD_LOOKS)
    }
}

impl Controller {
    pub(crate) fn spawn_backends(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "backends", PERIOD, move || {
            let this = this.clone();
            async move { this.ask_backends().await.map_err(|e| e.to_string()) }
        });
    }

    async fn ask_backends(&self) -> Result<String, Error> {
        let registered = self.store().backends().await?;
        let replicas = self.asked_for_load().await?;
        let mut questions = JoinSet::new();
        for row in registered {
            let this = self.clone();
            questions.spawn(async move { (this.ask_registered(&row).await, row.name) });
        }
        for replica in replicas {
            let this = self.clone();
            questions.spawn(async move { (Ok(this.engine_load(&replica).await), replica.id.0) });
        }
        let answers = questions.join_all().await;
        let asked = answers.len();
        let (mut news, mut bad) = (false, 0);
        {
            let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.0.retain(|id, _| answers.iter().any(|(_, asked)| asked == id));
            for (seen, id) in answers {
                news |= heard.saw(&id, seen);
                bad += usize::from(!heard.is_well(&id));
            }
        }
        if news {
            self.0.tasks.wake("routes");
        }
        Ok(format!("{asked} asked, {bad} not well"))
    }

    /// Engines whose queues matter: where requests can go two ways, and where copies come and go. The others are asked once a minute,
    /// for charts.
    async fn asked_for_load(&self) -> Result<Vec<Replica>, Error> {
        let table = std::sync::Arc::clone(&self.0.routes.borrow());
        let several = table.backends.iter().filter(|b| b.ready).count() > 1;
        let mut asked = vec![];
        let open = self.store().replicas(None).await?;
        self.0.samples.keep(&open.iter().map(|(row, _)| row.state.id.clone()).collect::<Vec<_>>());
        for (row, _) in open {
            let replica = row.state;
            if !matches!(replica.phase, Phase::Ready { .. }) {
                continue;
            }
            let deployment = self.store().deployment(replica.deployment.as_str()).await?;
            let is_due = self.0.samples.asks(&replica.id, self.now());
            if several || is_due || deployment.is_some_and(|d| d.state.scale.is_some()) {
                asked.push(replica);
            }
        }
        Ok(asked)
    }

    /// A registered backend is well when it lists the name that it was registered with.
    async fn ask_registered(&self, row: &BackendRow) -> Result<Option<Load>, String> {
        let Some(asker) = &self.0.parts.asker else { return Ok(None) };
        let names = asker.names(&row.base_url).await?;
        let wanted = row.upstream_model.as_ref().or_else(|| row.served_names.first());
        if let Some(wanted) = wanted.filter(|w| !names.contains(w)) {
            return Err(format!("it does not list `{wanted}` any more"));
        }
        Ok(asker.metrics(&row.base_url).await.map(|text| Load::from_metrics(&text)))
    }

    /// Does a registered backend answer, as far as is known? Else why not.
    #[must_use]
    pub fn health(&self, name: &str) -> (bool, Option<String>) {
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        (heard.is_well(name), heard.0.get(name).and_then(|known| known.why.clone()))
    }

    /// What a backend said last of its work.
    pub(crate) fn load_of(&self, backend: &str) -> Load {
        let heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.0.get(backend).map(|known| known.load).unwrap_or_default()
    }

    /// Requests that wait inside a backend.
    pub(crate) fn queue_of(&self, backend: &str) -> u32 {
        u32::try_from(self.load_of(backend).waiting).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bad_looks_take_a_backend_out_and_one_good_one_brings_it_back() {
        let mut heard = Heard::default();
        let load = |waiting| Ok(Some(Load { waiting, ..Load::default() }));
        let bad = || Err("no answer".to_owned());
        let told: Vec<bool> = [load(0), bad(), bad(), bad(), bad(), load(0), bad(), load(3), load(3)]
            .into_iter()
            .map(|seen| heard.saw("b", seen))
            .collect();
        assert_eq!(told, [false, false, false, true, false, true, false, true, false]);
        assert!(heard.is_well("b") && heard.is_well("never asked"));
    }
}
