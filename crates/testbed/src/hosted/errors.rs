//! How both APIs say no.

use super::Api;
use serde_json::{Value, json};

/// An answer that is an error.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body.
    pub(super) body: Value,
}

/// An error of `OpenAI`'s of the type that means that the request is wrong.
pub(super) fn openai(status: u16, message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    Refusal { status, body: openai_body("invalid_request_error", message, param, code) }
}

/// A body in `OpenAI`'s shape.
pub(super) fn openai_body(kind: &str, message: &str, param: Option<&str>, code: Option<&str>) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

/// A field that is not there.
pub(super) fn missing(param: &str) -> Refusal {
    openai(400, &format!("Missing required parameter: '{param}'."), Some(param), Some("missing_required_parameter"))
}

/// A field that the API does not know.
pub(super) fn unknown(param: &str) -> Refusal {
    openai(400, &format!("Unknown parameter: '{param}'."), Some(param), Some("unknown_parameter"))
}

/// A field that this model does not take.
pub(super) fn unsupported(param: &str, more: &str) -> Refusal {
    let message = format!("Unsupported parameter: '{param}' is not supported with this model.{more}");
    openai(400, &message, Some(param), Some("unsupported_parameter"))
}

/// A value that a field cannot have.
pub(super) fn invalid(param: &str, why: &str) -> Refusal {
    openai(400, &format!("Invalid '{param}': {why}"), Some(param), Some("invalid_value"))
}

/// A value of the wrong type.
pub(super) fn wrong_type(param: &str, expected: &str, found: &Value) -> Refusal {
    let found = super::field::kind(found);
    let message = format!("Invalid type for '{param}': expected {expected}, but got {found} instead.");
    openai(400, &message, Some(param), Some("invalid_type"))
}

/// An error of Anthropic's.
pub(super) fn anthropic(status: u16, kind: &str, message: &str) -> Refusal {
    Refusal { status, body: json!({"type": "error", "error": {"type": kind, "message": message}}) }
}

/// Anthropic's word for a request that is wrong.
pub(super) fn wrong(message: impl AsRef<str>) -> Refusal {
    anthropic(400, "invalid_request_error", message.as_ref())
}

/// The error that goes with a name: a code of `OpenAI`'s, or a type of Anthropic's. Any name makes an error.
pub(super) fn named(api: Api, name: &str) -> Refusal {
    match api {
        Api::Messages => {
            let table = [
                ("invalid_request_error", 400, "invalid request"),
                ("authentication_error", 401, "invalid x-api-key"),
                ("billing_error", 402, "There is a problem with your billing or payment information."),
                ("permission_error", 403, "Your API key does not have permission to use the specified resource."),
                ("not_found_error", 404, "Not found"),
                ("conflict_error", 409, "The request conflicts with the state of the resource."),
                ("request_too_large", 413, "Request exceeds the maximum size"),
                ("rate_limit_error", 429, "This request would exceed your organization's rate limit"),
                ("api_error", 500, "Internal server error"),
                ("timeout_error", 504, "The request timed out"),
                ("overloaded_error", 529, "Overloaded"),
            ];
            let (status, message) =
                table.iter().find(|(known, ..)| *known == name).map_or((500, "Internal server error"), |row| (row.1, row.2));
            anthropic(status, name, message)
        }
        Api::Chat | Api::Responses => {
            let money = "You exceeded your current quota, please check your plan and billing details.";
            let table = [
                ("rate_limit_exceeded", 429, "tokens", "Rate limit reached for the model on tokens per min (TPM)."),
                ("slow_down", 429, "server_error", "Your request rate rose too fast. Slow down and try again."),
                ("insufficient_quota", 429, "insufficient_quota", money),
                ("credit_balance_exhausted", 429, "insufficient_quota", "Your credit balance is exhausted."),
                ("organization_spend_limit_exceeded", 429, "insufficient_quota", "Your organization reached its spend limit."),
                ("project_spend_limit_exceeded", 429, "insufficient_quota", "Your project reached its spend limit."),
                ("organization_usage_limit_exceeded", 429, "insufficient_quota", "Your organization reached its usage limit."),
                ("invalid_prompt", 400, "invalid_request_error", "Your prompt was flagged; try again with another prompt."),
                ("overloaded", 503, "server_error", "The engine is currently overloaded, please try again later."),
            ];
            let usual = (500, "server_error", "The server had an error while processing your request. Sorry about that!");
            let (status, kind, message) = table.iter().find(|row| row.0 == name).map_or(usual, |row| (row.1, row.2, row.3));
            Refusal { status, body: openai_body(kind, message, None, Some(name)) }
        }
    }
}
