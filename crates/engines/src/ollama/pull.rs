//! How far a model has been fetched, from the lines that Ollama writes while it fetches it. Several layers come at once: what has
//! come is added up by digest.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Layers that are counted.
const LAYERS_MAX: usize = 256;
/// Characters that are kept of a word of the engine.
const WORD_MAX: usize = 200;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    total: Option<u64>,
    #[serde(default)]
    completed: Option<u64>,
    #[serde(default)]
    error: Option<String>,
}

/// A model on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pull {
    /// What happens, in the engine's words.
    pub status: String,
    layers: BTreeMap<String, (u64, u64)>,
    /// It is there whole.
    pub done: bool,
    /// It will not come, and why.
    pub failed: Option<String>,
}

impl Pull {
    /// Takes one line in; what cannot be read says nothing.
    pub fn line(&mut self, line: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { return };
        if let Some(error) = line.error {
            self.failed = Some(short(&error));
            return;
        }
        let status = line.status.unwrap_or_default();
        self.done |= status == "success";
        self.status = short(&status);
        if let (Some(digest), Some(total)) = (line.digest, line.total)
            && (self.layers.len() < LAYERS_MAX || self.layers.contains_key(&digest))
        {
            let known = self.layers.entry(short(&digest)).or_default();
            // What has come is not told in the first line of a layer.
            *known = (line.completed.unwrap_or(known.0).min(total), total);
        }
    }

    /// Bytes that have come, and that there are, as far as is known.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |(come, all): (u64, u64), layer: &(u64, u64)| (come.saturating_add(layer.0), all.saturating_add(layer.1));
        self.layers.values().fold((0, 0), sum)
    }

    /// Per cent of it that have come.
    #[must_use]
    pub fn percent(&self) -> Option<u8> {
        let (come, all) = self.bytes();
        let share = u128::from(come) * 100 / u128::from(all.max(1));
        (all > 0).then(|| u8::try_from(share).unwrap_or(100))
    }
}

/// A word of an engine is untrusted text.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORD_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_come_at_once_are_added_up_and_the_end_is_seen() {
        let mut pull = Pull::default();
        let lines = [
            (r#"{"status":"pulling manifest"}"#, None),
            (r#"{"status":"pulling aabbccddeeff","digest":"sha256:aa","total":100}"#, Some(0)),
            (r#"{"status":"pulling 112233445566","digest":"sha256:bb","total":300,"completed":100}"#, Some(25)),
            (r#"{"status":"pulling aabbccddeeff","digest":"sha256:aa","total":100,"completed":100}"#, Some(50)),
            ("no JSON", Some(50)),
            (r#"{"status":"pulling 112233445566","digest":"sha256:bb","total":300,"completed":900}"#, Some(100)),
            (r#"{"status":"verifying sha256 digest"}"#, Some(100)),
        ];
        for (line, percent) in lines {
            pull.line(line.as_bytes());
            assert_eq!((pull.percent(), pull.done), (percent, false), "{line}");
        }
        pull.line(br#"{"status":"success"}"#);
        assert!(pull.done && pull.failed.is_none());
    }

    #[test]
    fn an_error_in_the_last_line_is_one_though_the_answer_began_well() {
        let mut pull = Pull::default();
        pull.line(br#"{"status":"pulling manifest"}"#);
        pull.line(br#"{"error":"pull model manifest: file does not exist"}"#);
        assert_eq!((pull.done, pull.failed.as_deref()), (false, Some("pull model manifest: file does not exist")));
    }
}
