//! A stand-in for hosted models: on the wire it is `OpenAI`'s Chat Completions and Responses, and Anthropic's Messages, without a
//! model behind them. It is as strict as they are about what it takes, so that a wrong translation is seen, and it fails on
//! demand in every way that they are known to fail.
//!
//! What it answers is decided by the user's last words: `use a tool`, `use two tools`, `think`, `describe the image`, `cache`,
//! and with a tool `consult_reasoner` also `hard` and `consult forever`. Anything else comes back as an echo, and what a tool
//! gave as it is.

mod body;
mod chat;
mod chat_history;
mod errors;
mod events;
mod fault;
mod field;
mod messages;
mod messages_block;
mod messages_history;
mod messages_read;
mod messages_tools;
mod mind;
mod models;
mod openai;
mod responses;
mod responses_input;
mod responses_told;
mod schema;
mod server;
#[cfg(test)]
mod tests;
mod thread;

pub use fault::{Fault, faults};
pub use thread::HostedThread;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// When every answer was made, in seconds since 1970.
const CREATED: u64 = 1_795_000_000;
/// So many requests are remembered.
const POSTS_MAX: usize = 4096;

/// The languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    /// `OpenAI`'s Chat Completions.
    Chat,
    /// `OpenAI`'s Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

/// A request that changes something, as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Post {
    /// The path, such as `/v1/messages`.
    pub path: String,
    /// The body; where it is no JSON, a text.
    pub body: Value,
    /// All headers by their names in small letters; of those that came twice the last.
    pub headers: BTreeMap<String, String>,
}

/// What all connections share.
struct Shared {
    address: SocketAddr,
    key: String,
    number: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    posts: VecDeque<Post>,
    script: VecDeque<Fault>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, post: Post) {
        let mut state = self.state();
        if state.posts.len() >= POSTS_MAX {
            state.posts.pop_front();
        }
        state.posts.push_back(post);
    }

    fn next_fault(&self) -> Option<Fault> {
        self.state().script.pop_front()
    }

    fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn posts(&self) -> Vec<Post> {
        self.state().posts.iter().cloned().collect()
    }

    fn script(&self, what: Vec<Fault>) {
        self.state().script = what.into();
    }
}

/// A running server on 127.0.0.1. It ends when it is dropped, and its connections with it.
pub struct Hosted {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Hosted {
    /// Starts a server on a free port, within a runtime of tokio.
    ///
    /// # Errors
    /// No port can be listened on.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let key = format!("sk-testbed-{}", address.port());
        let shared = Arc::new(Shared { address, key, number: AtomicU64::new(1), state: Mutex::default() });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { shared, task })
    }

    /// Where it answers, without a path.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.shared.base_url()
    }

    /// The key that it asks for: as a bearer, and in Anthropic's language also as `x-api-key`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.shared.key
    }

    /// Every POST so far, refused ones too; of very many the last.
    #[must_use]
    pub fn posts(&self) -> Vec<Post> {
        self.shared.posts()
    }

    /// The next answers to whom shows the key fail so, in this order. What was left of an earlier script is forgotten.
    pub fn script(&self, what: Vec<Fault>) {
        self.shared.script(what);
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes connections until it is dropped.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((socket, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { server::answer(request, &shared).await }
            });
            let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
            if let Err(why) = served {
                tracing::debug!(%why, "a connection to a hosted stand-in ended early");
            }
        });
    }
}
