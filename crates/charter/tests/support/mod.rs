//! Real parts for tests: a private OpenSSH server, the program itself, and plain HTTP.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own share")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

pub mod doors;
pub mod market;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where a test waits for something, it waits at most so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds`, and fails with `what` after the patience.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Variables of the person who runs the tests that must not steer them.
const NAMES: [&str; 4] = ["CHARTER_SERVER", "CHARTER_KEY", "CHARTER_CONFIG", "CHARTER_DATA_DIR"];

/// A free port whose successor is free too: a gateway takes that one.
pub fn free_port() -> u16 {
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let next = |port: &u16| port.checked_add(1).is_some_and(|next| TcpListener::bind(("127.0.0.1", next)).is_ok());
    std::iter::repeat_with(free).take(100).find(next).expect("two free ports")
}

/// A folder with an OpenSSH server of its own, whose user has a home folder of its own.
pub struct Place {
    pub folder: PathBuf,
    pub port: u16,
    extra: String,
    sshd: Option<Child>,
    server: Option<Child>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop_server();
        self.stop_sshd();
        self.end_engines();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// The real SSH server.
pub fn sshd() -> &'static Path {
    let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
    places.into_iter().map(Path::new).find(|p| p.exists()).expect("sshd (package openssh-server)")
}

fn keygen(file: &Path) {
    let file = file.display().to_string();
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &file]).status();
    assert!(made.expect("ssh-keygen (package openssh-client)").success());
}

impl Place {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("charter-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(folder.join("home")).expect("scratch folder");
        keygen(&folder.join("host"));
        keygen(&folder.join("client"));
        let mut place = Self { folder, port: free_port(), extra: String::new(), sshd: None, server: None };
        place.start_sshd();
        place
    }

    /// A place without a machine of its own.
    pub fn bare(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("charter-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).expect("scratch folder");
        Self { folder, port: 0, extra: String::new(), sshd: None, server: None }
    }

    pub fn start_sshd(&mut self) {
        std::fs::create_dir_all("/run/sshd").ok();
        let f = self.folder.display();
        // The machine's home folder is one of the test's own, so that nothing of the real user is touched.
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {f}/host\nPidFile none\nAuthorizedKeysFile {f}/client.pub\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nMaxStartups 100\nMaxSessions 200\nSetEnv HOME={f}/home{}\n",
            self.port, self.extra
        );
        std::fs::write(self.folder.join("sshd_config"), text).expect("configuration");
        let child = Command::new(sshd())
            .arg("-D")
            .arg("-f")
            .arg(self.folder.join("sshd_config"))
            .arg("-E")
            .arg(self.folder.join("sshd.log"))
            .spawn();
        self.sshd = Some(child.expect("sshd"));
        let port = self.port;
        wait_until("sshd listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    pub fn stop_sshd(&mut self) {
        if let Some(mut sshd) = self.sshd.take() {
            sshd.kill().ok();
            sshd.wait().ok();
        }
        // Sessions are processes of their own and outlive the listener.
        self.end_sessions();
    }

    /// Ends every session of this server, in the middle of whatever it does. The listener goes on.
    pub fn end_sessions(&self) {
        let listener = self.sshd.as_ref().map(Child::id);
        for pid in pids(|cmdline| cmdline.starts_with("sshd:") || cmdline.contains("sshd-session")) {
            if Some(pid) != listener && owns_port(pid, self.port) {
                signal("KILL", pid);
            }
        }
    }

    /// Stops or continues every process of the server, as a network that hangs would.
    pub fn freeze(&self, name: &str) {
        if let Some(sshd) = &self.sshd {
            signal(name, sshd.id());
        }
        for pid in pids(|cmdline| cmdline.starts_with("sshd:") || cmdline.contains("sshd-session")) {
            if owns_port(pid, self.port) {
                signal(name, pid);
            }
        }
    }

    /// Puts a folder first in the search path of the machine's commands.
    pub fn path(&mut self, folder: &Path) {
        self.stop_sshd();
        self.extra = format!(" PATH={}:/usr/local/bin:/usr/bin:/bin", folder.display());
        self.start_sshd();
    }

    pub fn new_host_key(&mut self) {
        for file in ["host", "host.pub"] {
            std::fs::remove_file(self.folder.join(file)).expect("old key");
        }
        keygen(&self.folder.join("host"));
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A configuration with this place's machine, one profile, and deployments as given.
    pub fn configure(&self, profile: &str, deployments: &str) {
        let (f, user) = (self.folder.display(), user());
        let charter = env!("CARGO_BIN_EXE_charter");
        let text = format!(
            "version: 1\nserver:\n  providers:\n    lab:\n      kind: machines\n      machines:\n        - {{name: tower, address: \"127.0.0.1:{}\", user: {user}, key-file: {f}/client, allow-no-gpu: true}}\n\
             profiles:\n  small:\n    model: demo/small\n    served-name: small\n    engine:\n      source: installed\n      command: [{charter}, __engine, serve]\n{profile}\
             deployments:\n{deployments}",
            self.port
        );
        std::fs::write(self.folder.join("charter.yaml"), text).expect("configuration");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_charter"));
        command.arg("--data-dir").arg(self.data()).args(args).current_dir(&self.folder).stdin(Stdio::null());
        for name in NAMES {
            command.env_remove(name);
        }
        command
    }

    pub fn charter(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("charter")
    }

    /// Runs a command that must succeed, and gives its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.charter(args);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert!(output.status.success(), "charter {args:?}: {}\n{out}\n{err}\n{}", output.status, self.server_log());
        out
    }

    pub fn server_log(&self) -> String {
        std::fs::read_to_string(self.data().join("server.log")).unwrap_or_default()
    }

    /// Starts a server on free ports and waits until it is ready.
    pub fn serve(&mut self, args: &[&str]) {
        self.serve_with(args, &[]);
    }

    pub fn serve_with(&mut self, args: &[&str], env: &[(&str, &str)]) {
        std::fs::create_dir_all(self.data()).expect("data");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.data().join("server.log")).expect("log");
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(args);
        // A file that may not grow is told by an error and not by a signal.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "serve"]).arg(env!("CARGO_BIN_EXE_charter"));
        command.args(self.command(&all).get_args()).current_dir(&self.folder).stdin(Stdio::null());
        for name in NAMES {
            command.env_remove(name);
        }
        let mut child = command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(log).spawn().expect("serve");
        let out = child.stdout.take().expect("standard output");
        let ready = BufReader::new(out).lines().map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the server did not get ready: {}", self.server_log());
        self.server = Some(child);
    }

    pub fn server_pid(&self) -> u32 {
        self.server.as_ref().expect("a server").id()
    }

    /// Kill -9.
    pub fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("kill");
            server.wait().expect("wait");
        }
    }

    /// Begins a command, kills the server after `pause`, and starts another one.
    pub fn killed_during(&mut self, args: &[&str], pause: Duration) {
        self.killed_and_served(args, pause, &[]);
    }

    /// The same, with what the other one is started with.
    pub fn killed_and_served(&mut self, args: &[&str], pause: Duration, serve: &[&str]) {
        // Named, so that a command that comes after the kill does not start a server of its own beside the next one.
        let url = field(&std::fs::read_to_string(self.data().join("server.json")).expect("server file"), "url");
        let args: Vec<&str> = ["--server", &url].into_iter().chain(args.iter().copied()).collect();
        let mut command = self.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("command");
        // The moment of the kill is the input of a test, not a wait for something.
        std::thread::sleep(pause);
        self.kill_server();
        command.wait().expect("command");
        self.serve(serve);
    }

    /// The port that the control plane listens on.
    pub fn port_of_server(&self) -> u16 {
        let url = field(&std::fs::read_to_string(self.data().join("server.json")).expect("server file"), "url");
        url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    pub fn stop_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            // A frozen one would never hear it.
            signal("CONT", server.id());
            signal("TERM", server.id());
            server.wait().ok();
            return;
        }
        if self.data().join("server.json").exists() {
            self.charter(&["stop"]);
        }
    }

    pub fn key(&self) -> String {
        std::fs::read_to_string(self.data().join("local.key")).expect("local key").trim().to_owned()
    }

    pub fn gateway(&self) -> SocketAddr {
        let text = std::fs::read_to_string(self.data().join("server.json")).expect("server file");
        let url = field(&text, "gateway_url");
        url.trim_start_matches("http://").trim_end_matches("/v1").parse().expect("gateway address")
    }

    /// Processes of engines whose home is this place.
    pub fn engines(&self) -> Vec<u32> {
        let home = format!("HOME={}/home", self.folder.display());
        let all = pids(|cmdline| cmdline.contains("__engine"));
        all.into_iter()
            .filter(|pid| {
                std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|e| String::from_utf8_lossy(&e).contains(&home))
            })
            .collect()
    }

    fn end_engines(&self) {
        for pid in self.engines() {
            signal("KILL", pid);
        }
    }
}

/// A pause from a number, so that a round can be told apart by it.
pub fn chance(round: u64, most_ms: u64) -> Duration {
    let mut z = round.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Duration::from_millis((z ^ (z >> 31)) % most_ms)
}

pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub fn signal(name: &str, pid: u32) {
    Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status().ok();
}

fn pids(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let numbers = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    numbers
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| wanted(&String::from_utf8_lossy(&c).replace('\0', " ")))
        })
        .collect()
}

/// Does a process hold a connection of this local port?
fn owns_port(pid: u32, port: u16) -> bool {
    let hex = format!(":{port:04X} ");
    let tcp = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let inodes: Vec<String> = tcp
        .lines()
        .filter(|l| l.split_whitespace().nth(1).is_some_and(|a| format!("{a} ").ends_with(&hex)))
        .filter_map(|l| l.split_whitespace().nth(9).map(|i| format!("socket:[{i}]")))
        .collect();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| inodes.contains(&to.display().to_string()))
}

/// A text field of a JSON document, good enough for flat ones.
pub fn field(json: &str, name: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    value[name].as_str().unwrap_or_default().to_owned()
}

/// A gateway in a process of its own.
pub struct Separate {
    pub child: Child,
    pub address: SocketAddr,
}

impl Drop for Separate {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Separate {
    pub fn begin(place: &Place) -> Self {
        let mut command = place.command(&["gateway", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("gateway");
        let out = BufReader::new(child.stdout.take().expect("output"));
        let line = out.lines().map_while(Result::ok).find(|l| l.starts_with("gateway: ")).expect("address");
        let address = line.trim_start_matches("gateway: http://").trim_end_matches("/v1").parse().expect("address");
        Self { child, address }
    }
}

/// An answer of the gateway, as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Opens a request and leaves reading to the caller.
pub fn open(address: SocketAddr, method: &str, path: &str, key: &str, body: &[u8]) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes())?;
    // The answer to a body that is too large may come before all of it is sent.
    socket.write_all(body).ok();
    Ok(socket)
}

pub fn request(address: SocketAddr, method: &str, path: &str, key: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut socket = open(address, method, path, key, body)?;
    let mut bytes = vec![];
    let read = socket.read_to_end(&mut bytes);
    if bytes.is_empty() {
        read?;
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

pub fn chat(address: SocketAddr, key: &str, model: &str, tokens: u32, stream: bool) -> std::io::Result<Answer> {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"max_tokens":{tokens},"messages":[{{"role":"user","content":"one two "}}]}}"#
    );
    request(address, "POST", "/v1/chat/completions", key, body.as_bytes())
}
