//! All routes, and what their handlers share.

use crate::afresh::Files;
use crate::auth::Caller;
use crate::gateways::{self, Gateways};
use crate::problem::{Answer, Failed, failed};
use crate::{
    admin_vllm, backends, cloud_model, cloud_upgrade, deployments, hosts, keys, manifest, metrics, money, offers, plan, routes,
    saved, upgrades, usage,
};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use charter_api::problem::Problem;
use charter_controller::Controller;
use charter_domain::profile::{Limits, Profile};
use charter_domain::routing::RouteTable;
use charter_store::Role;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Largest body of an API request.
const BODY_MAX: usize = 1024 * 1024;
const USAGE_MAX: usize = 16 * 1024 * 1024;

/// Resolves what a profile's engine version means now.
pub trait Versions: Send + Sync {
    /// The version that is stored.
    fn resolve(&self, profile: &Profile) -> String;
}

/// Asks a backend that a person names.
pub trait Register: Send + Sync {
    /// The names that it lists.
    fn names<'a>(&'a self, base_url: &'a str) -> Pin<Box<dyn Future<Output = Result<Vec<String>, Problem>> + Send + 'a>>;
}

/// What handlers share.
#[derive(Clone)]
pub struct App {
    /// The controller.
    pub controller: Controller,
    /// Gateways in processes of their own.
    pub gateways: Arc<Gateways>,
    /// Engine versions.
    pub versions: Arc<dyn Versions>,
    /// Backends by hand.
    pub register: Arc<dyn Register>,
    /// Makes the text of a new key.
    pub new_key: Arc<dyn Fn() -> String + Send + Sync>,
    /// Limits where a profile says nothing.
    pub limits: Limits,
    /// The profiles of the file that the server was started from, as they stand there now.
    pub profiles: Arc<dyn Fn() -> Vec<(String, serde_json::Value)> + Send + Sync>,
    /// Reads the profiles and deployments of a file, as they stand there now.
    pub files: Arc<Files>,
    /// Tells what a gateway would do with a request: the present table, the request's body, and the effort that is forced.
    pub explain: Arc<Explain>,
    /// Our address.
    pub url: String,
    /// The gateway's address.
    pub gateway_url: Option<String>,
    /// Our version.
    pub version: String,
    /// Different at every start.
    pub epoch: String,
    /// Ends the process.
    pub stop: CancellationToken,
}

/// Tells what a gateway would do with a request, or why it would refuse it.
pub type Explain = dyn Fn(&Arc<RouteTable>, &[u8], Option<u8>) -> Result<serde_json::Value, String> + Send + Sync;

impl App {
    /// Is a name served at this moment?
    pub(crate) fn is_served(&self, name: &str) -> bool {
        self.controller.routes().borrow().backends.iter().any(|b| b.served_names.iter().any(|s| s.name == name))
    }
}

