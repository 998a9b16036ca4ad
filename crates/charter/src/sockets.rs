//! Where a server listens: the control plane and the gateway, plain or with TLS; and beside TLS, for this computer alone, in plain
//! HTTP on loopback: what is asked from here need not know a certificate.

use crate::serve::{Options, signal_problem};
use charter_api::problem::Problem;
use charter_domain::routing::RouteTable;
use charter_gateway::{Door, Gateway};
use charter_web::App;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// What is spoken with a certificate.
#[derive(Clone)]
pub(crate) struct Tls(pub(crate) TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// A listener with its address.
struct Bound {
    listener: TcpListener,
    url: String,
}

async fn bound(address: SocketAddr, what: &str, scheme: &str) -> Result<Bound, Problem> {
    let listener = bind(address, what).await?;
    let address = listener.local_addr().map_err(|e| signal_problem(&e))?;
    Ok(Bound { listener, url: format!("{scheme}://{address}") })
}

/// All of them.
pub(crate) struct Sockets {
    control: Bound,
    gateway: Option<Bound>,
    /// The same for this computer, where the others speak TLS.
    control_here: Option<Bound>,
    at_gateway_here: Option<Bound>,
    tls: Option<TlsAcceptor>,
    /// The control plane's address.
    pub(crate) url: String,
    /// Where this computer's command line asks.
    pub(crate) local_url: String,
    /// The gateway's address, if it is here.
    pub(crate) gateway_url: Option<String>,
    /// Where this process asks it.
    pub(crate) gateway_here: Option<String>,
}

impl Sockets {
    /// Listens, before anything is begun.
    pub(crate) async fn bind(options: &Options) -> Result<Self, Problem> {
        let tls = options.tls.as_ref().map(|tls| tls.0.clone());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let control = bound(options.listen, "control plane", scheme).await?;
        let gateway = match options.gateway_listen {
            Some(wanted) => Some(bound(wanted, "gateway", scheme).await?),
            None => None,
        };
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let control_here = if tls.is_some() { Some(bound(here, "control plane", "http").await?) } else { None };
        let at_gateway_here = if tls.is_some() && gateway.is_some() { Some(bound(here, "gateway", "http").await?) } else { None };
        let v1 = |bound: &Bound| format!("{}/v1", bound.url);
        Ok(Self {
            url: control.url.clone(),
            local_url: control_here.as_ref().unwrap_or(&control).url.clone(),
            gateway_url: gateway.as_ref().map(v1),
            gateway_here: at_gateway_here.as_ref().or(gateway.as_ref()).map(v1),
            control,
            gateway,
            control_here,
            at_gateway_here,
            tls,
        })
    }

    /// Serves at all of them until `stop`; the gateway's task, and those of the control plane.
    pub(crate) fn serve(
        self,
        app: App,
        gateway: Option<Gateway>,
        routes: watch::Receiver<Arc<RouteTable>>,
        stop: &CancellationToken,
    ) -> (Option<JoinHandle<()>>, Vec<JoinHandle<()>>) {
        let Self { control, gateway: at, control_here, at_gateway_here, tls, .. } = self;
        let router = charter_web::router(app);
        let mut pages = vec![];
        if let Some(here) = control_here {
            let (router, stop) = (router.clone(), stop.clone());
            pages.push(tokio::spawn(async move { tell(charter_web::serve(here.listener, router, stop).await) }));
        }
        let (ended, spoken) = (stop.clone(), tls.clone());
        pages.push(tokio::spawn(async move {
            tell(match spoken {
                Some(tls) => charter_web::serve_encrypted(control.listener, tls, router, ended).await,
                None => charter_web::serve(control.listener, router, ended).await,
            });
        }));
        let (Some(gateway), Some(at), stop) = (gateway, at, stop.clone()) else { return (None, pages) };
        let here = at_gateway_here.map(|here| Door { listener: here.listener, tls: None });
        let doors = std::iter::once(Door { listener: at.listener, tls }).chain(here).collect();
        (Some(tokio::spawn(async move { gateway.serve_at(doors, routes, stop).await })), pages)
    }
}

fn tell(served: std::io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(%error, "the control plane stopped listening");
    }
}

pub(crate) async fn bind(address: SocketAddr, what: &str) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|e| {
        let message = format!("the {what} cannot listen on `{address}`");
        Problem::new(0, "A0008", message, "end what listens there, or choose another address: `--listen`, `--gateway-listen`, or `CHARTER_LISTEN` for a server that `up` starts")
            .with_detail(e.to_string())
    })
}

pub(crate) fn refuse_open(address: SocketAddr, insecure: bool) -> Result<(), Problem> {
    if address.ip().is_loopback() || insecure {
        return Ok(());
    }
    let hint = "give it a certificate: `--tls-cert FILE --tls-key FILE`; or listen on loopback behind a proxy; or say `--insecure-listen`";
    Err(Problem::new(0, "A0009", format!("`{address}` can be reached from outside, and nothing would be encrypted"), hint))
}
