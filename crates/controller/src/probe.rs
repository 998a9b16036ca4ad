//! Asking an engine over a stream of the same kind as its clients' requests: does it list the name, does it answer?

use bytes::Bytes;
use charter_engines::probe::{Reported, Task, described, listed, version_of};
use charter_remote::Link;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Largest answer that is read.
const BODY_MAX: usize = 4 * 1024 * 1024;
/// How long a question about names and health may take.
const ASK_PATIENCE: Duration = Duration::from_secs(10);
/// How long a real answer may take: the first one warms the engine up.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// Between two words of an answer that takes long.
const LINE_PATIENCE: Duration = Duration::from_secs(600);

/// A task that ends with whoever began it.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What an engine said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It lists the name and answered a request of this task.
    Real(Task),
    /// It does not, and why.
    None(String),
}

/// The way to an engine.
#[derive(Clone)]
pub(crate) enum Way {
    /// A stream inside an SSH session, to a port of the machine's loopback address.
    Ssh { link: Link, port: u16 },
    /// A port of its host.
    Tcp { host: String, port: u16 },
}

/// A connection, whichever way it came about.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Way {
    async fn open(&self) -> Result<Box<dyn Io>, String> {
        match self {
            Self::Ssh { link, port } => match link.open_stream(*port).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(charter_remote::Error::Port { .. }) => Err("waiting for its port to open".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Self::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Err("waiting for its port to open".to_owned())
                }
                Err(error) => Err(format!("its port cannot be reached: {error}")),
            },
        }
    }
}

/// An engine and its key.
pub(crate) struct Engine<'a> {
    pub(crate) way: &'a Way,
    pub(crate) key: &'a str,
}

impl Engine<'_> {
    async fn ask(&self, method: Method, path: &str, body: Vec<u8>, patience: Duration) -> Result<(u16, Bytes), String> {
        let work = async {
            let stream = self.way.open().await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
            let pump = tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "engine")
                .header("authorization", format!("Bearer {}", self.key))
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body)))
                .map_err(|e| e.to_string())?;
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), BODY_MAX).collect().await.map_err(|e| e.to_string())?;
            pump.abort();
            Ok((status, body.to_bytes()))
        };
        match tokio::time::timeout(patience, work).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
        }
    }

    /// The body of a page, if it is there.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, String> {
        let (status, body) = self.ask(Method::GET, path, vec![], ASK_PATIENCE).await?;
        if status == 200 { Ok(body) } else { Err(format!("`{path}` answers {status}")) }
    }

    /// Asks for something that takes long, and hands each line of the answer on as it comes.
    ///
    /// # Errors
    /// Why it did not come to its end.
    pub(crate) async fn lines(&self, path: &str, body: Vec<u8>, mut line: impl FnMut(&[u8]) + Send) -> Result<(), String> {
        let stream = self.way.open().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let pump = AbortOnDrop(tokio::spawn(connection));
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "engine")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| e.to_string())?;
        let mut body = sender.send_request(request).await.map_err(|e| e.to_string())?.into_body();
        let mut rest: Vec<u8> = vec![];
        loop {
            let frame = tokio::time::timeout(LINE_PATIENCE, body.frame()).await;
            let frame = frame.map_err(|_| format!("nothing came for {} s", LINE_PATIENCE.as_secs()))?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|e| e.to_string())?.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                line(&rest[..end]);
                rest.drain(..=end);
            }
            if rest.len() > BODY_MAX {
                return Err("a line without an end".to_owned());
            }
        }
        line(&rest);
        drop(pump);
        Ok(())
    }

    /// The status of `/health`, if it gave one.
    pub(crate) async fn health(&self) -> Option<u16> {
        self.ask(Method::GET, "/health", vec![], ASK_PATIENCE).await.ok().map(|(status, _)| status)
    }

    /// The engine's metrics.
    pub(crate) async fn metrics(&self) -> Option<String> {
        let (status, body) = self.ask(Method::GET, "/metrics", vec![], ASK_PATIENCE).await.ok()?;
        (status == 200).then(|| String::from_utf8_lossy(&body).into_owned())
    }

    /// What the engine says of itself and of a name that it serves.
    pub(crate) async fn reported(&self, name: &str) -> Reported {
        let ask = async |path| self.ask(Method::GET, path, vec![], ASK_PATIENCE).await.ok().filter(|(s, _)| *s == 200);
        let (models, version) = (ask("/v1/models").await, ask("/version").await);
        let (max_model_len, root) = models.map(|(_, body)| described(&body, name)).unwrap_or_default();
        Reported { max_model_len, root, version: version.and_then(|(_, body)| version_of(&body)) }
    }

    /// The answer to a prompt.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn complete(&self, name: &str, prompt: &str, task: Task) -> Result<String, String> {
        let body = task.question(name, prompt).to_string().into_bytes();
        let (status, body) = self.ask(Method::POST, task.path(), body, ANSWER_PATIENCE).await?;
        let text = task.text(&body).filter(|_| status == 200);
        text.ok_or_else(|| format!("`{}` answers {status} to a known question", task.path()))
    }

    /// Asks for the list of names, and then for one real answer of the model's own task.
    pub(crate) async fn answer(&self, name: &str, known: Option<Task>) -> Answer {
        match self.ask(Method::GET, "/v1/models", vec![], ASK_PATIENCE).await {
            Ok((200, body)) => {
                let names = listed(&body);
                if !names.iter().any(|(listed, _)| listed == name) {
                    let found: Vec<String> = names.into_iter().map(|(n, _)| n).take(5).collect();
                    return Answer::None(format!("`/v1/models` does not list `{name}` but {found:?}"));
                }
            }
            Ok((status, _)) => return Answer::None(format!("`/v1/models` answers {status}")),
            Err(why) => return Answer::None(why),
        }
        let tasks: Vec<Task> = known.map_or_else(|| Task::ALL.to_vec(), |task| vec![task]);
        let mut last = String::new();
        for task in tasks {
            let body = task.body(name).to_string().into_bytes();
            match self.ask(Method::POST, task.path(), body, ANSWER_PATIENCE).await {
                Ok((200, body)) if task.answered(&body) => return Answer::Real(task),
                Ok((status, body)) => {
                    let said: String = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(200).collect();
                    last = format!("`{}` answers {status}: {said}", task.path());
                }
                Err(why) => last = format!("`{}`: {why}", task.path()),
            }
        }
        Answer::None(last)
    }
}
