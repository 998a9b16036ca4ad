//! Ends by the clock: what costs money and answers nobody, and what was wanted for a time that is over. Machines of ours cost
//! nothing and stay as long as they are wanted.

use crate::controller::Controller;
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::replica::{Phase, Replica};
use charter_domain::time::{Span, Time};
use charter_store::Error;

/// How often idle deployments are looked for.
const PERIOD: Span = Span::s(5);

impl Controller {
    pub(crate) fn spawn_keep_alive(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "keep-alive", PERIOD, move || {
            let this = this.clone();
            async move { this.end_idle().await.map_err(|e| e.to_string()) }
        });
    }

    /// When a deployment is ended if nobody asks it anything until then. `None` for what costs nothing, is told to stay, is
    /// not up yet, or is answering at this moment.
    #[must_use]
    pub fn idle_end(&self, deployment: &Deployment, replicas: &[Replica]) -> Option<Time> {
        if deployment.wish == Wish::Stop {
            return None;
        }
        let open: Vec<&Replica> = replicas.iter().filter(|r| !r.phase.is_closed()).collect();
        let rented = open.iter().filter_map(|r| r.instance()).any(|i| i.placement.order.is_some());
        let up = !open.is_empty() && open.iter().all(|r| matches!(r.phase, Phase::Ready { .. }));
        let sleeps = deployment.scale.is_some_and(|s| s.min == 0) && deployment.profile.keep_alive.is_some();
        if !(rented || sleeps) || !up {
            return None;
        }
        let patience = deployment.profile.keep_alive.unwrap_or(self.0.parts.settings.keep_alive);
        let mut last = self.0.started_at;
        for replica in open {
            // A gateway that has not spoken yet may be answering.
            if self.is_answering(replica) {
                return None;
            }
            last = last.max(replica.since).max(self.last_used(&replica.id).unwrap_or(Time(0)));
        }
        Some(Time(last.0.saturating_add(patience.0)).max(deployment.keep_until.unwrap_or(Time(0))))
    }

    pub(crate) async fn end_idle(&self) -> Result<String, Error> {
        let mut ended = vec![];
        for row in self.store().deployments().await? {
            let state = row.state;
            if !self.my_deployment(&state.id) {
                continue;
            }
            let replicas = self.replicas_of(&state.id).await?;
            let over = |at: Option<Time>| at.is_some_and(|at| at <= self.now());
            let sleeps = state.scale.is_some_and(|s| s.min == 0);
            let text = if state.wish == Wish::Run && over(state.expires_at) {
                "its time is over (`serve-for`): it is ended".to_owned()
            } else if sleeps && over(self.idle_end(&state, &replicas)) {
                let patience = state.profile.keep_alive.unwrap_or(self.0.parts.settings.keep_alive);
                let text = format!("nobody has asked it anything for {patience} (`keep-alive`): it sleeps until somebody does");
                self.set_copies(state.id.as_str(), 0, text).await?;
                ended.push(state.name);
                continue;
            } else if over(self.idle_end(&state, &replicas)) {
                let patience = state.profile.keep_alive.unwrap_or(self.0.parts.settings.keep_alive);
                format!("nobody has asked it anything for {patience} (`keep-alive`): it is ended")
            } else {
                continue;
            };
            let fact = self.fact(&state.id, None, text);
            self.store().commit(charter_store::Commit { facts: vec![fact], ..charter_store::Commit::default() }).await?;
            self.end(state.id.as_str()).await?;
            ended.push(state.name);
        }
        Ok(if ended.is_empty() { "nothing idle".to_owned() } else { format!("ended {}", ended.join(", ")) })
    }
}
