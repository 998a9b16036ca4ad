//! Names of tools: what one API allows another refuses. A changed name is turned back in the answer.

use crate::field::hash;
use std::collections::{BTreeMap, BTreeSet};

/// The tools whose names had to be changed. The same name is always changed in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    there: BTreeMap<String, String>,
    back: BTreeMap<String, String>,
}

impl Names {
    /// Changes the names that have other characters than letters, digits, `_` and `-`, or more than `most` of them, or that are
    /// `reserved`.
    pub(crate) fn of<'a>(all: impl Iterator<Item = &'a str>, most: usize, reserved: &str) -> Self {
        let all: BTreeSet<&str> = all.collect();
        let fits = |name: &str| name != reserved && name.len() <= most && !name.is_empty() && name.chars().all(is_plain);
        let mut names = Self::default();
        for name in all.iter().filter(|name| !fits(name)) {
            let clean: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).take(most.saturating_sub(9)).collect();
            let mut salt = hash(name);
            // The hash keeps a name the same when other tools come and go.
            let new = loop {
                let new = format!("{clean}_{:08x}", salt & 0xffff_ffff);
                if !all.contains(new.as_str()) && !names.back.contains_key(&new) {
                    break new;
                }
                salt = salt.wrapping_add(1);
            };
            names.there.insert((*name).to_owned(), new.clone());
            names.back.insert(new, (*name).to_owned());
        }
        names
    }

    /// The name as it is sent.
    pub(crate) fn sent<'a>(&'a self, name: &'a str) -> &'a str {
        self.there.get(name).map_or(name, String::as_str)
    }

    /// The name as the client gave it.
    #[must_use]
    pub fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.back.get(name).map_or(name, String::as_str)
    }

    /// Every name could stay as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.back.is_empty()
    }
}

/// May it stand in a name or an id everywhere?
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_changed_only_where_they_must_be_and_come_back() {
        let long = "x".repeat(200);
        let all = ["fine", "a.b", "a/b", "", "json", "é", &long];
        let names = Names::of(all.into_iter(), 64, "json");
        let sent: BTreeSet<&str> = all.iter().map(|n| names.sent(n)).collect();
        assert_eq!(sent.len(), all.len());
        assert_eq!(names.sent("fine"), "fine");
        for name in all {
            let sent = names.sent(name);
            assert!(sent.len() <= 64 && sent != "json" && sent.chars().all(is_plain), "{sent}");
            assert_eq!(names.original(sent), name);
        }
        let fewer = Names::of(["a.b"].into_iter(), 64, "json");
        assert_eq!(fewer.sent("a.b"), names.sent("a.b"), "it does not depend on the other tools");
        assert!(Names::of(["fine"].into_iter(), 64, "").is_empty());
    }
}
