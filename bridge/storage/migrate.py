"""The schema: its migrations, and the catalogue of tables.

Migrations are numbered files of plain SQL, each applied in its own transaction.

A file that fails is rolled back. Refused before anything is changed: a schema written by a later
version of this program, and a database that is only partly filled or was moved elsewhere
(`transfer.py` writes these marks).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from itertools import groupby
from operator import itemgetter
from typing import Literal, NamedTuple, TypeVar

import msgspec

from bridge.rooms.store import StoreError
from bridge.storage.query import (
    UNREADABLE,
    CorruptDatabaseError,
    Dialect,
    Engine,
    Query,
    Rows,
    Statement,
    same,
    until_free,
)

SCHEMA_VERSION = 14
"""Schema version that this program works with: the number of the last file."""
PATIENCE = 10.0
"""Seconds to wait for bridges of an earlier version to stop."""

_VERSIONED = Statement(
    sqlite="SELECT count(*), count(*) FILTER (WHERE name = 'applied') "
    "FROM pragma_table_info('schema_version')",
    postgres="SELECT count(*), count(*) FILTER (WHERE attname = 'applied') FROM pg_attribute "
    "WHERE attrelid = to_regclass('schema_version') AND attnum > 0",
)
"""Number of columns of the table of versions, and of those with a name that only ours has."""
_VERSION = same("SELECT max(version) FROM schema_version")
_CREATE_VERSIONS = same(
    "CREATE TABLE IF NOT EXISTS schema_version "
    "(version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied BIGINT NOT NULL)"
)
_RECORD = same("INSERT INTO schema_version (version, name, applied) VALUES ($1, $2, $3)")
_MARK = same("SELECT value FROM facts WHERE name = $1")
# If two processes start at once, the second waits, then finds nothing left to do. SQLite needs no
# such lock: its write transactions exclude one another. The number was chosen at random.
_LOCK = Statement(sqlite="SELECT 1", postgres="SELECT pg_advisory_xact_lock(719224653)")


_HINDERED = Statement(
    sqlite="SELECT ''",
    postgres="SELECT CASE WHEN current_setting('transaction_read_only') = 'on' "
    "THEN 'this server accepts no writes (25006)' "
    "WHEN current_schema() IS NULL THEN 'no schema of the search_path can be used (3F000)' "
    "WHEN has_schema_privilege(current_schema(), 'CREATE') THEN '' "
    "ELSE 'the role may not create tables in this database (42501)' END",
)


class Migration(NamedTuple):
    number: int
    name: str
    script: str
    """SQL of one dialect; every statement ends with a semicolon at the end of a line."""


def known(dialect: Dialect) -> list[Migration]:
    """Return the program's migrations for a dialect, in order."""
    found = []
    for file in (resources.files("bridge.storage") / "schema").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            script = _in_dialect(file.read_text(encoding="utf-8"), dialect)
            found.append(Migration(int(number), name, script))
    return sorted(found)


_SQLITE_TYPES = {
    "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY": "INTEGER PRIMARY KEY AUTOINCREMENT",
    " OVERRIDING SYSTEM VALUE": "",
    "TEXT PRIMARY KEY": "TEXT PRIMARY KEY NOT NULL",
    "BIGINT": "INTEGER",
    "BOOLEAN": "INTEGER",
    "DEFAULT false": "DEFAULT 0",
    "BYTEA": "BLOB",
}


def _in_dialect(script: str, dialect: Dialect) -> str:
    """Leave out the statements for the other engine, and write the types of this one."""
    others = {f"-- {other} only" for other in Dialect if other is not dialect}
    kept = [part for part in script.split(";\n") if others.isdisjoint(part.splitlines())]
    script = ";\n".join(kept)
    for postgres, sqlite in _SQLITE_TYPES.items() if dialect is Dialect.SQLITE else ():
        script = script.replace(postgres, sqlite)
    return script


class ForeignSchemaError(StoreError):
    """The database belongs to another program, such as the homeserver."""


class NewerSchemaError(StoreError):
    def __init__(self, found: int, known: int) -> None:
        super().__init__(
            f"the database has schema {found}, this program knows schemas up to {known}: "
            "upgrade the program, or restore the backup made before the upgrade into an empty "
            "database"
        )


UNFINISHED, MOVED = "transfer", "moved"
"""Names of the facts that mark a database as being filled (`Mark`) or as moved (`Moved`)."""


