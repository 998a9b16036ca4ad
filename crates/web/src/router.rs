//! All routes, and what their handlers share.

use crate::afresh::Files;
use crate::auth::Caller;
use crate::console::{Ask, Console, guard};
use crate::encrypted::Encrypted;
use crate::endpoint::Endpoint;
use crate::endpoints;
use crate::gateways::Gateways;
use crate::once::once;
use crate::premises::Premises;
use crate::problem::{Answer, Failed, failed};
use crate::serving;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::serve::ListenerExt;
use charter_api::doctor::Health;
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
pub(crate) const BODY_MAX: usize = 1024 * 1024;

/// Resolves what a profile's engine version means now.
pub trait Versions: Send + Sync {
    /// The version that is stored.
    fn resolve(&self, profile: &Profile) -> String;
    /// What a blank version comes to now.
    fn newest(&self) -> String;
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
    /// The page of an error code.
    pub pages: fn(&str) -> Option<&'static str>,
    /// The server's own computer.
    pub premises: Arc<dyn Premises>,
    /// The way to the gateway, for questions of the dashboard.
    pub ask: Arc<dyn Ask>,
    /// Names of this server beside those of its own computer: a page that was led here under another one is refused.
    pub hosts: Vec<String>,
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
    /// Held while an upgrade of one deployment is begun: who asks for the same at the same moment gets the same.
    pub beginning: Arc<tokio::sync::Mutex<()>>,
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
    let console = Console::new(app.clone());
    let pages = crate::console::pages().with_state(console.clone());
    let api = api().layer(axum::middleware::from_fn_with_state(app.clone(), once));
    api.with_state(app).merge(pages).layer(axum::middleware::from_fn_with_state(console, guard))
}

/// What programs speak to. Every path but the two health questions and the description asks for a key: those tell nothing of this
/// server but that it lives.
fn api() -> Router<App> {
    let add = |router: Router<App>, endpoint: Endpoint| router.route(endpoint.path, endpoint.route());
    endpoints::all()
        .into_iter()
        .fold(Router::new(), add)
        .fallback(nothing)
        .method_not_allowed_fallback(|_: Caller| async {
            failed(405, "A0405", "this path does not take that method", "the methods are listed in the documentation of the API")
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
}

pub(crate) async fn alive() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

pub(crate) async fn ready(State(app): State<App>) -> impl IntoResponse {
    match app.controller.store().reservations().await {
        Ok(_) => (StatusCode::OK, Json(Health { status: "ready".to_owned() })),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "the database fails".to_owned() })),
    }
}

async fn nothing(_: Caller) -> Failed {
    failed(404, "A0405", "there is nothing at this path", "the paths of the API are listed at `/api/docs`")
}

pub(crate) async fn stop(State(app): State<App>, caller: Caller) -> Answer<StatusCode> {
    caller.need(Role::Admin)?;
    app.stop.cancel();
    Ok(StatusCode::ACCEPTED)
}

/// Serves until `stop`.
///
/// # Errors
/// What the listener says.
pub async fn serve(listener: tokio::net::TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    // What is written is whole: waiting for more of it would only make it late.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    serving::serve(listener, router, stop).await;
    Ok(())
}

/// The same with TLS.
///
/// # Errors
/// What the listener says.
pub async fn serve_encrypted(
    listener: tokio::net::TcpListener,
    tls: tokio_rustls::TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    serving::serve(Encrypted::new(listener, tls)?, router, stop).await;
    Ok(())
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From(pub(crate) std::net::SocketAddr);
