"""StorePort over SQLite and PostgreSQL (tests also have one in memory: `tests/fakes/memory.py`).

Only this package knows databases. Start with `sqlstore.py`: the port, with the group writer, built
on an engine (`sqlite.py`, `postgres.py`). `sql.py` holds the SQL of both dialects.
"""
