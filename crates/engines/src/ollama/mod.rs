//! Ollama as data: how it is started, what its models are called, and what its answers mean.

pub mod load;
pub mod pull;

use charter_domain::profile::{OptionValue, Profile};

/// The word for it in a profile.
pub const KIND: &str = "ollama";
/// The official image.
pub const IMAGE: &str = "ollama/ollama";
/// Hosts that a model's name may name: whoever can write any host there makes the engine fetch from anywhere.
const HOSTS: [&str; 3] = ["registry.ollama.ai", "hf.co", "huggingface.co"];
/// The options of a profile that it has a setting for, and the variable that carries each.
const OPTIONS: [(&str, &str); 5] = [
    ("max-model-len", "OLLAMA_CONTEXT_LENGTH"),
    ("context-length", "OLLAMA_CONTEXT_LENGTH"),
    ("max-num-seqs", "OLLAMA_NUM_PARALLEL"),
    ("kv-cache-dtype", "OLLAMA_KV_CACHE_TYPE"),
    ("flash-attention", "OLLAMA_FLASH_ATTENTION"),
];
/// The context where a profile says none: its own default depends on the card, and longer prompts are cut without a word.
const CONTEXT: &str = "8192";

/// Is a profile one of this engine?
#[must_use]
pub fn runs(profile: &Profile) -> bool {
    profile.engine.kind == KIND
}

/// The environment of its server, but for its address. Its model stays in memory until charter ends it.
#[must_use]
pub fn env(profile: &Profile) -> Vec<(String, String)> {
    let mut env = vec![("OLLAMA_KEEP_ALIVE".to_owned(), "-1".to_owned()), ("OLLAMA_NOHISTORY".to_owned(), "1".to_owned())];
    for (name, value) in &profile.engine.options {
        if let Some((_, variable)) = OPTIONS.iter().find(|(known, _)| known == name) {
            let value = match value {
                OptionValue::Flag(on) => u8::from(*on).to_string(),
                OptionValue::Number(_) | OptionValue::Text(_) => value.to_string(),
            };
            env.push(((*variable).to_owned(), value));
        }
    }
    if !env.iter().any(|(name, _)| name == "OLLAMA_CONTEXT_LENGTH") {
        env.push(("OLLAMA_CONTEXT_LENGTH".to_owned(), CONTEXT.to_owned()));
    }
    if !env.iter().any(|(name, _)| name == "OLLAMA_NUM_PARALLEL") {
        // Without it requests are answered one after the other.
        env.push(("OLLAMA_NUM_PARALLEL".to_owned(), profile.max_concurrent.clamp(1, 4).to_string()));
    }
    env
}

/// What is wrong with a profile for this engine, one sentence each.
#[must_use]
pub fn faults(profile: &Profile) -> Vec<String> {
    let mut faults: Vec<String> = vec![];
    faults.extend(model_fault(&profile.model));
    let known: Vec<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
    for name in profile.engine.options.keys().filter(|name| !known.contains(&name.as_str())) {
        faults.push(format!("Ollama has no setting for `{name}`: it has {}", known.join(", ")));
    }
    if !profile.engine.extra_args.is_empty() {
        faults.push("`extra-args` are vLLM's: Ollama's server takes none".to_owned());
    }
    if !profile.engine.lora.is_empty() {
        faults.push("Ollama loads no adapters by name: make a model of its own with them".to_owned());
    }
    faults
}

/// `model`, `model:tag`, `owner/model:tag`, or one of a known host.
fn model_fault(model: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    let odd = model.is_empty()
        || model.len() > 256
        || !model.chars().all(plain)
        || model.contains("..")
        || model.contains("//")
        || model.starts_with(['/', '.', '-', ':'])
        || model.matches(':').count() > 1;
    let parts: Vec<&str> = model.split('/').collect();
    if odd || parts.len() > 3 {
        return Some(format!("`{model}` is no model of Ollama: name it as its library does, such as `qwen3:8b`"));
    }
    match parts.as_slice() {
        [host, _, _] if !HOSTS.contains(host) => {
            Some(format!("`{host}` is no host that models are fetched from: {}", HOSTS.join(", ")))
        }
        _ => None,
    }
}

/// A model's name with the tag that is meant where none is said.
#[must_use]
pub fn full_name(model: &str) -> String {
    let last = model.rsplit('/').next().unwrap_or(model);
    if last.contains(':') { model.to_owned() } else { format!("{model}:latest") }
}

/// Do two names mean the same model?
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    full_name(one) == full_name(other)
}

/// The image of a version; nothing said means what is called the latest.
#[must_use]
pub fn image(version: &str) -> String {
    let tag = if version.is_empty() || version == "installed" { "latest" } else { version };
    format!("{IMAGE}:{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_may_not_lead_anywhere() {
        for good in ["qwen3:8b", "deepseek-r1:14b", "mine/model", "hf.co/owner/model:Q4_K_M", "registry.ollama.ai/library/qwen3"]
        {
            assert_eq!(model_fault(good), None, "{good}");
        }
        for bad in ["", "http://x/y", "evil.example/a/b", "../x", "a:b:c", "/etc/passwd", "a//b", "-x", "a/b/c/d", "a b"] {
            assert!(model_fault(bad).is_some(), "{bad}");
        }
        assert!(same("qwen3", "qwen3:latest") && !same("qwen3", "qwen3:8b"));
        assert_eq!((image(""), image("0.13.3")), ("ollama/ollama:latest".to_owned(), "ollama/ollama:0.13.3".to_owned()));
    }
}
