//! The real parts that tests need: installed where that is possible, named where it is not. Nothing is skipped.

use crate::say;
use std::path::Path;
use std::process::Command;

/// A part, where it is found, and the Debian package that brings it.
const PARTS: &[(&str, &[&str], &str)] = &[
    ("sshd", &["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"], "openssh-server"),
    ("ssh-keygen", &["/usr/bin/ssh-keygen", "/usr/local/bin/ssh-keygen"], "openssh-client"),
];

fn missing() -> Vec<(&'static str, &'static str)> {
    let there = |paths: &[&str]| paths.iter().any(|p| Path::new(p).exists());
    PARTS.iter().filter(|(_, paths, _)| !there(paths)).map(|(name, _, package)| (*name, *package)).collect()
}

/// Makes sure that every part is there.
pub(crate) fn check() -> Result<(), String> {
    if missing().is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing().into_iter().map(|(_, package)| package).collect();
    say(&format!("installing what the tests need: {}", packages.join(" ")));
    let apt = |args: &[&str]| {
        Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").status().is_ok_and(|s| s.success())
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&packages);
    let installed = apt(&["update"]) && apt(&install);
    let still = missing();
    if installed && still.is_empty() {
        return Ok(());
    }
    let text: Vec<String> = still.iter().map(|(name, package)| format!("`{name}` (Debian package {package})")).collect();
    Err(format!("the tests need {}: install it, for instance with `apt-get install {}`", text.join(" and "), packages.join(" ")))
}
