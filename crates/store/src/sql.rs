//! Every statement, once. The text keeps to what SQLite and PostgreSQL share: `$n` parameters, TEXT and 64-bit
//! integers, `RETURNING`, `ON CONFLICT`; no arrays, no `now()`, no row locks.

pub(crate) const BEGIN: &str = "BEGIN";
pub(crate) const BEGIN_REPEATABLE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
pub(crate) const COMMIT: &str = "COMMIT";
pub(crate) const ROLLBACK: &str = "ROLLBACK";

pub(crate) const META_ADD: &str = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
pub(crate) const META_PUT: &str =
    "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
pub(crate) const META_REMOVE: &str = "DELETE FROM meta WHERE name = $1";
pub(crate) const META_LIKE: &str = "SELECT name, value FROM meta WHERE substr(name, 1, length($1)) = $1 ORDER BY name";
pub(crate) const META_GET: &str = "SELECT value FROM meta WHERE name = $1";

pub(crate) const DEPLOYMENTS: &str = "SELECT version, state FROM deployments ORDER BY created_at, id";
pub(crate) const DEPLOYMENT: &str = "SELECT version, state FROM deployments WHERE id = $1 OR name = $1";
pub(crate) const DEPLOYMENT_ADD: &str =
    "INSERT INTO deployments (id, name, version, created_at, state) VALUES ($1, $2, 1, $3, $4) ON CONFLICT DO NOTHING";
pub(crate) const DEPLOYMENT_SET: &str = "UPDATE deployments SET version = version + 1, state = $3 WHERE id = $1 AND version = $2";

pub(crate) const REPLICAS_OPEN: &str = "SELECT version, wake_at, state FROM replicas WHERE phase <> 'closed' ORDER BY id";
pub(crate) const REPLICAS_OF: &str = "SELECT version, wake_at, state FROM replicas WHERE deployment_id = $1 ORDER BY id";
pub(crate) const REPLICA: &str = "SELECT version, wake_at, state FROM replicas WHERE id = $1";
pub(crate) const REPLICA_ADD: &str = "INSERT INTO replicas (id, deployment_id, generation, phase, wake_at, version, state)
    VALUES ($1, $2, $3, $4, $5, 1, $6) ON CONFLICT DO NOTHING";
pub(crate) const REPLICA_SET: &str =
    "UPDATE replicas SET version = version + 1, phase = $3, wake_at = $4, state = $5 WHERE id = $1 AND version = $2";

pub(crate) const INTENT_ADD: &str =
    "INSERT INTO intents (id, replica_id, kind, due_at, attempts, lease_owner, lease_until, fence, effect)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
pub(crate) const INTENT_CLOSE: &str = "DELETE FROM intents WHERE id = $1 AND fence = $2";
/// A time that lies further ahead than `$6` was written under another clock. The condition stands twice on purpose: after waiting for a row lock PostgreSQL checks only the outer one again.
pub(crate) const INTENTS_CLAIM: &str =
    "UPDATE intents SET lease_owner = $1, lease_until = $2, fence = fence + 1, attempts = attempts + 1
    WHERE (due_at <= $3 OR due_at > $3 + $6) AND (lease_until IS NULL OR lease_until <= $5 OR lease_until > $5 + $6)
      AND id IN (SELECT id FROM intents WHERE (due_at <= $3 OR due_at > $3 + $6)
        AND (lease_until IS NULL OR lease_until <= $5 OR lease_until > $5 + $6) ORDER BY due_at, id LIMIT $4)
    RETURNING id, replica_id, due_at, attempts, started_at, lease_until, fence, effect";
pub(crate) const INTENT_BEGIN: &str = "UPDATE intents SET started_at = $3 WHERE id = $1 AND fence = $2 AND started_at IS NULL";
pub(crate) const LEASES_ABANDON: &str = "UPDATE intents SET lease_owner = NULL, lease_until = NULL
    WHERE lease_until IS NOT NULL AND substr(lease_owner, 1, length($1)) = $1";
pub(crate) const INTENTS: &str =
    "SELECT id, replica_id, due_at, attempts, started_at, lease_until, fence, effect FROM intents ORDER BY due_at, id";

pub(crate) const RESERVATIONS: &str = "SELECT replica_id, deployment_id, tenant, price_usd_micros_per_hour, from_at, until_at FROM reservations ORDER BY replica_id";
pub(crate) const RESERVE: &str =
    "INSERT INTO reservations (replica_id, deployment_id, tenant, price_usd_micros_per_hour, from_at, until_at)
    VALUES ($1, $2, $3, $4, $5, $6)";
pub(crate) const UNRESERVE: &str = "DELETE FROM reservations WHERE replica_id = $1";

pub(crate) const FACT_ADD: &str = "INSERT INTO facts (at, deployment_id, replica_id, text) VALUES ($1, $2, $3, $4)";
pub(crate) const FACTS: &str = "SELECT at, deployment_id, replica_id, text FROM
    (SELECT seq, at, deployment_id, replica_id, text FROM facts WHERE deployment_id = $1 ORDER BY seq DESC LIMIT $2) AS newest ORDER BY seq";

