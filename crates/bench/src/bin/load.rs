//! Load generator, one thread, loopback only, bounded in requests and in time.
//!
//!   load --url http://127.0.0.1:8000/v1/chat/completions --conns 32 --count 20000 --secs 8
//!        [--stream 1] [--chunks 64] [--rate 500] [--body-bytes 300] [--distinct 64]
//!        [--model mock] [--header 'authorization: Bearer x'] [--pid 123,456] [--label name]
//!
//! Closed loop unless --rate is given. With --rate, arrivals are evenly spaced; a request that no
//! idle connection could take in time is timed from when it was due, so a stalled gateway cannot
//! hide its queue (no coordinated omission).
//! With --pid, CPU time (utime+stime of the whole process tree) and resident memory of those
//! processes are read from /proc. Prints one JSON line.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::exit,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::get_unwrap,
    clippy::let_underscore_must_use,
    clippy::uninlined_format_args,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::large_futures,
    clippy::str_to_string,
    clippy::collapsible_match,
    clippy::collapsible_if,
    reason = "a rig, and no part of the product: what goes wrong ends it"
)]

use charter_bench::processes::{cpu_ticks, rss_kb, tree};
use charter_bench::{Args, Chunked, ascii_contains, header, now_ns, parse_usize};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

struct Plan {
    addr: String,
    requests: Vec<Vec<u8>>,
    stream: bool,
    chunks: usize,
    count: u64,
    rate: f64,
    stagger_us: u64,
    start: Instant,
    end: Instant,
    timeout: Duration,
}

#[derive(Default)]
struct Stats {
    next: u64,
    ok: u64,
    lat: Vec<u64>,
    ttft: Vec<u64>,
    delay: Vec<u64>,
    errors: u64,
    first_error: String,
    short: u64,
    no_done: u64,
    reconnects: u64,
    bytes_in: u64,
    reads: u64,
}

/// The kernel's clock ticks in `/proc/PID/stat`: a hundred a second on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

fn plan(a: &Args) -> Plan {
    let url = a.get("url").expect("--url is needed").to_string();
    let rest = url.strip_prefix("http://").expect("http:// only");
    let (addr, path) = match rest.find('/') {
        Some(p) => (rest[..p].to_string(), rest[p..].to_string()),
        None => (rest.to_string(), "/v1/chat/completions".to_string()),
    };
    let addr = addr.replace("localhost", "127.0.0.1");
    assert!(addr.starts_with("127."), "loopback only");
    let stream = a.num("stream", 0u8) == 1;
    let body_bytes: usize = a.num("body-bytes", 300);
    let distinct: usize = a.num("distinct", 64).max(1);
    let model = a.get("model").unwrap_or("mock");
    let heads: Vec<&str> = a.all("header").collect();
    let requests = (0..distinct).map(|i| request(&addr, &path, model, stream, body_bytes, i, &heads)).collect();
    Plan {
        addr,
        requests,
        stream,
        chunks: a.num("chunks", 64),
        count: a.num("count", 20_000),
        rate: a.num("rate", 0.0),
        stagger_us: a.num("stagger-us", 0),
        start: Instant::now(),
        end: Instant::now() + Duration::from_secs_f64(a.num("secs", 8.0)),
        timeout: Duration::from_secs_f64(a.num("timeout", 30.0)),
    }
}

/// What the gateway's processes used while the load ran.
struct Used {
    wall: f64,
    cpu_s: f64,
    rss_before: u64,
    rss_peak: u64,
    own: f64,
}

