//! An engine installed into a virtual environment: the real script on a real machine, with stand-ins for `pip` and
//! `python` that write down what they are asked, and fail where a test wants them to.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use support::Place;

/// A virtual environment that is there already, so that no `python3 -m venv` is needed, and not complete yet.
fn place(name: &str, python: &str) -> Place {
    let mut place = Place::new(name);
    let venv = place.folder.join("home/.charter/venvs/vllm-0.8.5/bin");
    std::fs::create_dir_all(&venv).expect("folder");
    let log = place.folder.join("steps");
    let charter = env!("CARGO_BIN_EXE_charter");
    let programs = [
        ("pip", format!("echo \"pip $*\" >> {}\n", log.display())),
        ("python", format!("echo \"python $2\" >> {}\n{python}\n", log.display())),
        ("vllm", format!("exec {charter} __engine \"$@\"\n")),
    ];
    for (name, text) in programs {
        let file = venv.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}")).expect("program");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("mode");
    }
    place.configure("", "  small: {profile: small}\n");
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("file");
    let installed = format!("      source: installed\n      command: [{charter}, __engine, serve]\n");
    std::fs::write(&file, text.replace(&installed, "      source: venv\n      version: 0.8.5\n")).expect("file");
    place.serve(&[]);
    place
}

fn steps(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.folder.join("steps")).expect("steps");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn steps_come_in_their_order_each_with_its_check_and_only_once() {
    let place = place("install", "exit 0");
    place.ok(&["up"]);
    let order: Vec<String> = steps(&place).iter().map(|l| l.split_whitespace().take(6).collect::<Vec<_>>().join(" ")).collect();
    let what = |line: &String| match line.split_once(" --no-input --disable-pip-version-check ") {
        Some((_, packages)) => packages.split_whitespace().next().unwrap_or_default().to_owned(),
        None => line.clone(),
    };
    let firsts: Vec<String> = order.iter().map(what).collect();
    assert_eq!(
        firsts,
        [
            "torch",
            "python import torch",
            "numpy>=1.26,<2.0",
            "python import numpy; assert numpy.__version__ <",
            "vllm==0.8.5",
            "python from vllm import LLM"
        ],
        "{order:?}"
    );
    assert!(place.ok(&["logs", "small"]).contains("charter: step vllm done"));
    place.ok(&["down", "small"]);
    place.ok(&["up"]);
    assert_eq!(steps(&place).len(), 6, "the second start finds it installed");
    place.ok(&["down", "small"]);
}

#[test]
fn a_failed_check_of_torch_ends_it_and_one_of_numpy_does_not() {
    let broken = place("torch", "case $2 in *torch*) echo 'torch sees no CUDA' >&2; exit 1;; esac");
    let up = broken.charter(&["--json", "up"]);
    let answer: serde_json::Value = serde_json::from_slice(&up.stdout).expect("one document");
    assert_eq!(answer["error"]["message"], "`small` did not start: env_broken", "{answer}");
    let detail = answer["error"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("step torch failed with status 1") && detail.contains("torch sees no CUDA"), "{detail}");
    assert!(!steps(&broken).iter().any(|s| s.contains("vllm")), "nothing is installed after it");
    let warned = place("numpy", "case $2 in *numpy*) exit 1;; esac");
    warned.ok(&["up"]);
    let log = warned.ok(&["logs", "small"]);
    assert!(log.contains("charter: step numpy failed with status 1") && log.contains("charter: going on without it"), "{log}");
    warned.ok(&["down", "small"]);
}

#[test]
fn an_index_that_fails_is_stood_in_for_by_the_wheel_of_the_release() {
    let place = place("wheel", "exit 0");
    let pip = place.folder.join("home/.charter/venvs/vllm-0.8.5/bin/pip");
    let log = place.folder.join("steps");
    let text = format!("#!/bin/sh\necho \"pip $*\" >> {}\ncase \"$*\" in *vllm==*) exit 1;; esac\n", log.display());
    std::fs::write(&pip, text).expect("program");
    place.ok(&["up"]);
    let asked = steps(&place);
    assert!(asked.iter().any(|s| s.ends_with("/v0.8.5/vllm-0.8.5-cp38-abi3-manylinux1_x86_64.whl")), "{asked:?}");
    assert!(place.ok(&["logs", "small"]).contains("trying the wheel of the release"));
    place.ok(&["down", "small"]);
}

#[test]
fn a_card_that_hangs_does_not_hold_everything_up() {
    let mut place = Place::new("hung-card");
    let tools = place.folder.join("tools");
    std::fs::create_dir_all(&tools).expect("folder");
    // What coreutils' `timeout` does with a program that hangs, without the wait.
    for (name, text) in [("timeout", "exit 124"), ("nvidia-smi", "exec sleep 1000")] {
        let file = tools.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("program");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("mode");
    }
    place.path(&tools);
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    let planned = place.charter(&["plan"]);
    let said = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(said.contains("`nvidia-smi` gave no answer within 15 s"), "{said}");
    // While it searches on, people see why, and `plan` says so too.
    place.ok(&["up", "--detach"]);
    support::wait_until("status says what is waited for", || place.ok(&["status"]).contains("no machine yet: `tower`"));
    assert!(String::from_utf8_lossy(&place.charter(&["plan"]).stdout).contains("is on its way (pending)"));
    place.ok(&["down", "small"]);
}
