-- A reservation says its price and its time instead of one sum, so that a day or a month can count its part of it. What was
-- set aside before stood for one hour.
CREATE TABLE reservations_new (
    replica_id TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    price_usd_micros_per_hour INTEGER NOT NULL,
    from_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL
) STRICT;
INSERT INTO reservations_new
    SELECT replica_id, deployment_id, 'default', amount_usd_micros, unixepoch() * 1000, (unixepoch() + 3600) * 1000 FROM reservations;
DROP TABLE reservations;
ALTER TABLE reservations_new RENAME TO reservations;
ALTER TABLE spend ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
DROP INDEX spend_by_time;
CREATE INDEX spend_by_time ON spend (from_at);
