-- What a process tells the others of itself with its signs of life, as JSON (bridge/admin/views.py).

-- postgres only
ALTER TABLE replicas ADD COLUMN report TEXT NOT NULL DEFAULT '';
