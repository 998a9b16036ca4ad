//! The API as pages: every path with what it takes and gives, of the same list that the router is made of; and the pages of the
//! error codes.

use super::console::Console;
use super::figures::marked;
use super::layout::{Place, card, outside, page as whole};
use super::visitor::{Visitor, theme_of};
use crate::openapi;
use crate::problem::{Path, Query};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::Value;

#[derive(Default, serde::Deserialize)]
pub(crate) struct Wish {
    #[serde(default)]
    q: String,
}

pub(crate) async fn page(visitor: Visitor, Query(wish): Query<Wish>) -> Response {
    let document = openapi::value();
    let asked = wish.q.to_lowercase();
    let body = html! {
        div.head {
            div { h1 { "API" } p.soft { (marked(document["info"]["description"].as_str().unwrap_or_default())) } }
            div.actions { a.button href="/api/v1/openapi.json" { "OpenAPI 3.1" } }
        }
        form.row role="search" method="get" { label.sr for="q" { "Find a path" } input #q type="search" name="q" value=(wish.q) placeholder="a path or a word"; button.small { "Find" } }
        @for tag in ["charter", "replaced systems"] { (of_tag(document, tag, &asked)) }
    };
    whole(&visitor, Place::Settings, "API", body)
}

fn of_tag(document: &Value, tag: &str, asked: &str) -> Markup {
    let paths = document["paths"].as_object();
    let all = paths
        .into_iter()
        .flatten()
        .flat_map(|(path, methods)| methods.as_object().into_iter().flatten().map(move |(m, told)| (path, m, told)));
    let fits = |path: &str, told: &Value| {
        let text = format!("{path} {}", told["summary"].as_str().unwrap_or_default()).to_lowercase();
        told["tags"][0] == tag && text.contains(asked)
    };
    let title = if tag == "charter" { "Paths" } else { "Paths of the systems that charter replaces" };
    card(
        tag.split(' ').next().unwrap_or_default(),
        title,
        html! {},
        html! {
            @for (path, method, told) in all.filter(|(path, _, told)| fits(path, told)) { (one(path, method, told)) }
        },
    )
}

fn one(path: &str, method: &str, told: &Value) -> Markup {
    let body = told.pointer("/requestBody/content/application~1json/schema");
    html! {
        details {
            summary { span.tag { (method.to_uppercase()) } " " code { (path) } " " span.soft { (marked(told["summary"].as_str().unwrap_or_default())) } }
            div.stack {
                p.small.soft { (told["description"].as_str().unwrap_or("For everybody.")) }
                @if let Some(all) = told["parameters"].as_array().filter(|a| !a.is_empty()) { dl.pairs {
                    @for p in all { dt { code { (p["name"].as_str().unwrap_or_default()) } " " span.small { "in the " (p["in"].as_str().unwrap_or_default()) } } dd { (p["description"].as_str().unwrap_or_default()) } }
                } }
                @if let Some(shape) = body { h3 { "Takes" } pre.wrap tabindex="0" { (shape_of(shape)) } }
                dl.pairs { @for (status, answer) in told["responses"].as_object().into_iter().flatten() { dt { (status) } dd { (answer["description"].as_str().unwrap_or_default()) } } }
            }
        }
    }
}

/// The fields of a shape, one a line.
fn shape_of(shape: &Value) -> String {
    let name = shape["$ref"].as_str().and_then(|r| r.rsplit('/').next()).unwrap_or_default();
    let whole = if name.is_empty() { shape } else { &openapi::value()["components"]["schemas"][name] };
    let required: Vec<&str> = whole["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut out = String::new();
    for (field, of) in whole["properties"].as_object().into_iter().flatten() {
        let kind = match &of["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "any".to_owned(),
        };
        let must = if required.contains(&field.as_str()) { ", required" } else { "" };
        let said = of["description"].as_str().map_or_else(String::new, |text| format!("  – {}", text.replace('\n', " ")));
        out.push_str(&format!("{field}: {kind}{must}{said}\n"));
    }
    if out.is_empty() { "any JSON".to_owned() } else { out }
}

/// The page of an error code. Open to everybody: it tells nothing of this server.
pub(crate) async fn error(State(console): State<Console>, headers: HeaderMap, Path(code): Path<String>) -> Response {
    let known = code.len() == 5 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    let Some(text) = Some(code).filter(|_| known).and_then(|code| (console.app.pages)(&code)) else {
        return (StatusCode::NOT_FOUND, "there is no page of this code\n").into_response();
    };
    let (title, rest) = text.split_once('\n').unwrap_or((text, ""));
    outside(
        title.trim_start_matches("# "),
        theme_of(&headers),
        html! {
            section.card {
                h1 { (title.trim_start_matches("# ")) }
                @for part in rest.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) { p { (marked(&part.replace('\n', " "))) } }
                p { a href="/" { "To the dashboard" } }
            }
        },
    )
}
