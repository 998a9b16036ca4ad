//! Backends behind SSH: a mock on a machine that is reached through OpenSSH's server alone. Beside our gateway, which carries the
//! session itself, stands nginx with OpenSSH's client; the client counts as a part of it.

use super::{GATEWAY_CORE, RIG_CORE, Row, cpu, figure, http, nginx_file, pinned, ratio, release, start, wait_until};
use crate::real_engine::private_sshd;
use crate::say;
use serde_json::Value;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(super) const WHO: [&str; 2] = ["nginx-ssh", "ours-ssh"];
pub(super) const WORKLOADS: [&str; 4] = ["json", "slow1000", "sse5", "big"];
/// Where OpenSSH's client listens for nginx.
const TUNNELS: [&str; 2] = ["127.0.0.1:9111", "127.0.0.1:9112"];
const CONTROL: &str = "127.0.0.1:9250";

/// A machine with a mock as its engine, deployed through our own server.
pub(super) struct Stage {
    pub(super) key: String,
    folder: PathBuf,
    sshd: Child,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.sshd.kill().ok();
        self.sshd.wait().ok();
    }
}

/// Takes the port from the arguments of an engine, says where it is, and is the mock.
const ENGINE: &str = "#!/bin/sh
while [ $# -gt 0 ]; do [ \"$1\" = --port ] && port=$2; shift; done
echo 127.0.0.1:$port > FOLDER/engine.part && mv FOLDER/engine.part FOLDER/engine
exec taskset -c CORE MOCK --listen 127.0.0.1:$port --model mock
";

impl Stage {
    pub(super) fn prepare(folder: &Path) -> Result<Self, String> {
        let (port, sshd) = private_sshd(folder)?;
        let mut stage = Self { key: String::new(), folder: folder.to_owned(), sshd };
        Command::new("taskset")
            .args(["-cp", RIG_CORE, &stage.sshd.id().to_string()])
            .stdout(Stdio::null())
            .status()
            .map_err(|e| e.to_string())?;
        let f = folder.display().to_string();
        let engine = ENGINE.replace("FOLDER", &f).replace("CORE", RIG_CORE).replace("MOCK", &release("mock"));
        let script = folder.join("engine.sh");
        std::fs::write(&script, engine).map_err(|e| e.to_string())?;
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).map_err(|e| e.to_string())?;
        let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
        let file = format!(
            "version: 1\nserver:\n  providers:\n    lab:\n      kind: machines\n      machines:\n        - {{name: tower, address: \"127.0.0.1:{port}\", user: {user}, key-file: {f}/client, allow-no-gpu: true}}\n\
             profiles:\n  mock:\n    model: mock\n    provider: [lab]\n    max-concurrent: 4000\n    engine: {{source: installed, command: [{f}/engine.sh]}}\n\
             deployments:\n  mock: {{profile: mock}}\n"
        );
        std::fs::write(folder.join("charter.yaml"), file).map_err(|e| e.to_string())?;
        nginx_file(folder, "nginx-ssh", "127.0.0.1:9202", TUNNELS)?;
        std::fs::write(folder.join("ssh-port"), port.to_string()).map_err(|e| e.to_string())?;
        stage.key = stage.deploy()?;
        Ok(stage)
    }

    fn charter(&self, args: &[&str]) -> Result<(), String> {
        let data = self.folder.join("data-ssh");
        let output = Command::new(release("charter")).arg("--data-dir").arg(data).args(args).current_dir(&self.folder).output();
        let output = output.map_err(|e| e.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("charter {args:?}: {}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    /// Starts the engine, and makes a route with a price and a key with every limit.
    fn deploy(&self) -> Result<String, String> {
        let (_, command) = gateway(&self.folder, "ours-ssh");
        let _running = start(command.ok_or("no server")?)?;
        let local = self.folder.join("data-ssh/local.key");
        wait_until(|| local.exists() && TcpStream::connect(CONTROL).is_ok(), "the server")?;
        self.charter(&["up"])?;
        let admin = std::fs::read_to_string(local).map_err(|e| e.to_string())?;
        let admin = format!("authorization: Bearer {}", admin.trim());
        let route = r#"{"price":{"input_usd_micros":100000,"output_usd_micros":400000}}"#;
        http(CONTROL, "PUT", "/api/v1/routes/mock", &admin, route)?;
        let key = r#"{"name":"bench","routes":["mock"],"requests_per_minute":100000000,"tokens_per_minute":100000000000,"parallel":100000,"day_usd_micros":1000000000000,"month_usd_micros":2000000000000}"#;
        let made = http(CONTROL, "POST", "/api/v1/keys", &admin, key)?;
        let made: Value = serde_json::from_str(&made).map_err(|e| e.to_string())?;
        made.get("key").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| "no key".to_owned())
    }

    /// Ends the engine.
    pub(super) fn end(self) -> Result<(), String> {
        let (_, command) = gateway(&self.folder, "ours-ssh");
        let _running = start(command.ok_or("no server")?)?;
        wait_until(|| TcpStream::connect(CONTROL).is_ok(), "the server")?;
        self.charter(&["down", "--all"])
    }
}

/// The address of the mock on the machine, once it runs.
pub(super) fn engine(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join("engine")).ok().map(|text| text.trim().to_owned())
}

pub(super) fn gateway(folder: &Path, who: &str) -> (String, Option<Command>) {
    if who == "ours-ssh" {
        let (data, file) = (folder.join("data-ssh").display().to_string(), folder.join("charter.yaml").display().to_string());
        let args = ["--data-dir", &data, "--config", &file, "serve", "--listen", CONTROL, "--gateway-listen", "127.0.0.1:9251"];
        return ("127.0.0.1:9251".to_owned(), Some(pinned(GATEWAY_CORE, &release("charter"), &args)));
    }
    let f = folder.display();
    let port = std::fs::read_to_string(folder.join("ssh-port")).unwrap_or_default();
    let user = std::env::var("USER").unwrap_or_else(|_| "root".into());
    let to = engine(folder).unwrap_or_default();
    let [one, other] = TUNNELS;
    // The client ends with the proxy; whoever counts the proxy counts it too.
    let script = format!(
        "ulimit -n 8192; setpriv --pdeathsig KILL ssh -N -i {f}/client -p {port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         -o ExitOnForwardFailure=yes -o LogLevel=ERROR -L {one}:{to} -L {other}:{to} {user}@127.0.0.1 & exec /usr/sbin/nginx -c {f}/nginx-ssh.conf"
    );
    ("127.0.0.1:9202".to_owned(), Some(pinned(GATEWAY_CORE, "sh", &["-c", &script])))
}

/// What it costs to reach backends through SSH, beside nginx with OpenSSH's client.
pub(super) fn judge(rows: &[Row]) {
    say("\nbackends behind SSH: CPU, microseconds per request, or per chunk of a stream");
    for name in WORKLOADS {
        let key = super::WORKLOADS.iter().find(|w| w.name == name).map_or("", cpu);
        let (other, ours) = (figure(rows, WHO[0], name, key), figure(rows, WHO[1], name, key));
        let times = ratio(rows, WHO[1], WHO[0], name, key);
        say(&format!("{name:<12}nginx and ssh {other:>8.2}   ours {ours:>8.2}   ({times:.2} times)"));
    }
    let memory = |who| figure(rows, who, "slow1000", "rss_peak_kb") / 1024.0;
    say(&format!("{:<12}nginx and ssh {:>8.1}   ours {:>8.1}   MB with 1,000 streams", "", memory(WHO[0]), memory(WHO[1])));
}
