//! The server: everything is put together here, once, and ended in order.

use crate::assemble::{budgets, dead_man_switch, from_environment, hosted, provider};
use crate::cli::{Global, Serve};
use crate::doors::Own;
use crate::install::{
    data_problem, database_problem, installation_secret, keys, lock, make_private_folder, open_database, place,
};
use crate::local::{ServerFile, server_file};
use crate::ports::{Counters, RealClock, RealIds, RealSecrets, new_key, now, random};
use crate::premises::Place;
use crate::releases::Releases;
use crate::sockets::{Sockets, Tls, refuse_open};
use crate::{config, environment, http, retired};
use charter_api::file::server::Server as ServerSection;
use charter_api::problem::Problem;
use charter_controller::{Controller, LEASE, Parts, Settings};
use charter_domain::money::Usd;
use charter_domain::time::Span;
use charter_gateway::{Gateway, Notice, Outside};
use charter_remote::{KeyPair, Links};
use charter_store::Store;
use charter_store::database::Database;
use charter_web::{App, Files, Gateways, Register, Sections};
use hyper::Method;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a stopping server gives its work to be recorded.
const STOP_PATIENCE: Span = Span::s(4);
/// How long requests to the control plane may finish.
const PAGES_PATIENCE: Duration = Duration::from_secs(5);

/// How long a server that ends everything waits for that.
const END_PATIENCE: Duration = Duration::from_secs(300);

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    /// `None` leaves the gateway out.
    pub(crate) gateway_listen: Option<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: Option<PathBuf>,
    /// A database that several control planes share; nothing is a file in the data directory.
    pub(crate) database: Option<String>,
    /// Between looks at what starts and at what runs.
    pub(crate) look: (Span, Span),
    /// What is spoken at both addresses, where it is not plain HTTP.
    pub(crate) tls: Option<Tls>,
}

/// A running server.
pub(crate) struct Running {
    pub(crate) url: String,
    /// Where the command line of this computer asks: plain HTTP on loopback.
    local_url: String,
    pub(crate) gateway_url: Option<String>,
    pub(crate) admin_key: Option<String>,
    pub(crate) stop: CancellationToken,
    controller: Controller,
    store: Arc<Database>,
    data_dir: PathBuf,
    gateway: Option<tokio::task::JoinHandle<()>>,
    pages: Vec<tokio::task::JoinHandle<()>>,
    /// Everything is ended before the server ends.
    destroys: bool,
    _lock: std::fs::File,
}

/// Asks a registered backend what it serves.
struct Asker;

impl Register for Asker {
    fn names<'a>(&'a self, base_url: &'a str) -> Pin<Box<dyn Future<Output = Result<Vec<String>, Problem>> + Send + 'a>> {
        Box::pin(async move {
            let hint = "name the address of an OpenAI-compatible server, such as `http://127.0.0.1:8000`";
            if !base_url.starts_with("http://") && !base_url.starts_with("https://") {
                return Err(Problem::new(422, "G0001", format!("`{base_url}` is no address of a backend"), hint));
            }
            if leads_nowhere(base_url).await {
                let message = format!("`{base_url}` leads to an address that no backend can have");
                return Err(Problem::new(
                    422,
                    "G0001",
                    message,
                    "link-local addresses belong to a cloud's own keepers; name the backend's",
                ));
            }
            let url = format!("{base_url}/v1/models");
            let answer = http::send(Method::GET, &url, None, None, Duration::from_secs(10)).await;
            let answer = answer
                .map_err(|why| Problem::new(422, "G0001", format!("`{base_url}` does not answer"), hint).with_detail(why))?;
            let names: Vec<String> = charter_engines::probe::listed(&answer.body).into_iter().map(|(name, _)| name).collect();
            if answer.status != 200 || names.is_empty() {
                let problem = Problem::new(422, "G0001", format!("`{url}` lists no model"), hint);
                return Err(problem.with_detail(format!("it answered {}", answer.status)));
            }
            Ok(names)
        })
    }
}

#[async_trait::async_trait]
impl charter_controller::Asker for Asker {
    async fn names(&self, base_url: &str) -> Result<Vec<String>, String> {
        let said = Register::names(self, base_url).await;
        said.map_err(|problem| if problem.detail.is_empty() { problem.message } else { problem.detail })
    }

    async fn metrics(&self, base_url: &str) -> Option<String> {
        let answer = http::send(Method::GET, &format!("{base_url}/metrics"), None, None, Duration::from_secs(5)).await.ok()?;
        (answer.status == 200).then(|| String::from_utf8_lossy(&answer.body).into_owned())
    }
}

