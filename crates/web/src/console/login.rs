//! The door: a key is shown once, and a cookie stands for it afterwards.

use super::console::Console;
use super::layout::{outside, sail};
use super::session::forget;
use super::visitor::{Act, fields, theme_of};
use crate::auth::{self, Caller};
use crate::problem::Query;
use crate::router::From;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use charter_store::Role;
use maud::html;

#[derive(Default, serde::Deserialize)]
pub(crate) struct Back {
    #[serde(default)]
    next: String,
}

/// A path of this server, and nothing that a browser takes for another one.
fn own_path(path: &str) -> &str {
    let is_own = path.starts_with('/') && !path.starts_with("//") && !path.contains(|c: char| c == '\\' || c.is_control());
    if is_own { path } else { "/" }
}

fn door(headers: &HeaderMap, next: &str, wrong: Option<&str>) -> Response {
    outside(
        "Log in",
        theme_of(headers),
        html! {
            section.card {
                div.brand { (sail()) span { "charter" } }
                @if let Some(why) = wrong { div.said.bad role="alert" { p { (why) } } }
                form.grid method="post" action="/login" {
                    input type="hidden" name="next" value=(own_path(next));
                    label.field {
                        "Key"
                        input type="password" name="key" required autofocus autocomplete="current-password" placeholder="chk_…" spellcheck="false";
                        small { "The admin key was printed at the server's first start. On the server's own computer "
                            code { "charter key create --role admin" } " makes another one." }
                    }
                    button.main { "Log in" }
                }
            }
        },
    )
}

/// Open to everybody, and tells nothing.
pub(crate) async fn page(headers: HeaderMap, Query(back): Query<Back>) -> Response {
    door(&headers, &back.next, None)
}

pub(crate) async fn enter(
    State(console): State<Console>,
    ConnectInfo(From(from)): ConnectInfo<From>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (app, fields) = (&console.app, fields(&body));
    let (now, next) = (app.controller.now(), fields.get("next").map_or("/", String::as_str));
    if let Err(seconds) = console.door.may(from.ip(), now) {
        let text = format!("Too many wrong keys came from this address. Try again in {seconds} s.");
        let mut response = door(&headers, next, Some(&text));
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return response;
    }
    let shown = fields.get("key").map_or("", |key| key.trim());
    let keys = match app.controller.store().keys().await {
        Ok(keys) => keys,
        Err(error) => return crate::problem::Failed::from(error).into_response(),
    };
    let sha256 = auth::hash(shown);
    let Some(key) = keys.into_iter().find(|k| k.sha256 == sha256 && k.expires_at.is_none_or(|at| now < at)) else {
        console.door.was_wrong(from.ip(), now);
        tracing::warn!(from = %from.ip(), "a wrong key was shown at the dashboard's door");
        let mut response = door(&headers, next, Some("This key is unknown, revoked or expired."));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return response;
    };
    let session = console.signer.begin(&key.id.0, now, &app.controller.fresh());
    let mut response = Redirect::to(own_path(next)).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&session.cookie(app.url.starts_with("https:"))) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

pub(crate) async fn leave(State(console): State<Console>, act: Act) -> Response {
    if let Err(failed) = act.leave(&console).await {
        return failed.into_response();
    }
    let mut response = Redirect::to("/login").into_response();
    if let Ok(cookie) = HeaderValue::from_str(&forget()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Light, dark, or as the computer has it.
pub(crate) async fn theme(act: Act) -> Response {
    let cookie = match act.text("theme") {
        "light" => "charter_theme=light; Path=/; SameSite=Strict; Max-Age=31536000",
        "dark" => "charter_theme=dark; Path=/; SameSite=Strict; Max-Age=31536000",
        _ => "charter_theme=; Path=/; SameSite=Strict; Max-Age=0",
    };
    let mut response = Redirect::to(own_path(act.text("back"))).into_response();
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(cookie));
    response
}

impl Caller {
    /// A page that is not for everybody.
    pub(crate) fn is(&self, role: Role) -> bool {
        self.role >= role
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_server() {
        for path in ["//evil", "http://evil", "/\\evil", "", "javascript:alert(1)", "/a\r\nb", "/\t/evil"] {
            assert_eq!(own_path(path), "/", "{path}");
        }
        assert_eq!(own_path("/deployments/x?tab=1"), "/deployments/x?tab=1");
    }
}
