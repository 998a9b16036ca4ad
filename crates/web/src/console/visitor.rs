//! Who looks at a page, and who acts on one: a session whose key still stands, and for every change the token of that session's
//! own forms. There is no other way in.

use super::console::Console;
use super::note::Note;
use super::session::{COOKIE, LASTS, LEFT, Session, Signer, cookie};
use crate::auth::Caller;
use crate::problem::{Failed, announced, failed};
use crate::router::App;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use charter_domain::time::Time;
use charter_store::Role;
use std::collections::BTreeMap;

/// Sent by an open page that asks for what has changed.
const LIVE: &str = "x-charter-live";

/// One who looks.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) caller: Caller,
    pub(crate) form_token: String,
    /// `light` or `dark`, where that was chosen.
    pub(crate) theme: Option<&'static str>,
    /// What the last action said.
    pub(crate) note: Option<Note>,
    /// The path that is looked at.
    pub(crate) path: String,
}

/// A cookie of a request.
pub(crate) fn cookie_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).find_map(|line| cookie(line, name))
}

/// The theme that was chosen.
pub(crate) fn theme_of(headers: &HeaderMap) -> Option<&'static str> {
    ["light", "dark"].into_iter().find(|name| cookie_of(headers, "charter_theme") == Some(name))
}

/// Who is logged in, by a request's cookie.
pub(crate) async fn of_cookie(parts: &Parts, app: &App) -> Result<Option<Caller>, Failed> {
    if cookie_of(&parts.headers, COOKIE).is_none() {
        return Ok(None);
    }
    Ok(session_of(parts, app, &Signer::of(app)).await?.map(|(_, caller)| caller))
}

async fn session_of(parts: &Parts, app: &App, signer: &Signer) -> Result<Option<(Session, Caller)>, Failed> {
    let token = cookie_of(&parts.headers, COOKIE).unwrap_or_default();
    let Some(session) = signer.read(token, app.controller.now()) else { return Ok(None) };
    if !app.controller.store().metas(&signer.left(&session)).await?.is_empty() {
        return Ok(None);
    }
    let caller = Caller::of_key(app, &session.key).await?;
    Ok(caller.map(|caller| (session, caller)))
}

/// Who looks, where somebody is logged in.
pub(crate) async fn looks(parts: &Parts, console: &Console) -> Option<Visitor> {
    visitor(parts, console).await.ok().map(|(visitor, _)| visitor)
}

async fn visitor(parts: &Parts, console: &Console) -> Result<(Visitor, Session), Response> {
    let found = session_of(parts, &console.app, &console.signer).await.map_err(IntoResponse::into_response)?;
    let mut path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    if parts.method != axum::http::Method::GET {
        // What is only sent to is no page to come back to; the page that it belongs to is.
        let parent = ["/manifest", "/check", "/key"].iter().find_map(|end| path.strip_suffix(end)).map(str::to_owned);
        path = parent.unwrap_or(path);
    }
    let Some((session, caller)) = found else {
        let is_page = parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/html"));
        if parts.method == axum::http::Method::GET && is_page {
            return Err(Redirect::to(&format!("/login?next={}", super::layout::encoded(&path))).into_response());
        }
        let hint = "log in again at `/login`";
        return Err(failed(401, "A0002", "nobody is logged in, or the login is over", hint).into_response());
    };
    let made = Visitor {
        caller,
        form_token: console.signer.form_token(&session),
        theme: theme_of(&parts.headers),
        // A page that only asks for what has changed must not take away what the next one is to say.
        note: cookie_of(&parts.headers, super::note::COOKIE).filter(|_| !parts.headers.contains_key(LIVE)).and_then(Note::read),
        path,
    };
    Ok((made, session))
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor
where
    Console: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        Ok(visitor(parts, &Console::from_ref(state)).await?.0)
    }
}

/// One who acts: the fields of a form, whose token was right.
pub(crate) struct Act {
    pub(crate) visitor: Visitor,
    session: Session,
    fields: BTreeMap<String, String>,
}

impl Act {
    /// A field that was filled in.
    pub(crate) fn said(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// A field, empty where it was left out.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.said(name).unwrap_or_default()
    }

    /// A box that was ticked.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.said(name).is_some()
    }

    /// A whole number, none where the field was left empty.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failed> {
        let Some(text) = self.said(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_: T::Err| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            let says = if digits { "is too large a number" } else { "is no whole number" };
            failed(422, "A0422", format!("`{text}` {says}"), format!("correct `{name}`: write digits alone"))
        })
    }

    /// All fields.
    pub(crate) fn fields(&self) -> &BTreeMap<String, String> {
        &self.fields
    }

    /// Its login is over, wherever its cookie may still be.
    pub(crate) async fn leave(&self, console: &Console) -> Result<(), Failed> {
        let (store, now) = (console.app.controller.store(), console.app.controller.now());
        for (name, until) in store.metas(LEFT).await? {
            if until.parse().is_ok_and(|until| Time(until) < now) {
                store.remove_meta(&name).await?;
            }
        }
        let until = self.session.since + LASTS;
        Ok(store.put_meta(&console.signer.left(&self.session), &until.0.to_string()).await?)
    }

    /// Who acts.
    pub(crate) fn caller(&self) -> Caller {
        self.visitor.caller.clone()
    }
}

/// The largest form.
const FORM_MAX: usize = 256 * 1024;

fn too_large() -> Failed {
    let hint = format!("send no more than {} KiB", FORM_MAX / 1024);
    failed(413, "A0422", "the form is too large, or it broke off", hint)
}

impl<S: Send + Sync> FromRequest<S> for Act
where
    Console: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let console = Console::from_ref(state);
        let (parts, body) = request.into_parts();
        let (visitor, session) = visitor(&parts, &console).await?;
        if announced(&parts.headers) > FORM_MAX as u64 {
            return Err(too_large().into_response());
        }
        let body = axum::body::to_bytes(body, FORM_MAX).await.map_err(|_| too_large().into_response())?;
        let fields = fields(&body);
        let token = fields.get("form").map_or("", String::as_str);
        if !console.signer.is_form_token(&session, token) {
            let hint = "open the page anew and send its form again";
            return Err(failed(403, "A0012", "the form does not belong to this login", hint).into_response());
        }
        // As the API has it: looking needs any role, changing needs an operator, and a handler may ask for more.
        if !["/logout", "/theme", "/gateway/explain", "/playground"].contains(&parts.uri.path()) {
            visitor.caller.need(Role::Operator).map_err(IntoResponse::into_response)?;
        }
        Ok(Self { visitor, session, fields })
    }
}

/// The fields of a form as browsers send it. Of a name that comes twice the values stand together, a comma between them.
pub(crate) fn fields(body: &[u8]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        let value = value.replace("\r\n", "\n");
        all.entry(name.into_owned())
            .and_modify(|known| {
                known.push(',');
                known.push_str(&value);
            })
            .or_insert(value);
    }
    all
}

impl FromRef<Console> for App {
    fn from_ref(console: &Console) -> Self {
        console.app.clone()
    }
}
