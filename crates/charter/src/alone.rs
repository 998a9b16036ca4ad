//! A gateway in a process of its own: it takes its table from a control plane, and goes on with the last one.

use crate::cli::{Gateway as GatewayArgs, Global};
use crate::doors::Remote;
use crate::http;
use crate::local::{Known, find};
use crate::ports::now;
use crate::serve::{prefix, signal_problem};
use crate::sockets::{bind, refuse_open};
use charter_api::problem::Problem;
use charter_domain::routing::RouteTable;
use charter_gateway::{Door, Gateway, Notice, Outside};
use charter_remote::Links;
use hyper::Method;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How long an answer of the control plane may take; it waits for news for half a second itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between tries while the control plane is away.
const PAUSE: Duration = Duration::from_millis(500);
/// So many tries in vain lie between two lines of the log.
const SAY_EVERY: u32 = 120;

/// `charter gateway`: takes its table from a control plane, and goes on with the last one while that is away.
pub(crate) async fn gateway(global: Global, args: GatewayArgs) -> Result<(), Problem> {
    let tls = crate::tls::acceptor(args.tls_cert.as_deref(), args.tls_key.as_deref())?;
    refuse_open(args.listen, args.insecure_listen || tls.is_some())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let listener = bind(args.listen, "gateway").await?;
    let address = listener.local_addr().map_err(|e| signal_problem(&e))?;
    let mut terminated =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|e| signal_problem(&e))?;
    let doors = Arc::new(Remote(global.clone()));
    let outside = Outside { links: Links::default(), now: Arc::new(now), bank: doors.clone(), sink: doors };
    let (gateway, notices) = Gateway::new(outside, prefix());
    let (tables, receiver) = watch::channel(Arc::new(RouteTable::default()));
    let stop = CancellationToken::new();
    let mut follower = Follower::new(global, gateway.clone(), notices);
    // The first table is there before anybody is told that it serves; until then it waits, as after a common restart.
    let mut said = String::new();
    loop {
        let asked = tokio::select! {
            asked = follower.ask(false) => asked,
            _ = terminated.recv() => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match asked {
            Ok(table) => {
                table.into_iter().for_each(|table| drop(tables.send_replace(table)));
                break;
            }
            Err(Trouble::Refused(problem)) => return Err(*problem),
            Err(Trouble::Away(why)) => {
                if why != said {
                    tracing::warn!(
                        why,
                        "the control plane gives no routes yet; waiting for it. Start it, or correct `--control`"
                    );
                }
                said = why;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // It reports as long as requests are being answered.
    let over = CancellationToken::new();
    let following = tokio::spawn(follower.follow(tables, over.clone()));
    let (serving, ended) = (gateway.clone(), stop.clone());
    let served = tokio::spawn(async move { serving.serve_at(vec![Door { listener, tls }], receiver, ended).await });
    writeln!(std::io::stdout(), "gateway: {scheme}://{address}/v1\nready").ok();
    std::io::stdout().flush().ok();
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stop.cancel();
    if served.await.is_err() {
        tracing::error!("the gateway ended with a panic");
    }
    over.cancel();
    // Whoever waits for this gateway's word need not wait any longer.
    if let Ok(mut follower) = following.await
        && follower.ask(true).await.is_err()
    {
        tracing::warn!("the control plane could not be told that this gateway ends");
    }
    Ok(())
}

/// Why there is no newer table.
enum Trouble {
    /// Nobody answers.
    Away(String),
    /// It answers, and says no: a wrong key, most likely.
    Refused(Box<Problem>),
}

/// Asks the control plane for tables, and reports.
struct Follower {
    global: Global,
    id: String,
    epoch: String,
    gateway: Gateway,
    notices: mpsc::Receiver<Notice>,
    /// Where it was found last.
    found: Option<Known>,
}

impl Follower {
    fn new(global: Global, gateway: Gateway, notices: mpsc::Receiver<Notice>) -> Self {
        Self { global, id: prefix(), epoch: String::new(), gateway, notices, found: None }
    }

    /// The next table, if it is another one.
    async fn ask(&mut self, over: bool) -> Result<Option<Arc<RouteTable>>, Trouble> {
        let known = match self.found.take() {
            Some(known) => known,
            // It may have come back at another address.
            None => find(&self.global).map_err(|problem| Trouble::Away(problem.message))?,
        };
        let stats = self.gateway.stats();
        let in_flight: serde_json::Map<_, _> = stats.in_flight.into_iter().map(|(id, n)| (id, n.into())).collect();
        let last_used: serde_json::Map<_, _> = stats.last_used_ms.into_iter().map(|(id, ms)| (id, ms.into())).collect();
        let waiting: serde_json::Map<_, _> = stats.waiting.into_iter().map(|(name, n)| (name, n.into())).collect();
        let (mut failing, mut wanted) = (BTreeSet::new(), BTreeSet::new());
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Failing(backend) => failing.insert(backend),
                Notice::Wanted(deployment) => wanted.insert(deployment),
            };
        }
        let body = serde_json::json!({"id": self.id, "version": stats.version, "epoch": self.epoch, "in_flight": in_flight, "last_used_ms": last_used,
            "failing": failing, "wanted": wanted, "waiting": waiting, "over": over});
        let url = format!("{}/api/v1/gateway/table", known.url);
        let answer = http::send(Method::POST, &url, Some(&known.key), Some(body.to_string()), PATIENCE).await;
        let answer = answer.map_err(|why| Trouble::Away(format!("`{}`: {why}", known.url)))?;
        match answer.status {
            200 => {}
            status @ (401 | 403) => return Err(Trouble::Refused(Box::new(Problem::from_http(status, &answer.body)))),
            status => return Err(Trouble::Away(format!("`{}` answered {status}", known.url))),
        }
        let published: charter_web::Published = serde_json::from_slice(&answer.body)
            .map_err(|e| Trouble::Away(format!("the answer of `{}` cannot be read: {e}", known.url)))?;
        self.found = Some(known);
        let changed = published.epoch != self.epoch || published.table.version != stats.version;
        self.epoch = published.epoch;
        Ok(changed.then(|| Arc::new(published.table)))
    }

    /// Asks for newer tables until the end. Whatever goes wrong, the last table stays.
    async fn follow(mut self, tables: watch::Sender<Arc<RouteTable>>, ended: CancellationToken) -> Self {
        let mut in_vain: u32 = 0;
        while !ended.is_cancelled() {
            match self.ask(false).await {
                Ok(table) => {
                    if in_vain > 0 {
                        tracing::info!("the control plane is back");
                    }
                    in_vain = 0;
                    if let Some(table) = table {
                        tables.send_replace(table);
                    }
                }
                Err(trouble) => {
                    let why = match trouble {
                        Trouble::Away(why) => why,
                        Trouble::Refused(problem) => format!("{}; {}", problem.message, problem.hint),
                    };
                    if in_vain.is_multiple_of(SAY_EVERY) {
                        let remedy = "start it where it was, or start this gateway again with `--control URL`";
                        tracing::warn!(why, remedy, "the control plane gives no routes; going on with the last ones");
                    }
                    in_vain = in_vain.wrapping_add(1);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self
    }
}
