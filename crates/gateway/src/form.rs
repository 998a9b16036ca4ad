//! How a request is put to a backend: as it came, or in the language that is understood there.

use crate::chain::Call;
use crate::errors::Refusal;
use crate::table::{CHAT, MESSAGES, RESPONSES, Target};
use bytes::Bytes;
use charter_domain::routing::Speaks;
use charter_translate::{Api, Names, Question, Untranslatable, from_messages, messages, models, openai, responses};
use serde_json::{Value, json};

/// The most that a hosted model may write where the client named no bound: so much money is set aside for it.
const WRITTEN_UNBOUND: u64 = 32_768;

/// The form of one request for one name.
pub(crate) struct Form {
    /// Where it is sent.
    pub(crate) path: usize,
    /// What is spoken there.
    pub(crate) api: Api,
    /// The answer is put into OpenAI's words.
    pub(crate) translates: bool,
    pub(crate) stream: bool,
    pub(crate) names: Names,
    pub(crate) json_tool: bool,
    /// The body in the backend's language; nothing where it is sent as it came.
    body: Option<Value>,
    /// The client speaks Anthropic's language, and the backend does not.
    turn: Option<Names>,
    /// It names its model itself.
    hosted: Option<String>,
}

impl Form {
    /// The form for a name.
    pub(crate) fn of(call: &Call, target: &Target) -> Result<Self, Refusal> {
        let speaks = target.speaks();
        let own = |path: usize, api: Api| Self {
            path,
            api,
            translates: false,
            stream: call.asked.stream,
            names: Names::default(),
            json_tool: false,
            body: None,
            turn: None,
            hosted: None,
        };
        let hosted = target.hosted.as_ref().and_then(|_| target.members.first()?.entry.backend.upstream_model.clone());
        match (call.path, speaks) {
            (MESSAGES, Speaks::Anthropic) if costs_beside(&call.body) => {
                let message =
                    "tools of the provider's own, `mcp_servers` and `service_tier` cost beside tokens: they are not passed on";
                Err(Refusal::Wrong { param: "tools", message: message.to_owned() })
            }
            (MESSAGES, Speaks::Both | Speaks::Anthropic) => Ok(own(MESSAGES, Api::Messages)),
            (path, Speaks::Chat | Speaks::Both) if path != MESSAGES => Ok(own(path, Api::Chat)),
            (CHAT, _) => Self { hosted, ..own(CHAT, Api::Chat) }.spoken(chat(call)?, speaks),
            (MESSAGES, _) => {
                let asked: Value = serde_json::from_slice(&call.body).map_err(|e| Refusal::InvalidJson(e.to_string()))?;
                let question = from_messages::question(&without_ours(asked)).map_err(wrong)?;
                let form = Self { hosted, turn: Some(question.names), ..own(CHAT, Api::Chat) };
                form.spoken(question.body, speaks)
            }
            _ => Err(Refusal::Wrong { param: "model", message: format!("`{}` takes no requests of this kind", target.name) }),
        }
    }

    /// Puts a question in OpenAI's words into those of the backend.
    fn spoken(mut self, mut chat: Value, speaks: Speaks) -> Result<Self, Refusal> {
        let model = self.hosted.clone().unwrap_or_default();
        if self.hosted.is_some()
            && let Some(fields) = chat.as_object_mut()
        {
            let said = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
            let bound = said("max_tokens") || said("max_completion_tokens");
            // What costs beside tokens is in no price that is known here.
            ["service_tier", "web_search_options", "audio", "modalities"].iter().for_each(|name| drop(fields.remove(*name)));
            if !bound {
                fields.insert("max_completion_tokens".to_owned(), WRITTEN_UNBOUND.into());
            }
            fields.insert("model".to_owned(), model.clone().into());
        }
        let question = match speaks {
            Speaks::Chat | Speaks::Both => Question { body: chat, ..Question::default() },
            Speaks::Anthropic => {
                (self.path, self.api, self.translates) = (MESSAGES, Api::Messages, true);
                messages::question(&chat, &models::find("anthropic", &model)).map_err(wrong)?
            }
            Speaks::OpenAi => {
                let known = models::find("openai", &model);
                // Names that have to be changed there and back need an answer that is put into other words anyway.
                if openai::needs_responses(&chat, &known) || has_odd_names(&chat) {
                    (self.path, self.api, self.translates) = (RESPONSES, Api::Responses, true);
                    responses::question(&chat, &known).map_err(wrong)?
                } else {
                    if self.stream
                        && let Some(fields) = chat.as_object_mut()
                    {
                        fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
                    }
                    openai::adjust(&chat, &known).map_err(wrong)?
                }
            }
        };
        (self.names, self.json_tool, self.body) = (question.names, question.json_tool, Some(question.body));
        Ok(self)
    }

    /// The body for a backend that calls the model so; nothing where it is sent as it came.
    pub(crate) fn put(&self, rename: Option<&str>, name: &str) -> Option<Bytes> {
        let mut body = self.body.clone()?;
        if let Some(fields) = body.as_object_mut() {
            let model = self.hosted.as_deref().or(rename).unwrap_or(name);
            fields.insert("model".to_owned(), model.into());
        }
        Some(body.to_string().into())
    }

    /// The tools' names for a client of Anthropic's language, where the answer must be turned into that.
    pub(crate) fn turn(&self) -> Option<Names> {
        self.turn.clone()
    }
}

/// Does a request of Anthropic's language ask for what is billed beside its tokens?
fn costs_beside(body: &[u8]) -> bool {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let tools = asked.get("tools").and_then(Value::as_array).into_iter().flatten();
    let mut kinds = tools.filter_map(|tool| tool.get("type").and_then(Value::as_str));
    let said = |name: &str| asked.get(name).is_some_and(|value| !value.is_null());
    kinds.any(|kind| kind != "custom") || ["mcp_servers", "service_tier", "container", "speed"].into_iter().any(said)
}

/// Is a tool called what OpenAI's own API does not let one be called?
fn has_odd_names(chat: &Value) -> bool {
    let tools = chat.get("tools").and_then(Value::as_array).into_iter().flatten();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut names = tools.filter_map(|tool| tool.pointer("/function/name").and_then(Value::as_str));
    names.any(|name| name.is_empty() || name.len() > 64 || !name.chars().all(plain))
}

/// The request in OpenAI's words.
fn chat(call: &Call) -> Result<Value, Refusal> {
    let asked: Value = serde_json::from_slice(&call.body).map_err(|e| Refusal::InvalidJson(e.to_string()))?;
    Ok(without_ours(asked))
}

fn without_ours(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.remove("effort");
        fields.remove("min_effort");
    }
    body
}

fn wrong(why: Untranslatable) -> Refusal {
    Refusal::Wrong { param: "messages", message: why.message }
}
