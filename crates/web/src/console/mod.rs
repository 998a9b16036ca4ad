//! The dashboard: pages made on the server, over the same functions as the API. Everything can be read and done without scripts;
//! a small one keeps what is shown true while it is looked at.

mod act;
mod ask;
mod assets;
mod attention;
mod busy;
mod chart;
mod command;
#[expect(clippy::module_inception, reason = "what the pages share is the console itself")]
mod console;
mod deploy;
mod deployment;
mod docs;
mod endpoint;
mod events;
mod figures;
mod form;
mod gateway;
mod guard;
mod keys;
mod layout;
mod live;
mod log;
mod login;
mod machines;
mod market;
mod note;
mod overview;
mod playground;
mod premises;
mod refusal;
mod requests;
mod routing;
mod session;
mod settings;
mod spend;
mod upgrades;
mod visitor;

pub use ask::{Ask, Asked, Pieces};
pub(crate) use console::Console;
pub(crate) use guard::guard;
pub(crate) use log::{follow as follow_log, whole_file as log_file};
pub(crate) use visitor::of_cookie;

use crate::problem::failed;
use axum::Router;
use axum::routing::{get, post};

/// All pages. None but the door, its script and its sheet answers anybody who is not logged in: those tell nothing.
pub(crate) fn pages() -> Router<Console> {
    Router::new()
        .route("/", get(overview::page))
        .route("/login", get(login::page).post(login::enter))
        .route("/logout", post(login::leave))
        .route("/theme", post(login::theme))
        .route("/assets/{file}", get(assets::file))
        .route("/live", get(live::stream))
        .route("/deploy", get(deploy::page).post(deploy::begin))
        .route("/deploy/check", post(deploy::check))
        .route("/deploy/manifest", post(deploy::paste))
        .route("/deployments/{name}", get(deployment::page))
        .route("/deployments/{name}/log", get(log::page))
        .route("/deployments/{name}/log/stream", get(log::stream))
        .route("/deployments/{name}/log/file", get(log::file))
        .route("/deployments/{name}/extend", post(act::extend))
        .route("/deployments/{name}/end", post(act::end))
        .route("/deployments/{name}/upgrade", post(act::upgrade))
        .route("/deployments/{name}/rollback", post(act::rollback))
        .route("/deployments/{name}/save", post(act::save))
        .route("/deployments/{name}/migrate", post(act::migrate))
        .route("/deployments/{name}/forward", post(act::forward))
        .route("/deployments/{name}/key", post(keys::temporary))
        .route("/upgrades", get(upgrades::page).post(upgrades::begin))
        .route("/deployments/{name}/run", post(command::run))
        .route("/machines", get(machines::page))
        .route("/machines/look", post(machines::look))
        .route("/machines/end", post(machines::panic))
        .route("/market", get(market::page))
        .route("/spend", get(spend::page))
        .route("/requests", get(requests::page))
        .route("/gateway", get(gateway::page))
        .route("/gateway/backends", post(gateway::register))
        .route("/gateway/backends/{name}/remove", post(gateway::remove))
        .route("/gateway/rented", post(gateway::rented))
        .route("/gateway/routes", post(routing::put))
        .route("/gateway/routes/remove", post(routing::remove))
        .route("/gateway/explain", post(routing::explain))
        .route("/keys", get(keys::page).post(keys::create))
        .route("/keys/{id}/revoke", post(keys::revoke))
        .route("/playground", get(playground::page).post(playground::ask))
        .route("/events", get(events::page))
        .route("/settings", get(settings::page))
        .route("/settings/defaults", post(settings::change))
        .route("/settings/saved/{name}/remove", post(settings::forget))
        .route("/settings/backups", post(premises::back_up))
        .route("/settings/backups/{name}/remove", post(premises::remove))
        .route("/settings/stop", post(settings::stop))
        .route("/api/docs", get(docs::page))
        .route("/errors/{code}", get(docs::error))
        .route("/quarantine/end", post(act::end_quarantined))
        .method_not_allowed_fallback(|_: visitor::Visitor| async {
            failed(405, "A0405", "this address only takes what a form sends", "go back to the page that the form is on")
        })
}