class Mark(msgspec.Struct, frozen=True):
    """Mark of a database that is being filled: from which source, and how far."""

    id: str
    """Id of the backup, or a random id of the move."""
    source: str
    """Readable name of the source."""
    table: str = ""
    """Table of the last row copied; tables are filled in the order of their names."""
    after: tuple[str | int, ...] = ()
    """Key of the last row copied."""


class Moved(msgspec.Struct, frozen=True):
    """Mark of a database whose rows were moved to another one."""

    id: str
    """Id of the move (`Mark.id`)."""
    to: str
    """Readable name of the target."""
    at: int
    """ms since the epoch."""


M = TypeVar("M", Mark, Moved)


class UnfinishedError(StoreError):
    def __init__(self, mark: Mark) -> None:
        super().__init__(
            f"the database is incomplete: copying from {mark.source} has not finished; run the "
            "same `migrate-db` or `restore` again to continue, or with --replace to start over"
        )


class MovedError(StoreError):
    def __init__(self, moved: Moved) -> None:
        super().__init__(
            f"the database was moved to {moved.to}: set database.url to that one; or, to go on "
            "using this one as it was then, run `matrix-webchat migrate-db --take-back`"
        )


class PartialError(StoreError):
    def __init__(self, table: str) -> None:
        super().__init__(
            f"the database has a table {table} without its key or without a version, as after a "
            "dump that was restored in part, or another program's: restore the whole dump into an "
            "empty database, in one transaction"
        )


def read_mark(value: str, kind: type[M]) -> M:
    """Decode a mark; raises CorruptDatabaseError."""
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError as error:
        why = f"{UNREADABLE}: the mark of a moved or incomplete database: {error}"
        raise CorruptDatabaseError(why) from error


async def unfinished(engine: Engine) -> Mark | None:
    """Return the mark of a database that is being filled, or None; it must have a schema."""
    found = await engine.read(Query(_MARK, (UNFINISHED,)))
    return read_mark(found[0][0], Mark) if found else None


async def moved_to(engine: Engine) -> Moved | None:
    """Return the mark of a database that was moved, or None; UnfinishedError if partly filled."""
    if mark := await unfinished(engine):
        raise UnfinishedError(mark)
    found = await engine.read(Query(_MARK, (MOVED,)))
    return read_mark(found[0][0], Moved) if found else None


async def current_version(engine: Engine) -> int:
    """Return the database's schema version; 0 if it has no schema. Raises ForeignSchemaError."""
    ((columns, ours),) = await engine.read(Query(_VERSIONED))
    if not columns:
        return 0
    if not ours:
        raise ForeignSchemaError("the database has the schema of another program")
    ((version,),) = await engine.read(Query(_VERSION))
    return int(version or 0)


async def pending(engine: Engine, migrations: Sequence[Migration]) -> list[Migration]:
    """Return those of all known migrations that `migrate` would apply.

    Raises ForeignSchemaError, NewerSchemaError, PartialError, UnfinishedError, MovedError;
    StoreError if PostgreSQL forbids them.
    """
    columns = await engine.read(Query(_CATALOGUE))  # before the version, which grows with it
    version = await current_version(engine)
    newest = max((migration.number for migration in migrations), default=0)
    if version > newest:
        raise NewerSchemaError(version, newest)
    ours = {name for _, name in made(engine.dialect)} - {"schema_version"}
    whole = {table for table, _, _, place, _ in columns if place and version}
    if lacking := ours & {table for table, *_ in columns} - whole:
        raise PartialError(min(lacking))
    if version and (moved := await moved_to(engine)):
        raise MovedError(moved)
    if found := [migration for migration in migrations if migration.number > version]:
        ((why,),) = await engine.read(Query(_HINDERED))
        if why:
            raise StoreError(f"PostgreSQL: {why}")
    return found


