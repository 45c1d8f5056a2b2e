-- Everything the bridge remembers. Times are ms since the epoch.
-- Rules for these files: a statement ends with a semicolon at the end of a line, and nowhere else
-- does a line end so. Types are PostgreSQL's (`migrate.known` makes SQLite's of them). A statement
-- below the line `-- sqlite only` or `-- postgres only` is left out on the other engine.

CREATE TABLE rooms (
  room_id TEXT PRIMARY KEY,
  record BYTEA NOT NULL,
  live BOOLEAN NOT NULL,
  phase TEXT NOT NULL,
  deadline BIGINT,
  customer TEXT NOT NULL
);
CREATE INDEX rooms_live ON rooms (room_id) WHERE live;
CREATE INDEX rooms_deadline ON rooms (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX rooms_customer ON rooms (customer) WHERE customer <> '';

CREATE TABLE inbox (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  room_id TEXT NOT NULL,
  key TEXT UNIQUE,
  body BYTEA,
  received BIGINT NOT NULL,
  outcome TEXT,
  settled BIGINT,
  detail TEXT NOT NULL DEFAULT '',
  revived BIGINT
);
CREATE INDEX inbox_open ON inbox (room_id, seq) WHERE outcome IS NULL;
CREATE INDEX inbox_dead ON inbox (settled) WHERE outcome = 'dead';
CREATE INDEX inbox_full ON inbox (settled) WHERE outcome <> 'dead' AND body IS NOT NULL;
CREATE INDEX inbox_erased ON inbox (settled) WHERE outcome <> 'dead' AND body IS NULL;

CREATE TABLE outbox (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  room_id TEXT NOT NULL,
  lane TEXT NOT NULL,
  effect BYTEA,
  created BIGINT NOT NULL,
  attempted BIGINT,
  attempts BIGINT NOT NULL DEFAULT 0,
  cause TEXT,
  call_id BIGINT,
  repeat BOOLEAN NOT NULL,
  outcome TEXT,
  settled BIGINT,
  detail TEXT NOT NULL DEFAULT '',
  event_id TEXT,
  revived BIGINT
);
CREATE INDEX outbox_open ON outbox (room_id, seq) WHERE outcome IS NULL;
CREATE INDEX outbox_dead ON outbox (settled) WHERE outcome = 'dead';
CREATE INDEX outbox_full ON outbox (settled) WHERE outcome <> 'dead' AND effect IS NOT NULL;
CREATE INDEX outbox_erased ON outbox (settled) WHERE outcome <> 'dead' AND effect IS NULL;
CREATE INDEX outbox_cause ON outbox (cause) WHERE cause IS NOT NULL;
CREATE INDEX outbox_event ON outbox (event_id) WHERE event_id IS NOT NULL;

CREATE TABLE anchors (
  room_id TEXT NOT NULL,
  name TEXT NOT NULL,
  event_id TEXT NOT NULL,
  PRIMARY KEY (room_id, name)
);

CREATE TABLE ghosts (
  user_id TEXT PRIMARY KEY,
  displayname TEXT NOT NULL,
  avatar_source TEXT NOT NULL,
  avatar_mxc TEXT NOT NULL,
  device BOOLEAN NOT NULL
);

CREATE TABLE accounts (
  room_id TEXT PRIMARY KEY,
  login_name TEXT NOT NULL,
  token TEXT NOT NULL,
  issued BIGINT NOT NULL,
  client_id TEXT NOT NULL
);

CREATE TABLE facts (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

-- The last transaction of each running bridge: tells it, after a connection broke in the middle of
-- a COMMIT, whether that commit happened.
-- postgres only
CREATE TABLE writers (
  id TEXT PRIMARY KEY,
  token BIGINT NOT NULL
);
