//! A gateway in a process of its own: it takes its table from a control plane, and goes on with the last one.

use crate::cli::Gateway as GatewayArgs;
use crate::http;
use crate::ports::now;
use crate::serve::{bind, prefix, refuse_open, signal_problem};
use charter_api::problem::Problem;
use charter_domain::routing::RouteTable;
use charter_gateway::Gateway;
use charter_remote::Links;
use hyper::Method;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// `charter gateway`: takes its table from a control plane, and goes on with the last one while that is away.
pub(crate) async fn gateway(known: crate::local::Known, args: GatewayArgs) -> Result<(), Problem> {
    refuse_open(args.listen, args.insecure_listen)?;
    let listener = bind(args.listen, "gateway").await?;
    let address = listener.local_addr().map_err(|e| signal_problem(&e))?;
    let mut terminated =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(|e| signal_problem(&e))?;
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
