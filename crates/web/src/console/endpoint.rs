//! Where a deployment is asked, and how: through the gateway, or directly, with the words to do it.

use super::layout::{asks, encoded, form, of_deployment};
use super::visitor::Visitor;
use crate::router::App;
use charter_api::status::Deployment;
use charter_store::Role;
use maud::{Markup, html};

/// How a model is asked at one address, for a terminal and for a program. `key` is the variable that holds the key.
pub(crate) fn words(url: &str, model: &str, key: &str) -> Markup {
    let curl = format!(
        "curl {url}/chat/completions \\\n  -H \"authorization: Bearer ${key}\" -H \"content-type: application/json\" \\\n  -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'"
    );
    let python = format!(
        "import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url=\"{url}\", api_key=os.environ[\"{key}\"])\nanswer = client.chat.completions.create(\n    model=\"{model}\", messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]\n)\nprint(answer.choices[0].message.content)"
    );
    html! {
        h4 { "curl" } div.copyable { pre.wrap { (curl) } button.small type="button" data-copy=(curl) { "Copy" } }
        h4 { "Python" } div.copyable { pre.wrap { (python) } button.small type="button" data-copy=(python) { "Copy" } }
    }
}

/// The gateway's address.
pub(crate) fn gateway(app: &App) -> String {
    app.gateway_url.clone().unwrap_or_else(|| "http://GATEWAY/v1".to_owned())
}

pub(crate) fn shown(app: &App, visitor: &Visitor, d: &Deployment, may: bool) -> Markup {
    let (url, base) = (gateway(app), of_deployment(&d.name));
    let model = d.served_names.first().cloned().unwrap_or_default();
    let direct: Vec<&String> = d.replicas.iter().filter_map(|r| r.forward.as_ref()).collect();
    html! {
        dl.pairs {
            dt { "Gateway" } dd { code { (url) } }
            dt { "Model" } dd { code { (d.served_names.join(", ")) } }
            @if !direct.is_empty() { dt { "Direct" } dd { @for a in &direct { code { "http://" (a) "/v1" } " " } } }
        }
        div.actions {
            (asks("use", "small", "curl and Python…", &format!("Ask {model}"), html! {
                details open name="way" { summary { "Through the gateway" } p.small.soft { "With a key of yours: limits, accounting, and whoever stands behind it." } (words(&url, &model, "CHARTER_KEY")) }
                details name="way" { summary { "Directly" }
                    @match direct.first() {
                        Some(address) => { p.small.soft { "On the server’s computer, past limits and accounting, with the engine’s own key: it was told when the port was opened." } (words(&format!("http://{address}/v1"), &model, "ENGINE_KEY")) }
                        None => p.small.soft { "A local port that leads to the engine is not open." }
                    }
                }
            }))
            a.button.small href={ "/playground?model=" (encoded(&model)) } { "Ask it" }
            @if visitor.caller.is(Role::Admin) {
                (asks("temp", "small", "Temporary key…", "Make a key for this model", form(visitor, &format!("{base}/key"), html! {
                    p { "It can ask " code { (model) } " and nothing else, and ends by itself. It is shown once." }
                    label.field { "Good for" select name="hours" { option value="1" { "1 hour" } option value="8" { "8 hours" } option value="24" { "1 day" } option value="168" { "1 week" } } }
                    div.actions { button.main { "Make it" } }
                })))
            }
            @if may { (port(visitor, &base, !direct.is_empty())) }
        }
    }
}

/// Opens a local port, or closes it.
fn port(visitor: &Visitor, base: &str, is_open: bool) -> Markup {
    if is_open {
        return asks(
            "port",
            "small",
            "Close the port…",
            "Close the local port?",
            form(
                visitor,
                &format!("{base}/forward"),
                html! {
                    p { "Whoever is connected through it is cut. The gateway’s address stays." }
                    input type="hidden" name="close" value="yes";
                    div.actions { button.main { "Close it" } }
                },
            ),
        );
    }
    asks(
        "port",
        "small",
        "Open a port…",
        "Open a local port to the engine?",
        form(
            visitor,
            &format!("{base}/forward"),
            html! {
                p { "On the server’s computer alone. What is asked there goes past limits and accounting; the engine’s own key is shown once." }
                label.field { "Port" input type="number" name="port" min="0" max="65535" placeholder="a free one"; }
                details { summary { "Listen elsewhere than on loopback" }
                    label.field { "Address" input name="bind" placeholder="127.0.0.1" autocomplete="off"; }
                    label.tick { input type="checkbox" name="insecure" value="yes"; "others may reach it, and nothing is encrypted" }
                }
                div.actions { button.main { "Open it" } }
            },
        ),
    )
}
