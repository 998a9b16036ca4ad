//! The fields of the deploy form, and the profile that they say: there and back.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An engine option with a field of its own.
pub(crate) struct Option_ {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) kind: Kind,
}

/// How it is filled in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Decimal,
    Text,
    Switch,
    OneOf(&'static [&'static str]),
}

/// Those of the engine's options that have a field; everything else goes into the extra arguments.
pub(crate) const OPTIONS: [Option_; 13] = [
    Option_ { name: "max-model-len", label: "Longest context, tokens", kind: Kind::Number },
    Option_ { name: "gpu-memory-utilization", label: "Share of GPU memory, 0 to 1", kind: Kind::Decimal },
    Option_ { name: "max-num-seqs", label: "Requests at once in the engine", kind: Kind::Number },
    Option_ { name: "tensor-parallel-size", label: "GPUs that share the model", kind: Kind::Number },
    Option_ { name: "dtype", label: "Number format", kind: Kind::OneOf(&["auto", "bfloat16", "float16", "float32"]) },
    Option_ {
        name: "quantization",
        label: "Quantization",
        kind: Kind::OneOf(&["awq", "gptq", "fp8", "bitsandbytes", "compressed-tensors"]),
    },
    Option_ {
        name: "kv-cache-dtype",
        label: "Format of the KV cache",
        kind: Kind::OneOf(&["auto", "fp8", "fp8_e4m3", "fp8_e5m2"]),
    },
    Option_ { name: "swap-space", label: "Swap space, GiB", kind: Kind::Number },
    Option_ { name: "revision", label: "Revision of the model", kind: Kind::Text },
    Option_ { name: "seed", label: "Seed", kind: Kind::Number },
    Option_ { name: "enforce-eager", label: "No CUDA graphs (eager)", kind: Kind::Switch },
    Option_ { name: "trust-remote-code", label: "Run the model’s own code", kind: Kind::Switch },
    Option_ { name: "enable-prefix-caching", label: "Keep common beginnings", kind: Kind::Switch },
];

/// How long parts of a life may take, and how often they may fail: name, label, what it is where nothing is said.
pub(crate) const LIMITS: [(&str, &str, &str); 10] = [
    ("failed-restarts", "Failed starts at most", "3"),
    ("attempts", "Machines that may fail", ""),
    ("search", "Search for a machine", ""),
    ("search-retries", "Searches", ""),
    ("boot", "Boot", ""),
    ("stall", "Without any progress", ""),
    ("ssh", "Until SSH answers", ""),
    ("load", "Load the model", ""),
    ("bake", "Watch a new generation", ""),
    ("drain", "Let requests finish", ""),
];

/// What a browser sends.
pub(crate) type Fields = BTreeMap<String, String>;

fn said<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// A number as it was written, else the text, of which the API says what is wrong with it.
fn number(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

/// The profile that the form says. What has no field is taken from `base`.
pub(crate) fn profile(fields: &Fields, base: &Value) -> Value {
    let mut made = base.as_object().cloned().unwrap_or_default();
    let mut put = |name: &str, value: Option<Value>| match value {
        Some(value) => drop(made.insert(name.to_owned(), value)),
        None => drop(made.remove(name)),
    };
    put("model", said(fields, "model").map(Value::from));
    put("served-name", said(fields, "served-name").map(Value::from));
    put(
        "provider",
        said(fields, "provider").map(|p| json!(p.split(',').map(str::trim).filter(|p| !p.is_empty()).collect::<Vec<_>>())),
    );
    put("disk", said(fields, "disk").map(Value::from));
    put("min-reliability", said(fields, "min-reliability").map(Value::from));
    put("max-concurrent", said(fields, "max-concurrent").map(number));
    put("keep-alive", said(fields, "keep-alive").map(Value::from));
    let mut limits = base.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, ..) in LIMITS {
        match said(fields, &format!("limit-{name}")) {
            Some(text) => drop(limits.insert(name.to_owned(), number(text))),
            None => drop(limits.remove(name)),
        }
    }
    put("limits", (!limits.is_empty()).then(|| limits.into()));
    put("engine", Some(engine(fields, base.get("engine").unwrap_or(&Value::Null))));
    put("gpu", Some(gpu(fields, base.get("gpu").unwrap_or(&Value::Null))));
    Value::Object(made)
}

