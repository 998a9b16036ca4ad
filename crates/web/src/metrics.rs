//! The control plane's metrics: which deployments lag behind their files, and what is under way.

use crate::auth::Caller;
use crate::problem::Answer;
use crate::router::App;
use crate::status;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use charter_api::status::Deployment;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A label's value, as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn text(all: &[Deployment]) -> String {
    let mut out = String::new();
    let mut family = |name: &str, help: &str, lines: Vec<(String, i64)>| {
        // Writing to a String cannot fail.
        write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n").ok();
        for (labels, value) in lines {
            writeln!(out, "{name}{{{labels}}} {value}").ok();
        }
    };
    let of = |d: &Deployment| format!("deployment=\"{}\",profile=\"{}\"", escaped(&d.name), escaped(&d.profile));
    let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let drift = all.iter().map(|d| (of(d), whole(d.drift.len()))).collect();
    family("charter_deployment_drift_fields", "Fields in which a deployment lags behind its file.", drift);
    let generation = all.iter().map(|d| (of(d), i64::from(d.generation))).collect();
    family("charter_deployment_generation", "The number of the present specification.", generation);
    let under_way = all.iter().filter_map(|d| {
        let u = d.upgrade.as_ref()?;
        Some((format!("{},strategy=\"{}\",stage=\"{}\"", of(d), u.strategy, u.stage), i64::from(u.to)))
    });
    family("charter_deployment_upgrade", "The generation that a deployment is being upgraded to.", under_way.collect());
    let price = all.iter().map(|d| (of(d), d.replicas.iter().map(|r| r.price_usd_micros_per_hour).sum())).collect();
    family("charter_deployment_price_usd_micros_per_hour", "What its machines cost now.", price);
    let mut phases: BTreeMap<String, i64> = BTreeMap::new();
    for (deployment, replica) in all.iter().flat_map(|d| d.replicas.iter().map(move |r| (d, r))) {
        *phases.entry(format!("{},phase=\"{}\"", of(deployment), replica.phase)).or_default() += 1;
    }
    family("charter_replicas", "Copies by phase.", phases.into_iter().collect());
    out
}

/// In the text format of Prometheus.
pub(crate) async fn metrics(State(app): State<App>, caller: Caller) -> Answer<impl IntoResponse> {
    let all = status::all(&app, &caller).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text(&all.deployments)))
}
