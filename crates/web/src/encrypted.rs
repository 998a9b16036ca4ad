//! TLS in front of the control plane: handshakes are made beside each other, so that a slow one holds up nobody.

use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A handshake takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes at the same time.
const MOST: usize = 1024;

/// Listens, and gives connections on which TLS is spoken.
pub(crate) struct Encrypted {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Encrypted {
    pub(crate) fn new(listener: TcpListener, tls: TlsAcceptor) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (made, ready) = mpsc::channel(16);
        tokio::spawn(async move {
            let room = std::sync::Arc::new(tokio::sync::Semaphore::new(MOST));
            loop {
                let (socket, from) = tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => accepted,
                        Err(_) => {
                            // Out of file descriptors, most likely.
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            continue;
                        }
                    },
                    () = made.closed() => return,
                };
                // Where too many say nothing, the newest is let go, and those that speak are not held up.
                let Ok(place) = std::sync::Arc::clone(&room).try_acquire_owned() else { continue };
                let (tls, made) = (tls.clone(), made.clone());
                tokio::spawn(async move {
                    let done = tokio::time::timeout(PATIENCE, tls.accept(socket)).await;
                    drop(place);
                    if let Ok(Ok(stream)) = done {
                        // Nobody takes it any more where the server ends.
                        made.send((stream, from)).await.ok();
                    }
                });
            }
        });
        Ok(Self { address, ready })
    }
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
