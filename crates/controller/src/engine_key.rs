//! The key that an engine asks for.

use charter_domain::ids::Tag;
use ring::hmac;
use std::fmt::Write as _;

/// The key of the engine of one instance: the same after every restart of ours, and stored nowhere. `secret` is the
/// installation's.
#[must_use]
pub fn engine_key(secret: &[u8], tag: &Tag) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let digest = hmac::sign(&key, format!("charter engine key: {tag}").as_bytes());
    digest.as_ref().iter().take(24).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
