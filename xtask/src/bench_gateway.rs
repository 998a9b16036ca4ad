//! `bench-gateway`: our gateway beside nginx, the bare hyper floor and another router, in the same interleaved rounds. The
//! machine's speed drifts, so only ratios within a round count.

mod ssh;

use crate::bench::median;
use crate::{parts, root, run, say};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Gateways are pinned to one core, the mock and the load to the other.
const GATEWAY_CORE: &str = "0";
const RIG_CORE: &str = "1";
const UPSTREAMS: [&str; 2] = ["127.0.0.1:9101", "127.0.0.1:9102"];
const WHO: [&str; 4] = ["nginx", "floor", "vllm-router", "ours"];

/// A workload: its name, what the load generator is told, chunks' distance for the mock, and what counts.
struct Workload {
    name: &'static str,
    args: &'static [&'static str],
    delay_us: u32,
    per_chunk: bool,
}

/// The workload whose model is chosen by us: others have none of it.
const PLANNED: &str = "json-auto";
/// What that may cost, times the same without it.
const PLANNED_MAX: f64 = 1.1;

const WORKLOADS: &[Workload] = &[
    Workload { name: "json", args: &["--conns", "32", "--count", "60000", "--warmup", "200"], delay_us: 0, per_chunk: false },
    // The same by effort: classified, planned, and held until it has begun, with somebody behind it.
    Workload {
        name: PLANNED,
        args: &["--conns", "32", "--count", "60000", "--warmup", "200", "--model", "auto"],
        delay_us: 0,
        per_chunk: false,
    },
    Workload {
        name: "rate1000",
        args: &["--conns", "64", "--count", "100000", "--rate", "1000", "--warmup", "64"],
        delay_us: 0,
        per_chunk: false,
    },
    Workload {
        name: "slow1000",
        args: &["--conns", "1000", "--count", "3000", "--secs", "15", "--stream", "1", "--stagger-us", "1300", "--timeout", "60"],
        delay_us: 20_000,
        per_chunk: true,
    },
    Workload {
        name: "burst",
        args: &["--conns", "32", "--count", "10000", "--stream", "1", "--warmup", "32"],
        delay_us: 0,
        per_chunk: true,
    },
    Workload {
        name: "sse5",
        args: &["--conns", "32", "--count", "1000", "--secs", "6", "--stream", "1", "--stagger-us", "10000", "--warmup", "32"],
        delay_us: 5000,
        per_chunk: true,
    },
    Workload {
        name: "big",
        args: &["--conns", "32", "--count", "40000", "--secs", "5", "--body-bytes", "100000", "--warmup", "64"],
        delay_us: 0,
        per_chunk: false,
    },
];

/// What a limit holds for: workload, times nginx.
const LIMITS: [(&str, f64); 4] = [("json", 2.0), ("sse5", 1.3), ("slow1000", 1.3), ("big", 1.0)];
const MEMORY_MAX_MB: f64 = 60.0;
const P99_OF_FLOOR: f64 = 1.3;
const API_MAX_MS: f64 = 100.0;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What one run of the load generator printed.
struct Row {
    who: &'static str,
    workload: &'static str,
    round: usize,
    said: Value,
}

impl Row {
    fn number(&self, key: &str) -> f64 {
        let found = key.split('.').try_fold(&self.said, |value, part| value.get(part));
        found.and_then(Value::as_f64).unwrap_or(f64::NAN)
    }
}

