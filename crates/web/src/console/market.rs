//! The market: what is offered by all providers now, how good it is and why, why the rest was left out, and what is known of hosts.

use super::console::Console;
use super::figures::{bytes, many, per_hour, when_said};
use super::layout::{Place, card, empty, encoded, page as whole, sign};
use super::visitor::Visitor;
use crate::problem::Answer;
use crate::problem::Query;
use crate::router::App;
use crate::{hosts, offers};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_api::market::{Filtered, Host, Offers, ScoreParts};
use charter_store::Role;
use maud::{Markup, html};

#[derive(Default, serde::Deserialize)]
pub(crate) struct Wish {
    #[serde(default)]
    gpu: String,
    #[serde(default)]
    max_price: String,
}

pub(crate) async fn page(State(console): State<Console>, visitor: Visitor, Query(wish): Query<Wish>) -> Response {
    match shown(&console.app, &visitor, &wish).await {
        Ok(body) => whole(&visitor, Place::Market, "Market", body),
        Err(failed) => failed.into_response(),
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

async fn shown(app: &App, visitor: &Visitor, wish: &Wish) -> Answer<Markup> {
    let asked = offers::Wish { gpu: some(&wish.gpu), max_price: some(&wish.max_price) };
    let found = offers::list(State(app.clone()), visitor.caller.clone(), Query(asked)).await;
    let hosts = hosts::list(State(app.clone()), visitor.caller.clone()).await?.0.hosts;
    Ok(html! {
        div.head { div { h1 { "Market" } p.soft { "Every offer of every provider at this moment, the best first." } } }
        (card("offers", "Offers", html! { @if let Ok(found) = &found { (found.fitting) " of " (found.seen) " fit" } }, html! {
            form.row role="search" method="get" {
                label.sr for="gpu" { "Card" } input #gpu name="gpu" value=(wish.gpu) placeholder="card, such as RTX 4090";
                label.sr for="most" { "At most, dollars an hour" } input #most name="max_price" value=(wish.max_price) placeholder="$ an hour at most" inputmode="decimal";
                button.small { "Look" }
            }
            @match &found {
                Ok(found) => (table(visitor, &found.0)),
                Err(failed) => (super::note::Note::of(&failed.0).shown()),
            }
        }))
        (card("hosts", "Hosts that are remembered", html! { "failures fade by half in three days" }, reputation(app, &hosts)))
    })
}

const fn parts(of: &ScoreParts) -> [(&'static str, u32); 5] {
    [("price", of.price), ("reliability", of.reliability), ("network", of.network), ("cuda", of.cuda), ("disk", of.disk)]
}

fn table(visitor: &Visitor, found: &Offers) -> Markup {
    html! {
        @if found.offers.is_empty() {
            (empty("Nothing fits at this moment", html! { @for reason in &found.reasons { p { (reason) } } p.small { "Offers come and go within minutes; a deployment can be told to go on searching." } }))
        } @else {
            div.scroll { table.cards {
                thead { tr { th { "Card" } th { "Where" } th.num { "Price" } th.num { "Score" } th title="of 100: price 40, reliability 30, network 15, CUDA 10, disk 5" { "Parts of the score" } th.num { "Network" } th.num { "Reliable" } th {} } }
                tbody { @for row in &found.offers {
                    tr {
                        td.lead { strong { (row.gpu) } span.under { @if let Some(size) = row.vram_bytes { (bytes(size)) " each" } @if let Some(tier) = row.tier { ", choice " (tier + 1) } } }
                        td data-label="Where" { div { (row.provider) " " (row.country.as_deref().unwrap_or_default()) span.under { "host " (row.host) ", offer " (row.id) } } }
                        td.num data-label="Price" { (per_hour(row.price_usd_micros_per_hour)) }
                        td.num data-label="Score" { strong { (format!("{:.0}", row.score * 100.0)) } }
                        td data-label="Parts" { div.small.soft { @for (name, part) in parts(&row.score_parts) { span.nowrap { (name) " " b { ((part + 5) / 10) } } " " } } }
                        td.num data-label="Network" { @match row.inet_down_mbps { Some(mbps) => { (mbps) " Mbit/s" }, None => "–" } }
                        td.num data-label="Reliable" { @match row.reliability_permille { Some(p) => { (p / 10) "." (p % 10) " %" }, None => "–" } }
                        td.bare { @if visitor.caller.is(Role::Operator) { a.button.small href={ "/deploy?provider=" (encoded(&row.provider)) "&offer=" (encoded(&row.id)) } { "Deploy on it" } } }
                    }
                } }
            } }
        }
        (left_out(&found.filtered))
    }
}

/// What removed how many of the others.
pub(crate) fn left_out(filtered: &[Filtered]) -> Markup {
    html! {
        @if !filtered.is_empty() {
            details { summary { "Why others were left out" } ul { @for f in filtered { li.small { (many(f.count, "offer", "offers")) ": " (f.why) } } } }
        }
    }
}

fn reputation(app: &App, hosts: &[Host]) -> Markup {
    let now = app.controller.now();
    html! {
        @if hosts.is_empty() {
            (empty("No host has failed, and none was measured", html! { p { "A host that does not boot, or lets a start fail, is remembered here; one that does it again is left out for a while." } }))
        } @else {
            div.scroll { table.cards {
                thead { tr { th { "Host" } th { "State" } th.num { "Weight" } th.num { "Measured download" } th { "Failures" } } }
                tbody { @for row in hosts {
                    tr {
                        td.lead { strong { (row.host) } span.under { (row.provider) } }
                        td data-label="State" { @if row.left_out { (sign("left out")) } @else { (sign("ok")) } }
                        td.num data-label="Weight" { (format!("{:.2}", row.weight)) }
                        td.num data-label="Download" { @match row.download_mbps { Some(mbps) => { (mbps) " Mbit/s" }, None => "–" } }
                        td data-label="Failures" { div { @for f in &row.failures { div { (f.class) " × " (f.count) " " span.faint { (when_said(&f.last_at, now)) } } } } }
                    }
                } }
            } }
        }
    }
}
