"""The SQL of every call, in the words that SQLite and PostgreSQL share.

A row of inbox or outbox is open while `outcome` is null. The partial indexes of the schema repeat
the conditions written here; a condition that is spelt otherwise is not served by them.
"""

from __future__ import annotations

from bridge.storage.query import for_rows, same

# --- what flows: inbox, rooms, outbox -----------------------------------------------------------

INSERT_INPUTS = for_rows(
    "INSERT INTO inbox (room_id, key, body, received) {rows} "
    "ON CONFLICT (key) DO NOTHING RETURNING seq, key",
    "text",
    "text",
    "bytea",
    "bigint",
)
INSERT_ENDED_INPUTS = for_rows(
    "INSERT INTO inbox (room_id, key, body, received, outcome, settled) {rows} "
    "ON CONFLICT (key) DO NOTHING RETURNING seq",
    "text",
    "text",
    "bytea",
    "bigint",
    "text",
    "bigint",
)
# `revision` is the new one. A room is written only if the stored revision is the one before; the
# rooms that were written come back.
SAVE_ROOMS = for_rows(
    "WITH new (room_id, record, live, phase, deadline, customer, revision) AS ({rows}) "
    "INSERT INTO rooms (room_id, record, live, phase, deadline, customer, revision) "
    "SELECT room_id, record, live, phase, deadline, customer, revision FROM new "
    "WHERE revision = 1 OR EXISTS (SELECT 1 FROM rooms WHERE rooms.room_id = new.room_id) "
    "ON CONFLICT (room_id) DO UPDATE SET record = excluded.record, live = excluded.live, "
    "phase = excluded.phase, deadline = excluded.deadline, customer = excluded.customer, "
    "revision = excluded.revision WHERE rooms.revision = excluded.revision - 1 RETURNING room_id",
    "text",
    "bytea",
    "boolean",
    "text",
    "bigint",
    "text",
    "bigint",
)
SAVE_CHATS = for_rows(
    "INSERT INTO chats (room_id, number, chat) {rows} "
    "ON CONFLICT (room_id, number) DO UPDATE SET chat = excluded.chat",
    "text",
    "bigint",
    "bytea",
)
SETTLE_INPUTS = for_rows(
    "WITH ended (seq, outcome, settled, detail) AS ({rows}) UPDATE inbox "
    "SET outcome = ended.outcome, settled = ended.settled, detail = ended.detail "
    "FROM ended WHERE inbox.seq = ended.seq AND inbox.outcome IS NULL RETURNING inbox.seq",
    "bigint",
    "text",
    "bigint",
    "text",
)
INSERT_OUTBOX = for_rows(
    "INSERT INTO outbox "
    "(room_id, lane, effect, created, cause, call_id, repeat, attempted, attempts) {rows} "
    "RETURNING seq",
    "text",
    "text",
    "bytea",
    "bigint",
    "text",
    "bigint",
    "boolean",
    "bigint",
    "bigint",
)
MARK_ATTEMPTED = for_rows(
    "WITH tried (seq, at) AS ({rows}) UPDATE outbox "
    "SET attempted = tried.at, attempts = attempts + 1 "
    "FROM tried WHERE outbox.seq = tried.seq AND outbox.outcome IS NULL",
    "bigint",
    "bigint",
)
SETTLE_OUTBOX = for_rows(
    "WITH ended (seq, outcome, settled, detail, event_id) AS ({rows}) UPDATE outbox "
    "SET outcome = ended.outcome, settled = ended.settled, detail = ended.detail, "
    "event_id = ended.event_id "
    "FROM ended WHERE outbox.seq = ended.seq AND outbox.outcome IS NULL "
    "RETURNING outbox.seq, outbox.room_id",
    "bigint",
    "text",
    "bigint",
    "text",
    "text",
)
SAVE_ANCHORS = for_rows(
    "INSERT INTO anchors (room_id, name, event_id) {rows} "
    "ON CONFLICT (room_id, name) DO UPDATE SET event_id = excluded.event_id",
    "text",
    "text",
    "text",
)

