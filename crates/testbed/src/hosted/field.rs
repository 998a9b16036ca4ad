//! Reading of JSON that may be anything.

use serde_json::Value;

/// The text of a field; empty where there is none.
pub(super) fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The list of a field; empty where there is none.
pub(super) fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The value of a field, unless it is absent or null.
pub(super) fn given<'a>(of: &'a Value, name: &str) -> Option<&'a Value> {
    of.get(name).filter(|value| !value.is_null())
}

/// The first field of an object that is not among the known ones.
pub(super) fn unknown<'a>(of: &'a Value, known: &[&str]) -> Option<&'a str> {
    of.as_object()?.keys().map(String::as_str).find(|name| !known.contains(name))
}

/// Is it a name of `min` to `max` letters, digits, underscores and dashes?
pub(super) fn is_name(name: &str, max: usize) -> bool {
    (1..=max).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// What kind of JSON it is, as error messages say it.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The media type and the data of a `data:` URL.
pub(super) fn data_url(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("data:")?.split_once(";base64,")
}

/// The media type that encoded bytes show by how they begin, of the four that both APIs take.
pub(super) fn media_type(base64: &str) -> Option<&'static str> {
    let is_base64 = base64.len().is_multiple_of(4)
        && base64.trim_end_matches('=').bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    let known = [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    known.iter().find(|(start, _)| is_base64 && base64.starts_with(start)).map(|(_, kind)| *kind)
}
