-- The same tables as 001_initial.postgres.sql, in SQLite's types. Times are ms since the epoch.
-- Rule for these files: a statement ends with a semicolon at the end of a line, and nowhere else
-- does a line end so.

CREATE TABLE rooms (
  room_id TEXT PRIMARY KEY NOT NULL,
  record BLOB NOT NULL,
  live INTEGER NOT NULL,
  phase TEXT NOT NULL,
  deadline INTEGER,
  customer TEXT NOT NULL
);
CREATE INDEX rooms_live ON rooms (room_id) WHERE live;
CREATE INDEX rooms_deadline ON rooms (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX rooms_customer ON rooms (customer) WHERE customer <> '';

-- AUTOINCREMENT: a number is never given out twice, even after the newest rows were pruned.
CREATE TABLE inbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  room_id TEXT NOT NULL,
  key TEXT UNIQUE,
  body BLOB,
  received INTEGER NOT NULL,
  outcome TEXT,
  settled INTEGER,
  detail TEXT NOT NULL DEFAULT '',
  revived INTEGER
);
CREATE INDEX inbox_open ON inbox (room_id, seq) WHERE outcome IS NULL;
CREATE INDEX inbox_dead ON inbox (settled) WHERE outcome = 'dead';
CREATE INDEX inbox_full ON inbox (settled) WHERE outcome <> 'dead' AND body IS NOT NULL;
CREATE INDEX inbox_erased ON inbox (settled) WHERE outcome <> 'dead' AND body IS NULL;

CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  room_id TEXT NOT NULL,
  lane TEXT NOT NULL,
  effect BLOB,
  created INTEGER NOT NULL,
  attempted INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0,
  cause TEXT,
  call_id INTEGER,
  repeat INTEGER NOT NULL,
  outcome TEXT,
  settled INTEGER,
  detail TEXT NOT NULL DEFAULT '',
  event_id TEXT,
  revived INTEGER
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
  user_id TEXT PRIMARY KEY NOT NULL,
  displayname TEXT NOT NULL,
  avatar_source TEXT NOT NULL,
  avatar_mxc TEXT NOT NULL,
  device INTEGER NOT NULL
);

CREATE TABLE accounts (
  room_id TEXT PRIMARY KEY NOT NULL,
  login_name TEXT NOT NULL,
  token TEXT NOT NULL,
  issued INTEGER NOT NULL,
  client_id TEXT NOT NULL
);

CREATE TABLE facts (
  name TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
);
