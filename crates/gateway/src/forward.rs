//! The way of a request: read, admitted, given a place, sent, and its answer passed on.

use crate::arrival::collect;
use crate::body::{Answer, Later};
use crate::cache::{Kept, print};
use crate::chain::{Call, Permit, Planned};
use crate::errors::Refusal;
use crate::form::Form;
use crate::lane::Pool;
use crate::plan_log::PlanLog;
use crate::purse::Bank;
use crate::record::Recorder;
use crate::request::{Asked, asked, beginnings};
use crate::said::of_header;
use crate::seat::Seat;
use crate::server::Notice;
use crate::table::{Holder, MESSAGES, PATHS, Table, Target};
use crate::ticket::Ticket;
use arc_swap::ArcSwap;
use bytes::Bytes;
use charter_domain::routing::Policy;
use charter_domain::time::Time;
use charter_domain::usage::{End, Used};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// After so long a stream that waits for a start gets its head and comments.
const HEAD_AFTER: Duration = Duration::from_secs(2);

/// Whose requests belong together.
const SESSION: HeaderName = HeaderName::from_static("x-charter-session");
/// How long the client waits for a start, in seconds.
const WAIT: HeaderName = HeaderName::from_static("x-charter-wait");

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) now: Arc<dyn Fn() -> Time + Send + Sync>,
    pub(crate) bank: Arc<dyn Bank>,
    pub(crate) recorder: Recorder,
    pub(crate) notices: mpsc::Sender<Notice>,
    /// Plans that were applied, on their way to the log.
    pub(crate) plans: PlanLog,
}

/// One worker's way to backends.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Arc<Pool>,
}

/// A request that was read and let in, on its way to one name.
pub(crate) struct Admitted {
    pub(crate) asked: Asked,
    pub(crate) body: Bytes,
    pub(crate) headers: Arc<HeaderMap>,
    pub(crate) path: usize,
    pub(crate) id: HeaderValue,
    pub(crate) session: Option<String>,
    pub(crate) marks: Vec<u64>,
    /// How long the client says that it waits for a start.
    pub(crate) wait: Option<Duration>,
    pub(crate) ticket: Ticket,
    /// Backends that could not be reached.
    pub(crate) tried: Vec<String>,
    /// Since when those that could take it were silent.
    pub(crate) silent_since: Option<Instant>,
    /// How it is put to its backend, where its answer is held until it has really begun.
    pub(crate) form: Option<Box<Form>>,
    /// Others come after this name: nothing that is only being started is waited for.
    pub(crate) others: bool,
}

impl Admitted {
    pub(crate) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// The name that it is on its way to.
    pub(crate) fn name(&self) -> String {
        self.ticket.target.name.to_string()
    }
}

