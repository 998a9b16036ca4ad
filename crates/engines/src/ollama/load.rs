//! What Ollama says of the models that it has, and of those that it holds in memory.

use super::same;
use serde::Deserialize;

#[derive(Deserialize)]
struct Models {
    #[serde(default)]
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    name: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    size_vram: u64,
    #[serde(default)]
    context_length: Option<u64>,
    #[serde(default)]
    remote_host: Option<String>,
}

/// A model in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Bytes that it takes.
    pub bytes: u64,
    /// Of these, on cards.
    pub vram_bytes: u64,
    /// Tokens that one request may have.
    pub context: Option<u64>,
}

impl Loaded {
    /// It runs on the processor alone: no card was found.
    #[must_use]
    pub const fn is_on_processor(&self) -> bool {
        self.vram_bytes == 0 && self.bytes > 0
    }

    /// Per cent of it on cards.
    #[must_use]
    pub fn percent_on_cards(&self) -> u8 {
        let share = u128::from(self.vram_bytes) * 100 / u128::from(self.bytes.max(1));
        u8::try_from(share).unwrap_or(100).min(100)
    }
}

fn find(body: &[u8], model: &str) -> Option<Model> {
    let all: Models = serde_json::from_slice(body).ok()?;
    all.models.into_iter().find(|m| same(&m.name, model))
}

/// Does `/api/tags` list the model as one that lies on this machine? One that only stands for somebody else's does not count.
#[must_use]
pub fn is_there(body: &[u8], model: &str) -> bool {
    find(body, model).is_some_and(|m| m.remote_host.is_none_or(|host| host.is_empty()))
}

/// What `/api/ps` says of the model, if it is in memory.
#[must_use]
pub fn loaded(body: &[u8], model: &str) -> Option<Loaded> {
    let found = find(body, model)?;
    Some(Loaded { bytes: found.size, vram_bytes: found.size_vram.min(found.size), context: found.context_length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_is_loaded_is_read_from_recorded_answers() {
        let tags = br#"{"models":[{"name":"qwen3:8b","model":"qwen3:8b","size":5225388164,"digest":"500a1f067a9f","details":{"format":"gguf","family":"qwen3","parameter_size":"8.2B","quantization_level":"Q4_K_M"}},
            {"name":"gpt-oss:120b-cloud","remote_host":"https://ollama.com:443","size":384}]}"#;
        assert!(is_there(tags, "qwen3:8b") && !is_there(tags, "qwen3") && !is_there(tags, "gpt-oss:120b-cloud"));
        let ps = br#"{"models":[{"name":"qwen3:8b","size":6654289920,"size_vram":6654289920,"context_length":8192,"expires_at":"2318-11-08T00:00:00Z"}]}"#;
        let found = loaded(ps, "qwen3:8b").expect("it is loaded");
        assert_eq!((found.percent_on_cards(), found.context, found.is_on_processor()), (100, Some(8192), false));
        let processor = br#"{"models":[{"name":"qwen3:8b","size":6654289920,"size_vram":0}]}"#;
        assert!(loaded(processor, "qwen3:8b").is_some_and(|l| l.is_on_processor()));
        assert_eq!((loaded(b"{\"models\":[]}", "qwen3:8b"), loaded(b"<html>", "qwen3:8b")), (None, None));
    }
}
