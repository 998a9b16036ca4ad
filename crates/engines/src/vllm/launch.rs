//! The command line and environment of a vLLM server. Arguments are a list, never a text; secrets are never in it.

use charter_domain::profile::{OptionValue, Profile, Source};

/// The official image.
pub const IMAGE: &str = "vllm/vllm-openai";

/// The port that the image's server listens on where nothing else is said.
pub const IMAGE_PORT: u16 = 8000;

/// How the engine is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments.
    pub argv: Vec<Arg>,
    /// Environment that is no secret.
    pub env: Vec<(String, String)>,
}

/// One word of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Exactly this.
    Word(String),
    /// The port that the machine will find free.
    Port,
}

/// Where it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// On a machine, on its loopback address: the way in is an SSH stream.
    Machine {
        /// Program and first arguments, such as `["/opt/vllm/bin/vllm", "serve"]`; empty when the caller puts them before.
        command: &'a [String],
    },
    /// In the official image, whose entrypoint is `vllm serve` already.
    Image {
        /// The port inside.
        port: u16,
    },
}

/// Structured options whose value is a switch, by their names in the profile.
const SWITCHES: &[&str] =
    &["enforce-eager", "trust-remote-code", "enable-prefix-caching", "enable-chunked-prefill", "enable-auto-tool-choice"];

/// All structured options, by their names in the profile, which are the engine's own.
pub const OPTIONS: &[&str] = &[
    "max-model-len",
    "dtype",
    "quantization",
    "max-num-seqs",
    "kv-cache-dtype",
    "swap-space",
    "enforce-eager",
    "trust-remote-code",
    "revision",
    "seed",
    "tensor-parallel-size",
    "gpu-memory-utilization",
    "max-num-batched-tokens",
    "enable-prefix-caching",
    "enable-chunked-prefill",
    "enable-auto-tool-choice",
    "tool-call-parser",
    "reasoning-parser",
    "max-loras",
    "max-lora-rank",
    "max-cpu-loras",
    "download-dir",
    "load-format",
    "tokenizer",
    "chat-template",
    "hf-overrides",
    "task",
    "runner",
    "served-model-name",
];

/// Is `value` one that the option `name` can take? The engine has the last word; this catches what it would refuse late.
///
/// # Errors
/// What would be right.
pub fn check_option(name: &str, value: &OptionValue) -> Result<(), String> {
    if SWITCHES.contains(&name) {
        return match value {
            OptionValue::Flag(_) => Ok(()),
            OptionValue::Number(_) | OptionValue::Text(_) => Err(format!("`{name}` is a switch: `true` or `false`")),
        };
    }
    let whole = ["max-model-len", "max-num-seqs", "tensor-parallel-size", "max-num-batched-tokens", "seed"];
    if whole.contains(&name) && !matches!(value, OptionValue::Number(n) if *n >= 0) {
        return Err(format!("`{name}` takes a whole number"));
    }
    if name == "gpu-memory-utilization" {
        let share: Option<f64> = value.to_string().parse().ok();
        return match share {
            Some(share) if share > 0.0 && share <= 1.0 => Ok(()),
            _ => Err("`gpu-memory-utilization` is a share between 0 and 1".to_owned()),
        };
    }
    if matches!(value, OptionValue::Flag(_)) {
        return Err(format!("`{name}` takes a value, not a switch"));
    }
    Ok(())
}

/// Builds the command line: model, address, names, structured options in the order of their names, adapters, and last
/// the extra arguments, which win.
#[must_use]
pub fn launch(profile: &Profile, place: &Place<'_>) -> Launch {
    let (first, host, port) = match place {
        Place::Machine { command } => (command.to_vec(), "127.0.0.1", Arg::Port),
        // Saying `vllm serve` again would be taken for two stray arguments.
        Place::Image { port } => (vec![], "0.0.0.0", Arg::Word(port.to_string())),
    };
    let mut argv: Vec<Arg> = words(first);
    argv.extend(words([profile.model.clone(), "--host".into(), host.into(), "--port".into()]));
    argv.push(port);
    argv.extend(words(["--served-model-name".into(), profile.served_name.clone()]));
    argv.extend(words(options(profile)));
    argv.extend(words(profile.engine.extra_args.iter().cloned()));
    Launch { argv, env: env(profile) }
}

fn words(texts: impl IntoIterator<Item = String>) -> Vec<Arg> {
    texts.into_iter().map(Arg::Word).collect()
}