fn engine(fields: &Fields, base: &Value) -> Value {
    let mut made = base.as_object().cloned().unwrap_or_default();
    made.insert("kind".to_owned(), said(fields, "engine").unwrap_or("vllm").into());
    made.insert("version".to_owned(), said(fields, "version").unwrap_or_default().into());
    let mut options = made.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
    for option in &OPTIONS {
        let value = said(fields, &format!("option-{}", option.name)).map(|text| match option.kind {
            Kind::Number => number(text),
            Kind::Switch => Value::Bool(true),
            Kind::Decimal | Kind::Text | Kind::OneOf(_) => text.into(),
        });
        match value {
            Some(value) => drop(options.insert(option.name.to_owned(), value)),
            // A switch that is off in the file is not one of which nothing is said.
            None if options.get(option.name) == Some(&Value::Bool(false)) => {}
            None => drop(options.remove(option.name)),
        }
    }
    made.insert("options".to_owned(), options.into());
    let lines = |name: &str| {
        said(fields, name)
            .into_iter()
            .flat_map(str::lines)
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    made.insert("extra-args".to_owned(), json!(lines("extra-args")));
    let adapters: Vec<Value> = lines("lora")
        .iter()
        .map(|line| {
            line.split_once('=').map_or_else(
                || json!({"name": line, "path": line}),
                |(name, path)| json!({"name": name.trim(), "path": path.trim()}),
            )
        })
        .collect();
    made.insert("lora".to_owned(), adapters.into());
    // Names alone: a value that the page never had cannot be lost on the way. A line `NAME=text` is a plain value.
    let known = base.get("env").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut env = Map::new();
    for line in lines("env") {
        let (name, value) = line.split_once('=').map_or((line.as_str(), None), |(name, value)| (name.trim(), Some(value.trim())));
        let kept = known.get(name).cloned();
        let value = value.map(Value::from).or(kept).unwrap_or_else(|| json!({"env": name}));
        env.insert(name.to_owned(), value);
    }
    made.insert("env".to_owned(), env.into());
    Value::Object(made)
}

fn gpu(fields: &Fields, base: &Value) -> Value {
    let mut made = base.as_object().cloned().unwrap_or_default();
    let mut put = |name: &str, value: Option<Value>| match value {
        Some(value) => drop(made.insert(name.to_owned(), value)),
        None => drop(made.remove(name)),
    };
    put("count", said(fields, "gpu-count").map(number));
    put(
        "indices",
        said(fields, "gpu-indices")
            .map(|text| json!(text.split([',', ' ']).filter(|n| !n.is_empty()).map(number).collect::<Vec<_>>())),
    );
    put("min-vram", said(fields, "min-vram").map(Value::from));
    put("min-compute-capability", said(fields, "min-compute").map(Value::from));
    put("max-usd-per-hour", said(fields, "max-price").map(Value::from));
    let tiers: Vec<Value> =
        said(fields, "tiers").into_iter().flat_map(str::lines).map(str::trim).filter(|l| !l.is_empty()).map(tier).collect();
    put("tiers", (!tiers.is_empty()).then(|| tiers.into()));
    if fields.contains_key("tiers") {
        put("other-names", Some(Value::Bool(said(fields, "other-names").is_some())));
    }
    if made.get("indices").is_some() {
        made.remove("count");
    }
    Value::Object(made)
}

/// A card and the most that it may cost. A line without a price stays one, and the API says that it lacks it: the `4090` of a card is
/// none.
fn tier(line: &str) -> Value {
    let price = |text: &str| text.starts_with('$') || text.contains('.') || text.parse::<u32>().is_ok_and(|usd| usd < 100);
    match line.rsplit_once(char::is_whitespace).filter(|(_, last)| price(last)) {
        Some((card, price)) => json!({"gpu": card.trim(), "max-usd-per-hour": price.trim_start_matches('$')}),
        None => json!({"gpu": line}),
    }
}

/// The deployment that the form says.
pub(crate) fn deployment(fields: &Fields, profile_name: &str) -> Value {
    let mut made = Map::new();
    made.insert("profile".to_owned(), profile_name.into());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            made.insert(name.to_owned(), value);
        }
    };
    put("owner", said(fields, "owner").map(Value::from));
    put("tenant", said(fields, "tenant").map(Value::from));
    put("offer", said(fields, "offer").map(Value::from));
    put("strategy", said(fields, "strategy").map(Value::from));
    let hours = said(fields, "serve-for").filter(|h| *h != "0" && *h != "never");
    put("serve-for", hours.map(|h| if h.bytes().all(|b| b.is_ascii_digit()) { format!("{h}h").into() } else { h.into() }));
    let (least, most) = (said(fields, "replicas").unwrap_or("1"), said(fields, "replicas-max"));
    put("replicas", Some(most.map_or_else(|| number(least), |most| json!({"min": number(least), "max": number(most)}))));
    put("wait", said(fields, "wait").map(|_| true.into()));
    put("forward", said(fields, "port").map(|port| json!({"port": number(port)})));
    Value::Object(made)
}

