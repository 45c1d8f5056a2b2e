-- What an agent's picture is, and when it was last looked at: the same one is not uploaded again,
-- and another one under the same address is noticed.

ALTER TABLE ghosts ADD COLUMN avatar_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE ghosts ADD COLUMN avatar_at BIGINT NOT NULL DEFAULT 0;
