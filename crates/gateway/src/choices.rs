//! What a table makes of each name: for every tier the model that answers, and those behind it. It is worked out once in the life
//! of a table, and not for each request.

use crate::table::{Table, Target};
use charter_effort::Tier;
use http::HeaderValue;
use std::sync::{Arc, OnceLock};

/// Names that may answer, in their order.
pub(crate) type Chain = Arc<[Arc<Target>]>;

/// A model, and what stands behind it.
#[derive(Debug)]
pub(crate) struct Choice {
    /// A name of the table.
    pub(crate) model: Arc<str>,
    pub(crate) reason: Reason,
    pub(crate) chain: Chain,
    /// What the client is told, by effort: it is the same for many requests.
    told: [OnceLock<Option<HeaderValue>>; 10],
}

/// Why a model was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The request names it.
    Named,
    /// It is the tier's own.
    Own,
    /// The tier has none.
    Near,
    /// The tier's own is not served, and what stands behind it answers.
    Unserved,
    /// This one, which would be meant, cannot call tools.
    NoTools(String),
}

/// Why there is no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// None of them can call tools.
    CallsTools,
    /// None of them is served.
    Serves,
}

/// By tier, without tools and with them.
type Tiers = [[Result<Arc<Choice>, Nobody>; 2]; 5];

/// All choices of a name, made when they are first needed.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    named: OnceLock<Arc<Choice>>,
    tiers: OnceLock<Box<Tiers>>,
}

impl Choices {
    /// Where the name itself is the model.
    pub(crate) fn named(&self, table: &Table, target: &Arc<Target>) -> &Arc<Choice> {
        self.named.get_or_init(|| Arc::new(Choice::new(table, target, &target.name, Reason::Named)))
    }

    /// Where the name has models for tiers.
    pub(crate) fn of(&self, table: &Table, target: &Arc<Target>, tier: Tier, tools: bool) -> Result<&Arc<Choice>, Nobody> {
        let made = |at: usize| [false, true].map(|tools| chosen(table, target, at, tools).map(Arc::new));
        let tiers = self.tiers.get_or_init(|| Box::new(std::array::from_fn(made)));
        tiers[tier as usize][usize::from(tools)].as_ref().map_err(|why| *why)
    }
}

impl Choice {
    fn new(table: &Table, target: &Arc<Target>, model: &str, reason: Reason) -> Self {
        Self { model: model.into(), reason, chain: chain(table, target, model), told: Default::default() }
    }

    /// What the client is told where it was chosen at this effort.
    pub(crate) fn told(&self, effort: u8, text: impl FnOnce() -> String) -> Option<&HeaderValue> {
        let told = self.told.get(usize::from(effort.saturating_sub(1)))?;
        told.get_or_init(|| HeaderValue::from_str(&text()).ok()).as_ref()
    }
}

/// Tiers in the order in which they are looked for, by the tier that is meant.
const LOOKED: [[usize; 5]; 5] = [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [2, 1, 0, 3, 4], [3, 4, 2, 1, 0], [4, 3, 2, 1, 0]];

/// The model of a tier, or of the nearest one that has a model which can do what is asked.
fn chosen(table: &Table, target: &Arc<Target>, at: usize, tools: bool) -> Result<Choice, Nobody> {
    let named = || LOOKED[at].iter().filter_map(|tier| Some((*tier, target.route.tiers.get(Tier::ALL[*tier].as_str())?)));
    if let Some((_, name)) = named().next()
        && !target.route.fallback.is_empty()
        && table.find(name).is_none()
    {
        // What stands behind it is there for this very case, and better than a model that the plan does not mean.
        return Ok(Choice::new(table, target, name, Reason::Unserved));
    }
    let known = || named().filter_map(|(tier, name)| Some((tier, name, table.find(name)?)));
    let Some((_, first, _)) = known().next() else { return Err(Nobody::Serves) };
    let able = known().find(|(_, _, model)| !tools || model.calls_tools());
    let (tier, name, model) = able.ok_or(Nobody::CallsTools)?;
    let reason = match first {
        first if first != name => Reason::NoTools(first.clone()),
        _ if tier != at => Reason::Near,
        _ => Reason::Own,
    };
    Ok(Choice::new(table, target, &model.name, reason))
}

/// The names that may answer, in their order: the model, or the route itself where nobody serves that, and those behind it.
fn chain(table: &Table, target: &Arc<Target>, model: &str) -> Chain {
    let first = table.find(model).unwrap_or(target);
    let own = if Arc::ptr_eq(first, target) { &[][..] } else { &first.route.fallback[..] };
    // A route that is nothing but what stands behind it is no step of its own.
    let empty = first.members.is_empty() && !(target.route.fallback.is_empty() && own.is_empty());
    let mut all = if empty { vec![] } else { vec![Arc::clone(first)] };
    for name in target.route.fallback.iter().chain(own) {
        match table.find(name) {
            Some(next) if !all.iter().any(|known| Arc::ptr_eq(known, next)) => all.push(Arc::clone(next)),
            Some(_) => {}
            None => tracing::debug!(name, "nobody serves what a chain names"),
        }
    }
    all.into()
}
