-- Whose a key is, and what it may ask for.
ALTER TABLE keys ADD COLUMN tenant TEXT COLLATE "C" NOT NULL DEFAULT 'default';
ALTER TABLE keys ADD COLUMN limits TEXT COLLATE "C" NOT NULL DEFAULT '{}';

-- What people said of single names.
CREATE TABLE routes (name TEXT COLLATE "C" PRIMARY KEY, route TEXT COLLATE "C" NOT NULL);

-- Requests, a batch in a row: a batch that comes twice is known by its id.
CREATE TABLE usage_batches (id TEXT COLLATE "C" PRIMARY KEY, first_at BIGINT NOT NULL, last_at BIGINT NOT NULL, requests TEXT COLLATE "C" NOT NULL);
CREATE INDEX usage_batches_by_time ON usage_batches (last_at);

-- Requests added up, for each day.
CREATE TABLE usage_totals (
    key_id TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    backend_group TEXT COLLATE "C" NOT NULL,
    day BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    busy_ms BIGINT NOT NULL,
    cost_usd_micros BIGINT NOT NULL,
    rent_usd_micros BIGINT NOT NULL,
    saved_usd_micros BIGINT NOT NULL,
    PRIMARY KEY (key_id, tenant, model, backend_group, day)
);

-- Money of keys that gateways have drawn.
CREATE TABLE draws (key_id TEXT COLLATE "C" NOT NULL, day BIGINT NOT NULL, drawn_usd_micros BIGINT NOT NULL, PRIMARY KEY (key_id, day));
