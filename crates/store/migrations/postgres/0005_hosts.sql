CREATE TABLE host_failures (
    provider TEXT COLLATE "C" NOT NULL,
    host TEXT COLLATE "C" NOT NULL,
    class TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    weight BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (provider, host, class)
);
