-- What is remembered of hosts that failed: how often by class, and what that weighed at the time of the last failure.
CREATE TABLE host_failures (
    provider TEXT NOT NULL,
    host TEXT NOT NULL,
    class TEXT NOT NULL,
    count INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (provider, host, class)
) STRICT;
