"""`order` and `changes`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bridge.cli.database import with_store
from bridge.config.loading import load_config
from bridge.ids import RoomId, UserId
from bridge.rooms.record import Membership, Order, RoomRecord, dump_record, load_input
from bridge.rooms.store import Change, StoredRoom
from bridge.rooms.surroundings import Replacement, SystemClock, Upgrades
from bridge.storage.sqlstore import SqlStore, open_store
from tests.fakes import flow
from tests.support.postgres import PostgresServer
from tests.unit.cli.runs import Folder
from tests.unit.config.configs import SMALLEST

ROOM = RoomId("!room:example.org")
NEW = RoomId("!new:example.org")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder whose database has a room that is served, and was upgraded."""
    folder = Folder(tmp_path)
    folder.write()
    with_a_room(folder)
    return folder


def with_a_room(folder: Folder) -> None:
    folder.run_here("migrate")

    async def serve(store: SqlStore) -> None:
        record = RoomRecord(ROOM, membership=Membership.JOINED, customer=UserId("@ada:example.org"))
        await flow.step(store, StoredRoom(ROOM, dump_record(record), live=False, phase="Idle"))
        await Upgrades().keep(store, Replacement(NEW, ROOM, ours=True))

    with_store(load_config(folder.config, {}), serve)


@pytest.mark.parametrize("room_id", [ROOM, NEW])
def test_an_order_waits_for_the_bridge(folder: Folder, room_id: str) -> None:
    result = folder.run_here("order", room_id, "queue", "set", "1")
    assert result.exit_code == 0, result.output
    assert "within seconds" in result.stdout

    async def waiting(store: SqlStore) -> list[object]:
        return [load_input(row.body) for row in (await store.load(ROOM)).inputs]

    found = with_store(load_config(folder.config, {}), waiting)
    assert found == [Order("operator", "cli", "queue set 1")]


def test_the_process_that_serves_the_room_hears_of_an_order(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Its polls leave out busy rooms."""
    folder, url = Folder(tmp_path), postgres_server.new_database()
    folder.config.write_text(f'{SMALLEST}database: {{url: "{url}"}}\n', encoding="utf-8")
    with_a_room(folder)

    async def given() -> str:
        heard: asyncio.Queue[str] = asyncio.Queue()
        async with open_store(url, SystemClock(), sole=True, shared=True) as store:
            assert store.shards is not None
            store.shards.heard = heard.put_nowait
            await asyncio.to_thread(folder.run_here, "order", ROOM, "queue", "set", "1")
            async with asyncio.timeout(30):
                (told,) = store.shards.read((await heard.get()).removeprefix("rooms "))
        return told.room

    assert asyncio.run(given()) == ROOM


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("queue", "set", "99"), "There is no queue “99”"),
        (("login", "ada", "x"), "login can only be given in the room itself"),
    ],
)
def test_wrong_order_is_explained(folder: Folder, words: tuple[str, ...], says: str) -> None:
    result = folder.run_here("order", ROOM, *words)
    assert result.exit_code == 1
    assert says in result.stderr


def test_changes(folder: Folder) -> None:
    assert folder.run_here("changes").stdout == "No changes.\n"

    async def record() -> None:
        async with open_store(f"sqlite:///{folder.path}/bridge.db", SystemClock()) as store:
            made = [
                Change(1_700_000_000_123, "operator", "cli", "queue", "1", "2", ROOM),
                Change(1_700_000_001_000, "@ada:example.org", "api", "erase", after="@x:y"),
            ]
            for one in made:
                await store.record_change(one)

    asyncio.run(record())
    everywhere = folder.run_here("changes").stdout.splitlines()
    assert [line.split()[2] for line in everywhere[1:]] == ["@ada:example.org", "operator"]
    (_, here) = folder.run_here("changes", NEW).stdout.splitlines()
    assert here.split()[2:] == ["operator", "cli", "queue", "1", "2", ROOM]
    (only,) = json.loads(folder.run_here("changes", "--json", "-n", "1").stdout)
    assert only["key"] == "erase"


def test_changes_of_what_is_no_room(folder: Folder) -> None:
    result = folder.run_here("changes", "nonsense")
    assert (result.exit_code, result.stderr) == (1, "nonsense is not a room (!…)\n")