/// Measures everything, and says which limit is missed.
pub(crate) fn bench_gateway(args: &[String]) -> Result<(), String> {
    let quick = args.iter().any(|a| a == "--quick");
    parts::bench()?;
    // What was built a moment ago need not be built again.
    if !args.iter().any(|a| a == "--built") {
        run("cargo", &["build", "--profile", "dist", "--package", "charter", "--package", "charter-bench"])?;
    }
    let folder = std::env::temp_dir().join(format!("charter-bench-gateway-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let rounds = if quick { 2 } else { 5 };
    let rows = measure(&folder, rounds, if quick { "1.5" } else { "3" });
    if rows.is_ok() {
        std::fs::remove_dir_all(&folder).ok();
    }
    judge(&rows?)
}

fn release(name: &str) -> String {
    root().join("target/dist").join(name).display().to_string()
}

fn pinned(core: &str, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]);
    command.arg(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn measure(folder: &Path, rounds: usize, seconds: &str) -> Result<Vec<Row>, String> {
    let mock = pinned(RIG_CORE, &release("mock"), &["--listen", UPSTREAMS[0], "--listen", UPSTREAMS[1]]);
    let _mock = start(mock)?;
    let key = prepare(folder)?;
    let stage = ssh::Stage::prepare(folder)?;
    let mut rows = vec![];
    for round in 0..rounds {
        say(&format!("round {} of {rounds}", round + 1));
        one_round(folder, &WHO, &key, (round, seconds), &mut rows)?;
        one_round(folder, &ssh::WHO, &stage.key, (round, seconds), &mut rows)?;
    }
    stage.end()?;
    Ok(rows)
}

/// All workloads, one after the other, each put to one gateway directly after the other: what the machine does meanwhile is the same for
/// all of them.
fn one_round(
    folder: &Path,
    all: &[&'static str],
    key: &str,
    (round, seconds): (usize, &str),
    rows: &mut Vec<Row>,
) -> Result<(), String> {
    let header = format!("authorization: Bearer {key}");
    let mut running = vec![];
    for who in all {
        let (address, command) = gateway(folder, who);
        running.push((*who, address.clone(), command.map(start).transpose()?));
        wait_for(&address, &header)?;
    }
    let over_ssh = all.contains(&ssh::WHO[0]);
    if !over_ssh {
        let (address, _) = gateway(folder, "direct");
        running.push(("direct", address, None));
    }
    let skips = |w: &Workload, who: &str| match who {
        "direct" => w.name != "rate1000",
        _ if over_ssh => !ssh::WORKLOADS.contains(&w.name),
        _ => w.name == PLANNED && who != "ours",
    };
    for workload in WORKLOADS {
        for (who, address, process) in running.iter().filter(|(who, ..)| !skips(workload, who)) {
            let wanted = format!("/ctl?chunks=64&delay_us={}&json_delay_us=0", workload.delay_us);
            for upstream in [UPSTREAMS[0].to_owned()].into_iter().chain(ssh::engine(folder)) {
                http(&upstream, "GET", &wanted, "x: y", "")?;
            }
            let pid = process.as_ref().map(|r| r.0.id());
            let (said, slowest) = one_run(folder, workload, (who, address, pid), &header, seconds)?;
            rows.push(Row { who, workload: workload.name, round, said });
            if let Some(slowest) = slowest {
                say(&format!("  the API's slowest answer beside 1,000 streams: {slowest:.1} ms"));
                let said = serde_json::json!({ "ms": slowest });
                rows.push(Row { who, workload: "api", round, said });
            }
        }
    }
    Ok(())
}

/// One workload put to one gateway: what the load generator said; and of ours how slow its API was beside 1,000 streams, in milliseconds.
fn one_run(
    folder: &Path,
    workload: &Workload,
    (who, address, pid): (&str, &str, Option<u32>),
    header: &str,
    seconds: &str,
) -> Result<(Value, Option<f64>), String> {
    let url = format!("http://{address}/v1/chat/completions");
    let pid = pid.map(|pid| pid.to_string());
    let mut args = vec!["--url", &url, "--label", who];
    if workload.name != PLANNED {
        args.extend(["--model", "mock"]);
    }
    if let Some(pid) = &pid {
        args.extend(["--pid", pid]);
    }
    if who.starts_with("ours") {
        args.extend(["--header", header]);
    }
    if !workload.args.contains(&"--secs") {
        args.extend(["--secs", seconds]);
    }
    args.extend(workload.args);
    let over = Arc::new(AtomicBool::new(false));
    let asking = (who == "ours" && workload.name == "slow1000").then(|| ask_api(folder, &over)).transpose()?;
    let output = pinned(RIG_CORE, &release("load"), &args).stdout(Stdio::piped()).output();
    over.store(true, Ordering::Relaxed);
    let output = output.map_err(|e| e.to_string())?;
    let said = serde_json::from_slice(&output.stdout).map_err(|e| format!("the load generator said nothing: {e}"))?;
    Ok((said, asking.and_then(|a| a.join().ok())))
}

/// Asks the control plane for its status all the time, until `over`; the slowest answer in milliseconds.
fn ask_api(folder: &Path, over: &Arc<AtomicBool>) -> Result<std::thread::JoinHandle<f64>, String> {
    let key = std::fs::read_to_string(folder.join("data/local.key")).map_err(|e| e.to_string())?;
    let (header, over) = (format!("authorization: Bearer {}", key.trim()), Arc::clone(over));
    Ok(std::thread::spawn(move || {
        let mut slowest: f64 = 0.0;
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let answered = http("127.0.0.1:9230", "GET", "/api/v1/status", &header, "").is_ok();
            slowest = slowest.max(if answered { begun.elapsed().as_secs_f64() * 1000.0 } else { f64::INFINITY });
            std::thread::sleep(Duration::from_millis(100));
        }
        slowest
    }))
}

/// Where a gateway listens, and how it is started; `direct` is none.
fn gateway(folder: &Path, who: &str) -> (String, Option<Command>) {
    let urls = UPSTREAMS.map(|u| format!("http://{u}"));
    match who {
        "nginx" => {
            let file = folder.join("nginx.conf").display().to_string();
            ("127.0.0.1:9201".to_owned(), Some(pinned(GATEWAY_CORE, "/usr/sbin/nginx", &["-c", &file])))
        }
        "floor" => {
            let args = ["--listen", "127.0.0.1:9240", "--upstream", UPSTREAMS[0], "--upstream", UPSTREAMS[1], "--mode", "peek"];
            ("127.0.0.1:9240".to_owned(), Some(pinned(GATEWAY_CORE, &release("floor"), &args)))
        }
        "vllm-router" => {
            let program = parts::router().join("bin/vllm-router").display().to_string();
            let mut args = vec!["--host", "127.0.0.1", "--port", "9212", "--policy", "round_robin", "--log-level", "error"];
            args.extend(["--prometheus-host", "127.0.0.1", "--prometheus-port", "29012", "--worker-urls"]);
            args.extend(urls.iter().map(String::as_str));
            ("127.0.0.1:9212".to_owned(), Some(pinned(GATEWAY_CORE, &program, &args)))
        }
        "ours" => {
            let data = folder.join("data").display().to_string();
            let args = ["--data-dir", &data, "serve", "--listen", "127.0.0.1:9230", "--gateway-listen", "127.0.0.1:9231"];
            ("127.0.0.1:9231".to_owned(), Some(pinned(GATEWAY_CORE, &release("charter"), &args)))
        }
        "nginx-ssh" | "ours-ssh" => ssh::gateway(folder, who),
        _ => (UPSTREAMS[0].to_owned(), None),
    }
}

fn start(mut command: Command) -> Result<Ended, String> {
    command.spawn().map(Ended).map_err(|e| format!("{command:?}: {e}"))
}

/// An empty server learns its two backends, a route with a price, and a key with every limit, all of them out of reach.
fn prepare(folder: &Path) -> Result<String, String> {
    nginx_file(folder, "nginx", "127.0.0.1:9201", UPSTREAMS)?;
    let (_, command) = gateway(folder, "ours");
    let _running = start(command.ok_or("no server")?)?;
    let local = folder.join("data/local.key");
    wait_until(|| local.exists() && TcpStream::connect("127.0.0.1:9230").is_ok(), "the server")?;
    let admin = std::fs::read_to_string(local).map_err(|e| e.to_string())?;
    let admin = format!("authorization: Bearer {}", admin.trim());
    for (name, upstream) in ["mock-1", "mock-2"].iter().zip(UPSTREAMS) {
        let body = format!(r#"{{"name":"{name}","base_url":"http://{upstream}","model":"mock","max_concurrent":4000}}"#);
        http("127.0.0.1:9230", "POST", "/api/v1/backends", &admin, &body)?;
    }
    let route = r#"{"backends":[{"backend":"mock-1"},{"backend":"mock-2"}],"price":{"input_usd_micros":100000,"output_usd_micros":400000}}"#;
    http("127.0.0.1:9230", "PUT", "/api/v1/routes/mock", &admin, route)?;
    let planned = r#"{"tiers":{"simple":"mock","complex":"mock"},"fallback":["mock-1"]}"#;
    http("127.0.0.1:9230", "PUT", "/api/v1/routes/auto", &admin, planned)?;
    let key = r#"{"name":"bench","routes":["mock","auto"],"requests_per_minute":100000000,"tokens_per_minute":100000000000,"parallel":100000,"day_usd_micros":1000000000000,"month_usd_micros":2000000000000}"#;
    let made: Value =
        serde_json::from_str(&http("127.0.0.1:9230", "POST", "/api/v1/keys", &admin, key)?).map_err(|e| e.to_string())?;
    made.get("key").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| "no key".to_owned())
}

/// The configuration of an nginx, under its own name.
fn nginx_file(folder: &Path, name: &str, listen: &str, upstreams: [&str; 2]) -> Result<(), String> {
    let own = folder.join(format!("{name}-files"));
    std::fs::create_dir_all(&own).map_err(|e| e.to_string())?;
    let text = include_str!("bench_gateway/nginx.conf")
        .replace("FOLDER", &own.display().to_string())
        .replace("LISTEN", listen)
        .replace("UPSTREAM_1", upstreams[0])
        .replace("UPSTREAM_2", upstreams[1]);
    std::fs::write(folder.join(format!("{name}.conf")), text).map_err(|e| e.to_string())
}

/// One request, answered with success, on a connection of its own.
fn http(address: &str, method: &str, path: &str, header: &str, body: &str) -> Result<String, String> {
    let mut socket = TcpStream::connect(address).map_err(|e| e.to_string())?;
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{header}\r\nconnection: close\r\n");
    let request = format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
    socket.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 20") { Ok(body.to_owned()) } else { Err(format!("{method} {path}: {answer}")) }
}

fn wait_for(address: &str, header: &str) -> Result<(), String> {
    let body = r#"{"model":"mock","messages":[{"role":"user","content":"hi"}],"max_tokens":8}"#;
    wait_until(|| http(address, "POST", "/v1/chat/completions", header, body).is_ok(), address)
}

fn wait_until(done: impl Fn() -> bool, what: &str) -> Result<(), String> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > Duration::from_secs(60) {
            return Err(format!("no answer of {what} within a minute"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Medians over the rounds of a gateway's figure, and of its ratio to another one's in the same round.
fn figure(rows: &[Row], who: &str, workload: &str, key: &str) -> f64 {
    median(rows.iter().filter(|r| r.who == who && r.workload == workload).map(|r| r.number(key)).collect())
}

fn ratio(rows: &[Row], who: &str, to: &str, workload: &str, key: &str) -> f64 {
    let mine = rows.iter().filter(|r| r.who == who && r.workload == workload);
    let other = |round| rows.iter().find(|r| r.who == to && r.workload == workload && r.round == round).map(|r| r.number(key));
    median(mine.filter_map(|r| Some(r.number(key) / other(r.round)?)).collect())
}

fn judge(rows: &[Row]) -> Result<(), String> {
    say("\nCPU of the gateway, microseconds per request, or per chunk of a stream; in brackets as a multiple of nginx's");
    let all = || WORKLOADS.iter().filter(|w| w.name != PLANNED);
    let head: String = all().map(|w| format!("{:>17}", w.name)).collect();
    say(&format!("{:<12}{head}{:>14}{:>10}", "", "p99 at 1000/s", "MB"));
    let added = |who: &str| figure(rows, who, "rate1000", "lat_us.p99") - figure(rows, "direct", "rate1000", "lat_us.p99");
    for who in WHO {
        let cells = all().map(|w| {
            let key = cpu(w);
            format!("{:>9.2} ({:>4.2})", figure(rows, who, w.name, key), ratio(rows, who, "nginx", w.name, key))
        });
        let memory = figure(rows, who, "slow1000", "rss_peak_kb") / 1024.0;
        say(&format!("{who:<12}{}{:>13.0}+{memory:>9.1}", cells.collect::<String>(), added(who)));
    }
    let mut missed = vec![];
    let mut check = |what: String, figure: f64, limit: f64| crate::bench::verdict(&what, figure, limit, "", &mut missed);
    for (name, limit) in LIMITS {
        let key = WORKLOADS.iter().find(|w| w.name == name).map_or("", cpu);
        check(format!("{name}: CPU, times nginx"), ratio(rows, "ours", "nginx", name, key), limit);
    }
    check("1,000 slow streams: MB".to_owned(), figure(rows, "ours", "slow1000", "rss_peak_kb") / 1024.0, MEMORY_MAX_MB);
    check("added p99 at 1,000/s, times the floor's".to_owned(), added("ours") / added("floor"), P99_OF_FLOOR);
    check("added p99 at 1,000/s, times the other router's".to_owned(), added("ours") / added("vllm-router"), 1.0);
    let times = figure(rows, "ours", PLANNED, "gw_cpu_us_per_req");
    say(&format!("ours, by effort: {times:.2} us per request"));
    check("by effort and held: CPU, times the same without".to_owned(), within(rows), PLANNED_MAX);
    for w in all() {
        check(format!("{}: CPU, times the other router's", w.name), ratio(rows, "ours", "vllm-router", w.name, cpu(w)), 1.0);
    }
    check("the API's slowest answer beside 1,000 streams, ms".to_owned(), figure(rows, "ours", "api", "ms"), API_MAX_MS);
    ssh::judge(rows);
    let flaws: f64 = rows
        .iter()
        .filter(|r| r.who.starts_with("ours") && r.workload != "api")
        .map(|r| r.number("errors") + r.number("short") + r.number("no_done"))
        .sum();
    check("requests that failed, streams that were short".to_owned(), flaws, 0.0);
    if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join("; "))) }
}

/// What planning costs, in the same round.
fn within(rows: &[Row]) -> f64 {
    let ours = |name: &str, round: usize| {
        let found = rows.iter().find(|r| r.who == "ours" && r.workload == name && r.round == round);
        found.map_or(f64::NAN, |r| r.number("gw_cpu_us_per_req"))
    };
    let rounds = rows.iter().filter(|r| r.who == "ours" && r.workload == PLANNED).map(|r| r.round);
    median(rounds.map(|round| ours(PLANNED, round) / ours("json", round)).collect())
}

const fn cpu(workload: &Workload) -> &'static str {
    if workload.per_chunk { "gw_cpu_us_per_chunk" } else { "gw_cpu_us_per_req" }
}
