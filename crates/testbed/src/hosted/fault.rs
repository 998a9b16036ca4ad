//! How hosted APIs fail, as a table: every way that is known of both, with the bodies and headers that go with it.

use super::Api;
use super::errors::{anthropic, named, openai, openai_body};
use serde_json::Value;

/// One way in which an answer fails.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A status, a body, and headers beside the usual ones.
    Status(u16, Value, Vec<(String, String)>),
    /// A row of [`faults`], by its name.
    Table(&'static str),
    /// The connection ends before anything was said.
    DropBeforeHead,
    /// The connection ends after the head of an answer with status 200.
    DropAfterHead,
    /// A head with status 200, and then nothing for as long as the client waits.
    StallAfterHead,
    /// A stream whose first event is this error: a code of `OpenAI`'s or a type of Anthropic's. Without a stream the error has
    /// its own status, and so it is with the other errors of streams.
    ErrorInFirstEvent(&'static str),
    /// A stream that has told some content when it comes to this error.
    ErrorMidStream(&'static str),
    /// A stream that has told some content, and is over without having ended. An answer at once breaks off in the middle.
    CutMidStream,
    /// Status 200 and no byte of content.
    EmptyStream,
    /// Status 200 and a page in HTML.
    Garbage,
    /// A stream that has told who speaks when it comes to an error that waiting helps against.
    RoleThenError,
}

/// Every row of the table, by a name such as `openai 429 insufficient_quota`.
#[must_use]
pub fn faults() -> Vec<(&'static str, Fault)> {
    let mut rows = refused();
    rows.extend(money());
    rows.extend(later());
    rows.extend([
        ("openai stream rate_limit_exceeded", Fault::ErrorInFirstEvent("rate_limit_exceeded")),
        ("openai stream server_error", Fault::ErrorInFirstEvent("server_error")),
        ("openai stream insufficient_quota", Fault::ErrorInFirstEvent("insufficient_quota")),
        ("openai stream invalid_prompt", Fault::ErrorInFirstEvent("invalid_prompt")),
        ("openai mid-stream server_error", Fault::ErrorMidStream("server_error")),
        ("anthropic stream overloaded_error", Fault::ErrorInFirstEvent("overloaded_error")),
        ("anthropic stream api_error", Fault::ErrorInFirstEvent("api_error")),
        ("anthropic stream rate_limit_error", Fault::ErrorInFirstEvent("rate_limit_error")),
        ("anthropic mid-stream overloaded_error", Fault::ErrorMidStream("overloaded_error")),
    ]);
    rows
}

/// A row of the table.
pub(super) fn row(name: &str) -> Option<Fault> {
    faults().into_iter().find(|(known, _)| *known == name).map(|(_, fault)| fault)
}

fn with(status: u16, body: Value, headers: &[(&str, &str)]) -> Fault {
    Fault::Status(status, body, headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// What an API says by this name, with these headers.
fn usual(api: Api, name: &str, headers: &[(&str, &str)]) -> Fault {
    let refusal = named(api, name);
    with(refusal.status, refusal.body, headers)
}

/// What the request or the account is refused for.
fn refused() -> Vec<(&'static str, Fault)> {
    let said = |status, message: &str, param: Option<&str>, code: Option<&str>| {
        with(status, openai(status, message, param, code).body, &[])
    };
    let told = |status, kind: &str, message: &str| with(status, anthropic(status, kind, message).body, &[]);
    let long = "This model's maximum context length is 128000 tokens. However, your messages resulted in 150000 tokens. Please \
                reduce the length of the messages.";
    let key = "Incorrect API key provided: sk-test. You can find your API key at https://platform.openai.com/account/api-keys.";
    let model = "The model `gpt-4o` does not exist or you do not have access to it.";
    let place = "Country, region, or territory not supported";
    vec![
        ("openai 400 context_length_exceeded", said(400, long, Some("messages"), Some("context_length_exceeded"))),
        (
            "openai 400 unsupported_parameter",
            said(
                400,
                "Unsupported parameter: 'seed' is not supported with this model.",
                Some("seed"),
                Some("unsupported_parameter"),
            ),
        ),
        ("openai 400 invalid_request_error", said(400, "Invalid value for 'messages'.", Some("messages"), None)),
        ("openai 401 invalid_api_key", said(401, key, None, Some("invalid_api_key"))),
        (
            "openai 403 unsupported_country_region_territory",
            with(403, openai_body("request_forbidden", place, None, Some("unsupported_country_region_territory")), &[]),
        ),
        ("openai 403 permission", said(403, "You are not allowed to sample from this model", None, None)),
        ("openai 404 model_not_found", said(404, model, None, Some("model_not_found"))),
        ("openai 408 timeout", with(408, openai_body("timeout", "Request timed out.", None, Some("timeout")), &[])),
        ("openai 409 conflict", said(409, "The resource was changed by another request.", None, None)),
        ("openai 413 too large", said(413, "Request body is too large.", None, None)),
        ("openai 422 unprocessable", said(422, "The request could not be processed.", None, None)),
        ("anthropic 400 context", told(400, "invalid_request_error", "prompt is too long: 215000 tokens > 200000 maximum")),
        (
            "anthropic 400 spend limit",
            told(
                400,
                "invalid_request_error",
                "You have reached your specified workspace API usage limits. You will regain access on 2026-12-01.",
            ),
        ),
        (
            "anthropic 400 credit",
            told(
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
            ),
        ),
        ("anthropic 400 invalid_request_error", told(400, "invalid_request_error", "messages.0.content: Field required")),
        ("anthropic 401 authentication_error", usual(Api::Messages, "authentication_error", &[])),
        ("anthropic 402 billing_error", usual(Api::Messages, "billing_error", &[])),
        ("anthropic 403 permission_error", usual(Api::Messages, "permission_error", &[])),
        ("anthropic 404 not_found_error", told(404, "not_found_error", "model: claude-haiku-5-5")),
        ("anthropic 409 conflict_error", usual(Api::Messages, "conflict_error", &[])),
        ("anthropic 413 request_too_large", usual(Api::Messages, "request_too_large", &[])),
        ("anthropic 422 unprocessable", told(422, "invalid_request_error", "The request could not be processed.")),
    ]
}

/// Accounts without money: they answer with the status of those that are asked too often, and waiting never helps.
fn money() -> Vec<(&'static str, Fault)> {
    let quota = |code| usual(Api::Chat, code, &[]);
    vec![
        ("openai 429 insufficient_quota", quota("insufficient_quota")),
        ("openai 429 credit_balance_exhausted", quota("credit_balance_exhausted")),
        ("openai 429 organization_spend_limit_exceeded", quota("organization_spend_limit_exceeded")),
        ("openai 429 project_spend_limit_exceeded", quota("project_spend_limit_exceeded")),
        ("openai 429 organization_usage_limit_exceeded", quota("organization_usage_limit_exceeded")),
        (
            "anthropic 429 spend limit",
            with(429, anthropic(429, "rate_limit_error", "Your organization has reached its monthly spend limit.").body, &[]),
        ),
    ]
}

/// What may pass.
fn later() -> Vec<(&'static str, Fault)> {
    let none_left = [
        ("retry-after", "7"),
        ("retry-after-ms", "6500"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "6.5s"),
    ];
    let ramp = "Number of requests has exceeded your acceleration limit. Please ramp up usage more slowly.";
    vec![
        ("openai 429 rate_limit_exceeded", usual(Api::Chat, "rate_limit_exceeded", &none_left)),
        ("openai 429 slow_down", usual(Api::Chat, "slow_down", &[("retry-after", "3")])),
        ("openai 500 server_error", usual(Api::Chat, "server_error", &[])),
        ("openai 503 overloaded", usual(Api::Chat, "overloaded", &[])),
        ("openai 503 slow_down", with(503, named(Api::Chat, "slow_down").body, &[])),
        (
            "anthropic 429 rate_limit_error",
            usual(Api::Messages, "rate_limit_error", &[("retry-after", "7"), ("anthropic-ratelimit-requests-remaining", "0")]),
        ),
        ("anthropic 429 acceleration", with(429, anthropic(429, "rate_limit_error", ramp).body, &[("retry-after", "3")])),
        ("anthropic 500 api_error", usual(Api::Messages, "api_error", &[])),
        ("anthropic 504 timeout_error", usual(Api::Messages, "timeout_error", &[])),
        ("anthropic 529 overloaded_error", usual(Api::Messages, "overloaded_error", &[("x-should-retry", "true")])),
    ]
}
