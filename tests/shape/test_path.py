"""The numbers of files and calls of the bridge on the path of a message, which may only fall.

The real bridge runs in this process with SQLite, and connects to a stub homeserver and a stub call
centre by sockets. Background tasks (health, metrics, upkeep) are disabled, so that every counted
file is on the message's path: from its arrival to the last row written, including the customer's
read receipt.

`python -m tests.shape.test_path` prints both paths: files in order, with the number of calls.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType, MappingProxyType
from typing import Any
from unittest.mock import patch

import pytest

from bridge.app.serving import Serving
from bridge.config.loading import load_config
from bridge.ops.logging import configure_logging
from tests.bench.stubs import Handler, StubHomeserver, StubWebChat
from tests.bench.subjects import Subject, client, open_chats, write_config
from tests.support.ports import free_port

BRIDGE = Path(__file__).parents[2] / "bridge"
FROM_CUSTOMER, FROM_AGENT = 30, 27
"""Maximum number of files each way; lower it whenever the path gets shorter. One limits connections
to the bridge's ports (`ops/metrics.py`), one is a link (`link/link.py`)."""
CALLS_FROM_CUSTOMER, CALLS_FROM_AGENT = 335, 293
"""Maximum number of calls of the bridge's own functions each way, on Python 3.11; later ones call
no function for a comprehension. In a batch they are what a message costs: twenty more took 10 %."""
MESSAGES = 5
"""Messages each way; the shortest path counts, as a timer of the room may add files to one."""


class Walk:
    """A profiler that records which functions of the bridge are called, in every thread.

    Attributes:
        files: files in the order of their first call, with the number of calls.
        functions: file and name of each function.
    """

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.functions: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(f"{BRIDGE}{os.sep}"):
            file = Path(code.co_filename).relative_to(BRIDGE).as_posix()
            self.files[file] = self.files.get(file, 0) + 1
            self.functions.add((file, code.co_qualname))

    @property
    def calls(self) -> int:
        return sum(self.files.values())

    def __str__(self) -> str:
        lines = [f"{len(self.files)} files, {len(self.functions)} functions, {self.calls} calls"]
        lines += [f"{calls:5} {file}" for file, calls in self.files.items()]
        return "\n".join(lines)


class Walker:
    """A profiler that passes each call on to the present walk."""

    def __init__(self) -> None:
        self.walk = Walk()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        self.walk(frame, event, argument)


@dataclass(frozen=True)
class Served:
    """The bridge in this process, with a chat in one room."""

    subject: Subject
    walker: Walker
    database: Path

    async def shortest(self, message: Callable[[], Awaitable[None]]) -> Walk:
        """Send `MESSAGES` messages; return the walk with the fewest files, then calls."""
        walks = []
        for _ in range(MESSAGES):
            self.walker.walk = Walk()
            sys.setprofile(self.walker)
            try:
                await message()
                await self.at_rest()
                await asyncio.sleep(0.05)  # until the last answer is processed
            finally:
                sys.setprofile(None)
            walks.append(self.walker.walk)
        return min(walks, key=lambda walk: (len(walk.files), walk.calls))

    async def at_rest(self) -> None:
        """Wait until the journal has no open row, at most half a minute."""
        with closing(sqlite3.connect(self.database)) as connection:
            for _ in range(3_000):
                found = connection.execute("SELECT count(*) FROM journal WHERE outcome IS NULL")
                if found.fetchone() == (0,):
                    return
                await asyncio.sleep(0.01)
        raise TimeoutError("something stored is not done")

    async def asked(self, event: Callable[[str, str], dict[str, object]]) -> None:
        """Send a customer's text (`event` makes it of an id and a text); wait for its receipt."""
        subject = self.subject
        number, receipts = subject.heard.count("question"), subject.homeserver.receipts.value
        await subject.put([event(f"walk{number}", f"question={number}")])
        await subject.heard.reach("question", number + 1)
        await subject.homeserver.receipts.reach(receipts + 1)

    async def answered(self) -> None:
        """Send an agent's text; wait until it is in the room."""
        shown = self.subject.homeserver.from_agents
        number = shown.value + 1
        await self.subject.say(0, f"answer={number}")
        await shown.reach(number)


@asynccontextmanager
async def serving(
    folder: Path,
    homeserver: StubHomeserver,
    handler: Handler | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Served]:
    """Run the bridge with a chat in one room, profiled from the start.

    Args:
        folder: for configuration and database.
        homeserver: not yet running.
        handler: answers requests before the homeserver; if given, the bridge encrypts.
        environment: environment variables that override the configuration.
    """
    webchat, port, database, walker = StubWebChat(), free_port(), folder / "bridge.db", Walker()
    async with homeserver.running(handler), webchat.running(), client() as session:
        config = write_config(
            folder,
            homeserver.address,
            webchat.base_url,
            port,
            f"sqlite:///{database}",
            encryption=handler is not None,
        )
        threading.setprofile(walker)  # for SQLite's thread, which starts later
        try:
            # Send each receipt at once, not some seconds after the last one.
            with patch("bridge.rooms.receipts.PAUSE", 0.0):
                async with Serving(load_config(config, environment)):
                    url, pid = f"http://127.0.0.1:{port}", os.getpid()
                    subject = Subject([url], [pid], session, homeserver, webchat.heard, webchat.say)
                    served = Served(subject, walker, database)
                    await open_chats(subject, webchat, range(1))
                    await served.answered()  # the agent's first message takes another path
                    await served.at_rest()
                    yield served
        finally:
            threading.setprofile(None)


async def both_ways(folder: Path) -> tuple[Walk, Walk]:
    """Return the paths of a customer's text (up to its read receipt) and of an agent's text."""

    def left_out(self: Serving, work: Coroutine[Any, Any, None]) -> None:
        work.close()

    with patch.object(Serving, "keep", left_out):
        async with serving(folder, StubHomeserver()) as served:
            inwards = await served.shortest(lambda: served.asked(partial(served.subject.text, 0)))
            outwards = await served.shortest(served.answered)
    return inwards, outwards


def told(inwards: Walk, outwards: Walk) -> str:
    return f"a customer's text: {inwards}\nan agent's text: {outwards}\n"


def check(walk: Walk, most: int) -> None:
    """Assert that a path is within its limit, and that the limit is not too high."""
    files = len(walk.files)
    assert files <= most, f"a message passes more files: {walk}"
    assert files >= most - 3, f"lower the limit: a message passes {files} files"


@pytest.mark.asyncio
async def test_a_message_passes_few_files(tmp_path: Path) -> None:
    """`-s` shows both paths."""
    inwards, outwards = await both_ways(tmp_path)
    sys.stdout.write(f"\n{told(inwards, outwards)}")
    check(inwards, FROM_CUSTOMER)
    check(outwards, FROM_AGENT)
    assert inwards.calls <= CALLS_FROM_CUSTOMER, f"a message makes more calls: {inwards}"
    assert outwards.calls <= CALLS_FROM_AGENT, f"a message makes more calls: {outwards}"


if __name__ == "__main__":
    configure_logging("ERROR", "text")
    with TemporaryDirectory() as place:
        sys.stdout.write(told(*asyncio.run(both_ways(Path(place)))))
