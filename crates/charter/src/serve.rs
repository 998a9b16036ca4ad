//! The server: everything is put together here, once, and ended in order.

use crate::cli::{Gateway as GatewayArgs, Global, Serve};
use crate::local::{ServerFile, server_file};
use crate::ports::{Counters, RealClock, RealIds, RealSecrets, new_key, now, random};
use crate::releases::Releases;
use crate::{config, environment, http};
use charter_api::file::server::{Provider as ProviderFile, Server as ServerSection};
use charter_api::problem::Problem;
use charter_controller::{Controller, Parts, Settings};
use charter_domain::budget::{BUILT_IN, Budget, Scope};
use charter_domain::ids::KeyId;
use charter_domain::instance::Address;
use charter_domain::money::Usd;
use charter_domain::routing::RouteTable;
use charter_domain::time::Span;
use charter_gateway::Gateway;
use charter_providers::Provider;
use charter_providers::machines::{Machine, Machines};
use charter_remote::{KeyPair, Links};
use charter_store::sqlite::SqliteStore;
use charter_store::{KeyRow, Role, Store};
use charter_web::{App, Gateways, Register, hash, prefix_of};
use hyper::Method;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a stopping server gives its work to be recorded.
const STOP_PATIENCE: Span = Span::s(4);

/// What a server is started with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: SocketAddr,
    /// `None` leaves the gateway out.
    pub(crate) gateway_listen: Option<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: Option<PathBuf>,
    /// Between looks at what starts and at what runs.
    pub(crate) look: (Span, Span),
}

/// A running server.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) gateway_url: Option<String>,
    pub(crate) admin_key: Option<String>,
    pub(crate) stop: CancellationToken,
    controller: Controller,
    store: Arc<SqliteStore>,
    data_dir: PathBuf,
    gateway: Option<tokio::task::JoinHandle<()>>,
    _lock: std::fs::File,
}

pub(crate) fn make_private_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new file that only its owner can read.
pub(crate) fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn data_problem(data_dir: &Path, error: &dyn std::fmt::Display) -> Problem {
    let message = format!("the data directory `{}` cannot be used", data_dir.display());
    Problem::new(0, "A0005", message, "check that it is yours, and that the disk is not full").with_detail(error.to_string())
}

/// Reads a secret of the installation, or makes it.
fn secret_file(path: &Path, make: impl FnOnce() -> String) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make();
            let part = path.with_extension("part");
            let mut file = private_file(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, path)?;
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

fn lock(data_dir: &Path) -> Result<std::fs::File, Problem> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(data_dir.join("lock")).map_err(|e| data_problem(data_dir, &e))?;
    if file.try_lock().is_err() {
        let who = std::fs::read_to_string(server_file(data_dir)).ok().and_then(|t| serde_json::from_str::<ServerFile>(&t).ok());
        let detail = who.map_or(String::new(), |f| format!("process {} serves it at {}", f.pid, f.url));
        let message = format!("another server uses the data directory `{}`", data_dir.display());
        return Err(Problem::new(0, "A0006", message, "end it with `charter stop`, or choose another `--data-dir`").with_detail(detail));
    }
    Ok(file)
}

async fn bind(address: SocketAddr, what: &str) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|e| {
        let message = format!("the {what} cannot listen on `{address}`");
        Problem::new(0, "A0008", message, "end what listens there, or choose another address: `--listen`, `--gateway-listen`").with_detail(e.to_string())
    })
}

