//! The events of a stream, in the three parts between which it can fail.

use super::Api;
use super::errors::{Refusal, named};
use bytes::Bytes;
use serde_json::{Value, json};

/// A stream on paper.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// What comes before any content: a role, a message without blocks.
    pub(super) opening: Vec<Bytes>,
    /// Content.
    pub(super) content: Vec<Bytes>,
    /// What says that it has ended well.
    pub(super) ending: Vec<Bytes>,
}

impl Events {
    /// All of it.
    pub(super) fn whole(self) -> Vec<Bytes> {
        [self.opening, self.content, self.ending].concat()
    }

    /// Until some content was seen, and no further.
    pub(super) fn begun(self) -> Vec<Bytes> {
        let half = self.content.len().div_ceil(2);
        [self.opening.as_slice(), self.content.get(..half).unwrap_or_default()].concat()
    }
}

/// An event without a name.
pub(super) fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// An event that is named after its type.
pub(super) fn event(value: &Value) -> Bytes {
    let name = value["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {value}\n\n"))
}

/// What a stream ends with that has failed after `sequence` events.
pub(super) fn failure(api: Api, name: &str, sequence: usize) -> Vec<Bytes> {
    let Refusal { body, .. } = named(api, name);
    let (code, message) = (&body["error"]["code"], &body["error"]["message"]);
    match api {
        Api::Chat => vec![data(&body)],
        Api::Messages => vec![event(&body)],
        Api::Responses => {
            let failed = json!({
                "id": "resp_failed", "object": "response", "created_at": super::CREATED, "status": "failed", "model": "gpt",
                "error": {"code": code, "message": message}, "incomplete_details": null, "output": [], "usage": null,
                "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
            });
            vec![
                event(&json!({"type": "error", "sequence_number": sequence, "error": body["error"]})),
                event(&json!({"type": "response.failed", "sequence_number": sequence + 1, "response": failed})),
            ]
        }
    }
}
