"""Copying all rows: move between databases of either engine, backup to a file, restore from it.

`move` copies database to database, `backup` database to file, `restore` file to database, with the
same code: tables by name, rows by key, in pages. A page and a mark of the progress (`Mark`) are
written in one transaction, so that a killed run can be resumed; no bridge starts on a database with
such a mark. At the end source and target are read side by side and every row is compared. At any
moment a bridge can start on at most one of two databases: the source is marked as moved (`Moved`)
before the target's mark is removed.

Memory: one page of each side, whatever the size of the database.

All differences between the engines are levelled here. A copied row has only None, str, bytes and
int: SQLite has no booleans, PostgreSQL no NUL in a text. Rows come in key order, texts compared by
bytes, so that two databases or a backup file can be compared side by side. Both engines read a
snapshot: PostgreSQL by a cursor in one transaction (sequential reads use the same connection),
SQLite page by page in one transaction.

The backup file is independent of the engine. JSON lines compressed with gzip (readable with
`zcat`): a header (format, schema, tables); then for each table its rows as lists in key order, and
a line with their count and SHA-256 digest; last, a digest of all lines except rows (rows are
covered by their table's digest). Bytes are base64. A truncated or altered file is detected before
any of its rows is used.
"""

from __future__ import annotations

import errno
import gzip
import os
import secrets
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from hashlib import sha256
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bridge.rooms.ports import Clock
from bridge.rooms.store import StoreError
from bridge.storage import sql
from bridge.storage.migrate import (
    FIRST,
    MOVED,
    SCHEMA_VERSION,
    TYPES,
    UNFINISHED,
    Key,
    Mark,
    Moved,
    MovedError,
    NewerSchemaError,
    Row,
    Table,
    UnfinishedError,
    Value,
    catalogue,
    current_version,
    dropping,
    known,
    migrate,
    moved_to,
    steps,
    unfinished,
)
from bridge.storage.query import (
    AlreadyInUse,
    CorruptDatabaseError,
    Dialect,
    Engine,
    Part,
    Query,
    Rows,
    Statement,
    Together,
    Unreachable,
    for_rows,
    same,
)
from bridge.storage.sqlstore import described, engine_for

PAGE = 200
"""Rows of a page: 13 MB at most if each is as large as a Matrix event may be (64 KiB)."""


def shown(key: Key) -> str:
    return " ".join(map(str, key))


# --- the rows of a database -----------------------------------------------------------------------

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
    contents: Sequence[Contents]

    async def pages(
        self, table: str = "", after: Key = ()
    ) -> AsyncIterator[tuple[Table, list[Row]]]:
        """Yield the rows by table name and key, beginning with this table, after the key."""
        for contents in self.contents:
            if (name := contents.table.name) >= table:
                async for rows in self.rows(contents.table, after if name == table else ()):
                    yield contents.table, rows

    async def rows(self, table: Table, after: Key = ()) -> AsyncIterator[list[Row]]:
        paged = self._fetched if self._engine.dialect is Dialect.POSTGRES else self._looked_up
        async for rows in paged(table, after):
            yield _checked(table, rows)

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
        yield Snapshot(engine, [await _counted(engine, table) for table in await catalogue(engine)])
    finally:
        await engine.read(Query(same("ROLLBACK")))


async def _counted(engine: Engine, table: Table) -> Contents:
    name, number = table.name, 0
    counting = f"SELECT count(*) FROM {name} WHERE {_kept(table)}"  # noqa: S608 - ours
    ((count,),) = await engine.read(Query(same(counting)))
    if table.numbered:
        highest = f"(SELECT coalesce(max({table.key[0]}), 0) FROM {name})"  # noqa: S608 - ours
        given = "SELECT seq FROM sqlite_sequence WHERE name = ?1"
        sequence = f"pg_get_serial_sequence($1, '{table.key[0]}')::regclass"
        last = Statement(
            f"SELECT max({highest}, coalesce(({given}), 0))",
            f"SELECT greatest({highest}, coalesce(pg_sequence_last_value({sequence}), 0))",
        )
        ((number,),) = await engine.read(Query(last, (name,)))
    return Contents(table, count, number)


