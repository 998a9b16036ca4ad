//! Reading of JSON that anybody may have written: what is missing or of another kind is empty.

use serde_json::Value;

/// A text field; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A list; empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A field that says something: not there and null are the same.
pub(crate) fn given<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|v| !v.is_null())
}

/// A number of things.
pub(crate) fn count(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

/// Something that changes nothing where it is left out.
pub(crate) fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(yes) => !yes,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
    }
}

/// FNV-1a: short, stable names for what may not be shown itself.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// An answer's id in another dialect: the same, behind another prefix.
pub(crate) fn id(prefix: &str, given: &str) -> String {
    let bare = ["chatcmpl-", "msg_", "resp_"].iter().find_map(|p| given.strip_prefix(p)).unwrap_or(given);
    format!("{prefix}{}", if bare.is_empty() { "0" } else { bare })
}

/// The arguments of a call as an object: what is none is put into one.
pub(crate) fn object(arguments: &str) -> Value {
    match serde_json::from_str::<Value>(arguments) {
        Ok(input) if input.is_object() => input,
        Ok(Value::Null) => serde_json::json!({}),
        Ok(other) => serde_json::json!({"arguments": other}),
        Err(_) => serde_json::json!({"arguments": arguments}),
    }
}
