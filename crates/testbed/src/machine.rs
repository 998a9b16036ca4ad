//! A machine on this computer, reached by SSH.

use charter_remote::KeyPair;
use charter_remote::server::{Machine, Server};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A running machine with a home folder of its own.
#[derive(Debug)]
pub struct LocalMachine {
    home: PathBuf,
    server: Server,
}

impl LocalMachine {
    /// Starts a machine in `home` that lets `authorized` in, a line of `authorized_keys`.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn start(home: &Path, authorized: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(home)?;
        let label = home.display().to_string();
        let machine = Machine {
            home: home.to_owned(),
            path: vec![],
            authorized: authorized.to_owned(),
            host_key: KeyPair::derive(b"charter testbed machine", &label),
        };
        Ok(Self { home: home.to_owned(), server: Server::start(machine).await? })
    }

    /// Where its SSH server listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How many instances it still holds.
    #[must_use]
    pub fn instances(&self) -> usize {
        std::fs::read_dir(self.home.join(".charter/instances")).map_or(0, Iterator::count)
    }
}