pub(crate) const LOGGED_AFTER: &str =
    "SELECT at, deployment_id, replica_id, text, seq FROM facts WHERE seq > $1 ORDER BY seq LIMIT $2";
pub(crate) const LOGGED_BEFORE: &str =
    "SELECT at, deployment_id, replica_id, text, seq FROM facts WHERE seq < $1 ORDER BY seq DESC LIMIT $2";

pub(crate) const HOSTS: &str =
    "SELECT provider, host, class, count, weight, last_at FROM host_failures ORDER BY provider, host, class";
pub(crate) const HOST: &str =
    "SELECT provider, host, class, count, weight, last_at FROM host_failures WHERE provider = $1 AND host = $2 AND class = $3";
pub(crate) const HOST_PUT: &str = "INSERT INTO host_failures (provider, host, class, count, weight, last_at) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (provider, host, class) DO UPDATE SET count = excluded.count, weight = excluded.weight, last_at = excluded.last_at";

pub(crate) const HOST_SPEEDS: &str = "SELECT provider, host, mbps, at FROM host_speeds ORDER BY provider, host";
pub(crate) const HOST_SPEED_PUT: &str = "INSERT INTO host_speeds (provider, host, mbps, at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (provider, host) DO UPDATE SET mbps = excluded.mbps, at = excluded.at";

pub(crate) const KEYS: &str =
    "SELECT id, name, sha256, prefix, role, routes, created_at, expires_at, tenant, limits FROM keys ORDER BY created_at, id";
pub(crate) const KEY_PUT: &str =
    "INSERT INTO keys (id, name, sha256, prefix, role, routes, created_at, expires_at, tenant, limits)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, sha256 = excluded.sha256, prefix = excluded.prefix, role = excluded.role,
      routes = excluded.routes, expires_at = excluded.expires_at, tenant = excluded.tenant, limits = excluded.limits";
pub(crate) const KEY_REMOVE: &str = "DELETE FROM keys WHERE id = $1";

pub(crate) const BACKENDS: &str =
    "SELECT id, name, base_url, upstream_model, served_names, max_concurrent, created_at FROM backends ORDER BY created_at, id";
pub(crate) const BACKEND_ADD: &str =
    "INSERT INTO backends (id, name, base_url, upstream_model, served_names, max_concurrent, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
pub(crate) const BACKEND_REMOVE: &str = "DELETE FROM backends WHERE id = $1 OR name = $1";

pub(crate) const GATEWAYS: &str = "SELECT id FROM gateways ORDER BY id";
pub(crate) const GATEWAY_ADD: &str = "INSERT INTO gateways (id, first_seen_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
pub(crate) const GATEWAY_REMOVE: &str = "DELETE FROM gateways WHERE id = $1";

pub(crate) const SPEND_ADD: &str =
    "INSERT INTO spend (deployment_id, tenant, replica_id, instance, from_at, until_at, amount_usd_micros, provider)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
/// What counts from a time on, in whole or in part.
pub(crate) const SPEND: &str =
    "SELECT deployment_id, tenant, replica_id, instance, from_at, until_at, amount_usd_micros, provider FROM spend
    WHERE from_at >= $1 OR until_at > $1 ORDER BY seq";
/// An empty text stands for every tenant, and for every deployment.
pub(crate) const SPENT: &str = "SELECT CAST(COALESCE(SUM(amount_usd_micros), 0) AS BIGINT) FROM spend
    WHERE from_at >= $1 AND ($2 = '' OR tenant = $2) AND ($3 = '' OR deployment_id = $3)";
/// What began before and ended after: it counts in part.
pub(crate) const SPENT_ACROSS: &str = "SELECT from_at, until_at, amount_usd_micros FROM spend
    WHERE from_at < $1 AND until_at > $1 AND ($2 = '' OR tenant = $2) AND ($3 = '' OR deployment_id = $3)";

/// Rises with every change of a database that several processes share. It is also the lock that puts commits in a row: an
/// update holds its row until the transaction ends.
///
/// A database that was restored or moved has another epoch: whoever knew it before writes nothing any more.
pub(crate) const PULSE: &str = "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT)
    WHERE name = 'pulse' AND EXISTS (SELECT 1 FROM meta AS now WHERE now.name = 'epoch' AND now.value = $1)";
/// PostgreSQL's clock, in milliseconds; the one text that SQLite does not run.
pub(crate) const CLOCK: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
pub(crate) const CONTROL_PLANE_PUT: &str = "INSERT INTO control_planes (id, seen_at, report) VALUES ($1, $2, $3)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, report = excluded.report";
pub(crate) const CONTROL_PLANES: &str = "SELECT id, seen_at, report FROM control_planes ORDER BY id";
pub(crate) const CONTROL_PLANES_GONE: &str = "DELETE FROM control_planes WHERE substr(id, 1, length($1)) = $1";
pub(crate) const CONTROL_PLANE_REMOVE: &str = "DELETE FROM control_planes WHERE id = $1";

