//! API keys: made, listed, revoked. A key is shown once.

use crate::auth::{Caller, hash, prefix_of};
use crate::events::told;
use crate::problem::{Answer, Body, Path, failed, is_readable, unknown};
use crate::router::App;
use crate::status::rfc3339;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::key as wire;
use charter_api::key::{KeyWish, NewKey};
use charter_api::list::List;
use charter_domain::ids::KeyId;
use charter_domain::money::Usd;
use charter_domain::routing::KeyLimits;
use charter_domain::time::Span;
use charter_store::{KeyRow, Role};

/// Characters of a key's name.
const NAME_MAX: usize = 100;

/// What it may ask for. A limit that nothing could pass is a mistake.
fn limits(wish: &KeyWish) -> Answer<KeyLimits> {
    let zero = [wish.requests_per_minute.map(u64::from), wish.tokens_per_minute, wish.parallel.map(u64::from)];
    let money = [wish.day_usd_micros, wish.month_usd_micros];
    if zero.contains(&Some(0)) || money.iter().flatten().any(|usd| *usd <= 0) {
        let hint = "leave a limit out to have none, or revoke the key";
        return Err(failed(422, "A0422", "a limit of zero would refuse every request", hint));
    }
    Ok(KeyLimits {
        requests_per_minute: wish.requests_per_minute,
        tokens_per_minute: wish.tokens_per_minute,
        parallel: wish.parallel,
        day: wish.day_usd_micros.map(Usd),
        month: wish.month_usd_micros.map(Usd),
        agentic: wish.agentic,
    })
}

fn shown(key: &KeyRow) -> wire::Key {
    let limits = &key.limits;
    wire::Key {
        id: key.id.0.clone(),
        name: key.name.clone(),
        prefix: key.prefix.clone(),
        role: key.role.as_str().to_owned(),
        routes: key.routes.clone(),
        created_at: rfc3339(key.created_at),
        expires_at: key.expires_at.map(rfc3339),
        tenant: key.tenant.clone(),
        limits: wire::KeyLimits {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            parallel: limits.parallel,
            day_usd_micros: limits.day.map(|usd| usd.0),
            month_usd_micros: limits.month.map(|usd| usd.0),
            agentic: limits.agentic,
        },
    }
}

pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(wanted): Body<KeyWish>,
) -> Answer<(StatusCode, Json<NewKey>)> {
    caller.need(Role::Admin)?;
    let role = wanted.role.as_deref().unwrap_or("viewer");
    let role =
        Role::parse(role).ok_or_else(|| failed(422, "A0422", format!("`{role}` is no role"), "viewer, operator or admin"))?;
    let limits = limits(&wanted)?;
    if wanted.name.as_ref().is_some_and(|name| !is_readable(name, NAME_MAX)) {
        let message = "the key's name cannot be used";
        return Err(failed(422, "A0422", message, format!("1 to {NAME_MAX} characters that can be seen, or none at all")));
    }
    let now = app.controller.now();
    let secret = (app.new_key)();
    let key = KeyRow {
        id: KeyId::new(&app.controller.fresh()),
        name: wanted.name.unwrap_or_else(|| format!("made by {}", caller.name)),
        sha256: hash(&secret),
        prefix: prefix_of(&secret),
        role,
        routes: wanted.routes,
        created_at: now,
        expires_at: wanted.expires_in_seconds.map(|s| now + Span::s(s)),
        tenant: wanted.tenant.filter(|t| !t.is_empty()).unwrap_or_else(|| "default".to_owned()),
        limits,
    };
    app.controller.store().put_key(key.clone()).await?;
    app.controller.publish().await?;
    let until = key.expires_at.map_or_else(|| "without an end".to_owned(), |at| format!("until {}", rfc3339(at)));
    told(&app, &caller, format!("made the key `{}` ({}) for tenant `{}`, {until}", key.name, role.as_str(), key.tenant)).await?;
    Ok((StatusCode::CREATED, Json(NewKey { key: secret, kept: shown(&key) })))
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List<wire::Key>>> {
    caller.need(Role::Admin)?;
    let items = app.controller.store().keys().await?.iter().map(shown).collect();
    Ok(Json(List::whole(items)))
}

pub(crate) async fn revoke(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    caller.need(Role::Admin)?;
    let keys = app.controller.store().keys().await?;
    let Some(key) = keys.iter().find(|k| k.id.0 == id || k.name == id) else {
        return Err(unknown("key", &id));
    };
    if key.id.0.starts_with("key_local") {
        let message = "this is the key of the command line on the server's own computer";
        return Err(failed(409, "A0409", message, "remove `local.key` in the data directory and start the server again"));
    }
    if key.role == Role::Admin && keys.iter().filter(|k| k.role == Role::Admin).count() == 1 {
        return Err(failed(
            409,
            "A0409",
            "this is the last admin key",
            "make another one first: `charter key create --role admin`",
        ));
    }
    app.controller.store().remove_key(&key.id).await?;
    app.controller.publish().await?;
    told(&app, &caller, format!("revoked the key `{}` ({})", key.name, key.prefix)).await?;
    Ok(StatusCode::NO_CONTENT)
}
