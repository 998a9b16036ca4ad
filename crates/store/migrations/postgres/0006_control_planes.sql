-- See the same number for SQLite.
CREATE TABLE control_planes (
    id TEXT COLLATE "C" PRIMARY KEY,
    seen_at BIGINT NOT NULL,
    report TEXT NOT NULL
);
CREATE TABLE tombstones (
    provider TEXT COLLATE "C" NOT NULL,
    instance TEXT COLLATE "C" NOT NULL,
    tag TEXT COLLATE "C" NOT NULL,
    gone_at BIGINT NOT NULL,
    PRIMARY KEY (provider, instance, tag)
);
CREATE INDEX tombstones_by_time ON tombstones (gone_at);
-- Rises with every change, where several processes share the database; its row is the lock that puts their commits in a row.
INSERT INTO meta (name, value) VALUES ('pulse', '0') ON CONFLICT (name) DO NOTHING;
