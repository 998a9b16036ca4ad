//! A request that may be answered by one of several: along the chain of its route, from what is ours to what is paid by the
//! token. Whatever fails before an answer has really begun is invisible to the client.

use crate::body::Answer;
use crate::choices::Chain;
use crate::errors::Refusal;
use crate::form::Form;
use crate::forward::{Admitted, Way};
use crate::plan::{self, Plan, Steps};
use crate::request::Asked;
use crate::table::{Holder, Table, Target};
use bytes::Bytes;
use charter_domain::routing::Patience;
use charter_translate::Names;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// What the client is told of the plan.
const PLAN: HeaderName = HeaderName::from_static("x-charter-plan");
/// What the client is told of those that could not answer.
const ATTEMPTS: HeaderName = HeaderName::from_static("x-charter-attempts");

/// A request that was let in. Its parts are sent to one name after the other.
pub(crate) struct Call {
    pub(crate) asked: Asked,
    pub(crate) body: Bytes,
    pub(crate) headers: Arc<HeaderMap>,
    pub(crate) path: usize,
    pub(crate) id: HeaderValue,
    pub(crate) holder: Arc<Holder>,
    pub(crate) started: Instant,
    pub(crate) permit: Permit,
    /// How long parts of an answer may take, where another name than the asked one may give it.
    pub(crate) patience: Option<Patience>,
    /// The first of a chain, where it could not answer.
    pub(crate) instead_of: Option<Arc<str>>,
}

/// What was taken of the key's limits when the request was let in; whoever takes it over settles it.
pub(crate) struct Permit {
    holder: Arc<Holder>,
    estimate: Option<u64>,
}

impl Permit {
    pub(crate) fn new(holder: &Arc<Holder>, estimate: u64) -> Self {
        Self { holder: Arc::clone(holder), estimate: Some(estimate) }
    }

    /// Nothing was taken.
    pub(crate) fn none(holder: &Arc<Holder>) -> Self {
        Self { holder: Arc::clone(holder), estimate: None }
    }

