//! A PostgreSQL server of a test's own: in a scratch folder, on a port of its own, gone with the test.

#![allow(unreachable_pub, dead_code, clippy::disallowed_methods, reason = "each test file uses its own share")]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Its one user is `charter`, with a password.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    child: Child,
}

/// The folder with PostgreSQL's programs, the newest version first.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = versions.map(|v| v.path().join("bin")).filter(|p| p.join("initdb").exists()).collect();
    all.sort();
    all.extend(["/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin"].map(PathBuf::from));
    all.into_iter().find(|p| p.join("initdb").exists()).expect("initdb (package postgresql)")
}

/// A command of the server. It refuses to run as root, so root lends it the user of nobody.
fn command(program: &Path) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let mut command = Command::new("setpriv");
    if root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    // A test that is killed must not leave a server behind.
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir("/");
    command
}

impl Postgres {
    pub fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("charter-pg-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).expect("scratch folder");
        std::fs::write(folder.join("password"), "p@ss word").expect("password file");
        if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&folder).expect("folder")) == 0 {
            for path in [folder.clone(), folder.join("password")] {
                std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("chown");
            }
        }
        let (bin, data) = (programs(), folder.join("data"));
        let made = command(&bin.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "charter", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "--pwfile"])
            .arg(folder.join("password"))
            .status();
        assert!(made.expect("setpriv (package util-linux)").success(), "initdb failed");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let child = Self::spawn(&folder, free);
        let server = Self { folder, port: free, child };
        server.wait();
        server
    }

    fn spawn(folder: &Path, port: u16) -> Child {
        let socket = format!("unix_socket_directories={}", folder.display());
        let port = port.to_string();
        command(&programs().join("postgres"))
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", &socket, "-c", "max_connections=60"])
            .spawn()
            .expect("postgres")
    }

    fn wait(&self) {
        let begun = Instant::now();
        let ready = || {
            let port = self.port.to_string();
            let asked = Command::new(programs().join("pg_isready")).args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
            asked.is_ok_and(|s| s.success()) && TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        };
        while !ready() {
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL did not get ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address, with a password that must be escaped there.
    pub fn url(&self) -> String {
        format!("postgres://charter:p%40ss%20word@127.0.0.1:{}/postgres", self.port)
    }

    /// Kill -9 of the whole server, and another one on the same files.
    pub fn crash(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        // Its children end by themselves when they see that; a new server waits for them.
        let begun = Instant::now();
        loop {
            self.child = Self::spawn(&self.folder, self.port);
            std::thread::sleep(Duration::from_millis(100));
            if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL did not start again");
        }
        self.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
