//! Connections to backends: TCP, TLS, or a stream inside an SSH session, all behind one connector.

use crate::destination::{Judged, is_forbidden, refused};
use crate::table::Origin;
use charter_domain::routing::{Backend, Reach};
use charter_remote::{KeyPair, Links, Stream, Target};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

/// How long a TCP connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long a stream inside an SSH session may take to open, a broken session being made again included.
const SSH_PATIENCE: Duration = Duration::from_secs(15);
/// The same where the last try failed.
const DOWN_PATIENCE: Duration = Duration::from_secs(2);

/// The way to one backend reached by SSH.
#[derive(Clone)]
struct Way {
    link: charter_remote::Link,
    port: u16,
}

/// Dials by the name of a backend. Clones share links and table.
#[derive(Clone)]
pub(crate) struct Connector {
    links: Links,
    ways: Arc<Mutex<HashMap<String, Way>>>,
    http: HttpsConnector<HttpConnector<Judged>>,
}

impl Connector {
    pub(crate) fn new(links: Links) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Judged::new());
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_PATIENCE));
        let http = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
        Self { links, ways: Arc::default(), http }
    }

    /// Takes over the backends of a table. Links that stay are kept, with the streams through them.
    pub(crate) fn update(&self, backends: &[&Backend]) {
        let mut ways = HashMap::new();
        for backend in backends {
            let Reach::Ssh { address, host_key, private_key, port } = &backend.reach else {
                continue;
            };
            let Ok(key) = KeyPair::from_openssh(private_key) else {
                tracing::warn!(backend = backend.id, "its private key cannot be read");
                continue;
            };
            let (host, user) = (address.host.clone(), address.user.clone());
            let target = Target { host, port: address.port, user, key, host_key: host_key.clone() };
            let link = self.links.to(&target);
            let known = self.ways.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&authority(&backend.id));
            if !known {
                link.supervise(*port);
            }
            ways.insert(authority(&backend.id), Way { link, port: *port });
        }
        *self.ways.lock().unwrap_or_else(PoisonError::into_inner) = ways;
        self.links.forget_unused();
    }

    /// Where a backend is. One behind SSH is named by its id.
    pub(crate) fn uri(backend: &Backend) -> Option<Uri> {
        match &backend.reach {
            Reach::Http { base_url } => base_url.trim_end_matches('/').parse().ok(),
            Reach::Ssh { .. } => format!("http://{}", authority(&backend.id)).parse().ok(),
        }
    }

    /// A new connection.
    pub(crate) async fn dial(&self, origin: &Origin) -> io::Result<Socket> {
        let host = origin.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let way = self.ways.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        if let Some(way) = way {
            // A link that is known to be down may be back; nobody waits long to learn that it is not.
            let down = matches!(way.link.state(), charter_remote::State::Down(_));
            let patience = if down { DOWN_PATIENCE } else { SSH_PATIENCE };
            let opened = tokio::time::timeout(patience, way.link.open_stream(way.port)).await;
            let stream = opened.map_err(io::Error::other)?.map_err(io::Error::other)?;
            return Ok(Socket::Ssh(Box::new(stream)));
        }
        // An address that is written out is asked of no resolver.
        if host.parse().is_ok_and(is_forbidden) {
            return Err(refused(host));
        }
        // The handshake of TLS has no time of its own.
        let called = tokio::time::timeout(CONNECT_PATIENCE, self.http.clone().call(origin.uri.clone())).await;
        let socket = called.map_err(io::Error::other)?.map_err(io::Error::other)?;
        Ok(match socket {
            MaybeHttpsStream::Http(plain) => Socket::Plain(plain.into_inner()),
            tls @ MaybeHttpsStream::Https(_) => Socket::Tls(Box::new(TokioIo::new(tls))),
        })
    }
}

/// The id as a host name; no real name ends like this.
fn authority(id: &str) -> String {
    format!("{}.ssh.charter.invalid", id.to_ascii_lowercase().replace('_', "-"))
}

/// A connection to a backend.
pub(crate) enum Socket {
    Plain(TcpStream),
    Ssh(Box<Stream>),
    Tls(Box<TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>>),
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Ssh(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Ssh(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        }
    }

    /// Head and body go out together, and nobody copies them into one buffer first.
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Ssh(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Ssh(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Ssh(io) => Pin::new(io.as_mut()).poll_flush(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Ssh(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }
}

/// An error with all that lies behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