impl Way {
    /// Answers a request for one of [`PATHS`].
    pub(crate) async fn forward(
        &self,
        request: Request<Incoming>,
        path: usize,
        holder: &Arc<Holder>,
        id: &HeaderValue,
    ) -> Result<Response<Answer>, Refusal> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let body = collect(&parts.headers, body).await?;
        let asked = asked(&body)?;
        let key = &holder.key;
        if !key.routes.is_empty() && !key.routes.contains(&asked.name) {
            return Err(Refusal::RouteNotAllowed(asked.name));
        }
        let table = self.shared.table.load();
        let known = table.names.get(&asked.name).filter(|target| target.hosted.is_none());
        let Some(target) = known.cloned() else { return Err(Refusal::ModelNotFound(asked.name)) };
        let effort = of_header(&parts.headers)?;
        let is_plain =
            target.route.tiers.is_empty() && target.route.fallback.is_empty() && effort.or(asked.said.effort).is_none();
        let body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let estimate = body_bytes / 4 + asked.written_usual;
        holder.state.meter.admit(&key.limits, table.gateways, estimate, (self.shared.now)())?;
        let permit = Permit::new(holder, estimate);
        let (headers, id, holder) = (Arc::new(parts.headers), id.clone(), Arc::clone(holder));
        let mut call = Call { asked, body, headers, path, id, holder, started, permit, patience: None, instead_of: None };
        if is_plain && target.takes(path) && (!call.asked.tools || target.calls_tools()) {
            let admitted = self.admit(&mut call, target, None);
            drop(table);
            return self.admitted(Box::new(admitted)).await;
        }
        let planned = self.planned(&table, &mut call, &target, effort)?;
        drop(table);
        match planned {
            Planned::First(admitted, rest) => match self.admitted(admitted).await {
                Ok(answer) if rest.is_over() => Ok(rest.told(answer)),
                // Behind a pointer: most requests are over by now, and all would carry the room for it.
                answer => Box::pin(self.after_first(call, rest, answer)).await,
            },
            Planned::Refused(refusal, rest) => Box::pin(self.after_first(call, rest, Err(refusal))).await,
            Planned::Steps(steps, rest) => Box::pin(self.stepwise(call, target, steps, rest)).await,
        }
    }

    /// A request on its way to a name.
    pub(crate) fn admit(&self, call: &mut Call, target: Arc<Target>, form: Option<Box<Form>>) -> Admitted {
        let body = call.body.clone();
        let body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let estimate = call.permit.take();
        let mut ticket =
            self.ticket(&call.holder, target, call.started, (estimate, body_bytes, call.asked.written_max), &call.id);
        ticket.patience = call.patience.unwrap_or(ticket.patience);
        if let Some(first) = call.instead_of.take() {
            ticket.used.instead_of = first;
        }
        let marks = if ticket.target.route.policy == Policy::Prefix { beginnings(&body) } else { vec![] };
        let text = |name: HeaderName| call.headers.get(name).and_then(|v| v.to_str().ok());
        let session = text(SESSION).map(str::to_owned).filter(|_| ticket.target.route.policy == Policy::Session);
        let wait = text(WAIT).and_then(|v| v.parse().ok()).map(Duration::from_secs);
        let (headers, path, id) = (Arc::clone(&call.headers), call.path, call.id.clone());
        // Only what may be asked of another one is needed again.
        let asked = if form.is_some() { call.asked.clone() } else { std::mem::take(&mut call.asked) };
        let (tried, silent_since, others) = (vec![], None, false);
        Admitted { asked, body, headers, path, id, session, marks, wait, ticket, tried, silent_since, form, others }
    }

    fn ticket(
        &self,
        holder: &Arc<Holder>,
        target: Arc<Target>,
        started: Instant,
        (estimate, body_bytes, written_max): (u64, u64, u64),
        id: &HeaderValue,
    ) -> Ticket {
        let used = Used {
            request: id.to_str().unwrap_or_default().to_owned(),
            at: (self.shared.now)(),
            key: Arc::clone(&holder.key.id),
            tenant: Arc::clone(&holder.key.tenant),
            model: Arc::clone(&target.name),
            // Unless something else is said: whoever lets go of it has left.
            end: End::Left,
            ..Used::default()
        };
        Ticket {
            shared: Arc::clone(&self.shared),
            holder: Arc::clone(holder),
            patience: target.route.patience,
            target,
            used,
            started,
            estimate,
            body_bytes,
            written_max,
            reserved: crate::purse::Reserved::default(),
            guarded: crate::purse::Reserved::default(),
            owed: false,
            place: None,
            tokens: None,
            written: 0,
            print: None,
            kept: None,
            outcome: None,
            refused: false,
        }
    }

    /// Looks for a kept answer, sets money aside, and goes where there is a place.
    pub(crate) async fn admitted(&self, mut admitted: Box<Admitted>) -> Result<Response<Answer>, Refusal> {
        let ticket = &mut admitted.ticket;
        if ticket.target.route.cache.is_some() {
            let print = print(&ticket.holder.key.tenant, PATHS[admitted.path], &admitted.body);
            if let Some(kept) = ticket.target.state.cache.get(&print, (self.shared.now)()) {
                return Ok(from_cache(&kept, ticket));
            }
            ticket.print = Some(print);
        }
        let limits = ticket.holder.key.limits;
        if limits.costs() {
            let (holder, amount) = (Arc::clone(&ticket.holder), ticket.first_amount());
            let now = (self.shared.now)();
            let key = (&*holder.key.id, &limits);
            let bank = self.shared.bank.as_ref();
            // Behind a pointer: most requests never wait for money, and all would carry the room for it.
            let paid = Box::pin(holder.state.purse.reserve(bank, key, &mut ticket.reserved, amount, now)).await;
            // What is refused at the door is no request that was answered.
            ticket.refused = paid.is_err();
            paid?;
        }
        if admitted.ticket.target.hosted.is_some() {
            Box::pin(self.guard(&mut admitted.ticket)).await?;
        }
        match self.seat(&admitted.ticket.target, &admitted) {
            // Whoever stands in the line already comes first.
            Seat::Taken(seat) if admitted.ticket.target.state.line.len() > 0 => {
                self.put_back(*seat);
                self.wait_and_send(admitted).await
            }
            Seat::Taken(seat) => self.seated(admitted, *seat).await,
            Seat::Nobody => Err(Refusal::NoBackend(admitted.name())),
            Seat::Full => self.wait_and_send(admitted).await,
            Seat::Starting | Seat::Ill if admitted.others => Err(Refusal::Loading(admitted.name())),
            Seat::Asleep if admitted.others => {
                self.wake(&admitted.ticket.target);
                Err(Refusal::Loading(admitted.name()))
            }
            // Only where it is a stream can the client be told anything before the answer.
            Seat::Starting | Seat::Asleep | Seat::Ill if admitted.asked.stream => {
                // What is turned for its client is turned later.
                let of_messages = admitted.path == MESSAGES && admitted.form.as_ref().is_none_or(|form| form.turn().is_none());
                let this = self.clone();
                let mut held = Box::pin(async move { this.wait_and_send(admitted).await });
                match tokio::time::timeout(HEAD_AFTER, &mut held).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(later(Later::new(held, of_messages))),
                }
            }
            Seat::Starting | Seat::Asleep | Seat::Ill => self.wait_and_send(admitted).await,
        }
    }
}

