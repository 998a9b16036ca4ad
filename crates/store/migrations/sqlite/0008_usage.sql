-- Whose a key is, and what it may ask for.
ALTER TABLE keys ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';

-- What people said of single names.
CREATE TABLE routes (name TEXT PRIMARY KEY, route TEXT NOT NULL) STRICT;

-- Requests, a batch in a row: a batch that comes twice is known by its id.
CREATE TABLE usage_batches (id TEXT PRIMARY KEY, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, requests TEXT NOT NULL) STRICT;
CREATE INDEX usage_batches_by_time ON usage_batches (last_at);

-- Requests added up, for each day.
CREATE TABLE usage_totals (
    key_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    backend_group TEXT NOT NULL,
    day INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    busy_ms INTEGER NOT NULL,
    cost_usd_micros INTEGER NOT NULL,
    rent_usd_micros INTEGER NOT NULL,
    saved_usd_micros INTEGER NOT NULL,
    PRIMARY KEY (key_id, tenant, model, backend_group, day)
) STRICT;

-- Money of keys that gateways have drawn.
CREATE TABLE draws (key_id TEXT NOT NULL, day INTEGER NOT NULL, drawn_usd_micros INTEGER NOT NULL, PRIMARY KEY (key_id, day)) STRICT;
