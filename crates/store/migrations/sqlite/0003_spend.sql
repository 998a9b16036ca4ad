CREATE TABLE spend (
    seq INTEGER PRIMARY KEY,
    deployment_id TEXT NOT NULL,
    replica_id TEXT NOT NULL,
    instance TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    amount_usd_micros INTEGER NOT NULL
) STRICT;
CREATE INDEX spend_by_time ON spend (until_at);
