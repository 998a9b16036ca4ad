//! A local port that leads to a port on a machine, for programs that speak no SSH.

use crate::error::Error;
use crate::link::Link;
use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that one forward carries at the same time.
const CONNECTIONS_MAX: usize = 512;

/// An open forward. Dropping it closes the port and every connection through it.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    ended: CancellationToken,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Forward {
    /// Listens on `bind` and `port` here (0 takes a free one), and leads to `remote_port` at the link's machine.
    ///
    /// # Errors
    /// [`Error::Bind`] when the address is taken or not ours.
    pub async fn open(link: Link, bind: &str, port: u16, remote_port: u16) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::Bind { address: format!("{bind}:{port}"), why: e.to_string() };
        let listener = TcpListener::bind((bind, port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let ended = CancellationToken::new();
        tokio::spawn(accept(listener, link, remote_port, ended.clone()));
        Ok(Self { address, ended })
    }

    /// The address that programs connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, link: Link, port: u16, ended: CancellationToken) {
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((mut here, _)) = accepted else { continue };
        if open.len() >= CONNECTIONS_MAX {
            continue;
        }
        let (link, ended) = (link.clone(), ended.clone());
        open.spawn(async move {
            if let Err(error) = here.set_nodelay(true) {
                tracing::debug!(%error, "the connection is gone already");
            }
            match link.open_stream(port).await {
                Ok(mut there) => {
                    tokio::select! {
                        () = ended.cancelled() => {}
                        done = copy_bidirectional(&mut here, &mut there) => {
                            tracing::trace!(?done, "forwarded connection ended");
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "a forwarded connection found no way"),
            }
        });
    }
}
