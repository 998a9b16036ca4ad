//! What a look at the last day's requests would advise: models that are started too often, and large models that answer what a
//! small one could.

use crate::controller::Controller;
use charter_domain::time::Span;
use charter_domain::usage::{End, Used};
use charter_engines::fit::parameters;
use charter_store::Error;
use std::collections::BTreeMap;

/// So far back it is looked, and at so many requests at the most.
const BACK: Span = Span::min(24 * 60);
const LOOKED_AT: usize = 5000;
/// Of fewer requests nothing is said.
const ENOUGH: usize = 20;
/// One request in five that waited for a start is too many.
const COLD_PERCENT: usize = 20;
/// Requests that read and write less are easy ones, most likely.
const EASY_TOKENS: (u64, u64) = (200, 60);
const EASY_PERCENT: usize = 50;
/// A model of this size costs more than easy questions are worth.
const LARGE: u64 = 12_000_000_000;

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Which name it is about.
    pub model: String,
    /// What was seen.
    pub said: String,
    /// What would help.
    pub todo: String,
}

impl Controller {
    /// What the last day's requests advise.
    ///
    /// # Errors
    /// What the store says.
    pub async fn advice(&self) -> Result<Vec<Advice>, Error> {
        let answered = |used: &Used| used.end == End::Done;
        let seen = self.store().used(self.now() - BACK, LOOKED_AT, &answered).await?;
        let routes = self.store().routes().await?;
        let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
        for row in self.store().deployments().await? {
            let profile = &row.state.profile;
            sizes.insert(profile.served_name.clone(), parameters(&profile.model).unwrap_or(0));
        }
        let chosen = |name: &str| routes.iter().any(|r| r.tiers.values().any(|to| to == name));
        Ok(judge(&seen, &sizes, chosen))
    }
}

fn judge(seen: &[Used], sizes: &BTreeMap<String, u64>, is_chosen: impl Fn(&str) -> bool) -> Vec<Advice> {
    let mut by_model: BTreeMap<&str, Vec<&Used>> = BTreeMap::new();
    seen.iter().for_each(|used| by_model.entry(&used.model).or_default().push(used));
    let mut all = vec![];
    for (model, used) in by_model.into_iter().filter(|(_, used)| used.len() >= ENOUGH) {
        let percent = |is: &dyn Fn(&Used) -> bool| used.iter().filter(|u| is(u)).count() * 100 / used.len();
        let cold = percent(&|u| u.cold_ms > 0);
        if cold > COLD_PERCENT {
            all.push(Advice {
                model: model.to_owned(),
                said: format!("{cold} % of its requests of the last day waited for a start"),
                todo: "keep a copy: `replicas: {min: 1, max: N}`, or a longer `keep-alive`".to_owned(),
            });
        }
        let easy = percent(&|u| u.prompt_tokens < EASY_TOKENS.0 && u.completion_tokens < EASY_TOKENS.1);
        if easy > EASY_PERCENT && sizes.get(model).is_some_and(|size| *size >= LARGE) && !is_chosen(model) {
            all.push(Advice {
                model: model.to_owned(),
                said: format!("{easy} % of its requests of the last day were short ones, and it is a large model"),
                todo: format!("let effort choose: `charter route set auto --tier simple=SMALL --tier complex={model}`"),
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(model: &str, cold_ms: u64, tokens: u64) -> Used {
        Used { model: model.into(), cold_ms, prompt_tokens: tokens, completion_tokens: tokens, ..Used::default() }
    }

    #[test]
    fn many_starts_and_easy_questions_to_a_large_model_are_told_and_a_few_are_not() {
        let sizes = BTreeMap::from([("large".to_owned(), 14_000_000_000), ("small".to_owned(), 1_000_000_000)]);
        let seen: Vec<Used> = (0..30).flat_map(|n| [used("large", 0, 10), used("small", u64::from(n % 3 == 0), 10)]).collect();
        let told: Vec<(String, bool)> =
            judge(&seen, &sizes, |_| false).into_iter().map(|a| (a.model, a.said.contains("start"))).collect();
        assert_eq!(told, [("large".to_owned(), false), ("small".to_owned(), true)]);
        assert!(judge(&seen, &sizes, |name| name == "large").iter().all(|a| a.model != "large"), "effort chooses already");
        assert!(judge(&seen[..ENOUGH], &sizes, |_| false).is_empty(), "too few to say anything");
    }
}
