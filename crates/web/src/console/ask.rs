//! The way from the playground to the gateway: a question goes the way that every client's question goes.

use axum::body::Bytes;
use std::future::Future;
use std::pin::Pin;
use tokio::sync::mpsc;

/// Pieces of an answer as they come.
pub type Pieces = mpsc::Receiver<Result<Bytes, String>>;

/// An answer that has begun.
pub struct Asked {
    /// Its status.
    pub status: u16,
    /// Those of its headers that tell of the way it took.
    pub told: Vec<(String, String)>,
    /// Its body.
    pub pieces: Pieces,
}

/// Asks the gateway.
pub trait Ask: Send + Sync {
    /// Sends a body to `/chat/completions` with a key and headers of its own.
    fn ask<'a>(
        &'a self,
        key: &'a str,
        headers: Vec<(String, String)>,
        body: String,
    ) -> Pin<Box<dyn Future<Output = Result<Asked, String>> + Send + 'a>>;
}
