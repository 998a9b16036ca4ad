//! The stand-in for callers without a runtime.

use super::{Fault, Hosted, Post, Shared};
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A [`Hosted`] on a thread of its own. It ends when it is dropped.
pub struct HostedThread {
    shared: Arc<Shared>,
    ended: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl HostedThread {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// No thread, no runtime, or no port to be had.
    pub fn start() -> io::Result<Self> {
        let ended = CancellationToken::new();
        let until = ended.clone();
        let (tell, told) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("hosted".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let started = Hosted::start().await;
                // Whoever started it waits for this, or has left: then the token has not been kept, and there is nothing to do.
                let (hosted, sent) = match started {
                    Ok(hosted) => {
                        let sent = tell.send(Ok(Arc::clone(&hosted.shared)));
                        (Some(hosted), sent)
                    }
                    Err(why) => (None, tell.send(Err(why))),
                };
                if hosted.is_some() && sent.is_ok() {
                    until.cancelled().await;
                }
            });
        })?;
        let shared = told.recv().map_err(|_| io::Error::other("the thread has ended"))??;
        Ok(Self { shared, ended, thread: Some(thread) })
    }

    /// Where it answers, without a path.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.shared.base_url()
    }

    /// The key that it asks for, as [`Hosted::key`].
    #[must_use]
    pub fn key(&self) -> &str {
        &self.shared.key
    }

    /// Every POST so far, as [`Hosted::posts`].
    #[must_use]
    pub fn posts(&self) -> Vec<Post> {
        self.shared.posts()
    }

    /// The next answers fail so, as [`Hosted::script`].
    pub fn script(&self, what: Vec<Fault>) {
        self.shared.script(what);
    }
}

impl Drop for HostedThread {
    fn drop(&mut self) {
        self.ended.cancel();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            drop(thread.join());
        }
    }
}
