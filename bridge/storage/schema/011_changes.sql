-- The audit: who changed what, when, and which way. Rows are only ever added, by their number.

CREATE TABLE changes (
  number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at BIGINT NOT NULL,
  enterprise TEXT NOT NULL,
  room_id TEXT NOT NULL,
  actor TEXT NOT NULL,
  way TEXT NOT NULL,
  key TEXT NOT NULL,
  before TEXT NOT NULL,
  after TEXT NOT NULL
);
CREATE INDEX changes_of_room ON changes (room_id, number);
