//! The plan of a request: how hard it is, and which model answers it. It is made once, and is the only source of the model on
//! every path.

use crate::chain::Call;
use crate::choices::{Choice, Nobody, Reason};
use crate::errors::Refusal;
use crate::request::Asked;
use crate::table::{CHAT, MESSAGES, Table, Target};
use crate::words::words;
use charter_effort::{Part, Tier, effort_of};
use http::HeaderValue;
use std::sync::Arc;

/// From this effort on it may be asked in several steps.
const STEPS_FROM: u8 = 8;

/// What was decided for a request.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) tier: Tier,
    pub(crate) effort: u8,
    /// The model, and what stands behind it.
    pub(crate) choice: Arc<Choice>,
    /// Where the effort is from.
    source: Source,
    /// What it was before `min_effort` raised it.
    raised_from: Option<u8>,
}

/// Where an effort is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Header,
    Field,
    Reasoning,
    /// Of the request's own words.
    Words,
    /// Nobody said anything.
    Nothing,
}

impl Plan {
    /// What decided, in words; of a request that was classified with what was found in it.
    pub(crate) fn why(&self, parts: &[Part]) -> String {
        let mut why = match self.source {
            Source::Header => "the header says so".to_owned(),
            Source::Field => "`effort` says so".to_owned(),
            Source::Reasoning => "`reasoning_effort` says so".to_owned(),
            Source::Words => found(parts),
            Source::Nothing => "nobody says anything of effort".to_owned(),
        };
        if let Some(from) = self.raised_from {
            why.push_str(&format!("; `min_effort` raises it from {from}"));
        }
        match &self.choice.reason {
            Reason::Named => why.push_str("; the request names its model"),
            Reason::Own => {}
            Reason::Near => why.push_str(&format!("; the route has no model of its own for {}", self.tier.as_str())),
            Reason::Unserved => why.push_str("; nobody serves it at present"),
            Reason::NoTools(name) => why.push_str(&format!("; `{name}` cannot call tools")),
        }
        why
    }

    /// Was it made of the request's own words?
    pub(crate) fn is_classified(&self) -> bool {
        self.source == Source::Words
    }

    /// What the client is told of it.
    pub(crate) fn told(&self) -> Option<HeaderValue> {
        let text = || format!("tier={}; model={}; effort={}", self.tier.as_str(), self.choice.model, self.effort);
        self.choice.told(self.effort, text).cloned()
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
    target: &Arc<Target>,
    asked: &Asked,
    body: &[u8],
    header: Option<u8>,
) -> Result<Option<Plan>, Refusal> {
    let tiers = !target.route.tiers.is_empty();
    if !tiers && header.or(asked.said.effort).is_none() {
        return Ok(None);
    }
    let said = [(header, Source::Header), (asked.said.effort, Source::Field), (asked.said.reasoning, Source::Reasoning)];
    let (mut effort, source) = match said.into_iter().find_map(|(value, source)| Some((value?, source))) {
        Some(said) => said,
        None if tiers => (effort_of(&words(body).prompt(asked)), Source::Words),
        None => (1, Source::Nothing),
    };
    let raised_from = asked.said.min.filter(|least| *least > effort).map(|least| std::mem::replace(&mut effort, least));
    let tier = Tier::of(effort);
    let choices = table.choices(target);
    let choice = if tiers {
        choices.of(table, target, tier, asked.tools).map_err(|why| match why {
            Nobody::CallsTools => Refusal::NoTools(asked.name.clone()),
            Nobody::Serves => Refusal::NoBackend(asked.name.clone()),
        })?
    } else {
        // The client names its model: that comes first.
        choices.named(table, target)
    };
    Ok(Some(Plan { tier, effort, choice: Arc::clone(choice), source, raised_from }))
}

/// What weighed most.
fn found(parts: &[Part]) -> String {
    let mut heavy: Vec<&Part> = parts.iter().filter(|p| p.points.abs() >= 0.05).collect();
    heavy.sort_by(|a, b| b.points.abs().total_cmp(&a.points.abs()));
    let named: Vec<String> = heavy.iter().take(3).map(|p| format!("{} {:+.1}", p.name, p.points)).collect();
    if named.is_empty() { "nothing in it is hard".to_owned() } else { named.join(", ") }
}

impl Plan {
    /// Who answers in several steps, where it is hard enough, the key may, the request allows it, and both models are there.
    pub(crate) fn steps(&self, table: &Table, call: &Call) -> Option<Steps> {
        // Most requests are not that hard: nothing more is looked at of them.
        if self.effort < STEPS_FROM {
            return None;
        }
        let target = table.names.get(&call.asked.name)?;
        let off = call.headers.get("x-charter-agentic").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"off"));
        let may = call.holder.key.limits.agentic && !off && (call.path == CHAT || call.path == MESSAGES);
        if !may || answers(&call.body) > 1 {
            return None;
        }
        let tier = |names: &[&str]| names.iter().find_map(|tier| target.route.tiers.get(*tier)).cloned();
        let reasoner = tier(&[self.tier.as_str(), "complex", "critical"])?;
        let orchestrator = tier(&["moderate", "simple", "reflex"]).filter(|name| *name != reasoner)?;
        let able = table.find(&orchestrator).is_some_and(|model| model.calls_tools());
        (able && table.find(&reasoner).is_some()).then_some(Steps { orchestrator, reasoner })
    }
}

/// How many answers are asked for.
fn answers(body: &[u8]) -> u64 {
    #[derive(serde::Deserialize)]
    struct Many {
        #[serde(default)]
        n: Option<u64>,
    }
    // What is no number here is the engine's to refuse, on the plain path.
    serde_json::from_slice::<Many>(body).map_or(2, |many| many.n.unwrap_or(1))
}
