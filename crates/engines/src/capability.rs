//! What open models can do, as far as their names tell it.

use serde::Deserialize;
use std::sync::LazyLock;

#[derive(Deserialize)]
struct Table {
    cannot_call_tools: Vec<String>,
}

/// The table, with its date in it.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let read = serde_json::from_str(include_str!("../data/capabilities.json"));
    read.unwrap_or(Table { cannot_call_tools: vec![] })
});

/// Can this model call tools? One that the table does not name can.
#[must_use]
pub fn calls_tools(model: &str) -> bool {
    let name = model.to_lowercase();
    !TABLE.cannot_call_tools.iter().any(|family| name.contains(family.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reasoning_model_without_tools_is_known_by_its_name() {
        for (model, can) in [
            ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", false),
            ("deepseek-r1:14b", false),
            ("Qwen/Qwen3-8B", true),
            ("/models/anything", true),
        ] {
            assert_eq!(calls_tools(model), can, "{model}");
        }
    }
}
