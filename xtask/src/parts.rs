//! The real parts that tests need: installed where that is possible, named where it is not. Nothing is skipped.

use crate::{root, say};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A part, where it is found, and the Debian package that brings it.
const PARTS: &[(&str, &[&str], &str)] = &[
    ("sshd", &["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"], "openssh-server"),
    ("ssh-keygen", &["/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"], "openssh-client"),
    ("chromium", &["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"], "chromium"),
    ("openssl", &["/usr/bin/openssl", "/usr/local/bin/openssl"], "openssl"),
    ("npm", &["/usr/bin/npm", "/usr/local/bin/npm", "/usr/local/node/bin/npm"], "npm"),
    ("setpriv", &["/usr/bin/setpriv", "/bin/setpriv"], "util-linux"),
];

fn missing() -> Vec<(&'static str, &'static str)> {
    let there = |paths: &[&str]| paths.iter().any(|p| Path::new(p).exists());
    let mut all: Vec<_> =
        PARTS.iter().filter(|(_, paths, _)| !there(paths)).map(|(name, _, package)| (*name, *package)).collect();
    // Debian keeps each version's programs in a folder of its own.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut initdb = versions.map(|v| v.path().join("bin/initdb"));
    if !initdb.any(|p| p.exists()) && !there(&["/usr/bin/initdb", "/usr/local/bin/initdb", "/usr/local/pgsql/bin/initdb"]) {
        all.push(("initdb", "postgresql"));
    }
    all
}

/// Programs of the Python package index, each with its version: the clients that tests run, and a router to measure beside.
const CLIENT: (&str, &str) = ("vastai", "1.9.1");
const OPENAI: (&str, &str) = ("openai", "3.54.0");
const ANTHROPIC: (&str, &str) = ("anthropic", "2.14.0");
const PLAYWRIGHT: (&str, &str) = ("playwright", "1.65.2");
const SCHEMATHESIS: (&str, &str) = ("schemathesis", "4.32.5");
const ROUTER: (&str, &str) = ("vllm-router", "0.1.17");

/// Where such a program's environment stands.
fn environment((name, version): (&str, &str)) -> PathBuf {
    root().join("target/clients").join(format!("{name}-{version}"))
}

/// Where the router stands.
pub(crate) fn router() -> PathBuf {
    environment(ROUTER)
}

/// Makes sure that a program stands in an environment of its own under `target`.
fn program((name, version): (&str, &str)) -> Result<(), String> {
    let folder = environment((name, version));
    // Written last: half an environment has none.
    let whole = folder.join("installed");
    if whole.exists() {
        return Ok(());
    }
    say(&format!("installing what is needed: {name} {version} from the package index"));
    let place = folder.display().to_string();
    let run = |program: &str, args: &[&str]| Command::new(program).args(args).status().is_ok_and(|s| s.success());
    let made = run("python3", &["-m", "venv", &place])
        || (apt(&["python3", "python3-venv"]) && run("python3", &["-m", "venv", "--clear", &place]));
    let pip = folder.join("bin/pip").display().to_string();
    if made
        && run(&pip, &["install", "--quiet", "--disable-pip-version-check", &format!("{name}=={version}")])
        && std::fs::write(&whole, version).is_ok()
    {
        return Ok(());
    }
    // Half an environment would be taken for a whole one the next time.
    std::fs::remove_dir_all(&folder).ok();
    Err(format!(
        "`{name}` is needed: `python3 -m venv {place} && {pip} install {name}=={version}` (Debian packages python3, python3-venv)"
    ))
}

/// The program that drives a browser.
pub(crate) fn browser() -> PathBuf {
    environment(PLAYWRIGHT).join("bin/python")
}

/// What the gateway is measured beside.
pub(crate) fn bench() -> Result<(), String> {
    programs()?;
    if !Path::new("/usr/sbin/nginx").exists() && !apt(&["nginx-light"]) {
        return Err("`nginx` is needed (Debian package nginx-light)".to_owned());
    }
    program(ROUTER)
}

fn apt(packages: &[&str]) -> bool {
    let run = |args: &[&str]| {
        Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status().is_ok_and(|s| s.success())
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(packages);
    run(&["update"]) && run(&install)
}

/// Makes sure that every part is there.
pub(crate) fn check() -> Result<(), String> {
    programs()?;
    program(CLIENT)?;
    program(OPENAI)?;
    program(ANTHROPIC)?;
    program(PLAYWRIGHT)?;
    program(SCHEMATHESIS)?;
    axe()
}

/// What looks at pages for people who cannot see them, from the npm registry.
const AXE: &str = "4.14.1";

fn axe() -> Result<(), String> {
    let folder = root().join("target/clients").join(format!("axe-core-{AXE}"));
    if folder.join("package/axe.min.js").exists() {
        return Ok(());
    }
    say(&format!("installing what is needed: axe-core {AXE} from the npm registry"));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let run =
        |program: &str, args: &[&str]| Command::new(program).args(args).current_dir(&folder).status().is_ok_and(|s| s.success());
    let archive = format!("axe-core-{AXE}.tgz");
    if run("npm", &["pack", "--silent", &format!("axe-core@{AXE}")]) && run("tar", &["xzf", &archive]) {
        return Ok(());
    }
    Err(format!("`axe-core` is needed: `npm pack axe-core@{AXE}` in `{}`, unpacked (Debian package npm)", folder.display()))
}

fn programs() -> Result<(), String> {
    if missing().is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing().into_iter().map(|(_, package)| package).collect();
    say(&format!("installing what the tests need: {}", packages.join(" ")));
    let installed = apt(&packages);
    let still = missing();
    if installed && still.is_empty() {
        return Ok(());
    }
    let text: Vec<String> = still.iter().map(|(name, package)| format!("`{name}` (Debian package {package})")).collect();
    Err(format!("the tests need {}: install it, for instance with `apt-get install {}`", text.join(" and "), packages.join(" ")))
}
