//! Errors in the shape that OpenAI's clients understand.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// Why a request was not answered by a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    InvalidJson(String),
    MissingModel,
    InvalidKey,
    RouteNotAllowed(String),
    ModelNotFound(String),
    NotFound(String),
    MethodNotAllowed,
    TooLarge(usize),
    QueueFull,
    Unreachable(String),
    Loading(String),
    NoBackend(String),
    Timeout,
}

impl Refusal {
    const fn code(&self) -> &'static str {
        match self {
            Self::InvalidJson(_) => "invalid_json",
            Self::MissingModel => "missing_model",
            Self::InvalidKey => "invalid_api_key",
            Self::RouteNotAllowed(_) => "route_not_allowed",
            Self::ModelNotFound(_) => "model_not_found",
            Self::NotFound(_) => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooLarge(_) => "request_too_large",
            Self::QueueFull => "queue_full",
            Self::Unreachable(_) => "upstream_unreachable",
            Self::Loading(_) => "model_loading",
            Self::NoBackend(_) => "no_backend",
            Self::Timeout => "upstream_timeout",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::InvalidJson(_) | Self::MissingModel => StatusCode::BAD_REQUEST,
            Self::InvalidKey => StatusCode::UNAUTHORIZED,
            Self::RouteNotAllowed(_) => StatusCode::FORBIDDEN,
            Self::ModelNotFound(_) | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::Unreachable(_) => StatusCode::BAD_GATEWAY,
            Self::Loading(_) | Self::NoBackend(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    const fn kind(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "api_error",
            _ => "invalid_request_error",
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "trying again helps with these alone")]
    const fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Self::QueueFull | Self::NoBackend(_) => Some(2),
            Self::Loading(_) => Some(10),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::InvalidJson(why) => format!("the body is no JSON that can be read: {why}"),
            Self::MissingModel => "`model` is missing: name one that `/v1/models` lists".to_owned(),
            Self::InvalidKey => "the API key is missing, unknown or expired: send `Authorization: Bearer chk_...`".to_owned(),
            Self::RouteNotAllowed(name) => format!("this key may not use `{name}`"),
            Self::ModelNotFound(name) => format!("no model is served as `{name}`: `/v1/models` lists those that are"),
            Self::NotFound(path) => format!("there is nothing at `{path}`"),
            Self::MethodNotAllowed => "this path takes another method".to_owned(),
            Self::TooLarge(limit) => format!("the body is larger than {} MiB", limit / 1024 / 1024),
            Self::QueueFull => "too many requests are waiting for this model".to_owned(),
            Self::Unreachable(id) => format!(
                "backend `{id}` could not be reached, broke off before it answered, or gave no answer that can be passed on"
            ),
            Self::Loading(name) => format!("`{name}` is being started"),
            Self::NoBackend(name) => format!("`{name}` has no backend at the moment"),
            Self::Timeout => "the backend did not begin to answer in time".to_owned(),
        }
    }

    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let param = matches!(self, Self::MissingModel | Self::ModelNotFound(_)).then_some("model");
        let body = serde_json::json!({"error": {
            "message": self.message(), "type": self.kind(), "param": param, "code": self.code(),
        }});
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self, Self::InvalidKey) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
