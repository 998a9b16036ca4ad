//! What stands in the providers' accounts: whose it is, what it costs; a look at them now, and the end of everything.

use super::act::back;
use super::console::Console;
use super::figures::{many, per_hour, usd};
use super::layout::{Place, asks, card, empty, form, of_deployment, page as whole, sign};
use super::visitor::{Act, Visitor};
use crate::problem::{Answer, failed};
use crate::router::App;
use crate::{ending, machines};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_api::market::Machine;
use charter_store::Role;
use maud::{Markup, html};

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor) -> Response {
    match shown(&console.app, &visitor).await {
        Ok(body) => whole(&visitor, Place::Machines, "Machines", body),
        Err(failed) => failed.into_response(),
    }
}

async fn shown(app: &App, visitor: &Visitor) -> Answer<Markup> {
    if !visitor.caller.is(Role::Operator) {
        return Err(failed(403, "A0003", "machines are shown to operators", "ask for a key with that role"));
    }
    let all = machines::list(State(app.clone()), visitor.caller.clone()).await?.0.items;
    let price: i64 = all.iter().map(|m| m.price_usd_micros_per_hour).sum();
    let house = visitor.caller.is_house();
    Ok(html! {
        div.head {
            div { h1 { "Machines" } p.soft { @if visitor.caller.is(Role::Admin) { "Everything that stands in the providers’ accounts, by the records and by the last look." } @else { "What your deployments hold at the providers, by the records." } } }
            div.actions #acts data-live {
                @if house { (form(visitor, "/machines/look", html! { button { "Look now" } })) }
                @if visitor.caller.is(Role::Admin) { (end_all(visitor, &all)) }
            }
        }
        div.stack #all data-live {
            (card("machines", "In the accounts", html! { (many(all.len(), "machine", "machines")) ", " (per_hour(price)) " together" }, table(visitor, &all)))
            @if house { (card("providers", "Providers", html! { "asked every two minutes" }, super::settings::providers(app))) }
        }
    })
}

fn table(visitor: &Visitor, all: &[Machine]) -> Markup {
    if all.is_empty() {
        return empty(
            if visitor.caller.is(Role::Admin) { "Nothing stands anywhere" } else { "Nothing of yours stands anywhere" },
            html! { p { "A machine appears here as soon as it is ordered, and goes when its provider has shown that it is gone." } p { a.button href="/deploy" { "Deploy a model" } } },
        );
    }
    html! {
        div.scroll { table.cards {
            thead { tr { th { "Machine" } th { "State" } th { "For" } th { "Card" } th.num { "Price" } th {} } }
            tbody { @for (at, m) in all.iter().enumerate() { tr {
                td.lead { strong { (m.id) } span.under { (m.provider) } }
                td data-label="State" { div { (sign(if m.belongs == "in-use" { "ok" } else { "quarantined" })) @if let Some(why) = &m.why { span.under { (why) } } } }
                td data-label="For" { @match &m.deployment { Some(name) => a href=(of_deployment(name)) { (name) }, None => "nobody" } }
                td data-label="Card" { (m.gpu.as_deref().unwrap_or("–")) }
                td.num data-label="Price" { (per_hour(m.price_usd_micros_per_hour)) }
                td.bare { @if m.deployment.is_none() && visitor.caller.is(Role::Admin) { (end(visitor, at, m)) } }
            } } }
        } }
    }
}

/// The end of one that nobody knows.
fn end(visitor: &Visitor, at: usize, m: &Machine) -> Markup {
    asks(
        &format!("stray-{at}"),
        "small bad",
        "End it…",
        "End this machine?",
        form(
            visitor,
            "/quarantine/end",
            html! {
                p { code { (m.id) } " at " (m.provider) " is ended for good, and what stands on its disk is lost. It costs " (per_hour(m.price_usd_micros_per_hour)) " as long as it stands." }
                input type="hidden" name="provider" value=(m.provider);
                input type="hidden" name="id" value=(m.id);
                input type="hidden" name="back" value="/machines";
                div.actions { button.bad { "End it" } }
            },
        ),
    )
}

/// The end of everything.
fn end_all(visitor: &Visitor, all: &[Machine]) -> Markup {
    let ours = all.iter().filter(|m| m.deployment.is_some());
    let price: i64 = ours.clone().map(|m| m.price_usd_micros_per_hour).sum();
    let ours = ours.count();
    asks(
        "panic",
        "bad",
        "End everything…",
        "End everything?",
        form(
            visitor,
            "/machines/end",
            html! {
                p { "Every deployment of every tenant ends now: requests that are under way are cut when their time to finish is over, new ones are refused, "
                    (many(ours, "machine is", "machines are")) " given back, and what stands on rented disks is lost. " (per_hour(price)) ", " (usd(price.saturating_mul(24))) " a day, are spent no more." }
                p.soft { "Files, keys and records stay: “Deploy again” brings each of them back." }
                label.field { "Write " strong { "end everything" } input name="sure" required autocomplete="off" pattern="end everything"; }
                div.actions { button.bad { "End everything" } }
            },
        ),
    )
}

pub(crate) async fn look(State(console): State<Console>, act: Act) -> Response {
    let said = machines::look(State(console.app), act.caller()).await;
    back("/machines", said.map(|_| "The providers are being asked; what they show stands here in a moment.".to_owned()))
}

pub(crate) async fn panic(State(console): State<Console>, act: Act) -> Response {
    let said = async {
        if act.text("sure") != "end everything" {
            return Err(failed(
                422,
                "A0422",
                "nothing was ended",
                "write `end everything` into the field, so that it is no slip",
            ));
        }
        let (_, ending) = ending::end_all(State(console.app), act.caller()).await?;
        let count = many(ending.deployments.len(), "deployment is", "deployments are");
        Ok(format!("{count} being ended: each machine is given back, and that is proven."))
    }
    .await;
    back("/machines", said)
}
