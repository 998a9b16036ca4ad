//! Examining a copy of a new generation before it gets requests: does it hold what was asked for, and does it give the known
//! answers to known questions?

use crate::controller::Controller;
use crate::probe::{Engine, Way};
use charter_domain::deployment::Deployment;
use charter_domain::ids::ReplicaId;
use charter_domain::profile::OptionValue;
use charter_domain::replica::Replica;
use charter_engines::probe::Task;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Results by copy and start; nothing while an examination is under way.
pub(crate) type Exams = BTreeMap<(ReplicaId, u32), Option<Result<String, String>>>;

impl Controller {
    /// What came of examining a copy. The first question begins it.
    pub(crate) fn exam_of(&self, replica: &Replica, deployment: &Deployment) -> Option<Result<String, String>> {
        if self.0.parts.machines.is_some() {
            return Some(Ok("answers".to_owned()));
        }
        let mark = (replica.id.clone(), replica.launches);
        let mut exams = self.0.exams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = exams.get(&mark) {
            return known.clone();
        }
        // Earlier starts of the same copy are over.
        exams.retain(|(id, _), _| *id != replica.id);
        exams.insert(mark.clone(), None);
        drop(exams);
        let (this, replica, deployment) = (self.clone(), replica.clone(), deployment.clone());
        self.0.tasks.spawn(crate::tasks::Kind::Timer(self.0.ended.clone()), async move {
            let came = this.examine(&replica, &deployment).await;
            this.0.exams.lock().unwrap_or_else(PoisonError::into_inner).insert(mark, Some(came));
            this.0.tasks.wake("upgrades");
        });
        None
    }

    async fn examine(&self, replica: &Replica, deployment: &Deployment) -> Result<String, String> {
        let (Some(way), Some(instance)) = (self.way_to(replica), replica.instance()) else {
            return Err("it holds no machine any more".to_owned());
        };
        let key = self.engine_key(&instance.tag);
        let engine = Engine { way: &way, key: &key };
        let (profile, mut said) = (&deployment.profile, vec![]);
        let reported = engine.reported(profile.own_name()).await;
        let wanted = match profile.engine.options.get("max-model-len") {
            Some(OptionValue::Number(wanted)) => Some(*wanted),
            _ => None,
        };
        if let (Some(wanted), Some(there)) = (wanted, reported.max_model_len) {
            if there < wanted {
                return Err(format!("it takes {there} tokens, and {wanted} were asked for"));
            }
            said.push(format!("takes {there} tokens"));
        }
        let task = self.engine(&replica.id).and_then(|v| v.task).unwrap_or(Task::Chat);
        for (n, canary) in profile.canary.iter().enumerate() {
            let answer = engine.complete(profile.own_name(), &canary.prompt, task).await?;
            if !answer.contains(&canary.expect) {
                let short: String = answer.chars().filter(|c| !c.is_control()).take(80).collect();
                return Err(format!("`{}` is answered with `{short}`, and not with `{}`", canary.prompt, canary.expect));
            }
            if n + 1 == profile.canary.len() {
                said.push(format!("{} known answers are right", profile.canary.len()));
            }
        }
        Ok(if said.is_empty() { "answers".to_owned() } else { said.join(", ") })
    }

    /// The way to a copy's engine.
    pub(crate) fn way_to(&self, replica: &Replica) -> Option<Way> {
        let (instance, process) = (replica.instance()?, replica.process()?);
        Some(match instance.mapped_port() {
            Some(_) => {
                let address = instance.address.as_ref()?;
                Way::Tcp { host: address.host.clone(), port: address.port }
            }
            None => Way::Ssh { link: self.link_of(replica)?, port: process.port },
        })
    }
}
