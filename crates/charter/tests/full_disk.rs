//! A disk that is full for a while: refused with a clear error, and nothing is lost or stuck afterwards.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::process::Command;
use support::Place;

/// Limits how large a file of the server may grow, which fails a write as a full disk does.
fn limit(pid: u32, bytes: &str) {
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--fsize={bytes}:unlimited")]).status();
    assert!(done.expect("prlimit (package util-linux)").success());
}

#[test]
fn what_was_refused_for_a_full_disk_works_as_soon_as_there_is_room() {
    let mut place = Place::new("full");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    limit(place.server_pid(), "4096");
    let refused = place.charter(&["down", "small"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("error[D0001]") && said.contains("disk"), "{said}");
    assert_eq!(place.engines().len(), 1, "nothing was ended that is not written down");
    limit(place.server_pid(), "unlimited");
    place.ok(&["down", "small"]);
    assert!(place.engines().is_empty());
    let mode = Command::new("stat").args(["-c", "%a"]).arg(place.data().join("charter.db")).output().expect("stat");
    assert_eq!(String::from_utf8_lossy(&mode.stdout).trim(), "600");
}
