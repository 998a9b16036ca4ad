//! What is wrong, or soon will be, and what to do: each line with its action.

use super::figures::{many, moment, usd, when};
use super::layout::{encoded, form, of_deployment, sign};
use super::visitor::Visitor;
use crate::problem::Answer;
use crate::router::App;
use charter_api::status::Deployment;
use charter_domain::deployment::Wish;
use charter_domain::host_memory::{LEFT_OUT, reputations};
use charter_domain::time::{Span, Time};
use charter_store::Role;
use maud::{Markup, html};

/// A lease that ends sooner is told.
const SOON: Span = Span::min(120);
/// Lines of one kind that are shown by themselves.
const EACH_MAX: usize = 8;

/// One line.
pub(crate) struct Line {
    /// 0 is worst.
    pub(crate) weight: u8,
    word: &'static str,
    text: Markup,
    act: Markup,
}

fn line(weight: u8, word: &'static str, text: Markup, act: Markup) -> Line {
    Line { weight, word, text, act }
}

fn to(path: &str, label: &str) -> Markup {
    html! { a.button.small href=(path) { (label) } }
}

/// What one deployment asks for.
fn of_one(d: &Deployment, now: Time) -> Vec<Line> {
    let (mut all, page) = (vec![], of_deployment(&d.name));
    if let Some(cause) = &d.cause {
        let text = html! { p { strong { (d.name) } " – " (cause.class) ": " (cause.evidence) small { (cause.hint) } } };
        let (weight, word) = if d.status == "error" { (0, "error") } else { (2, "drift") };
        all.push(line(weight, word, text, to(&page, "Look")));
    }
    if d.status == "unreachable" {
        let text = html! { p { strong { (d.name) } " does not answer" small { "its machine is asked again by itself; requests go elsewhere" } } };
        all.push(line(0, "unreachable", text, to(&page, "Look")));
    }
    if !d.drift.is_empty() {
        let fields = d.drift.join(", ");
        let text = html! { p { strong { (d.name) } " lags behind its file in " (many(d.drift.len(), "field", "fields")) small { (fields) } } };
        all.push(line(3, "drift", text, to(&format!("/upgrades?name={}", encoded(&d.name)), "What if")));
    }
    if let Some(why) = &d.drift_problem {
        let text = html! { p { strong { (d.name) } " cannot be compared with its file" small { (why) } } };
        all.push(line(3, "drift", text, to(&page, "Look")));
    }
    if let Some(at) = d.expires_at.as_deref().and_then(moment).filter(|at| at.since(now) < SOON) {
        let text = html! { p { strong { (d.name) } " is ended " (when(at, now)) small { "its lease is over then" } } };
        all.push(line(2, "waiting", text, to(&format!("{page}#lease"), "Extend")));
    }
    all
}

/// Money that is nearly, or wholly, used up.
async fn of_money(app: &App, visitor: &Visitor) -> Answer<Vec<Line>> {
    let mut all = vec![];
    for account in crate::money::accounts(app, &visitor.caller).await? {
        let (budget, committed) = (&account.budget, account.committed);
        let whose = account.of.as_ref().map_or_else(String::new, |of| format!(" of {of}"));
        let (weight, word) = match () {
            () if committed >= budget.hard => (0, "hard"),
            () if committed >= budget.alert => (1, "alert"),
            () => continue,
        };
        if whose.is_empty() || visitor.caller.is(Role::Admin) {
            let text = html! {
                p { "The budget " strong { (budget.scope.as_str()) (whose) } " has " (usd(committed.0)) " of " (usd(budget.hard.0)) " spent or set aside"
                    small { @if weight == 0 { "nothing more is rented, and what runs is ended before its money is" } @else { "past its alert at " (usd(budget.alert.0)) } } }
            };
            all.push(line(weight, word, text, to("/spend", "Look")));
        }
    }
    Ok(all)
}