/// The API. Every route but the two health questions asks for a key: they tell nothing but that the process lives.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/healthz", get(|| async { axum::Json(serde_json::json!({"status": "ok"})) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/status", get(deployments::overview))
        .route("/api/v1/deployments", get(deployments::list).post(deployments::create))
        .route("/api/v1/deployments/{name}", get(deployments::get).delete(deployments::remove))
        .route("/api/v1/budget", get(money::budget))
        .route("/api/v1/hosts", get(hosts::list))
        .route("/api/v1/deployments/{name}/extend", post(money::extend))
        .route("/api/deployments/{name}/extend", post(money::extend))
        .route("/api/admin/vllm/launch", post(admin_vllm::launch))
        .route("/api/admin/vllm/status", get(admin_vllm::status))
        .route("/api/admin/vllm/extend", post(admin_vllm::extend))
        .route("/api/admin/vllm/destroy", post(admin_vllm::destroy))
        .route("/api/v1/deployments/{name}/logs", get(deployments::logs))
        .route("/api/v1/deployments/{name}/ssh", get(deployments::ssh))
        .route("/api/v1/deployments/{name}/forward", post(deployments::forward))
        .route("/api/v1/plan", post(plan::plan))
        .route("/api/v1/upgrades", get(upgrades::list).post(upgrades::start_all))
        .route("/api/v1/upgrades/{id}", get(upgrades::get))
        .route("/api/v1/upgrades/{id}/stream", get(upgrades::stream))
        .route("/api/v1/deployments/{name}/upgrade", post(upgrades::upgrade))
        .route("/api/v1/deployments/{name}/rollback", post(upgrades::rollback))
        .route("/api/v1/deployments/{name}/migrate", post(upgrades::migrate))
        .route("/api/v1/deployments/{name}/generations", get(upgrades::generations))
        .route("/api/v1/deployments/{name}/manifest", get(manifest::export))
        .route("/api/deployments/from-manifest", post(manifest::apply))
        .route("/api/v1/saved-configs", get(saved::list).post(saved::save))
        .route("/api/v1/saved-configs/{name}", get(saved::get).delete(saved::remove))
        .route("/api/v1/saved-configs/{name}/deploy", post(saved::deploy))
        .route("/api/v1/offers", get(offers::list).post(offers::ask))
        .route("/api/v1/keys", get(keys::list).post(keys::create))
        .route("/api/v1/keys/{id}", delete(keys::revoke))
        .route("/api/v1/backends", get(backends::list).post(backends::register))
        .route("/api/v1/backends/{name}", delete(backends::remove))
        .route("/api/v1/routes", get(routes::list))
        .route("/api/v1/routes/explain", post(routes::explain))
        .route("/api/v1/rented", get(routes::rented).put(routes::switch_rented))
        .route("/api/v1/routes/{name}", get(routes::get).put(routes::put).delete(routes::remove))
        .route("/api/v1/requests", get(usage::requests))
        .route("/api/v1/spend", get(usage::spend))
        .route("/api/v1/gateway/table", post(gateways::table))
        // A batch of usage is larger than what people send.
        .route("/api/v1/gateway/usage", post(usage::record).layer(DefaultBodyLimit::max(USAGE_MAX)))
        .route("/api/v1/gateway/draw", post(usage::draw))
        .route("/api/v1/doctor", get(gateways::doctor))
        .route("/api/v1/server/stop", post(stop))
        .route("/deploy/cloud-model", post(cloud_model::start))
        .route("/deploy/cloud-model/sync", post(cloud_model::wait))
        .route("/deploy/cloud-model/upgrade/{session}", post(cloud_upgrade::one))
        .route("/deploy/cloud-model/upgrade-all", post(cloud_upgrade::all))
        .route("/deploy/cloud-model/running", get(cloud_model::running))
        .route("/deploy/cloud-model/register-backend", post(backends::register))
        .fallback(nothing)
        .method_not_allowed_fallback(|_: Caller| async {
            failed(405, "A0405", "this path does not take that method", "the methods are listed in the documentation of the API")
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(app)
}

async fn ready(State(app): State<App>) -> impl IntoResponse {
    match app.controller.store().reservations().await {
        Ok(_) => (StatusCode::OK, axum::Json(serde_json::json!({"status": "ready"}))),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, axum::Json(serde_json::json!({"status": "the database fails"}))),
    }
}

async fn nothing(_: Caller) -> Failed {
    failed(404, "A0405", "there is nothing at this path", "the paths are listed in the documentation of the API")
}

async fn stop(State(app): State<App>, caller: Caller) -> Answer<StatusCode> {
    caller.need(Role::Admin)?;
    app.stop.cancel();
    Ok(StatusCode::ACCEPTED)
}

/// Serves until `stop`.
///
/// # Errors
/// What the listener says.
pub async fn serve(listener: tokio::net::TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let ended = async move { stop.cancelled().await };
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}
