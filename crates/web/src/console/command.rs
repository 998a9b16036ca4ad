//! One command on a deployment's machine, and what it printed.

use super::act::back;
use super::console::Console;
use super::layout::{Place, asks, card, form, of_deployment, page as whole};
use super::visitor::{Act, Visitor};
use crate::problem::{Body, Path};
use axum::extract::State;
use axum::response::Response;
use charter_api::ssh::{CommandDone, CommandWish, SshWay};
use maud::{Markup, html};

/// The way by SSH, in words for a terminal on the server's computer, and a command that is run from here.
pub(crate) fn way(visitor: &Visitor, name: &str, way: Option<&SshWay>) -> Markup {
    html! {
        code { "charter ssh " (name) }
        @if let Some(way) = way {
            @let file = way.key_file.as_deref().unwrap_or("KEY");
            @let line = charter_controller::shell_line(&["ssh", "-i", file, "-p", &way.port.to_string(), "-o", "IdentitiesOnly=yes", &format!("{}@{}", way.user, way.host)].map(str::to_owned));
            div.copyable { pre.wrap { (line) } button.small type="button" data-copy=(line) { "Copy" } }
            @if let Some(key) = &way.host_key { p.small.soft { "Its host key must be " code { (key) } } }
            @if way.key_file.is_none() { p.small.soft { code { "charter ssh " (name) " --print" } " writes the key on the server’s computer." } }
            div.actions { (asks("command", "small", "Run a command…", &format!("Run a command on the machine of {name}"), form(visitor, &format!("{}/run", of_deployment(name)), html! {
                p { "It runs in the login shell there, for a minute at most; that you ran one is written down." }
                label.field { "Command" input.mono name="command" required maxlength="4096" placeholder="nvidia-smi" autocomplete="off" spellcheck="false"; }
                div.actions { button.main { "Run it" } }
            }))) }
        }
    }
}

pub(crate) async fn run(State(console): State<Console>, Path(name): Path<String>, act: Act) -> Response {
    let wish = CommandWish { command: act.text("command").to_owned() };
    let command = wish.command.clone();
    match crate::ssh::run(State(console.app), act.caller(), Path(name.clone()), Body(wish)).await {
        Ok(done) => whole(&act.visitor, Place::Overview, "A command", shown(&act.visitor, &name, &command, &done.0)),
        Err(failed) => back(&of_deployment(&name), Err(failed)),
    }
}

fn shown(visitor: &Visitor, name: &str, command: &str, done: &CommandDone) -> Markup {
    let ended = match done.status {
        Some(status) => format!("it ended with status {status}"),
        None if done.cut => "it was not waited for".to_owned(),
        None => "it was ended by a signal".to_owned(),
    };
    html! {
        div.head { div { nav.crumb aria-label="Way back" { a href=(of_deployment(name)) { (name) } " / command" } h1 { "On the machine of " (name) } p.soft { (ended) } } }
        (card("printed", "Printed", html! { code { (command) } }, html! {
            @if done.cut { p.soft { "It printed more than 256 KiB, or ran for longer than a minute: this is the beginning. It was not waited for, and may go on there." } }
            @if done.stdout.is_empty() { p.soft { "Nothing." } } @else { pre.wrap #stdout tabindex="0" { (done.stdout) } }
            @if !done.stderr.is_empty() { h3 { "Complained" } pre.wrap #stderr tabindex="0" { (done.stderr) } }
        }))
        (card("again", "Another one", html! {}, form(visitor, &format!("{}/run", of_deployment(name)), html! {
            label.field { "Command" input.mono name="command" required maxlength="4096" value=(command) autocomplete="off" spellcheck="false"; }
            div.actions { button.main { "Run it" } a.button href=(of_deployment(name)) { "Back" } }
        })))
    }
}
