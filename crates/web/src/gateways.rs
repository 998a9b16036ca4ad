//! Gateways in processes of their own: they ask for the table, say which one they use, and count requests.

use crate::auth::Caller;
use crate::problem::Answer;
use crate::router::App;
use axum::extract::{Json, Query, State};
use charter_domain::routing::RouteTable;
use charter_domain::time::{Span, Time};
use charter_store::Role;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a gateway waits for a new table before it asks again.
const POLL: Duration = Duration::from_millis(500);
/// A gateway that has not asked for so long is not there any more.
const GONE: Span = Span::s(35);

/// What the gateways reported last.
#[derive(Debug, Default)]
pub struct Gateways(Mutex<BTreeMap<String, Report>>);

#[derive(Debug)]
struct Report {
    at: Time,
    version: u64,
    in_flight: BTreeMap<String, u64>,
}

impl Gateways {
    /// Requests that a backend is answering, over all gateways that have asked lately; `None` while one of them still uses
    /// an older table.
    pub fn in_flight(&self, backend: &str, version: u64, now: Time) -> Option<u64> {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.retain(|_, r| now.since(r.at) < GONE);
        let current = reports.values().all(|r| r.version >= version);
        current.then(|| reports.values().map(|r| r.in_flight.get(backend).copied().unwrap_or(0)).sum())
    }

    fn report(&self, id: &str, report: Report) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), report);
    }
}

#[derive(serde::Deserialize)]
pub(crate) struct Poll {
    /// The gateway's own id.
    id: String,
    /// The version that it uses.
    version: u64,
    /// The control plane's process that gave it; versions of another one mean nothing.
    #[serde(default)]
    epoch: String,
    /// Requests being answered, by backend.
    #[serde(default)]
    in_flight: BTreeMap<String, u64>,
}

/// A table, and the process of the control plane that made it.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Published {
    /// Different after every start of the control plane.
    pub epoch: String,
    /// The table.
    pub table: RouteTable,
}

/// The table, as soon as it is newer than the one that the gateway uses. It holds keys, so only an admin gets it.
pub(crate) async fn table(State(app): State<App>, caller: Caller, Json(poll): Json<Poll>) -> Answer<Json<Published>> {
    caller.need(Role::Admin)?;
    let same = poll.epoch == app.epoch;
    let version = if same { poll.version } else { 0 };
    app.gateways.report(&poll.id, Report { at: app.controller.now(), version, in_flight: poll.in_flight });
    let mut routes = app.controller.routes();
    // Drains are watched closely, so a gateway reports often; a new table is given at once.
    if same {
        let newer = tokio::time::timeout(POLL, routes.wait_for(|t| t.version > version)).await;
        tracing::trace!(newer = newer.is_ok(), "a gateway asked for routes");
    }
    let table = RouteTable::clone(&routes.borrow_and_update());
    Ok(Json(Published { epoch: app.epoch.clone(), table }))
}

#[derive(serde::Deserialize)]
pub(crate) struct Empty {}

/// What the background tasks did last, for `doctor`.
pub(crate) async fn doctor(State(app): State<App>, caller: Caller, Query(_): Query<Empty>) -> Answer<Json<serde_json::Value>> {
    caller.need(Role::Viewer)?;
    let tasks: Vec<_> = app
        .controller
        .tasks()
        .activations()
        .into_iter()
        .map(|(name, a)| serde_json::json!({"name": name, "count": a.count, "took_ms": a.took_ms, "said": a.said, "failed": a.failed}))
        .collect();
    Ok(Json(serde_json::json!({"tasks": tasks, "commits": app.controller.store().commits()})))
}