/// A hosted provider's money is set aside as a key's is.
impl Way {
    async fn guard(&self, ticket: &mut Ticket) -> Result<(), Refusal> {
        let Some((hosted, purse)) = ticket.target.hosted.clone() else { return Ok(()) };
        let (now, name, micros) = ((self.shared.now)(), bank_name(&hosted.provider), ticket.first_amount());
        let bank = self.shared.bank.as_ref();
        let paid = purse.reserve(bank, (&name, &hosted.limits), &mut ticket.guarded, micros, now).await;
        ticket.refused = paid.is_err();
        // Whether a provider's money reaches is no reason for the others not to answer.
        paid.map_err(|_| Refusal::HostedQuota(hosted.provider.clone()))
    }
}

/// What the money of a hosted provider is called where that of keys is kept.
pub(crate) fn bank_name(provider: &str) -> String {
    format!("provider:{provider}")
}

fn from_cache(kept: &Kept, ticket: &mut Ticket) -> Response<Answer> {
    ticket.used.end = End::Cached;
    ticket.used.status = 200;
    ticket.used.saved = kept.cost;
    ticket.used.first_ms = 1;
    let mut response = Response::new(Answer::Whole(Full::new(kept.body.clone())));
    let headers = response.headers_mut();
    if let Some(kind) = &kept.kind {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    headers.insert("x-charter-cache", HeaderValue::from_static("hit"));
    response
}

fn later(body: Later) -> Response<Answer> {
    let mut response = Response::new(Answer::Later(Box::new(body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
