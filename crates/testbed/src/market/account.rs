//! The account's side: keys, credit, bills.

use super::Market;
use super::host::micros_usd;
use super::routes::{ok, plain, read, unknown};
use super::state::{AccountKey, refusal};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

pub(super) async fn keys_of(State(market): State<Market>, Path(id): Path<u64>) -> Response {
    let keys = market.state().alive(id).map(|c| c.keys.clone());
    let Some(keys) = keys else { return unknown(id) };
    let keys: Vec<Value> = keys.into_iter().map(|(id, line)| json!({"id": id, "key": line})).collect();
    ok(&json!({"success": true, "ssh_keys": keys}))
}

pub(super) async fn attach(State(market): State<Market>, Path(id): Path<u64>, body: Bytes) -> Response {
    let line = read(&body).get("ssh_key").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !line.starts_with("ssh-") {
        return plain(refusal(400, "invalid_args", "error 400: invalid ssh key"));
    }
    let made = {
        let mut state = market.state();
        state.next_key += 1;
        let number = state.next_key;
        let Some(contract) = state.alive(id) else { return unknown(id) };
        contract.keys.push((number, line.clone()));
        json!({"id": number, "public_key": line})
    };
    market.attach(id, line);
    ok(&json!({"success": true, "msg": "SSH key added to instance.", "key": made.to_string()}))
}

pub(super) async fn detach(State(market): State<Market>, Path((id, key)): Path<(u64, u64)>) -> Response {
    let mut state = market.state();
    let Some(contract) = state.alive(id) else { return unknown(id) };
    contract.keys.retain(|(number, _)| *number != key);
    ok(&json!({"success": true, "msg": "SSH key removed from instance."}))
}

pub(super) async fn account_keys(State(market): State<Market>) -> Response {
    let keys = market.state().keys.clone();
    if keys.is_empty() {
        return plain(refusal(404, "not_found", "No SSH keys found for the user."));
    }
    let rows: Vec<Value> = keys
        .iter()
        .map(|k| json!({"id": k.id, "user_id": 1, "key": k.line, "created_at": "2026-01-01", "deleted_at": null}))
        .collect();
    ok(&Value::Array(rows))
}

pub(super) async fn add_account_key(State(market): State<Market>, body: Bytes) -> Response {
    let line = read(&body).get("ssh_key").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut state = market.state();
    state.next_key += 1;
    let id = state.next_key;
    state.keys.push(AccountKey { id, line });
    ok(&json!({"success": true, "key": {"id": id}}))
}

pub(super) async fn remove_account_key(State(market): State<Market>, Path(id): Path<u64>) -> Response {
    market.state().keys.retain(|k| k.id != id);
    ok(&json!({"success": true}))
}

pub(super) async fn user(State(market): State<Market>) -> Response {
    let (credit, seed) = {
        let state = market.state();
        (micros_usd(state.credit_micros()), state.settings.seed)
    };
    ok(
        &json!({"id": seed, "email": "you@example.org", "username": "you", "fullname": "You", "credit": credit, "balance": 0.0, "ssh_key": "", "sid": "s", "key_id": 1,
        "host_agreement_accepted": false, "balance_threshold": 3.0, "balance_threshold_enabled": false, "billed_expected": 0.0, "billed_verified": 0.0,
        "billing_creditonly": 1, "can_pay": true, "has_billing": true, "has_payout": false, "got_signup_credit": 0, "email_verified": true, "api_key": market.key()}),
    )
}

/// One row per contract: what it has cost so far.
fn bills(market: &Market) -> Vec<Value> {
    let state = market.state();
    let now = state.now_ms();
    let rows = state.contracts.values().map(|c| {
        let end = c.destroyed_ms.unwrap_or(now) / 1000;
        json!({"start": c.created_ms / 1000, "end": end, "type": "instance", "source": format!("instance-{}", c.id), "description": c.host.card().0,
            "amount": micros_usd(c.cost_micros(now)), "metadata": {"label": c.wish.label, "template_id": null, "endpoint_id": null, "workergroup_id": null},
            "items": [{"type": "gpu", "description": format!("GPU at ${}/hour", micros_usd(c.gpu_micros)), "amount": micros_usd(c.cost_micros(now))}]})
    });
    rows.collect()
}

fn envelope(rows: &[Value]) -> Value {
    json!({"success": true, "count": rows.len(), "total": rows.len(), "next_token": null, "results": rows})
}

pub(super) async fn charges(State(market): State<Market>) -> Response {
    ok(&envelope(&bills(&market)))
}

pub(super) async fn invoices(State(market): State<Market>) -> Response {
    let paid = micros_usd(market.state().settings.balance_micros);
    let row = json!({"start": 0, "end": 0, "type": "credit", "source": "stripe", "description": "credit", "amount": -paid, "metadata": {}, "items": []});
    ok(&envelope(&[row]))
}

pub(super) async fn invoices_old(State(market): State<Market>) -> Response {
    let rows: Vec<Value> = bills(&market)
        .into_iter()
        .map(|b| json!({"type": "charge", "description": b["description"], "amount": b["amount"], "quantity": 1.0, "rate": b["amount"], "timestamp": b["start"], "instance_id": b["source"]}))
        .collect();
    let credit = micros_usd(market.state().credit_micros());
    ok(&json!({"invoices": rows, "current": {"charges": 0.0, "service_fee": 0.0, "total": 0.0, "credit": credit}}))
}
