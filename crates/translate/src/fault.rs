//! What it means when a backend says no, and what to do next. The status alone does not tell: an account without money answers
//! with the same status as one that is asked too often.

use crate::Api;
use crate::field::text;
use serde_json::Value;

/// A target that is asked too often rests so long where it does not say how long, in seconds.
const REST: u32 = 10;
/// And never longer than this.
const REST_MAX: u32 = 3_600;
/// More of a body is not looked at.
const BODY_MAX: usize = 1024 * 1024;

/// Codes and types that mean money: waiting never helps.
const MONEY: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
];
/// Words in messages that mean the same.
const MONEY_WORDS: &[&str] =
    &["credit balance is too low", "spend limit", "spending limit", "usage limits", "exceeded your current quota"];
/// How sentences about money begin.
const MONEY_SENTENCES: &[&str] =
    &["your credit balance", "you have reached your", "you exceeded your current quota", "this request would exceed your"];
/// Words in messages about conversations that are too long.
const LONG_WORDS: &[&str] = &[
    "prompt is too long",
    "maximum context length",
    "context window",
    "exceed context limit",
    "maximum model length",
    "max_model_len",
    "longer than the maximum",
];

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// The same target once more, then the next.
    Retry,
    /// The next target at once; this one rests for a moment.
    Next,
    /// It is asked too often: this target rests for so many seconds.
    Cool(u32),
    /// Money or key: off until a person acts.
    Off,
    /// The next target: the configuration of this one is wrong.
    Elsewhere,
    /// The conversation is too long: only a target with a larger context.
    Context,
    /// The request itself is wrong: the answer is passed on, and no other target is asked.
    Refused,
}

/// What a refusal means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What to do.
    pub class: Class,
    /// Short, such as `429 insufficient_quota`.
    pub reason: String,
}

/// Judges an answer that says no. The body may be anything.
#[must_use]
pub fn of(_api: Api, status: u16, retry_after: Option<&str>, body: &[u8]) -> Fault {
    let said: Value = body.get(..BODY_MAX.min(body.len())).and_then(|b| serde_json::from_slice(b).ok()).unwrap_or_default();
    judge(Some(status), retry_after, &Said::of(&said))
}

/// Judges an error that came as an event of a stream.
#[must_use]
pub fn of_event(_api: Api, event: &Value) -> Fault {
    let said = Said::of(event);
    judge(said.status, None, &said)
}

/// The message of an error in any of the known shapes.
pub(crate) fn message(said: &Value) -> String {
    Said::of(said).message.to_owned()
}

/// What an error says of itself.
struct Said<'a> {
    kind: &'a str,
    code: &'a str,
    message: &'a str,
    /// Some write the status where others write the code.
    status: Option<u16>,
}

impl<'a> Said<'a> {
    fn of(said: &'a Value) -> Self {
        let error = [&said["error"], &said["response"]["error"]].into_iter().find(|e| !e.is_null()).unwrap_or(said);
        let kind = text(error, "type");
        let status = ["code", "status"].iter().filter_map(|name| error.get(*name)).find_map(Value::as_u64);
        Self {
            kind: if kind == "error" { "" } else { kind },
            code: text(error, "code"),
            message: error.as_str().unwrap_or_else(|| text(error, "message")),
            status: status.and_then(|s| u16::try_from(s).ok()).filter(|s| (400..600).contains(s)),
        }
    }

    fn begins(&self, sentences: &[&str]) -> bool {
        let start: String = self.message.chars().take(60).collect::<String>().to_lowercase();
        sentences.iter().any(|sentence| start.starts_with(sentence))
    }

    fn is(&self, words: &[&str]) -> bool {
        words.contains(&self.code) || words.contains(&self.kind)
    }

    fn tells(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    fn name(&self) -> String {
        let name = if self.code.is_empty() { self.kind } else { self.code };
        name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')).take(60).collect()
    }
}

fn judge(status: Option<u16>, retry_after: Option<&str>, said: &Said<'_>) -> Fault {
    let wait = retry_after.and_then(seconds);
    let class = by_words(status, wait, said).unwrap_or_else(|| by_status(status, wait));
    let name = said.name();
    let reason = match (status, name.is_empty()) {
        (Some(status), true) => status.to_string(),
        (Some(status), false) => format!("{status} {name}"),
        (None, true) => "error in the stream".to_owned(),
        (None, false) => name,
    };
    Fault { class, reason }
}

/// What the error's own words decide, whatever its status.
fn by_words(status: Option<u16>, wait: Option<u32>, said: &Said<'_>) -> Option<Class> {
    let is_client = status.is_none_or(|s| (400..500).contains(&s));
    // A refusal of the request may repeat what stands in the request: of money only a sentence of the provider's own tells.
    let tells = if status == Some(400) { said.begins(MONEY_SENTENCES) } else { said.tells(MONEY_WORDS) };
    if is_client && (said.is(MONEY) || tells) {
        return Some(Class::Off);
    }
    let is_long = said.is(&["context_length_exceeded"]) || (said.tells(LONG_WORDS) && !matches!(status, Some(401..=404 | 429)));
    if is_client && is_long {
        return Some(Class::Context);
    }
    if said.is(&["overloaded_error", "overloaded"]) {
        return Some(Class::Next);
    }
    if said.is(&["slow_down", "rate_limit_error", "rate_limit_exceeded"]) {
        return Some(Class::Cool(wait.unwrap_or(REST)));
    }
    if status.is_some() {
        return None;
    }
    match () {
        () if said.is(&["authentication_error", "invalid_api_key"]) => Some(Class::Off),
        () if said.is(&["permission_error", "not_found_error", "model_not_found"]) => Some(Class::Elsewhere),
        () if said.is(&["invalid_request_error", "invalid_prompt", "request_too_large", "BadRequestError"]) => {
            Some(Class::Refused)
        }
        () if said.is(&["api_error", "server_error", "InternalServerError"]) => Some(Class::Retry),
        () => None,
    }
}

fn by_status(status: Option<u16>, wait: Option<u32>) -> Class {
    match status.unwrap_or(502) {
        401 | 402 => Class::Off,
        403 | 404 | 405 | 501 | 0..=399 => Class::Elsewhere,
        408 | 409 | 425 | 500 => Class::Retry,
        429 => Class::Cool(wait.unwrap_or(REST)),
        503 => wait.map_or(Class::Next, Class::Cool),
        400..=499 => Class::Refused,
        502 | 504.. => Class::Next,
    }
}

/// Seconds of a `retry-after`. A date needs a clock, and means the usual rest.
fn seconds(header: &str) -> Option<u32> {
    let header = header.trim();
    let (whole, rest) = header.split_once('.').unwrap_or((header, ""));
    let more = u32::from(rest.bytes().any(|b| b != b'0'));
    let is_number = !whole.is_empty() && header.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_number.then(|| whole.parse::<u32>().unwrap_or(REST_MAX).saturating_add(more).clamp(1, REST_MAX))
}
