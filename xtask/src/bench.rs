//! The figures of `docs/benchmarks.md`, on this machine: the command line, the server at rest, and a deployment with an
//! engine that needs no time. Needs an OpenSSH server, and measures the release build.

use crate::real_engine::{private_sshd, timed};
use crate::{parts, root, run, say};
use nix::sys::resource::{UsageWho, getrusage};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Commands that a deployment sends to its machine one after another: what is there, claim, start.
const TRIPS: f64 = 3.0;
/// Runs of each short command.
const RUNS: usize = 21;
/// Deployments that are measured.
const DEPLOYS: usize = 11;

/// Runs one command and prints its largest resident size, for a parent that wants to know it of this command alone.
pub(crate) fn child(args: &[String]) -> Result<(), String> {
    let (program, rest) = args.split_first().ok_or("which command?")?;
    let begun = Instant::now();
    let status =
        Command::new(program).args(rest).stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(|e| e.to_string())?;
    let took = begun.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|e| e.to_string())?;
    say(&format!("{} {} {}", took.as_micros(), usage.max_rss(), status.code().unwrap_or(-1)));
    Ok(())
}

pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Median milliseconds and largest megabytes of a command.
fn command(args: &[String]) -> Result<(f64, f64), String> {
    let (mut times, mut sizes) = (vec![], vec![]);
    for _ in 0..RUNS {
        let me = std::env::current_exe().map_err(|e| e.to_string())?;
        let output = Command::new(me).arg("__child").args(args).output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [micros, kilobytes, _] = numbers.as_slice() else { return Err(text) };
        times.push(micros / 1000.0);
        sizes.push(kilobytes / 1000.0);
    }
    Ok((median(times), sizes.into_iter().fold(0.0, f64::max)))
}

pub(crate) fn verdict(what: &str, figure: f64, limit: f64, unit: &str, missed: &mut Vec<String>) {
    let word = if figure <= limit { "ok" } else { "MISSED" };
    say(&format!("  {figure:>8.1} {unit:<8} (limit {limit}) {word:<7} {what}"));
    if figure > limit {
        missed.push(what.to_owned());
    }
}

/// Measures everything.
pub(crate) fn bench() -> Result<(), String> {
    parts::check()?;
    run("cargo", &["build", "--release", "--package", "charter"])?;
    let charter = root().join("target/release/charter").display().to_string();
    let folder = std::env::temp_dir().join(format!("charter-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let (port, mut sshd) = private_sshd(&folder)?;
    let result = measure(&charter, &folder, port);
    let ended = [sshd.kill().is_ok(), sshd.wait().is_ok(), std::fs::remove_dir_all(&folder).is_ok()];
    if ended.contains(&false) {
        say("something had ended before it was told to");
    }
    result
}

fn measure(charter: &str, folder: &Path, port: u16) -> Result<(), String> {
    let mut missed = vec![];
    let data = folder.join("data").display().to_string();
    let args = |rest: &[&str]| {
        let all = [charter, "--data-dir", &data].into_iter().chain(rest.iter().copied());
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    configure(charter, folder, port)?;
    let (ms, mb) = command(&args(&["--help"]))?;
    verdict("charter --help, median time", ms, 50.0, "ms", &mut missed);
    verdict("charter --help, memory", mb, 30.0, "MB", &mut missed);
    let (mut server, listening) = serve(charter, folder)?;
    verdict("server, start until ready", listening.as_secs_f64() * 1000.0, 1000.0, "ms", &mut missed);
    let (ms, mb) = command(&args(&["status"]))?;
    verdict("charter status, median time", ms, 50.0, "ms", &mut missed);
    verdict("charter status, memory", mb, 30.0, "MB", &mut missed);
    verdict("server at rest, memory", resident(server.id())?, 50.0, "MB", &mut missed);
    let result = deploys(charter, folder, &mut missed);
    let ended = [server.kill().is_ok(), server.wait().is_ok()];
    if ended.contains(&false) {
        say("the server had ended before it was told to");
    }
    result?;
    if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join(", "))) }
}

fn configure(charter: &str, folder: &Path, port: u16) -> Result<(), String> {
    let f = folder.display();
    let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
    let text = format!(
        "version: 1\nserver:\n  providers:\n    lab:\n      kind: machines\n      machines:\n        - {{name: tower, address: \"127.0.0.1:{port}\", user: {user}, key-file: {f}/client, allow-no-gpu: true}}\n\
         profiles:\n  instant: {{model: demo/instant, served-name: instant, engine: {{source: installed, command: [{charter}, __engine, serve]}}}}\n\
         deployments:\n  instant: {{profile: instant}}\n"
    );
    std::fs::write(folder.join("charter.yaml"), text).map_err(|e| e.to_string())
}

