//! The plan of a request: how hard it is, and which model answers it. It is made once, and is the only source of the model on
//! every path.

use crate::chain::Call;
use crate::errors::Refusal;
use crate::request::{Asked, words};
use crate::table::{CHAT, MESSAGES, Table, Target};
use charter_effort::{Part, Tier, classify};
use std::fmt;

/// From this effort on the reasoning model answers.
const REASONS_FROM: u8 = 7;
/// From this effort on it may be asked in several steps.
const STEPS_FROM: u8 = 8;

/// What was decided for a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) tier: Tier,
    pub(crate) effort: u8,
    /// A name of the table.
    pub(crate) model: String,
    /// What decided.
    pub(crate) why: String,
    /// Of a request that was classified: what was found in it.
    pub(crate) parts: Vec<Part>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tier={}; model={}; effort={}", self.tier.as_str(), self.model, self.effort)
    }
}

/// Who answers a hard request in several steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// It can call tools, and speaks to the client.
    pub(crate) orchestrator: String,
    /// It is asked in between.
    pub(crate) reasoner: String,
}

/// Makes the plan. Nothing is planned for a name that is a model, unless the client speaks of effort.
pub(crate) fn made(
    table: &Table,
    target: &Target,
    asked: &Asked,
    body: &[u8],
    header: Option<u8>,
) -> Result<Option<Plan>, Refusal> {
    let tiers = !target.route.tiers.is_empty();
    if !tiers && header.or(asked.said.effort).is_none() {
        return Ok(None);
    }
    let said = [
        (header, "the header says so"),
        (asked.said.effort, "`effort` says so"),
        (asked.said.reasoning, "`reasoning_effort` says so"),
    ];
    let (mut effort, mut why, mut parts) = (1, String::new(), vec![]);
    match said.into_iter().find_map(|(value, why)| Some((value?, why))) {
        Some((value, text)) => (effort, why) = (value, text.to_owned()),
        None if tiers => {
            let verdict = classify(&words(body).prompt(asked));
            (effort, why) = (verdict.effort, found(&verdict.parts));
            parts = verdict.parts;
        }
        None => {}
    }
    if let Some(least) = asked.said.min.filter(|least| *least > effort) {
        (effort, why) = (least, format!("{why}; `min_effort` raises it from {effort}"));
    }
    let tier = Tier::of(effort);
    if !tiers {
        // The client names its model: that comes first.
        let model = target.name.to_string();
        return Ok(Some(Plan { tier, effort, model, why: format!("{why}; the request names its model"), parts }));
    }
    let (model, chosen) = model(table, target, asked, effort)?;
    Ok(Some(Plan { tier, effort, model, why: why + &chosen, parts }))
}

/// What weighed most.
fn found(parts: &[Part]) -> String {
    let mut heavy: Vec<&Part> = parts.iter().filter(|p| p.points.abs() >= 0.05).collect();
    heavy.sort_by(|a, b| b.points.abs().total_cmp(&a.points.abs()));
    let named: Vec<String> = heavy.iter().take(3).map(|p| format!("{} {:+.1}", p.name, p.points)).collect();
    if named.is_empty() { "nothing in it is hard".to_owned() } else { named.join(", ") }
}

const ORDER: [&str; 5] = ["reflex", "simple", "moderate", "complex", "critical"];

/// The model of a tier, or of the nearest one that has a model which can do what is asked.
fn model(table: &Table, target: &Target, asked: &Asked, effort: u8) -> Result<(String, String), Refusal> {
    let at = usize::from(effort.clamp(1, 10) - 1) / 2;
    let order: Vec<usize> =
        if effort >= REASONS_FROM { [at, 3, 4, 2, 1, 0].to_vec() } else { (0..=at).rev().chain(at + 1..ORDER.len()).collect() };
    let named = || order.iter().filter_map(|tier| Some((*tier, target.route.tiers.get(ORDER[*tier])?)));
    let known = || named().filter_map(|(tier, name)| Some((tier, name, table.find(name)?)));
    let first = named().next();
    if let Some((_, name)) = first.filter(|(_, name)| table.find(name).is_none())
        && !target.route.fallback.is_empty()
    {
        // What stands behind it is there for this very case, and better than a model that the plan does not mean.
        return Ok((name.clone(), "; nobody serves it at present".to_owned()));
    }
    let able = known().find(|(_, _, model)| !asked.tools || model.calls_tools());
    match able {
        Some((tier, name, model)) => {
            let unable = known().next().filter(|(_, first, _)| *first != name);
            let why = match unable {
                Some((_, first, _)) => format!("; `{first}` cannot call tools"),
                None if tier != at => format!("; the route has no model of its own for {}", ORDER[at]),
                None => String::new(),
            };
            Ok((model.name.to_string(), why))
        }
        None if known().next().is_some() => Err(Refusal::NoTools(asked.name.clone())),
        None => Err(Refusal::NoBackend(asked.name.clone())),
    }
}

impl Plan {
    /// Who answers in several steps, where it is hard enough, the key may, the request allows it, and both models are there.
    pub(crate) fn steps(&self, table: &Table, call: &Call) -> Option<Steps> {
        let target = table.names.get(&call.asked.name)?;
        let off = call.headers.get("x-charter-agentic").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"off"));
        let may = call.holder.key.limits.agentic && !off && (call.path == CHAT || call.path == MESSAGES);
        if self.effort < STEPS_FROM || !may {
            return None;
        }
        let tier = |names: &[&str]| names.iter().find_map(|tier| target.route.tiers.get(*tier)).cloned();
        let at = ORDER[usize::from(self.effort - 1) / 2];
        let reasoner = tier(&[at, "complex", "critical"])?;
        let orchestrator = tier(&["moderate", "simple", "reflex"]).filter(|name| *name != reasoner)?;
        let able = table.find(&orchestrator).is_some_and(|model| model.calls_tools());
        (able && table.find(&reasoner).is_some()).then_some(Steps { orchestrator, reasoner })
    }
}
