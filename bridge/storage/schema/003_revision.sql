-- How often a room was written: a step made from an older revision is refused.

ALTER TABLE rooms ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