pub(crate) const TOMBSTONE_ADD: &str = "INSERT INTO tombstones (provider, instance, tag, gone_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (provider, instance, tag) DO UPDATE SET gone_at = excluded.gone_at";
pub(crate) const TOMBSTONES_OLD: &str = "DELETE FROM tombstones WHERE gone_at < $1";
pub(crate) const TOMBSTONES: &str =
    "SELECT provider, instance, tag, gone_at FROM tombstones WHERE gone_at >= $1 ORDER BY gone_at, instance";

pub(crate) const ROUTES: &str = "SELECT route FROM routes ORDER BY name";
pub(crate) const ROUTE_PUT: &str =
    "INSERT INTO routes (name, route) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET route = excluded.route";
pub(crate) const ROUTE_REMOVE: &str = "DELETE FROM routes WHERE name = $1";

pub(crate) const USAGE_ADD: &str =
    "INSERT INTO usage_batches (id, first_at, last_at, requests) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";
pub(crate) const USAGE: &str =
    "SELECT requests FROM usage_batches WHERE last_at >= $1 ORDER BY last_at DESC, id DESC LIMIT $2 OFFSET $3";
pub(crate) const USAGE_FORGET: &str = "DELETE FROM usage_batches WHERE last_at < $1";
pub(crate) const USAGE_TOTAL_ADD: &str =
    "INSERT INTO usage_totals (key_id, tenant, model, backend_group, day, requests, prompt_tokens, cached_tokens, completion_tokens,
      reasoning_tokens, busy_ms, cost_usd_micros, rent_usd_micros, saved_usd_micros)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    ON CONFLICT (key_id, tenant, model, backend_group, day) DO UPDATE SET requests = usage_totals.requests + excluded.requests,
      prompt_tokens = usage_totals.prompt_tokens + excluded.prompt_tokens,
      cached_tokens = usage_totals.cached_tokens + excluded.cached_tokens,
      completion_tokens = usage_totals.completion_tokens + excluded.completion_tokens,
      reasoning_tokens = usage_totals.reasoning_tokens + excluded.reasoning_tokens,
      busy_ms = usage_totals.busy_ms + excluded.busy_ms, cost_usd_micros = usage_totals.cost_usd_micros + excluded.cost_usd_micros,
      rent_usd_micros = usage_totals.rent_usd_micros + excluded.rent_usd_micros,
      saved_usd_micros = usage_totals.saved_usd_micros + excluded.saved_usd_micros";
pub(crate) const USAGE_TOTALS: &str = "SELECT key_id, tenant, model, backend_group, CAST(SUM(requests) AS BIGINT),
      CAST(SUM(prompt_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(completion_tokens) AS BIGINT),
      CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(busy_ms) AS BIGINT), CAST(SUM(cost_usd_micros) AS BIGINT),
      CAST(SUM(rent_usd_micros) AS BIGINT), CAST(SUM(saved_usd_micros) AS BIGINT)
    FROM usage_totals WHERE day >= $1 GROUP BY key_id, tenant, model, backend_group ORDER BY key_id, tenant, model, backend_group";

pub(crate) const USAGE_DAILY: &str =
    "SELECT key_id, tenant, model, backend_group, requests, prompt_tokens, cached_tokens, completion_tokens,
      reasoning_tokens, busy_ms, cost_usd_micros, rent_usd_micros, saved_usd_micros, day
    FROM usage_totals WHERE day >= $1 ORDER BY day, key_id, tenant, model, backend_group";

pub(crate) const DRAW_BEGIN: &str =
    "INSERT INTO draws (key_id, day, drawn_usd_micros) VALUES ($1, $2, 0) ON CONFLICT (key_id, day) DO NOTHING";
/// What was drawn today, and what earlier in the month; other days do not change any more.
pub(crate) const DRAWN: &str = "SELECT CAST(COALESCE(SUM(CASE WHEN day = $2 THEN drawn_usd_micros ELSE 0 END), 0) AS BIGINT),
      CAST(COALESCE(SUM(CASE WHEN day < $2 THEN drawn_usd_micros ELSE 0 END), 0) AS BIGINT)
    FROM draws WHERE key_id = $1 AND day >= $3 AND day <= $2";
pub(crate) const DRAW_BACK: &str =
    "UPDATE draws SET drawn_usd_micros = CASE WHEN drawn_usd_micros > $3 THEN drawn_usd_micros - $3 ELSE 0 END
    WHERE key_id = $1 AND day = $2";
pub(crate) const DRAW: &str = "UPDATE draws SET drawn_usd_micros = drawn_usd_micros + $3
    WHERE key_id = $1 AND day = $2 AND drawn_usd_micros = $4";

/// After a copy its numbers go on where those of the original ended.
pub(crate) const FACTS_NEXT: &str =
    "SELECT setval(pg_get_serial_sequence('facts', 'seq'), GREATEST((SELECT COALESCE(MAX(seq), 1) FROM facts), 1))";
pub(crate) const SPEND_NEXT: &str =
    "SELECT setval(pg_get_serial_sequence('spend', 'seq'), GREATEST((SELECT COALESCE(MAX(seq), 1) FROM spend), 1))";
pub(crate) const ONCE_MAY_HAVE_BEGUN: &str = "UPDATE intents SET started_at = $1 WHERE kind = 'create' AND started_at IS NULL";