def selecting(table: Table, dialect: Dialect, *, after: bool) -> str:
    """Write a SELECT of a table's rows in key order; with `after` only those after a key."""
    columns = ", ".join(
        f"{column.name}::integer" if column.native == "boolean" else column.name
        for column in table.columns
    )
    texts = {column.name for column in table.columns if column.kind == "text"}
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
    types = [TYPES[column.kind] for column in table.columns]
    for row in rows:
        for value, kind in zip(row, types, strict=True):
            if value is not None and type(value) is not kind:
                raise CorruptDatabaseError(
                    f"{table.name} has a row with {type(value).__name__} instead of "
                    f"{kind.__name__}: {shown(table.keyed()(row))}"
                )
    return [tuple(row) for row in rows]


# --- writing rows ---------------------------------------------------------------------------------


def inserting(table: Table) -> Statement:
    """Make an INSERT into the target's table that keeps the rows' auto-increment numbers."""
    columns = ", ".join(column.name for column in table.columns)
    into = f"INSERT INTO {table.name} ({columns})"
    statement = for_rows(f"{into} {{rows}}", ", ".join(column.native for column in table.columns))
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
    fits = [_FITS.get(column.native) for column in table.columns]

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
    """Return statements that make auto-increment of a table continue after its number."""
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


# --- the backup file ------------------------------------------------------------------------------

