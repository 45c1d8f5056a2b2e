"""How many files of the bridge a message passes: a count that may only go down (house.md).

The bridge is the real one, in this process, with SQLite and a socket on either side; the homeserver
is a stub and the call centre the simulator, whose files do not count. What runs beside serving
(health, figures, upkeep) is left out, so that each file that is counted is on the message's way:
from its arrival to the last row written, the customer's read receipt among it.

`python -m tests.shape.test_path` prints the two walks: files in their order, functions, calls.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any
from unittest.mock import patch

import aiohttp
import pytest

from bridge.app.serving import Serving
from bridge.config import load_config
from bridge.demo.synapse import free_port
from bridge.ops.logging import configure_logging
from bridge.simulator.simulator import Simulator, SimulatorOptions
from tests.bench.stubs import StubHomeserver
from tests.bench.subjects import SimulatedDesk, Subject, open_chats, text, write_config

BRIDGE = Path(__file__).parents[2] / "bridge"
PEERS = {"simulator", "demo"}
"""Packages that stand in for the other side."""
FROM_CUSTOMER, FROM_AGENT = 70, 67
"""Most files each way. House.md wants 35: lower a number whenever the way has become shorter."""
MESSAGES = 3
"""Of each kind; the fewest files count, for a timer of the room's own may go off in between."""


class Walk:
    """Notes which functions of the bridge are entered, in every thread."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        """In the order in which they are first entered."""
        self.functions: set[tuple[str, str]] = set()
        self.calls = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(f"{BRIDGE}{os.sep}"):
            inner = Path(code.co_filename).relative_to(BRIDGE)
            if inner.parts[0] not in PEERS:
                self.files[inner.as_posix()] = None
                self.functions.add((inner.as_posix(), code.co_qualname))
                self.calls += 1

    def __str__(self) -> str:
        count = f"{len(self.files)} files, {len(self.functions)} functions, {self.calls} calls"
        return "\n  ".join([count, *self.files])


class Walker:
    """Hands each call to the walk of the moment."""

    def __init__(self) -> None:
        self.walk = Walk()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        self.walk(frame, event, argument)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Subject, Walker, Path]]:
    """The bridge in this process, in a chat in one room; the walk is noted from its start on."""
    homeserver, port, walker = StubHomeserver(), free_port(), Walker()
    simulator = Simulator(SimulatorOptions(login_limit=0, script="accept"))
    async with homeserver.running(), aiohttp.ClientSession() as session:
        await simulator.start()
        database = folder / "bridge.db"
        config = write_config(folder, homeserver, simulator, port, f"sqlite:///{database}")
        threading.setprofile(walker)  # of SQLite's thread, which is yet to start
        try:
            async with Serving(load_config(config, {})):
                url = f"http://127.0.0.1:{port}"
                desk = SimulatedDesk(simulator)
                subject = Subject(url, os.getpid(), session, homeserver, desk)
                await open_chats(subject, 1, simulator)
                await at_rest(database)
                yield subject, walker, database
        finally:
            threading.setprofile(None)
            await simulator.stop()


async def at_rest(database: Path) -> None:
    """Wait until nothing that is stored is still to be done, at most half a minute."""
    open_rows = "SELECT (SELECT count(*) FROM inbox WHERE settled IS NULL)"
    open_rows += " + (SELECT count(*) FROM outbox WHERE settled IS NULL)"
    with closing(sqlite3.connect(database)) as connection:
        for _ in range(3_000):
            if connection.execute(open_rows).fetchone() == (0,):
                return
            await asyncio.sleep(0.01)
    raise TimeoutError("something stored is not done")


async def shortest(
    walker: Walker, database: Path, message: Callable[[int], Awaitable[None]]
) -> Walk:
    """The walk of the message that passes the fewest files."""
    walks = []
    for number in range(MESSAGES):
        walker.walk = Walk()
        sys.setprofile(walker)
        try:
            await message(number)
            await at_rest(database)
        finally:
            sys.setprofile(None)
        walks.append(walker.walk)
    return min(walks, key=lambda walk: len(walk.files))


async def both_ways(folder: Path) -> tuple[Walk, Walk]:
    """A customer's text to the agent and back to the read receipt, and an agent's text."""

    def left_out(self: Serving, work: Coroutine[Any, Any, None]) -> None:
        work.close()

    with patch.object(Serving, "keep", left_out):
        async with serving(folder) as (subject, walker, database):

            async def from_customer(number: int) -> None:
                receipts = subject.homeserver.receipts.value
                received = subject.desk.received()
                await subject.put([text(0, f"walk{number}", f"question {number}")])
                await subject.until_received(received + 1)
                await subject.homeserver.receipts.reach(receipts + 1)

            async def from_agent(number: int) -> None:
                shown = subject.homeserver.from_agents.value
                await subject.desk.say(0, f"answer {number}")
                await subject.homeserver.from_agents.reach(shown + 1)

            inwards = await shortest(walker, database, from_customer)
            outwards = await shortest(walker, database, from_agent)
    return inwards, outwards


def told(inwards: Walk, outwards: Walk) -> str:
    return f"a customer's text: {inwards}\nan agent's text: {outwards}\n"


@pytest.mark.asyncio
async def test_a_message_passes_few_files(tmp_path: Path) -> None:
    """With `-s` it prints the two walks."""
    inwards, outwards = await both_ways(tmp_path)
    sys.stdout.write(f"\n{told(inwards, outwards)}")
    for walk, most in ((inwards, FROM_CUSTOMER), (outwards, FROM_AGENT)):
        files = len(walk.files)
        assert files <= most, f"a message passes more files: {walk}"
        assert files >= most - 3, f"lower the limit: a message passes {files} files"


if __name__ == "__main__":
    configure_logging("ERROR", "text")
    with TemporaryDirectory() as place:
        sys.stdout.write(told(*asyncio.run(both_ways(Path(place)))))
