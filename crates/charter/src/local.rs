//! The local server: found by its `server.json`, and started in the background when a command needs one.

use crate::cli::Global;
use crate::config;
use crate::environment;
use charter_api::problem::Problem;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a running server says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServerFile {
    pub(crate) pid: u32,
    pub(crate) url: String,
    pub(crate) gateway_url: Option<String>,
    pub(crate) version: String,
}

/// Where a server is, and the key for it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) url: String,
    pub(crate) key: String,
}

/// How long a new server may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn server_file(data_dir: &Path) -> PathBuf {
    data_dir.join("server.json")
}

/// The server's file, if the process behind it still lives.
pub(crate) fn running(data_dir: &Path) -> Option<ServerFile> {
    let text = std::fs::read_to_string(server_file(data_dir)).ok()?;
    let file: ServerFile = serde_json::from_str(&text).ok()?;
    // The lock is the truth: a file may be left over, and its number may be somebody else's by now.
    let lock = std::fs::File::open(data_dir.join("lock")).ok()?;
    lock.try_lock_shared().is_err().then_some(file)
}

fn key(global: &Global, data_dir: &Path) -> Result<String, Problem> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map(|k| k.trim().to_owned()).map_err(|e| {
            Problem::new(0, "C0006", format!("the key file `{}` cannot be read", path.display()), "check its name and its mode")
                .with_detail(e.to_string())
        })
    };
    if let Some(path) = &global.key_file {
        return read(path);
    }
    if let Some(key) = environment::var("CHARTER_KEY") {
        return Ok(key);
    }
    let local = data_dir.join("local.key");
    if local.exists() { read(&local) } else { Ok(String::new()) }
}

/// The server to ask; none is started.
pub(crate) fn find(global: &Global) -> Result<Known, Problem> {
    let data_dir = config::data_dir(global)?;
    if let Some(url) = &global.server {
        return Ok(Known { url: url.trim_end_matches('/').to_owned(), key: key(global, &data_dir)? });
    }
    match running(&data_dir) {
        Some(file) => Ok(Known { url: file.url, key: key(global, &data_dir)? }),
        None => Err(none(&data_dir)),
    }
}

fn none(data_dir: &Path) -> Problem {
    let detail = format!("nothing runs on the data directory `{}`", data_dir.display());
    Problem::new(0, "A0001", "no server answers", "start one: `charter serve`, or name one: `--server URL`").with_detail(detail)
}

/// The server to ask; a local one is started when none runs. True when it was.
pub(crate) fn find_or_start(global: &Global, file: Option<&Path>) -> Result<(Known, bool), Problem> {
    match find(global) {
        Err(problem) if problem.code == "A0001" => {}
        other => return other.map(|known| (known, false)),
    }
    let data_dir = config::data_dir(global)?;
    start(&data_dir, file)?;
    let begun = now();
    while now().duration_since(begun) < START_PATIENCE {
        if let Ok(known) = find(global) {
            return Ok((known, true));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(Problem::new(
        0,
        "A0004",
        "the server did not start",
        format!("read its log: `{}`", data_dir.join("server.log").display()),
    ))
}

#[expect(clippy::disallowed_methods, reason = "a bound on waiting for another process")]
fn now() -> Instant {
    Instant::now()
}

fn start(data_dir: &Path, file: Option<&Path>) -> Result<(), Problem> {
    let failed = |e: std::io::Error| {
        Problem::new(0, "A0004", "the server could not be started", "start it by hand: `charter serve`")
            .with_detail(e.to_string())
    };
    crate::install::make_private_folder(data_dir).map_err(failed)?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data_dir.join("server.log")).map_err(failed)?;
    // What `serve` says on standard output holds the admin key, once; it belongs into no log.
    let first = data_dir.join("first-start.txt");
    let out = if data_dir.join("charter.db").exists() {
        Stdio::null()
    } else {
        crate::install::private_file(&first).map_err(failed)?.into()
    };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("serve").arg("--data-dir").arg(data_dir).stdin(Stdio::null()).stdout(out).stderr(log);
    if let Some(file) = file {
        command.arg("--config").arg(std::fs::canonicalize(file).map_err(failed)?);
    }
    // A process group of its own, so that an interrupted command does not take the server with it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(failed)?;
    let begun = now();
    while now().duration_since(begun) < START_PATIENCE && running(data_dir).is_none() {
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(data_dir.join("server.log")).unwrap_or_default();
            let lines: Vec<&str> = said.lines().rev().take(12).collect();
            let tail: Vec<&str> = lines.into_iter().rev().collect();
            let problem =
                Problem::new(0, "A0004", format!("the server ended at once ({status})"), "correct what it says, and try again");
            return Err(problem.with_detail(tail.join("\n")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