/// The names under which a browser may open the dashboard, beside those of this computer: the address that is listened on, and
/// what the file names.
fn hosts(section: &ServerSection, listen: SocketAddr) -> Vec<String> {
    let ip = listen.ip();
    let own = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
    section.hosts.iter().map(|h| h.to_ascii_lowercase()).chain([own]).collect()
}

/// Does the host of an address resolve to one that is forbidden, however it is written?
async fn leads_nowhere(base_url: &str) -> bool {
    let uri: Option<hyper::Uri> = base_url.parse().ok();
    let Some(host) = uri.as_ref().and_then(|u| u.host()) else { return false };
    let host = host.trim_matches(['[', ']']).to_owned();
    // What does not resolve is told by the request.
    let found = tokio::net::lookup_host((host, 80)).await;
    found.is_ok_and(|mut all| all.any(|a| charter_gateway::destination::is_forbidden(a.ip())))
}

/// Puts a server together and starts it. Sockets are bound before anything is begun.
pub(crate) async fn start(options: Options) -> Result<Running, Problem> {
    let data_dir = options.data_dir.clone();
    make_private_folder(&data_dir).map_err(|e| data_problem(&data_dir, &e))?;
    let lock = lock(&data_dir)?;
    // What a server that was killed has left behind would be taken for ours until we listen; most often there is none.
    std::fs::remove_file(server_file(&data_dir)).ok();
    let section = options.config.as_deref().map(config::read).transpose()?.map(|file| file.server).unwrap_or_default();
    let limits = environment::limits()?;
    let destroys = environment::flag("VASTAI_AUTO_DESTROY_ON_SHUTDOWN")?.unwrap_or(section.destroy_on_shutdown);
    let settings = settings(&section, &options)?;
    let sockets = Sockets::bind(&options).await?;
    let (store, admin_key) = database(&data_dir, options.database.as_deref()).await?;
    let links = Links::default();
    let doors = Own::default();
    let outside =
        Outside { links: links.clone(), now: Arc::new(now), bank: Arc::new(doors.clone()), sink: Arc::new(doors.clone()) };
    let (gateway, notices) = sockets.gateway_url.as_ref().map(|_| Gateway::new(outside, prefix())).unzip();
    let before = store.gateways().await.map_err(|e| database_problem(&e))?;
    let gateways = Arc::new(Gateways::known(before, now()));
    let counters = Counters { own: gateway.clone(), others: Arc::clone(&gateways) };
    let controller = Controller::new(parts(&section, settings, &store, links, counters, &data_dir).await?);
    doors.open(controller.clone());
    controller.publish().await.map_err(|e| database_problem(&e))?;
    let stop = CancellationToken::new();
    let releases = Releases::open(data_dir.join("newest-engine"));
    tokio::spawn(Arc::clone(&releases).refresh());
    let app = App {
        controller: controller.clone(),
        gateways,
        versions: releases,
        register: Arc::new(Asker),
        new_key: Arc::new(new_key),
        limits,
        profiles: profiles(options.config.clone()),
        files: files(options.config.clone()),
        explain: Arc::new(charter_gateway::explain),
        pages: crate::pages::page,
        premises: Place::of(&options, &store, &controller),
        ask: Arc::new(crate::asking::Gateway { url: sockets.gateway_here.clone() }),
        hosts: hosts(&section, options.listen),
        url: sockets.url.clone(),
        gateway_url: sockets.gateway_url.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: prefix(),
        stop: stop.clone(),
        beginning: Arc::default(),
    };
    charter_web::spawn_fleets(&app);
    let (url, local_url, gateway_url) = (sockets.url.clone(), sockets.local_url.clone(), sockets.gateway_url.clone());
    let (gateway, pages) = sockets.serve(app, gateway, controller.routes(), &stop);
    controller.start();
    tend(&controller, &section, notices);
    let running = Running {
        url,
        local_url,
        gateway_url,
        admin_key,
        stop,
        controller,
        store,
        data_dir,
        gateway,
        pages,
        destroys,
        _lock: lock,
    };
    running.write_file()?;
    Ok(running)
}

/// What goes on beside the controller's own tasks.
fn tend(controller: &Controller, section: &ServerSection, notices: Option<mpsc::Receiver<Notice>>) {
    let (secret, named) = controller.secrets_for_keeping();
    retired::remember(controller.clone(), secret, section.providers.clone(), named);
    if let Some(notices) = notices {
        tokio::spawn(heed(notices, controller.clone()));
    }
}