async def migrate(
    engine: Engine, now: int, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """Bring the schema up to date and return the migrations applied; `now` is recorded with them.

    Raises as `pending` does; AlreadyInUse if bridges of an earlier version are at work; StoreError
    if a migration failed: it is rolled back, those before it stay applied.
    """
    if migrations is None:
        migrations = known(engine.dialect)
    applied = []

    async def apply(due: Migration) -> None:
        try:
            await engine.migrate([*FIRST, *steps(due, now)])
            applied.append(due)
        except StoreError:
            # Another process may have applied it first.
            if await current_version(engine) < due.number:
                raise

    while due := await pending(engine, migrations):
        await until_free(partial(apply, due[0]), PATIENCE)
    return applied


FIRST = (Query(_LOCK), Query(_CREATE_VERSIONS))
"""First queries of a transaction that migrates."""


def steps(migration: Migration, now: int) -> list[Query]:
    """Return the queries of a migration, and of its record in `schema_version`."""
    lines = migration.script.splitlines()
    bare = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    texts = [part.strip().removesuffix(";") for part in bare.split(";\n") if part.strip()]
    record = Query(_RECORD, (migration.number, migration.name, now))
    return [record, *(Query(Statement(text, text)) for text in texts)]


# --- the catalogue of tables ----------------------------------------------------------------------

Value = str | bytes | int | None
Row = tuple[Value, ...]
Key = tuple[str | int, ...]
"""Key of a row; no key column has another type."""
_LOCAL = {"schema_version", "writers", "replicas"}
"""Tables about the database itself and the processes that use it; never copied."""
_MADE = re.compile(r"\bCREATE (?:OR REPLACE )?(TABLE|VIEW) (\w+)|\b(RENAME) TO (\w+)")
Kind = Literal["text", "bytes", "integer"]
TYPES: dict[Kind, type] = {"text": str, "bytes": bytes, "integer": int}
_KINDS: dict[str, Kind] = {
    "text": "text",
    "bytea": "bytes",
    "blob": "bytes",
    "bigint": "integer",
    "integer": "integer",
    "boolean": "integer",
}


class Column(msgspec.Struct, frozen=True):
    name: str
    kind: Kind
    native: str
    """The engine's name of the type."""


class Table(msgspec.Struct, frozen=True):
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    numbered: bool
    """Whether the key column is auto-incremented."""

    @property
    def shape(self) -> object:
        """Description that is equal for two tables with interchangeable rows."""
        columns = tuple((column.name, column.kind) for column in self.columns)
        return self.name, columns, self.key, self.numbered

    def keyed(self) -> Callable[[Sequence[Value]], Key]:
        names = [column.name for column in self.columns]
        places = [names.index(name) for name in self.key]
        return lambda row: tuple(row[place] for place in places)  # type: ignore[misc]


_CATALOGUE = Statement(
    # Table, column, type, position in the key (0: none), whether auto-incremented.
    "SELECT m.name, c.name, lower(c.type), c.pk, c.pk > 0 AND m.sql LIKE '%AUTOINCREMENT%' "
    "FROM sqlite_master AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table' "
    "ORDER BY m.name, c.cid",
    "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL), "
    "coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0), a.attidentity <> '' "
    "FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 "
    "AND NOT a.attisdropped LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary "
    "WHERE c.relkind = 'r' AND c.relnamespace = "
    "(SELECT oid FROM pg_namespace WHERE nspname = current_schema()) "
    'ORDER BY c.relname::text COLLATE "C", a.attnum',
)


async def catalogue(engine: Engine) -> list[Table]:
    """Return the bridge's tables that are copied, by name; empty if there is no schema."""
    ours = {name for kind, name in made(engine.dialect) if kind == "TABLE"} - _LOCAL
    rows = await engine.read(Query(_CATALOGUE))
    by_table = groupby(rows, itemgetter(0))
    return [_table(name, [*columns]) for name, columns in by_table if name in ours]


def _table(table: str, rows: Rows) -> Table:
    columns = []
    for _, name, native, _, _ in rows:
        if native not in _KINDS:
            raise StoreError(f"{table}.{name} has a type that cannot be copied: {native}")
        columns.append(Column(name, _KINDS[native], native))
    key = tuple(name for _, name, _, place, _ in sorted(rows, key=itemgetter(3)) if place)
    return Table(table, tuple(columns), key, any(counted for *_, counted in rows))


def made(dialect: Dialect) -> set[tuple[str, str]]:
    """Return TABLE or VIEW and the name of everything that any migration creates."""
    found = (name for migration in known(dialect) for name in _MADE.findall(migration.script))
    ours = {(kind or "TABLE", name or renamed) for kind, name, _, renamed in found}
    return ours | {("TABLE", "schema_version")}


def dropping(dialect: Dialect) -> list[Query]:
    """Return statements that drop all views and tables of the bridge, views first."""
    end = " CASCADE" if dialect is Dialect.POSTGRES else ""
    ordered = sorted(made(dialect), reverse=True)
    return [Query(same(f"DROP {kind} IF EXISTS {name}{end}")) for kind, name in ordered]
