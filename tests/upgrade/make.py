"""Makes `stored/killed.jsonl`: the real bridge, killed under load. Of version 8254388.

python -m tests.upgrade.make
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import aiohttp

from bridge.ops.clock import SystemClock
from bridge.simulator.server import Simulator
from tests.bench.subjects import Subject, open_chats, text
from tests.upgrade.database import STORED, dump
from tests.upgrade.peers import ROOMS, Homeserver, Killed, bridge, heard, options


class Load:
    """Both sides talk in every room until they are stopped."""

    def __init__(self, subject: Subject) -> None:
        self.asked: list[str] = []
        self._subject = subject

    async def asking(self) -> None:
        for number in itertools.count():
            room = number % ROOMS
            said = f"{room} question {number}"
            self.asked.append(said)
            with suppress(aiohttp.ClientError):
                await self._subject.put([text(room, f"q{number}", said)])
            await asyncio.sleep(0.04)

    async def answering(self) -> None:
        for number in itertools.count():
            room = number % ROOMS
            await self._subject.desk.say(room, f"{room} answer {number}")
            await asyncio.sleep(0.05)


async def make(folder: Path) -> str | None:
    homeserver, simulator = Homeserver(seconds=0.1), Simulator(options(reply_delay_ms=150))
    database = folder / "bridge.db"
    await simulator.start()
    async with (
        homeserver.running(),
        bridge(folder, homeserver, simulator, f"sqlite:///{database}") as (subject, process, _),
    ):
        await open_chats(subject, ROOMS, simulator)
        load = Load(subject)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in (load.asking(), load.answering())]
            await asyncio.sleep(0.6)
            await process.kill()
            killed_at = SystemClock().now()
            for task in tasks:
                task.cancel()
        sessions = simulator.state()["sessions"]
        assert isinstance(sessions, list)
        ids = {str(one["login"]): int(one["id"]) for one in sessions}
        memory = Killed(killed_at, ids, load.asked, heard(simulator), homeserver.posted)
    await simulator.stop()
    stored = dump(database, memory)
    rows = [json.loads(line) for line in stored.splitlines()[1:]]
    openly = [row for row in rows if row["table"] == "outbox" and "outcome" not in row]
    kinds = {(row["lane"], "attempted" in row) for row in openly}
    return stored if {("webchat", True), ("matrix", False)} <= kinds else None


async def main() -> None:
    for _ in range(30):
        with tempfile.TemporaryDirectory() as folder:
            stored = await make(Path(folder))
        if stored is not None:
            (STORED / "killed.jsonl").write_text(stored, encoding="utf-8")
            return


if __name__ == "__main__":
    asyncio.run(main())
