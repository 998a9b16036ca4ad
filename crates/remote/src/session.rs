//! One SSH session: connect with a pinned host key, run a command, put a file, open a stream to a port there.

use crate::error::Error;
use crate::keys::{KeyPair, fingerprint};
use russh::client::{self, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelStream, Disconnect};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a connection may take, authentication included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a stream may take to open.
pub const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long without a word from the machine it is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long a command may take to be accepted, beside its own time.
const OPENING: Duration = Duration::from_secs(5);
/// So many questions may stay without an answer.
const KEEPALIVE_MAX: usize = 3;
/// Messages of one stream that may wait for their reader: a minute of tokens.
const MESSAGES_MAX: usize = 2048;

/// Where to go, as whom, and whom to expect there.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name or number.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Our key.
    pub key: KeyPair,
    /// The only fingerprint that is accepted; `None` accepts any and reports it, for the bootstrap window alone.
    pub host_key: Option<String>,
}

impl Target {
    /// `user@host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }
}

/// What a command left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; `None` when a signal ended it or the session broke.
    pub status: Option<u32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text; bytes that are no text are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Bytes to and from a port on the machine.
pub type Stream = ChannelStream<client::Msg>;

/// A live session. Dropping it closes everything that runs through it.
pub struct Session {
    handle: Handle<Watch>,
    address: String,
    host_key: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Sees the host key while the session is made.
struct Watch {
    expected: Option<String>,
    seen: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Watch {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let found = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => fingerprint(key),
            PublicKeyOrCertificate::Certificate(certificate) => {
                certificate.public_key().fingerprint(russh::keys::HashAlg::Sha256).to_string()
            }
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(self.expected.as_ref().is_none_or(|expected| *expected == found))
    }
}

impl Session {
    /// Connects, checks the host key, and logs in.
    ///
    /// # Errors
    /// Any [`Error`] that says why not.
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        match timeout(CONNECT_TIMEOUT, Self::connect_now(target)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { address: target.address(), seconds: CONNECT_TIMEOUT.as_secs() }),
        }
    }

    async fn connect_now(target: &Target) -> Result<Self, Error> {
        let address = target.address();
        let unreachable = |why: String| Error::Unreachable { address: address.clone(), why };
        let socket =
            tokio::net::TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|e| unreachable(e.to_string()))?;
        socket.set_nodelay(true).map_err(|e| unreachable(e.to_string()))?;
        let config = client::Config {
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: KEEPALIVE_MAX,
            nodelay: true,
            // A stream that nobody reads holds up its whole session when this many messages of it wait.
            channel_buffer_size: MESSAGES_MAX,
            ..client::Config::default()
        };
        let seen = Arc::new(Mutex::new(None));
        let watch = Watch { expected: target.host_key.clone(), seen: Arc::clone(&seen) };
        let connected = client::connect_stream(Arc::new(config), socket, watch).await;
        let found = seen.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        let mut handle = match connected {
            Ok(handle) => handle,
            Err(russh::Error::UnknownKey) => {
                let expected = target.host_key.clone().unwrap_or_default();
                return Err(Error::HostKey { address, expected, found });
            }
            Err(error) => {
                return Err(Error::Broken { address, why: error.to_string() });
            }
        };
        let broken = |error: russh::Error| Error::Broken { address: address.clone(), why: error.to_string() };
        let hash = handle.best_supported_rsa_hash().await.map_err(broken)?.flatten();
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&target.key.0), hash);
        let welcome = handle.authenticate_publickey(target.user.clone(), key).await.map_err(broken)?;
        if !welcome.success() {
            return Err(Error::Refused { address });
        }
        Ok(Self { handle, address, host_key: found })
    }

    /// The fingerprint that the machine showed.
    #[must_use]
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// Has the session ended?
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    fn broken(&self, error: &russh::Error) -> Error {
        Error::Broken { address: self.address.clone(), why: error.to_string() }
    }

    /// Runs `command` in the login shell there, gives it `stdin`, and collects at most `limit` bytes of what it prints.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::TooMuch`] or [`Error::Broken`]. A command that ran and failed is no error here.
    pub async fn exec(&self, command: &str, stdin: &[u8], limit: usize, patience: Duration) -> Result<Output, Error> {
        match timeout(patience, self.exec_now(command, stdin, limit)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { address: self.address.clone(), seconds: patience.as_secs() }),
        }
    }

    /// The same for a person: what is printed beyond the limit, or later, is left out, and the command is not waited for any more. The
    /// second part says so.
    ///
    /// # Errors
    /// [`Error::Timeout`] where the machine hangs, or [`Error::Broken`].
    pub async fn exec_some(&self, command: &str, limit: usize, patience: Duration) -> Result<(Output, bool), Error> {
        // A machine that hangs does not even open a channel.
        match timeout(patience + OPENING, self.exec_until(command, b"", limit, Some(Instant::now() + patience))).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { address: self.address.clone(), seconds: (patience + OPENING).as_secs() }),
        }
    }

    async fn exec_now(&self, command: &str, stdin: &[u8], limit: usize) -> Result<Output, Error> {
        match self.exec_until(command, stdin, limit, None).await? {
            (output, false) => Ok(output),
            (_, true) => Err(Error::TooMuch { address: self.address.clone(), limit }),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other messages of the library mean nothing to a command")]
    async fn exec_until(
        &self,
        command: &str,
        stdin: &[u8],
        limit: usize,
        until: Option<Instant>,
    ) -> Result<(Output, bool), Error> {
        let mut channel = self.handle.channel_open_session().await.map_err(|e| self.broken(&e))?;
        channel.exec(true, command).await.map_err(|e| self.broken(&e))?;
        channel.data(stdin).await.map_err(|e| self.broken(&e))?;
        channel.eof().await.map_err(|e| self.broken(&e))?;
        let mut output = Output { status: None, stdout: vec![], stderr: vec![] };
        loop {
            let next = match until {
                None => channel.wait().await,
                Some(until) => match timeout_at(until, channel.wait()).await {
                    Ok(next) => next,
                    Err(_) => {
                        // A server that ends what runs there does so now; one that does not lets it go on.
                        channel.close().await.ok();
                        return Ok((output, true));
                    }
                },
            };
            let Some(message) = next else { break };
            match message {
                ChannelMsg::Data { data } => output.stdout.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, .. } => output.stderr.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => output.status = Some(exit_status),
                ChannelMsg::Failure => {
                    return Err(Error::Broken { address: self.address.clone(), why: "the command was not accepted".into() });
                }
                _ => {}
            }
            if output.stdout.len() + output.stderr.len() > limit {
                output.stdout.truncate(limit);
                output.stderr.truncate(limit);
                return Ok((output, true));
            }
        }
        if output.status.is_none() && self.handle.is_closed() {
            return Err(Error::Broken { address: self.address.clone(), why: "it ended during a command".into() });
        }
        Ok((output, false))
    }

    /// Writes `bytes` to `path` there, readable by the user alone, at once and whole: readers see the old file or the new.
    ///
    /// # Errors
    /// As [`Self::exec`]; [`Error::Broken`] when the machine could not write it.
    pub async fn put_file(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let quoted = quote(path);
        let command = format!("umask 077 && cat > {quoted}.part && mv -f {quoted}.part {quoted}");
        let output = self.exec(&command, bytes, 64 * 1024, Duration::from_secs(120)).await?;
        if output.status == Some(0) {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Broken { address: self.address.clone(), why })
    }

    /// Opens a stream to `port` on the machine's loopback address.
    ///
    /// # Errors
    /// [`Error::Port`] when nothing listens there; [`Error::Timeout`] or [`Error::Broken`] when the session is at fault.
    pub async fn open_stream(&self, port: u16) -> Result<Stream, Error> {
        let opening = self.handle.channel_open_direct_tcpip("127.0.0.1", u32::from(port), "127.0.0.1", 0);
        match timeout(STREAM_TIMEOUT, opening).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                Err(Error::Port { address: self.address.clone(), port, why: format!("{why:?}") })
            }
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(Error::Timeout { address: self.address.clone(), seconds: STREAM_TIMEOUT.as_secs() }),
        }
    }

    /// Says good-bye.
    pub async fn close(&self) {
        if self.handle.disconnect(Disconnect::ByApplication, "", "").await.is_err() {
            tracing::debug!(address = self.address, "the session was closed already");
        }
    }
}

/// Quotes one word for a POSIX shell.
#[must_use]
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quoting_leaves_nothing_for_the_shell_to_read() {
        let words = [("plain", "'plain'"), ("a'b", r"'a'\''b'"), ("$(rm -rf /)", "'$(rm -rf /)'"), ("", "''")];
        for (word, quoted) in words {
            assert_eq!(quote(word), quoted);
        }
    }
}