FORMAT = "matrix-webchat-bridge backup"
VERSION = 1
LONGEST_LINE = 1 << 28
"""Maximum line length in bytes, far above any row that the bridge writes."""
_LEVEL = 3
"""Compression level: a higher one takes longer than reading the rows and saves little."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    format: str = FORMAT
    version: int = VERSION
    id: str
    made: int
    """ms since the epoch."""
    schema: int
    engine: str
    program: str
    """Version of the program that wrote the backup."""
    contents: tuple[Contents, ...]


class Sum(msgspec.Struct, frozen=True):
    """Row count and digest of a table; of the whole file if `table` is empty."""

    table: str
    rows: int
    sha256: str


class DamagedBackup(CorruptDatabaseError):
    """The file is not a backup, or was truncated or altered."""


encoded = msgspec.json.Encoder().encode


async def _written(part: Path, header: Header, source: Snapshot, progress: Progress) -> None:
    """Write a new file, readable for its owner only, and sync it to the disk."""
    whole, total = sha256(), 0
    new = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(new, "wb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw) as file:

        def write(entry: Header | Sum) -> None:
            line = encoded(entry) + b"\n"
            whole.update(line)
            file.write(line)

        write(header)
        for contents in header.contents:
            digest, count = sha256(), 0
            async for rows in source.rows(contents.table):
                lines = b"".join([encoded(row) + b"\n" for row in rows])
                digest.update(lines)
                file.write(lines)
                count += len(rows)
                progress.advances(len(rows))
            write(Sum(contents.table.name, count, digest.hexdigest()))
            total += count
        write(Sum("", total, whole.hexdigest()))
        file.close()
        raw.flush()
        os.fsync(new)


class BackupFile:
    """A backup to read. Raises DamagedBackup, and OSError for a file that cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        first = next(self._lines(), b"")
        try:
            fields = msgspec.json.decode(first, type=dict[str, Any])
        except ValueError:
            fields = {}
        if fields.get("format") != FORMAT:
            raise DamagedBackup(f"{path} is not a backup of this program")
        if fields.get("version") != VERSION:
            raise DamagedBackup(f"{path} was made by a later version of this program")
        self.header: Header = self._decoded(first, Header)
        self.contents: Sequence[Contents] = self.header.contents

    def check(self) -> list[Sum]:
        """Read the file, verify all counts and digests, and return those of the tables."""
        lines = self._lines()
        whole, total, sums = sha256(next(lines, b"")), 0, []
        for contents in self.header.contents:
            stated, digest, rows = Sum("", 0, ""), sha256(), 0
            for line in lines:
                if not _is_row(line):
                    whole.update(line)
                    stated = self._decoded(line, Sum)
                    break
                digest.update(line)
                rows += 1
            found = Sum(contents.table.name, rows, digest.hexdigest())
            if stated != found or contents.rows != rows:
                raise DamagedBackup(f"{self._path} is damaged: in table {contents.table.name}")
            sums.append(found)
            total += rows
        end = self._decoded(next(lines, b"{}"), Sum)
        if end != Sum("", total, whole.hexdigest()) or next(lines, None) is not None:
            raise DamagedBackup(f"{self._path} is damaged: its end does not match its contents")
        return sums

    async def pages(
        self, table: str = "", after: Key = ()
    ) -> AsyncIterator[tuple[Table, list[Row]]]:
        lines = self._lines()
        next(lines, None)
        for this in (contents.table for contents in self.contents):
            rows, key_of = takewhile(_is_row, lines), this.keyed()
            while page := self._page(this, rows):
                if this.name == table:
                    page = [row for row in page if key_of(row) > after]
                if this.name >= table and page:
                    yield this, page

    def _page(self, table: Table, lines: Iterator[bytes]) -> list[Row]:
        """Read the next rows of a table; none if there are no more."""
        kinds = tuple(TYPES[column.kind] | None for column in table.columns)
        decoder = msgspec.json.Decoder(tuple[kinds])  # type: ignore[valid-type]
        try:
            return [decoder.decode(line) for line in islice(lines, PAGE)]
        except ValueError as error:
            raise DamagedBackup(f"{self._path} is damaged: in table {table.name}") from error

    def _lines(self) -> Iterator[bytes]:
        try:
            with gzip.open(self._path) as file:
                while line := file.readline(LONGEST_LINE):
                    if not line.endswith(b"\n"):
                        break
                    yield line
                else:
                    return
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DamagedBackup(f"{self._path} is damaged, or not a backup: {error}") from error
        raise DamagedBackup(f"{self._path} is damaged: a line is incomplete")

    def _decoded(self, line: bytes, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(line, type=kind)
        except ValueError as error:
            raise DamagedBackup(f"{self._path} is damaged: {error}") from error


def _is_row(line: bytes) -> bool:
    """Return False for the line after a table's rows."""
    return not line.startswith(b"{")


# --- results --------------------------------------------------------------------------------------

_WRITE_FACT = same("INSERT INTO facts (name, value) VALUES ($1, $2)")
_COPY = same("VACUUM INTO $1")
_DROP_FACT = same("DELETE FROM facts WHERE name = $1")
NAMED = 5
"""Maximum number of differing rows that are named; the others are only counted."""


Source = Snapshot | BackupFile
"""All rows of a database."""


class Progress(Protocol):
    """Callbacks with the progress."""

    def begins(self, what: str, rows: int) -> None: ...

    def advances(self, rows: int) -> None: ...


class Compared(msgspec.Struct):
    """Result of comparing a table of source and target."""

    table: str
    rows: int = 0
    """Number of equal rows."""
    sha256: str = ""
    """Digest of the equal rows, as in a backup."""
    changed: int = 0
    """Number of equal rows in which NUL was replaced for the target."""
    differ: int = 0
    named: list[str] = []
    """Keys of some rows that differ, are missing or are surplus."""


# --- move, backup, restore -----------------------------------------------------------------------


async def move(
    from_url: str, to_url: str, clock: Clock, progress: Progress, *, replace: bool = False
) -> list[Compared]:
    """Move a database, or resume a move; no bridge may be at work on either database."""
    name, to = described(from_url), described(to_url)
    if name == to:
        raise StoreError(f"source and target are the same database: {to}")
    async with _opened(from_url, clock, sole=True) as source:
        version = await current_version(source)
        if version != SCHEMA_VERSION:
            raise _other_schema(name, version)
        moved = await moved_to(source)
        async with _opened(to_url, clock, sole=True) as target:
            if moved is not None:
                half = await unfinished(target) if await current_version(target) else None
                if half is None or half.id != moved.id:
                    raise MovedError(moved)
            mark = Mark(secrets.token_hex(8), name)
            mark = await _prepared(target, to, mark, version, clock.now(), replace=replace)
            async with snapshot(source) as still:
                compared = await _filled(still, target, mark, progress)
            if moved is None:
                fact = msgspec.json.encode(Moved(mark.id, to, clock.now())).decode()
                await source.commit([Query(_WRITE_FACT, (MOVED, fact))])
                async with snapshot(source) as moved_from:  # commands do not open it any more
                    changed = moved_from.contents != still.contents
                if changed:
                    await source.commit([Query(_DROP_FACT, (MOVED,))])
                    why = "by a command such as `order` or `erase`: start over with --replace"
                    raise StoreError(f"{name} was changed during the move, {why}")
            await target.commit([Query(_DROP_FACT, (UNFINISHED,))])
    return compared


async def backup(url: str, path: Path, clock: Clock, progress: Progress, program: str) -> list[Sum]:
    """Write a database to a new file, also while the bridge runs.

    It is a `.part` file until it is complete, checked and synced. OSError if it cannot be written;
    none is left.
    """
    part = path.with_name(f"{path.name}.part")
    async with AsyncExitStack() as closing:
        closing.enter_context(_named(path))
        engine = await closing.enter_async_context(_opened(url, clock))
        version = await current_version(engine)
        if not 1 <= version <= SCHEMA_VERSION:
            raise _other_schema(described(url), version)
        if mark := await unfinished(engine):
            raise UnfinishedError(mark)
        kind = engine.dialect.value
        if engine.dialect is Dialect.SQLITE:
            # A long read of the file itself would prevent WAL checkpoints.
            engine = await closing.enter_async_context(_copy(engine, path, clock))
        async with snapshot(engine) as still:
            header = Header(
                id=secrets.token_hex(8),
                made=clock.now(),
                schema=version,
                engine=kind,
                program=program,
                contents=tuple(still.contents),
            )
            progress.begins("writing", sum(contents.rows for contents in still.contents))
            part.unlink(missing_ok=True)  # left by a killed run
            closing.callback(part.unlink, missing_ok=True)
            await _written(part, header, still, progress)
        # After the snapshot: checking a large file takes longer than PostgreSQL allows it to idle.
        sums = BackupFile(part).check()
        part.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        closing.callback(os.close, folder)
        os.fsync(folder)
        return sums


async def restore(
    path: Path, url: str, clock: Clock, progress: Progress, *, replace: bool = False
) -> list[Compared]:
    """Fill a database from a backup, or resume that; no bridge may be at work on it."""
    file, name = BackupFile(path), described(url)
    header = file.header
    if header.schema > SCHEMA_VERSION:
        raise NewerSchemaError(header.schema, SCHEMA_VERSION)
    file.check()
    async with _opened(url, clock, sole=True) as target:
        mark = Mark(header.id, f"the backup {header.id} ({path.name})")
        mark = await _prepared(target, name, mark, header.schema, clock.now(), replace=replace)
        compared = await _filled(file, target, mark, progress)
        await target.commit([Query(_DROP_FACT, (UNFINISHED,))])
        await migrate(target, clock.now())
    return compared


async def take_back(url: str, clock: Clock, *, look: bool = False) -> bool:
    """Remove the mark of a moved database (with `look` only check); False if it was not moved."""
    async with _opened(url, clock, sole=True) as engine:
        if not await current_version(engine) or await moved_to(engine) is None:
            return False
        if not look:
            await engine.commit([Query(_DROP_FACT, (MOVED,))])
        return True


# --- helpers -------------------------------------------------------------------------------------


@asynccontextmanager
async def _opened(url: str, clock: Clock, *, sole: bool = False) -> AsyncIterator[Engine]:
    engine = engine_for(url, clock, patient=True)
    try:
        await engine.open()
        try:
            if sole:
                await engine.claim()
        except AlreadyInUse:
            why = f"a bridge is using {described(url)}: stop it first"
            raise AlreadyInUse(why) from None
        yield engine
    finally:
        await engine.close()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the backup in an OSError, whichever file beside it could not be written."""
    try:
        yield
    except OSError as error:
        why = f"no backup was written: {error.strerror or error}"
        raise OSError(error.errno, why, str(path)) from error


@asynccontextmanager
async def _copy(engine: Engine, beside: Path, clock: Clock) -> AsyncIterator[Engine]:
    """Copy a SQLite file to one beside the backup; deleted at the end."""
    path = beside.with_name(f"{beside.name}.copy").absolute()
    files = [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal")]
    try:
        for file in files:  # left by a killed run
            file.unlink(missing_ok=True)
        path.touch(mode=0o600)
        try:
            await engine.read(Query(_COPY, (str(path),)))
        except Unreachable as error:  # mostly, the copy's disk is full
            raise OSError(errno.EIO, str(error)) from error
        async with _opened(f"sqlite:///{path}", clock) as copy:
            yield copy
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _other_schema(name: str, version: int) -> StoreError:
    if not version:
        return StoreError(f"{name} is empty: there is nothing to copy")
    if version > SCHEMA_VERSION:
        return NewerSchemaError(version, SCHEMA_VERSION)
    return StoreError(
        f"{name} has schema {version}, this program works with {SCHEMA_VERSION}: "
        "run `matrix-webchat migrate` first"
    )


_NO_CHATS = {"facts", "secrets", "ghosts"}
"""Tables with rows of `doctor`, and of a bridge that refused to begin anew with the database."""


async def _prepared(
    target: Engine, name: str, mark: Mark, schema: int, now: int, *, replace: bool
) -> Mark:
    """Empty a target, create schema and mark in one transaction; or return the mark to resume."""
    version = await current_version(target)
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(version, SCHEMA_VERSION)
    if version and not replace:
        if half := await unfinished(target):
            if (half.id == mark.id or half.source == mark.source) and version == schema:
                return half
            raise UnfinishedError(half)
        async with snapshot(target) as current:
            if any(each.rows and each.table.name not in _NO_CHATS for each in current.contents):
                raise StoreError(
                    f"{name} already contains data, which would be lost: use an empty database, or "
                    "add --replace"
                )
    migrations = [migration for migration in known(target.dialect) if migration.number <= schema]
    anew = [query for migration in migrations for query in steps(migration, now)]
    drops = dropping(target.dialect) if version else []
    first = Query(_WRITE_FACT, (UNFINISHED, msgspec.json.encode(mark).decode()))
    await target.migrate([FIRST[0], *drops, *FIRST[1:], *anew, first])
    return mark


async def _filled(source: Source, target: Engine, mark: Mark, progress: Progress) -> list[Compared]:
    """Copy the missing rows and compare all; raises StoreError if any differ."""
    held = {table.name: table for table in await catalogue(target)}
    if [each.table.shape for each in source.contents] != [table.shape for table in held.values()]:
        raise StoreError("the tables of source and target differ: was one of them altered?")
    holds = {name: holding(target.dialect, table) for name, table in held.items()}
    rows = sum(contents.rows for contents in source.contents)
    progress.begins("copying", rows)
    progress.advances(sum(each.rows for each in source.contents if each.table.name < mark.table))
    async for table, page in source.pages(mark.table, mark.after):
        copied = [holds[table.name](row) for row in page]
        mark = msgspec.structs.replace(mark, table=table.name, after=table.keyed()(page[-1]))
        fact = (UNFINISHED, msgspec.json.encode(mark).decode())
        parts = [Part(inserting(held[table.name]), copied), Part(sql.SAVE_FACT, [fact])]
        await target.commit([Together(parts)])
        progress.advances(len(page))
    if numbers := [query for contents in source.contents for query in numbering(contents)]:
        await target.commit(numbers)
    progress.begins("comparing", rows)
    async with snapshot(target) as still:
        compared = await _compared(_each(source, progress), _each(still), holds)
    if wrong := [item for item in compared if item.differ]:
        diffs = (f"{item.table}: {item.differ} rows ({', '.join(item.named)})" for item in wrong)
        raise StoreError(
            f"source and target differ in {'; '.join(diffs)}. Do not use the target: a disk may be "
            "faulty, or the source was changed during the copy. Start over with --replace"
        )
    return compared


_Positioned = tuple[tuple[str | int, ...], Row]
"""A row after its position, which begins with the table's name."""
_END: _Positioned = ("\uffff",), ()


async def _each(source: Source, progress: Progress | None = None) -> AsyncIterator[_Positioned]:
    """Yield all rows, and at last `_END`."""
    async for table, rows in source.pages():
        key_of = table.keyed()
        for row in rows:
            yield (table.name, *key_of(row)), row
        if progress is not None:
            progress.advances(len(rows))
    yield _END


async def _compared(
    ours: AsyncIterator[_Positioned],
    theirs: AsyncIterator[_Positioned],
    holds: Mapping[str, Callable[[Row], Row]],
) -> list[Compared]:
    """Compare the rows one by one; both sides have them by table name and key."""
    results = {name: Compared(name) for name in holds}
    digests = {name: sha256() for name in holds}
    left, right = await anext(ours), await anext(theirs)
    while (place := min(left[0], right[0])) != _END[0]:
        name, result = str(place[0]), results[str(place[0])]
        mine = left[1] if left[0] == place else None
        other = right[1] if right[0] == place else None
        if mine is not None and other is not None and (wanted := holds[name](mine)) == other:
            digests[name].update(encoded(other) + b"\n")
            result.rows += 1
            result.changed += wanted != mine
        else:
            result.differ += 1
            if len(result.named) < NAMED:
                result.named.append(shown(place[1:]))
        if mine is not None:
            left = await anext(ours)
        if other is not None:
            right = await anext(theirs)
    for name, result in results.items():
        result.sha256 = digests[name].hexdigest()
    return [*results.values()]