/// A path that may begin with the user's home.
fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), environment::var("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

fn machine(from: &charter_api::file::server::Machine, installation: &KeyPair) -> Result<Machine, Problem> {
    let key = match &from.key_file {
        None => installation.clone(),
        Some(path) => {
            let failed = |why: String| {
                let message = format!("the key of machine `{}` cannot be used", from.name);
                Problem::new(0, "R0005", message, "name a private key in OpenSSH format without a passphrase in `key-file`").with_detail(why)
            };
            let text = std::fs::read_to_string(expand(path)).map_err(|e| failed(format!("`{path}`: {e}")))?;
            KeyPair::from_openssh(&text).map_err(|e| failed(format!("`{path}`: {e}")))?
        }
    };
    let address = Address { host: from.host.clone(), port: from.port, user: from.user.clone() };
    Ok(Machine { name: from.name.clone(), address, key, host_key: from.host_key.clone(), allow_no_gpu: from.allow_no_gpu })
}

fn provider(from: &ProviderFile, installation: &KeyPair, links: &Links, data_dir: &Path) -> Result<Arc<dyn Provider>, Problem> {
    let machines = from.machines.iter().map(|m| machine(m, installation)).collect::<Result<Vec<_>, _>>()?;
    let pins = data_dir.join(format!("host-keys-{}.json", from.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")));
    Ok(Arc::new(Machines::new(&from.name, machines, links.clone(), pins)))
}

fn budgets(section: &ServerSection) -> Result<Vec<Budget>, Problem> {
    let scope = |name: &str| match name {
        "total" => Scope::Total,
        "day" => Scope::Day,
        "tenant" => Scope::Tenant,
        "deployment" => Scope::Deployment,
        "rental" => Scope::Rental,
        _ => Scope::Month,
    };
    let mut all: Vec<Budget> = section
        .budgets
        .iter()
        .map(|(name, [target, alert, hard])| Budget { scope: scope(name), target: Usd(*target), alert: Usd(*alert), hard: Usd(*hard) })
        .collect();
    for (name, scope) in [("VASTAI_BUDGET_LIMIT", Scope::Total), ("VASTAI_SESSION_BUDGET_LIMIT", Scope::Rental)] {
        if let Some(micros) = environment::usd(name)? {
            all.retain(|b| b.scope != scope);
            all.push(Budget { scope, target: Usd(micros), alert: Usd(micros), hard: Usd(micros) });
        }
    }
    Ok(if all.is_empty() { vec![BUILT_IN] } else { all })
}

/// Makes sure that the admin's and the local command line's keys are known. Returns a new admin key, to be shown once.
async fn keys(store: &SqliteStore, data_dir: &Path) -> Result<Option<String>, Problem> {
    let failed = |e: charter_store::Error| database_problem(&e);
    let row = |id: &str, name: &str, key: &str| KeyRow {
        id: KeyId::new(id),
        name: name.to_owned(),
        sha256: hash(key),
        prefix: prefix_of(key),
        role: Role::Admin,
        routes: vec![],
        created_at: now(),
        expires_at: None,
    };
    let known = store.keys().await.map_err(failed)?;
    let local = secret_file(&data_dir.join("local.key"), new_key).map_err(|e| data_problem(data_dir, &e))?;
    if !known.iter().any(|k| k.sha256 == hash(&local)) {
        store.put_key(row("local", "local", &local)).await.map_err(failed)?;
    }
    if let Some(preset) = environment::var("CHARTER_ADMIN_KEY") {
        if !known.iter().any(|k| k.sha256 == hash(&preset)) {
            store.put_key(row("admin", "admin", &preset)).await.map_err(failed)?;
        }
        return Ok(None);
    }
    if known.iter().any(|k| k.name != "local") || known.iter().any(|k| k.id.0 == "key_local") {
        return Ok(None);
    }
    let key = new_key();
    store.put_key(row("admin", "admin", &key)).await.map_err(failed)?;
    Ok(Some(key))
}

fn database_problem(error: &charter_store::Error) -> Problem {
    let (code, hint) = match error {
        charter_store::Error::TooNew { .. } => ("D0002", "take the newer charter, or restore a backup of the older one"),
        _ => ("D0001", "check that the disk is not full, and that the file is a database of charter"),
    };
    Problem::new(500, code, "the database cannot be opened", hint).with_detail(error.to_string())
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
            let url = format!("{base_url}/v1/models");
            let answer = http::send(Method::GET, &url, None, None, Duration::from_secs(10)).await;
            let answer = answer.map_err(|why| Problem::new(422, "G0001", format!("`{base_url}` does not answer"), hint).with_detail(why))?;
            let names: Vec<String> = charter_engines::probe::listed(&answer.body).into_iter().map(|(name, _)| name).collect();
            if answer.status != 200 || names.is_empty() {
                let problem = Problem::new(422, "G0001", format!("`{url}` lists no model"), hint);
                return Err(problem.with_detail(format!("it answered {}", answer.status)));
            }
            Ok(names)
        })
    }
}

