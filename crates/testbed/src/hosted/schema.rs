//! Schemas of structured output: what Anthropic's API does not take in them.

use serde_json::Value;

/// Words that are refused wherever they stand.
const REFUSED: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "if",
    "then",
    "else",
    "not",
    "oneOf",
    "contains",
    "prefixItems",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
];
/// Deeper schemas are refused.
const DEPTH_MAX: usize = 64;

/// What is wrong with a schema.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    inside(schema, 0)
}

fn inside(schema: &Value, depth: usize) -> Result<(), String> {
    let Some(fields) = schema.as_object() else {
        return if schema.is_boolean() { Ok(()) } else { Err("a schema must be an object".to_owned()) };
    };
    if depth > DEPTH_MAX {
        return Err("Schema is too complex".to_owned());
    }
    let kind = schema["type"].as_str().unwrap_or("object");
    if let Some(word) = fields.keys().find(|word| REFUSED.contains(&word.as_str())) {
        return Err(format!("For '{kind}' type, property '{word}' is not supported"));
    }
    if schema["minItems"].as_u64().is_some_and(|n| n > 1) {
        return Err("For 'array' type, 'minItems' values other than 0 or 1 are not supported".to_owned());
    }
    let is_object = schema["type"] == "object" || schema["type"].as_array().is_some_and(|all| all.iter().any(|k| k == "object"));
    if is_object && schema["additionalProperties"] != false {
        return Err("For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned());
    }
    for (word, value) in fields {
        match (word.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                named.values().try_for_each(|schema| inside(schema, depth + 1))?;
            }
            ("anyOf" | "allOf", Value::Array(all)) => all.iter().try_for_each(|schema| inside(schema, depth + 1))?,
            ("items", one) => inside(one, depth + 1)?,
            _ => {}
        }
    }
    Ok(())
}
