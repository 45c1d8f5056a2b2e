"""Tables of a database, read from its catalogue, and copying of their rows.

All differences between the engines are levelled here. A copied row has only None, str, bytes and
int: SQLite has no booleans, PostgreSQL no NUL in a text. Rows come in key order, texts compared by
bytes, so that two databases or a backup file can be compared side by side.

Both engines read a snapshot: PostgreSQL by a cursor in one transaction (sequential reads use the
same connection), SQLite page by page in one transaction.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from bridge.rooms.store import StoreError
from bridge.storage.migrate import MOVED, UNFINISHED, known
from bridge.storage.query import (
    CorruptDatabaseError,
    Dialect,
    Engine,
    Query,
    Rows,
    Statement,
    for_rows,
    same,
)

Value = str | bytes | int | None
Row = tuple[Value, ...]
Key = tuple[str | int, ...]
"""Key of a row; no key column has another type."""
PAGE = 200
"""Rows of a page: 13 MB at most if each is as large as a Matrix event may be (64 KiB)."""

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
        columns = tuple((one.name, one.kind) for one in self.columns)
        return self.name, columns, self.key, self.numbered

    def keyed(self) -> Callable[[Sequence[Value]], Key]:
        """Make a function that returns the key of a row."""
        names = [one.name for one in self.columns]
        places = [names.index(name) for name in self.key]
        return lambda row: tuple(row[place] for place in places)  # type: ignore[misc]


def shown(key: Key) -> str:
    """Format a row's key for messages."""
    return " ".join(map(str, key))


# --- the catalogue -------------------------------------------------------------------------------

