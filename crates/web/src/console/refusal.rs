//! A refusal as a page: what went wrong, why, and what to do, for people who look at a browser.

use super::console::Console;
use super::figures::marked;
use super::layout::{Place, outside, page as whole};
use super::visitor::{self, theme_of};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use charter_api::problem::Problem;
use maud::{Markup, html};

/// The longest problem that is read.
const PROBLEM_MAX: usize = 64 * 1024;

/// What is remembered of a request whose refusal is to be a page: where programs ask, they get what programs read.
pub(crate) fn asks_for_pages(request: &Request) -> Option<Parts> {
    let path = request.uri().path();
    let programs = ["/api/v1", "/api/admin", "/api/deployments", "/deploy/cloud-model", "/metrics"];
    let accepts = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/html"));
    if !accepts || request.headers().contains_key(header::AUTHORIZATION) || programs.iter().any(|p| path.starts_with(p)) {
        return None;
    }
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy.into_parts().0)
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
}

/// The answer, as a page where it is a refusal.
pub(crate) async fn as_page(console: &Console, asked: &Parts, response: Response) -> Response {
    if !is_problem(response.headers()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, PROBLEM_MAX).await.unwrap_or_default();
    let problem = Problem::from_http(parts.status.as_u16(), &bytes);
    let mut page = match visitor::looks(asked, console).await {
        Some(visitor) => whole(&visitor, Place::Nowhere, &problem.message, told(&problem, "/", "To the overview")),
        None => {
            outside(&problem.message, theme_of(&asked.headers), html! { section.card { (told(&problem, "/login", "Log in")) } })
        }
    };
    *page.status_mut() = parts.status;
    page
}

/// Written as one: messages begin small, because terminals put a code before them.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn told(problem: &Problem, way: &str, label: &str) -> Markup {
    html! {
        div.head { div { p.soft { (problem.status) " · " a href={ "/errors/" (problem.code) } { (problem.code) } } h1 { (marked(&sentence(&problem.message))) } } }
        @if !problem.detail.is_empty() { p.detail { (marked(&problem.detail)) } }
        @if !problem.hint.is_empty() { p { strong { "What to do: " } (marked(&problem.hint)) } }
        div.actions { a.button.main href=(way) { (label) } }
    }
}