/// Does what the gateway tells: looks at what gave no answer, and starts what is asked for.
async fn heed(mut notices: mpsc::Receiver<Notice>, controller: Controller) {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Failing(backend) => controller.suspect(&backend),
            Notice::Wanted(deployment) => controller.wanted(&deployment).await,
        }
    }
}

/// Reads the profiles of a file, each time anew.
fn profiles(file: Option<PathBuf>) -> Arc<dyn Fn() -> Vec<(String, serde_json::Value)> + Send + Sync> {
    Arc::new(move || {
        let read = file.as_deref().and_then(|path| config::read(path).ok());
        read.map(|f| f.profiles.into_iter().map(|(name, _, raw)| (name, raw)).collect()).unwrap_or_default()
    })
}

/// Reads profiles and deployments, each time anew: of the file that a deployment came from, where it is on this machine, else of
/// the server's own.
fn files(own: Option<PathBuf>) -> Arc<Files> {
    Arc::new(move |source| {
        let path = source.map(PathBuf::from).filter(|path| path.exists()).or_else(|| own.clone());
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(None) };
        let file = config::read(&path)?;
        Ok(Some(Sections {
            profiles: file.profiles.into_iter().map(|(name, _, raw)| (name, raw)).collect(),
            deployments: file.deployments.into_iter().map(|(name, _, raw)| (name, raw)).collect(),
        }))
    })
}

/// A day in which rented machines cost more is no usual one.
const RUNAWAY: Usd = Usd(50_000_000);

/// How the controller is set: by the environment first, then by the file.
fn settings(section: &ServerSection, options: &Options) -> Result<Settings, Problem> {
    let destroy = environment::flag("VASTAI_AUTO_DESTROY_ON_ERROR")?;
    let look_ready = environment::ready_interval()?.unwrap_or(options.look.1);
    Ok(Settings {
        budgets: budgets(section)?,
        keep_on_error: destroy.map_or(section.keep_on_error, |destroy| !destroy),
        logs: options.data_dir.join("logs"),
        log_limits: environment::log_limits()?,
        keep_alive: environment::keep_alive()?,
        look: (options.look.0, look_ready),
        hosted: hosted(section)?,
        runaway: section.runaway_micros.map_or(RUNAWAY, Usd),
        lease: section.lease_ms.map_or(LEASE, |ms| Span::ms(i64::try_from(ms).unwrap_or(i64::MAX))),
    })
}

/// Opens the database, frees what a process that is gone has leased, and makes the first keys.
async fn database(data_dir: &Path, named: Option<&str>) -> Result<(Arc<Database>, Option<String>), Problem> {
    let store = open_database(data_dir, named).await?;
    let admin_key = keys(&store, data_dir).await?;
    // Under the lock of the data directory no other process of it can hold one.
    let gone = if store.shared() { place(data_dir) } else { String::new() };
    store.abandon_leases(&gone).await.map_err(|e| database_problem(&e))?;
    Ok((Arc::new(store), admin_key))
}

/// What the controller is made of.
async fn parts(
    section: &ServerSection,
    settings: Settings,
    store: &Arc<Database>,
    links: Links,
    counters: Counters,
    data_dir: &Path,
) -> Result<Parts, Problem> {
    let secret = installation_secret(store.as_ref(), data_dir).await?;
    let own = KeyPair::derive(secret.as_bytes(), "installation");
    tracing::info!(key = own.public_line(), "machines without a `key-file` must let this key in");
    let fresh: String = new_key().chars().skip(4).take(8).collect::<String>().to_ascii_lowercase();
    let installation = store.installation(&fresh).await.map_err(|e| database_problem(&e))?;
    let switch = dead_man_switch(section, settings.look.1)?;
    let mut providers = section
        .providers
        .iter()
        .filter(|p| !p.is_hosted())
        .map(|p| provider(p, &own, &secret, &links, data_dir, switch))
        .collect::<Result<Vec<_>, _>>()?;
    if providers.is_empty() {
        providers.extend(from_environment(&secret, switch).transpose()?);
    }
    let named: Vec<String> = providers.iter().map(|p| p.name().to_owned()).collect();
    providers.extend(retired::retired(store.as_ref(), &secret, &named, now(), switch).await?);
    Ok(Parts {
        store: Arc::clone(store) as Arc<dyn Store>,
        providers,
        clock: Arc::new(RealClock),
        ids: Arc::new(RealIds),
        secrets: Arc::new(RealSecrets),
        data_plane: Arc::new(counters),
        links,
        machines: None,
        asker: Some(Arc::new(Asker)),
        named,
        place: place(data_dir),
        installation,
        secret: secret.into_bytes(),
        settings,
    })
}

