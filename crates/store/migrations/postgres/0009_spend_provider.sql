-- Where money went; empty for what was written before.
ALTER TABLE spend ADD COLUMN provider TEXT NOT NULL DEFAULT '';
