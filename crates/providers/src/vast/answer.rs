//! Answers as they really come: errors under many statuses and shapes, and successes that are none.
//!
//! A wrong key is a 404, a gone offer is a 400, an overloaded edge answers in HTML, and a 200 may say `success: false`. The
//! text decides before the status does.

use super::row::Row;
use crate::port::{Kind, ProviderError};
use charter_domain::time::Span;
use serde_json::Value;

/// An answer of the API.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Seconds to wait, from the header or the body.
    pub(crate) retry_after_s: Option<i64>,
    pub(crate) body: Vec<u8>,
}

/// So long is waited where a 429 does not say how long.
const RATE_PAUSE_S: i64 = 5;
/// Longest wait that is believed.
const RATE_PAUSE_MAX_S: i64 = 60;

fn error(kind: Kind, message: impl Into<String>) -> ProviderError {
    ProviderError { kind, message: message.into() }
}

impl Answer {
    /// The body as JSON, if it is some.
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok().or_else(|| serde_json::from_str(&without_odd_numbers(&self.body)?).ok())
    }

    /// The JSON of a success.
    pub(crate) fn read(&self) -> Result<Value, ProviderError> {
        let json = self.json();
        let said = json.as_ref().map(words).unwrap_or_default();
        let failed = json.as_ref().is_some_and(|j| j.get("success") == Some(&Value::Bool(false)));
        match (self.status, json) {
            (200..=299, Some(json)) if !failed => Ok(json),
            (200..=299, None) => Err(error(Kind::Transient, "the answer is no JSON")),
            (status, json) => Err(self.failure(status, &said, json.as_ref())),
        }
    }

    fn failure(&self, status: u16, said: &str, json: Option<&Value>) -> ProviderError {
        let is_json = json.is_some();
        let low = said.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|w| low.contains(w));
        let told = |kind, what: &str| {
            error(kind, if said.is_empty() { format!("{what} (status {status})") } else { format!("{what}: {said}") })
        };
        if has(&["no_such_ask"]) {
            return told(Kind::NoCapacity, "the offer is gone");
        }
        if status == 429 || has(&["too frequent", "rate_limit_exceeded", "too many requests", "search_quota_exceeded"]) {
            let wait = self.retry_after_s.unwrap_or(RATE_PAUSE_S).clamp(1, RATE_PAUSE_MAX_S);
            return told(Kind::RateLimited(Span::s(wait)), "asked too often");
        }
        if has(&["insufficient_credit", "insufficient credit", "spend_rate_limit", "insufficient funds"]) {
            return told(Kind::Funds, "the account has no credit; add some, or use another key");
        }
        if has(&["auth_error", "two factor", "session expired", "authorization error", "requires login"]) {
            return told(Kind::Auth, "the API key is refused; check `VASTAI_API_KEY`, or where `api-key` leads");
        }
        if has(&["deprecated_endpoint"]) {
            return told(Kind::Invalid, "this part of the API is not served any more; a newer charter is needed");
        }
        // A 404 alone may come from anything in between: only the service's own word says that something is gone.
        let word = json.and_then(|j| j.get("error")).and_then(Value::as_str).unwrap_or_default();
        if (200..500).contains(&status) && matches!(word, "no_such_instance" | "not_found") {
            return told(Kind::NotFound, "it is not there");
        }
        if has(&["resources_unavailable", "currently unavailable"]) {
            return told(Kind::NoCapacity, "the machine is taken");
        }
        match status {
            300..=399 => told(Kind::Invalid, "the answer leads to another address, and is not followed; check `base-url`"),
            401 => told(Kind::Auth, "the API key is refused; check `VASTAI_API_KEY`, or where `api-key` leads"),
            403 if is_json => told(Kind::Auth, "the API key does not allow it"),
            400 | 402 | 405..=407 | 409..=424 | 426..=499 if is_json => told(Kind::Invalid, "the request was refused"),
            200..=299 => told(Kind::Invalid, "it was not done"),
            _ => told(Kind::Transient, "the service fails"),
        }
    }

    /// What became of an order: a contract, a refusal that left nothing, or nothing that could be known.
    pub(crate) fn ordered(&self) -> Result<u64, Ordered> {
        let json = self.json();
        // A pending bid answers `success: false` with a contract, which exists and costs money.
        if let Some(contract) = json.as_ref().and_then(|j| Row(j).whole("new_contract")).filter(|id| *id > 0) {
            return Ok(contract);
        }
        let failed = match self.read() {
            Ok(_) => return Err(Ordered::Unknown(error(Kind::Transient, "the answer to the order names no contract"))),
            Err(failed) => failed,
        };
        let refused = match self.status {
            // It said no in words of its own.
            200..=299 => json.is_some() && failed.kind != Kind::Transient,
            // A timeout that something in between told, and whatever else is not the service's own no, leaves it open.
            400..=404 | 409 | 410 | 422 | 483 => json.is_some() && failed.kind != Kind::Transient,
            // The edge turns away before anything is begun.
            429 => true,
            _ => false,
        };
        Err(if refused { Ordered::Refused(failed) } else { Ordered::Unknown(failed) })
    }
}

