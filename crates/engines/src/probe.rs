//! The questions that an engine must answer before clients are sent to it.

use serde_json::{Value, json};

/// What kind of answers a model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Task {
    /// Messages in, a message out.
    Chat,
    /// Text in, text out.
    Completion,
    /// Text in, numbers out.
    Embedding,
}

impl Task {
    /// The tasks in the order in which they are tried; the first that gives an answer is the model's own.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Completion, Self::Embedding];

    /// The path of the request.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completion => "/v1/completions",
            Self::Embedding => "/v1/embeddings",
        }
    }

    /// A request that costs one token.
    #[must_use]
    pub fn body(self, model: &str) -> Value {
        match self {
            Self::Chat => json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}),
            Self::Completion => json!({"model": model, "prompt": "Hi", "max_tokens": 1}),
            Self::Embedding => json!({"model": model, "input": "Hi"}),
        }
    }

    /// Is this body a real answer to it?
    #[must_use]
    pub fn answered(self, body: &[u8]) -> bool {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return false;
        };
        let full = |pointer: &str| value.pointer(pointer).is_some();
        match self {
            Self::Chat => full("/choices/0/message"),
            Self::Completion => full("/choices/0/text"),
            Self::Embedding => value.pointer("/data/0/embedding").and_then(Value::as_array).is_some_and(|a| !a.is_empty()),
        }
    }
}

/// The names that `/v1/models` lists, with the parent of an adapter.
#[must_use]
pub fn listed(body: &[u8]) -> Vec<(String, Option<String>)> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return vec![];
    };
    let entries = value.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    entries.iter().filter_map(|e| Some((text(e, "id")?, text(e, "parent")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_answer_counts() {
        assert!(Task::Chat.answered(br#"{"choices":[{"message":{"role":"assistant","content":""}}]}"#));
        for body in [&b"{}"[..], b"<html>", br#"{"error":{"message":"x"}}"#, br#"{"choices":[]}"#] {
            assert!(Task::ALL.iter().all(|t| !t.answered(body)));
        }
    }

    #[test]
    fn adapters_are_listed_with_their_parent() {
        let body = br#"{"data":[{"id":"m","parent":null},{"id":"sql","parent":"m"}]}"#;
        assert_eq!(listed(body), [("m".to_owned(), None), ("sql".to_owned(), Some("m".to_owned()))]);
    }
}
