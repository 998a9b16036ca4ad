-- Control planes that share a database: when each was seen last, and what its gateways answer at the moment.
CREATE TABLE control_planes (
    id TEXT PRIMARY KEY,
    seen_at INTEGER NOT NULL,
    report TEXT NOT NULL
) STRICT;
-- Instances that were ended: for thirty days what comes back under a tag is known, and ended again.
CREATE TABLE tombstones (
    provider TEXT NOT NULL,
    instance TEXT NOT NULL,
    tag TEXT NOT NULL,
    gone_at INTEGER NOT NULL,
    PRIMARY KEY (provider, instance, tag)
) STRICT;
CREATE INDEX tombstones_by_time ON tombstones (gone_at);
-- Rises with every change, where several processes share the database; its row is the lock that puts their commits in a row.
INSERT INTO meta (name, value) VALUES ('pulse', '0') ON CONFLICT (name) DO NOTHING;
