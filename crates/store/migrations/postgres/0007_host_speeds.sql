-- See the same number for SQLite.
CREATE TABLE host_speeds (
    provider TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    mbps BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (provider, host)
);
