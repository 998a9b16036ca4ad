//! The server's own computer on the settings page: is everything in order, and the backups that lie there.

use super::act::back;
use super::console::Console;
use super::figures::{bytes, many, marked, when_said};
use super::layout::{asks, card, encoded, form, sign};
use super::note::Note;
use super::visitor::{Act, Visitor};
use crate::problem::{Answer, Path};
use crate::router::App;
use crate::{backups, doctor};
use axum::extract::State;
use axum::response::Response;
use charter_api::backup::Backup;
use charter_api::doctor::Finding;
use maud::{Markup, html};

/// What was looked at, what is not in order first.
pub(crate) async fn order(app: &App, visitor: &Visitor) -> Answer<Markup> {
    let mut all = doctor::doctor(State(app.clone()), visitor.caller.clone()).await?.0.findings;
    all.sort_by_key(|f| f.good);
    let todo = all.iter().filter(|f| !f.good).count();
    let beside = if todo == 0 { "everything is".to_owned() } else { many(todo, "thing to do", "things to do") };
    Ok(card("doctor", "Is everything in order?", html! { (beside) }, html! { ul.notes { @for f in &all { (finding(f)) } } }))
}

fn finding(f: &Finding) -> Markup {
    html! { li { (sign(if f.good { "ok" } else { "alert" })) p { strong { (f.what) } " " (marked(&f.said)) @if !f.todo.is_empty() { small { (marked(&f.todo)) } } } span {} } }
}

/// Backups, and how one is brought back.
pub(crate) fn kept(app: &App, visitor: &Visitor) -> Markup {
    let all = app.premises.backups();
    html! {
        p.soft { "Everything that is known, in one file on the server’s computer. It holds the installation’s key, and so is sent nowhere: copy it to a safe place yourself." }
        @match &all {
            Err(problem) => (Note::of(problem).shown()),
            Ok(all) if all.is_empty() => p { "None was made here yet." },
            Ok(all) => div.scroll { table.cards {
                thead { tr { th { "Backup" } th { "Made" } th.num { "Size" } th {} } }
                tbody { @for (at, b) in all.iter().enumerate() { tr {
                    td.lead { strong { (b.name) } span.under { (b.file) } }
                    td data-label="Made" { (when_said(&b.made_at, app.controller.now())) }
                    td.num data-label="Size" { (bytes(b.bytes)) }
                    td.bare { (removes(visitor, at, b)) }
                } } }
            } },
        }
        p.small.soft { "Bring one back while no server runs: " code { "charter admin restore FILE" } }
        (form(visitor, "/settings/backups", html! { div.actions { button { "Back up now" } } }))
    }
}

fn removes(visitor: &Visitor, at: usize, b: &Backup) -> Markup {
    asks(
        &format!("backup-{at}"),
        "small bad",
        "Remove…",
        &format!("Remove {}?", b.name),
        form(
            visitor,
            &format!("/settings/backups/{}/remove", encoded(&b.name)),
            html! { p { "What is only in it cannot be brought back then." } div.actions { button.bad { "Remove it" } } },
        ),
    )
}

pub(crate) async fn back_up(State(console): State<Console>, act: Act) -> Response {
    let made = backups::make(State(console.app), act.caller()).await;
    back("/settings", made.map(|(_, made)| format!("The backup lies at `{}` on the server’s computer.", made.file)))
}

pub(crate) async fn remove(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let gone = backups::remove(State(console.app), act.caller(), Path(name.clone())).await;
    back("/settings", gone.map(|_| format!("`{name}` is removed.")))
}
