"""Backups: of either engine, into either engine, complete or not at all."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from pathlib import Path

import pytest

from bridge.ids import RoomId
from bridge.rooms.store import Commit, Entry, NewInput, StoredRoom, StoreError
from bridge.storage.migrate import (
    SCHEMA_VERSION,
    NewerSchemaError,
    UnfinishedError,
    current_version,
)
from bridge.storage.query import AlreadyInUse
from bridge.storage.sqlstore import SqlStore, engine_for, missing_file, open_store
from bridge.storage.transfer import (
    BackupFile,
    DamagedBackup,
    Sum,
    backup,
    move,
    restore,
)
from tests.fakes.flow import every
from tests.support.postgres import PostgresServer
from tests.unit.storage.conftest import FixedClock, NewUrl
from tests.unit.storage.contents import Silent, contents, fill, run
from tests.unit.storage.test_transfer import Stopped, Stops

CLOCK = FixedClock()
pytestmark = pytest.mark.asyncio
both = pytest.mark.parametrize(
    ("before", "after"), [("sqlite", "postgres"), ("postgres", "sqlite"), ("sqlite", "sqlite")]
)


def left(folder: Path) -> set[str]:
    """Return the names of backup files, complete or not."""
    return {path.name for path in folder.iterdir() if "backup" in path.name}


async def backed_up(url: str, file: Path) -> dict[str, int]:
    sums = await backup(url, file, CLOCK, Silent(), "0.1.0")
    return {one.table: one.rows for one in sums if one.rows}


@both
async def test_backup_is_restored_completely(
    new_url: NewUrl, tmp_path: Path, before: str, after: str
) -> None:
    first, second, file = new_url(before), new_url(after), tmp_path / "bridge.backup"
    await fill(first, rooms=7, each=30)
    assert (await backed_up(first, file))["journal"] == 210
    assert file.stat().st_mode & 0o777 == 0o600
    restored = await restore(file, second, CLOCK, Silent())
    assert await contents(second) == await contents(first)
    # The digests are those of the file, whatever the engine.
    assert {one.table: one.sha256 for one in restored} == {
        one.table: one.sha256 for one in BackupFile(file).check()
    }
    assert left(tmp_path) == {file.name}
    async with open_store(second, CLOCK, sole=True):
        pass
    async with open_store(first, CLOCK, sole=True):
        pass


async def write(store: SqlStore, backed: asyncio.Event) -> None:
    """Write until `backed` is set, so that the room's revision is its number of journal rows."""
    room, number = RoomId("!busy:example.org"), 0
    while not backed.is_set():
        stored = StoredRoom(room, b"{}", live=True, phase="p", revision=number)
        number += 1
        entry = Entry(NewInput(room, b"{}", f"$busy-{number}"), None)
        answers = await every(store, [Commit(room, number, stored, [entry])])
        assert not isinstance(answers[0], Exception)


async def test_backup_of_a_running_bridge_is_of_one_moment(
    url: str, new_url: NewUrl, tmp_path: Path
) -> None:
    await fill(url, rooms=20, each=50)
    second = new_url("sqlite")
    async with open_store(url, CLOCK, sole=True) as store, asyncio.TaskGroup() as tasks:
        backed = asyncio.Event()
        tasks.create_task(write(store, backed))
        for number in range(3):
            await backed_up(url, tmp_path / f"{number}.backup")
        backed.set()
    rows = 0
    for number in range(3):
        await restore(tmp_path / f"{number}.backup", second, CLOCK, Silent(), replace=True)
        ((rows,),) = await run(
            second, "SELECT count(*) FROM journal WHERE room_id = '!busy:example.org'"
        )
        found = await run(second, "SELECT revision FROM rooms WHERE room_id = '!busy:example.org'")
        assert [revision for (revision,) in found] == ([rows] if rows else [])
    assert rows > 0


def says(file: bytes | bytearray) -> bytes | None:
    """Return the decompressed content; None if gzip cannot read it."""
    try:
        return gzip.decompress(file)
    except (OSError, EOFError, zlib.error):
        return None


async def test_any_changed_byte_is_detected(new_url: NewUrl, tmp_path: Path) -> None:
    first, second, file = new_url("sqlite"), new_url("sqlite"), tmp_path / "bridge.backup"
    await fill(first, rooms=3, each=5)
    await backed_up(first, file)
    whole = file.read_bytes()
    dice = random.Random(1)  # noqa: S311 - a test's dice
    broken = tmp_path / "broken.backup"
    for place in sorted(dice.sample(range(10, len(whole)), 150)):  # gzip's header has a time
        damaged = bytearray(whole)
        damaged[place] ^= 1 << dice.randrange(8)
        if says(damaged) == says(whole):  # padding bits, for example
            continue
        broken.write_bytes(damaged)
        with pytest.raises(DamagedBackup):
            await restore(broken, second, CLOCK, Silent())
    head, rest = gzip.decompress(whole).split(b"\n", 1)
    for read in (b'{"a":"\xa9"}', head.replace(b"backup", b"b\xa9ckup"), head[:-1] + b',"\xa9":1}'):
        broken.write_bytes(gzip.compress(read + b"\n" + rest))
        with pytest.raises(DamagedBackup):
            await restore(broken, second, CLOCK, Silent())
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 1):
        broken.write_bytes(whole[:length])
        with pytest.raises(DamagedBackup):
            await restore(broken, second, CLOCK, Silent())
    assert missing_file(second) is not None


