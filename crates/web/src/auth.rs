//! Who asks: a bearer key, compared by its hash, with a role.

use crate::endpoint::Needs;
use crate::problem::{Failed, failed};
use crate::router::App;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use charter_domain::routing::KeyLimits;
use charter_store::{KeyRow, Role};
use ring::digest;

/// SHA-256 of a key, in hex.
#[must_use]
pub fn hash(key: &str) -> String {
    use std::fmt::Write as _;
    digest::digest(&digest::SHA256, key.as_bytes()).as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02x}").ok();
        hex
    })
}

/// The part of a key that people may see.
#[must_use]
pub fn prefix_of(key: &str) -> String {
    key.chars().take(8).collect()
}

/// The tenant of those who speak of none.
const HOUSE: &str = "default";

/// A caller who showed a known key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The key's id; empty for the server itself.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) tenant: String,
    /// What the key may ask for.
    pub(crate) limits: KeyLimits,
    /// The names that it may ask for; empty means all.
    pub(crate) routes: Vec<String>,
}

impl Caller {
    /// The server itself, where it looks at what a file says.
    pub(crate) fn server() -> Self {
        Self::named("charter")
    }

    /// Somebody whose word was written down: what they asked for goes on in their name.
    pub(crate) fn named(name: &str) -> Self {
        // Whatever tenant it is of: what goes on in somebody's name was allowed when it was asked for.
        let (id, routes) = (String::new(), vec![]);
        Self { id, name: name.to_owned(), role: Role::Admin, tenant: HOUSE.to_owned(), limits: KeyLimits::default(), routes }
    }

    /// The holder of a key that still stands.
    pub(crate) async fn of_key(app: &App, id: &str) -> Result<Option<Self>, Failed> {
        let (keys, now) = (app.controller.store().keys().await?, app.controller.now());
        Ok(keys.into_iter().find(|k| k.id.0 == id && k.expires_at.is_none_or(|at| now < at)).map(Self::of_row))
    }

    pub(crate) fn of_row(key: KeyRow) -> Self {
        Self { id: key.id.0, name: key.name, role: key.role, tenant: key.tenant, limits: key.limits, routes: key.routes }
    }

    /// May it see what belongs to a tenant? An admin sees everything.
    pub(crate) fn sees(&self, tenant: &str) -> bool {
        self.role == Role::Admin || self.tenant == tenant
    }

    /// Is it of the house: an admin, or of the tenant that everything belongs to where nobody speaks of tenants? What tenants
    /// share (routes, backends, the installation's money) is the house's.
    pub(crate) fn is_house(&self) -> bool {
        self.role == Role::Admin || self.tenant == HOUSE
    }

    /// Only the house, with a role that is at least this one.
    pub(crate) fn need_house(&self, role: Role) -> Result<(), Failed> {
        self.need(role)?;
        if self.is_house() {
            return Ok(());
        }
        let message = format!("tenant `{}` shares this with others", self.tenant);
        Err(failed(403, "A0003", message, "ask an admin"))
    }

    /// Does its key still stand?
    pub(crate) async fn stands(&self, app: &App) -> bool {
        matches!(Self::of_key(app, &self.id).await, Ok(Some(_)))
    }

    /// Only a role that is at least this one.
    pub(crate) fn need(&self, role: Role) -> Result<(), Failed> {
        if self.role >= role {
            return Ok(());
        }
        let message = format!("this key has the role `{}`, and `{}` is needed", self.role.as_str(), role.as_str());
        Err(failed(403, "A0003", message, "ask for a key with that role: `charter key create --role`"))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failed> {
        // Where a path says nothing of its own, looking needs any role, and changing an operator.
        let usual = if parts.method == Method::GET { Role::Viewer } else { Role::Operator };
        let needs = parts.extensions.get::<Needs>().map_or(usual, |needs| needs.0);
        // A browser that is logged in may read, so that what is downloaded needs no page of its own.
        if parts.method == Method::GET
            && !parts.headers.contains_key(header::AUTHORIZATION)
            && let Some(caller) = crate::console::of_cookie(parts, app).await?
        {
            caller.need(needs)?;
            return Ok(caller);
        }
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.split_once(' '));
        let secret = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, secret)| secret.trim());
        let sha256 = hash(secret);
        let keys = app.controller.store().keys().await?;
        let now = app.controller.now();
        let known = keys.into_iter().find(|k| k.sha256 == sha256 && k.expires_at.is_none_or(|at| now < at));
        let Some(key) = known else {
            let hint = "set `CHARTER_KEY`, or run as the user who started the server";
            return Err(failed(401, "A0002", "the API key is missing, unknown or expired", hint));
        };
        let caller = Self::of_row(key);
        caller.need(needs)?;
        Ok(caller)
    }
}
