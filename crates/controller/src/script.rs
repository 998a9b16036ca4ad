//! The script that runs an engine on a bare machine: install if wanted, start, and write down how it ended.

use charter_domain::profile::{Profile, Source};
use charter_engines::ollama;
use charter_engines::vllm::install::{Step, steps};
use charter_engines::vllm::launch::{Arg, Place, launch};
use charter_engines::vllm::version::Version;
use charter_remote::session::quote;

/// Builds the script. Arguments are quoted one by one; the port is the one that the machine has found free.
pub(crate) fn build(profile: &Profile, version: &Version, gpus: &[u32], driver: Option<&str>) -> String {
    let mut script = String::from("set -u\n");
    script.push_str(HEAD);
    if !gpus.is_empty() {
        let list = gpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        script.push_str(&format!("export CUDA_VISIBLE_DEVICES={list}\n"));
    }
    if ollama::runs(profile) {
        return script + &own_server(profile);
    }
    let command = match profile.engine.source {
        Source::Installed => profile.engine.command.clone(),
        Source::Venv | Source::Image => {
            let steps = steps(version, driver);
            script.push_str(&install(version, &steps));
            vec![]
        }
    };
    let made = launch(profile, &Place::Machine { command: &command });
    for (name, value) in &made.env {
        script.push_str(&format!("export {name}={}\n", quote(value)));
    }
    let words: Vec<String> = made
        .argv
        .iter()
        .map(|arg| match arg {
            Arg::Word(word) => quote(word),
            Arg::Port => "\"$CHARTER_PORT\"".to_owned(),
        })
        .collect();
    let program = if command.is_empty() { "\"$venv/bin/vllm\" serve " } else { "" };
    script.push_str(&format!("say \"starting the engine\"\n{program}{} &\n{TAIL}", words.join(" ")));
    script
}

/// Builds the script for a container whose image holds the engine: nothing is installed, and all its cards are ours.
pub(crate) fn in_image(profile: &Profile) -> String {
    let here = Profile {
        engine: charter_domain::profile::Engine {
            source: Source::Installed,
            command: match profile.engine.source {
                Source::Installed => profile.engine.command.clone(),
                Source::Image | Source::Venv if ollama::runs(profile) => vec![],
                Source::Image | Source::Venv => vec!["vllm".to_owned(), "serve".to_owned()],
            },
            ..profile.engine.clone()
        },
        ..profile.clone()
    };
    build(&here, &Version::Nightly, &[], None)
}

/// Ollama's server, with its own settings; it is on the machine already.
fn own_server(profile: &Profile) -> String {
    let usual = ["ollama".to_owned(), "serve".to_owned()];
    let command = if profile.engine.command.is_empty() { &usual[..] } else { &profile.engine.command };
    let mut text = String::new();
    if let [program, ..] = command {
        let program = quote(program);
        text.push_str(&format!(
            "command -v {program} >/dev/null 2>&1 || {{ say \"step ollama failed: {program}: command not found\"; finish 102; }}\n"
        ));
    }
    for (name, value) in ollama::env(profile) {
        text.push_str(&format!("export {name}={}\n", quote(&value)));
    }
    // Its way in is an SSH stream: it asks for no key, and so nobody else may reach it.
    text.push_str("export OLLAMA_HOST=\"127.0.0.1:$CHARTER_PORT\"\n");
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    text + &format!("say \"starting the engine\"\n{} &\n{TAIL}", words.join(" "))
}

/// Signals reach the engine, and its end is written down whatever it was.
const HEAD: &str = r#"say() { printf 'charter: %s\n' "$*"; }
finish() { printf '%s\n' "$1" > exit.part; mv exit.part exit; exit "$1"; }
child=
trap '[ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM INT
"#;

const TAIL: &str = r#"child=$!
while :; do
  wait "$child"; code=$?
  kill -0 "$child" 2>/dev/null || break
done
say "the engine ended with status $code"
finish "$code"
"#;

/// One installation per version and machine, whoever comes first; it is kept for the next start.
fn install(version: &Version, steps: &[Step]) -> String {
    let mut text = format!("venv=$HOME/.charter/venvs/{}\n", quote(&format!("vllm-{}", version.text())));
    text.push_str(
        r#"mkdir -p "$HOME/.charter/venvs"
exec 8>"$venv.lock"
flock -w 3600 8 || { say "step lock failed: another installation takes too long"; finish 101; }
command -v python3 >/dev/null 2>&1 || { say "step python failed: python3: command not found"; finish 102; }
if [ ! -f "$venv/complete" ]; then
  [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || { say "step venv failed: python3-venv is missing"; finish 103; }
"#,
    );
    for step in steps {
        text.push_str(&step_text(step));
    }
    text.push_str("  touch \"$venv/complete\"\nfi\nexec 8>&-\n");
    text
}

fn step_text(step: &Step) -> String {
    let name = step.name;
    let pip: Vec<String> = step.pip.iter().map(|a| quote(a)).collect();
    let on_failure = if step.required { "finish 104" } else { "say \"going on without it\"" };
    let seconds = step.timeout_seconds;
    let run = |what: &str| format!("timeout {seconds} \"$venv/bin/pip\" install --no-input --disable-pip-version-check {what}");
    let install = match &step.wheel {
        _ if pip.is_empty() => String::new(),
        None => format!("{} && ", run(&pip.join(" "))),
        Some(wheel) => format!(
            "{{ {} || {{ say 'step {name}: the index failed; trying the wheel of the release'; {}; }}; }} && ",
            run(&pip.join(" ")),
            run(&quote(wheel))
        ),
    };
    format!(
        "  say 'step {name} begins'\n  if {install}timeout {seconds} \"$venv/bin/python\" -c {}; then say 'step {name} done'\n  \
         else say \"step {name} failed with status $?\"; {on_failure}; fi\n",
        quote(step.check)
    )
}