/// Python writes numbers that JSON does not have: `NaN` and the infinities. One of them must not cost a whole answer; where
/// it stood, nothing stands. `None` where there is none.
fn without_odd_numbers(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut out, mut rest, mut found) = (String::with_capacity(text.len()), text, false);
    let (mut in_text, mut escaped) = (false, false);
    loop {
        let after = ["NaN", "-Infinity", "Infinity"].iter().find_map(|word| rest.strip_prefix(word).filter(|_| !in_text));
        if let Some(after) = after {
            out.push_str("null");
            (rest, found) = (after, true);
            continue;
        }
        let mut chars = rest.chars();
        let Some(c) = chars.next() else { break };
        out.push(c);
        rest = chars.as_str();
        (in_text, escaped) = match c {
            '"' if !escaped => (!in_text, false),
            '\\' => (in_text, in_text && !escaped),
            _ => (in_text, false),
        };
    }
    found.then_some(out)
}

/// Why an order brought no contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ordered {
    Refused(ProviderError),
    Unknown(ProviderError),
}

/// All that an error's body says, in the keys that have been seen.
fn words(json: &Value) -> String {
    let mut all: Vec<String> = vec![];
    for key in ["error", "msg", "message", "detail", "err"] {
        if let Some(text) = json.get(key).and_then(Value::as_str) {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            if !all.iter().any(|t| t.contains(&text)) {
                all.push(text);
            }
        }
    }
    all.join(", ").chars().take(300).collect()
}