# --- reading what flows -------------------------------------------------------------------------

ROOM = same(
    "SELECT room_id, record, live, phase, deadline, customer, revision FROM rooms "
    "WHERE room_id = $1"
)
OPEN_INPUTS = same(
    "SELECT seq, room_id, body, received, key FROM inbox "
    "WHERE room_id = $1 AND outcome IS NULL ORDER BY seq"
)
OPEN_OUTBOX = same(
    "SELECT seq, room_id, lane, effect, created, attempted, attempts, cause, call_id, repeat, "
    "revived FROM outbox WHERE room_id = $1 AND outcome IS NULL ORDER BY seq"
)
BUSY_ROOMS = same(
    "SELECT room_id FROM ("
    "SELECT room_id, received AS since FROM inbox WHERE outcome IS NULL UNION ALL "
    "SELECT room_id, created AS since FROM outbox WHERE outcome IS NULL"
    ") AS work GROUP BY room_id ORDER BY min(since), room_id"
)
LIVE_ROOMS = same("SELECT room_id FROM rooms WHERE live ORDER BY room_id")
DEADLINES = same(
    "SELECT room_id, deadline FROM rooms WHERE deadline IS NOT NULL ORDER BY deadline, room_id"
)
OPEN_INBOX = same("SELECT count(*), min(received) FROM inbox WHERE outcome IS NULL")
OPEN_LANES = same(
    "SELECT lane, count(*), min(created) FROM outbox WHERE outcome IS NULL GROUP BY lane"
)
DEAD = same(
    "SELECT (SELECT count(*) FROM inbox WHERE outcome = 'dead') "
    "+ (SELECT count(*) FROM outbox WHERE outcome = 'dead')"
)
ROOMS_OF = same("SELECT count(*) FROM rooms WHERE customer = $1 AND customer <> ''")
CHATS = same(
    "SELECT number, chat FROM chats WHERE room_id = $1 AND number <= $2 "
    "ORDER BY number DESC LIMIT $3"
)
ANCHOR = same("SELECT event_id FROM anchors WHERE room_id = $1 AND name = $2")

# --- people and peers ---------------------------------------------------------------------------

