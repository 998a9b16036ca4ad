//! The usage port on SQLite and PostgreSQL, and in memory.

use crate::connection::{Connection, Row, values};
use crate::database::Database;
use crate::mem::Mem;
use crate::port::Error;
use crate::usage::{Of, Total, Usage, Wanted, added_up, day_of, drawable};
use crate::{persist, sql};
use async_trait::async_trait;
use charter_domain::budget::Scope;
use charter_domain::money::Usd;
use charter_domain::routing::{KeyLimits, Route};
use charter_domain::time::Time;
use charter_domain::usage::Used;
use std::collections::BTreeMap;

/// Batches that are read at a time.
const PAGE: u32 = 32;

async fn write_batch(c: &mut Connection<'_>, id: &str, batch: &[Used]) -> Result<(), Error> {
    let first = batch.iter().map(|u| u.at.0).min().unwrap_or(0);
    let last = batch.iter().map(|u| u.at.0).max().unwrap_or(0);
    if c.run(sql::USAGE_ADD, values![id, first, last, persist::write(&batch)?]).await? == 0 {
        return Ok(());
    }
    for ((of, day), t) in added_up(batch) {
        let values = values![
            of.key,
            of.tenant,
            of.model,
            of.group,
            day,
            t.requests,
            t.prompt_tokens,
            t.cached_tokens,
            t.completion_tokens,
            t.reasoning_tokens,
            t.busy_ms,
            t.cost.0,
            t.rent.0,
            t.saved.0
        ];
        c.run(sql::USAGE_TOTAL_ADD, values).await?;
    }
    Ok(())
}

fn total(row: &Row) -> (Of, Total) {
    let of = Of { key: row.text(0), tenant: row.text(1), model: row.text(2), group: row.text(3) };
    let total = Total {
        requests: row.uint(4),
        prompt_tokens: row.uint(5),
        cached_tokens: row.uint(6),
        completion_tokens: row.uint(7),
        reasoning_tokens: row.uint(8),
        busy_ms: row.uint(9),
        cost: Usd(row.int(10)),
        rent: Usd(row.int(11)),
        saved: Usd(row.int(12)),
    };
    (of, total)
}

#[async_trait]
impl Usage for Database {
    async fn routes(&self) -> Result<Vec<Route>, Error> {
        self.read(sql::ROUTES, vec![]).await?.iter().map(|row| persist::read(&row.text(0))).collect()
    }

    async fn put_route(&self, route: Route) -> Result<(), Error> {
        self.write(sql::ROUTE_PUT, values![&route.name, persist::write(&route)?]).await.map(drop)
    }

    async fn remove_route(&self, name: &str) -> Result<bool, Error> {
        Ok(self.write(sql::ROUTE_REMOVE, values![name]).await? > 0)
    }

    async fn record(&self, id: &str, batch: &[Used]) -> Result<(), Error> {
        let mut held = self.writer().await?;
        let mut c = held.connection();
        c.run(sql::BEGIN, vec![]).await?;
        let written = write_batch(&mut c, id, batch).await;
        let ended = c.run(if written.is_ok() { sql::COMMIT } else { sql::ROLLBACK }, vec![]).await;
        if ended.is_err() {
            // A transaction that is left open would swallow what comes next on this connection.
            held.close_on_drop();
        }
        written?;
        ended?;
        self.counted();
        Ok(())
    }

    async fn used(&self, since: Time, limit: usize, wanted: &Wanted) -> Result<Vec<Used>, Error> {
        let mut found: Vec<Used> = vec![];
        let mut skip: u32 = 0;
        loop {
            let rows = self.read(sql::USAGE, values![since.0, PAGE, skip]).await?;
            skip += PAGE;
            for row in &rows {
                let batch: Vec<Used> = persist::read(&row.text(0))?;
                found.extend(batch.into_iter().rev().filter(|u| u.at >= since && wanted(u)));
            }
            if found.len() >= limit || rows.is_empty() {
                break;
            }
        }
        found.sort_by(|a, b| (b.at, &b.request).cmp(&(a.at, &a.request)));
        found.truncate(limit);
        Ok(found)
    }

    async fn totals(&self, since: Time) -> Result<BTreeMap<Of, Total>, Error> {
        Ok(self.read(sql::USAGE_TOTALS, values![day_of(since)]).await?.iter().map(total).collect())
    }

    async fn daily(&self, since: Time) -> Result<Vec<(i64, Of, Total)>, Error> {
        let rows = self.read(sql::USAGE_DAILY, values![day_of(since)]).await?;
        let day = |row: &Row| {
            let (of, sum) = total(row);
            (row.int(13), of, sum)
        };
        Ok(rows.iter().map(day).collect())
    }

