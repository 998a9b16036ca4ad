//! The whole way with the real parts: OpenSSH's server, the real vLLM, our own program as it is given away. Says how long each
//! phase took.

use crate::{parts, root, run, say};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

pub(crate) struct Stage {
    folder: PathBuf,
    charter: PathBuf,
    venv: PathBuf,
    port: u16,
    listen: u16,
    sshd: Child,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whatever happened before, nothing may stay.
        let ended = [
            self.charter(&["down", "--all"]).is_ok(),
            self.charter(&["stop"]).is_ok(),
            self.sshd.kill().is_ok(),
            self.sshd.wait().is_ok(),
        ];
        if ended.contains(&false) {
            say("something had ended before it was told to");
        }
    }
}

/// Installs the engine once, and runs the flow.
pub(crate) fn real_engine(keep: bool) -> Result<(), String> {
    on_stage(keep, flow)
}

/// Runs a flow on a stage that is set up for it, and taken down again whatever happens.
pub(crate) fn on_stage(keep: bool, flow: fn(&Stage) -> Result<(), String>) -> Result<(), String> {
    parts::check()?;
    let venv = root().join("target/real-engine/venv");
    timed("install the engine (once)", || run("bash", &["xtask/real-engine/install.sh", "target/real-engine/venv"]))?;
    timed("build charter", || run("cargo", &["build", "--profile", "dist", "--package", "charter"]))?;
    let folder = std::env::temp_dir().join(format!("charter-real-engine-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let (port, sshd) = private_sshd(&folder)?;
    let charter = root().join("target/dist/charter").canonicalize().map_err(|e| e.to_string())?;
    let venv = venv.canonicalize().map_err(|e| e.to_string())?;
    let stage = Stage { folder: folder.clone(), charter, venv, port, listen: free_port()?, sshd };
    let result = flow(&stage);
    drop(stage);
    if !keep && std::fs::remove_dir_all(&folder).is_err() {
        say("the scratch folder could not be removed");
    }
    result
}

pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let begun = Instant::now();
    let result = work()?;
    say(&format!("  {:>6.1} s  {what}", begun.elapsed().as_secs_f64()));
    Ok(result)
}

/// A free port, with the next one free too as far as can be told: the gateway takes that one.
fn free_port() -> Result<u16, String> {
    for _ in 0..100 {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free ports".into())
}

/// A private OpenSSH server on a free port that lets one key in.
pub(crate) fn private_sshd(folder: &Path) -> Result<(u16, Child), String> {
    let port = free_port()?;
    std::fs::create_dir_all("/run/sshd").map_err(|e| format!("/run/sshd: {e}"))?;
    for name in ["host", "client"] {
        let file = folder.join(name).display().to_string();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &file])
            .status()
            .map_err(|e| e.to_string())?;
        if !made.success() {
            return Err("ssh-keygen failed".into());
        }
    }
    let f = folder.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {f}/host\nPidFile none\nAuthorizedKeysFile {f}/client.pub\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n"
    );
    std::fs::write(folder.join("sshd_config"), config).map_err(|e| e.to_string())?;
    let sshd = Command::new("/usr/sbin/sshd")
        .arg("-D")
        .arg("-f")
        .arg(folder.join("sshd_config"))
        .arg("-E")
        .arg(folder.join("sshd.log"))
        .spawn()
        .map_err(|e| format!("sshd: {e}"))?;
    Ok((port, sshd))
}