/// What begins the request ids of a gateway: different at every start.
pub(crate) fn prefix() -> String {
    random::<5>().iter().map(|b| format!("{b:02x}")).collect()
}

impl Running {
    fn write_file(&self) -> Result<(), Problem> {
        let file = ServerFile {
            pid: std::process::id(),
            url: self.local_url.clone(),
            gateway_url: self.gateway_url.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let path = server_file(&self.data_dir);
        let part = path.with_extension("part");
        let text = serde_json::to_string(&file).unwrap_or_default();
        std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &path)).map_err(|e| data_problem(&self.data_dir, &e))
    }

    /// Ends every deployment, and waits until what they held is seen to be gone.
    async fn end_all(&self) {
        let ended = async {
            for row in self.store.deployments().await.unwrap_or_default() {
                if let Err(error) = self.controller.end(row.state.id.as_str()).await {
                    tracing::error!(%error, deployment = row.state.name, "it could not be ended");
                }
            }
            let mut changes = self.controller.changes();
            while !self.store.replicas(None).await.is_ok_and(|open| open.is_empty()) {
                let waited = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
                tracing::trace!(in_time = waited.is_ok(), "waiting for machines to be gone");
            }
        };
        if tokio::time::timeout(END_PATIENCE, ended).await.is_err() {
            tracing::error!("some machines are not seen to be gone yet; start the server again, and it goes on ending them");
        }
    }

    /// Ends in order: no new requests, present ones finish, what was performed is recorded, the database is closed.
    pub(crate) async fn end(self) {
        if self.destroys {
            self.end_all().await;
        }
        self.stop.cancel();
        if let Some(gateway) = self.gateway
            && gateway.await.is_err()
        {
            tracing::error!("the gateway ended with a panic");
        }
        // A change that is under way is made and answered.
        let pages = async {
            for page in self.pages {
                page.await.ok();
            }
        };
        if tokio::time::timeout(PAGES_PATIENCE, pages).await.is_err() {
            tracing::warn!("requests to the control plane were cut at its end");
        }
        self.controller.stop(STOP_PATIENCE).await;
        self.store.close().await;
        if let Err(error) = std::fs::remove_file(server_file(&self.data_dir)) {
            tracing::debug!(%error, "there was no server file");
        }
    }
}

/// `charter serve`.
pub(crate) async fn serve(global: &Global, args: Serve) -> Result<(), Problem> {
    let tls = crate::tls::acceptor(args.tls_cert.as_deref(), args.tls_key.as_deref())?;
    let safe = args.insecure_listen || tls.is_some();
    refuse_open(args.listen, safe)?;
    let next = if args.listen.port() == 0 { 0 } else { args.listen.port().saturating_add(1) };
    let gateway = args.gateway_listen.unwrap_or_else(|| SocketAddr::new(args.listen.ip(), next));
    refuse_open(gateway, safe)?;
    let data_dir = config::data_dir(global)?;
    let options = Options {
        listen: args.listen,
        gateway_listen: (!args.no_gateway).then_some(gateway),
        data_dir,
        config: config::find(global, None),
        database: args.database.filter(|d| !d.is_empty()),
        look: (Span::s(2), Span::s(60)),
        tls: tls.map(Tls),
    };
    let mut terminated =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|e| signal_problem(&e))?;
    let mut interrupted =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(|e| signal_problem(&e))?;
    let running = start(options).await?;
    announce(&running);
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
        () = running.stop.cancelled() => {}
    }
    running.end().await;
    Ok(())
}

pub(crate) fn signal_problem(error: &std::io::Error) -> Problem {
    Problem::new(0, "A0010", "signals cannot be received", "this should not happen; restart the machine")
        .with_detail(error.to_string())
}

fn announce(running: &Running) {
    let mut lines = vec![];
    lines.extend(running.admin_key.as_ref().map(|key| format!("admin key: {key}")));
    lines.push(format!("control plane: {}", running.url));
    lines.extend(running.gateway_url.as_ref().map(|url| format!("gateway: {url}")));
    lines.push("ready".to_owned());
    let text = lines.join("\n");
    // Nobody may be reading; the server works all the same.
    writeln!(std::io::stdout(), "{text}").ok();
    std::io::stdout().flush().ok();
}