/// Puts a server together and starts it. Sockets are bound before anything is begun.
pub(crate) async fn start(options: Options) -> Result<Running, Problem> {
    let data_dir = options.data_dir.clone();
    make_private_folder(&data_dir).map_err(|e| data_problem(&data_dir, &e))?;
    let lock = lock(&data_dir)?;
    let section = match &options.config {
        Some(path) => config::read(path)?.server,
        None => ServerSection::default(),
    };
    let limits = environment::limits()?;
    let budgets = budgets(&section)?;
    let keep_on_error = environment::flag("VASTAI_AUTO_DESTROY_ON_ERROR")?.map_or(section.keep_on_error, |destroy| !destroy);
    let look_ready = environment::ready_interval()?.unwrap_or(options.look.1);
    let secret = secret_file(&data_dir.join("installation.key"), || {
        random::<32>().iter().map(|b| format!("{b:02x}")).collect()
    });
    let secret = secret.map_err(|e| data_problem(&data_dir, &e))?;
    let listener = bind(options.listen, "control plane").await?;
    let address = listener.local_addr().map_err(|e| data_problem(&data_dir, &e))?;
    let gateway_listener = match options.gateway_listen {
        Some(wanted) => Some(bind(wanted, "gateway").await?),
        None => None,
    };
    let gateway_url = gateway_listener.as_ref().and_then(|l| l.local_addr().ok()).map(|a| format!("http://{a}/v1"));
    let store = Arc::new(SqliteStore::open(&data_dir.join("charter.db")).await.map_err(|e| database_problem(&e))?);
    let fresh: String = new_key().chars().skip(4).filter(char::is_ascii_alphanumeric).take(8).collect::<String>().to_ascii_lowercase();
    let installation = store.installation(&fresh).await.map_err(|e| database_problem(&e))?;
    store.abandon_leases().await.map_err(|e| database_problem(&e))?;
    let admin_key = keys(&store, &data_dir).await?;
    let links = Links::default();
    let own = KeyPair::derive(secret.as_bytes(), "installation");
    let providers = section.providers.iter().map(|p| provider(p, &own, &links, &data_dir)).collect::<Result<Vec<_>, _>>()?;
    tracing::info!(key = own.public_line(), "machines without a `key-file` must let this key in");
    let gateway = gateway_listener.as_ref().map(|_| Gateway::new(links.clone(), Arc::new(now), prefix()));
    let gateways = Arc::new(Gateways::default());
    let parts = Parts {
        store: Arc::clone(&store) as Arc<dyn Store>,
        providers,
        clock: Arc::new(RealClock),
        ids: Arc::new(RealIds),
        secrets: Arc::new(RealSecrets),
        data_plane: Arc::new(Counters { own: gateway.clone(), others: Arc::clone(&gateways) }),
        links,
        installation,
        secret: secret.into_bytes(),
        settings: Settings { budgets, keep_on_error, logs: data_dir.join("logs"), look: (options.look.0, look_ready) },
    };
    let controller = Controller::new(parts);
    if let Err(error) = controller.publish().await {
        return Err(database_problem(&error));
    }
    let stop = CancellationToken::new();
    let releases = Releases::open(data_dir.join("newest-engine"));
    tokio::spawn(Arc::clone(&releases).refresh());
    let url = format!("http://{address}");
    let app = App {
        controller: controller.clone(),
        gateways,
        versions: releases,
        register: Arc::new(Asker),
        new_key: Arc::new(new_key),
        limits,
        url: url.clone(),
        gateway_url: gateway_url.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: prefix(),
        stop: stop.clone(),
    };
    serve_api(listener, app, stop.clone());
    let gateway = gateway.zip(gateway_listener).map(|(gateway, listener)| {
        let (routes, stop) = (controller.routes(), stop.clone());
        tokio::spawn(async move { gateway.serve(listener, routes, stop).await })
    });
    controller.start();
    let running = Running { url, gateway_url, admin_key, stop, controller, store, data_dir, gateway, _lock: lock };
    running.write_file()?;
    Ok(running)
}

fn serve_api(listener: TcpListener, app: App, stop: CancellationToken) {
    tokio::spawn(async move {
        let router = charter_web::router(app);
        let served = charter_web::serve(listener, router, stop).await;
        if let Err(error) = served {
            tracing::error!(%error, "the control plane stopped listening");
        }
    });
}

/// What begins the request ids of a gateway: different at every start.
fn prefix() -> String {
    random::<5>().iter().map(|b| format!("{b:02x}")).collect()
}

impl Running {
    fn write_file(&self) -> Result<(), Problem> {
        let file = ServerFile {
            pid: std::process::id(),
            url: self.url.clone(),
            gateway_url: self.gateway_url.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let path = server_file(&self.data_dir);
        let part = path.with_extension("part");
        let text = serde_json::to_string(&file).unwrap_or_default();
        std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &path)).map_err(|e| data_problem(&self.data_dir, &e))
    }

    /// Ends in order: no new requests, present ones finish, what was performed is recorded, the database is closed.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        if let Some(gateway) = self.gateway
            && gateway.await.is_err()
        {
            tracing::error!("the gateway ended with a panic");
        }
        self.controller.stop(STOP_PATIENCE).await;
        self.store.close().await;
        if let Err(error) = std::fs::remove_file(server_file(&self.data_dir)) {
            tracing::debug!(%error, "there was no server file");
        }
    }
}

