CREATE TABLE gateways (
    id TEXT PRIMARY KEY,
    first_seen_at INTEGER NOT NULL
) STRICT;