fn options(profile: &Profile) -> Vec<String> {
    let mut argv = vec![];
    if profile.gpu.count > 1 && !profile.engine.options.contains_key("tensor-parallel-size") {
        argv.extend(["--tensor-parallel-size".to_owned(), profile.gpu.count.to_string()]);
    }
    for (name, value) in &profile.engine.options {
        match value {
            OptionValue::Flag(true) => argv.push(format!("--{name}")),
            OptionValue::Flag(false) if name.starts_with("enable-") => argv.push(format!("--no-{name}")),
            OptionValue::Flag(false) => {}
            OptionValue::Number(_) | OptionValue::Text(_) => argv.extend([format!("--{name}"), value.to_string()]),
        }
    }
    if !profile.engine.lora.is_empty() {
        argv.extend(["--enable-lora".to_owned(), "--lora-modules".to_owned()]);
        argv.extend(profile.engine.lora.iter().map(|l| format!("{}={}", l.name, l.path)));
    }
    argv
}

fn env(profile: &Profile) -> Vec<(String, String)> {
    let mut env = vec![("VLLM_NO_USAGE_STATS".to_owned(), "1".to_owned()), ("PYTHONUNBUFFERED".to_owned(), "1".to_owned())];
    if profile.engine.source == Source::Image && profile.gpu.count > 1 {
        env.push(("NCCL_DEBUG".to_owned(), "WARN".to_owned()));
    }
    env
}

/// The variable that carries the engine's own key; an argument would stand in the process list.
pub const KEY_VARIABLE: &str = "VLLM_API_KEY";

#[cfg(test)]
mod tests {
    use super::*;
    use charter_domain::profile::{Engine, Gpu, Limits, Lora, Vram};
    use std::collections::BTreeMap;

    fn profile() -> Profile {
        let options = [
            ("quantization", OptionValue::Text("fp8".into())),
            ("max-model-len", OptionValue::Number(32768)),
            ("enforce-eager", OptionValue::Flag(true)),
            ("trust-remote-code", OptionValue::Flag(false)),
        ];
        Profile {
            model: "org/model".into(),
            served_name: "chat".into(),
            providers: vec![],
            engine: Engine {
                kind: "vllm".into(),
                version: String::new(),
                source: Source::Venv,
                command: vec![],
                options: options.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
                extra_args: vec!["--max-model-len".into(), "1024".into()],
                lora: vec![Lora { name: "sql".into(), path: "org/sql".into() }],
                env: BTreeMap::new(),
            },
            gpu: Gpu {
                count: 2,
                indices: vec![],
                min_vram: Vram::Auto,
                min_compute_tenths: None,
                max_price: None,
                tiers: vec![],
                other_names: true,
            },
            disk_bytes: 0,
            min_reliability_permille: 0,
            max_concurrent: 16,
            keep_alive: None,
            limits: Limits::default(),
            canary: vec![],
        }
    }

    fn text(made: &Launch) -> String {
        let word = |arg: &Arg| match arg {
            Arg::Word(word) => word.clone(),
            Arg::Port => "PORT".to_owned(),
        };
        made.argv.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn on_a_machine_it_listens_on_loopback_and_extra_arguments_come_last() {
        let command = ["/v/bin/vllm".to_owned(), "serve".to_owned()];
        let made = launch(&profile(), &Place::Machine { command: &command });
        let text = text(&made);
        assert_eq!(
            text,
            "/v/bin/vllm serve org/model --host 127.0.0.1 --port PORT --served-model-name chat --tensor-parallel-size 2 \
             --enforce-eager --max-model-len 32768 --quantization fp8 --enable-lora --lora-modules sql=org/sql --max-model-len 1024"
        );
    }

    #[test]
    fn in_the_image_the_entrypoint_is_not_repeated() {
        let made = launch(&profile(), &Place::Image { port: 8000 });
        assert!(text(&made).starts_with("org/model --host 0.0.0.0 --port 8000 "));
    }

    #[test]
    fn options_are_checked_before_anything_is_paid_for() {
        let wrong = [
            ("max-model-len", OptionValue::Text("8k".into())),
            ("enforce-eager", OptionValue::Text("yes".into())),
            ("gpu-memory-utilization", OptionValue::Text("1.5".into())),
            ("dtype", OptionValue::Flag(true)),
        ];
        for (name, value) in wrong {
            assert!(check_option(name, &value).is_err(), "{name}");
        }
        assert!(check_option("gpu-memory-utilization", &OptionValue::Text("0.92".into())).is_ok());
        assert!(check_option("max-model-len", &OptionValue::Number(8192)).is_ok());
    }
}
