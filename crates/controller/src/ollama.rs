//! An Ollama server between its start and its first answer: the model is fetched with visible progress, loaded for good, and it is
//! looked whether it lies where it should.

use crate::controller::Controller;
use crate::probe::{Engine, Way};
use charter_domain::cause::{Action, Cause};
use charter_domain::deployment::Deployment;
use charter_domain::ids::ReplicaId;
use charter_domain::instance::Instance;
use charter_domain::look::Verdict;
use charter_domain::replica::{Phase as ReplicaPhase, Replica};
use charter_engines::log::Phase;
use charter_engines::ollama::load::{is_there, loaded};
use charter_engines::ollama::pull::Pull;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is under way for one start of one copy.
#[derive(Debug, Default)]
pub(crate) struct Work {
    number: u32,
    pull: Mutex<Pull>,
    /// A task is at it.
    busy: Mutex<bool>,
}

/// Of all copies.
pub(crate) type Works = BTreeMap<ReplicaId, Arc<Work>>;

impl Controller {
    /// Takes a server on the way to its first answer one step further; nothing when it is there.
    pub(crate) async fn prepare(
        &self,
        replica: &Replica,
        deployment: &Deployment,
        instance: &Instance,
        engine: &Engine<'_>,
    ) -> Option<Verdict> {
        if matches!(replica.phase, ReplicaPhase::Ready { .. } | ReplicaPhase::Unreachable { .. }) {
            return None;
        }
        let model = deployment.as_of(replica.generation).profile.model;
        let work = self.work_of(replica);
        let waits = |why: String| {
            self.0.live.update(&replica.id, replica.launches, self.now(), |view| view.waiting_for = Some(why));
            Some(Verdict::Starting)
        };
        let tags = match engine.get("/api/tags").await {
            Ok(body) => body,
            Err(why) => return waits(why),
        };
        if !is_there(&tags, &model) {
            if let Some(why) = work.pull.lock().unwrap_or_else(PoisonError::into_inner).failed.clone() {
                return Some(Verdict::Failed(not_fetched(&model, why)));
            }
            self.begin(replica, &work, engine, "/api/pull", json!({"model": model, "stream": true}));
            self.show(replica, &work);
            return waits(format!("fetching `{model}`"));
        }
        let seen = match engine.get("/api/ps").await {
            Ok(body) => loaded(&body, &model),
            Err(why) => return waits(why),
        };
        let Some(seen) = seen else {
            if let Some(why) = work.pull.lock().unwrap_or_else(PoisonError::into_inner).failed.clone() {
                let hint = "a smaller model, a shorter context or a larger card";
                let cause = Cause::new("load_failed", Action::ChangeProfile, format!("`{model}` cannot be loaded: {why}"), hint);
                return Some(Verdict::Failed(cause));
            }
            let body = json!({"model": model, "keep_alive": -1, "stream": false});
            self.begin(replica, &work, engine, "/api/generate", body);
            self.0.live.update(&replica.id, replica.launches, self.now(), |view| view.phase = Some(Phase::Load));
            return waits(format!("loading `{model}`"));
        };
        // Without a card that it can see it runs on the processor, and says nothing of it.
        if seen.is_on_processor() && !instance.placement.gpus.is_empty() {
            let evidence = format!("`{model}` lies in the machine's memory: none of it is on a card");
            let hint = "the driver is not seen by Ollama; `nvidia-smi` on the machine tells more";
            let action = if instance.placement.order.is_some() { Action::OtherHost } else { Action::AskUser };
            return Some(Verdict::Failed(Cause::new("gpu_not_found", action, evidence, hint)));
        }
        self.0.live.update(&replica.id, replica.launches, self.now(), |view| {
            view.capacity_tokens = seen.context;
            view.phase = Some(Phase::Loaded);
        });
        None
    }

    fn work_of(&self, replica: &Replica) -> Arc<Work> {
        let mut works = self.0.works.lock().unwrap_or_else(PoisonError::into_inner);
        let known = works.entry(replica.id.clone()).or_default();
        if known.number != replica.launches {
            *known = Arc::new(Work { number: replica.launches, ..Work::default() });
        }
        Arc::clone(known)
    }

    /// Asks for something that takes long, once at a time; what comes of it is seen at the next look.
    fn begin(&self, replica: &Replica, work: &Arc<Work>, engine: &Engine<'_>, path: &'static str, body: serde_json::Value) {
        let busy = std::mem::replace(&mut *work.busy.lock().unwrap_or_else(PoisonError::into_inner), true);
        if busy {
            return;
        }
        let (this, work, replica) = (self.clone(), Arc::clone(work), replica.clone());
        let (way, key): (Way, String) = (engine.way.clone(), engine.key.to_owned());
        self.0.tasks.spawn(crate::tasks::Kind::Timer(self.0.ended.clone()), async move {
            let engine = Engine { way: &way, key: &key };
            let told = engine
                .lines(path, body.to_string().into_bytes(), |line| {
                    work.pull.lock().unwrap_or_else(PoisonError::into_inner).line(line);
                    this.show(&replica, &work);
                })
                .await;
            // Whatever broke on the way is tried again at the next look: what has come is kept.
            if let Err(why) = told {
                tracing::info!(path, why, "an engine did not finish what it was asked for");
            }
            *work.busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
        });
    }

    /// Shows people how far it has come; as long as something moves, nobody takes it for stuck.
    fn show(&self, replica: &Replica, work: &Work) {
        let (percent, come) = {
            let pull = work.pull.lock().unwrap_or_else(PoisonError::into_inner);
            (pull.percent(), pull.bytes().0)
        };
        let now = self.now();
        let moved = self.0.live.update(&replica.id, replica.launches, now, |view| {
            let moved = view.percent != percent || view.log_bytes != come;
            (view.phase, view.percent) = (Some(Phase::Download), percent);
            if moved {
                view.moved_at = now;
            }
            moved
        });
        if moved {
            self.changed();
        }
    }
}

/// What it means that a model did not come.
fn not_fetched(model: &str, why: String) -> Cause {
    let lower = why.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let evidence = format!("`{model}`: {why}");
    if has(&["file does not exist", "not found", "no such", "unauthorized"]) {
        let hint = "name a model that Ollama's library lists, with its tag";
        return Cause::new("model_not_found", Action::ChangeProfile, evidence, hint);
    }
    if has(&["no space left"]) {
        return Cause::new("disk_full", Action::ChangeProfile, evidence, "give it more `disk`");
    }
    Cause::new("download_failed", Action::OtherHost, evidence, "the machine cannot reach the library, or is too slow")
}
