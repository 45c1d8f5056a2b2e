"""SQLite and kill -9: all acknowledged writes are there."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest

from bridge.ids import RoomId
from bridge.storage.sqlstore import open_store
from tests.fakes.flow import load_room, open_effects, open_inputs
from tests.unit.storage.conftest import FixedClock

_WRITER = """
import asyncio, sys
from bridge.ids import RoomId
from bridge.rooms.store import Lane, NewEffect, NewInput, StoredRoom
from bridge.storage.sqlstore import open_store
from tests.fakes.flow import accept, load_room, step
from tests.unit.storage.conftest import FixedClock

async def work(store, caller):
    room = RoomId(f"!{caller}")
    found = await load_room(store, room)
    revision = 0 if found is None else found.revision
    for number in range(10**6):
        key = f"{sys.argv[2]}/{caller}/{number}"
        (row,) = await accept(store, [NewInput(room, b"{}", key)], 1)
        print("a", key, flush=True)
        new = StoredRoom(room, key.encode(), True, "p", revision=revision + number)
        effects = [NewEffect(Lane.WEBCHAT, key.encode(), cause=key)]
        await step(store, new, [row.seq], effects, 2)
        print("s", key, flush=True)

async def main():
    async with open_store(sys.argv[1], FixedClock()) as store:
        await asyncio.gather(*(work(store, caller) for caller in range(8)))

asyncio.run(main())
"""


async def _kill_a_writer(url: str, run: int, after: int) -> list[str]:
    """Kill a writer after `after` acknowledgements; return all that it made."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, url, str(run), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(after)]
    process.kill()
    lines += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    # A line cut short by the kill acknowledges nothing.
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


@pytest.mark.asyncio
async def test_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'bridge.db'}"
    chance = random.Random(2)  # noqa: S311 - a test's dice
    accepted: set[str] = set()
    stepped: set[str] = set()
    for run in range(8):
        lines = await _kill_a_writer(url, run, chance.randint(20, 400))
        accepted |= {line[2:] for line in lines if line[0] == "a"}
        stepped |= {line[2:] for line in lines if line[0] == "s"}
    assert len(stepped) > 50

    async with open_store(url, FixedClock()) as store:
        rooms = [RoomId(f"!{caller}") for caller in range(8)]
        waiting = {row.key for room in rooms for row in await open_inputs(store, room)}
        outbox = [row for room in rooms for row in await open_effects(store, room)]
        effects = {row.cause for row in outbox}
        assert len(effects) == len(outbox)
        assert accepted <= waiting | effects
        assert stepped <= effects
        assert not waiting & effects
        for room in rooms:
            found = await load_room(store, room)
            last = (await open_effects(store, room))[-1]
            assert found is not None
            assert found.record == last.effect
