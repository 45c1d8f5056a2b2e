-- Inbox, outbox and ledger become one: a row for each thing that happened, with what came, the
-- effect that it led to, and how that ended. A further effect of the same step has a row of its own
-- without `body`. A row is open while `outcome` is null: as an input that waits to be handled while
-- `handled` is null, else as an effect that is to be carried out.
--
-- Effects keep their numbers, for these stand in transaction ids (a repeat posts nothing twice), and
-- inputs get numbers above them, in their order. Same rule for the ends of lines as in 001.

CREATE TABLE journal (
  seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  room_id TEXT NOT NULL,
  key TEXT,
  body BYTEA,
  received BIGINT NOT NULL,
  handled BIGINT,
  lane TEXT,
  effect BYTEA,
  cause TEXT,
  call_id BIGINT,
  repeat BOOLEAN NOT NULL DEFAULT false,
  attempted BIGINT,
  attempts BIGINT NOT NULL DEFAULT 0,
  outcome TEXT,
  settled BIGINT,
  detail TEXT NOT NULL DEFAULT '',
  event_id TEXT,
  revived BIGINT
);
INSERT INTO journal (seq, room_id, received, handled, lane, effect, cause, call_id, repeat,
  attempted, attempts, outcome, settled, detail, event_id, revived) OVERRIDING SYSTEM VALUE
  SELECT seq, room_id, created, created, lane, effect, cause, call_id, repeat,
  attempted, attempts, outcome, settled, detail, event_id, revived FROM outbox ORDER BY seq;
-- sqlite only
UPDATE sqlite_sequence SET seq = max(seq, coalesce(
  (SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)) WHERE name = 'journal';
-- sqlite only
INSERT INTO sqlite_sequence (name, seq) SELECT 'journal', seq FROM sqlite_sequence
  WHERE name = 'outbox' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'journal');
-- postgres only
SELECT setval(pg_get_serial_sequence('journal', 'seq'),
  nextval(pg_get_serial_sequence('outbox', 'seq')));
INSERT INTO journal (room_id, key, body, received, handled, outcome, settled, detail, revived)
  SELECT room_id, key, body, received, CASE WHEN outcome = 'handled' THEN settled END,
  outcome, settled, detail, revived FROM inbox ORDER BY seq;
DROP TABLE inbox;
DROP TABLE outbox;
CREATE UNIQUE INDEX journal_key ON journal (key) WHERE key IS NOT NULL;
CREATE INDEX journal_open ON journal (room_id, seq) WHERE outcome IS NULL;
CREATE INDEX journal_dead ON journal (settled) WHERE outcome = 'dead';
CREATE INDEX journal_cause ON journal (cause) WHERE cause IS NOT NULL;
CREATE INDEX journal_event ON journal (event_id) WHERE event_id IS NOT NULL;
-- postgres only
ALTER TABLE rooms SET (fillfactor = 80);
