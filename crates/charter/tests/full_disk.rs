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

/// A small file system of its own, which only root can make: `cargo test -p charter --test full_disk -- --ignored`.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: &std::path::Path) -> Self {
        std::fs::create_dir_all(at).expect("a folder");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs"]).arg(at).status();
        assert!(done.expect("mount").success(), "only root can mount");
        Self(at.to_owned())
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
#[ignore = "mounts a file system, and so needs root"]
fn on_a_small_tmpfs_that_is_full_nothing_is_lost_and_all_goes_on_when_there_is_room() {
    let mut place = Place::new("tmpfs");
    let disk = Small::mount(&place.data());
    place.configure("", "  small: {profile: small}\n  more: {profile: small, served-name: more}\n");
    place.serve(&[]);
    place.ok(&["up", "small"]);
    disk.fill();
    for command in [vec!["down", "small"], vec!["up", "more"], vec!["key", "create"]] {
        let refused = place.charter(&command);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("D0001") && said.contains("disk"), "{command:?}: {said}");
    }
    assert_eq!(place.engines().len(), 1, "nothing was begun or ended that is not written down");
    // The server is killed while its disk is full, and another one has to open the same database.
    place.kill_server();
    disk.free();
    place.serve(&[]);
    place.ok(&["up", "more"]);
    assert_eq!(place.engines().len(), 2);
    place.ok(&["down", "--all"]);
    assert!(place.engines().is_empty());
    place.stop_server();
}
