"""StorePort over SQLite and PostgreSQL; the one in memory is the tests' (`tests/fakes/memory.py`).

Only this package knows databases. `sqlstore.py` is the way in: the port over the group writer
(`group.py`) and an engine (`sqlite.py`, `postgres.py`); `sql.py` holds the SQL, once for both.
"""
