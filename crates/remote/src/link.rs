//! A supervised link to one machine: a session that is made again when it breaks, with a state that people can see.

use crate::error::Error;
use crate::session::{Output, Session, Stream, Target};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

/// Between two looks of the supervisor at a link that works.
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How the link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not tried yet.
    Idle,
    /// The last stream or command went through.
    Up,
    /// The last try failed.
    Down(Error),
}

impl State {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Up => "up",
            Self::Down(_) => "down",
        }
    }
}

/// One machine; clones share the session.
#[derive(Clone, Debug)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    target: Target,
    session: Mutex<Option<Arc<Session>>>,
    state: watch::Sender<State>,
    ended: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Link {
    /// A link that connects when it is first used.
    #[must_use]
    pub fn new(target: Target) -> Self {
        let (state, _) = watch::channel(State::Idle);
        Self(Arc::new(Inner { target, session: Mutex::new(None), state, ended: CancellationToken::new() }))
    }

    /// Where it leads.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// The present session, or a new one. Callers that come together wait for the same one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn session(&self) -> Result<Arc<Session>, Error> {
        let mut slot = self.0.session.lock().await;
        if let Some(session) = slot.as_ref().filter(|s| !s.is_closed()) {
            return Ok(Arc::clone(session));
        }
        *slot = None;
        match Session::connect(&self.0.target).await {
            Ok(session) => {
                let session = Arc::new(session);
                *slot = Some(Arc::clone(&session));
                self.0.state.send_replace(State::Up);
                Ok(session)
            }
            Err(error) => {
                self.0.state.send_replace(State::Down(error.clone()));
                Err(error)
            }
        }
    }

    /// Forgets a session that failed, unless somebody has made a new one since.
    async fn drop_session(&self, failed: &Arc<Session>, error: &Error) {
        let mut slot = self.0.session.lock().await;
        if slot.as_ref().is_some_and(|present| Arc::ptr_eq(present, failed)) {
            *slot = None;
            self.0.state.send_replace(State::Down(error.clone()));
        }
    }

    /// Opens a stream to `port` there. A session that turns out to be dead before anything was sent is made again once.
    ///
    /// # Errors
    /// As [`Session::open_stream`] and [`Session::connect`].
    pub async fn open_stream(&self, port: u16) -> Result<Stream, Error> {
        let session = self.session().await?;
        match session.open_stream(port).await {
            Err(error @ (Error::Broken { .. } | Error::Timeout { .. })) => {
                self.drop_session(&session, &error).await;
                self.session().await?.open_stream(port).await
            }
            other => other,
        }
    }

    /// Runs a command as [`Session::exec`] does. It is never run twice.
    ///
    /// # Errors
    /// As [`Session::exec`] and [`Session::connect`].
    pub async fn exec(&self, command: &str, stdin: &[u8], limit: usize, patience: Duration) -> Result<Output, Error> {
        let session = self.session().await?;
        let result = session.exec(command, stdin, limit, patience).await;
        if let Err(error @ (Error::Broken { .. } | Error::Timeout { .. })) = &result {
            self.drop_session(&session, error).await;
        }
        result
    }

    /// Keeps the link up until it is dropped: opens a stream to `port` now and then, and connects again after a failure.
    pub fn supervise(&self, port: u16) {
        let (weak, ended) = (Arc::downgrade(&self.0), self.0.ended.clone());
        tokio::spawn(async move {
            let mut pause = RETRY.0;
            loop {
                let Some(inner) = weak.upgrade() else { return };
                let link = Self(inner);
                let result = link.open_stream(port).await;
                drop(link);
                let wait = match result {
                    // A closed port is the engine's matter; the way there is open.
                    Ok(_) | Err(Error::Port { .. }) => {
                        pause = RETRY.0;
                        PROBE_EVERY
                    }
                    Err(error) => {
                        tracing::debug!(%error, "link is down");
                        pause = (pause * 2).min(RETRY.1);
                        pause
                    }
                };
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        });
    }
}

/// All links of a process, so that everything that goes to one machine shares one session.
#[derive(Clone, Debug, Default)]
pub struct Links(Arc<std::sync::Mutex<Vec<Link>>>);

impl Links {
    /// The link to this target: same address, same user, same key, same pin.
    #[must_use]
    pub fn to(&self, target: &Target) -> Link {
        let mut links = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let same = |link: &&Link| {
            let other = link.target();
            other.address() == target.address()
                && other.host_key == target.host_key
                && other.key.public_line() == target.key.public_line()
        };
        if let Some(link) = links.iter().find(same) {
            return link.clone();
        }
        let link = Link::new(target.clone());
        links.push(link.clone());
        link
    }

    /// Forgets links that nobody else holds.
    pub fn forget_unused(&self) {
        let mut links = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        links.retain(|link| Arc::strong_count(&link.0) > 1);
    }
}
