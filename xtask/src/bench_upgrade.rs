//! `bench-upgrade`: upgrades under load on the test bed, with the gateway as a process of its own: what clients notice, and what both
//! machines cost together. Engines and control planes are killed (-9) in some of them.
//!
//! In life the machines, the control plane and the gateway are computers of their own; here they share two cores. So what starts
//! and what decides gets the time that is left over (`SCHED_IDLE`), and clients, gateway and engines that serve get theirs first.
//! The stand-in reads a prompt for 50 ms: an engine whose first token takes no time would show how busy two cores are, and no more.

use crate::bench::verdict;
use crate::{parts, root, run, say};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RATE: &str = "200";
/// The first token may come so much later than in steady state.
const FIRST_MOST: f64 = 1.2;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

struct Stage {
    folder: PathBuf,
    charter: String,
    crowd: String,
    market: String,
    market_key: String,
    _market: Ended,
    server: Option<Ended>,
    gateway: Option<(Ended, String)>,
    length: u32,
}

/// A program that gets its time first.
fn at_once(program: &str) -> Command {
    let mut command = Command::new("chrt");
    command.args(["--other", "0", program]);
    command
}

/// Whoever watches gets what is left over too, and so does what it starts, unless it is said otherwise.
fn stand_back() -> Result<(), String> {
    let own = std::process::id().to_string();
    let done = Command::new("chrt").args(["--all-tasks", "--idle", "--pid", "0", &own]).status().map_err(|e| e.to_string())?;
    if done.success() { Ok(()) } else { Err("`chrt` (of util-linux) could not change a priority".into()) }
}

/// Gives what serves on the market's machines its time like everybody else, as soon as it has run for a second.
fn promote(over: &AtomicBool) {
    let mut known: Vec<u32> = vec![];
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(250));
        let grown: Vec<u32> = serving().into_iter().filter(|pid| !known.contains(pid)).collect();
        for pid in grown {
            // It may have ended by itself.
            Command::new("chrt").args(["--all-tasks", "--other", "--pid", "0", &pid.to_string()]).status().ok();
            known.push(pid);
        }
    }
}

/// Engines that are older than a second.
fn serving() -> Vec<u32> {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0.0);
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let old = |path: &Path| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        // The kernel's clock has a hundred ticks a second on every Linux of today.
        let begun: f64 =
            stat.rsplit(')').next().and_then(|s| s.split(' ').nth(20)).and_then(|s| s.parse().ok()).unwrap_or(f64::MAX);
        up - begun / 100.0 > 1.0
    };
    all.filter(|e| {
        let line = std::fs::read(e.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&line);
        text.contains("__engine") && old(&e.path())
    })
    .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
    .collect()
}

/// What an upgrade is disturbed by.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    /// The control plane is killed in the middle, and another one started.
    ControlPlane,
    /// The new engine is killed before it has taken over.
    NewEngine,
    /// The old engine is killed while it serves.
    OldEngine,
}

