//! Host keys seen first, one per machine, kept in a file so that a later change is noticed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The pins and their file.
#[derive(Debug)]
pub(super) struct Pins {
    file: PathBuf,
    known: Mutex<BTreeMap<String, String>>,
}

impl Pins {
    /// Reads the file; one that is not there, or no pins, is an empty one.
    pub(super) fn open(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        Self { file, known: Mutex::new(serde_json::from_str(&text).unwrap_or_default()) }
    }

    pub(super) fn get(&self, machine: &str) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(machine).cloned()
    }

    /// Remembers the first key of a machine at an address.
    pub(super) fn learn(&self, machine: &str, host_key: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if host_key.is_empty() || known.contains_key(machine) {
            return;
        }
        known.insert(machine.to_owned(), host_key.to_owned());
        let part = self.file.with_extension("part");
        let text = serde_json::to_string_pretty(&*known).unwrap_or_default();
        if let Err(error) = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &self.file)) {
            tracing::warn!(%error, "host keys could not be written down");
        }
    }
}
