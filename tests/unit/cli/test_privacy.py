"""`erase`, as an operator types it; what it does is tested with `rooms.erasure`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import monotonic

import pytest

from bridge.app.settings import encryption_secret_of
from bridge.cli.database import with_store
from bridge.config.loading import load_config
from bridge.conversation.model import Chatting, Conversation
from bridge.ids import QueueId, RoomId, SessionId, UserId
from bridge.matrix.crypto.vault import WORDS, Sealer
from bridge.rooms import erasure
from bridge.rooms.record import EraseRoom, Membership, RoomRecord, load_input
from bridge.rooms.store import Commit
from bridge.rooms.surroundings import SystemClock
from bridge.rooms.visit import stored_as
from bridge.storage.sqlstore import SqlStore, open_store
from tests.unit.cli.runs import Folder

ROOM = RoomId("!room:example.org")
SHARED = RoomId("!shared:example.org")
ADA, BEN, EVE = (UserId(f"@{one}:example.org") for one in ("ada", "ben", "eve"))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder whose database has a room with a running chat."""
    folder = Folder(tmp_path)
    folder.write()
    folder.run_here("migrate")
    phase = Chatting(SessionId(1), 1, QueueId(1))
    record = RoomRecord(
        ROOM, membership=Membership.JOINED, customer=ADA, conversation=Conversation(phase)
    )

    async def serve(store: SqlStore) -> None:
        await store.commit(Commit(ROOM, 1, stored_as(record, 0)))

    with_store(load_config(folder.config, {}), serve)
    return folder


def there(folder: Folder) -> bool:
    async def look(store: SqlStore) -> bool:
        return (await store.load(ROOM)).room is not None

    return with_store(load_config(folder.config, {}), look)


def test_dry_run_prints_and_changes_nothing(folder: Folder) -> None:
    result = folder.run_here("erase", ADA, "--dry-run")
    assert "so that an event that arrives again is not delivered twice" in result.stdout
    assert result.exit_code == 0, result.output
    for word in ("rooms", f"request in {ROOM}", "homeserver", "retention.rows"):
        assert word in result.stdout
    assert there(folder)


@pytest.mark.parametrize("yes", [["--yes"], []])
def test_running_chat_prevents_the_erasure(folder: Folder, yes: list[str]) -> None:
    result = folder.run_here("erase", ADA, *yes)
    assert result.exit_code == 1
    assert ROOM in result.stderr
    assert "--force" in result.stderr
    assert "Continue?" not in result.stderr
    assert there(folder)


def test_erasure_lists_its_data_and_asks(folder: Folder) -> None:
    result = folder.run_here("erase", ADA, "--force", "--json")
    assert result.exit_code == 1
    told, _, asked = result.stderr.partition("Continue?")
    for word in ("rooms", f"request in {ROOM}", "homeserver", "retention.rows"):
        assert word in told
    assert (asked.split(), result.stdout) == (["[y/N]:", "Aborted!"], "")
    assert there(folder)


def test_erasure_while_no_bridge_runs(folder: Folder) -> None:
    result = folder.run_here("erase", ADA, "--yes", "--force", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["done"]
    assert report["rooms"] == [ROOM]
    assert (report["left"], report["chatting"]) == ({}, [])
    assert not there(folder)
    again = folder.run_here("erase", ADA)  # there is nothing to confirm
    assert again.exit_code == 0, again.output
    assert again.stdout == f"The bridge has no data about {ADA}.\n"
    turned = folder.run_here("erase", "@\u202eada:example.org")  # shown as "gro.elpmaxe:ada"
    assert turned.stdout == "The bridge has no data about @\\u202eada:example.org.\n"


def test_notes_about_a_person_in_a_shared_room_are_erased(folder: Folder) -> None:
    record = RoomRecord(SHARED, membership=Membership.JOINED, customer=BEN, speaker=EVE)

    async def serve(store: SqlStore) -> None:
        await store.commit(Commit(SHARED, 1, stored_as(record, 0)))

    with_store(load_config(folder.config, {}), serve)
    result = folder.run_here("erase", EVE)
    assert (result.exit_code, "Continue?" in result.stderr) == (1, True), result.output
    result = folder.run_here("erase", EVE, "--yes", "--json")
    report = json.loads(result.stdout)
    assert (report["done"], report["shared"], report["left"]) == (True, [SHARED], {})


@pytest.mark.parametrize("yes", [["--yes"], []])
def test_invalid_subject_is_refused(folder: Folder, yes: list[str]) -> None:
    result = folder.run_here("erase", "@anna", *yes)
    assert result.exit_code == 1
    assert result.stderr == "@anna is neither a room (!…) nor a person (@name:server)\n"


@pytest.mark.asyncio
async def test_running_bridge_gets_an_order(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure.erase, "__kwdefaults__", {"patience": 0.1})
    monkeypatch.setattr("bridge.storage.sqlite.CLAIM_SECONDS", 20)  # nobody waits for a bridge
    began = monotonic()
    seal = Sealer(encryption_secret_of(load_config(folder.config, {})), WORDS)
    url = f"sqlite:///{folder.path}/bridge.db"
    async with open_store(url, SystemClock(), sole=True, seal=seal) as store:
        result = await asyncio.to_thread(folder.run_here, "erase", ROOM, "--yes", "--force")
        assert result.exit_code == 1
        assert result.stderr.startswith("The bridge is running")
        assert "Not everything is erased yet" in result.stderr
        (row,) = (await store.load(ROOM)).inputs
    assert monotonic() - began < 15
    assert load_input(row.body) == EraseRoom()
