-- The chats of a room, kept for as long as the room's own record. Same rule for the ends of lines
-- as in 001.

CREATE TABLE chats (
  room_id TEXT NOT NULL,
  number BIGINT NOT NULL,
  chat BYTEA NOT NULL,
  PRIMARY KEY (room_id, number)
);
