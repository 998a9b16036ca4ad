//! Plans that were applied, on their way to the log: many lines are written at once, since each alone would cost a request more than
//! its plan does.

use crate::plan::Plan;
use http::HeaderValue;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A line waits no longer than this.
const EACH: Duration = Duration::from_millis(100);
/// Bytes that wait, at the most; what comes beyond them is counted.
const WAITING_MAX: usize = 256 * 1024;

/// Lines that wait.
#[derive(Debug, Default)]
pub(crate) struct PlanLog(Mutex<(String, u64)>);

impl PlanLog {
    /// A plan was applied to a request.
    pub(crate) fn applied(&self, plan: &Plan, request: &HeaderValue) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.0.len() > WAITING_MAX {
            waiting.1 += 1;
            return;
        }
        let separator = if waiting.0.is_empty() { "" } else { "\n" };
        let (tier, model, effort) = (plan.tier.as_str(), &plan.model, plan.effort);
        let request = request.to_str().unwrap_or_default();
        // Writing to a String cannot fail.
        write!(
            waiting.0,
            "{separator}[PLAN] Applied ExecutionPlan: tier={tier}, model={model}, effort={effort} (request {request})"
        )
        .ok();
    }

    fn write(&self) {
        let (lines, more) = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if more > 0 {
            tracing::warn!(more, "plans that found no room in the log");
        }
        if !lines.is_empty() {
            tracing::info!("{lines}");
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
