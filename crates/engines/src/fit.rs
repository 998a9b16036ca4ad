//! What a model needs, from its parameter count and data type. The exact predictor from its configuration comes later.

use charter_domain::profile::{OptionValue, Profile};

/// What the weights and one request take, in bytes over all GPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Parameters.
    pub parameters: u64,
    /// Bytes of the weights.
    pub weights_bytes: u64,
    /// Weights, cache for one request, and what the engine itself takes.
    pub total_bytes: u64,
}

/// Taken by the engine beside weights and cache: context, graphs, activations. Measured values lie between 0.6 and 3.3 GB.
const ENGINE_BYTES: u64 = 2_000_000_000;

/// Parameters from a model's name: `14B`, `1.1B`, `500M`, `8x7B`. `None` when the name does not say.
#[must_use]
pub fn parameters(model: &str) -> Option<u64> {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.split(['-', '_', ':', ' ']).find_map(size)
}

fn size(word: &str) -> Option<u64> {
    let lower = word.to_ascii_lowercase();
    let (digits, unit) =
        lower.strip_suffix('b').map(|d| (d, 1_000_000_000_u64)).or_else(|| lower.strip_suffix('m').map(|d| (d, 1_000_000)))?;
    let (times, each) = digits.split_once('x').map_or((1, digits), |(t, e)| (t.parse().unwrap_or(0), e));
    let (whole, part) = each.split_once('.').unwrap_or((each, "0"));
    let plain = |s: &str| !s.is_empty() && s.len() <= 5 && s.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(part) || times == 0 {
        return None;
    }
    let thousandths: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    let per_expert = whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
    per_expert.checked_mul(unit / 1000)?.checked_mul(times).filter(|n| *n > 0)
}

/// Bits per weight: from the quantization option, else from the model's name, else 16.
#[must_use]
pub fn bits(profile: &Profile) -> u64 {
    let option = |name: &str| match profile.engine.options.get(name) {
        Some(OptionValue::Text(text)) => text.to_ascii_lowercase(),
        _ => String::new(),
    };
    let words = format!("{} {}", option("quantization"), profile.model.to_ascii_lowercase());
    let has = |names: &[&str]| names.iter().any(|n| words.contains(n));
    if has(&["awq", "gptq", "int4", "4bit", "w4a16", "nvfp4", "mxfp4", "bitsandbytes", "q4_"]) {
        return 5;
    }
    if has(&["fp8", "int8", "8bit", "w8a8", "q8_"]) {
        return 8;
    }
    if option("dtype") == "float32" { 32 } else { 16 }
}

/// What the profile's model needs, if its name tells how large it is.
#[must_use]
pub fn need(profile: &Profile) -> Option<Need> {
    let parameters = parameters(&profile.model)?;
    let weights_bytes = parameters.saturating_mul(bits(profile)) / 8;
    // Cache for one request of the usual length is a tenth of 16-bit weights at most; a small model needs little.
    let cache = (parameters / 5).min(4_000_000_000);
    Some(Need { parameters, weights_bytes, total_bytes: weights_bytes + cache + ENGINE_BYTES })
}

/// An image of the engine, compressed, in bytes: so much comes over the network before the model does.
const IMAGE_BYTES: u64 = 10_000_000_000;

/// What a fresh machine fetches before it answers: the engine's image and the model's weights, as far as a name tells them.
#[must_use]
pub fn fetched_bytes(profile: &Profile) -> u64 {
    IMAGE_BYTES.saturating_add(need(profile).map_or(0, |n| n.weights_bytes))
}

/// Memory that each GPU must have, in bytes, so that the engine's share of it holds the need.
#[must_use]
pub fn per_gpu(profile: &Profile) -> Option<u64> {
    let share: f64 = match profile.engine.options.get("gpu-memory-utilization") {
        Some(value) => value.to_string().parse().ok()?,
        None => 0.92,
    };
    let gpus = u64::from(profile.gpu.count.max(1));
    // Per mille, so that no float decides about memory.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1 in per mille fits")]
    let permille = ((share * 1000.0) as u64).clamp(1, 1000);
    need(profile).map(|n| n.total_bytes / gpus * 1000 / permille)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_tells_its_size() {
        let cases = [
            ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", Some(14_000_000_000)),
            ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", Some(1_100_000_000)),
            ("mistralai/Mixtral-8x7B-Instruct-v0.1", Some(56_000_000_000)),
            ("facebook/opt-125m", Some(125_000_000)),
            ("deepseek-r1:14b", Some(14_000_000_000)),
            ("/srv/models/mine", None),
            ("org/model-v2", None),
        ];
        for (name, parameters) in cases {
            assert_eq!(super::parameters(name), parameters, "{name}");
        }
    }
}