/// What stands in the accounts and belongs to nobody, and lists that are not believed.
fn of_sweep(app: &App, visitor: &Visitor) -> Vec<Line> {
    if !visitor.caller.is(Role::Operator) || !visitor.caller.is_house() {
        return vec![];
    }
    let swept = app.controller.swept();
    let mut all = vec![];
    for (at, found) in swept.quarantined.iter().enumerate() {
        let price = found.held.price;
        let text = html! {
            p { "An instance that nobody knows stands at " strong { (found.provider) } ": " code { (found.held.id) } " for " (super::figures::per_hour(price.0))
                small { (found.why) } }
        };
        let act = if visitor.caller.is(Role::Admin) {
            let id = format!("quarantine-{at}");
            super::layout::asks(
                &id,
                "small bad",
                "End it…",
                "End this instance?",
                html! {
                    p { "The instance " code { (found.held.id) } " at " (found.provider) ", labelled “" (found.held.label) "”, is ended for good. What stands on its disk is lost. It costs "
                        (super::figures::per_hour(price.0)) " as long as it stands." }
                    (form(visitor, "/quarantine/end", html! {
                        input type="hidden" name="provider" value=(found.provider);
                        input type="hidden" name="id" value=(found.held.id);
                        div.actions { button.bad { "End it" } }
                    }))
                },
            )
        } else {
            html! {}
        };
        all.push(line(1, "quarantined", text, act));
    }
    for (provider, why) in &swept.suspicious {
        let text = html! { p { "The list of " strong { (provider) } " is not believed" small { (why) "; nothing new is rented there meanwhile" } } };
        all.push(line(1, "alert", text, to("/settings", "Look")));
    }
    all
}

async fn of_hosts(app: &App) -> Answer<Vec<Line>> {
    let (records, now) = (app.controller.store().hosts().await?, app.controller.now());
    let known = reputations(&records, now);
    let out = known.iter().filter(|(_, r)| r.weight >= LEFT_OUT);
    let told = out.map(|((provider, host), r)| {
        let text = html! { p { "The host " strong { (host) } " of " (provider) " is left out" small { "it failed again and again: " (r.class) } } };
        line(4, "alert", text, to("/market#hosts", "Hosts"))
    });
    Ok(told.collect())
}

async fn of_gateway(app: &App, visitor: &Visitor) -> Answer<Vec<Line>> {
    let mut all = vec![];
    if let Some(why) = app.controller.rented_closed() {
        let text = html! { p { "Rented machines get no requests" small { (why) } } };
        all.push(line(1, "alert", text, to("/gateway", "Gateway")));
    }
    for row in app.controller.store().backends().await? {
        let (healthy, why) = app.controller.health(&row.name);
        if !healthy {
            let text =
                html! { p { "The backend " strong { (row.name) } " does not answer" small { (why.unwrap_or_default()) } } };
            all.push(line(1, "unhealthy", text, to("/gateway", "Gateway")));
        }
    }
    if visitor.caller.is(Role::Operator) {
        for advice in app.controller.advice().await? {
            let text = html! { p { strong { (advice.model) } ": " (advice.said) small { (advice.todo) } } };
            all.push(line(5, "advice", text, to("/gateway", "Routes")));
        }
    }
    Ok(all)
}

/// Prices that were raised while something ran: the time line tells of them.
async fn of_prices(app: &App, shown: &[Deployment], now: Time) -> Answer<Vec<Line>> {
    let mut all = vec![];
    for d in shown.iter().filter(|d| !d.replicas.is_empty()) {
        let facts = app.controller.store().facts(&charter_domain::ids::DeploymentId(d.id.clone()), 50).await?;
        let risen = facts.iter().rev().find(|f| f.text.starts_with("it costs ") && f.text.contains(" now, and was "));
        if let Some(fact) = risen.filter(|f| now.since(f.at) < Span::min(24 * 60)) {
            let text =
                html! { p { strong { (d.name) } ": " (fact.text) small { "its host raised the price " (when(fact.at, now)) } } };
            all.push(line(2, "alert", text, to(&of_deployment(&d.name), "Look")));
        }
    }
    Ok(all)
}

/// Everything that asks for attention, the worst first.
pub(crate) async fn lines(app: &App, visitor: &Visitor, all: &[Deployment]) -> Answer<Vec<Line>> {
    let now = app.controller.now();
    let mut lines: Vec<Line> = all.iter().flat_map(|d| of_one(d, now)).collect();
    lines.extend(of_money(app, visitor).await?);
    lines.extend(of_sweep(app, visitor));
    lines.extend(of_hosts(app).await?);
    lines.extend(of_gateway(app, visitor).await?);
    lines.extend(of_prices(app, all, now).await?);
    lines.sort_by_key(|l| l.weight);
    Ok(lines)
}

/// As a list; those beyond the first are counted.
pub(crate) fn list(lines: &[Line]) -> Markup {
    html! {
        ul.notes {
            @for line in lines.iter().take(EACH_MAX * 2) { li { (sign(line.word)) (line.text) div { (line.act) } } }
            @if lines.len() > EACH_MAX * 2 { li { span {} p.soft { "and " (many(lines.len() - EACH_MAX * 2, "more", "more")) } span {} } }
        }
    }
}

/// Does anybody wish it to run?
pub(crate) fn is_wished(wish: Wish) -> bool {
    wish == Wish::Run
}
