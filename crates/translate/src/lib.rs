//! Translation between the languages of model APIs, as pure functions: requests, answers, errors and streams of `OpenAI`'s Chat
//! Completions, of `OpenAI`'s Responses and of Anthropic's Messages. Chat Completions is the hub: everything is put into it or
//! made of it. Whatever a target cannot take is left out and named, or refused in words for the client; nothing panics.

pub mod fault;
mod field;
pub mod from_messages;
mod history;
mod image;
pub mod messages;
pub mod models;
mod names;
pub mod openai;
pub mod responses;
mod stream;
mod usage;

pub use names::Names;
pub use stream::{Failure, Stream};

use serde_json::Value;

/// A language that a model is asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `OpenAI`'s Chat Completions, which most engines speak too.
    Chat,
    /// Anthropic's Messages.
    Messages,
    /// `OpenAI`'s Responses.
    Responses,
}

/// A translated request.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The body to send.
    pub body: Value,
    /// The tools whose names had to be changed.
    pub names: Names,
    /// The fields that the target has no place for, and that were dropped.
    pub left_out: Vec<String>,
    /// A tool was forced on the model so that its answer has the asked shape: its input is the answer's text.
    pub json_tool: bool,
}

/// A request that cannot be put into the target's language: answered with status 400 in the client's own shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untranslatable {
    /// What is wrong, for a person.
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
}

impl Untranslatable {
    pub(crate) fn new(param: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.to_owned()) }
    }
}

impl std::fmt::Display for Untranslatable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Untranslatable {}
