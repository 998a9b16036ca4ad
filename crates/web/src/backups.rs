//! Backups on the server's own computer: made, listed, removed. They hold the installation's key, so none is ever sent.

use crate::auth::Caller;
use crate::events::told;
use crate::problem::{Answer, Failed, Path, unknown};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::backup::Backup;
use charter_api::list::List;
use charter_store::Role;

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List<Backup>>> {
    caller.need(Role::Admin)?;
    app.premises.backups().map(List::whole).map(Json).map_err(Failed)
}

pub(crate) async fn make(State(app): State<App>, caller: Caller) -> Answer<(StatusCode, Json<Backup>)> {
    caller.need(Role::Admin)?;
    let made = app.premises.back_up().await.map_err(Failed)?;
    told(&app, &caller, format!("made the backup `{}`", made.name)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(crate) async fn remove(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    caller.need(Role::Admin)?;
    if !app.premises.remove_backup(&name).map_err(Failed)? {
        return Err(unknown("backup", &name));
    }
    told(&app, &caller, format!("removed the backup `{name}`")).await?;
    Ok(StatusCode::NO_CONTENT)
}
