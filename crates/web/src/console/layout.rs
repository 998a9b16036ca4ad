//! The frame that all pages share.

use super::note;
use super::visitor::Visitor;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use charter_store::Role;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Where one can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Deploy,
    Upgrades,
    Market,
    Machines,
    Spend,
    Gateway,
    Keys,
    Playground,
    Events,
    Settings,
    /// A page that stands in no list.
    Nowhere,
}

impl Place {
    const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::Overview, "/", "Overview"),
        (Self::Deploy, "/deploy", "Deploy"),
        (Self::Playground, "/playground", "Playground"),
        (Self::Gateway, "/gateway", "Gateway"),
        (Self::Spend, "/spend", "Spend"),
        (Self::Machines, "/machines", "Machines"),
        (Self::Market, "/market", "Market"),
        (Self::Upgrades, "/upgrades", "Upgrades"),
        (Self::Keys, "/keys", "Keys"),
        (Self::Events, "/events", "Events"),
        (Self::Settings, "/settings", "Settings"),
    ];

    /// Who may see it.
    const fn needs(self) -> Role {
        match self {
            Self::Keys => Role::Admin,
            Self::Deploy | Self::Machines | Self::Spend => Role::Operator,
            Self::Overview
            | Self::Upgrades
            | Self::Market
            | Self::Gateway
            | Self::Playground
            | Self::Events
            | Self::Settings
            | Self::Nowhere => Role::Viewer,
        }
    }
}

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as a part of an address.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, KEPT).to_string()
}

/// The page of a deployment.
pub(crate) fn of_deployment(name: &str) -> String {
    format!("/deployments/{}", encoded(name))
}

/// The sign of the house: a sail over a line of water.
pub(crate) fn sail() -> Markup {
    html! {
        (PreEscaped(r#"<svg viewBox="0 0 24 24" aria-hidden="true"><path fill="currentColor" d="M12.4 2.2c4.1 3.2 6.4 7.2 7 12.3h-7zM11 5.6v8.9H4.6C6 10.300 8 7.600 11 5.600z"/><path fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" d="M3 18.300c1.500 0 1.500 1.200 3 1.200s1.500-1.200 3-1.200 1.500 1.200 3 1.200 1.500-1.200 3-1.200 1.500 1.200 3 1.200 1.500-1.200 3-1.200"/></svg>"#))
    }
}

fn document(title: &str, theme: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · charter" }
                link rel="icon" href=(super::assets::path("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(super::assets::path("charter.css"));
                script src=(super::assets::path("charter.js")) defer {}
            }
            (body)
        }
    }
}

/// A whole page.
pub(crate) fn page(visitor: &Visitor, place: Place, title: &str, body: Markup) -> Response {
    let shown = document(
        title,
        visitor.theme,
        html! {
            body {
                a.skip href="#main" { "Skip to the content" }
                div.frame {
                    div.side {
                        a.brand href="/" aria-label="charter, overview" { (sail()) span { "charter" } }
                        nav aria-label="Pages" {
                            ul {
                                @for (at, path, name) in Place::ALL {
                                    @if visitor.caller.role >= at.needs() {
                                        li { a href=(path) aria-current=[(at == place).then_some("page")] { (name) } }
                                    }
                                }
                            }
                        }
                        div.who {
                            div { strong { (visitor.caller.name) } br; (visitor.caller.role.as_str()) " · tenant " (visitor.caller.tenant) }
                            div.row {
                                (form(visitor, "/theme", html! {
                                    input type="hidden" name="back" value=(visitor.path);
                                    button.plain name="theme" value="light" { "light" } " / "
                                    button.plain name="theme" value="dark" { "dark" } " / "
                                    button.plain name="theme" value="auto" { "auto" }
                                }))
                            }
                            (form(visitor, "/logout", html! { button.plain { "Log out" } }))
                        }
                    }
                    main id="main" tabindex="-1" {
                        @if let Some(said) = &visitor.note { (said.shown()) }
                        (body)
                    }
                }
            }
        },
    );
    let mut response = Html(shown.into_string()).into_response();
    if visitor.note.is_some()
        && let Ok(value) = HeaderValue::from_str(&note::forget())
    {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// A page for those who are not in yet.
pub(crate) fn outside(title: &str, theme: Option<&str>, body: Markup) -> Response {
    Html(document(title, theme, html! { body { div.door { main id="main" { (body) } } } }).into_string()).into_response()
}

/// A form of the present session.
pub(crate) fn form(visitor: &Visitor, action: &str, body: Markup) -> Markup {
    form_of("", visitor, action, body)
}

/// The same with a class.
pub(crate) fn form_of(class: &str, visitor: &Visitor, action: &str, body: Markup) -> Markup {
    html! {
        form class=[(!class.is_empty()).then_some(class)] method="post" action=(action) {
            input type="hidden" name="form" value=(visitor.form_token);
            (body)
        }
    }
}

/// A card with a heading, and what belongs beside it.
pub(crate) fn card(id: &str, title: &str, beside: Markup, body: Markup) -> Markup {
    let heading = format!("{id}-title");
    html! {
        section.card id=(id) aria-labelledby=(heading) {
            header { h2 id=(heading) { (title) } div.small.soft { (beside) } }
            div.in { (body) }
        }
    }
}

/// A button that first says what it will do, and what that costs; without scripts too.
pub(crate) fn asks(id: &str, class: &str, label: &str, title: &str, body: Markup) -> Markup {
    let heading = format!("{id}-title");
    html! {
        button class=(class) type="button" popovertarget=(id) { (label) }
        div popover id=(id) role="dialog" aria-labelledby=(heading) { h2 id=(heading) { (title) } (body) button.plain.cancel type="button" popovertarget=(id) popovertargetaction="hide" { "Cancel" } }
    }
}

/// A word about a state, with the colour that goes with it.
pub(crate) fn sign(word: &str) -> Markup {
    let class = match word {
        "running" | "ready" | "serving" | "ok" | "healthy" | "upgraded" | "up" => "good",
        "starting" | "loading" | "pending" | "searching" | "renting" | "resolving" | "booting" | "coming" => "info busy",
        "stopping" | "draining" | "releasing" | "upgrading" | "waiting" => "warn busy",
        "unreachable" | "paused" | "alert" | "target" | "drift" => "warn",
        "error" | "failed" | "hard" | "unhealthy" | "down" | "quarantined" => "bad",
        _ => "",
    };
    html! { span class={ "sign " (class) } { (word) } }
}

/// Nothing is there yet, and what would change that.
pub(crate) fn empty(title: &str, body: Markup) -> Markup {
    html! { div.empty { strong { (title) } (body) } }
}
