-- Of an encrypted room the whole record is sealed with the operator's key, in `words`; `record` holds
-- what of it may lie in clear. When a chat ended, and when a ghost was last with somebody, so that
-- both can be let go (`retention`). Same rule for the ends of lines as in 001.

ALTER TABLE rooms ADD COLUMN words BLOB;
ALTER TABLE chats ADD COLUMN ended INTEGER;
UPDATE chats SET ended = json_extract(CAST(chat AS TEXT), '$.ended');
CREATE INDEX chats_ended ON chats (ended) WHERE ended IS NOT NULL;
ALTER TABLE ghosts ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
UPDATE ghosts SET seen = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
