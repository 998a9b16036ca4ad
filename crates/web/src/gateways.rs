//! Gateways in processes of their own: they ask for the table, say which one they use, and count requests.

use crate::auth::Caller;
use crate::problem::{Answer, Body};
use crate::router::App;
use axum::extract::{Json, State};
use charter_domain::routing::RouteTable;
use charter_domain::time::{Span, Time};
use charter_store::Role;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a gateway waits for a new table before it asks again.
const POLL: Duration = Duration::from_millis(500);
/// A gateway that has not asked for so long is not there any more. It asks at least once a second, and waits for an
/// answer for a third of this.
const GONE: Span = Span::s(15);

/// What the gateways reported last.
#[derive(Debug, Default)]
pub struct Gateways(Mutex<BTreeMap<String, Report>>);

#[derive(Debug)]
struct Report {
    at: Time,
    version: u64,
    in_flight: BTreeMap<String, u64>,
    last_used_ms: BTreeMap<String, i64>,
    waiting: BTreeMap<String, u64>,
}

impl Gateways {
    /// The gateways that an earlier process of the control plane knew: until they ask again, or are gone, they may be
    /// answering requests.
    #[must_use]
    pub fn known(ids: Vec<String>, now: Time) -> Self {
        let unheard = |id| {
            (
                id,
                Report {
                    at: now,
                    version: 0,
                    in_flight: BTreeMap::new(),
                    last_used_ms: BTreeMap::new(),
                    waiting: BTreeMap::new(),
                },
            )
        };
        Self(Mutex::new(ids.into_iter().map(unheard).collect()))
    }

    /// Requests that a backend is answering, over all gateways that have asked lately.
    ///
    /// # Errors
    /// Which gateway still uses an older table.
    pub fn in_flight(&self, backend: &str, version: u64, now: Time) -> Result<u64, String> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present = || reports.iter().filter(|(_, r)| now.since(r.at) < GONE);
        if let Some((id, _)) = present().find(|(_, r)| r.version < version) {
            return Err(format!("waiting for gateway `{id}` to use the new routes; it counts as gone after {GONE} of silence"));
        }
        Ok(present().map(|(_, r)| r.in_flight.get(backend).copied().unwrap_or(0)).sum())
    }

    /// Requests that wait for a deployment, over all gateways that have asked lately.
    #[must_use]
    pub fn waiting(&self, deployment: &str, now: Time) -> u64 {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.values().filter(|r| now.since(r.at) < GONE).filter_map(|r| r.waiting.get(deployment)).sum()
    }

    /// How many gateways have asked lately.
    #[must_use]
    pub fn count(&self, now: Time) -> u32 {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        u32::try_from(reports.values().filter(|r| r.version > 0 && now.since(r.at) < GONE).count()).unwrap_or(u32::MAX)
    }

    /// When a backend answered its last request, as far as the gateways have told.
    pub fn last_used(&self, backend: &str) -> Option<Time> {
        let reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reports.values().filter_map(|r| r.last_used_ms.get(backend)).max().copied().filter(|ms| *ms > 0).map(Time)
    }

    /// Writes a report down; true when the gateway is new.
    fn report(&self, id: &str, report: Report) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), report).is_none()
    }

    /// Forgets one gateway, or those that are long gone; these are the ones that were forgotten.
    fn forget(&self, gone: impl Fn(&str, Span) -> bool, now: Time) -> Vec<String> {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: Vec<String> = reports.iter().filter(|(id, r)| gone(id, now.since(r.at))).map(|(id, _)| id.clone()).collect();
        ids.iter().for_each(|id| drop(reports.remove(id)));
        ids
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
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
    /// When each backend answered last.
    #[serde(default)]
    last_used_ms: BTreeMap<String, i64>,
    /// Requests that wait, by deployment or registered backend.
    #[serde(default)]
    waiting: BTreeMap<String, u64>,
    /// Backends that gave no answer since it asked last.
    #[serde(default)]
    failing: Vec<String>,
    /// Deployments that somebody asked for, and of which nothing runs.
    #[serde(default)]
    wanted: Vec<String>,
    /// It has ended; nothing is being answered any more.
    #[serde(default)]
    over: bool,
}

/// A table, and the process of the control plane that made it.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Published {
    /// Different after every start of the control plane.
    pub epoch: String,
    /// The table: between a gateway and its control plane alone, and so not told field by field.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub table: RouteTable,
}

/// The table, as soon as it is newer than the one that the gateway uses. It holds keys, so only an admin gets it.
pub(crate) async fn table(State(app): State<App>, caller: Caller, Body(poll): Body<Poll>) -> Answer<Json<Published>> {
    caller.need(Role::Admin)?;
    let same = poll.epoch == app.epoch;
    let version = if same { poll.version } else { 0 };
    let now = app.controller.now();
    if poll.over {
        app.gateways.forget(|id, _| id == poll.id, now);
        app.controller.store().remove_gateway(&poll.id).await?;
    } else if app.gateways.report(
        &poll.id,
        Report { at: now, version, in_flight: poll.in_flight, last_used_ms: poll.last_used_ms, waiting: poll.waiting },
    ) {
        app.controller.store().add_gateway(&poll.id, now).await?;
        for gone in app.gateways.forget(|_, silent| silent >= GONE, now) {
            app.controller.store().remove_gateway(&gone).await?;
        }
    }
    poll.failing.iter().for_each(|backend| app.controller.suspect(backend));
    for deployment in &poll.wanted {
        app.controller.wanted(deployment).await;
    }
    let mut routes = app.controller.routes();
    // Drains are watched closely, so a gateway reports often; a new table is given at once.
    if same && !poll.over {
        let newer = tokio::time::timeout(POLL, routes.wait_for(|t| t.version > version)).await;
        tracing::trace!(newer = newer.is_ok(), "a gateway asked for routes");
    }
    let table = RouteTable::clone(&routes.borrow_and_update());
    Ok(Json(Published { epoch: app.epoch.clone(), table }))
}
