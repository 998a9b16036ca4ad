//! Rows as they are read, and what one commit writes.

use crate::connection::{Connection, Row, values};
use crate::port::{
    BackendRow, Commit, ControlPlane, Error, KeyRow, Logged, NewIntent, ReplicaWrite, Role, StoredIntent, Tombstone, Versioned,
    Write,
};
use crate::{persist, sql};
use charter_domain::deployment::Deployment;
use charter_domain::fact::Fact;
use charter_domain::host_memory::{HostFailure, HostRecord, HostSpeed};
use charter_domain::ids::{BackendId, DeploymentId, IntentId, KeyId, ReplicaId};
use charter_domain::intent::Intent;
use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::replica::Replica;
use charter_domain::reservation::{Asked, Reservation, Spend, Whose, admit, part, whose};
use charter_domain::sweep::TOMBSTONE_KEPT;
use charter_domain::time::Time;

pub(crate) fn deployment(row: &Row) -> Result<Versioned<Deployment>, Error> {
    Ok(Versioned { version: row.uint(0), state: persist::read(&row.text(1))? })
}

pub(crate) fn replica(row: &Row) -> Result<(Versioned<Replica>, Option<Time>), Error> {
    Ok((Versioned { version: row.uint(0), state: persist::read(&row.text(2))? }, row.opt_int(1).map(Time)))
}

pub(crate) fn intent(row: &Row) -> Result<StoredIntent, Error> {
    let intent = Intent {
        id: IntentId(row.text(0)),
        replica: ReplicaId(row.text(1)),
        due_at: Time(row.int(2)),
        effect: persist::read(&row.text(7))?,
    };
    Ok(StoredIntent {
        intent,
        attempts: row.count(3),
        started_at: row.opt_int(4).map(Time),
        lease_until: row.opt_int(5).map(Time),
        fence: row.uint(6),
    })
}

pub(crate) fn reservation(row: &Row) -> Reservation {
    Reservation {
        replica: ReplicaId(row.text(0)),
        deployment: DeploymentId(row.text(1)),
        tenant: row.text(2),
        price: UsdPerHour(row.int(3)),
        from: Time(row.int(4)),
        until: Time(row.int(5)),
    }
}

pub(crate) fn host(row: &Row) -> HostRecord {
    HostRecord {
        provider: row.text(0),
        host: row.text(1),
        class: row.text(2),
        count: row.count(3),
        weight: row.count(4),
        last_at: Time(row.int(5)),
    }
}

pub(crate) fn host_speed(row: &Row) -> HostSpeed {
    HostSpeed { provider: row.text(0), host: row.text(1), mbps: row.count(2), at: Time(row.int(3)) }
}

pub(crate) fn fact(row: &Row) -> Fact {
    Fact {
        at: Time(row.int(0)),
        deployment: DeploymentId(row.text(1)),
        replica: row.opt_text(2).map(ReplicaId),
        text: row.text(3),
    }
}

pub(crate) fn logged(row: &Row) -> Logged {
    Logged { seq: row.uint(4), fact: fact(row) }
}

pub(crate) fn key(row: &Row) -> Result<KeyRow, Error> {
    let role = row.text(4);
    Ok(KeyRow {
        id: KeyId(row.text(0)),
        name: row.text(1),
        sha256: row.text(2),
        prefix: row.text(3),
        role: Role::parse(&role).ok_or_else(|| Error::Corrupt(format!("role `{role}`")))?,
        routes: persist::read(&row.text(5))?,
        created_at: Time(row.int(6)),
        expires_at: row.opt_int(7).map(Time),
        tenant: row.text(8),
        limits: persist::read(&row.text(9))?,
    })
}

pub(crate) fn backend(row: &Row) -> Result<BackendRow, Error> {
    Ok(BackendRow {
        id: BackendId(row.text(0)),
        name: row.text(1),
        base_url: row.text(2),
        upstream_model: row.opt_text(3),
        served_names: persist::read(&row.text(4))?,
        max_concurrent: row.count(5),
        created_at: Time(row.int(6)),
    })
}

pub(crate) fn control_plane(row: &Row) -> ControlPlane {
    ControlPlane { id: row.text(0), seen_at: Time(row.int(1)), report: row.text(2) }
}

pub(crate) fn tombstone(row: &Row) -> Tombstone {
    Tombstone { provider: row.text(0), instance: row.text(1), tag: row.text(2), gone_at: Time(row.int(3)) }
}

async fn write_deployment(c: &mut Connection<'_>, write: Write<Deployment>) -> Result<(), Error> {
    let (id, state) = (write.state.id.0.clone(), persist::write(&write.state)?);
    let changed = if write.expected == 0 {
        c.run(sql::DEPLOYMENT_ADD, values![id, write.state.name, write.state.created_at.0, state]).await?
    } else {
        c.run(sql::DEPLOYMENT_SET, values![id, write.expected, state]).await?
    };
    match changed {
        1 => Ok(()),
        _ if write.expected == 0 => Err(Error::NameTaken),
        _ => Err(Error::Conflict),
    }
}

async fn write_replica(c: &mut Connection<'_>, replica: ReplicaWrite) -> Result<(), Error> {
    let (state, expected) = (replica.write.state, replica.write.expected);
    let (text, wake_at, phase) = (persist::write(&state)?, replica.wake_at.map(|t| t.0), state.phase.name());
    let changed = if expected == 0 {
        let values = values![state.id.0, state.deployment.0, state.generation, phase, wake_at, text];
        c.run(sql::REPLICA_ADD, values).await?
    } else {
        c.run(sql::REPLICA_SET, values![state.id.0, expected, phase, wake_at, text]).await?
    };
    if changed == 1 { Ok(()) } else { Err(Error::Conflict) }
}

