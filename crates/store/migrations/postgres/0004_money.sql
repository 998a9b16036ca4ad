-- See the same number for SQLite.
CREATE TABLE reservations_new (
    replica_id TEXT COLLATE "C" PRIMARY KEY,
    deployment_id TEXT COLLATE "C" NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    price_usd_micros_per_hour BIGINT NOT NULL,
    from_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL
);
INSERT INTO reservations_new
    SELECT replica_id, deployment_id, 'default', amount_usd_micros,
        CAST(EXTRACT(EPOCH FROM now()) AS BIGINT) * 1000, (CAST(EXTRACT(EPOCH FROM now()) AS BIGINT) + 3600) * 1000
    FROM reservations;
DROP TABLE reservations;
ALTER TABLE reservations_new RENAME TO reservations;
ALTER TABLE spend ADD COLUMN tenant TEXT COLLATE "C" NOT NULL DEFAULT 'default';
DROP INDEX spend_by_time;
CREATE INDEX spend_by_time ON spend (from_at);
