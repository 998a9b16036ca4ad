//! The dashboard measured in a real browser: weight, how soon it can be used, what open pages cost the server, lists of 10,000.

use crate::{parts, root, run, say};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = include_str!("bench_dashboard.py");

pub(crate) fn bench_dashboard(args: &[String]) -> Result<(), String> {
    parts::check()?;
    if !args.iter().any(|a| a == "--built") {
        run("cargo", &["build", "--profile", "dist", "--package", "charter"])?;
    }
    let folder = std::env::temp_dir().join(format!("charter-bench-dashboard-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let done = measured(&folder, "pages").and_then(|()| {
        let data = folder.join("data").display().to_string();
        run("cargo", &["run", "--quiet", "--package", "charter-store", "--example", "fill", &data, "10000"])?;
        measured(&folder, "lists")
    });
    std::fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
    done
}

/// A server on a folder of its own, ended with this.
struct Server {
    child: Child,
    url: String,
    key: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if ended.is_err() {
            say("the server could not be ended");
        }
    }
}

fn serve(folder: &Path) -> Result<Server, String> {
    let data = folder.join("data");
    let mut child = Command::new(root().join("target/dist/charter"))
        .arg("--data-dir")
        .arg(&data)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let out = child.stdout.take().ok_or("no output")?;
    let mut url = String::new();
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if let Some(found) = line.strip_prefix("control plane: ") {
            url = found.to_owned();
        }
        if line == "ready" {
            break;
        }
    }
    let key = std::fs::read_to_string(data.join("local.key")).map_err(|e| e.to_string())?.trim().to_owned();
    Ok(Server { child, url, key })
}

fn measured(folder: &Path, what: &str) -> Result<(), String> {
    let server = serve(folder)?;
    let script = folder.join("bench.py");
    std::fs::write(&script, SCRIPT).map_err(|e| e.to_string())?;
    let status = Command::new(parts::browser())
        .arg(script)
        .env("URL", &server.url)
        .env("KEY", &server.key)
        .env("PID", server.child.id().to_string())
        .env("CHROMIUM", "/usr/bin/chromium")
        .env("WHAT", what)
        .status()
        .map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("a limit of the dashboard ({what}) is missed")) }
}
