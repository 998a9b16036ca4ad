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
    /// Its answer has begun, and did not go on, or end, in the time that the route gives it.
    Stalled,
    /// Too much in a minute or at the same time: what, and after how many seconds it may be tried again.
    RateLimited(&'static str, u32),
    /// A limit on the key's money leaves nothing.
    Quota,
    /// It cannot be known at present whether a limit leaves something.
    Unsure,
    /// The headers are larger than they may be.
    HeadersTooLarge,
    /// The backend broke off in the middle of its answer.
    BrokeOff,
    /// A field that cannot be meant.
    Wrong {
        param: &'static str,
        message: String,
    },
    /// None of those that could answer can call tools.
    NoTools(String),
    /// A hosted provider's money is used up.
    HostedQuota(String),
    /// A backend's own answer, which says no.
    Upstream(Box<No>),
    /// The backend answered with this status, when the head of a stream was out already.
    Answered(u16),
}

/// What a backend answered instead of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct No {
    /// In OpenAI's shape, or as it came where that is the client's own.
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) kind: Option<HeaderValue>,
    pub(crate) retry_after: Option<HeaderValue>,
    /// Which backend.
    pub(crate) backend: String,
    /// In short.
    pub(crate) reason: String,
    /// Another one would say the same.
    pub(crate) is_final: bool,
    /// The same one may say something else.
    pub(crate) again: bool,
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
            Self::Unreachable(_) | Self::BrokeOff | Self::Answered(_) | Self::Upstream(_) => "upstream_unreachable",
            Self::Wrong { .. } => "invalid_value",
            Self::NoTools(_) => "tools_not_supported",
            Self::Loading(_) => "model_loading",
            Self::NoBackend(_) => "no_backend",
            Self::Timeout | Self::Stalled => "upstream_timeout",
            Self::RateLimited(..) => "rate_limit_exceeded",
            Self::Quota | Self::HostedQuota(_) => "insufficient_quota",
            Self::Unsure => "quota_unknown",
            Self::HeadersTooLarge => "headers_too_large",
        }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::InvalidJson(_) | Self::MissingModel | Self::Wrong { .. } | Self::NoTools(_) => StatusCode::BAD_REQUEST,
            Self::Upstream(no) => no.status,
            Self::InvalidKey => StatusCode::UNAUTHORIZED,
            Self::RouteNotAllowed(_) => StatusCode::FORBIDDEN,
            Self::ModelNotFound(_) | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QueueFull | Self::RateLimited(..) | Self::Quota | Self::HostedQuota(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Unreachable(_) | Self::BrokeOff | Self::Answered(_) => StatusCode::BAD_GATEWAY,
            Self::Loading(_) | Self::NoBackend(_) | Self::Unsure => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout | Self::Stalled => StatusCode::GATEWAY_TIMEOUT,
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
            Self::QueueFull | Self::NoBackend(_) | Self::Unsure => Some(2),
            Self::Loading(_) => Some(10),
            Self::RateLimited(_, seconds) => Some(*seconds),
            _ => None,
        }
    }

    /// The same in words alone.
    pub(crate) fn text(&self) -> String {
        self.message()
    }

    /// As the last event of a stream whose head is out.
    pub(crate) fn event(&self) -> Bytes {
        // Behind half an event it begins a line of its own.
        format!("\n\ndata: {}\n\n", self.body()).into()
    }

    /// In short, for the next one in a chain.
    pub(crate) fn reason(&self) -> String {
        if let Self::Upstream(no) = self {
            return no.reason.clone();
        }
        self.code().to_owned()
    }

    /// The last event of a stream for a client of Anthropic's language.
    pub(crate) fn event_of_messages(&self) -> Bytes {
        let (_, body) = charter_translate::from_messages::error(self.status().as_u16(), &self.body());
        format!("\n\nevent: error\ndata: {body}\n\n").into()
    }

    /// In OpenAI's shape.
    pub(crate) fn body(&self) -> serde_json::Value {
        if let Self::Upstream(no) = self
            && let Ok(said) = serde_json::from_slice(&no.body)
        {
            return said;
        }
        let param = if let Self::Wrong { param, .. } = self {
            Some(*param)
        } else if matches!(self, Self::NoTools(_)) {
            Some("tools")
        } else {
            matches!(self, Self::MissingModel | Self::ModelNotFound(_)).then_some("model")
        };
        serde_json::json!({"error": {
            "message": self.message(), "type": self.kind(), "param": param, "code": self.code(),
        }})
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
            Self::Stalled => "the backend began to answer, and did not go on, or come to an end, in time".to_owned(),
            Self::RateLimited(what, seconds) => format!("this key's limit of {what} is reached: try again in {seconds} s"),
            Self::Quota => "this key's limit on money is reached: whoever made the key can raise it".to_owned(),
            Self::Unsure => "whether this key's limit on money leaves something cannot be known at present".to_owned(),
            Self::Wrong { message, .. } => message.clone(),
            Self::NoTools(name) => format!("none of the models behind `{name}` can call tools"),
            Self::HostedQuota(name) => {
                format!("the limit on what may be spent at `{name}` is reached: whoever runs charter can raise it")
            }
            Self::Upstream(no) => format!("backend `{}` answered {}", no.backend, no.reason),
            Self::HeadersTooLarge => "the headers are larger than 32 KiB".to_owned(),
            Self::BrokeOff => "the backend broke off in the middle of its answer".to_owned(),
            Self::Answered(status) => format!("the backend answered with status {status}"),
        }
    }

    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        if let Self::Upstream(no) = self {
            let mut response = Response::new(Full::new(no.body.clone()));
            *response.status_mut() = no.status;
            let kind = no.kind.clone().unwrap_or_else(|| HeaderValue::from_static("application/json"));
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            if let Some(after) = &no.retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, after.clone());
            }
            return response;
        }
        let mut response = Response::new(Full::new(Bytes::from(self.body().to_string())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self, Self::Quota | Self::HostedQuota(_)) {
            // OpenAI's clients try again after every 429 that does not say this.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if matches!(self, Self::InvalidKey) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
