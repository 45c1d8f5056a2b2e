-- The cookies that a login set: they go wherever its token goes, and are forgotten with it.

ALTER TABLE accounts ADD COLUMN cookies TEXT NOT NULL DEFAULT '';
