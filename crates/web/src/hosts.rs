//! Hosts that failed, and what that means for them now.

use crate::auth::Caller;
use crate::problem::Answer;
use crate::router::App;
use crate::status::rfc3339;
use axum::extract::{Json, State};
use charter_api::market::{Host, HostFailure, Hosts};
use charter_domain::host_memory::{HostRecord, LEFT_OUT, reputations};
use charter_store::Role;

/// All that are remembered, the heaviest first.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<Hosts>> {
    caller.need(Role::Viewer)?;
    let (records, now) = (app.controller.store().hosts().await?, app.controller.now());
    let known = reputations(&records, now);
    let mut keys: Vec<_> = records.iter().map(|r| (r.provider.clone(), r.host.clone())).collect();
    let speeds: Vec<_> = app.controller.store().host_speeds().await?.into_iter().filter(|s| s.counts(now)).collect();
    keys.extend(speeds.iter().map(|s| (s.provider.clone(), s.host.clone())));
    keys.sort();
    keys.dedup();
    let weight = |key: &(String, String)| known.get(key).map_or(0, |r| r.weight);
    keys.sort_by_key(|key| (u32::MAX - weight(key), key.clone()));
    let host = |key: (String, String)| {
        let mine = records.iter().filter(|r| (&r.provider, &r.host) == (&key.0, &key.1));
        let failure = |r: &HostRecord| HostFailure { class: r.class.clone(), count: r.count, last_at: rfc3339(r.last_at) };
        let failures = mine.map(failure).collect();
        let weight = weight(&key);
        let mbps = speeds.iter().find(|s| (&s.provider, &s.host) == (&key.0, &key.1)).map(|s| s.mbps);
        let (provider, host) = key;
        let left_out = weight >= LEFT_OUT;
        Host { provider, host, weight: f64::from(weight) / 1000.0, left_out, download_mbps: mbps, failures }
    };
    Ok(Json(Hosts { schema: "charter.hosts/1".to_owned(), hosts: keys.into_iter().map(host).collect() }))
}
