//! Key pairs: read from a file, or derived from the installation's secret so that none has to be stored.

use crate::error::Error;
use ring::hmac;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use std::sync::Arc;

/// A private key with its public half.
#[derive(Clone)]
pub struct KeyPair(pub(crate) Arc<PrivateKey>);

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyPair").field(&"hidden").finish()
    }
}

impl KeyPair {
    /// The Ed25519 key pair that belongs to `label` under `secret`: the same arguments always give the same pair, and
    /// one pair tells nothing about another.
    #[must_use]
    pub fn derive(secret: &[u8], label: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let digest = hmac::sign(&key, format!("charter ssh key: {label}").as_bytes());
        let mut seed = [0_u8; 32];
        seed.copy_from_slice(digest.as_ref());
        Self(Arc::new(PrivateKey::from(Ed25519Keypair::from_seed(&seed))))
    }

    /// Reads a private key in OpenSSH's format.
    ///
    /// # Errors
    /// [`Error::Key`] when it is none, or has a passphrase.
    pub fn from_openssh(text: &str) -> Result<Self, Error> {
        let key = russh::keys::decode_secret_key(text, None).map_err(|e| Error::Key(e.to_string()))?;
        Ok(Self(Arc::new(key)))
    }

    /// The private key in OpenSSH's format.
    ///
    /// # Errors
    /// [`Error::Key`] if it cannot be written down.
    pub fn to_openssh(&self) -> Result<String, Error> {
        self.0.to_openssh(LineEnding::LF).map(|text| text.to_string()).map_err(|e| Error::Key(e.to_string()))
    }

    /// The line for `authorized_keys`.
    #[must_use]
    pub fn public_line(&self) -> String {
        self.0.public_key().to_openssh().unwrap_or_default()
    }
}

/// The fingerprint as OpenSSH prints it: `SHA256:...`.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(russh::keys::HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_pairs_are_stable_and_differ_by_label() {
        let (a, b) = (KeyPair::derive(b"secret", "instance 1"), KeyPair::derive(b"secret", "instance 2"));
        assert_eq!(a.public_line(), KeyPair::derive(b"secret", "instance 1").public_line());
        assert_ne!(a.public_line(), b.public_line());
        assert!(a.public_line().starts_with("ssh-ed25519 "));
        let back = KeyPair::from_openssh(&a.to_openssh().expect("write")).expect("read");
        assert_eq!(back.public_line(), a.public_line());
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_printed() {
        let error = KeyPair::from_openssh("hunter2").expect_err("no key");
        assert_eq!(error.code(), "R0005");
        assert!(!format!("{error:?} {:?}", KeyPair::derive(b"s", "l")).contains("hunter2"));
    }
}
