"""Backup file format: independent of the engine, so either can be restored from the other.

JSON lines compressed with gzip (readable with `zcat`): a header (format, schema, tables); then for
each table its rows as lists in key order, and a line with their count and SHA-256 digest; last, a
digest of all lines except rows (rows are covered by their table's digest). Bytes are base64. A
truncated or altered file is detected before any of its rows is used.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import msgspec

from bridge.storage.query import CorruptDatabaseError
from bridge.storage.tables import PAGE, TYPES, Contents, Key, Row, Table

FORMAT = "matrix-webchat-bridge backup"
VERSION = 1
LONGEST_LINE = 1 << 28
"""Maximum line length in bytes, far above any row that the bridge writes."""
_LEVEL = 3
"""Compression level: a higher one takes longer than reading the rows and saves little."""
_AS_GZIP = 16
"""Added to zlib's `wbits`: write a gzip header and checksum."""


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


class BackupWriter:
    """Writes to a `.part` file, renamed to its final name once complete, checked and synced."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self.part = path.with_name(f"{path.name}.part")
        self.part.unlink(missing_ok=True)  # left by a killed run
        self._raw = os.fdopen(os.open(self.part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
        self._gzip = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | _AS_GZIP)
        self._whole, self._all = sha256(), 0
        self._digest, self._rows = sha256(), 0
        self._left = [one.table.name for one in header.contents]
        self._line(header)

    def rows(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows; the tables before theirs are complete."""
        self._complete(table.name)
        lines = b"".join([encoded(row) + b"\n" for row in rows])
        self._digest.update(lines)
        self._rows += len(rows)
        self._raw.write(self._gzip.compress(lines))

    def _complete(self, before: str = "") -> None:
        """Write the count and digest of each table that is left, up to this one."""
        while self._left and self._left[0] != before:
            self._line(Sum(self._left.pop(0), self._rows, self._digest.hexdigest()))
            self._all += self._rows
            self._digest, self._rows = sha256(), 0

    def close(self) -> list[Sum]:
        """Finish the file, check it by reading it back and rename it; raises DamagedBackup."""
        self._complete()
        self._line(Sum("", self._all, self._whole.hexdigest()))
        self._raw.write(self._gzip.flush())
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        sums = BackupFile(self.part).check()
        self.part.rename(self._path)
        folder = os.open(self._path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return sums

    def abandon(self) -> None:
        """Delete the `.part` file."""
        with suppress(OSError):  # the disk may be full
            self._raw.close()
        self.part.unlink(missing_ok=True)

    def _line(self, told: msgspec.Struct) -> None:
        line = encoded(told) + b"\n"
        self._whole.update(line)
        self._raw.write(self._gzip.compress(line))


class BackupFile:
    """A backup to read. Raises DamagedBackup, and OSError for a file that cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        first = next(self._lines(), b"")
        try:
            told = msgspec.json.decode(first, type=dict[str, Any])
        except ValueError:
            told = {}
        if told.get("format") != FORMAT:
            raise DamagedBackup(f"{path} is not a backup of this program")
        if told.get("version") != VERSION:
            raise DamagedBackup(f"{path} was made by a later version of this program")
        self.header: Header = self._decoded(first, Header)
        self.tables: Sequence[Table] = [one.table for one in self.header.contents]

    def check(self) -> list[Sum]:
        """Read the file, verify all counts and digests, and return those of the tables."""
        lines = self._lines()
        whole, total, sums = sha256(next(lines, b"")), 0, []
        for contents in self.header.contents:
            told, digest, rows = Sum("", 0, ""), sha256(), 0
            for line in lines:
                if not _is_row(line):
                    whole.update(line)
                    told = self._decoded(line, Sum)
                    break
                digest.update(line)
                rows += 1
            found = Sum(contents.table.name, rows, digest.hexdigest())
            if told != found or contents.rows != rows:
                raise DamagedBackup(f"{self._path} is damaged: in table {contents.table.name}")
            sums.append(found)
            total += rows
        end = self._decoded(next(lines, b"{}"), Sum)
        if end != Sum("", total, whole.hexdigest()) or next(lines, None) is not None:
            raise DamagedBackup(f"{self._path} is damaged: its end does not match its contents")
        return sums

    async def contents(self) -> Sequence[Contents]:
        return self.header.contents

    async def pages(
        self, table: str = "", after: Key = ()
    ) -> AsyncIterator[tuple[Table, list[Row]]]:
        lines = self._lines()
        next(lines, None)
        for one in self.tables:
            rows, key_of = takewhile(_is_row, lines), one.keyed()
            while page := self._page(one, rows):
                if one.name == table:
                    page = [row for row in page if key_of(row) > after]
                if one.name >= table and page:
                    yield one, page

    def _page(self, table: Table, lines: Iterator[bytes]) -> list[Row]:
        """Read the next rows of a table; none if there are no more."""
        kinds = tuple(TYPES[one.kind] | None for one in table.columns)
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
