//! The market: what is offered by all providers now, how good it is and why, why the rest was left out, and what is known of hosts.

use super::console::Console;
use super::deploy::text_of;
use super::figures::{bytes, many, per_hour, when_said};
use super::layout::{Place, card, empty, encoded, page as whole, sign};
use super::visitor::Visitor;
use crate::problem::Answer;
use crate::problem::Query;
use crate::router::App;
use crate::{hosts, offers};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use charter_store::Role;
use maud::{Markup, html};
use serde_json::Value;

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
    let hosts = hosts::list(State(app.clone()), visitor.caller.clone()).await?.0;
    Ok(html! {
        div.head { div { h1 { "Market" } p.soft { "Every offer of every provider at this moment, the best first." } } }
        (card("offers", "Offers", html! { @if let Ok(found) = &found { (found.0["fitting"]) " of " (found.0["seen"]) " fit" } }, html! {
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

fn part(row: &Value, name: &str) -> String {
    row["score_parts"][name].as_i64().map_or_else(|| "–".to_owned(), |n| n.to_string())
}

fn table(visitor: &Visitor, found: &Value) -> Markup {
    let rows = found["offers"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        @if rows.is_empty() {
            (empty("Nothing fits at this moment", html! { @for reason in found["reasons"].as_array().into_iter().flatten() { p { (text_of(reason)) } } p.small { "Offers come and go within minutes; a deployment can be told to go on searching." } }))
        } @else {
            div.scroll { table.cards {
                thead { tr { th { "Card" } th { "Where" } th.num { "Price" } th.num { "Score" } th title="thousandths of the score" { "Parts of the score" } th.num { "Network" } th.num { "Reliable" } th {} } }
                tbody { @for row in rows {
                    tr {
                        td.lead { strong { (text_of(&row["gpu"])) } span.under { @if let Some(size) = row["vram_bytes"].as_u64() { (bytes(size)) " each" } @if let Some(tier) = row["tier"].as_u64() { ", choice " (tier + 1) } } }
                        td data-label="Where" { div { (text_of(&row["provider"])) " " (text_of(&row["country"])) span.under { "host " (text_of(&row["host"])) ", offer " (text_of(&row["id"])) } } }
                        td.num data-label="Price" { (per_hour(row["price_usd_micros_per_hour"].as_i64().unwrap_or(0))) }
                        td.num data-label="Score" { strong { (format!("{:.3}", row["score"].as_f64().unwrap_or(0.0))) } }
                        td data-label="Parts" { div.small.soft { @for name in ["price", "reliability", "network", "cuda", "disk"] { span.nowrap { (name) " " b { (part(row, name)) } } " " } } }
                        td.num data-label="Network" { @match row["inet_down_mbps"].as_u64() { Some(mbps) => { (mbps) " Mbit/s" }, None => "–" } }
                        td.num data-label="Reliable" { @match row["reliability_permille"].as_u64() { Some(p) => { (p / 10) "." (p % 10) " %" }, None => "–" } }
                        td.bare { @if visitor.caller.is(Role::Operator) { a.button.small href={ "/deploy?provider=" (encoded(text_of(&row["provider"]))) "&offer=" (encoded(text_of(&row["id"]))) } { "Deploy on it" } } }
                    }
                } }
            } }
        }
        @if let Some(filtered) = found["filtered"].as_array().filter(|f| !f.is_empty()) {
            details { summary { "Why others were left out" } ul { @for f in filtered { li.small { (many(usize::try_from(f["count"].as_u64().unwrap_or(0)).unwrap_or(0), "offer", "offers")) ": " (text_of(&f["why"])) } } } }
        }
    }
}

fn reputation(app: &App, hosts: &Value) -> Markup {
    let (rows, now) = (hosts["hosts"].as_array().map(Vec::as_slice).unwrap_or_default(), app.controller.now());
    html! {
        @if rows.is_empty() {
            (empty("No host has failed, and none was measured", html! { p { "A host that does not boot, or lets a start fail, is remembered here; one that does it again is left out for a while." } }))
        } @else {
            div.scroll { table.cards {
                thead { tr { th { "Host" } th { "State" } th.num { "Weight" } th.num { "Measured download" } th { "Failures" } } }
                tbody { @for row in rows {
                    tr {
                        td.lead { strong { (text_of(&row["host"])) } span.under { (text_of(&row["provider"])) } }
                        td data-label="State" { @if row["left_out"] == true { (sign("left out")) } @else { (sign("ok")) } }
                        td.num data-label="Weight" { (format!("{:.2}", row["weight"].as_f64().unwrap_or(0.0))) }
                        td.num data-label="Download" { @match row["download_mbps"].as_u64() { Some(mbps) => { (mbps) " Mbit/s" }, None => "–" } }
                        td data-label="Failures" { div { @for f in row["failures"].as_array().into_iter().flatten() { div { (text_of(&f["class"])) " × " (f["count"]) " " span.faint { (when_said(text_of(&f["last_at"]), now)) } } } } }
                    }
                } }
            } }
        }
    }
}
