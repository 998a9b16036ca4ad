-- How fast hosts really fetched a model's weights.
CREATE TABLE host_speeds (
    provider TEXT NOT NULL,
    host TEXT NOT NULL,
    mbps INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (provider, host)
) STRICT;
