-- Of an encrypted room the whole record is sealed with the operator's key, in `words`; `record` holds
-- what of it may lie in clear. When a chat ended, and when a ghost was last with somebody, so that
-- both can be let go (`retention`). Same rule for the ends of lines as in 001.

ALTER TABLE rooms ADD COLUMN words BYTEA;
ALTER TABLE chats ADD COLUMN ended BIGINT;
-- sqlite only
UPDATE chats SET ended = json_extract(CAST(chat AS TEXT), '$.ended');
-- postgres only
UPDATE chats SET ended =
  (replace(convert_from(chat, 'UTF8'), '\u0000', '\ufffd')::json ->> 'ended')::bigint;
CREATE INDEX chats_ended ON chats (ended) WHERE ended IS NOT NULL;
ALTER TABLE ghosts ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
-- sqlite only
UPDATE ghosts SET seen = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
-- postgres only
UPDATE ghosts SET seen = (extract(epoch FROM now()) * 1000)::bigint;
