//! How many tokens the engine's cache holds, from its metrics or its log.

use crate::log::clean::Line;

/// Tokens that the KV cache holds, from the log.
#[must_use]
pub fn from_log(lines: &[Line]) -> Option<u64> {
    lines.iter().rev().find_map(|line| {
        let (_, after) = line.text.split_once("KV cache size: ")?;
        let (number, _) = after.split_once(" tokens")?;
        number.replace(',', "").parse().ok()
    })
}

/// Tokens that the KV cache holds, from the metrics: the engine's own figure, or blocks times their size.
#[must_use]
pub fn from_metrics(text: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with("vllm:cache_config_info{"))?;
    let label = |name: &str| {
        let (_, after) = line.split_once(&format!("{name}=\""))?;
        after.split('"').next()?.parse::<u64>().ok()
    };
    label(",kv_cache_size_tokens").or_else(|| Some(label(",num_gpu_blocks")?.saturating_mul(label(",block_size")?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::clean::lines;

    #[test]
    fn the_real_engine_says_it_in_both_places() {
        assert_eq!(from_log(&lines(include_str!("../../tests/logs/ok-cpu-0.32.log"))), Some(1_048_576));
        assert_eq!(from_metrics(include_str!("../../tests/logs/metrics-0.32.txt")), Some(1_048_576));
    }

    #[test]
    fn older_engines_give_blocks_and_their_size() {
        let old = "vllm:cache_config_info{x=\"1\",block_size=\"16\",num_gpu_blocks=\"100\"} 1.0";
        assert_eq!(from_metrics(old), Some(1600));
    }
}
