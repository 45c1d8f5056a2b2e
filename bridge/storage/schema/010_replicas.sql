-- The processes that share this database: for balance between them and for people. Who may write
-- for a room is decided by locks of their sessions alone (bridge/storage/shards.py).

-- postgres only
CREATE TABLE replicas (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  pid INTEGER NOT NULL,
  started TIMESTAMPTZ NOT NULL,
  seen TIMESTAMPTZ NOT NULL,
  leaving BOOLEAN NOT NULL
);
