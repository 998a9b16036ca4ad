//! The HTTP side: paths, shapes and statuses as the service has them.

use super::account::{
    account_keys, add_account_key, attach, charges, detach, invoices, invoices_old, keys_of, remove_account_key, user,
};
use super::contract::Wish;
use super::fault::Fault;
use super::query;
use super::state::{Refusal, refusal};
use super::{Faults, Market};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Marks an answer that never arrives: the connection is cut instead.
#[derive(Clone)]
struct Cut;

/// Serves until the end.
pub(super) async fn serve(listener: TcpListener, market: Market, ended: CancellationToken) {
    let router = router(market);
    loop {
        let accepted = tokio::select! {
            () = ended.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else { continue };
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let (service, ended) = (TowerToHyperService::new(router.clone()), ended.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = hyper::service::Service::call(&service, request.map(Body::new));
                async move {
                    let Ok(response) = answer.await;
                    let cut = response.extensions().get::<Cut>().is_some();
                    if cut { Err(std::io::Error::other("cut")) } else { Ok(response) }
                }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                result = connection => tracing::trace!(?result, "a connection ended"),
                () = ended.cancelled() => {}
            }
        });
    }
}

fn router(market: Market) -> Router {
    Router::new()
        .route("/api/v0/bundles/", post(search).get(search_get))
        .route("/api/v0/search/asks/", put(search_new))
        .route("/api/v0/asks/bulk/", post(rent_many))
        .route("/api/v0/asks/{id}/", put(rent))
        .route("/api/v1/instances/", get(list))
        .route("/api/v0/instances/", get(deprecated).put(change_many).delete(destroy_many))
        .route("/api/v0/instances", get(deprecated))
        .route("/api/v0/instances/filters/", get(filters))
        .route("/api/v0/instances/{id}/", get(show).put(change).delete(destroy))
        .route("/api/v0/instances/reboot/{id}/", put(touch))
        .route("/api/v0/instances/recycle/{id}/", put(touch))
        .route("/api/v0/instances/bid_price/{id}/", put(bid))
        .route("/api/v0/instances/update_template/{id}/", put(touch))
        .route("/api/v0/instances/request_logs/{id}/", put(logs))
        .route("/api/v0/instances/command/{id}/", put(logs))
        .route("/api/v0/instances/balance/{id}/", get(|| async { axum::Json(json!({"deposit": 0})) }))
        .route("/api/v0/instances/{id}/ssh/", get(keys_of).post(attach))
        .route("/api/v0/instances/{id}/ssh/{key}/", axum::routing::delete(detach))
        .route("/api/v0/ssh/", get(account_keys).post(add_account_key))
        .route("/api/v0/ssh/{id}/", axum::routing::delete(remove_account_key))
        .route("/api/v0/users/current", get(user))
        .route("/api/v0/users/current/", get(user))
        .route("/api/v0/users/me/invoices", get(invoices_old))
        .route("/api/v0/charges/", get(charges))
        .route("/api/v1/invoices/", get(invoices))
        .route("/api/v0/auth/apikeys/", get(|| async { axum::Json(json!({"apikeys": [], "success": true})) }))
        .route("/testbed/ledger", get(|State(market): State<Market>| async move { axum::Json(market.ledger()) }))
        .route("/testbed/faults", put(set_faults))
        .fallback(any(|| async { plain(refusal(404, "not_found", "no such route")) }))
        .layer(axum::middleware::from_fn_with_state(market.clone(), gate))
        // Open, as with the real service: the catalogue, and logs under names that cannot be guessed.
        .route("/api/v0/gpu_names/unique/", get(names))
        .route("/logs/{name}", get(log))
        .with_state(market)
}