fn refuse_open(address: SocketAddr, insecure: bool) -> Result<(), Problem> {
    if address.ip().is_loopback() || insecure {
        return Ok(());
    }
    let hint = "put a proxy with TLS in front and listen on loopback, or say `--insecure-listen`";
    Err(Problem::new(0, "A0009", format!("`{address}` can be reached from outside, and nothing would be encrypted"), hint))
}

/// `charter serve`.
pub(crate) async fn serve(global: &Global, args: Serve) -> Result<(), Problem> {
    refuse_open(args.listen, args.insecure_listen)?;
    let next = if args.listen.port() == 0 { 0 } else { args.listen.port().saturating_add(1) };
    let gateway = args.gateway_listen.unwrap_or_else(|| SocketAddr::new(args.listen.ip(), next));
    refuse_open(gateway, args.insecure_listen)?;
    let data_dir = config::data_dir(global)?;
    if let Some(database) = args.database.filter(|d| !d.is_empty()) {
        let hint = "leave `--database` out: SQLite in the data directory";
        return Err(Problem::new(0, "D0003", format!("this version cannot use the database `{}`", redacted(&database)), hint));
    }
    let options = Options {
        listen: args.listen,
        gateway_listen: (!args.no_gateway).then_some(gateway),
        data_dir,
        config: config::find(global, None),
        look: (Span::s(2), Span::s(60)),
    };
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|e| signal_problem(&e))?;
    let mut interrupted = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(|e| signal_problem(&e))?;
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

fn signal_problem(error: &std::io::Error) -> Problem {
    Problem::new(0, "A0010", "signals cannot be received", "this should not happen; restart the machine").with_detail(error.to_string())
}

/// A database address without what stands before its host.
fn redacted(url: &str) -> String {
    url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, rest)| format!("...@{rest}"))
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

/// `charter gateway`: takes its table from a control plane, and goes on with the last one while that is away.
pub(crate) async fn gateway(known: crate::local::Known, args: GatewayArgs) -> Result<(), Problem> {
    refuse_open(args.listen, args.insecure_listen)?;
    let listener = bind(args.listen, "gateway").await?;
    let address = listener.local_addr().map_err(|e| signal_problem(&e))?;
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|e| signal_problem(&e))?;
    let gateway = Gateway::new(Links::default(), Arc::new(now), prefix());
    let (tables, receiver) = watch::channel(Arc::new(RouteTable::default()));
    let stop = CancellationToken::new();
    tokio::spawn(follow(known, gateway.clone(), tables));
    let (serving, ended) = (gateway.clone(), stop.clone());
    let served = tokio::spawn(async move { serving.serve(listener, receiver, ended).await });
    writeln!(std::io::stdout(), "gateway: http://{address}/v1\nready").ok();
    std::io::stdout().flush().ok();
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stop.cancel();
    if served.await.is_err() {
        tracing::error!("the gateway ended with a panic");
    }
    Ok(())
}

/// Asks for newer tables for ever. Whatever goes wrong, the last table stays.
async fn follow(known: crate::local::Known, gateway: Gateway, tables: watch::Sender<Arc<RouteTable>>) {
    let id = prefix();
    let mut away = false;
    let mut epoch = String::new();
    loop {
        let stats = gateway.stats();
        let in_flight: serde_json::Map<_, _> = stats.in_flight.into_iter().map(|(id, n)| (id, n.into())).collect();
        let body = serde_json::json!({"id": id, "version": stats.version, "epoch": epoch, "in_flight": in_flight}).to_string();
        let url = format!("{}/api/v1/gateway/table", known.url);
        let answer = http::send(Method::POST, &url, Some(&known.key), Some(body), Duration::from_secs(20)).await;
        let table = match &answer {
            Ok(answer) if answer.status == 200 => serde_json::from_slice::<charter_web::Published>(&answer.body).ok(),
            _ => None,
        };
        match table {
            Some(published) => {
                if away {
                    tracing::info!("the control plane is back");
                }
                away = false;
                let changed = published.epoch != epoch || published.table.version != stats.version;
                epoch = published.epoch;
                if changed {
                    tables.send_replace(Arc::new(published.table));
                }
            }
            None => {
                if !away {
                    tracing::warn!("the control plane does not answer; going on with the last routes");
                }
                away = true;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}