    /// What is settled by the one that takes it: the first gets what was taken at the door, others came in with it.
    pub(crate) fn take(&mut self) -> u64 {
        self.estimate.take().unwrap_or_else(|| {
            self.holder.state.meter.again();
            0
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(estimate) = self.estimate.take() {
            self.holder.state.meter.settle(estimate, 0);
        }
    }
}

impl Way {
    /// Plans a request: by its effort, along a chain, in several steps, or in another language; and puts it to the first one.
    pub(crate) fn planned(
        &self,
        table: &Table,
        call: &mut Call,
        target: &Arc<Target>,
        effort: Option<u8>,
    ) -> Result<Planned, Refusal> {
        call.patience = Some(target.route.patience);
        let plan = plan::made(table, target, &call.asked, &call.body, effort)?;
        if let Some(plan) = &plan {
            self.shared.plans.applied(plan, &call.id);
        }
        if let Some(steps) = plan.as_ref().and_then(|plan| plan.steps(table, call)) {
            return Ok(Planned::Steps(steps, Rest { plan, ..Rest::default() }));
        }
        let choice = plan.as_ref().map_or_else(|| table.choices(target).named(table, target), |plan| &plan.choice);
        let chain = Arc::clone(&choice.chain);
        let Some(first) = chain.first() else { return Err(Refusal::NoBackend(call.asked.name.clone())) };
        Ok(match self.asks(call, first, chain.len() > 1) {
            Ok((admitted, turn)) => Planned::First(admitted, Box::new(Rest { chain, plan, turn })),
            Err(refusal) => Planned::Refused(refusal, Box::new(Rest { chain, plan, turn: None })),
        })
    }

    /// What came of the first one, in the client's language; and where it could not answer, of those after it.
    pub(crate) async fn after_first(
        &self,
        mut call: Call,
        mut rest: Box<Rest>,
        answer: Result<Response<Answer>, Refusal>,
    ) -> Result<Response<Answer>, Refusal> {
        let answer = match (answer, rest.turn.take()) {
            (Ok(answer), Some(names)) => crate::turned::turned(answer, names).await,
            (answer, _) => answer,
        };
        match answer {
            Err(refusal) => self.walk_from(&mut call, &rest.chain, Some(refusal)).await,
            answered => answered,
        }
        .map(|answer| rest.told(answer))
    }

    /// Answers in several steps.
    pub(crate) async fn stepwise(
        &self,
        call: Call,
        target: Arc<Target>,
        steps: Steps,
        rest: Rest,
    ) -> Result<Response<Answer>, Refusal> {
        let table = self.shared.table.load_full();
        Ok(rest.told(self.in_steps(call, &table, target, steps).await?))
    }

    /// Asks one after the other until one begins to answer.
    pub(crate) async fn walk(&self, call: &mut Call, chain: &[Arc<Target>]) -> Result<Response<Answer>, Refusal> {
        self.walk_from(call, chain, None).await
    }

    /// The same where the first one has been asked, and this is what came of it.
    async fn walk_from(
        &self,
        call: &mut Call,
        chain: &[Arc<Target>],
        first: Option<Refusal>,
    ) -> Result<Response<Answer>, Refusal> {
        let (mut told, mut last, mut later, mut first) = (vec![], None, None, first);
        for (at, target) in chain.iter().enumerate() {
            let others = at + 1 < chain.len();
            call.instead_of = (at > 0).then(|| Arc::clone(&chain[0].name));
            let answer = match first.take() {
                Some(Refusal::Upstream(no)) if no.again => Box::pin(self.once(call, target, others)).await,
                Some(refusal) => Err(refusal),
                None => self.one(call, target, others).await,
            };
            let refusal = match answer {
                Ok(mut answer) => {
                    if !told.is_empty() {
                        target.state.counts.stood_in();
                        let text = told.join(", ");
                        answer.headers_mut().extend(HeaderValue::from_str(&text).ok().map(|value| (ATTEMPTS, value)));
                    }
                    return Ok(answer);
                }
                Err(refusal) if !goes_on(&refusal) => return Err(refusal),
                Err(refusal) => refusal,
            };
            let reason = refusal.reason();
            tracing::warn!(name = &*target.name, reason, "it could not answer, and the next one is asked");
            told.push(format!("{}: {reason}", target.name));
            if matches!(refusal, Refusal::Loading(_)) {
                later.get_or_insert(at);
            }
            // What was said of the request itself is more than that somebody was not there.
            if !last.as_ref().is_some_and(concerns_request) || concerns_request(&refusal) {
                last = Some(refusal);
            }
        }
        // Nobody could: who is being started is waited for.
        if let Some(at) = later {
            return self.one(call, &chain[at], false).await;
        }
        Err(last.unwrap_or_else(|| Refusal::NoBackend(call.asked.name.clone())))
    }

    /// Asks one of them, and once more where that may help.
    async fn one(&self, call: &mut Call, target: &Arc<Target>, others: bool) -> Result<Response<Answer>, Refusal> {
        let first = Box::pin(self.once(call, target, others)).await;
        match first {
            Err(Refusal::Upstream(no)) if no.again => Box::pin(self.once(call, target, others)).await,
            other => other,
        }
    }

    async fn once(&self, call: &mut Call, target: &Arc<Target>, others: bool) -> Result<Response<Answer>, Refusal> {
        let (admitted, turn) = self.asks(call, target, others)?;
        let answer = self.admitted(admitted).await;
        match turn {
            Some(names) => crate::turned::turned(answer?, names).await,
            None => answer,
        }
    }

    /// The request as it is put to one of them.
    fn asks(&self, call: &mut Call, target: &Arc<Target>, others: bool) -> Result<(Box<Admitted>, Option<Names>), Refusal> {
        if call.asked.tools && !target.calls_tools() {
            return Err(Refusal::NoTools(call.asked.name.clone()));
        }
        let form = Form::of(call, target)?;
        let turn = form.turn();
        let mut admitted = Box::new(self.admit(call, Arc::clone(target), Some(Box::new(form))));
        admitted.others = others;
        Ok((admitted, turn))
    }
}

/// What a plan makes of a request.
pub(crate) enum Planned {
    /// It is answered in several steps.
    Steps(Steps, Rest),
    /// It is on its way to the first one.
    First(Box<Admitted>, Box<Rest>),
    /// The first one cannot be asked.
    Refused(Refusal, Box<Rest>),
}

/// What is needed of a plan once the first one has been asked.
#[derive(Default)]
pub(crate) struct Rest {
    chain: Chain,
    plan: Option<Plan>,
    /// The answer is turned for a client of Anthropic's language.
    turn: Option<Names>,
}

impl Rest {
    /// Nothing is to be done with an answer but to tell the plan.
    pub(crate) fn is_over(&self) -> bool {
        self.turn.is_none()
    }

    /// An answer that tells the plan.
    pub(crate) fn told(&self, mut answer: Response<Answer>) -> Response<Answer> {
        if let Some(value) = self.plan.as_ref().and_then(Plan::told) {
            answer.headers_mut().insert(PLAN, value);
        }
        answer
    }
}

/// Does it say something of the request itself?
fn concerns_request(refusal: &Refusal) -> bool {
    if let Refusal::Upstream(no) = refusal {
        return matches!(no.status.as_u16(), 400 | 413 | 422);
    }
    matches!(refusal, Refusal::Wrong { .. } | Refusal::NoTools(_))
}

/// May another one be asked after this?
fn goes_on(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Upstream(no) => !no.is_final,
        Refusal::QueueFull
        | Refusal::Unreachable(_)
        | Refusal::Loading(_)
        | Refusal::NoBackend(_)
        | Refusal::Timeout
        | Refusal::Stalled
        | Refusal::BrokeOff
        | Refusal::Answered(_)
        | Refusal::HostedQuota(_)
        | Refusal::NoTools(_)
        | Refusal::Wrong { .. } => true,
        Refusal::InvalidJson(_)
        | Refusal::MissingModel
        | Refusal::InvalidKey
        | Refusal::RouteNotAllowed(_)
        | Refusal::ModelNotFound(_)
        | Refusal::NotFound(_)
        | Refusal::MethodNotAllowed
        | Refusal::TooLarge(_)
        | Refusal::RateLimited(..)
        | Refusal::Quota
        | Refusal::Unsure
        | Refusal::HeadersTooLarge => false,
    }
}

/// Lets a backend rest: it gets nothing meanwhile.
pub(crate) fn rest(entry: &crate::table::Entry, until_ms: i64) {
    entry.counters.rests_until_ms.fetch_max(until_ms, Ordering::Relaxed);
}
