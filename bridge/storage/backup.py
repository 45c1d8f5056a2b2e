"""A backup: one file of either engine's rows, and of either engine's way back.

Lines of JSON, compressed by gzip, so that `zcat` shows it: the header (what it is, the schema, the
tables), then for each table its rows, as lists, in the order of their keys, and a line with their
number and digest; at last the digest of all lines but the rows, which holds theirs. Bytes are
base64. A file that is cut off or altered anywhere is noticed before a row of it is used.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from bridge.storage.query import CorruptDatabaseError
from bridge.storage.tables import MOST_ROWS, PAGE_BYTES, TYPES, Key, Row, Table

FORMAT = "matrix-webchat-bridge backup"
VERSION = 1
LONGEST_LINE = 1 << 28
"""Bytes; no row that the bridge writes comes near it."""
_LEVEL = 3
"""Of compression: more takes longer than reading the rows, and saves little."""
_AS_GZIP = 16
"""To zlib: with the head and the checksum of a gzip file."""


class Contents(msgspec.Struct, frozen=True):
    """A table, as the header has it."""

    table: Table
    rows: int
    number: int
    """The last number given to a row; 0: none."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    format: str = FORMAT
    version: int = VERSION
    id: str
    made: int
    """ms since the epoch."""
    schema: int
    engine: str
    program: str
    """Version of the program that wrote it."""
    contents: tuple[Contents, ...]


class Sum(msgspec.Struct, frozen=True):
    """What a table's rows come to; of the whole file with no table."""

    table: str
    rows: int
    sha256: str


class DamagedBackup(CorruptDatabaseError):
    """A file is no backup, or not the one that was made."""


encoded = msgspec.json.Encoder().encode


class BackupWriter:
    """Writes a file that has its name only once it is whole, checked and on the disk."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self.part = path.with_name(f"{path.name}.part")
        self.part.unlink(missing_ok=True)  # of a run that was killed
        self._raw = os.fdopen(os.open(self.part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
        self._gzip = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | _AS_GZIP)
        self._whole, self._all = sha256(), 0
        self._digest, self._rows = sha256(), 0
        self._line(header)

    def rows(self, rows: Sequence[Row]) -> None:
        lines = b"".join([encoded(row) + b"\n" for row in rows])
        self._digest.update(lines)
        self._rows += len(rows)
        self._raw.write(self._gzip.compress(lines))

    def ends(self, table: Table) -> None:
        """No more rows of this table."""
        self._line(Sum(table.name, self._rows, self._digest.hexdigest()))
        self._all += self._rows
        self._digest, self._rows = sha256(), 0

    def close(self) -> list[Sum]:
        """Write the end, read all of it back, and give it its name; raises DamagedBackup."""
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
        """Leave nothing behind."""
        with suppress(OSError):  # the disk may be full
            self._raw.close()
        self.part.unlink(missing_ok=True)

    def _line(self, told: msgspec.Struct) -> None:
        line = encoded(told) + b"\n"
        self._whole.update(line)
        self._raw.write(self._gzip.compress(line))


class BackupFile:
    """A backup to read from. Raises DamagedBackup, and OSError for a file that cannot be read.

    `header` is its first line, `tables` are those that it has rows of.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        first = next(self._lines(), b"")
        try:
            told = msgspec.json.decode(first, type=dict[str, Any])
        except ValueError:
            told = {}
        if told.get("format") != FORMAT:
            raise DamagedBackup(f"{path} is no backup of this program")
        if told.get("version") != VERSION:
            raise DamagedBackup(f"{path} was made by a later version of this program")
        self.header: Header = self._decoded(first, Header)
        self.tables: Sequence[Table] = [one.table for one in self.header.contents]
        self._at = 0
        """Of `tables`: the one whose rows come next."""
        self._left: Iterator[bytes] | None = None
        """The lines from there on; None while they are being read."""

    def check(self) -> list[Sum]:
        """Read the whole file and compare it with its digests; returns the tables'."""
        lines = self._lines()
        whole, total, sums = sha256(next(lines, b"")), 0, []
        for contents in self.header.contents:
            told, digest, rows = Sum("", 0, ""), sha256(), 0
            for line in lines:
                if line.startswith(b"{"):
                    whole.update(line)
                    told = self._decoded(line, Sum)
                    break
                digest.update(line)
                rows += 1
            found = Sum(contents.table.name, rows, digest.hexdigest())
            if told != found or contents.rows != rows:
                raise DamagedBackup(f"{self._path} is damaged: in {contents.table.name}")
            sums.append(found)
            total += rows
        end = self._decoded(next(lines, b"{}"), Sum)
        if end != Sum("", total, whole.hexdigest()) or next(lines, None) is not None:
            raise DamagedBackup(f"{self._path} is damaged: its end does not fit the rest")
        return sums

    async def count(self, table: Table) -> int:
        return self.header.contents[self.tables.index(table)].rows

    async def number(self, table: Table) -> int:
        return self.header.contents[self.tables.index(table)].number

    async def rows(self, table: Table, after: Key = ()) -> AsyncIterator[list[Row]]:
        lines = self._lines_of(self.tables.index(table))
        kinds = tuple(TYPES[one.kind] | None for one in table.columns)
        decoder, key_of = msgspec.json.Decoder(tuple[kinds]), table.keyed()  # type: ignore[valid-type]
        page: list[Row] = []
        size = 0
        for line in lines:
            if line.startswith(b"{"):
                break
            try:
                row: Row = decoder.decode(line)
            except ValueError as error:
                raise DamagedBackup(f"{self._path} is damaged: in {table.name}") from error
            if after and key_of(row) <= after:
                continue
            page.append(row)
            size += len(line)
            if len(page) == MOST_ROWS or size > PAGE_BYTES:
                yield page
                page, size = [], 0
        self._left = lines
        if page:
            yield page

    def _lines_of(self, place: int) -> Iterator[bytes]:
        """The lines from a table's first row on; one after the other they cost one pass."""
        lines = self._left
        if lines is None or self._at > place:
            self._at, lines = 0, self._lines()
            next(lines, None)
        while self._at < place:
            self._at += next(lines, b"{").startswith(b"{")
        self._at, self._left = place + 1, None
        return lines

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
            raise DamagedBackup(f"{self._path} is damaged, or no backup: {error}") from error
        raise DamagedBackup(f"{self._path} is damaged: a line has no end")

    def _decoded(self, line: bytes, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(line, type=kind)
        except ValueError as error:
            raise DamagedBackup(f"{self._path} is damaged: {error}") from error