GHOST = same(
    "SELECT user_id, displayname, avatar_source, avatar_mxc, device, avatar_hash, avatar_at "
    "FROM ghosts WHERE user_id = $1"
)
SAVE_GHOST = same(
    "INSERT INTO ghosts (user_id, displayname, avatar_source, avatar_mxc, device, avatar_hash, "
    "avatar_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id) DO UPDATE SET "
    "displayname = excluded.displayname, avatar_source = excluded.avatar_source, "
    "avatar_mxc = excluded.avatar_mxc, device = excluded.device, "
    "avatar_hash = excluded.avatar_hash, avatar_at = excluded.avatar_at"
)
ACCOUNT = same(
    "SELECT room_id, login_name, token, issued, client_id, cookies FROM accounts WHERE room_id = $1"
)
SAVE_ACCOUNT = same(
    "INSERT INTO accounts (room_id, login_name, token, issued, client_id, cookies) "
    "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (room_id) DO UPDATE SET "
    "login_name = excluded.login_name, token = excluded.token, issued = excluded.issued, "
    "client_id = excluded.client_id, cookies = excluded.cookies"
)
FORGET_TOKEN = same("UPDATE accounts SET token = '', cookies = '' WHERE room_id = $1")
FACT = same("SELECT value FROM facts WHERE name = $1")
SAVE_FACT = same(
    "INSERT INTO facts (name, value) VALUES ($1, $2) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)

SECRET = same("SELECT value FROM secrets WHERE name = $1")
SECRET_NAMES = same(
    "SELECT name FROM secrets WHERE substr(name, 1, length(CAST($1 AS TEXT))) = CAST($1 AS TEXT)"
)
SAVE_SECRETS = for_rows(
    "INSERT INTO secrets (name, value, keep_until) {rows} "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value, keep_until = excluded.keep_until",
    "text",
    "bytea",
    "bigint",
)
DROP_SECRETS = for_rows("DELETE FROM secrets WHERE name IN ({rows})", "text")
DROP_ALL_SECRETS = same("DELETE FROM secrets RETURNING name")

# --- the ledger ---------------------------------------------------------------------------------

TRACE_INPUTS = same(
    "SELECT room_id, received, revived, outcome, settled, detail FROM inbox WHERE key = $1"
)
TRACE_OUTBOX = same(
    "SELECT room_id, lane, created, attempted, attempts, repeat, revived, outcome, settled, detail "
    "FROM outbox WHERE cause = $1 OR event_id = $1 ORDER BY seq"
)
INPUT_OF = same("SELECT body FROM inbox WHERE key = $1 AND room_id = $2 AND body IS NOT NULL")
EFFECT_OF = same(
    "SELECT effect FROM outbox WHERE event_id = $1 AND room_id = $2 AND effect IS NOT NULL "
    "ORDER BY seq LIMIT 1"
)
FORGET_BODY = (
    same(
        "UPDATE inbox SET body = NULL WHERE key = $1 AND room_id = $2 "
        "AND outcome IS NOT NULL AND outcome <> 'dead' RETURNING seq"
    ),
    same(
        "UPDATE outbox SET effect = NULL WHERE cause = $1 AND room_id = $2 "
        "AND outcome IS NOT NULL AND outcome <> 'dead' RETURNING seq"
    ),
)
DEAD_INPUTS = same(
    "SELECT seq, room_id, settled, detail, body FROM inbox "
    "WHERE outcome = 'dead' ORDER BY settled, seq LIMIT $1"
)
DEAD_OUTBOX = same(
    "SELECT seq, room_id, settled, detail, effect FROM outbox "
    "WHERE outcome = 'dead' ORDER BY settled, seq LIMIT $1"
)
REVIVE_INPUT = same(
    "UPDATE inbox SET outcome = NULL, settled = NULL, detail = '', revived = $2 "
    "WHERE seq = $1 AND outcome = 'dead' RETURNING seq"
)
# `attempted` stays: the peer may have seen it, and reviving does not change that.
REVIVE_OUTBOX = same(
    "UPDATE outbox SET outcome = NULL, settled = NULL, detail = '', attempts = 0, revived = $2 "
    "WHERE seq = $1 AND outcome = 'dead' RETURNING seq"
)
DISCARD_INPUT = same(
    "UPDATE inbox SET outcome = 'discarded', settled = $2 "
    "WHERE seq = $1 AND outcome = 'dead' RETURNING seq"
)
DISCARD_OUTBOX = same(
    "UPDATE outbox SET outcome = 'discarded', settled = $2 "
    "WHERE seq = $1 AND outcome = 'dead' RETURNING seq"
)

# --- pruning, a slice at a time: $1 is the moment, $2 the most rows that one slice may take -------

DROP_ROWS = (
    same(
        "DELETE FROM secrets WHERE name IN (SELECT name FROM secrets "
        "WHERE keep_until < $1 LIMIT $2) RETURNING name"
    ),
    same(
        "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox "
        "WHERE outcome <> 'dead' AND body IS NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
    same(
        "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox "
        "WHERE outcome <> 'dead' AND body IS NOT NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
    same(
        "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox "
        "WHERE outcome <> 'dead' AND effect IS NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
    same(
        "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox "
        "WHERE outcome <> 'dead' AND effect IS NOT NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
)
ERASE_BODIES = (
    same(
        "UPDATE inbox SET body = NULL WHERE seq IN (SELECT seq FROM inbox "
        "WHERE outcome <> 'dead' AND body IS NOT NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
    same(
        "UPDATE outbox SET effect = NULL WHERE seq IN (SELECT seq FROM outbox "
        "WHERE outcome <> 'dead' AND effect IS NOT NULL AND settled < $1 LIMIT $2) RETURNING seq"
    ),
)
PING = same("SELECT count(*) FROM schema_version")
