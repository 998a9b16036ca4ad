//! Answers for clients that speak Anthropic's language, made of those in OpenAI's words.

use crate::body::{Answer, Broken};
use crate::errors::Refusal;
use bytes::Bytes;
use charter_translate::{Names, Stream, from_messages};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use serde_json::Value;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The largest answer that is put into other words.
const ANSWER_MAX: usize = 32 * 1024 * 1024;

/// A stream that is put into Anthropic's words as it comes.
pub(crate) struct Turned {
    inner: Answer,
    stream: Stream,
    over: bool,
}

impl Turned {
    /// The next part.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            let out = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => self.stream.take(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.over = true;
                    self.stream.end()
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out.into())));
            }
        }
    }
}

/// Turns an answer.
pub(crate) async fn turned(answer: Response<Answer>, names: Names) -> Result<Response<Answer>, Refusal> {
    let (mut head, body) = answer.into_parts();
    let events = head.headers.get(header::CONTENT_TYPE).is_some_and(|k| k.as_bytes().starts_with(b"text/event-stream"));
    head.headers.remove(header::CONTENT_LENGTH);
    if events {
        let stream = Stream::to_messages(names);
        return Ok(Response::from_parts(head, Answer::Turned(Box::new(Turned { inner: body, stream, over: false }))));
    }
    let whole = http_body_util::Limited::new(body, ANSWER_MAX).collect().await.map_err(|_| Refusal::BrokeOff)?.to_bytes();
    let said: Value = serde_json::from_slice(&whole).map_err(|_| Refusal::BrokeOff)?;
    let text = from_messages::answer(&said, &names).to_string();
    Ok(Response::from_parts(head, Answer::Whole(Full::new(text.into()))))
}

/// A refusal as Anthropic's clients understand it.
pub(crate) fn in_their_shape(refusal: &Refusal, id: &HeaderValue) -> Response<Answer> {
    let plain = refusal.response();
    // A backend of their own language has said it in their words already.
    let own = matches!(refusal, Refusal::Upstream(no) if no.body.windows(15).any(|w| w == b"\"type\":\"error\"," || w == b"\"type\": \"error\""));
    if own {
        return plain.map(Answer::Whole);
    }
    let (status, mut body) = from_messages::error(plain.status().as_u16(), &refusal.body());
    if let (Some(fields), Ok(id)) = (body.as_object_mut(), id.to_str()) {
        fields.insert("request_id".to_owned(), id.into());
    }
    let (head, _) = plain.into_parts();
    let mut response = Response::from_parts(head, Answer::Whole(Full::new(body.to_string().into())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response
}