/// What the form shows for a profile, a deployment and a name.
pub(crate) fn fields(name: &str, profile: &Value, deployment: &Value) -> Fields {
    let mut all = Fields::new();
    let mut put = |field: &str, value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(true) => "on".to_owned(),
            Value::Bool(false) | Value::Null | Value::Array(_) | Value::Object(_) => return,
        };
        all.insert(field.to_owned(), text);
    };
    put("name", &name.into());
    if profile.pointer("/gpu/other-names").is_none() {
        put("other-names", &true.into());
    }
    for (field, pointer) in [
        ("model", "/model"),
        ("served-name", "/served-name"),
        ("disk", "/disk"),
        ("min-reliability", "/min-reliability"),
        ("max-concurrent", "/max-concurrent"),
        ("keep-alive", "/keep-alive"),
        ("engine", "/engine/kind"),
        ("version", "/engine/version"),
        ("gpu-count", "/gpu/count"),
        ("min-vram", "/gpu/min-vram"),
        ("min-compute", "/gpu/min-compute-capability"),
        ("max-price", "/gpu/max-usd-per-hour"),
        ("other-names", "/gpu/other-names"),
    ] {
        put(field, profile.pointer(pointer).unwrap_or(&Value::Null));
    }
    for (name, ..) in LIMITS {
        put(&format!("limit-{name}"), &profile["limits"][name]);
    }
    for option in &OPTIONS {
        put(&format!("option-{}", option.name), &profile["engine"]["options"][option.name]);
    }
    for field in ["owner", "tenant", "offer", "strategy", "serve-for", "replicas"] {
        put(field, &deployment[field]);
    }
    let list =
        |value: &Value, line: &dyn Fn(&Value) -> String| value.as_array().into_iter().flatten().map(line).collect::<Vec<_>>();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    put("provider", &list(&profile["provider"], &text).join(", ").into());
    put("extra-args", &list(&profile["engine"]["extra-args"], &text).join("\n").into());
    put("lora", &list(&profile["engine"]["lora"], &|l| format!("{}={}", text(&l["name"]), text(&l["path"]))).join("\n").into());
    put(
        "tiers",
        &list(&profile["gpu"]["tiers"], &|t| format!("{} {}", text(&t["gpu"]), text(&t["max-usd-per-hour"]))).join("\n").into(),
    );
    put("gpu-indices", &list(&profile["gpu"]["indices"], &text).join(",").into());
    // Values are never shown, not even plain ones: only what is typed is written.
    let names: Vec<&str> = profile["engine"]["env"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    put("env", &names.join("\n").into());
    all.retain(|_, text| !text.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_form_shows_says_the_same_profile_again() {
        let whole = json!({
            "model": "org/model-7B", "served-name": "m", "provider": ["vast", "lab"], "disk": "60GB", "max-concurrent": 16, "keep-alive": "45m", "limits": {"boot": "9m", "failed-restarts": 2},
            "canary": [{"prompt": "2+2=", "expect": "4"}],
            "engine": {"kind": "vllm", "version": "0.33.0", "source": "image", "options": {"max-model-len": 8192, "enforce-eager": true, "enable-prefix-caching": false, "dtype": "auto", "something-else": "x"},
                "extra-args": ["--a", "--b c"], "lora": [{"name": "sql", "path": "org/sql"}], "env": {"HF_TOKEN": {"env": "HF_TOKEN"}, "X_SECRET": "literal"}},
            "gpu": {"count": 1, "min-vram": "24GB", "min-compute-capability": "8.9", "max-usd-per-hour": "0.25", "tiers": [{"gpu": "RTX 3090", "max-usd-per-hour": "0.15"}], "other-names": true},
        });
        let shown = fields("m", &whole, &json!({"replicas": 1, "owner": "alice"}));
        assert_eq!(shown["env"], "HF_TOKEN\nX_SECRET", "no value is shown");
        assert!(!shown.values().any(|text| text.contains("literal")));
        assert_eq!(profile(&shown, &whole), whole);
        let plain = json!({"model": "org/m", "gpu": {"max-usd-per-hour": "0.25"}});
        let sent = Fields::from_iter(fields("m", &plain, &Value::Null).into_iter().chain([("tiers".to_owned(), String::new())]));
        assert_eq!(profile(&sent, &plain)["gpu"]["other-names"], true, "what a file does not say stays as it is");
        assert_eq!(deployment(&shown, "m"), json!({"profile": "m", "replicas": 1, "owner": "alice"}));
    }

    #[test]
    fn a_card_without_a_price_is_not_taken_for_a_price() {
        for (line, card, price) in [
            ("RTX 4090 0.18", "RTX 4090", Some("0.18")),
            ("RTX 4090 $1", "RTX 4090", Some("1")),
            ("RTX 4090 2", "RTX 4090", Some("2")),
            ("RTX 4090", "RTX 4090", None),
            ("A100", "A100", None),
        ] {
            let made = tier(line);
            assert_eq!((made["gpu"].as_str(), made["max-usd-per-hour"].as_str()), (Some(card), price), "{line}");
        }
    }

    #[test]
    fn an_empty_form_says_next_to_nothing_and_a_filled_one_everything() {
        let made = profile(&Fields::from([("model".into(), " org/m ".into())]), &Value::Null);
        assert_eq!(made["model"], "org/m");
        assert_eq!(made["engine"]["kind"], "vllm");
        assert!(made.get("disk").is_none() && made["gpu"].get("count").is_none());
        let filled = Fields::from(
            [("serve-for", "8"), ("replicas", "0"), ("replicas-max", "3"), ("offer", "20001"), ("wait", "on")]
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        let wanted = json!({"profile": "p", "serve-for": "8h", "replicas": {"min": 0, "max": 3}, "offer": "20001", "wait": true});
        assert_eq!(deployment(&filled, "p"), wanted);
    }
}
