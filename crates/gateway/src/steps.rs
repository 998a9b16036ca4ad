//! Hard requests in several steps: a model that can call tools speaks to the client, and may ask the reasoning model in between
//! by a tool that the gateway serves itself. Steps, tokens, money and time are bounded; the client's own tools are its own.

use crate::body::Answer;
use crate::chain::{Call, Permit};
use crate::errors::Refusal;
use crate::forward::Way;
use crate::plan::Steps;
use crate::request::asked;
use crate::table::{CHAT, MESSAGES, Table, Target};
use crate::turned::turned;
use crate::voice::{Said, Voice};
use bytes::Bytes;
use charter_translate::from_messages;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// The tool that the gateway serves.
pub(crate) const CONSULT: &str = "consult_reasoner";
/// So often the first model may be asked for one answer.
const STEPS_MAX: usize = 4;
/// Questions to the reasoning model in one step.
const QUESTIONS_MAX: usize = 3;
/// What the reasoning model may write for one question.
const WRITTEN_MAX: u64 = 8192;
/// Bytes of one question, and of one answer to it.
const TEXT_MAX: usize = 64 * 1024;
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// An answer that is made in several steps, as it comes. Whoever lets go of it ends what is under way.
pub(crate) struct Telling {
    parts: mpsc::Receiver<Bytes>,
    task: tokio::task::AbortHandle,
}

impl Telling {
    /// The next part.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.parts.poll_recv(cx)
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request in several steps.
struct Work {
    way: Way,
    table: Arc<Table>,
    call: Call,
    steps: Steps,
    /// The request, as it grows.
    body: Value,
    late: Instant,
    usage: bool,
}

impl Way {
    /// Answers in several steps.
    pub(crate) async fn in_steps(
        &self,
        call: Call,
        table: &Arc<Table>,
        target: Arc<Target>,
        steps: Steps,
    ) -> Result<Response<Answer>, Refusal> {
        let whole: Value = serde_json::from_slice(&call.body).map_err(|e| Refusal::InvalidJson(e.to_string()))?;
        let (mut body, names) = if call.path == MESSAGES {
            let wrong = |why: charter_translate::Untranslatable| Refusal::Wrong { param: "messages", message: why.message };
            let question = from_messages::question(&whole).map_err(wrong)?;
            (question.body, Some(question.names))
        } else {
            (whole, None)
        };
        let stream = call.asked.stream;
        let usage = call.asked.usage || names.is_some();
        if let Some(fields) = body.as_object_mut() {
            ["effort", "min_effort", "reasoning_effort", "stream_options"].iter().for_each(|name| drop(fields.remove(*name)));
            let tools = fields.entry("tools").or_insert_with(|| json!([]));
            if let Some(all) = tools.as_array_mut() {
                all.retain(|tool| tool.pointer("/function/name").and_then(Value::as_str) != Some(CONSULT));
                all.push(tool());
            }
            fields.insert("stream".to_owned(), true.into());
            fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        let late = call.started + target.route.patience.whole.std();
        let mut work = Work { way: self.clone(), table: Arc::clone(table), call, steps, body, late, usage };
        let first = work.ask(work.body.clone(), &work.steps.orchestrator.clone()).await?;
        let backend = first.headers().get("x-charter-backend").cloned();
        let mut answer = if stream {
            let (parts, receiver) = mpsc::channel(16);
            let task = tokio::spawn(async move { work.tell(first, parts).await }).abort_handle();
            let mut answer = Response::new(Answer::Steps(Box::new(Telling { parts: receiver, task })));
            let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            answer
        } else {
            let mut voice = Voice::new(None);
            work.run(first, &mut voice).await?;
            let mut answer = Response::new(Answer::Whole(Full::new(voice.whole().to_string().into())));
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            answer
        };
        answer.headers_mut().extend(backend.map(|value| (http::HeaderName::from_static("x-charter-backend"), value)));
        match names {
            Some(names) => turned(answer, names).await,
            None => Ok(answer),
        }
    }
}

/// What the first model is offered beside the client's tools.
fn tool() -> Value {
    json!({"type": "function", "function": {
        "name": CONSULT,
        "description": "Asks a stronger reasoning model one self-contained question and returns its answer. Use it for the hard part \
                        of a task: proofs, long calculations, difficult design or debugging. Put all that it needs into the question.",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
    }})
}

impl Work {
    /// Sends a request of its own to a name, or to what stands behind that.
    async fn ask(&mut self, body: Value, name: &str) -> Result<Response<Answer>, Refusal> {
        let mut body = body;
        // A key may be revoked, and a machine closed, while an answer is made.
        self.table = self.way.shared.table.load_full();
        if !self.table.knows(&self.call.holder, (self.way.shared.now)()) {
            return Err(Refusal::InvalidKey);
        }
        if let Some(fields) = body.as_object_mut() {
            fields.insert("model".to_owned(), name.into());
        }
        let body = Bytes::from(body.to_string());
        let Some(target) = self.table.find(name).cloned() else { return Err(Refusal::NoBackend(name.to_owned())) };
        let mut chain = vec![Arc::clone(&target)];
        let route = self.table.names.get(&self.call.asked.name);
        let behind = route.map(|route| &route.route.fallback).into_iter().chain([&target.route.fallback]).flatten();
        for next in behind.filter_map(|name| self.table.find(name)) {
            if !chain.iter().any(|known| Arc::ptr_eq(known, next)) {
                chain.push(Arc::clone(next));
            }
        }
        let holder = Arc::clone(&self.call.holder);
        // What the client was let in with counts for the first of them.
        let mut permit = Permit::none(&holder);
        std::mem::swap(&mut permit, &mut self.call.permit);
        let headers = Arc::clone(&self.call.headers);
        let (id, started) = (self.call.id.clone(), self.call.started);
        let mut call = Call {
            asked: asked(&body)?,
            body,
            headers,
            path: CHAT,
            id,
            holder,
            started,
            permit,
            patience: self.call.patience,
            instead_of: None,
        };
        timeout_at(self.late, self.way.walk(&mut call, &chain)).await.unwrap_or(Err(Refusal::Timeout))
    }

