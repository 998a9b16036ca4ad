//! Failures on their way out.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use charter_api::problem::Problem;

/// A problem as a response.
pub(crate) struct Failed(pub(crate) Problem);

/// What a handler returns.
pub(crate) type Answer<T> = Result<T, Failed>;

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], self.0.to_http().to_string()).into_response()
    }
}

impl From<charter_store::Error> for Failed {
    fn from(error: charter_store::Error) -> Self {
        tracing::error!(%error, "the database failed a request");
        Self(
            Problem::new(500, "D0001", "the database failed", "look at the server's log; is the disk full?")
                .with_detail(error.to_string()),
        )
    }
}

/// A problem in one call.
pub(crate) fn failed(status: u16, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Failed {
    Failed(Problem::new(status, code, message, hint))
}

/// Nothing of that name, or not yours.
pub(crate) fn unknown(what: &str, name: &str) -> Failed {
    let command = if what == "deployment" { "charter status".to_owned() } else { format!("charter {what} list") };
    failed(404, "A0404", format!("there is no {what} `{name}`"), format!("`{command}` lists what is there"))
}
