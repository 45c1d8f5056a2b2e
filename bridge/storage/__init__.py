"""StorePort over SQLite and PostgreSQL; the one in memory is the tests' (`tests/fakes/memory.py`).

Only this package knows databases. `sqlstore.py` is the way in: the port over the group writer
(`group.py`) and an engine (`sqlite.py`, `postgres.py`); `sql.py` holds the SQL of every call and
what the call does with it, once for both engines.
"""

from bridge.storage.migrate import SCHEMA_VERSION, NewerSchemaError
from bridge.storage.query import (
    AlreadyInUse,
    CorruptDatabaseError,
    Unreachable,
    database_is_corrupt,
)
from bridge.storage.sqlstore import open_store, pending_migrations

__all__ = [
    "SCHEMA_VERSION",
    "AlreadyInUse",
    "CorruptDatabaseError",
    "NewerSchemaError",
    "Unreachable",
    "database_is_corrupt",
    "open_store",
    "pending_migrations",
]
