//! An SSH server in this process: the machine of the demo and of tests. Commands run as local processes in a folder
//! of their own; streams lead to local ports. It lets exactly one public key in.

use crate::keys::KeyPair;
use russh::keys::PublicKey;
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{ChildStdin, Command};
use tokio_util::sync::CancellationToken;

/// What the server is.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its home folder.
    pub home: PathBuf,
    /// Folders before the usual `PATH`, for programs that the machine should have.
    pub path: Vec<PathBuf>,
    /// A key that is let in, as a line of `authorized_keys`; beside it those of the file of that name in its home.
    pub authorized: String,
    /// Its host key.
    pub host_key: KeyPair,
}

/// A running server. Dropping it ends all sessions; processes that detached themselves live on, as on a real machine.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    ended: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Server {
    /// Listens on a free port of the loopback address.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn start(machine: Machine) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, ended) = (listener.local_addr()?, CancellationToken::new());
        let config = Arc::new(server::Config {
            keys: vec![(*machine.host_key.0).clone()],
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: Duration::from_millis(200),
            auth_rejection_time_initial: Some(Duration::ZERO),
            nodelay: true,
            ..server::Config::default()
        });
        tokio::spawn(serve(listener, config, machine, ended.clone()));
        Ok(Self { address, ended })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, config: Arc<server::Config>, machine: Machine, ended: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else { continue };
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let guest = Guest { machine: machine.clone(), stdin: BTreeMap::new() };
        let (config, ended) = (Arc::clone(&config), ended.clone());
        tokio::spawn(async move {
            let Ok(session) = server::run_stream(config, socket, guest).await else {
                return;
            };
            tokio::select! {
                () = ended.cancelled() => {}
                result = session => tracing::trace!(?result, "session ended"),
            }
        });
    }
}

/// One session.
struct Guest {
    machine: Machine,
    stdin: BTreeMap<ChannelId, ChildStdin>,
}

impl server::Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        // Beside the one that it was made with, those of its own file count, as on any machine.
        let file = std::fs::read_to_string(self.machine.home.join(".ssh/authorized_keys")).unwrap_or_default();
        let mut lines = std::iter::once(self.machine.authorized.as_str()).chain(file.lines());
        let same = |line: &str| PublicKey::from_openssh(line).is_ok_and(|line| line.key_data() == key.public_key.key_data());
        let known = lines.any(same);
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let command = String::from_utf8_lossy(data).into_owned();
        let usual = std::env::join_paths(&self.machine.path).unwrap_or_default();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", usual.to_string_lossy());
        let spawned = Command::new("/bin/sh")
            .args(["-c", &command])
            .current_dir(&self.machine.home)
            .env_clear()
            .env("HOME", &self.machine.home)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        if let Some(stdin) = child.stdin.take() {
            self.stdin.insert(id, stdin);
        }
        let handle = session.handle();
        tokio::spawn(async move {
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let stdout = pump(out, handle.clone(), id, false);
            let stderr = pump(err, handle.clone(), id, true);
            tokio::join!(stdout, stderr);
            let status = child.wait().await.ok().and_then(|s| s.code()).and_then(|c| u32::try_from(c).ok());
            let ends =
                [handle.exit_status_request(id, status.unwrap_or(255)).await, handle.eof(id).await, handle.close(id).await];
            tracing::trace!(?ends, "command ended");
        });
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        if let Some(stdin) = self.stdin.get_mut(&id)
            && stdin.write_all(data).await.is_err()
        {
            self.stdin.remove(&id);
        }
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.stdin.remove(&id);
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let port = u16::try_from(port).unwrap_or(0);
        let Ok(mut there) = TcpStream::connect((host, port)).await else {
            reply.reject(russh::ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        reply.accept().await;
        tokio::spawn(async move {
            let nodelay = there.set_nodelay(true);
            let mut here = channel.into_stream();
            let done = copy_bidirectional(&mut here, &mut there).await;
            tracing::trace!(?done, ?nodelay, "stream ended");
        });
        Ok(())
    }
}

async fn pump(source: Option<impl tokio::io::AsyncRead + Unpin>, handle: server::Handle, id: ChannelId, stderr: bool) {
    let Some(mut source) = source else { return };
    let mut buffer = vec![0_u8; 16 * 1024];
    while let Ok(n) = source.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        let chunk = buffer[..n].to_vec();
        let sent = if stderr { handle.extended_data(id, 1, chunk).await.is_ok() } else { handle.data(id, chunk).await.is_ok() };
        if !sent {
            return;
        }
    }
}