impl Stage {
    pub(crate) fn charter(&self, args: &[&str]) -> Result<Output, String> {
        Command::new(&self.charter)
            .args(["--data-dir", &self.folder.join("data").display().to_string()])
            .args(args)
            .env("CHARTER_LISTEN", format!("127.0.0.1:{}", self.listen))
            // An engine that answers is asked again after an hour: what it counts comes from requests alone.
            .env("VASTAI_HEALTH_CHECK_INTERVAL_SECONDS", "3600")
            .current_dir(&self.folder)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| e.to_string())
    }

    /// The gateway's address, and a key.
    pub(crate) fn gateway(&self) -> Result<(String, String), String> {
        let status = self.charter(&["--json", "status"])?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).map_err(|e| e.to_string())?;
        let url = status["server"]["gateway_url"].as_str().unwrap_or_default();
        let key = std::fs::read_to_string(self.folder.join("data/local.key")).map_err(|e| e.to_string())?;
        Ok((url.trim_start_matches("http://").trim_end_matches("/v1").to_owned(), key.trim().to_owned()))
    }

    /// Two deployments of the same model, each with an engine of its own.
    pub(crate) fn two(&self) -> Result<(), String> {
        self.config("one", "max-model-len: 1024, enforce-eager: true", "")?;
        let file = self.folder.join("charter.yaml");
        let text = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
        let both = text.replace(
            "  one: {profile: tiny}",
            "  one: {profile: tiny, served-name: tiny-1}\n  two: {profile: tiny, served-name: tiny-2}",
        );
        std::fs::write(file, both).map_err(|e| e.to_string())
    }

    pub(crate) fn config(&self, deployment: &str, options: &str, extra: &str) -> Result<(), String> {
        let model = self.venv.join("tiny-llama").display().to_string();
        self.config_of(deployment, &model, options, extra, "")
    }

    fn config_of(&self, deployment: &str, model: &str, options: &str, extra: &str, env: &str) -> Result<(), String> {
        let (f, v) = (self.folder.display(), self.venv.display());
        let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
        let text = format!(
            "version: 1\nserver:\n  providers:\n    lab:\n      kind: machines\n      machines:\n        - {{name: tower, address: \"127.0.0.1:{}\", user: {user}, key-file: {f}/client, allow-no-gpu: true}}\n\
             profiles:\n  tiny:\n    model: {model}\n    served-name: tiny\n    provider: [lab]\n    limits: {{failed-restarts: 1, bake: 5s}}\n    engine:\n      source: installed\n      command: [{v}/bin/vllm, serve]\n      options: {{{options}}}\n      extra-args: [{extra}]\n      env: {{VLLM_CPU_KVCACHE_SPACE: \"1\", HF_HUB_OFFLINE: \"1\"{env}}}\n\
             deployments:\n  {deployment}: {{profile: tiny}}\n",
            self.port
        );
        std::fs::write(self.folder.join("charter.yaml"), text).map_err(|e| e.to_string())
    }
}

fn engines() -> usize {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = all.filter_map(|e| std::fs::read(e.path().join("cmdline")).ok());
    lines.filter(|l| String::from_utf8_lossy(l).contains("tiny-llama\0--host")).count()
}

fn flow(stage: &Stage) -> Result<(), String> {
    stage.config("tiny", "max-model-len: 1024, enforce-eager: true", "")?;
    let up = timed("up: server, machine, engine, first answer", || stage.charter(&["up"]))?;
    if !up.status.success() {
        return Err("`charter up` failed".into());
    }
    timed("one streamed answer through the gateway", || stream(stage))?;
    let log = stage.charter(&["logs", "tiny", "--tail", "100000"])?;
    explain(stage, "the running engine", &log.stdout, "ok_ready")?;
    crate::real_upgrade::upgrades(stage)?;
    let down = timed("down: until nothing is left", || stage.charter(&["down", "tiny"]))?;
    if !down.status.success() || engines() > 0 {
        return Err(format!("{} engine processes are left", engines()));
    }
    say("          no engine process is left");
    failures(stage)?;
    if engines() > 0 {
        return Err(format!("{} engine processes are left", engines()));
    }
    Ok(())
}

