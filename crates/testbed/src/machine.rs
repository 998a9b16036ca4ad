//! A machine on this computer, reached by SSH.

use crate::sshd::Sshd;
use charter_remote::KeyPair;
use charter_remote::server::{Machine, Server};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// So often processes of a machine that is switched off are looked for.
const ROUNDS_MAX: u32 = 20;

/// A running machine with a home folder of its own.
#[derive(Debug)]
pub struct LocalMachine {
    home: PathBuf,
    door: Door,
}

/// Its SSH server.
#[derive(Debug)]
enum Door {
    /// One inside this process.
    Own(Server),
    /// OpenSSH's.
    Sshd(Sshd),
}

/// The host key of the machine in `home`.
pub(crate) fn host_key(home: &Path) -> KeyPair {
    KeyPair::derive(b"charter testbed machine", &home.display().to_string())
}

/// Lets another key into the machine in `home`.
pub(crate) fn authorize(home: &Path, line: &str) {
    let folder = home.join(".ssh");
    let file = folder.join("authorized_keys");
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&file)?;
        writeln!(file, "{line}")
    });
    let mode = std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600));
    tracing::debug!(?written, ?mode, "a key was let in");
}

impl LocalMachine {
    /// Starts a machine in `home` that lets `authorized` in, a line of `authorized_keys`.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn start(home: &Path, authorized: &str) -> std::io::Result<Self> {
        let machine =
            Machine { home: home.to_owned(), path: vec![], authorized: authorized.to_owned(), host_key: host_key(home) };
        Self::boot(home, machine).await
    }

    /// Starts a machine as it is described.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn boot(home: &Path, machine: Machine) -> std::io::Result<Self> {
        std::fs::create_dir_all(home)?;
        Ok(Self { home: home.to_owned(), door: Door::Own(Server::start(machine).await?) })
    }

    /// Starts a machine whose door is the OpenSSH server `program`; `tools` come first among its commands.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn with_sshd(home: &Path, program: &Path, tools: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(home)?;
        let door = Door::Sshd(Sshd::start(program, home, &host_key(home), tools).await?);
        Ok(Self { home: home.to_owned(), door })
    }

    /// Where its SSH server listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        match &self.door {
            Door::Own(server) => server.address(),
            Door::Sshd(sshd) => sshd.address(),
        }
    }

    /// How many instances it still holds.
    #[must_use]
    pub fn instances(&self) -> usize {
        std::fs::read_dir(self.home.join(".charter/instances")).map_or(0, Iterator::count)
    }

    /// Pulls the plug: sessions end, and every process whose home this is.
    pub async fn power_off(self) {
        let home = format!("HOME={}", self.home.display());
        match self.door {
            Door::Own(server) => drop(server),
            Door::Sshd(sshd) => sshd.power_off().await,
        }
        // What was just being started shows up a moment later.
        for _ in 0..ROUNDS_MAX {
            let variable = home.clone();
            let pids = tokio::task::spawn_blocking(move || processes(&variable)).await.unwrap_or_default();
            if pids.is_empty() {
                break;
            }
            let killed = tokio::process::Command::new("kill")
                .arg("-9")
                .args(pids.iter().map(u32::to_string))
                .stderr(std::process::Stdio::null())
                .status()
                .await;
            tracing::debug!(?killed, "processes of a machine ended");
        }
    }
}

/// Processes whose environment has exactly this variable.
fn processes(variable: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    let has = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|v| v == variable.as_bytes())
    };
    pids.filter(has).collect()
}
