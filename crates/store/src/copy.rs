//! Copies: everything of one database into another, of whichever kind each is. Backups are SQLite files, so a backup of
//! PostgreSQL can be restored into either.

use crate::connection::{Connection, Row, Value, values};
use crate::database::{Database, EPOCH};
use crate::persist;
use crate::port::Error;
use crate::{rows, sql};
use charter_domain::sweep::{ATTEMPTS_LEFT_OUT, Restored};
use charter_domain::time::Time;

/// A table: how it is read, written and emptied, and which of its columns are texts (`t`) and which are numbers (`i`).
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) read: &'static str,
    write: &'static str,
    empty: &'static str,
    pub(crate) kinds: &'static str,
}

macro_rules! table {
    ($name:literal, $columns:literal, $marks:literal, $kinds:literal) => {
        Table {
            name: $name,
            read: concat!("SELECT ", $columns, " FROM ", $name),
            write: concat!("INSERT INTO ", $name, " (", $columns, ") VALUES (", $marks, ")"),
            empty: concat!("DELETE FROM ", $name),
            kinds: $kinds,
        }
    };
}

/// In the order in which they can be written; emptied in the opposite one. Control planes are left out: they are processes.
pub(crate) const TABLES: &[Table] = &[
    table!("meta", "name, value", "$1, $2", "tt"),
    table!("deployments", "id, name, version, created_at, state", "$1, $2, $3, $4, $5", "ttiit"),
    table!("replicas", "id, deployment_id, generation, phase, wake_at, version, state", "$1, $2, $3, $4, $5, $6, $7", "ttitiit"),
    table!(
        "intents",
        "id, replica_id, kind, due_at, attempts, started_at, lease_owner, lease_until, fence, effect",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10",
        "tttiiitiit"
    ),
    table!(
        "reservations",
        "replica_id, deployment_id, tenant, price_usd_micros_per_hour, from_at, until_at",
        "$1, $2, $3, $4, $5, $6",
        "tttiii"
    ),
    table!("facts", "seq, at, deployment_id, replica_id, text", "$1, $2, $3, $4, $5", "iittt"),
    table!(
        "keys",
        "id, name, sha256, prefix, role, routes, created_at, expires_at, tenant, limits",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10",
        "ttttttiitt"
    ),
    table!(
        "backends",
        "id, name, base_url, upstream_model, served_names, max_concurrent, created_at",
        "$1, $2, $3, $4, $5, $6, $7",
        "tttttii"
    ),
    table!("gateways", "id, first_seen_at", "$1, $2", "ti"),
    table!(
        "spend",
        "seq, deployment_id, replica_id, instance, from_at, until_at, amount_usd_micros, tenant",
        "$1, $2, $3, $4, $5, $6, $7, $8",
        "itttiiit"
    ),
    table!("host_failures", "provider, host, class, count, weight, last_at", "$1, $2, $3, $4, $5, $6", "tttiii"),
    table!("host_speeds", "provider, host, mbps, at", "$1, $2, $3, $4", "ttii"),
    table!("routes", "name, route", "$1, $2", "tt"),
    table!("usage_batches", "id, first_at, last_at, requests", "$1, $2, $3, $4", "tiit"),
    table!(
        "usage_totals",
        "key_id, tenant, model, backend_group, day, requests, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, busy_ms, cost_usd_micros, rent_usd_micros, saved_usd_micros",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14",
        "ttttiiiiiiiiii"
    ),
    table!("draws", "key_id, day, drawn_usd_micros", "$1, $2, $3", "tii"),
    table!("tombstones", "provider, instance, tag, gone_at", "$1, $2, $3, $4", "ttti"),
];

pub(crate) fn cells(row: &Row, kinds: &str) -> Vec<Value> {
    let cell = |(at, kind): (usize, char)| match kind {
        'i' => Value::from(row.opt_int(at)),
        _ => Value::from(row.opt_text(at)),
    };
    kinds.chars().enumerate().map(cell).collect()
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Rows of all tables.
    pub rows: u64,
    /// Deployments among them.
    pub deployments: u64,
}

/// What is done with a copy before anybody else sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The same installation goes on elsewhere, and nothing has happened in between.
    Move,
    /// The installation goes back to an earlier time.
    Restore {
        /// When the copy was made.
        backup_at: Time,
        /// Now.
        now: Time,
    },
}

/// Copies everything. What is in `to` before is gone afterwards; it is all or nothing. `epoch` must be a new one.
///
/// # Errors
/// What either database says.
pub async fn copy(from: &Database, to: &Database, purpose: Purpose, epoch: &str) -> Result<Copied, Error> {
    let mut copied = Copied::default();
    let all = from.snapshot(TABLES.iter().map(|t| t.read)).await?;
    let mut writing = to.rewrite().await?;
    let mut c = writing.connection();
    for table in TABLES.iter().rev() {
        c.run(table.empty, vec![]).await?;
    }
    for (table, rows) in TABLES.iter().zip(&all) {
        for row in rows {
            c.run(table.write, cells(row, table.kinds)).await?;
        }
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        copied.rows += count;
        if table.name == "deployments" {
            copied.deployments = count;
        }
    }
    // Another life begins: who knew the last one writes nothing any more.
    c.run(sql::META_PUT, values!["pulse", "0"]).await?;
    c.run(sql::META_PUT, values![EPOCH, epoch]).await?;
    if let Connection::Postgres(_) = c {
        c.rows(sql::FACTS_NEXT, vec![]).await?;
        c.rows(sql::SPEND_NEXT, vec![]).await?;
    }
    if let Purpose::Restore { backup_at, now } = purpose {
        go_back(&mut c, backup_at, now).await?;
    }
    // Leases were given to processes of another time.
    c.run(sql::LEASES_ABANDON, values![""]).await?;
    writing.commit().await?;
    to.lives(epoch.to_owned());
    Ok(copied)
}

/// What was done after the copy is in no record: an effect that may happen once may have happened, and numbers that a later
/// process may have used are left out.
async fn go_back(c: &mut Connection<'_>, backup_at: Time, now: Time) -> Result<(), Error> {
    c.run(sql::ONCE_MAY_HAVE_BEGUN, values![now.0]).await?;
    let mut restored = Restored { backup_at, restored_at: now, ..Restored::default() };
    for row in c.rows(sql::REPLICAS_OPEN, vec![]).await? {
        let (row, wake_at) = rows::replica(&row)?;
        let mut state = row.state;
        let name = state.id.0.trim_start_matches(charter_domain::ids::ReplicaId::PREFIX).to_owned();
        restored.open.insert(name, state.attempt);
        state.attempt = state.attempt.saturating_add(ATTEMPTS_LEFT_OUT);
        state.left_out = state.left_out.saturating_add(ATTEMPTS_LEFT_OUT);
        let (phase, text) = (state.phase.name(), persist::write(&state)?);
        c.run(sql::REPLICA_SET, values![state.id.0, row.version, phase, wake_at.map(|t| t.0), text]).await?;
    }
    let text = serde_json::to_string(&restored).map_err(|e| Error::Corrupt(e.to_string()))?;
    c.run(sql::META_REMOVE, values!["restored"]).await?;
    c.run(sql::META_ADD, values!["restored", text]).await?;
    Ok(())
}
