//! Who is logged in: a cookie that the server signed, and that is worth nothing once its key is revoked. Nothing is stored.

use crate::router::App;
use charter_domain::time::{Span, Time};
use ring::hmac;

/// What the cookie is called.
pub(crate) const COOKIE: &str = "charter_session";
/// How long a login lasts.
pub(crate) const LASTS: Span = Span::min(12 * 60);

/// Signs sessions.
#[derive(Clone)]
pub(crate) struct Signer(hmac::Key);

/// A session, as its cookie tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// The id of the key that was shown.
    pub(crate) key: String,
    /// When.
    pub(crate) since: Time,
    /// The cookie itself.
    token: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (digits.len().is_multiple_of(2)).then(|| (0..digits.len()).step_by(2).map(pair).collect())?
}

/// Where sessions that were left are remembered, as long as they would have lasted.
pub(crate) const LEFT: &str = "session-left:";

impl Signer {
    /// The one of a server.
    pub(crate) fn of(app: &App) -> Self {
        Self::new(app.controller.secrets_for_keeping().0.as_bytes())
    }

    /// From the installation's secret: what signs sessions is good for nothing else.
    pub(crate) fn new(secret: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"charter console session").as_ref()))
    }

    /// The cookie of one who has just shown a key; `fresh` is different every time.
    pub(crate) fn begin(&self, key: &str, now: Time, fresh: &str) -> Session {
        let said = format!("{key}.{}.{fresh}", now.0);
        let token = format!("{said}.{}", hex(hmac::sign(&self.0, said.as_bytes()).as_ref()));
        Session { key: key.to_owned(), since: now, token }
    }

    /// The session of a cookie, unless it is forged or over.
    pub(crate) fn read(&self, token: &str, now: Time) -> Option<Session> {
        let (said, seal) = token.rsplit_once('.')?;
        hmac::verify(&self.0, said.as_bytes(), &unhex(seal)?).ok()?;
        let mut parts = said.split('.');
        let (key, since) = (parts.next()?, Time(parts.next()?.parse().ok()?));
        let lasts = now.since(since) < LASTS && since <= now + Span::min(1);
        lasts.then(|| Session { key: key.to_owned(), since, token: token.to_owned() })
    }

    /// What stands for a session that was left, in the database: it opens nothing, and tells nothing of the session.
    pub(crate) fn left(&self, session: &Session) -> String {
        format!("{LEFT}{}", hex(hmac::sign(&self.0, format!("left {}", session.token).as_bytes()).as_ref()))
    }

    /// What every form of the session carries: a page of somebody else cannot know it.
    pub(crate) fn form_token(&self, session: &Session) -> String {
        hex(hmac::sign(&self.0, format!("form {}", session.token).as_bytes()).as_ref())
    }

    /// Is it that?
    pub(crate) fn is_form_token(&self, session: &Session, shown: &str) -> bool {
        let seal = unhex(shown).unwrap_or_default();
        hmac::verify(&self.0, format!("form {}", session.token).as_bytes(), &seal).is_ok()
    }
}

impl Session {
    /// The header that sets the cookie.
    pub(crate) fn cookie(&self, secure: bool) -> String {
        let end = if secure { "; Secure" } else { "" };
        format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{end}", self.token, LASTS.0 / 1000)
    }
}

/// The header that forgets it.
pub(crate) fn forget() -> String {
    format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
}

/// A cookie's value out of a header.
pub(crate) fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').filter_map(|part| part.trim().split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_good_until_it_ends_and_for_its_own_server() {
        let (signer, other) = (Signer::new(b"one"), Signer::new(b"two"));
        let now = Time(1_795_259_775_000);
        let session = signer.begin("key_1", now, "abc");
        let cookie_line = session.cookie(false);
        let token = cookie(&cookie_line, COOKIE).expect("a value");
        assert_eq!(signer.read(token, now).expect("good").key, "key_1");
        assert!(signer.read(token, now + LASTS - Span::ms(1)).is_some());
        assert!(signer.read(token, now + LASTS).is_none(), "it is over");
        assert!(signer.read(token, now - Span::min(2)).is_none(), "it comes from the future");
        assert!(other.read(token, now).is_none());
        for forged in [token.replace("key_1", "key_2"), format!("{token}00"), String::new(), "....".to_owned()] {
            assert!(signer.read(&forged, now).is_none(), "{forged}");
        }
    }

    #[test]
    fn a_form_belongs_to_one_session() {
        let signer = Signer::new(b"one");
        let (one, two) = (signer.begin("key_1", Time(5), "abc"), signer.begin("key_1", Time(5), "abd"));
        let token = signer.form_token(&one);
        assert!(signer.is_form_token(&one, &token) && !signer.is_form_token(&two, &token));
        assert!(!signer.is_form_token(&one, "") && !signer.is_form_token(&one, "zz"));
    }
}
