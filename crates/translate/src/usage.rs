//! Tokens as the three APIs count them. Anthropic leaves what its cache holds out of the input, the others do not.

use crate::field::count;
use serde_json::{Value, json};

/// Tokens of an answer, as far as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Read by the model, without what the cache had and what was written to it.
    pub(crate) fresh: Option<u64>,
    /// Written to the cache.
    pub(crate) written: Option<u64>,
    /// Read from the cache.
    pub(crate) cached: Option<u64>,
    /// Told by the model, thoughts included.
    pub(crate) output: Option<u64>,
    /// Of these, thoughts.
    pub(crate) thoughts: Option<u64>,
}

impl Usage {
    /// Reads Anthropic's words.
    pub(crate) fn of_messages(usage: &Value) -> Self {
        Self {
            fresh: count(usage, "input_tokens"),
            written: count(usage, "cache_creation_input_tokens"),
            cached: count(usage, "cache_read_input_tokens"),
            output: count(usage, "output_tokens"),
            thoughts: count(&usage["output_tokens_details"], "thinking_tokens"),
        }
    }

    /// Reads `OpenAI`'s words, those of Chat Completions or of Responses.
    pub(crate) fn of_openai(usage: &Value) -> Self {
        let either = |a: &str, b: &str| count(usage, a).or_else(|| count(usage, b));
        let read = [&usage["prompt_tokens_details"], &usage["input_tokens_details"]];
        let told = [&usage["completion_tokens_details"], &usage["output_tokens_details"]];
        let within = |all: [&Value; 2], name: &str| all.iter().find_map(|v| count(v, name));
        let (cached, written) = (within(read, "cached_tokens"), within(read, "cache_write_tokens"));
        let beside = cached.unwrap_or(0).saturating_add(written.unwrap_or(0));
        Self {
            fresh: either("prompt_tokens", "input_tokens").map(|all| all.saturating_sub(beside)),
            written,
            cached,
            output: either("completion_tokens", "output_tokens"),
            thoughts: within(told, "reasoning_tokens"),
        }
    }

    /// Takes over what was told later; what that leaves out stays.
    pub(crate) fn merge(&mut self, later: Self) {
        *self = Self {
            fresh: later.fresh.or(self.fresh),
            written: later.written.or(self.written),
            cached: later.cached.or(self.cached),
            output: later.output.or(self.output),
            thoughts: later.thoughts.or(self.thoughts),
        };
    }

    /// In the words of Chat Completions. What was not told is 0.
    pub(crate) fn chat(self) -> Value {
        let (cached, written) = (self.cached.unwrap_or(0), self.written.unwrap_or(0));
        let prompt = self.fresh.unwrap_or(0).saturating_add(cached).saturating_add(written);
        let output = self.output.unwrap_or(0);
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt.saturating_add(output),
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "completion_tokens_details": {"reasoning_tokens": self.thoughts.unwrap_or(0)},
        })
    }

    /// In Anthropic's words. What was not told is 0.
    pub(crate) fn messages(self) -> Value {
        json!({
            "input_tokens": self.fresh.unwrap_or(0),
            "cache_creation_input_tokens": self.written.unwrap_or(0),
            "cache_read_input_tokens": self.cached.unwrap_or(0),
            "output_tokens": self.output.unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_counted_once() {
        let told =
            json!({"input_tokens": 5, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100, "output_tokens": 7});
        let chat = Usage::of_messages(&told).chat();
        assert_eq!((&chat["prompt_tokens"], &chat["total_tokens"]), (&json!(125), &json!(132)));
        assert_eq!(Usage::of_openai(&chat).messages(), told);
        let most = u64::MAX;
        let much = Usage::of_messages(&json!({"input_tokens": most, "cache_read_input_tokens": most, "output_tokens": most}));
        assert_eq!(much.chat()["total_tokens"], json!(most));
        assert_eq!(Usage::of_messages(&json!("x")).chat()["prompt_tokens"], json!(0));
    }
}