pub(crate) fn bench_upgrade(args: &[String]) -> Result<(), String> {
    parts::check()?;
    // What was built a moment ago need not be built again.
    if !args.iter().any(|a| a == "--built") {
        run("cargo", &["build", "--profile", "dist", "--package", "charter", "--package", "charter-bench"])?;
    }
    let quick = args.iter().any(|a| a == "--quick");
    let folder = std::env::temp_dir().join(format!("charter-bench-upgrade-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    stand_back()?;
    let mut stage = Stage::begin(&folder)?;
    let over = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&over);
    let promoting = std::thread::spawn(move || promote(&watched));
    let result = measure(&mut stage, quick);
    over.store(true, Ordering::Relaxed);
    promoting.join().ok();
    let left = stage.charter(&["down", "--all"]).err();
    drop(stage);
    if result.is_ok() && left.is_none() {
        std::fs::remove_dir_all(&folder).ok();
    }
    result?;
    left.map_or(Ok(()), Err)
}

fn measure(stage: &mut Stage, quick: bool) -> Result<(), String> {
    let mut missed = vec![];
    let steady = stage.under_load("steady state, 30 s", |_| {
        std::thread::sleep(Duration::from_secs(30));
        Ok(())
    })?;
    let count = if quick { 5 } else { 20 };
    let (both, beside) = stage.paid_twice(|stage| {
        stage.under_load(&format!("{count} upgrades side by side, the new engine or the control plane killed in some"), |stage| {
            for n in 0..count {
                let trouble = [Trouble::None, Trouble::ControlPlane, Trouble::None, Trouble::NewEngine, Trouble::None][n % 5];
                stage.upgrade("side-by-side", trouble)?;
            }
            Ok(())
        })
    })?;
    say(&format!("  {both:.0} machine-seconds beyond one machine, for {count} upgrades with drains of up to 20 s each"));
    for (name, most) in [("failed", 0.0), ("cut", 0.0), ("ended_with_an_error", 0.0)] {
        verdict(&format!("side by side: {name}"), number(&beside, name), most, "", &mut missed);
    }
    let times = number(&beside, "first_p99_us") / number(&steady, "first_p99_us");
    let [before, during] = [&steady, &beside].map(|said| number(said, "first_p99_us") / 1000.0);
    say(&format!("  p99 of the first token: {before:.1} ms in steady state, {during:.1} ms through the upgrades"));
    verdict("side by side: p99 of the first token, times steady state", times, FIRST_MOST, "", &mut missed);
    let old = stage.under_load("2 upgrades, the old engine killed in each while it serves", |stage| {
        (0..2).try_for_each(|_| stage.upgrade("side-by-side", Trouble::OldEngine))
    })?;
    say(&format!("  ended with an error event: {}, refused: {}", number(&old, "ended_with_an_error"), number(&old, "failed")));
    verdict("old engine killed: streams that ended without a word", number(&old, "cut"), 0.0, "", &mut missed);
    let place =
        stage.under_load("2 upgrades in place", |stage| (0..2).try_for_each(|_| stage.upgrade("in-place", Trouble::None)))?;
    say(&format!("  longest hold: {:.1} s", number(&place, "longest_us") / 1e6));
    for name in ["failed", "cut", "ended_with_an_error"] {
        verdict(&format!("in place: {name}"), number(&place, name), 0.0, "", &mut missed);
    }
    let torn = stage.under_load("2 upgrades that end the old one first", |stage| {
        (0..2).try_for_each(|_| stage.upgrade("recreate", Trouble::None))
    })?;
    let (failed, cut) = (number(&torn, "failed"), number(&torn, "cut") + number(&torn, "ended_with_an_error"));
    say(&format!("  for comparison: {failed} failed, {cut} cut, longest wait {:.1} s", number(&torn, "longest_us") / 1e6));
    if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join("; "))) }
}

fn number(said: &Value, name: &str) -> f64 {
    said.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn first_lines(child: &mut Child, until: &str) -> Result<Vec<String>, String> {
    let out = child.stdout.take().ok_or("no output")?;
    let mut lines = vec![];
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        let done = line == until;
        lines.push(line);
        if done {
            return Ok(lines);
        }
    }
    Err(format!("it ended before it said `{until}`: {lines:?}"))
}