/// Starts that the real engine refuses, each for a reason of its own.
fn failures(stage: &Stage) -> Result<(), String> {
    let good = "max-model-len: 1024";
    let tiny = stage.venv.join("tiny-llama").display().to_string();
    let nowhere = stage.folder.join("nowhere").display().to_string();
    let unknown = variant(stage, "unknown-architecture", |name, bytes| {
        let text = String::from_utf8_lossy(bytes).replace("LlamaForCausalLM", "NobodyForCausalLM");
        (name == "config.json").then(|| text.into_bytes())
    })?;
    let truncated =
        variant(stage, "truncated", |name, bytes| (name == "model.safetensors").then(|| bytes[..bytes.len() / 2].to_vec()))?;
    let other = variant(stage, "other-shape", |name, bytes| {
        let mut config: serde_json::Value = serde_json::from_slice(bytes).ok().filter(|_| name == "config.json")?;
        let size = config["intermediate_size"].as_u64()?;
        config["intermediate_size"] = (size * 2).into();
        Some(config.to_string().into_bytes())
    })?;
    // Name, model, options, extra arguments, environment, class.
    let cases: [(&str, &str, &str, &str, &str, &str); 10] = [
        ("bad-flag", &tiny, good, "\"--no-such-flag\"", "", "bad_args"),
        ("too-long", &tiny, "max-model-len: 999999", "", "", "max_len_exceeds_model"),
        ("no-model", &nowhere, good, "", "", "model_not_found"),
        ("no-hub", "nobody/of-this-name", good, "", "", "hub_unreachable"),
        ("bad-choice", &tiny, "max-model-len: 1024, dtype: nonsense", "", "", "bad_args"),
        ("bad-method", &tiny, "max-model-len: 1024, quantization: nonsense", "", "", "bad_args"),
        ("bad-port", &tiny, good, "", ", VLLM_PORT: \"tcp://10.0.0.1:80\"", "env_broken"),
        ("unknown-arch", &unknown, good, "", "", "unsupported_arch"),
        ("truncated", &truncated, good, "", "", "corrupt_weights"),
        ("other-shape", &other, good, "", "", "weights_mismatch"),
    ];
    for (name, model, options, extra, env, class) in cases {
        stage.config_of(name, model, options, extra, env)?;
        failing(stage, name, class)?;
    }
    Ok(())
}

/// The model with one of its files changed.
fn variant(stage: &Stage, name: &str, change: impl Fn(&str, &[u8]) -> Option<Vec<u8>>) -> Result<String, String> {
    let to = stage.folder.join(name);
    std::fs::create_dir_all(&to).map_err(|e| e.to_string())?;
    for entry in std::fs::read_dir(stage.venv.join("tiny-llama")).map_err(|e| e.to_string())?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let bytes = std::fs::read(entry.path()).map_err(|e| e.to_string())?;
        let bytes = change(&file, &bytes).unwrap_or(bytes);
        std::fs::write(to.join(&file), bytes).map_err(|e| e.to_string())?;
    }
    Ok(to.display().to_string())
}

/// A start that must fail with a class, a hint, and nothing left behind.
fn failing(stage: &Stage, name: &str, class: &str) -> Result<(), String> {
    let up = timed(&format!("a start that must fail with `{class}`"), || stage.charter(&["--json", "up"]))?;
    let text = String::from_utf8_lossy(&up.stdout).into_owned();
    let answer: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
    let said = answer["error"]["message"].as_str().unwrap_or_default();
    if up.status.success() || !said.contains(class) {
        return Err(format!("`{class}` was expected: {text}"));
    }
    say(&format!("          {said} (hint: {})", answer["error"]["hint"].as_str().unwrap_or_default()));
    let log = stage.charter(&["logs", name, "--tail", "100000"])?;
    explain(stage, name, &log.stdout, class)?;
    stage.charter(&["down", name]).map(|_| ())
}

fn explain(stage: &Stage, name: &str, log: &[u8], class: &str) -> Result<(), String> {
    let mut child = Command::new(&stage.charter)
        .args(["--json", "engine", "explain-log", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(log).map_err(|e| e.to_string())?;
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    say(&format!("          explain-log of {name}: {} in phase {}", answer["class"], answer["phase"]));
    if answer["class"] == class { Ok(()) } else { Err(format!("`{class}` was expected: {answer}")) }
}

/// A raw HTTP/1.1 request, so that each chunk is seen as it comes.
fn stream(stage: &Stage) -> Result<(), String> {
    let (gateway, key) = stage.gateway()?;
    let body = r#"{"model":"tiny","stream":true,"max_tokens":8,"messages":[{"role":"user","content":"hello"}]}"#;
    let mut socket = std::net::TcpStream::connect(&gateway).map_err(|e| e.to_string())?;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {gateway}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        key,
        body.len()
    );
    socket.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let lines: Vec<String> = BufReader::new(socket).lines().map_while(Result::ok).collect();
    let events = lines.iter().filter(|l| l.starts_with("data: ")).count();
    let whole = lines.first().is_some_and(|l| l.contains("200")) && lines.iter().any(|l| l == "data: [DONE]");
    say(&format!("          {events} events"));
    if whole { Ok(()) } else { Err(format!("the stream was not whole: {lines:?}")) }
}
