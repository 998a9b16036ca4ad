CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE deployments (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;

CREATE TABLE replicas (
    id TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL REFERENCES deployments (id),
    generation INTEGER NOT NULL,
    phase TEXT NOT NULL,
    wake_at INTEGER,
    version INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;
CREATE INDEX replicas_open ON replicas (deployment_id) WHERE phase <> 'closed';
CREATE INDEX replicas_by_deployment ON replicas (deployment_id, generation);

CREATE TABLE intents (
    id TEXT PRIMARY KEY,
    replica_id TEXT NOT NULL REFERENCES replicas (id),
    kind TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    started_at INTEGER,
    lease_owner TEXT,
    lease_until INTEGER,
    fence INTEGER NOT NULL DEFAULT 0,
    effect TEXT NOT NULL
) STRICT;
CREATE INDEX intents_due ON intents (due_at);

CREATE TABLE reservations (
    replica_id TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL,
    amount_usd_micros INTEGER NOT NULL
) STRICT;

CREATE TABLE facts (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    deployment_id TEXT NOT NULL,
    replica_id TEXT,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX facts_by_deployment ON facts (deployment_id, seq);

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    role TEXT NOT NULL,
    routes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;

CREATE TABLE backends (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    base_url TEXT NOT NULL,
    upstream_model TEXT,
    served_names TEXT NOT NULL,
    max_concurrent INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