fn value(lines: &[String], name: &str) -> String {
    lines.iter().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

impl Stage {
    fn begin(folder: &Path) -> Result<Self, String> {
        let charter = root().join("target/dist/charter").display().to_string();
        let crowd = root().join("target/dist/crowd").display().to_string();
        let mut market = Command::new(&charter)
            .args(["testbed", "serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let lines = first_lines(&mut market, "ready")?;
        let (market_key, url) = (value(&lines, "api-key:"), value(&lines, "base-url:"));
        std::fs::write(folder.join("api.key"), &market_key).map_err(|e| e.to_string())?;
        let mut stage = Self {
            folder: folder.to_owned(),
            charter,
            crowd,
            market: url,
            market_key,
            _market: Ended(market),
            server: None,
            gateway: None,
            length: 4096,
        };
        stage.configure()?;
        stage.serve()?;
        let mut gateway =
            stage.dressed(at_once(&stage.charter), &["gateway", "--listen", "127.0.0.1:0"]).spawn().map_err(|e| e.to_string())?;
        let out = gateway.stdout.take().ok_or("no output")?;
        let line = BufReader::new(out).lines().map_while(Result::ok).find(|l| l.starts_with("gateway: ")).ok_or("no gateway")?;
        let address = line.trim_start_matches("gateway: http://").trim_end_matches("/v1").to_owned();
        stage.gateway = Some((Ended(gateway), address));
        stage.charter(&["up"])?;
        Ok(stage)
    }

    fn configure(&self) -> Result<(), String> {
        let (url, f, length) = (&self.market, self.folder.display(), self.length);
        let text = format!(
            "version: 1\nserver:\n  providers:\n    vast: {{kind: vast, base-url: \"{url}\", api-key: {{file: {f}/api.key}}}}\n\
             profiles:\n  m:\n    model: demo/stand-in-7B\n    served-name: m\n    gpu: {{min-vram: 24GB, max-usd-per-hour: 0.25}}\n    disk: 40GB\n    max-concurrent: 5000\n\
             \x20   limits: {{bake: 3s, drain: 60s}}\n    engine: {{options: {{max-model-len: {length}}}, env: {{STANDIN_START_MS: \"900\", STANDIN_FIRST_MS: \"50\", STANDIN_TOKEN_MS: \"250\"}}}}\n\
             deployments:\n  m: {{profile: m}}\n"
        );
        std::fs::write(self.folder.join("charter.yaml"), text).map_err(|e| e.to_string())
    }

    fn command(&self, args: &[&str]) -> Command {
        self.dressed(Command::new(&self.charter), args)
    }

    fn dressed(&self, mut command: Command, args: &[&str]) -> Command {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log"));
        command.arg("--data-dir").arg(self.folder.join("data")).args(args).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
        command
    }

    fn charter(&self, args: &[&str]) -> Result<String, String> {
        let output = self.command(args).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("charter {args:?}: {said}; see {}/log", self.folder.display()))
        }
    }

    /// Starts a control plane.
    fn serve(&mut self) -> Result<(), String> {
        let mut server =
            self.command(&["serve", "--no-gateway", "--listen", "127.0.0.1:0"]).spawn().map_err(|e| e.to_string())?;
        first_lines(&mut server, "ready")?;
        self.server = Some(Ended(server));
        Ok(())
    }

    /// Engines that run on the market's machines, the newest last.
    fn engines(&self) -> Vec<u32> {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids: Vec<u32> = all
            .filter(|e| {
                let line = std::fs::read(e.path().join("cmdline")).unwrap_or_default();
                let text = String::from_utf8_lossy(&line).replace('\0', " ");
                text.contains("__engine") && text.starts_with(self.charter.as_str())
            })
            .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
            .collect();
        pids.sort_unstable();
        pids
    }

    /// Changes the file and upgrades, with something that goes wrong in the middle.
    fn upgrade(&mut self, how: &str, trouble: Trouble) -> Result<(), String> {
        self.length = if self.length == 4096 { 8192 } else { 4096 };
        self.configure()?;
        let before = self.engines();
        let begun = Instant::now();
        let mut child = self.command(&["upgrade", "m", "--strategy", how]).spawn().map_err(|e| e.to_string())?;
        let newer = |stage: &Self| stage.engines().into_iter().rfind(|pid| !before.contains(pid));
        match trouble {
            Trouble::None => {}
            Trouble::ControlPlane => {
                std::thread::sleep(Duration::from_millis(1500));
                self.server = None;
                self.serve()?;
            }
            Trouble::NewEngine | Trouble::OldEngine => {
                while newer(self).is_none() && begun.elapsed() < Duration::from_secs(60) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let victim = if trouble == Trouble::NewEngine { newer(self) } else { before.last().copied() };
                let victim = victim.ok_or("no engine to kill")?;
                Command::new("kill").args(["-9", &victim.to_string()]).status().map_err(|e| e.to_string())?;
            }
        }
        let ended = child.wait().map_err(|e| e.to_string())?;
        if !ended.success() {
            // Its server went away, or it was asked for before that was written down: it is asked for again.
            self.charter(&["upgrade", "m", "--strategy", how])?;
        }
        say(&format!("    upgraded to {} in {:.1} s", self.length, begun.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Does something while clients ask; what they saw.
    fn under_load(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<Value, String> {
        say(what);
        let address = self.gateway.as_ref().map(|(_, address)| address.clone()).ok_or("no gateway")?;
        let key = std::fs::read_to_string(self.folder.join("data/local.key")).map_err(|e| e.to_string())?;
        let mut crowd = at_once(&self.crowd)
            .args(["--address", &address, "--model", "m", "--rate", RATE])
            .env("CROWD_KEY", key.trim())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        std::thread::sleep(Duration::from_secs(2));
        let done = work(self);
        drop(crowd.stdin.take());
        let mut said = String::new();
        crowd.stdout.take().ok_or("no output")?.read_to_string(&mut said).map_err(|e| e.to_string())?;
        crowd.wait().map_err(|e| e.to_string())?;
        done?;
        say(&format!("  {}", said.trim()));
        serde_json::from_str(&said).map_err(|e| e.to_string())
    }

    /// What machines were paid for beyond one, in seconds, while something was done.
    fn paid_twice(&mut self, work: impl FnOnce(&mut Self) -> Result<Value, String>) -> Result<(f64, Value), String> {
        let (before, begun) = (self.machine_seconds()?, Instant::now());
        let said = work(self)?;
        Ok((self.machine_seconds()? - before - begun.elapsed().as_secs_f64(), said))
    }

    fn machine_seconds(&self) -> Result<f64, String> {
        let address = self.market.trim_start_matches("http://");
        let mut socket = std::net::TcpStream::connect(address).map_err(|e| e.to_string())?;
        let key = &self.market_key;
        let head = format!(
            "GET /testbed/ledger HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).map_err(|e| e.to_string())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).map_err(|e| e.to_string())?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let ledger: Value = serde_json::from_str(body).map_err(|e| format!("{e}: {answer}"))?;
        let machines = ledger.get("machines").and_then(Value::as_array).ok_or("no machines in the ledger")?;
        Ok(machines.iter().filter_map(|m| m.get("seconds").and_then(Value::as_f64)).sum())
    }
}
