//! API keys: made, listed, revoked. A key is shown once.

use crate::auth::{Caller, hash, prefix_of};
use crate::events::told;
use crate::problem::{Answer, Body, Path, failed, is_readable, unknown};
use crate::router::App;
use crate::status::rfc3339;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_domain::ids::KeyId;
use charter_domain::money::Usd;
use charter_domain::routing::KeyLimits;
use charter_domain::time::Span;
use charter_store::{KeyRow, Role};

/// Characters of a key's name.
const NAME_MAX: usize = 100;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    routes: Vec<String>,
    #[serde(default)]
    expires_in_seconds: Option<i64>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    requests_per_minute: Option<u32>,
    #[serde(default)]
    tokens_per_minute: Option<u64>,
    #[serde(default)]
    parallel: Option<u32>,
    #[serde(default)]
    day_usd_micros: Option<i64>,
    #[serde(default)]
    month_usd_micros: Option<i64>,
    #[serde(default)]
    agentic: bool,
}

impl Wanted {
    /// What it may ask for. A limit that nothing could pass is a mistake.
    fn limits(&self) -> Answer<KeyLimits> {
        let zero = [self.requests_per_minute.map(u64::from), self.tokens_per_minute, self.parallel.map(u64::from)];
        let money = [self.day_usd_micros, self.month_usd_micros];
        if zero.contains(&Some(0)) || money.iter().flatten().any(|usd| *usd <= 0) {
            let hint = "leave a limit out to have none, or revoke the key";
            return Err(failed(422, "A0422", "a limit of zero would refuse every request", hint));
        }
        Ok(KeyLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            parallel: self.parallel,
            day: self.day_usd_micros.map(Usd),
            month: self.month_usd_micros.map(Usd),
            agentic: self.agentic,
        })
    }
}

fn shown(key: &KeyRow) -> serde_json::Value {
    serde_json::json!({
        "id": key.id.0, "name": key.name, "prefix": key.prefix, "role": key.role.as_str(), "routes": key.routes,
        "created_at": rfc3339(key.created_at), "expires_at": key.expires_at.map(rfc3339), "tenant": key.tenant,
        "limits": {
            "requests_per_minute": key.limits.requests_per_minute, "tokens_per_minute": key.limits.tokens_per_minute,
            "parallel": key.limits.parallel, "day_usd_micros": key.limits.day, "month_usd_micros": key.limits.month,
            "agentic": key.limits.agentic,
        },
    })
}

pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Body(wanted): Body<Wanted>,
) -> Answer<(StatusCode, Json<serde_json::Value>)> {
    caller.need(Role::Admin)?;
    let role = wanted.role.as_deref().unwrap_or("viewer");
    let role =
        Role::parse(role).ok_or_else(|| failed(422, "A0422", format!("`{role}` is no role"), "viewer, operator or admin"))?;
    let limits = wanted.limits()?;
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
    let mut answer = shown(&key);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("key".to_owned(), secret.into());
    }
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<serde_json::Value>> {
    caller.need(Role::Admin)?;
    let items: Vec<_> = app.controller.store().keys().await?.iter().map(shown).collect();
    Ok(Json(serde_json::json!({"items": items, "next": null})))
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
