"""StorePort over SQLite and PostgreSQL; the one in memory is the tests' (`tests/fakes/memory.py`).

Only this package knows databases. `open.py` is the way in; `store.py` is the port over the group
writer (`group.py`) and an engine (`sqlite.py`, `postgres.py`); `sql.py` holds the SQL of every call
and what the call does with it, once for both engines.
"""

from bridge.storage.errors import (
    AlreadyInUse,
    CorruptDatabaseError,
    NewerSchemaError,
    Unreachable,
    database_is_corrupt,
)
from bridge.storage.migrate import SCHEMA_VERSION
from bridge.storage.open import open_store, pending_migrations

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