async def test_altered_content_is_detected(new_url: NewUrl, tmp_path: Path) -> None:
    """Even if the checksum of gzip is right."""
    first, file = new_url("sqlite"), tmp_path / "bridge.backup"
    await fill(first, rooms=3, each=5)
    await backed_up(first, file)
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    row = next(place for place, line in enumerate(lines) if line.startswith(b'["!1'))
    for altered in (
        [*lines[:row], lines[row].replace(b"Chatting", b"Chattinh"), *lines[row + 1 :]],
        [*lines[:row], *lines[row + 1 :]],
        [*lines[:row], lines[row], *lines[row:]],
        lines[:-1],
        [*lines, lines[-1]],
        [lines[0].replace(b'"sqlite"', b'"postgr"'), *lines[1:]],
        [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]],
        [b"{}\n", *lines[1:]],
        [b'{"format":"matrix-webchat-bridge backup","version":1}\n', *lines[1:]],
    ):
        assert altered != lines
        file.write_bytes(gzip.compress(b"".join(altered)))
        with pytest.raises(DamagedBackup):
            BackupFile(file).check()


@pytest.mark.parametrize("stage", ["copying", "comparing"])
@both
async def test_interrupted_restore_can_be_repeated(
    new_url: NewUrl, tmp_path: Path, before: str, after: str, stage: str
) -> None:
    first, second, file = new_url(before), new_url(after), tmp_path / "bridge.backup"
    await fill(first, rooms=10, each=20)
    await backed_up(first, file)
    for page in range(1, 6):
        with pytest.raises(Stopped):
            await restore(file, second, CLOCK, Stops(page, "" if page < 5 else stage))
    with pytest.raises(UnfinishedError, match=r"the backup .* \(bridge.backup\)"):
        async with open_store(second, CLOCK, sole=True):
            pytest.fail("half of it")
    with pytest.raises(UnfinishedError):
        await backed_up(second, tmp_path / "half.backup")
    await restore(file, second, CLOCK, Silent())
    assert await contents(second) == await contents(first)


@pytest.mark.usefixtures("impatient")
async def test_database_with_chats_is_replaced_only_on_request(
    url: str, new_url: NewUrl, tmp_path: Path
) -> None:
    first, file = new_url("sqlite"), tmp_path / "bridge.backup"
    await fill(first, rooms=1, each=1)
    await fill(url, rooms=5, each=1)
    await backed_up(first, file)
    with pytest.raises(StoreError, match=r"already contains data.*--replace"):
        await restore(file, url, CLOCK, Silent())
    async with open_store(url, CLOCK, sole=True):
        with pytest.raises(AlreadyInUse):
            await restore(file, url, CLOCK, Silent(), replace=True)
    await restore(file, url, CLOCK, Silent(), replace=True)
    assert await contents(url) == await contents(first)


async def test_a_backup_of_a_later_schema_is_refused(new_url: NewUrl, tmp_path: Path) -> None:
    first, second, file = new_url("sqlite"), new_url("sqlite"), tmp_path / "bridge.backup"
    await fill(first, rooms=1, each=1)
    await backed_up(first, file)
    head, *rest = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    told = json.loads(head)
    told["schema"] = SCHEMA_VERSION + 1
    file.write_bytes(gzip.compress(b"".join([json.dumps(told).encode() + b"\n", *rest])))
    with pytest.raises(NewerSchemaError):
        await restore(file, second, CLOCK, Silent())


async def test_no_file_is_left_of_a_backup_that_failed(new_url: NewUrl, tmp_path: Path) -> None:
    first = new_url("sqlite")
    await fill(first, rooms=5, each=5)
    with pytest.raises(Stopped):
        await backup(first, tmp_path / "bridge.backup", CLOCK, Stops(page=2), "0")
    assert left(tmp_path) == set()


async def test_backup_is_checked_after_its_transaction(
    new_url: NewUrl,
    tmp_path: Path,
    postgres_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check may take longer than PostgreSQL lets a transaction idle: all is read before it."""
    first, file = new_url("postgres"), tmp_path / "bridge.backup"
    await fill(first, rooms=1, each=1)
    check, open_ones = BackupFile.check, list[str]()
    idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"

    def looked(self: BackupFile) -> list[Sum]:
        open_ones.append(postgres_server.sql(idle))
        return check(self)

    monkeypatch.setattr(BackupFile, "check", looked)
    assert (await backed_up(first, file))["journal"] == 1
    assert open_ones == ["0"]
    assert left(tmp_path) == {"bridge.backup"}


async def test_backup_of_a_moved_database_lacks_its_mark(new_url: NewUrl, tmp_path: Path) -> None:
    """A moved database can be backed up, and a bridge starts on the restored one."""
    first, second, file = new_url("sqlite"), new_url("sqlite"), tmp_path / "bridge.backup"
    await fill(first, rooms=1, each=1)
    await move(first, second, CLOCK, Silent())
    await backed_up(first, file)
    third = new_url("sqlite")
    await restore(file, third, CLOCK, Silent())
    async with open_store(third, CLOCK, sole=True):
        pass


async def test_backup_of_an_empty_database_is_refused(url: str, tmp_path: Path) -> None:
    engine = engine_for(url, CLOCK)
    await engine.open()
    assert await current_version(engine) == 0
    await engine.close()
    with pytest.raises(Exception, match="nothing to copy"):
        await backed_up(url, tmp_path / "bridge.backup")
