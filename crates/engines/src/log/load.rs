//! How busy an engine is, from its metrics.

/// What waits inside it, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that it answers.
    pub running: u64,
    /// Requests that wait inside the engine.
    pub waiting: u64,
    /// How full its key-value cache is, in thousandths.
    pub kv_permille: u32,
}

impl Load {
    /// Reads vLLM's metrics; what is not told is 0. Older engines have another name for the cache.
    #[must_use]
    pub fn from_metrics(text: &str) -> Self {
        let value = |name: &str| {
            let own = |l: &&str| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            text.lines().find(own).and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).filter(|v| v.is_finite() && *v >= 0.0)
        };
        let kv = value("vllm:kv_cache_usage_perc").or_else(|| value("vllm:gpu_cache_usage_perc")).unwrap_or(0.0);
        let waiting = value("vllm:num_requests_waiting").unwrap_or(0.0);
        let running = whole(value("vllm:num_requests_running").unwrap_or(0.0));
        Self { running, waiting: whole(waiting), kv_permille: u32::try_from(whole(kv.min(1.0) * 1000.0)).unwrap_or(1000) }
    }
}

/// The whole number nearest to a figure, which is not negative.
fn whole(figure: f64) -> u64 {
    format!("{:.0}", figure.min(1e9)).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_engine_tells_what_waits_and_how_full_it_is() {
        let real = include_str!("../../tests/logs/metrics-0.32.txt");
        assert!(real.contains("vllm:num_requests_waiting{") && real.contains("vllm:kv_cache_usage_perc{"));
        assert_eq!(Load::from_metrics(real), Load::default());
        let busy = "vllm:num_requests_running{engine=\"0\"} 7.0\nvllm:num_requests_waiting{engine=\"0\"} 3.0\nvllm:num_requests_waiting_by_reason{x=\"y\"} 9.0\nvllm:kv_cache_usage_perc{engine=\"0\"} 0.9127\n";
        assert_eq!(Load::from_metrics(busy), Load { running: 7, waiting: 3, kv_permille: 913 });
        assert_eq!(
            Load::from_metrics("vllm:gpu_cache_usage_perc 0.5\nvllm:num_requests_waiting NaN"),
            Load { running: 0, waiting: 0, kv_permille: 500 }
        );
    }
}
