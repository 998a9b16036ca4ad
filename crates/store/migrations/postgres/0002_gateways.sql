CREATE TABLE gateways (
    id TEXT COLLATE "C" PRIMARY KEY,
    first_seen_at BIGINT NOT NULL
);
