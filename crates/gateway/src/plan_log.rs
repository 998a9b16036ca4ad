//! Plans that were applied, on their way to the log: the same ones of a moment share a line, since a line for each would cost a
//! request more than its plan does.

use crate::plan::Plan;
use charter_effort::Tier;
use http::HeaderValue;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A plan waits no longer than this.
const EACH: Duration = Duration::from_millis(100);
/// Different plans that wait, at the most; what comes beyond them is counted.
const WAITING_MAX: usize = 1024;

/// Requests that had the same plan.
#[derive(Debug)]
struct Line {
    tier: Tier,
    effort: u8,
    model: Arc<str>,
    count: u64,
    last: HeaderValue,
}

/// Plans that wait, and those that found no room.
#[derive(Debug, Default)]
pub(crate) struct PlanLog(Mutex<(Vec<Line>, u64)>);

impl PlanLog {
    /// A plan was applied to a request.
    pub(crate) fn applied(&self, plan: &Plan, request: &HeaderValue) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, more) = &mut *waiting;
        let known = lines.iter().position(|line| line.effort == plan.effort && *line.model == *plan.choice.model);
        if let Some(line) = known.and_then(|at| lines.get_mut(at)) {
            line.count += 1;
            line.last.clone_from(request);
        } else if lines.len() < WAITING_MAX {
            let (tier, effort, model, last) = (plan.tier, plan.effort, Arc::clone(&plan.choice.model), request.clone());
            lines.push(Line { tier, effort, model, count: 1, last });
        } else {
            *more += 1;
        }
    }

    fn write(&self) {
        let (lines, more) = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if more > 0 {
            tracing::warn!(more, "plans that found no room in the log");
        }
        for Line { tier, effort, model, count, last } in lines {
            let (tier, request) = (tier.as_str(), last.to_str().unwrap_or_default());
            tracing::info!(count, request, "[PLAN] Applied ExecutionPlan: tier={tier}, model={model}, effort={effort}");
        }
    }

    /// Writes what waits, until `ended`, and then what is left.
    pub(crate) async fn write_all(&self, ended: CancellationToken) {
        while !ended.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(EACH) => {}
                () = ended.cancelled() => {}
            }
            self.write();
        }
    }
}
