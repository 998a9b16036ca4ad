//! Typed ids. An id's text is a prefix and an encoded UUIDv7 that the caller made; this crate makes none.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps the part after the prefix.
            #[must_use]
            pub fn new(unique: &str) -> Self {
                Self(format!("{}{unique}", Self::PREFIX))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A deployment: what the user asked for.
    DeploymentId, "dep_"
);
id!(
    /// One copy of a deployment that can answer requests.
    ReplicaId, "rep_"
);
id!(
    /// A stored effect that is not known to be finished.
    IntentId, "int_"
);
id!(
    /// An API key.
    KeyId, "key_"
);
id!(
    /// A backend that a person registered by hand.
    BackendId, "bck_"
);

/// Our token on a provider's object. It is written down before the object is made, and finds it again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// Which installation of charter owns the object: eight characters `[a-z0-9]`.
    pub installation: String,
    /// The replica the object is for, without its prefix.
    pub replica: String,
    /// Which attempt of that replica, from 1.
    pub attempt: u32,
}

impl Tag {
    /// The tag for attempt number `attempt` of `replica`.
    #[must_use]
    pub fn new(installation: &str, replica: &ReplicaId, attempt: u32) -> Self {
        let unique = replica.0.strip_prefix(ReplicaId::PREFIX).unwrap_or(&replica.0);
        Self { installation: installation.to_owned(), replica: unique.to_owned(), attempt }
    }

    /// What all tags of one installation start with.
    #[must_use]
    pub fn owner_prefix(installation: &str) -> String {
        format!("charter.{installation}.")
    }

    /// Reads a tag back from a provider's text; `None` for anything that we did not write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (Some("charter"), Some(installation), Some(replica), Some(attempt), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plain(installation) || !plain(replica) {
            return None;
        }
        Some(Self { installation: installation.to_owned(), replica: replica.to_owned(), attempt: attempt.parse().ok()? })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "charter.{}.{}.{}", self.installation, self.replica, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_way_through_a_provider() {
        let tag = Tag::new("ab12cd34", &ReplicaId::new("0192fabc"), 3);
        assert_eq!(tag.to_string(), "charter.ab12cd34.0192fabc.3");
        assert_eq!(Tag::parse(&tag.to_string()), Some(tag));
    }

    #[test]
    fn foreign_labels_are_not_tags() {
        for text in ["", "my-box", "charter.a.b", "charter.a.b.c", "charter.a.b.1.2", "charter..b.1", "charter.a;rm.b.1"] {
            assert_eq!(Tag::parse(text), None, "{text}");
        }
    }
}
