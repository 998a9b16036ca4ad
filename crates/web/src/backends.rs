//! Backends that people register by hand: asked once, and then routed to beside our own.

use crate::auth::Caller;
use crate::events::told;
use crate::problem::{Answer, Body, Failed, Path, failed, unknown};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::backend::{Backend, BackendWish, Registered};
use charter_api::list::List;
use charter_api::problem::Problem;
use charter_domain::ids::BackendId;
use charter_store::{BackendRow, Error, Role};

fn shown(app: &App, row: &BackendRow) -> Backend {
    let (healthy, problem) = app.controller.health(&row.name);
    Backend {
        id: row.id.0.clone(),
        name: row.name.clone(),
        base_url: row.base_url.clone(),
        model: row.upstream_model.clone(),
        served_names: row.served_names.clone(),
        max_concurrent: row.max_concurrent,
        healthy,
        problem,
    }
}

/// Asks the backend what it serves, and registers it.
pub(crate) async fn register(
    State(app): State<App>,
    caller: Caller,
    Body(wanted): Body<BackendWish>,
) -> Answer<(StatusCode, Json<Registered>)> {
    caller.need_house(Role::Operator)?;
    if !charter_api::file::is_name(&wanted.name) {
        return Err(failed(
            422,
            "A0422",
            format!("`{}` is no name for a backend", wanted.name),
            "letters, digits, `.`, `_` and `-`",
        ));
    }
    if wanted.base_url.contains('@') || wanted.model.as_ref().is_some_and(|m| m.chars().any(char::is_control)) {
        let message = "the address names a user, or the model holds characters that nobody sees";
        return Err(failed(422, "A0422", message, "write the address alone, such as `http://127.0.0.1:8000`"));
    }
    let base_url = wanted.base_url.trim_end_matches('/').trim_end_matches("/v1").to_owned();
    let names = app.register.names(&base_url).await.map_err(Failed)?;
    let (served_names, upstream_model) = match wanted.model {
        Some(model) if !names.contains(&model) => {
            let detail = format!("it lists: {}", names.join(", "));
            let problem =
                Problem::new(422, "G0002", format!("`{base_url}` does not serve `{model}`"), "name a model that it lists");
            return Err(Failed(problem.with_detail(detail)));
        }
        Some(model) => (vec![wanted.name.clone()], Some(model)),
        None => (names, None),
    };
    if let Some(taken) = served_names.iter().find(|n| app.is_served(n)) {
        let hint = format!("register it with `--model` under a name of its own, such as `{taken}-2`");
        return Err(failed(409, "G0003", format!("`{taken}` is served already"), hint));
    }
    let row = BackendRow {
        id: BackendId::new(&app.controller.fresh()),
        name: wanted.name,
        base_url,
        upstream_model,
        served_names,
        max_concurrent: wanted.max_concurrent.unwrap_or(16).max(1),
        created_at: app.controller.now(),
    };
    match app.controller.store().add_backend(row.clone()).await {
        Err(Error::NameTaken) => {
            return Err(failed(
                409,
                "G0004",
                format!("there is a backend `{}` already", row.name),
                "remove it first: `charter backend remove`",
            ));
        }
        other => other?,
    }
    app.controller.publish().await?;
    told(&app, &caller, format!("registered the backend `{}` at `{}`", row.name, row.base_url)).await?;
    Ok((StatusCode::CREATED, Json(Registered { name: row.name, served_names: row.served_names, healthy: true })))
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List<Backend>>> {
    let rows = app.controller.store().backends().await?;
    let items = rows.iter().filter(|_| caller.is_house()).map(|row| shown(&app, row)).collect();
    Ok(Json(List::whole(items)))
}

pub(crate) async fn remove(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    caller.need_house(Role::Operator)?;
    if !app.controller.store().remove_backend(&name).await? {
        return Err(unknown("backend", &name));
    }
    app.controller.publish().await?;
    told(&app, &caller, format!("removed the backend `{name}`")).await?;
    Ok(StatusCode::NO_CONTENT)
}