    async fn forget_used(&self, before: Time) -> Result<(), Error> {
        self.writer().await?.connection().run(sql::USAGE_FORGET, values![before.0]).await.map(drop)
    }

    async fn put_back(&self, key: &str, left: Usd, now: Time) -> Result<(), Error> {
        self.writer().await?.connection().run(sql::DRAW_BACK, values![key, day_of(now), left.0]).await.map(drop)
    }

    async fn draw(&self, key: &str, limits: &KeyLimits, want: Usd, now: Time) -> Result<Usd, Error> {
        let (day, month) = (day_of(now), day_of(Scope::Month.since(now)));
        let mut held = self.writer().await?;
        let mut c = held.connection();
        c.run(sql::DRAW_BEGIN, values![key, day]).await?;
        loop {
            let row = c.row(sql::DRAWN, values![key, day, month]).await?;
            let (today, earlier) = row.map_or((0, 0), |row| (row.int(0), row.int(1)));
            let most = drawable(limits, want, today, earlier);
            // Somebody else may have drawn in between: then it is reckoned anew.
            if most == 0 || c.run(sql::DRAW, values![key, day, most, today]).await? == 1 {
                return Ok(Usd(most));
            }
        }
    }
}

#[async_trait]
impl Usage for Mem {
    async fn put_back(&self, key: &str, left: Usd, now: Time) -> Result<(), Error> {
        if let Some(today) = self.usage().draws.get_mut(&(key.to_owned(), day_of(now))) {
            *today = (*today - left.0).max(0);
        }
        Ok(())
    }

    async fn routes(&self) -> Result<Vec<Route>, Error> {
        Ok(self.usage().routes.values().cloned().collect())
    }

    async fn put_route(&self, route: Route) -> Result<(), Error> {
        self.usage().routes.insert(route.name.clone(), route);
        Ok(())
    }

    async fn remove_route(&self, name: &str) -> Result<bool, Error> {
        Ok(self.usage().routes.remove(name).is_some())
    }

    async fn record(&self, id: &str, batch: &[Used]) -> Result<(), Error> {
        let mut usage = self.usage();
        if usage.batches.insert(id.to_owned(), batch.to_vec()).is_none() {
            for (of, more) in added_up(batch) {
                let sum = usage.totals.entry(of).or_default();
                *sum = sum.and(more);
            }
        }
        Ok(())
    }

    async fn used(&self, since: Time, limit: usize, wanted: &Wanted) -> Result<Vec<Used>, Error> {
        let usage = self.usage();
        let mut found: Vec<Used> = usage.batches.values().flatten().filter(|u| u.at >= since && wanted(u)).cloned().collect();
        found.sort_by(|a, b| (b.at, &b.request).cmp(&(a.at, &a.request)));
        found.truncate(limit);
        Ok(found)
    }

    async fn totals(&self, since: Time) -> Result<BTreeMap<Of, Total>, Error> {
        let usage = self.usage();
        let mut sums: BTreeMap<Of, Total> = BTreeMap::new();
        for ((of, _), total) in usage.totals.iter().filter(|((_, day), _)| *day >= day_of(since)) {
            let sum = sums.entry(of.clone()).or_default();
            *sum = sum.and(*total);
        }
        Ok(sums)
    }

    async fn daily(&self, since: Time) -> Result<Vec<(i64, Of, Total)>, Error> {
        let usage = self.usage();
        let days = usage.totals.iter().filter(|((_, day), _)| *day >= day_of(since));
        let mut all: Vec<_> = days.map(|((of, day), total)| (*day, of.clone(), *total)).collect();
        all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(all)
    }

    async fn forget_used(&self, before: Time) -> Result<(), Error> {
        self.usage().batches.retain(|_, batch| batch.iter().any(|u| u.at >= before));
        Ok(())
    }

    async fn draw(&self, key: &str, limits: &KeyLimits, want: Usd, now: Time) -> Result<Usd, Error> {
        let (day, month) = (day_of(now), day_of(Scope::Month.since(now)));
        let mut usage = self.usage();
        let earlier = usage.draws.range((key.to_owned(), month)..(key.to_owned(), day)).map(|(_, drawn)| drawn).sum();
        let today = usage.draws.entry((key.to_owned(), day)).or_default();
        let most = drawable(limits, want, *today, earlier);
        *today += most;
        Ok(Usd(most))
    }
}