fn serve(charter: &str, folder: &Path) -> Result<(Child, Duration), String> {
    let begun = Instant::now();
    let data = folder.join("data").display().to_string();
    let mut server = Command::new(charter)
        .args(["--data-dir", &data, "--quiet", "serve", "--listen", "127.0.0.1:0"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let out = server.stdout.take().ok_or("no output")?;
    let ready = BufReader::new(out).lines().map_while(Result::ok).any(|l| l == "ready");
    if ready { Ok((server, begun.elapsed())) } else { Err("the server did not get ready".into()) }
}

/// Resident megabytes of a process.
fn resident(pid: u32) -> Result<f64, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no size")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse().map_err(|_| "no size".to_owned())?;
    Ok(kilobytes / 1000.0)
}

/// Commits made so far, as the server counts them.
fn commits(folder: &Path) -> Result<f64, String> {
    let file = std::fs::read_to_string(folder.join("data/server.json")).map_err(|e| e.to_string())?;
    let file: serde_json::Value = serde_json::from_str(&file).map_err(|e| e.to_string())?;
    let key = std::fs::read_to_string(folder.join("data/local.key")).map_err(|e| e.to_string())?;
    let host = file["url"].as_str().unwrap_or_default().trim_start_matches("http://").to_owned();
    let mut socket = std::net::TcpStream::connect(&host).map_err(|e| e.to_string())?;
    let request = format!(
        "GET /api/v1/doctor HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        key.trim()
    );
    std::io::Write::write_all(&mut socket, request.as_bytes()).map_err(|e| e.to_string())?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut socket, &mut text).map_err(|e| e.to_string())?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let value: serde_json::Value = serde_json::from_str(body).map_err(|e| format!("{e}: {body}"))?;
    value["commits"].as_f64().ok_or_else(|| "no count".to_owned())
}

fn deploys(charter: &str, folder: &Path, missed: &mut Vec<String>) -> Result<(), String> {
    let data = folder.join("data").display().to_string();
    let charter_with = |args: &[&str]| {
        let done = Command::new(charter)
            .args(["--data-dir", &data, "--quiet"])
            .args(args)
            .current_dir(folder)
            .stdout(Stdio::null())
            .status();
        done.map_err(|e| e.to_string())?.success().then_some(()).ok_or_else(|| format!("charter {args:?} failed"))
    };
    let (mut times, mut counts) = (vec![], vec![]);
    for _ in 0..DEPLOYS {
        let before = commits(folder)?;
        let begun = Instant::now();
        charter_with(&["up"])?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        counts.push(commits(folder)? - before);
        charter_with(&["down", "instant"])?;
    }
    let engine = timed("the engine alone, from its start to its first answer (11 times)", || engine_alone(charter))?;
    let all = median(times);
    say(&format!("  {all:>8.1} ms       from `up` to the first real answer over the clients' way, median of {DEPLOYS}"));
    say(&format!("  {engine:>8.1} ms       of that the engine itself, median"));
    let trip = round_trip(folder)?;
    say(&format!("  {trip:>8.1} ms       one command over a live session of OpenSSH's own client, median"));
    let share = all - engine - TRIPS * trip;
    verdict(&format!("control plane's share: without the engine and {TRIPS} such round trips"), share, 300.0, "ms", missed);
    verdict("commits per deployment, largest", counts.into_iter().fold(0.0, f64::max), 12.0, "commits", missed);
    Ok(())
}

/// How long the stand-in needs from its start until it takes connections.
fn engine_alone(charter: &str) -> Result<f64, String> {
    let mut times = vec![];
    for _ in 0..DEPLOYS {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| e.to_string())?.port();
        let begun = Instant::now();
        let mut engine = Command::new(charter)
            .args(["__engine", "serve", "demo/instant", "--host", "127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        let ended = [engine.kill().is_ok(), engine.wait().is_ok()];
        if ended.contains(&false) {
            return Err("the engine had ended by itself".into());
        }
    }
    Ok(median(times))
}

/// What one command costs over a session that stands, by OpenSSH's own client: the floor under everything over SSH.
fn round_trip(folder: &Path) -> Result<f64, String> {
    let text = std::fs::read_to_string(folder.join("sshd_config")).map_err(|e| e.to_string())?;
    let port = text.lines().find_map(|l| l.strip_prefix("Port ")).ok_or("no port")?.to_owned();
    let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
    let (key, socket) = (folder.join("client").display().to_string(), folder.join("control").display().to_string());
    let ssh = |more: &[&str]| {
        let mut command = Command::new("ssh");
        command.args([
            "-i",
            &key,
            "-p",
            &port,
            "-S",
            &socket,
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        command.args(["-o", "LogLevel=ERROR"]).args(more).arg(format!("{user}@127.0.0.1"));
        command
    };
    let begun = ssh(&["-M", "-f", "-N"]).status().map_err(|e| e.to_string())?;
    if !begun.success() {
        return Err("ssh could not log in".into());
    }
    let mut times = vec![];
    for _ in 0..DEPLOYS {
        let begun = Instant::now();
        let done = ssh(&[]).arg("true").status().map_err(|e| e.to_string())?;
        if !done.success() {
            return Err("ssh could not run a command".into());
        }
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    let ended = ssh(&["-O", "exit"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if ended { Ok(median(times)) } else { Err("ssh did not end".into()) }
}
