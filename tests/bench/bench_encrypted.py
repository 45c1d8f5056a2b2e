"""CPU of the whole bridge per message in an encrypted room, beside a clear one in the same run.

Run it as a program: `python -m tests.bench.bench_encrypted [messages]`. A real Synapse (SQLite),
the simulator and the bridge run on this machine; what is measured is the bridge's process, all of
its threads. The customer's client is matrix-nio, with one device. Each direction has a go in both
rooms, by turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bridge.demo.stage import Stage, StageOptions, set_stage
from bridge.ops.logging import configure_logging
from tests.support.encrypted import Phones
from tests.support.staging import UNLIMITED, bridge_section
from tests.support.talk import MEI, Talk, chatting

TURNS = 5
PATIENCE = 300.0

Go = Callable[[Talk, str, int], Awaitable[None]]


def cpu(stage: Stage) -> float:
    """Milliseconds of CPU that the bridge has used."""
    total = 0
    for thread in Path(f"/proc/{stage.bridge.pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e6


async def to_agent(talk: Talk, name: str, messages: int) -> None:
    """The customer speaks; until the agent has the last of it."""
    for number in range(messages):
        await talk.say(f"{name} {number} " + "x" * 200)
    async with asyncio.timeout(PATIENCE):
        last = f"{name} {messages - 1} "
        await talk.at_desk(lambda one: any(text.startswith(last) for text in one.texts))


async def to_customer(talk: Talk, name: str, messages: int) -> None:
    """The agent speaks; until the customer has read the last of it."""
    for number in range(messages):
        await talk.desk("say", text=f"{name} {number} " + "x" * 200)
        if number % 20 == 19 or number == messages - 1:  # as fast as the homeserver takes them
            await talk.reads(f"{name} {number} ", MEI, PATIENCE)


async def main(messages: int) -> None:
    configure_logging("ERROR", "text")
    table = Table("", "room", "CPU ms a message")
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge_section()})
    with tempfile.TemporaryDirectory() as folder:
        async with set_stage(Path(folder), options) as stage, AsyncExitStack() as closing:
            clear = await chatting(stage, "clear")
            sealed, _ = await Phones(stage, closing).chatting("sealed")
            ways: dict[str, Go] = {"to the agent": to_agent, "to the customer": to_customer}
            for way, go in ways.items():
                used = {"clear": 0.0, "encrypted": 0.0}
                for turn in range(TURNS):
                    for kind, talk in (("clear", clear), ("encrypted", sealed)):
                        began = cpu(stage)
                        await go(talk, f"{way} {turn}", messages // TURNS)
                        used[kind] += cpu(stage) - began
                for kind, spent in used.items():
                    table.add_row(way, kind, f"{spent / messages:.2f}")
    Console().print(table)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
