-- What end-to-end encryption must keep: device keys, sessions, sync tokens. Values are sealed with
-- the operator's key before they come here. Same rule for the ends of lines as in 001.

CREATE TABLE secrets (
  name TEXT PRIMARY KEY,
  value BYTEA NOT NULL,
  keep_until BIGINT
);
CREATE INDEX secrets_old ON secrets (keep_until) WHERE keep_until IS NOT NULL;