    /// Tells a stream's client what comes, and why no more does.
    async fn tell(mut self, first: Response<Answer>, parts: mpsc::Sender<Bytes>) {
        let mut voice = Voice::new(Some(parts));
        let usage = self.usage;
        match self.run(first, &mut voice).await {
            Ok(()) => voice.end(usage).await,
            Err(refusal) => voice.fail(&refusal).await,
        }
    }

    /// Step after step, until the first model has nothing more to ask, or the client has something to do.
    async fn run(&mut self, first: Response<Answer>, voice: &mut Voice) -> Result<(), Refusal> {
        let mut answer = first;
        for step in 1.. {
            let said = timeout_at(self.late, voice.listen(answer)).await.unwrap_or(Err(Refusal::Stalled))?;
            let (ours, theirs): (Vec<_>, Vec<_>) = said.calls.iter().cloned().partition(|call| call.name == CONSULT);
            // What the client has to do comes first: it will ask again with what came of it.
            if !theirs.is_empty() || ours.is_empty() {
                voice.hand_over(theirs, said.reason).await;
                return Ok(());
            }
            if step >= STEPS_MAX {
                voice.hand_over(vec![], "length".to_owned()).await;
                return Ok(());
            }
            self.consult(&said).await?;
            if step + 1 >= STEPS_MAX {
                self.without_tool();
            }
            answer = self.ask(self.body.clone(), &self.steps.orchestrator.clone()).await?;
        }
        Ok(())
    }

    /// Asks the reasoning model what the first one wants to know, and writes both down in the conversation.
    async fn consult(&mut self, said: &Said) -> Result<(), Refusal> {
        let mut results = vec![];
        for (at, call) in said.calls.iter().enumerate() {
            let question = serde_json::from_str::<Value>(&call.arguments).ok();
            let question = question.as_ref().and_then(|q| q.get("question")).and_then(Value::as_str).unwrap_or_default();
            let text = match question {
                "" => "there was no `question`: say what is to be considered".to_owned(),
                _ if at >= QUESTIONS_MAX => "too many questions at once: ask again, one after the other".to_owned(),
                question => self.reason(question.chars().take(TEXT_MAX).collect()).await?,
            };
            results.push(json!({"role": "tool", "tool_call_id": call.id, "content": text}));
        }
        let calls: Vec<Value> = said.calls.iter().map(crate::voice::ToolCall::shown).collect();
        let content = if said.text.is_empty() { Value::Null } else { said.text.clone().into() };
        if let Some(messages) = self.body.get_mut("messages").and_then(Value::as_array_mut) {
            messages.push(json!({"role": "assistant", "content": content, "tool_calls": calls}));
            messages.extend(results);
        }
        Ok(())
    }

    async fn reason(&mut self, question: String) -> Result<String, Refusal> {
        let body = json!({"messages": [{"role": "user", "content": question}], "max_tokens": WRITTEN_MAX, "stream": false});
        let answer = match self.ask(body, &self.steps.reasoner.clone()).await {
            Ok(answer) => answer,
            // Money and rights end the request; that nobody answers is for the first model to know.
            Err(refusal @ (Refusal::Quota | Refusal::Unsure | Refusal::InvalidKey)) => return Err(refusal),
            Err(refusal) => return Ok(format!("the reasoning model gave no answer: {}", refusal.reason())),
        };
        let whole = timeout_at(self.late, Limited::new(answer.into_body(), ANSWER_MAX).collect()).await;
        let Ok(Ok(whole)) = whole else { return Ok("the reasoning model broke off".to_owned()) };
        let said: Value = serde_json::from_slice(&whole.to_bytes()).unwrap_or_default();
        let message = said.pointer("/choices/0/message");
        let text = |name: &str| message.and_then(|m| m.get(name)).and_then(Value::as_str).filter(|t| !t.trim().is_empty());
        let text = text("content").or_else(|| text("reasoning")).or_else(|| text("reasoning_content"));
        Ok(text.unwrap_or("the reasoning model said nothing").chars().take(TEXT_MAX).collect())
    }

    /// The last step has to be an answer.
    fn without_tool(&mut self) {
        if let Some(fields) = self.body.as_object_mut() {
            let tools = fields.get_mut("tools").and_then(Value::as_array_mut);
            if let Some(tools) = tools {
                tools.retain(|tool| tool.pointer("/function/name").and_then(Value::as_str) != Some(CONSULT));
                if tools.is_empty() {
                    fields.remove("tools");
                    fields.remove("tool_choice");
                }
            }
        }
    }
}