/// Seconds to wait, wherever an answer says it.
pub(crate) fn retry_after(header: Option<&str>, body: &[u8]) -> Option<i64> {
    let header = header.and_then(|h| h.trim().parse().ok());
    let json = || serde_json::from_slice::<Value>(body).ok()?.get("retry_after").and_then(Value::as_i64);
    header.or_else(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after_s: retry_after(None, body.as_bytes()), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_absent_and_cost_nothing_else() {
        let body =
            r#"{"offers": [{"id": 1, "dlperf": NaN, "x": -Infinity, "y": [Infinity], "note": "NaN \"NaN\" \\"}, {"id": 2}]}"#;
        let read = answer(200, body).read().expect("an answer");
        let note = "NaN \"NaN\" \\";
        assert_eq!(
            read,
            serde_json::json!({"offers": [{"id": 1, "dlperf": null, "x": null, "y": [null], "note": note}, {"id": 2}]})
        );
        assert!(answer(200, "NaN, a page of a proxy").read().is_err());
    }

    #[test]
    fn words_hold_nothing_that_a_terminal_would_act_on() {
        let failed = answer(401, r#"{"error":"auth_error","msg":"bad\u001b[31m key\u0007"}"#).read().expect_err("refused");
        assert!(!failed.message.chars().any(char::is_control) && failed.message.contains("bad[31m key"), "{failed:?}");
    }

    #[test]
    fn every_shape_that_was_seen_has_its_kind() {
        let limited = |s| Kind::RateLimited(Span::s(s));
        let cases: Vec<(u16, &str, Kind)> = vec![
            (404, r#"{"success":false,"error":"auth_error","msg":"Invalid user key"}"#, Kind::Auth),
            (
                401,
                r#"{"success":false,"error":"auth_error","msg":"Authorization Error. Your key lacks the api.x route access which is required for this action."}"#,
                Kind::Auth,
            ),
            (
                400,
                r#"{"success":false,"error":"invalid_args","msg":"error 404/3603: no_such_ask  Instance type by id 29907796 is not available.","ask_id":29907796}"#,
                Kind::NoCapacity,
            ),
            (
                410,
                r#"{"success":false,"error":"no_such_ask","msg":"error 410/3907: no_such_ask  Instance type 1 is no longer available."}"#,
                Kind::NoCapacity,
            ),
            (
                410,
                r#"{"success":false,"error":"deprecated_endpoint","msg":"/api/v0/instances/ is deprecated. Use /api/v1/instances/ instead."}"#,
                Kind::Invalid,
            ),
            (
                400,
                r#"{"success":false,"error":"bad_request","msg":"q.gpu_name: Input should be a valid dictionary"}"#,
                Kind::Invalid,
            ),
            (
                400,
                r#"{"error":"invalid_request","msg":"Error in query parameters: dph_total is not a valid search key"}"#,
                Kind::Invalid,
            ),
            (
                429,
                r#"{"message":"The action could not be performed because there were too many requests by the client.\n\nAPI requests too frequent: endpoint threshold=4.5*1.0\n\n","code":"429 Too Many Requests"}"#,
                limited(5),
            ),
            (429, r#"{"detail":"API requests too frequent endpoint threshold=2.0"}"#, limited(5)),
            (
                429,
                r#"{"success":false,"error":"rate_limit_exceeded","msg":"API requests too frequent endpoint threshold=3.0","retry_after":3}"#,
                limited(3),
            ),
            (429, "<html>slow down</html>", limited(5)),
            (403, "<html>edge</html>", Kind::Transient),
            (502, "<html>bad gateway</html>", Kind::Transient),
            (200, "", Kind::Transient),
            (
                200,
                r#"{"success":false,"error":"resources_unavailable","msg":"Required resources are currently unavailable, state change queued."}"#,
                Kind::NoCapacity,
            ),
            (200, r#"{"success":false,"error":"insufficient_credit","msg":"no credit"}"#, Kind::Funds),
            (404, r#"{"detail":"Not Found"}"#, Kind::Transient),
            (503, r#"{"error":"upstream host not found"}"#, Kind::Transient),
            (404, r#"{"success":false,"error":"no_such_instance","msg":"Instance 4200001 not found."}"#, Kind::NotFound),
            (308, "", Kind::Invalid),
        ];
        for (status, body, kind) in cases {
            assert_eq!(answer(status, body).read().expect_err(body).kind, kind, "{status} {body}");
        }
    }

    #[test]
    fn an_order_is_unknown_unless_it_was_refused_in_words() {
        assert_eq!(answer(200, r#"{"success":true,"new_contract":33402296,"instance_api_key":"k"}"#).ordered(), Ok(33_402_296));
        assert_eq!(
            answer(200, r#"{"success":false,"new_contract":44743274}"#).ordered(),
            Ok(44_743_274),
            "it exists, and costs money"
        );
        for (status, body) in [
            (502, "<html>"),
            (503, "x"),
            (200, ""),
            (200, "{\"success\":true}"),
            (504, r#"{"error":"timeout"}"#),
            (403, "<html>"),
        ] {
            assert!(matches!(answer(status, body).ordered(), Err(Ordered::Unknown(_))), "{status} {body}");
        }
        for (status, body) in [
            (400, r#"{"error":"invalid_args","msg":"no_such_ask"}"#),
            (429, "slow"),
            (200, r#"{"success":false,"error":"insufficient_credit"}"#),
        ] {
            assert!(matches!(answer(status, body).ordered(), Err(Ordered::Refused(_))), "{status} {body}");
        }
    }
}