fn main() {
    let a = Args::from_env();
    let conns: usize = a.num("conns", 32);
    let secs: f64 = a.num("secs", 8.0);
    assert!(secs <= 120.0 && conns <= 5000);
    let pids: Vec<u32> = a.get("pid").unwrap_or("").split(',').filter_map(|p| p.trim().parse().ok()).collect();
    let warmup: u64 = a.num("warmup", 0);
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    if warmup > 0 {
        let warm = Rc::new(Plan { count: warmup, rate: 0.0, stagger_us: 0, ..plan(&a) });
        run_all(&rt, &local, &warm, &Rc::default(), conns.min(warmup as usize));
    }
    let mut plan = plan(&a);
    let stop = Arc::new(AtomicBool::new(false));
    let peak = watch(&stop, pids.clone());
    let (rss_before, cpu0, self0) = (rss_kb(&tree(&pids)), cpu_ticks(&tree(&pids)), self_cpu());
    plan.start = Instant::now();
    plan.end = plan.start + Duration::from_secs_f64(secs);
    let stats: Rc<RefCell<Stats>> = Rc::default();
    let t0 = plan.start;
    let plan = Rc::new(plan);
    run_all(&rt, &local, &plan, &stats, conns);
    let wall = t0.elapsed().as_secs_f64();
    let cpu_s = cpu_ticks(&tree(&pids)).saturating_sub(cpu0) as f64 / TICKS_PER_SECOND;
    let own = self_cpu() - self0;
    stop.store(true, Ordering::Relaxed);
    let used = Used { wall, cpu_s, rss_before, rss_peak: peak.join().unwrap_or(0), own };
    let label = a.get("label").unwrap_or("");
    println!("{}", report(label, !pids.is_empty(), &plan, &mut stats.borrow_mut(), &used));
}

/// Looks at the resident memory now and then; its end tells the most.
fn watch(stop: &Arc<AtomicBool>, pids: Vec<u32>) -> std::thread::JoinHandle<u64> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut peak = 0u64;
        while !stop.load(Ordering::Relaxed) && !pids.is_empty() {
            peak = peak.max(rss_kb(&tree(&pids)));
            std::thread::sleep(Duration::from_millis(250));
        }
        peak
    })
}

fn report(label: &str, watched: bool, plan: &Plan, s: &mut Stats, used: &Used) -> String {
    let Used { wall, cpu_s, rss_before, rss_peak, own } = used;
    let mut o = String::from("{");
    let _ = write!(o, "\"label\":\"{label}\"");
    let _ = write!(o, ",\"ok\":{},\"errors\":{},\"short\":{}", s.ok, s.errors, s.short);
    let _ = write!(o, ",\"no_done\":{},\"reconnects\":{}", s.no_done, s.reconnects);
    let _ = write!(o, ",\"wall_s\":{wall:.3},\"rps\":{:.1}", s.ok as f64 / wall);
    if watched && s.ok > 0 {
        let each = cpu_s * 1e6 / s.ok as f64;
        let _ = write!(o, ",\"gw_cpu_s\":{cpu_s:.2},\"gw_cpu_us_per_req\":{each:.1},\"gw_util\":{:.3}", cpu_s / wall);
        if plan.stream {
            let _ = write!(o, ",\"gw_cpu_us_per_chunk\":{:.2}", each / plan.chunks as f64);
        }
        let _ = write!(o, ",\"rss_before_kb\":{rss_before},\"rss_peak_kb\":{rss_peak}");
    }
    let _ = write!(o, ",\"load_util\":{:.3}", own / wall);
    quant(&mut o, "lat", &mut s.lat);
    if plan.stream {
        quant(&mut o, "ttft", &mut s.ttft);
        quant(&mut o, "chunk", &mut s.delay);
        let _ = write!(o, ",\"reads\":{}", s.reads);
    }
    let _ = write!(o, ",\"bytes_in\":{}", s.bytes_in);
    if !s.first_error.is_empty() {
        let _ = write!(o, ",\"first_error\":\"{}\"", s.first_error.replace(['"', '\\', '\n', '\r'], " "));
    }
    o.push('}');
    o
}

fn run_all(rt: &Runtime, local: &LocalSet, plan: &Rc<Plan>, stats: &Rc<RefCell<Stats>>, conns: usize) {
    local.block_on(rt, async {
        let hs: Vec<_> = (0..conns).map(|i| tokio::task::spawn_local(worker(Rc::clone(plan), Rc::clone(stats), i))).collect();
        for h in hs {
            let _ = h.await;
        }
    });
}

fn quant(o: &mut String, name: &str, v: &mut [u64]) {
    if v.is_empty() {
        return;
    }
    v.sort_unstable();
    let q = |p: f64| v[((v.len() - 1) as f64 * p).round() as usize] as f64 / 1000.0;
    let mean = v.iter().map(|x| *x as f64).sum::<f64>() / v.len() as f64 / 1000.0;
    let _ = write!(
        o,
        ",\"{name}_us\":{{\"mean\":{mean:.1},\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"p999\":{:.1},\"max\":{:.1}}}",
        q(0.5),
        q(0.9),
        q(0.99),
        q(0.999),
        q(1.0)
    );
}