/// `ahead` is by how much the clock that leases are counted with is ahead of the one of the process.
async fn open_intent(c: &mut Connection<'_>, new: NewIntent, clock: Option<Time>) -> Result<(), Error> {
    let times = i64::from(new.claimed.is_some());
    let (owner, until) = new.claimed.map_or((None, None), |lease| {
        let until = clock.map_or(lease.until, |now| now + lease.until.since(lease.since));
        (Some(lease.owner), Some(until.0))
    });
    let effect = persist::write(&new.intent.effect)?;
    let (id, replica, kind) = (new.intent.id.0, new.intent.replica.0, new.intent.effect.kind());
    c.run(sql::INTENT_ADD, values![id, replica, kind, new.intent.due_at.0, times, owner, until, times, effect]).await?;
    Ok(())
}

/// Sets money aside if every limit allows it. Everything is read in the same transaction that writes.
async fn set_aside(c: &mut Connection<'_>, asked: Asked) -> Result<(), Error> {
    c.run(sql::UNRESERVE, values![&asked.reservation.replica.0]).await?;
    let others: Vec<Reservation> = c.rows(sql::RESERVATIONS, vec![]).await?.iter().map(reservation).collect();
    for budget in &asked.budgets {
        let since = budget.scope.since(asked.now);
        let spent = match whose(budget.scope, &asked.reservation) {
            Some(whose) => spent(c, &whose, since).await?,
            None => Usd(0),
        };
        admit(budget, &asked, &others, spent).map_err(|e| Error::OverBudget(Box::new(e)))?;
    }
    let wish = asked.reservation;
    let values = values![wish.replica.0, wish.deployment.0, wish.tenant, wish.price.0, wish.from.0, wish.until.0];
    c.run(sql::RESERVE, values).await?;
    Ok(())
}

pub(crate) fn rental(row: &Row) -> Spend {
    Spend {
        deployment: DeploymentId(row.text(0)),
        tenant: row.text(1),
        replica: ReplicaId(row.text(2)),
        provider: row.text(7),
        instance: row.text(3),
        from: Time(row.int(4)),
        until: Time(row.int(5)),
        amount: Usd(row.int(6)),
    }
}

pub(crate) async fn spent(c: &mut Connection<'_>, of: &Whose, since: Time) -> Result<Usd, Error> {
    let (tenant, deployment) = match of {
        Whose::All => ("", ""),
        Whose::Tenant(name) => (name.as_str(), ""),
        Whose::Deployment(id) => ("", id.as_str()),
    };
    let whole = c.row(sql::SPENT, values![since.0, tenant, deployment]).await?;
    let whole = Usd(whole.map_or(0, |row| row.int(0)));
    let across = c.rows(sql::SPENT_ACROSS, values![since.0, tenant, deployment]).await?;
    let parts = across.iter().map(|row| part(Usd(row.int(2)), Time(row.int(0)), Time(row.int(1)), since));
    Ok(parts.fold(whole, Usd::plus))
}

async fn remember(c: &mut Connection<'_>, failure: &HostFailure) -> Result<(), Error> {
    let before = c.row(sql::HOST, values![&failure.provider, &failure.host, &failure.class]).await?;
    let record = HostRecord::with(before.as_ref().map(host), failure);
    let values = values![record.provider, record.host, record.class, record.count, record.weight, record.last_at.0];
    c.run(sql::HOST_PUT, values).await?;
    Ok(())
}

/// Writes everything of a commit; the caller's transaction makes it all or nothing.
pub(crate) async fn write_all(c: &mut Connection<'_>, commit: Commit, clock: Option<Time>) -> Result<(), Error> {
    for write in commit.deployments {
        write_deployment(c, write).await?;
    }
    for replica in commit.replicas {
        write_replica(c, replica).await?;
    }
    if let Some(close) = commit.close
        && c.run(sql::INTENT_CLOSE, values![close.intent.0, close.fence]).await? != 1
    {
        return Err(Error::Conflict);
    }
    for new in commit.open {
        open_intent(c, new, clock).await?;
    }
    for replica in commit.unreserve {
        c.run(sql::UNRESERVE, values![replica.0]).await?;
    }
    for asked in commit.reserve {
        set_aside(c, asked).await?;
    }
    for s in commit.spend {
        let values = values![s.deployment.0, s.tenant, s.replica.0, s.instance, s.from.0, s.until.0, s.amount.0, s.provider];
        c.run(sql::SPEND_ADD, values).await?;
    }
    for failure in commit.host_failures {
        remember(c, &failure).await?;
    }
    for s in commit.host_speeds {
        c.run(sql::HOST_SPEED_PUT, values![s.provider, s.host, s.mbps, s.at.0]).await?;
    }
    for stone in commit.tombstones {
        c.run(sql::TOMBSTONES_OLD, values![stone.gone_at.0.saturating_sub(TOMBSTONE_KEPT.0)]).await?;
        c.run(sql::TOMBSTONE_ADD, values![stone.provider, stone.instance, stone.tag, stone.gone_at.0]).await?;
    }
    for fact in commit.facts {
        c.run(sql::FACT_ADD, values![fact.at.0, fact.deployment.0, fact.replica.map(|r| r.0), fact.text]).await?;
    }
    Ok(())
}
