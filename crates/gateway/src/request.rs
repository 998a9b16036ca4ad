//! What the gateway reads of a request: the model's name, where it stands in the body, and nothing else.

use crate::errors::Refusal;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Largest body.
pub(crate) const BODY_MAX: usize = 32 * 1024 * 1024;

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
}

/// The name a body asks for, and the bytes that hold it.
pub(crate) struct Model {
    pub(crate) name: String,
    at: std::ops::Range<usize>,
}

/// Finds the model in a body, reading it once and copying nothing but the name.
pub(crate) fn model(body: &[u8]) -> Result<Model, Refusal> {
    let peek: Peek<'_> = serde_json::from_slice(body).map_err(|e| Refusal::InvalidJson(e.to_string()))?;
    let raw = peek.model.ok_or(Refusal::MissingModel)?;
    let name: Cow<'_, str> = serde_json::from_str(raw.get()).map_err(|_| Refusal::MissingModel)?;
    // The raw value borrows from the body, so its place is the difference of the two addresses.
    let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
    Ok(Model { name: name.into_owned(), at: start..start + raw.get().len() })
}

impl Model {
    /// The same body with another name in the same place; every other byte stays.
    pub(crate) fn renamed(&self, body: &Bytes, name: &str) -> Bytes {
        let quoted = serde_json::Value::from(name).to_string();
        [&body[..self.at.start], quoted.as_bytes(), &body[self.at.end..]].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_wherever_it_stands() {
        let bodies = [r#"{"model":"m","x":1}"#, r#"{"x":{"model":"no"}, "model" : "m" }"#, "{\"model\":\"\\u006d\"}"];
        for body in bodies {
            assert_eq!(model(body.as_bytes()).map(|m| m.name).ok().as_deref(), Some("m"), "{body}");
        }
    }

    #[test]
    fn renaming_touches_nothing_else() {
        let body = Bytes::from_static(b"{ \"a\" : 1.50,\"model\":\"old\" , \"b\":\"\\u00e9\"}");
        let found = model(&body).expect("a model");
        assert_eq!(
            found.renamed(&body, "ne\"w"),
            Bytes::from_static(b"{ \"a\" : 1.50,\"model\":\"ne\\\"w\" , \"b\":\"\\u00e9\"}")
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(matches!(model(b"not json"), Err(Refusal::InvalidJson(_))));
        assert!(matches!(model(b""), Err(Refusal::InvalidJson(_))));
        for body in [&b"{}"[..], br#"{"model":7}"#, br#"{"model":null}"#] {
            assert!(matches!(model(body), Err(Refusal::MissingModel)));
        }
    }
}
