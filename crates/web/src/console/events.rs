//! Who changed what, and what happened: every line of every time line, the newest first.

use super::console::Console;
use super::figures::{marked, when};
use super::layout::{Place, card, empty, encoded, of_deployment, page as whole};
use super::visitor::Visitor;
use crate::events::{Event, newest};
use crate::problem::Answer;
use crate::problem::Query;
use crate::router::App;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

/// Lines of one page.
const EACH: usize = 100;

#[derive(Default, serde::Deserialize)]
pub(crate) struct Wish {
    /// Only lines with this.
    #[serde(default)]
    q: String,
    /// Only lines before this one.
    before: Option<u64>,
}

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Query(wish): Query<Wish>) -> Response {
    match shown(&console.app, &visitor, &wish).await {
        Ok(body) => whole(&visitor, Place::Events, "Events", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor, wish: &Wish) -> Answer<Markup> {
    let asked = wish.q.to_lowercase();
    let fits = |e: &Event| {
        let texts = [&e.text, &e.name, &e.by];
        asked.is_empty() || texts.iter().any(|t| t.to_lowercase().contains(&asked))
    };
    let found = newest(app, &visitor.caller, wish.before, EACH, fits).await?;
    let now = app.controller.now();
    let older = (found.len() == EACH).then(|| found.last().map_or(0, |e| e.id));
    Ok(html! {
        div.head { div { h1 { "Events" } p.soft { "Who changed what, and what happened then. The same stream is at " code { "GET /api/v1/events" } "." } } }
        (card("events", "The newest first", html! {}, html! {
            form.row role="search" method="get" { label.sr for="q" { "Only lines with" } input #q type="search" name="q" value=(wish.q) placeholder="a name, a person, a word"; button.small { "Find" } }
            div #lines data-live { (lines(&found, now)) }
            @if let Some(before) = older { nav.pager aria-label="Older events" { span {} a href={ "/events?q=" (encoded(&wish.q)) "&before=" (before) } { "older →" } } }
        }))
    })
}

fn lines(found: &[Event], now: charter_domain::time::Time) -> Markup {
    html! {
        @if found.is_empty() { (empty("Nothing has happened yet", html! { p { "Each deployment, key, route and backend that is made, changed or ended leaves a line here." } })) }
        ol.line {
            @for e in found {
                li { span { (when(e.at, now)) }
                    span { @if !e.name.is_empty() { a href=(of_deployment(&e.name)) { (e.name) } ": " } (marked(&e.text)) @if !e.by.is_empty() { " " span.tag { (e.by) } } } }
            }
        }
    }
}
