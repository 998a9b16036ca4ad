//! Failures on their way out.

use crate::router::BODY_MAX;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
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
        if matches!(error, charter_store::Error::Conflict) {
            let message = "somebody else changed it at the same time";
            return Self(Problem::new(409, "A0416", message, "look at it with `charter status`, and try again"));
        }
        Self(
            Problem::new(500, "D0001", "the database failed", "look at the server's log; is the disk full?")
                .with_detail(error.to_string()),
        )
    }
}

/// What stands behind the question mark.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failed> {
        let text = parts.uri.query().unwrap_or_default();
        serde_urlencoded::from_str(text).map(Self).map_err(|e| {
            failed(
                422,
                "A0422",
                "what stands behind the question mark cannot be used",
                "the description of the API names what may stand there",
            )
            .detail(e.to_string())
        })
    }
}

/// What stands in the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failed> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                let problem = Problem::new(404, "A0404", "there is nothing of that name", "names are text in UTF-8");
                Err(Failed(problem.with_detail(rejection.body_text())))
            }
        }
    }
}

/// A body that must be JSON of one shape; anything else is told as every other failure is.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failed> {
        let hint = "send `content-type: application/json` and the fields that the API names";
        let wrong = |status: u16, detail: String| {
            Failed(Problem::new(status, "A0422", "the body of the request cannot be used", hint).with_detail(detail))
        };
        // What is too large is refused before any of it is sent.
        let most = request.extensions().get::<Most>().map_or(BODY_MAX, |most| most.0);
        if announced(request.headers()) > most as u64 {
            return Err(wrong(413, format!("it is larger than {most} bytes")));
        }
        let read = axum::Json::<Box<serde_json::value::RawValue>>::from_request(request, state).await;
        let axum::Json(raw) = read.map_err(|rejection| wrong(rejection.status().as_u16(), rejection.body_text()))?;
        // A list would be taken for the fields in their order, by us alone.
        if !raw.get().starts_with('{') {
            return Err(wrong(422, "an object is expected".to_owned()));
        }
        serde_json::from_str(raw.get()).map(Self).map_err(|e| wrong(422, e.to_string()))
    }
}

/// How large a body of this path may be, where that is not as usual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most(pub(crate) usize);

/// How large a body says that it will be.
pub(crate) fn announced(headers: &HeaderMap) -> u64 {
    headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(0)
}

impl Failed {
    /// With what exactly happened.
    pub(crate) fn detail(self, text: String) -> Self {
        Self(self.0.with_detail(text))
    }
}

/// Is it a name that people can read and tell from others: not too long, and without characters that move or hide what follows?
pub(crate) fn is_readable(name: &str, most: usize) -> bool {
    let hides = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    !name.trim().is_empty() && name.chars().count() <= most && !name.chars().any(hides)
}

/// A problem in one call.
pub(crate) fn failed(status: u16, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Failed {
    Failed(Problem::new(status, code, message, hint))
}

/// Nothing of that name, or not yours.
pub(crate) fn unknown(what: &str, name: &str) -> Failed {
    let lists = match what {
        "deployment" => "`charter status` lists".to_owned(),
        "backup" => "`GET /api/v1/backups` lists".to_owned(),
        "machine" => "`charter sweep` lists".to_owned(),
        "profile" => "the server's file has".to_owned(),
        _ => format!("`charter {what} list` lists"),
    };
    failed(404, "A0404", format!("there is no {what} `{name}`"), format!("{lists} what is there"))
}
