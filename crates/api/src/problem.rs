//! Failures as people and programs see them: a code, what, why, and what to do.

use serde::{Deserialize, Serialize};

/// A failure with a code whose page `charter explain` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A letter and four digits.
    pub code: String,
    /// What went wrong.
    pub message: String,
    /// Why, if more can be said.
    pub detail: String,
    /// What to do.
    pub hint: String,
    /// The HTTP status it travels under.
    #[serde(skip)]
    pub status: u16,
}

impl Problem {
    /// A problem in one call.
    #[must_use]
    pub fn new(status: u16, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), detail: String::new(), hint: hint.into(), status }
    }

    /// The same with more said.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// `application/problem+json`.
    #[must_use]
    pub fn to_http(&self) -> serde_json::Value {
        serde_json::json!({
            "type": format!("/errors/{}", self.code), "title": self.message, "status": self.status,
            "code": self.code, "detail": self.detail, "hint": self.hint,
        })
    }

    /// Reads `application/problem+json`; anything else becomes a problem that says so.
    #[must_use]
    pub fn from_http(status: u16, body: &[u8]) -> Self {
        let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        match (text("code"), text("title")) {
            (Some(code), Some(message)) => {
                Self { code, message, detail: text("detail").unwrap_or_default(), hint: text("hint").unwrap_or_default(), status }
            }
            _ => {
                let said: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect();
                Self::new(status, "A0007", format!("the server answered {status}"), "is another program at this address?")
                    .with_detail(said)
            }
        }
    }

    /// The one document that `--json` prints on failure.
    #[must_use]
    pub fn to_cli_json(&self) -> serde_json::Value {
        serde_json::json!({"error": {"code": self.code, "message": self.message, "detail": self.detail, "hint": self.hint}})
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        if !self.detail.is_empty() {
            write!(f, "\n{}", self.detail)?;
        }
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}
