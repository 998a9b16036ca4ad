//! What renting costs beside the market's own time: ranking, and the control plane's share of a deployment.

use crate::bench::verdict;
use crate::{root, run, say};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Deployments per market.
const DEPLOYS: usize = 11;

pub(crate) fn bench_market() -> Result<(), String> {
    run("cargo", &["build", "--release", "--package", "charter"])?;
    let mut missed = vec![];
    let ranked = Command::new("cargo")
        .args(["run", "--release", "--quiet", "--package", "charter-sim", "--example", "rank_offers"])
        .current_dir(root())
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&ranked.stdout).trim().to_owned();
    let ms: f64 = text.parse().map_err(|_| format!("the ranking said `{text}`"))?;
    verdict("ranking 3,000 offers, median of 101", ms, 5.0, "ms", &mut missed);
    // A market without time of its own, and one whose machines take about a second.
    for (name, speed) in [("instant market", "100000"), ("market that boots in 0.4 to 1.5 s", "1")] {
        let folder = std::env::temp_dir().join(format!("charter-bench-market-{}-{speed}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let share = shares(&folder, speed);
        if std::fs::remove_dir_all(&folder).is_err() {
            say("the scratch folder could not be removed");
        }
        let what = format!("control plane's share of a deployment, {name}, median of {DEPLOYS}");
        verdict(&what, share?, 300.0, "ms", &mut missed);
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join(", "))) }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let told = Command::new("kill").arg(self.0.id().to_string()).status();
        if told.is_err() || self.0.wait().is_err() {
            say("a process did not end");
        }
    }
}

/// Starts a program of charter and gives the lines that it says until `ready`.
fn start(folder: &Path, args: &[&str]) -> Result<(Process, Vec<String>), String> {
    let mut child = Command::new(root().join("target/release/charter"))
        .args(args)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let out = child.stdout.take().ok_or("no output")?;
    let mut lines = vec![];
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if line == "ready" {
            break;
        }
        lines.push(line);
    }
    Ok((Process(child), lines))
}

fn shares(folder: &Path, speed: &str) -> Result<f64, String> {
    let (_market, said) = start(folder, &["testbed", "serve", "--listen", "127.0.0.1:0", "--speed", speed])?;
    let field =
        |name: &str| said.iter().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned()).ok_or("no line of the market");
    let (key, url) = (field("api-key:")?, field("base-url:")?);
    std::fs::write(folder.join("key"), &key).map_err(|e| e.to_string())?;
    let text = format!(
        "version: 1\nserver: {{providers: {{vast: {{kind: vast, base-url: \"{url}\", api-key: {{file: {}/key}}}}}}}}\n\
         profiles: {{m: {{model: demo/m-7B, served-name: m, disk: 40GB, engine: {{env: {{STANDIN_START_MS: \"0\"}}}}}}}}\ndeployments: {{m: {{profile: m}}}}\n",
        folder.display()
    );
    std::fs::write(folder.join("charter.yaml"), text).map_err(|e| e.to_string())?;
    let (_server, _) = start(folder, &["--data-dir", "data", "--quiet", "serve", "--listen", "127.0.0.1:0"])?;
    let charter = |args: &[&str]| {
        let done = Command::new(root().join("target/release/charter"))
            .args(["--data-dir", "data", "--quiet"])
            .args(args)
            .current_dir(folder)
            .output();
        done.map_err(|e| e.to_string())
            .and_then(|o| if o.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&o.stderr).into_owned()) })
    };
    let mut shares = vec![];
    for _ in 0..DEPLOYS {
        let begun = Instant::now();
        charter(&["up"])?;
        let all = begun.elapsed().as_secs_f64() * 1000.0;
        shares.push(all - boot_ms(&url, &key)? / speed.parse::<f64>().unwrap_or(1.0));
        charter(&["down", "m"])?;
    }
    shares.sort_by(f64::total_cmp);
    Ok(shares[DEPLOYS / 2])
}

/// How long the newest machine took by the market's own clock.
fn boot_ms(url: &str, key: &str) -> Result<f64, String> {
    use std::io::{Read, Write};
    let address = url.trim_start_matches("http://");
    let mut socket = std::net::TcpStream::connect(address).map_err(|e| e.to_string())?;
    let request =
        format!("GET /testbed/ledger HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut text = String::new();
    socket.read_to_string(&mut text).map_err(|e| e.to_string())?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let ledger: serde_json::Value = serde_json::from_str(body).map_err(|e| e.to_string())?;
    let machines = ledger["machines"].as_array().ok_or("no machines")?;
    machines.last().and_then(|m| m["boot_ms"].as_f64()).ok_or_else(|| "no machine".to_owned())
}
