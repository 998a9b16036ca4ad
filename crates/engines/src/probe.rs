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

    /// A request for a short answer to a prompt, the same one each time as far as an engine can.
    #[must_use]
    pub fn question(self, model: &str, prompt: &str) -> Value {
        match self {
            Self::Chat => {
                json!({"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 64, "temperature": 0})
            }
            Self::Completion => json!({"model": model, "prompt": prompt, "max_tokens": 64, "temperature": 0}),
            Self::Embedding => json!({"model": model, "input": prompt}),
        }
    }

    /// What an answer says.
    #[must_use]
    pub fn text(self, body: &[u8]) -> Option<String> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let at = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        match self {
            // What it thought is part of what it says, where a model thinks aloud.
            Self::Chat => at("/choices/0/message/content").or_else(|| at("/choices/0/message/reasoning_content")),
            Self::Completion => at("/choices/0/text"),
            Self::Embedding => value.pointer("/data/0/embedding").map(ToString::to_string),
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

/// What an engine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reported {
    /// Tokens that one request may have.
    pub max_model_len: Option<i64>,
    /// The model behind the name.
    pub root: Option<String>,
    /// The version of its program.
    pub version: Option<String>,
}

/// What `/v1/models` says of one name: tokens that a request may have, and the model behind it.
#[must_use]
pub fn described(body: &[u8], name: &str) -> (Option<i64>, Option<String>) {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let all = value.get("data").and_then(Value::as_array);
    let Some(one) = all.and_then(|all| all.iter().find(|m| m.get("id").and_then(Value::as_str) == Some(name))) else {
        return (None, None);
    };
    let root = one.get("root").and_then(Value::as_str).map(short);
    (one.get("max_model_len").and_then(Value::as_i64), root)
}

/// What `/version` says.
#[must_use]
pub fn version_of(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    value.get("version").and_then(Value::as_str).map(short)
}

/// A word of an engine is untrusted text.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
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
