//! What hosted models can do and cost, as data (`data/models.json`). A model that nobody knows gets the least that all can do,
//! and the dearest price of its provider, so that a budget holds.

use serde::Deserialize;
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| serde_json::from_str(include_str!("../data/models.json")).unwrap_or_default());

/// What a model that nobody knows may write.
const WRITES: u64 = 32_000;

#[derive(Default, Deserialize)]
struct Table {
    as_of: String,
    /// What an id contains that is only served over Responses.
    responses_only: Vec<String>,
    families: Vec<Family>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Family {
    prefix: String,
    provider: String,
    sampling: bool,
    prefill: bool,
    manual_thinking: bool,
    adaptive_thinking: bool,
    forced_tool: bool,
    system_midway: bool,
    structured: bool,
    reasoning: bool,
    responses_for_tools: bool,
    responses_only: bool,
    input: i64,
    cached: i64,
    output: i64,
    max_output: u64,
    context: u64,
}

/// A hosted model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// As the provider calls it.
    pub id: String,
    /// `openai` or `anthropic`.
    pub provider: String,
    /// It takes temperature and its kin.
    pub sampling: bool,
    /// The conversation may end with the beginning of its answer.
    pub prefill: bool,
    /// It takes a budget for its thoughts.
    pub manual_thinking: bool,
    /// It thinks as much as it needs, and takes an effort.
    pub adaptive_thinking: bool,
    /// It can be made to call a tool.
    pub forced_tool: bool,
    /// Instructions may stand in the middle of the conversation.
    pub system_midway: bool,
    /// It keeps to a schema by itself.
    pub structured: bool,
    /// It reasons unless it is told not to, and refuses what such models refuse.
    pub reasoning: bool,
    /// It takes tools over Responses only, unless its effort is none.
    pub responses_for_tools: bool,
    /// It is served over Responses only.
    pub responses_only: bool,
    /// Price of a million tokens that it reads, in millionths of a dollar.
    pub input_usd_micros_per_mtok: i64,
    /// The same for what its cache holds.
    pub cached_usd_micros_per_mtok: i64,
    /// Price of a million tokens that it writes, in millionths of a dollar.
    pub output_usd_micros_per_mtok: i64,
    /// It writes no more tokens than this.
    pub max_output: u64,
    /// Tokens that a conversation may have.
    pub context: u64,
    /// The day as of which all this is known.
    pub as_of: &'static str,
}

/// Finds what is known of a model: the entry with the longest prefix of its id. Never fails.
#[must_use]
pub fn find(provider: &str, id: &str) -> Model {
    let table = &*TABLE;
    let known = table.families.iter().filter(|f| f.provider == provider && is_of(id, &f.prefix)).max_by_key(|f| f.prefix.len());
    let unknown = || Family {
        reasoning: provider == "openai",
        responses_for_tools: provider == "openai",
        max_output: WRITES,
        context: if provider == "openai" { 128_000 } else { 200_000 },
        ..Family::default()
    };
    let mut family = known.cloned().unwrap_or_else(unknown);
    // A dearer variant of a family that has no entry of its own.
    let is_dearer = known.is_none() || (id.contains("-pro") && !family.prefix.contains("-pro"));
    if is_dearer {
        let dearest =
            |of: fn(&Family) -> i64| table.families.iter().filter(|f| f.provider == provider).map(of).max().unwrap_or(0);
        (family.input, family.cached, family.output) = (dearest(|f| f.input), dearest(|f| f.cached), dearest(|f| f.output));
    }
    let by_name = provider == "openai" && table.responses_only.iter().any(|part| id.contains(part.as_str()));
    Model {
        id: id.to_owned(),
        provider: provider.to_owned(),
        sampling: family.sampling,
        prefill: family.prefill,
        manual_thinking: family.manual_thinking,
        adaptive_thinking: family.adaptive_thinking,
        forced_tool: family.forced_tool,
        system_midway: family.system_midway,
        structured: family.structured,
        reasoning: family.reasoning,
        responses_for_tools: family.responses_for_tools,
        responses_only: family.responses_only || by_name,
        input_usd_micros_per_mtok: family.input,
        cached_usd_micros_per_mtok: family.cached,
        output_usd_micros_per_mtok: family.output,
        max_output: family.max_output,
        context: family.context,
        as_of: &table.as_of,
    }
}

/// The cheap and fast model of a provider; empty for a provider that nobody knows.
#[must_use]
pub fn default_model(provider: &str) -> &'static str {
    match provider {
        "openai" => "gpt-6-luna",
        "anthropic" => "claude-haiku-5-5",
        _ => "",
    }
}

/// Does an id belong to a family? What follows may be a date or a variant, and no other version: `-4` is not `-4-9`.
fn is_of(id: &str, prefix: &str) -> bool {
    let Some(rest) = id.strip_prefix(prefix) else { return false };
    let Some(tail) = rest.strip_prefix(['-', '@', ':']) else { return rest.is_empty() };
    let word = tail.split(['-', '.']).next().unwrap_or_default();
    !((1..=2).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_versions_are_kept_apart() {
        let price = |provider: &str, id: &str| find(provider, id).input_usd_micros_per_mtok;
        for (provider, id, expected) in [
            ("anthropic", "claude-haiku-5-5", 100_000),
            ("anthropic", "claude-opus-5", 5_000_000),
            ("anthropic", "claude-opus-5-5", 4_000_000),
            ("anthropic", "claude-opus-5-5-20261001", 4_000_000),
            ("anthropic", "claude-haiku-4-5-20251001", 1_000_000),
            ("anthropic", "claude-opus-4-9", 15_000_000),
            ("anthropic", "", 15_000_000),
            ("openai", "gpt-6-luna", 100_000),
            ("openai", "gpt-5.4-2026-03-05", 2_500_000),
            ("openai", "gpt-5.5-pro", 30_000_000),
            ("openai", "gpt-9", 30_000_000),
            ("nobody", "gpt-9", 0),
        ] {
            assert_eq!(price(provider, id), expected, "{id}");
        }
    }

    #[test]
    fn what_nobody_knows_is_trusted_with_little() {
        let unknown = find("anthropic", "claude-opus-9");
        assert!(!unknown.sampling && !unknown.prefill && !unknown.forced_tool && !unknown.adaptive_thinking);
        let codex = find("openai", "gpt-6-codex");
        assert!(codex.responses_only && codex.reasoning);
        assert!(!find("openai", "gpt-4o-2024-08-06").reasoning);
        assert_eq!(unknown.as_of, "2026-11-20");
        for provider in ["openai", "anthropic"] {
            assert!(find(provider, default_model(provider)).output_usd_micros_per_mtok <= 500_000);
        }
    }
}