/// One chat request. Prompts differ between the `distinct` bodies after a common opening, as
/// conversations under one system prompt do.
fn request(addr: &str, path: &str, model: &str, stream: bool, bytes: usize, seed: usize, heads: &[&str]) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 16);
    let mut x = 0x9e3779b97f4a7c15u64.wrapping_mul(seed as u64 + 1);
    let _ = write!(text, "Question {seed}: ");
    while text.len() < bytes {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let w = ["alpha", "river", "stone", "copper", "lantern", "violet", "seven", "harbour"][(x % 8) as usize];
        text.push_str(w);
        text.push(' ');
    }
    let body = format!(
        "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are a helpful assistant. Answer briefly.\"}},{{\"role\":\"user\",\"content\":\"{text}\"}}],\"max_tokens\":128,\"temperature\":0.7{}}}",
        if stream { ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" } else { "" }
    );
    let mut h = format!(
        "POST {path} HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n",
        body.len()
    );
    for x in heads {
        h.push_str(x);
        h.push_str("\r\n");
    }
    h.push_str("\r\n");
    let mut v = h.into_bytes();
    v.extend_from_slice(body.as_bytes());
    v
}

struct Conn {
    s: TcpStream,
    buf: Vec<u8>,
    dec: Vec<u8>,
}

async fn worker(p: Rc<Plan>, st: Rc<RefCell<Stats>>, me: usize) {
    if p.stagger_us > 0 {
        tokio::time::sleep(Duration::from_micros(p.stagger_us * me as u64)).await;
    }
    let mut conn: Option<Conn> = None;
    let mut fails = 0;
    loop {
        let i = {
            let mut s = st.borrow_mut();
            if s.next >= p.count {
                return;
            }
            let i = s.next;
            s.next += 1;
            i
        };
        let mut from = Instant::now();
        if p.rate > 0.0 {
            let due = p.start + Duration::from_secs_f64(i as f64 / p.rate);
            if due >= p.end {
                return;
            }
            if due > from {
                tokio::time::sleep_until(due.into()).await;
                from = Instant::now();
            } else {
                from = due;
            }
        } else if from >= p.end {
            return;
        }
        let fresh = conn.is_none();
        let r = tokio::time::timeout(p.timeout, one(&p, &st, &mut conn, i, from)).await;
        let err = match r {
            Ok(Ok(keep)) => {
                if !keep {
                    conn = None;
                    st.borrow_mut().reconnects += 1;
                }
                fails = 0;
                continue;
            }
            Ok(Err(e)) => e,
            Err(_) => "timeout".to_string(),
        };
        conn = None;
        let mut s = st.borrow_mut();
        // A kept connection the peer closed while idle is not the gateway's failure: try again.
        if !fresh && err == "eof before response" {
            s.reconnects += 1;
            s.next = s.next.saturating_sub(1);
            continue;
        }
        s.errors += 1;
        if s.first_error.is_empty() {
            s.first_error = err;
        }
        fails += 1;
        if fails > 20 {
            return;
        }
    }
}

struct Head {
    len: usize,
    status: u16,
    clen: Option<usize>,
    chunked: bool,
    close: bool,
}

async fn read_head(c: &mut Conn) -> Result<Head, String> {
    loop {
        let n = c.s.read_buf(&mut c.buf).await.map_err(|_| "eof before response".to_string())?;
        if n == 0 {
            return Err("eof before response".into());
        }
        let mut hs = [httparse::EMPTY_HEADER; 96];
        let mut r = httparse::Response::new(&mut hs);
        match r.parse(&c.buf) {
            Ok(httparse::Status::Complete(len)) => {
                let clen = header(r.headers, "content-length").and_then(parse_usize);
                let chunked = header(r.headers, "transfer-encoding").is_some_and(|v| ascii_contains(v, "chunked"));
                let close = header(r.headers, "connection").is_some_and(|v| ascii_contains(v, "close")) || r.version == Some(0);
                return Ok(Head { len, status: r.code.unwrap_or(0), clen, chunked, close });
            }
            Ok(httparse::Status::Partial) => {}
            Err(e) => return Err(format!("bad response head: {e}")),
        }
    }
}

