//! JSON Schemas as Anthropic takes them. What structured output does not know is taken out, and told to the model in the
//! description instead, so that it may keep to it all the same.

use serde_json::{Map, Value, json};

/// Bounds that are taken out and told.
const BOUNDS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
];
/// Keywords that are taken out.
const UNKNOWN: &[&str] = &[
    "patternProperties",
    "propertyNames",
    "if",
    "then",
    "else",
    "not",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedProperties",
    "unevaluatedItems",
    "additionalItems",
    "contentEncoding",
    "contentMediaType",
    "$schema",
    "$id",
];
/// Formats that are known.
const FORMATS: &[&str] = &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// A schema for the answer's text.
pub(super) fn output(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let (mut kept, mut told) = (Map::new(), vec![]);
    for (name, value) in fields {
        let (name, value) = match name.as_str() {
            "minItems" if value.as_u64().is_none_or(|n| n > 1) => {
                told.push(format!("{name}: {value}"));
                continue;
            }
            "format" if !value.as_str().is_some_and(|f| FORMATS.contains(&f)) => {
                told.push(format!("{name}: {value}"));
                continue;
            }
            bound if BOUNDS.contains(&bound) => {
                told.push(format!("{name}: {value}"));
                continue;
            }
            unknown if UNKNOWN.contains(&unknown) => continue,
            "oneOf" => ("anyOf", each(value)),
            "anyOf" | "allOf" | "prefixItems" => (name.as_str(), each(value)),
            "items" => (name.as_str(), output(value)),
            "properties" | "$defs" | "definitions" => (name.as_str(), named(value)),
            other => (other, value.clone()),
        };
        kept.insert(name.to_owned(), value);
    }
    if kept.get("type").is_some_and(is_object) || kept.contains_key("properties") {
        kept.insert("additionalProperties".to_owned(), false.into());
    } else {
        kept.remove("additionalProperties");
    }
    if !told.is_empty() {
        let before = kept.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{before} ({})", told.join(", "));
        kept.insert("description".to_owned(), description.trim_start().into());
    }
    kept.into()
}

fn is_object(kind: &Value) -> bool {
    kind == "object" || kind.as_array().is_some_and(|all| all.iter().any(|k| k == "object"))
}

fn each(list: &Value) -> Value {
    list.as_array().map_or_else(|| list.clone(), |all| all.iter().map(output).collect())
}

fn named(map: &Value) -> Value {
    let Value::Object(all) = map else { return map.clone() };
    Value::Object(all.iter().map(|(name, schema)| (name.clone(), output(schema))).collect())
}

/// A schema for the input of a tool: an object, without a choice between schemas at its top. The properties of all the choices
/// are allowed; what is required stays where all of them had to hold.
pub(super) fn input(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return json!({"type": "object", "properties": {}}) };
    let mut top = fields.clone();
    top.insert("type".to_owned(), "object".into());
    let mut properties = top.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut required: Vec<Value> = top.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for word in ["allOf", "anyOf", "oneOf"] {
        let Some(choices) = top.remove(word) else { continue };
        for choice in choices.as_array().into_iter().flatten() {
            for (name, property) in choice.get("properties").and_then(Value::as_object).into_iter().flatten() {
                properties.entry(name.clone()).or_insert_with(|| property.clone());
            }
            let must = choice.get("required").and_then(Value::as_array).into_iter().flatten();
            required.extend(must.filter(|_| word == "allOf").cloned());
        }
    }
    top.insert("properties".to_owned(), properties.into());
    if !required.is_empty() {
        let mut seen = std::collections::BTreeSet::new();
        required.retain(|name| seen.insert(name.to_string()));
        top.insert("required".to_owned(), required.into());
    }
    top.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_structured_output_does_not_know_is_told_in_words() {
        let asked = json!({"type": "object", "$schema": "x", "properties": {
            "minimum": {"type": "integer", "minimum": 1, "maximum": 5, "description": "stars"},
            "tags": {"type": "array", "minItems": 2, "items": {"oneOf": [{"type": "string", "format": "color"},
                {"type": "null"}]}},
            "some": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/d"}},
            "e": {"enum": [{"minimum": 1}]},
        }, "$defs": {"d": {"type": ["object", "null"], "additionalProperties": {"type": "string"}}}, "not": {}});
        let fit = output(&asked);
        let properties = &fit["properties"];
        assert_eq!(fit["additionalProperties"], json!(false));
        assert!(fit.get("not").is_none() && fit.get("$schema").is_none());
        assert_eq!(properties["minimum"], json!({"type": "integer", "description": "stars (maximum: 5, minimum: 1)"}));
        assert_eq!(properties["tags"]["items"]["anyOf"][0], json!({"type": "string", "description": "(format: \"color\")"}));
        assert_eq!(properties["tags"].get("minItems"), None);
        assert_eq!(properties["some"]["minItems"], json!(1));
        assert_eq!(properties["e"]["enum"][0], json!({"minimum": 1}), "values are no schemas");
        assert_eq!(fit["$defs"]["d"]["additionalProperties"], json!(false));
    }

    #[test]
    fn the_input_of_a_tool_is_an_object_without_a_choice_at_its_top() {
        for empty in [json!(null), json!("x"), json!([])] {
            assert_eq!(input(&empty), json!({"type": "object", "properties": {}}));
        }
        let choice = json!({"properties": {"a": {}}, "required": ["a"], "anyOf": [{"properties": {"b": {}}, "required": ["b"]}],
            "allOf": [{"properties": {"c": {}}, "required": ["c", "a"]}]});
        let expected = json!({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["a", "c"]});
        assert_eq!(input(&choice), expected);
    }
}
