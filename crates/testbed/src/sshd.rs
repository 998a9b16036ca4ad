//! A real OpenSSH server as the door of a machine, where a test wants to meet one.

use charter_remote::KeyPair;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server. It logs its own user in, whoever that is, and gives every session a home of its own.
#[derive(Debug)]
pub(crate) struct Sshd {
    address: SocketAddr,
    child: Child,
}

fn other(text: impl Into<String>) -> std::io::Error {
    std::io::Error::other(text.into())
}

impl Sshd {
    /// Starts `program` for the machine in `home`, with `path` first among the places of its commands.
    ///
    /// # Errors
    /// What the operating system says, or that it does not listen in time.
    pub(crate) async fn start(program: &Path, home: &Path, host_key: &KeyPair, path: &Path) -> std::io::Result<Self> {
        // Where the server drops its rights to; distributions make it when the service starts.
        tokio::fs::create_dir_all("/run/sshd").await.ok();
        let folder = home.join("sshd");
        tokio::fs::create_dir_all(&folder).await?;
        let key = folder.join("host_key");
        tokio::fs::write(&key, host_key.to_openssh().map_err(|e| other(e.to_string()))?.as_bytes()).await?;
        tokio::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).await?;
        let address = TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?;
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {home}/.ssh/authorized_keys\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nMaxStartups 100\nMaxSessions 200\n\
             SetEnv HOME={home} PATH={}:/usr/local/bin:/usr/bin:/bin\n",
            address.port(),
            key.display(),
            path.display(),
            home = home.display()
        );
        let file = folder.join("sshd_config");
        tokio::fs::write(&file, text).await?;
        let mut child = Command::new(program)
            .arg("-D")
            .arg("-f")
            .arg(&file)
            .arg("-E")
            .arg(folder.join("sshd.log"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
        };
        tokio::select! {
            status = child.wait() => Err(other(format!("`{}` ended at once: {status:?}", program.display()))),
            listens = tokio::time::timeout(PATIENCE, listens) => {
                listens.map_err(|_| other("the SSH server does not listen"))?;
                Ok(Self { address, child })
            }
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, and its sessions, which are processes of their own.
    pub(crate) async fn power_off(mut self) {
        let sessions = self.child.id().map(children).unwrap_or_default();
        let killed = self.child.kill().await;
        tracing::debug!(?killed, sessions = sessions.len(), "an SSH server ended");
        if !sessions.is_empty() {
            let ended =
                Command::new("kill").arg("-9").args(sessions.iter().map(u32::to_string)).stderr(Stdio::null()).status().await;
            tracing::debug!(?ended, "its sessions ended");
        }
    }
}

/// Processes that descend from another.
fn children(of: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut all = vec![of];
    let mut next = 0;
    while let Some(one) = all.get(next).copied() {
        all.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(pid, _)| *pid));
        next += 1;
    }
    all.split_off(1)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
