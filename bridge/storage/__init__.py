"""StorePort over SQLite and PostgreSQL; the one in memory is the tests' (`tests/fakes/memory.py`).

Only this package knows databases. `open.py` is the way in; `store.py` is the port over the group
writer (`group.py`) and an engine (`sqlite.py`, `postgres.py`); `writes.py` and `reads.py` hold what
each call does, once for both engines; `statements.py` is the SQL.
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