_CATALOGUE = Statement(
    # Table, column, type, position in the key (0: none), whether auto-incremented.
    "SELECT m.name, c.name, c.type, c.pk, c.pk > 0 AND m.sql LIKE '%AUTOINCREMENT%' "
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
    columns: dict[str, list[Column]] = {}
    keys: dict[str, list[tuple[int, str]]] = {}
    numbered = set()
    for table, name, native, place, counted in await engine.read(Query(_CATALOGUE)):
        if table not in ours:
            continue
        kind = _KINDS.get(native.lower())
        if kind is None:
            raise StoreError(f"{table}.{name} has a type that cannot be copied: {native}")
        columns.setdefault(table, []).append(Column(name, kind, native.lower()))
        if place:
            keys.setdefault(table, []).append((place, name))
        if counted:
            numbered.add(table)
    return [
        Table(table, tuple(has), tuple(name for _, name in sorted(keys[table])), table in numbered)
        for table, has in columns.items()
    ]


def made(dialect: Dialect) -> set[tuple[str, str]]:
    """Return TABLE or VIEW and the name of everything that any migration creates."""
    found = (one for migration in known(dialect) for one in _MADE.findall(migration.script))
    ours = {(kind or "TABLE", name or renamed) for kind, name, _, renamed in found}
    return ours | {("TABLE", "schema_version")}


def dropping(dialect: Dialect) -> list[Query]:
    """Return statements that drop all views and tables of the bridge, views first."""
    end = " CASCADE" if dialect is Dialect.POSTGRES else ""
    ordered = sorted(made(dialect), reverse=True)
    return [Query(same(f"DROP {kind} IF EXISTS {name}{end}")) for kind, name in ordered]


# --- reading -------------------------------------------------------------------------------------

_BEGIN = Statement("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


class Contents(msgspec.Struct, frozen=True):
    """A table with the amount of its rows."""

    table: Table
    rows: int
    number: int
    """Highest auto-increment number given to a row; 0 if none."""


class Snapshot(msgspec.Struct, eq=False):
    """A consistent snapshot of a database, unaffected by later writes."""

    _engine: Engine
    tables: Sequence[Table]

    async def contents(self) -> list[Contents]:
        found = []
        for table in self.tables:
            counting = f"SELECT count(*) FROM {table.name} WHERE {_kept(table)}"  # noqa: S608 - ours
            ((count,),) = await self._engine.read(Query(same(counting)))
            found.append(Contents(table, int(count), await self._number(table)))
        return found

    async def _number(self, table: Table) -> int:
        if not table.numbered:
            return 0
        name, column = table.name, table.key[0]
        highest = f"(SELECT coalesce(max({column}), 0) FROM {name})"  # noqa: S608 - ours
        given = "SELECT seq FROM sqlite_sequence WHERE name = ?1"
        sequence = f"pg_get_serial_sequence($1, '{column}')::regclass"
        last = Statement(
            f"SELECT max({highest}, coalesce(({given}), 0))",
            f"SELECT greatest({highest}, coalesce(pg_sequence_last_value({sequence}), 0))",
        )
        ((number,),) = await self._engine.read(Query(last, (name,)))
        return int(number)

    async def pages(
        self, table: str = "", after: Key = ()
    ) -> AsyncIterator[tuple[Table, list[Row]]]:
        """Yield the rows by table name and key, beginning with this table, after the key."""
        paged = self._fetched if self._engine.dialect is Dialect.POSTGRES else self._looked_up
        for one in self.tables:
            if one.name >= table:
                async for rows in paged(one, after if one.name == table else ()):
                    yield one, _checked(one, rows)

    async def _looked_up(self, table: Table, after: Key) -> AsyncIterator[Rows]:
        key_of = table.keyed()
        while True:
            text = f"{selecting(table, Dialect.SQLITE, after=bool(after))} LIMIT {PAGE}"
            rows = await self._engine.read(Query(same(text), after))
            if not rows:
                return
            after = key_of(rows[-1])
            yield rows

    async def _fetched(self, table: Table, after: Key) -> AsyncIterator[Rows]:
        cursor = f"copied_{table.name}"  # per table: asyncpg caches a statement's columns by text
        text = selecting(table, Dialect.POSTGRES, after=bool(after))
        await self._engine.read(Query(same(f"DECLARE {cursor} NO SCROLL CURSOR FOR {text}"), after))
        while rows := await self._engine.read(Query(same(f"FETCH {PAGE} FROM {cursor}"))):
            yield rows
        await self._engine.read(Query(same(f"CLOSE {cursor}")))


@asynccontextmanager
async def snapshot(engine: Engine) -> AsyncIterator[Snapshot]:
    """Open a read snapshot of a database; nothing else may read through the engine meanwhile."""
    await engine.read(Query(_BEGIN))
    try:
        yield Snapshot(engine, await catalogue(engine))
    finally:
        await engine.read(Query(same("ROLLBACK")))


def selecting(table: Table, dialect: Dialect, *, after: bool) -> str:
    """Write a SELECT of a table's rows in key order; with `after` only those after a key."""
    columns = ", ".join(
        f"{one.name}::integer" if one.native == "boolean" else one.name for one in table.columns
    )
    texts = {one.name for one in table.columns if one.kind == "text"}
    bytewise = ' COLLATE "C"' if dialect is Dialect.POSTGRES else ""
    key = ", ".join(f"{name}{bytewise}" if name in texts else name for name in table.key)
    condition = _kept(table)
    if after:
        values = ", ".join(f"${number}" for number, _ in enumerate(table.key, 1))
        condition += f" AND ({key}) > ({values})"
    return f"SELECT {columns} FROM {table.name} WHERE {condition} ORDER BY {key}"  # noqa: S608


def _kept(table: Table) -> str:
    """Return the SQL condition for rows to copy: all but the marks of `migrate.py`."""
    return f"name NOT IN ('{UNFINISHED}', '{MOVED}')" if table.name == "facts" else "true"


def _checked(table: Table, rows: Rows) -> list[Row]:
    """Check the types of rows, which SQLite does not enforce."""
    types = [TYPES[one.kind] for one in table.columns]
    for row in rows:
        for value, kind in zip(row, types, strict=True):
            if value is not None and type(value) is not kind:
                raise CorruptDatabaseError(
                    f"{table.name} has a row with {type(value).__name__} instead of "
                    f"{kind.__name__}: {shown(table.keyed()(row))}"
                )
    return [tuple(row) for row in rows]


# --- writing -------------------------------------------------------------------------------------


def inserting(table: Table) -> Statement:
    """Make an INSERT into the target's table that keeps the rows' auto-increment numbers."""
    columns = ", ".join(one.name for one in table.columns)
    into = f"INSERT INTO {table.name} ({columns})"
    statement = for_rows(f"{into} {{rows}}", ", ".join(one.native for one in table.columns))
    given = f"{into} OVERRIDING SYSTEM VALUE"
    return Statement(
        statement.sqlite,
        statement.postgres.replace(into, given, 1),
        statement.single.replace(into, given, 1),
    )


_FITS: Mapping[str, Callable[[Any], Value]] = {
    "boolean": bool,
    "text": lambda text: text.replace("\0", "\ufffd"),
}
"""Conversions of a value for a column of PostgreSQL, by its type."""


def holding(dialect: Dialect, table: Table) -> Callable[[Row], Row]:
    """Make a function that adapts a row to an engine, as parameters of `inserting`.

    PostgreSQL has booleans, and no NUL in texts, which becomes U+FFFD. The function raises
    StoreError if a key has a NUL, as the row could not be found any more.
    """
    if dialect is Dialect.SQLITE:
        return lambda row: row
    key_of = table.keyed()
    fits = [_FITS.get(one.native) for one in table.columns]

    def for_postgres(row: Row) -> Row:
        if any("\0" in str(part) for part in key_of(row)):
            raise StoreError(
                f"{table.name} has a row whose key contains a NUL, which PostgreSQL cannot store: "
                f"{shown(key_of(row))}"
            )
        return tuple(
            value if fit is None or value is None else fit(value)
            for fit, value in zip(fits, row, strict=True)
        )

    return for_postgres


def numbering(contents: Contents) -> list[Query]:
    """Return statements that make auto-increment of a table continue after `number`."""
    table, number = contents.table, contents.number
    if not number:
        return []
    forget = Statement("DELETE FROM sqlite_sequence WHERE name = ?1", "SELECT $1::text")
    sequence = f"pg_get_serial_sequence($1, '{table.key[0]}')"
    count = Statement(
        "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
        f"SELECT setval({sequence}, $2)",
    )
    return [Query(forget, (table.name,)), Query(count, (table.name, number))]