/// Sends one request and reads its answer. Ok(true) when the connection can be used again.
async fn one(p: &Plan, st: &Rc<RefCell<Stats>>, conn: &mut Option<Conn>, i: u64, from: Instant) -> Result<bool, String> {
    if conn.is_none() {
        let s = TcpStream::connect(&p.addr).await.map_err(|e| format!("connect: {e}"))?;
        let _ = s.set_nodelay(true);
        *conn = Some(Conn { s, buf: Vec::with_capacity(32 * 1024), dec: Vec::new() });
    }
    let c = conn.as_mut().unwrap();
    c.buf.clear();
    c.dec.clear();
    c.s.write_all(&p.requests[(i % p.requests.len() as u64) as usize]).await.map_err(|_| "eof before response".to_string())?;

    let Head { len: head, status, clen, chunked, close } = read_head(c).await?;
    let mut dec = Chunked::default();
    let mut scan = Scan::default();
    let mut taken = head;
    let mut got = 0usize;
    let mut pending: Vec<u64> = Vec::new();
    let mut first: Option<Duration> = None;
    let mut eof = false;
    let mut reads = 0u64;
    loop {
        let now = now_ns();
        reads += 1;
        let before = c.dec.len();
        if chunked {
            dec.feed(&c.buf[taken..], &mut c.dec).ok_or("bad chunk")?;
        } else {
            c.dec.extend_from_slice(&c.buf[taken..]);
        }
        got += c.dec.len() - before;
        if p.stream && status == 200 {
            let n0 = pending.len();
            scan.feed(&mut c.dec, now, &mut pending);
            if first.is_none() && pending.len() > n0 {
                first = Some(from.elapsed());
            }
        }
        let end = if chunked { dec.done() } else { clen.is_some_and(|n| got >= n) } || eof;
        if end {
            break;
        }
        c.buf.clear();
        taken = 0;
        let n = c.s.read_buf(&mut c.buf).await.map_err(|e| format!("read: {e}"))?;
        if n == 0 {
            if chunked || clen.is_some() {
                return Err("eof in body".into());
            }
            eof = true;
        }
    }
    let lat = from.elapsed();
    if status != 200 {
        let t = String::from_utf8_lossy(&c.dec[..c.dec.len().min(300)]).into_owned();
        return Err(format!("status {status}: {t}"));
    }
    let mut s = st.borrow_mut();
    s.bytes_in += got as u64;
    s.reads += reads;
    let ttft = first.unwrap_or(lat).as_nanos() as u64;
    s.count(p, &scan, ttft, pending, &c.dec)?;
    s.lat.push(lat.as_nanos() as u64);
    Ok(!close && !eof)
}

impl Stats {
    fn count(&mut self, p: &Plan, scan: &Scan, ttft: u64, mut pending: Vec<u64>, body: &[u8]) -> Result<(), String> {
        if p.stream {
            if !scan.done {
                self.no_done += 1; // the stream ended without [DONE]: a flaw, told apart from lost chunks
            }
            if pending.len() != p.chunks {
                self.short += 1;
                if self.first_error.is_empty() {
                    self.first_error = format!("stream had {} of {} chunks, done={}", pending.len(), p.chunks, scan.done);
                }
            }
            self.ttft.push(ttft);
            self.delay.append(&mut pending);
        } else if memchr::memmem::find(body, b"quick brown fox").is_none() {
            return Err("answer text is missing".into());
        }
        self.ok += 1;
        Ok(())
    }
}

/// Finds "@" + 19 digits and [DONE] in SSE lines; leaves an unfinished line in the buffer.
#[derive(Default)]
struct Scan {
    done: bool,
}

impl Scan {
    fn feed(&mut self, b: &mut Vec<u8>, now: u64, out: &mut Vec<u64>) {
        let Some(last) = memchr::memrchr(b'\n', b) else { return };
        for line in b[..last].split(|c| *c == b'\n') {
            if !line.starts_with(b"data:") {
                continue;
            }
            if let Some(p) = memchr::memchr(b'@', line) {
                if line.len() >= p + 20 {
                    let mut t = 0u64;
                    for d in &line[p + 1..p + 20] {
                        t = t.wrapping_mul(10).wrapping_add((d.wrapping_sub(b'0')) as u64);
                    }
                    out.push(now.saturating_sub(t));
                }
            } else if memchr::memmem::find(line, b"[DONE]").is_some() {
                self.done = true;
            }
        }
        b.drain(..=last);
    }
}

fn self_cpu() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |u| seconds(u.user_time()) + seconds(u.system_time()))
}
