//! The description of the API, OpenAPI 3.1, made of the list that the router is made of.

use crate::endpoint::{Endpoint, Gives, Shape};
use crate::endpoints;
use axum::extract::Json;
use charter_store::Role;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Value> = LazyLock::new(made);

/// Served to everybody: it tells nothing of this server.
pub(crate) async fn document() -> Json<Value> {
    Json(DOCUMENT.clone())
}

/// The same for pages.
pub(crate) fn value() -> &'static Value {
    &DOCUMENT
}

/// The description, with its keys in order.
#[must_use]
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&*DOCUMENT).unwrap_or_default();
    text.push('\n');
    text
}

fn made() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut shapes = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints::all() {
        let told = operation(&endpoint, &mut shapes);
        let path = paths.entry(endpoint.path.to_owned()).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_lowercase()] = told;
    }
    let mut schemas: Map<String, Value> = shapes.take_definitions(true);
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "charter", "version": env!("CARGO_PKG_VERSION"),
            "description": "The control plane of charter. Money is whole micro-dollars, times are RFC 3339 in UTC, durations say their unit. Failures are `application/problem+json` with a code whose page `charter explain CODE` prints.",
        },
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "A key of `charter key create`."}},
        },
    })
}

fn problem() -> Value {
    json!({
        "type": "object", "required": ["type", "title", "status", "code", "detail", "hint"],
        "properties": {
            "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
            "code": {"type": "string", "pattern": "^[A-Z][0-9]{4}$"}, "detail": {"type": "string"}, "hint": {"type": "string"},
        },
    })
}

const fn says(status: u16) -> &'static str {
    match status {
        200 => "Done.",
        201 => "Made.",
        202 => "Begun.",
        204 => "Done; there is nothing to say.",
        400 => "The request cannot be read.",
        401 => "No key, or one that does not stand.",
        403 => "The key's role, or its tenant, does not allow it.",
        404 => "Unknown, or not yours.",
        409 => "Not in this state.",
        413 => "The body is too large.",
        415 => "The body is no JSON.",
        422 => "The content cannot be used.",
        429 => "Too often, or too much.",
        500 => "The database failed.",
        502 => "Somebody whom the server asked gave no good answer.",
        503 => "Not now.",
        504 => "It took too long.",
        _ => "A failure.",
    }
}

fn answer(status: u16, gives: &Gives, shapes: &mut SchemaGenerator) -> Value {
    let description = says(status);
    let of = |kind: &str, schema: Value| json!({"description": description, "content": {kind: {"schema": schema}}});
    match gives {
        Gives::Json(shape) => of("application/json", shape(shapes).to_value()),
        Gives::Object => of("application/json", json!({"type": "object"})),
        Gives::Text(kind) => of(kind, json!({"type": "string"})),
        Gives::Nothing => json!({"description": description}),
    }
}

fn operation(endpoint: &Endpoint, shapes: &mut SchemaGenerator) -> Value {
    let mut answers: Map<String, Value> = Map::new();
    for (status, gives) in &endpoint.gives {
        answers.insert(status.to_string(), answer(*status, gives, shapes));
    }
    let mut failures: Vec<u16> = endpoint.fails.clone();
    if endpoint.role.is_some() {
        failures.extend([400, 401, 403, 404, 409, 422, 500]);
        failures.extend(endpoint.takes.iter().flat_map(|_| [413, 415]));
    }
    for status in failures {
        let problem = json!({"description": says(status), "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}});
        answers.entry(status.to_string()).or_insert(problem);
    }
    let mut told = json!({
        "operationId": operation_id(endpoint), "summary": endpoint.says, "parameters": parameters(endpoint, shapes), "responses": answers,
        "tags": [if endpoint.alias { "replaced systems" } else { "charter" }],
    });
    match endpoint.role {
        None => told["security"] = json!([]),
        Some(role) => {
            told["description"] =
                format!("For the role `{}` and higher.", if role == Role::Viewer { "viewer" } else { role.as_str() }).into()
        }
    }
    if let Some(takes) = endpoint.takes {
        told["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": takes(shapes).to_value()}}});
    }
    told
}

fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint.path.trim_start_matches("/api/v1").replace(['/', '{', '}', '-', '.'], " ");
    let joined: Vec<&str> = words.split_whitespace().collect();
    format!("{}_{}", endpoint.method.as_str().to_lowercase(), joined.join("_"))
}

/// What stands in the path, and behind the question mark.
fn parameters(endpoint: &Endpoint, shapes: &mut SchemaGenerator) -> Vec<Value> {
    let mut all: Vec<Value> = endpoint
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .collect();
    if let Some(asks) = endpoint.asks {
        all.extend(of_query(asks, shapes));
    }
    if endpoint.method != axum::http::Method::GET && endpoint.role.is_some() {
        all.push(json!({"name": "Idempotency-Key", "in": "header", "required": false, "description": "Repeats a change safely: what came of it the first time is answered again.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}}));
    }
    all
}

fn of_query(asks: Shape, shapes: &mut SchemaGenerator) -> Vec<Value> {
    let schema = asks(shapes).to_value();
    let name = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()).unwrap_or_default().to_owned();
    let whole = shapes.definitions().get(&name).cloned().unwrap_or(schema);
    let properties = whole["properties"].as_object().cloned().unwrap_or_default();
    properties
        .into_iter()
        .map(|(name, mut schema)| {
            let description = schema.as_object_mut().and_then(|s| s.remove("description")).unwrap_or_default();
            // Left out is how nothing is said in an address.
            if let Some(kinds) = schema["type"].as_array().cloned() {
                let kinds: Vec<Value> = kinds.into_iter().filter(|k| k != "null").collect();
                schema["type"] = kinds.first().cloned().unwrap_or_default();
            }
            json!({"name": name, "in": "query", "required": false, "description": description.as_str().unwrap_or_default(), "schema": schema})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_that_is_checked_in_is_the_one_of_this_code() {
        let kept = include_str!("../../../openapi/charter.json");
        assert!(kept == text(), "`cargo xtask openapi` writes it anew");
    }

    #[test]
    fn what_our_own_paths_take_and_give_is_told_field_by_field() {
        for endpoint in endpoints::all().iter().filter(|e| !e.alias && !e.path.ends_with("openapi.json")) {
            let vague = endpoint.gives.iter().any(|(_, gives)| matches!(gives, Gives::Object));
            assert!(!vague, "{} {} gives an object without its fields", endpoint.method, endpoint.path);
        }
    }

    #[test]
    fn everything_is_described() {
        for endpoint in endpoints::all() {
            assert!(endpoint.says.ends_with('.'), "{} says nothing", endpoint.path);
            assert!(!endpoint.gives.is_empty(), "{} gives nothing", endpoint.path);
        }
        let document = text();
        assert!(document.contains("\"/api/v1/events\""));
    }
}