/// The account's key, the pauses between calls, and the faults of the service as a whole.
async fn gate(State(market): State<Market>, request: Request<Body>, next: axum::middleware::Next) -> Response {
    let shown =
        request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let single =
        request.uri().path().strip_prefix("/api/v0/instances/").and_then(|p| p.trim_end_matches('/').parse::<u64>().ok());
    let own = single.is_some_and(|id| shown == Some(market.instance_key(id).as_str()));
    if own && [Method::GET, Method::DELETE].contains(request.method()) {
        return next.run(request).await;
    }
    if shown != Some(market.key()) {
        return plain(refusal(404, "auth_error", "Invalid user key"));
    }
    let path = request.uri().path().to_owned();
    if path.starts_with("/testbed/") {
        return next.run(request).await;
    }
    market.out_of_credit().await;
    let (endpoint, pause_ms) = pace(request.method(), &path);
    let order = endpoint == "create";
    let trouble = {
        let mut state = market.state();
        if state.is_too_soon(endpoint, pause_ms) || state.strikes(Fault::RateLimit) {
            Some(state.too_often(&format!("{}.{}", pause_ms / 1000, pause_ms % 1000 / 100)))
        } else if state.strikes(Fault::Html) {
            Some((502, "<html><head><title>502 Bad Gateway</title></head></html>".to_owned(), "text/html"))
        } else if state.strikes(Fault::ServerError) {
            Some((503, r#"{"success":false,"error":"server_error","msg":"upstream"}"#.to_owned(), "application/json"))
        } else {
            None
        }
    };
    if let Some((status, body, kind)) = trouble {
        return answer(status, kind, body);
    }
    let mut response = next.run(request).await;
    if order && response.status() == StatusCode::OK {
        let slow = market.state().strikes(Fault::SlowOrder);
        if slow {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        }
        let mut state = market.state();
        if state.strikes(Fault::CutOrder) {
            response.extensions_mut().insert(Cut);
        } else if state.strikes(Fault::LostOrder) {
            return answer(504, "text/html", "<html>gateway timeout</html>".to_owned());
        }
    }
    response
}

/// Which pause holds for a call.
fn pace(method: &Method, path: &str) -> (&'static str, u64) {
    let single = path.starts_with("/api/v0/instances/")
        && path.trim_start_matches("/api/v0/instances/").trim_end_matches('/').parse::<u64>().is_ok();
    match method.as_str() {
        "PUT" if path.starts_with("/api/v0/asks/") => ("create", 4500),
        "DELETE" if single => ("destroy", 3000),
        "GET" if single => ("read", 2000),
        "PUT" if path.contains("/bid_price/") => ("bid", 5500),
        "GET" if path.starts_with("/api/v1/instances/") => ("list", 1000),
        _ if path.contains("/bundles/") || path.contains("/search/") => ("search", 500),
        _ => ("other", 0),
    }
}

fn answer(status: u16, kind: &'static str, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

pub(super) fn plain((status, body): Refusal) -> Response {
    answer(status, "application/json", body.to_string())
}

pub(super) fn ok(body: &Value) -> Response {
    answer(200, "application/json", body.to_string())
}

pub(super) fn read(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn found(market: &Market, query: &Value) -> Response {
    let mut state = market.state();
    if state.strikes(Fault::NoStock) {
        return ok(&json!({"offers": []}));
    }
    let gb = query.get("allocated_storage").and_then(Value::as_f64).and_then(|n| format!("{n:.0}").parse().ok()).unwrap_or(8);
    let rows = state.hosts.iter().map(|host| host.offer(gb)).collect();
    match query::search(query, rows) {
        Ok(offers) => ok(&json!({"offers": offers})),
        Err(why) => plain(refusal(400, "bad_request", &why)),
    }
}

async fn search(State(market): State<Market>, body: Bytes) -> Response {
    // The older form asks for what is free and verified unless it is told otherwise.
    let mut query = read(&body);
    for (name, default) in [("verified", true), ("rentable", true), ("rented", false)] {
        if query.is_object() && query.get(name).is_none() {
            query[name] = json!({"eq": default});
        }
    }
    found(&market, &query)
}

async fn search_get(State(market): State<Market>, Query(parts): Query<HashMap<String, String>>) -> Response {
    let query = parts.get("q").and_then(|q| serde_json::from_str(q).ok()).unwrap_or_default();
    found(&market, &query)
}

async fn search_new(State(market): State<Market>, body: Bytes) -> Response {
    found(&market, read(&body).get("q").unwrap_or(&Value::Null))
}

fn wish(body: &Value) -> Wish {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let env = body.get("env").and_then(Value::as_object).cloned().unwrap_or_default();
    let micros = |value: &Value| format!("{:.0}", value.as_f64()? * 1_000_000.0).parse().ok();
    Wish {
        image: text("image"),
        runtype: text("runtype"),
        onstart: text("onstart"),
        disk_gb: body.get("disk").and_then(Value::as_f64).and_then(|n| format!("{n:.0}").parse().ok()).unwrap_or(10),
        label: body.get("label").and_then(Value::as_str).map(str::to_owned),
        bid_micros: body.get("price").and_then(micros),
        env: env.into_iter().map(|(k, v)| (k, v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect(),
        args: body
            .get("args")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    }
}

async fn rent(State(market): State<Market>, Path(ask): Path<u64>, body: Bytes) -> Response {
    let rented = market.state().rent(ask, wish(&read(&body)));
    match rented {
        Ok(id) => {
            market.booting(id);
            ok(&json!({"success": true, "new_contract": id, "instance_api_key": "testbed-secret"}))
        }
        Err(refused) => plain(refused),
    }
}

async fn rent_many(State(market): State<Market>, body: Bytes) -> Response {
    let body = read(&body);
    let asks: Vec<u64> = body.get("ids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64).collect();
    let mut made = vec![];
    for ask in asks {
        let rented = market.state().rent(ask, wish(&body));
        if let Ok(id) = rented {
            market.booting(id);
            made.push(id);
        }
    }
    ok(&json!({"success": !made.is_empty(), "new_contracts": made}))
}

async fn deprecated() -> Response {
    plain(refusal(410, "deprecated_endpoint", "/api/v0/instances/ is deprecated. Use /api/v1/instances/ instead."))
}

async fn filters(State(market): State<Market>) -> Response {
    let state = market.state();
    let now = state.now_ms();
    let alive = state.contracts.values().filter(|c| c.destroyed_ms.is_none());
    let rows: Vec<Value> = alive
        .map(|c| json!({"actual_status": c.status(now).0, "verification": "verified", "gpu_name": c.host.card().0}))
        .collect();
    ok(&json!({"filters": rows}))
}

async fn list(State(market): State<Market>, Query(parts): Query<HashMap<String, String>>) -> Response {
    let mut state = market.state();
    let now = state.now_ms();
    if state.strikes(Fault::EmptyList) {
        return ok(
            &json!({"success": true, "instances_found": 0, "total_instances": 0, "label_counts": {}, "next_token": null, "instances": []}),
        );
    }
    let short = state.strikes(Fault::ShortList);
    let filter: Value = parts.get("select_filters").and_then(|f| serde_json::from_str(f).ok()).unwrap_or_default();
    let rows = state.contracts.values().filter(|c| c.destroyed_ms.is_none() && c.listed_ms <= now);
    let mut rows: Vec<Value> = rows.map(|c| c.row(now)).collect();
    for row in &mut rows {
        for name in ["start_date", "extra_env", "label", "actual_status", "ports"] {
            // Whoever lists reads these without asking whether they are there.
            if row.get(name).is_none() {
                row[name] = match name {
                    "start_date" => json!(0.0),
                    "extra_env" => json!([]),
                    "ports" => json!({}),
                    _ => Value::Null,
                };
            }
        }
        row["label"] = state.contracts.get(&row["id"].as_u64().unwrap_or(0)).map_or(Value::Null, |c| json!(c.wish.label));
    }
    for (name, demand) in filter.as_object().into_iter().flatten() {
        rows.retain(|row| query::meets(name, row.get(name).unwrap_or(&Value::Null), demand).unwrap_or(false));
    }
    let total = rows.len();
    let after: u64 = parts.get("after_token").and_then(|t| t.parse().ok()).unwrap_or(0);
    rows.retain(|row| row["id"].as_u64().unwrap_or(0) > after);
    let limit = parts.get("limit").and_then(|l| l.parse::<usize>().ok()).filter(|n| *n > 0).unwrap_or(5).min(25);
    let more = rows.len() > limit;
    rows.truncate(limit);
    if short && !rows.is_empty() {
        rows.pop();
    }
    let next = rows.last().filter(|_| more).map(|row| row["id"].to_string());
    let mut labels = serde_json::Map::new();
    for row in &rows {
        let label = row["label"].as_str().unwrap_or_default().to_owned();
        let count = labels.get(&label).and_then(Value::as_u64).unwrap_or(0);
        labels.insert(label, json!(count + 1));
    }
    ok(
        &json!({"success": true, "instances_found": rows.len(), "total_instances": total, "label_counts": labels, "next_token": next, "instances": rows}),
    )
}

async fn show(State(market): State<Market>, Path(id): Path<u64>) -> Response {
    let mut state = market.state();
    let now = state.now_ms();
    let row = state.alive(id).map(|c| c.row(now));
    ok(&json!({"instances": row}))
}

pub(super) fn unknown(id: u64) -> Response {
    plain(refusal(404, "no_such_instance", &format!("Instance {id} not found.")))
}

async fn change(State(market): State<Market>, Path(id): Path<u64>, body: Bytes) -> Response {
    change_one(&market, id, &read(&body)).await
}

async fn change_one(market: &Market, id: u64, body: &Value) -> Response {
    if market.state().alive(id).is_none() {
        return unknown(id);
    }
    if let Some(label) = body.get("label") {
        if let Some(contract) = market.state().alive(id) {
            contract.wish.label = label.as_str().map(str::to_owned);
        }
        return ok(&json!({"success": true}));
    }
    match body.get("state").and_then(Value::as_str) {
        Some("stopped") => market.stop(id).await,
        Some("running") => {
            let wait = {
                let mut state = market.state();
                let now = state.now_ms();
                let Some(contract) = state.alive(id) else { return unknown(id) };
                (contract.stopped_ms, contract.created_ms) = (None, now);
                contract.boot_ms
            };
            tracing::debug!(wait, "started again");
            market.booting(id);
        }
        _ => return plain(refusal(400, "invalid_args", "state: Input should be 'running' or 'stopped'")),
    }
    ok(&json!({"success": true}))
}

async fn change_many(State(market): State<Market>, body: Bytes) -> Response {
    let body = read(&body);
    for id in body.get("ids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64) {
        change_one(&market, id, &json!({"state": body["state"]})).await;
    }
    ok(&json!({"success": true}))
}

async fn touch(State(market): State<Market>, Path(id): Path<u64>) -> Response {
    let known = market.state().alive(id).is_some();
    if known { ok(&json!({"success": true})) } else { unknown(id) }
}

async fn bid(State(market): State<Market>, Path(id): Path<u64>, body: Bytes) -> Response {
    let price =
        read(&body).get("price").and_then(Value::as_f64).and_then(|n| format!("{:.0}", n * 1_000_000.0).parse::<u64>().ok());
    let mut state = market.state();
    let Some(contract) = state.alive(id) else { return unknown(id) };
    contract.gpu_micros = price.unwrap_or(contract.gpu_micros);
    contract.wish.bid_micros = price;
    ok(&json!({"success": true}))
}

async fn destroy(State(market): State<Market>, Path(id): Path<u64>) -> Response {
    if !market.state().destroy(id) {
        return unknown(id);
    }
    market.power_off(id).await;
    ok(&json!({"success": true}))
}

async fn destroy_many(State(market): State<Market>, body: Bytes) -> Response {
    for id in read(&body).get("instance_ids").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64) {
        if market.state().destroy(id) {
            market.power_off(id).await;
        }
    }
    ok(&json!({"success": true}))
}

/// Logs come in two steps: a name that cannot be guessed, and under it the text.
async fn logs(State(market): State<Market>, Path(id): Path<u64>, body: Bytes) -> Response {
    let tail = read(&body).get("tail").and_then(Value::as_str).and_then(|t| t.parse::<usize>().ok()).unwrap_or(1000);
    let Some(folder) = market.state().alive(id).map(|_| market.0.folder.join(id.to_string())) else { return unknown(id) };
    let mut text = String::from("testbed: the container runs\n");
    for log in walk(&folder.join(".charter")) {
        text.push_str(&tokio::fs::read_to_string(&log).await.unwrap_or_default());
    }
    let lines: Vec<&str> = text.lines().collect();
    let text = lines[lines.len().saturating_sub(tail)..].join("\n");
    let mut state = market.state();
    let name = format!("{:016x}{:016x}.log", state.chance.next(), id);
    state.logs.insert(name.clone(), text);
    ok(&json!({"success": true, "result_url": format!("{}/logs/{name}", market.url()), "msg": "uploading"}))
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(walk(&path));
        } else if path.file_name().is_some_and(|n| n.to_string_lossy().contains("log")) {
            all.push(path);
        }
    }
    all.sort();
    all
}

async fn log(State(market): State<Market>, Path(name): Path<String>) -> Response {
    let text = market.state().logs.get(&name).cloned();
    text.map_or_else(|| answer(404, "text/plain", String::new()), |text| answer(200, "text/plain", text))
}

async fn names(State(market): State<Market>) -> Response {
    let mut names: Vec<&str> = market.state().hosts.iter().map(|h| h.card().0).collect();
    names.sort_unstable();
    names.dedup();
    ok(&json!({"gpu_names": names}))
}

async fn set_faults(State(market): State<Market>, _: HeaderMap, body: Bytes) -> Response {
    match Faults::parse(&String::from_utf8_lossy(&body)) {
        Ok(faults) => {
            market.set_faults(faults);
            ok(&json!({"success": true}))
        }
        Err(why) => plain(refusal(400, "invalid_args", &why)),
    }
}
