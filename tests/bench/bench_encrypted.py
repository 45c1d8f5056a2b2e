"""CPU of the whole bridge per message in an encrypted room, compared with a clear one.

A part of `make bench`; alone: `python -m tests.bench.bench_encrypted [messages]`. A real Synapse
(SQLite), the simulator and the bridge run on this machine; the bridge's process is measured, all
threads. The customer's client is matrix-nio with one device, which starts a session every hundred
messages, as the bridge does. The two rooms take turns in each direction, so that other load on the
machine affects both alike. The bridge's idle CPU per second (fetching to-device messages, pinging
the homeserver) is measured first and subtracted, as the two clients need different times per
message; "added" is the median of the turns' differences, with their quartiles.

The addition is split: "vodozemac" is the cipher alone, in this process and at the messages' pace,
where its code and data must be fetched into the processor's caches each time: 50-90 µs instead of
the 20-50 in a loop (`bench_crypto`). "Ours" is the rest: envelope, checks, replay records, the
second JSON, the larger bodies, and a hundredth of a session's key.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import uvloop
import vodozemac
from rich.console import Console
from rich.table import Table

from bridge.ops.logging import configure_logging
from tests.support.encrypted import Phones
from tests.support.stage import Stage, StageOptions, pid_of, set_stage
from tests.support.staging import UNLIMITED, bridge_section
from tests.support.talk import MEI, Talk, chatting

TURNS = 10
IDLE = 20.0
"""Seconds for which the idle CPU is measured."""
PATIENCE = 300.0
TEXT = "x" * 200
TO_AGENT, TO_CUSTOMER = "to the agent", "to the customer"

Alone = Callable[[], None]
Go = Callable[[Talk, str, int, Alone], Awaitable[None]]


def cpu(stage: Stage) -> float:
    """Return the bridge's µs of CPU so far."""
    total = 0
    for thread in Path(f"/proc/{pid_of(stage.bridge)}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e3


class Cipher:
    """Vodozemac alone, on a message like those of the chat; `spent`: µs of each call."""

    def __init__(self) -> None:
        self.spent: list[float] = []
        self._group = vodozemac.GroupSession()
        self._inbound = vodozemac.InboundGroupSession(self._group.session_key)
        content = {"msgtype": "m.text", "body": TEXT}
        fields = {"type": "m.room.message", "content": content, "room_id": "!room:localhost"}
        self._plain = msgspec.json.encode(fields)
        self._sealed: Iterator[str] = iter(())

    def prepare(self, messages: int) -> None:
        # Encrypted in advance, or the cipher would be in the caches when it is measured.
        self._sealed = iter([self._group.encrypt(self._plain).to_base64() for _ in range(messages)])

    def open(self) -> None:
        sealed, began = next(self._sealed), time.thread_time_ns()
        self._inbound.decrypt(vodozemac.MegolmMessage.from_base64(sealed))
        self.spent.append((time.thread_time_ns() - began) / 1e3)

    def seal(self) -> None:
        began = time.thread_time_ns()
        self._group.encrypt(self._plain).to_base64()
        self.spent.append((time.thread_time_ns() - began) / 1e3)


async def to_agent(talk: Talk, name: str, messages: int, alone: Alone) -> None:
    """Send the customer's messages and wait until the agent has the last."""
    for number in range(messages):
        await talk.say(f"{name} {number} {TEXT}")
        alone()
    async with asyncio.timeout(PATIENCE):
        last = f"{name} {messages - 1} "
        await talk.at_desk(lambda one: any(text.startswith(last) for text in one.texts))


async def to_customer(talk: Talk, name: str, messages: int, alone: Alone) -> None:
    """Send the agent's messages and wait until the customer has read the last."""
    for number in range(messages):
        await talk.desk("say", text=f"{name} {number} {TEXT}")
        if number % 20 == 19 or number == messages - 1:  # as fast as the homeserver accepts them
            await talk.reads(f"{name} {number} ", MEI, PATIENCE)
            alone()


class Added(msgspec.Struct, frozen=True):
    """CPU added by encryption in one direction: µs per message, medians of the turns.

    Attributes:
        way: TO_AGENT or TO_CUSTOMER.
        added: median of the differences within each turn; `least`, `most`: their quartiles.
        cipher: the part of vodozemac alone.
    """

    way: str
    clear: float
    encrypted: float
    added: float
    least: float
    most: float
    cipher: float


async def encrypted(messages: int, say: Callable[[str], None]) -> list[Added]:
    """Measure `messages` messages in a clear and in an encrypted room, each way."""
    found = []
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge_section()})
    each = messages // TURNS
    with tempfile.TemporaryDirectory() as folder:
        async with set_stage(Path(folder), options) as stage, AsyncExitStack() as closing:
            clear = await chatting(stage, "clear")
            sealed, _ = await Phones(stage, closing).chatting("sealed")
            began = cpu(stage)
            await asyncio.sleep(IDLE)
            idle = (cpu(stage) - began) / IDLE
            opening, sealing = Cipher(), Cipher()
            ways: dict[str, tuple[Go, Cipher, Alone]] = {
                TO_AGENT: (to_agent, opening, opening.open),
                TO_CUSTOMER: (to_customer, sealing, sealing.seal),
            }
            for way, (go, cipher, alone) in ways.items():
                used: dict[str, list[float]] = {"clear": [], "encrypted": []}
                for turn in range(TURNS):
                    for kind, talk in (("clear", clear), ("encrypted", sealed)):
                        cipher.prepare(each)
                        began, at = cpu(stage), time.monotonic()
                        await go(talk, f"{way} {turn}", each, alone)
                        anyway = (time.monotonic() - at) * idle
                        used[kind].append((cpu(stage) - began - anyway) / each)
                found.append(_added(way, used, statistics.median(cipher.spent)))
                say(f"{found[-1]}; taken off: {idle:.0f} µs a second")
    return found


def _added(way: str, used: dict[str, list[float]], alone: float) -> Added:
    plain, secret = used["clear"], used["encrypted"]
    added = [more - less for less, more in zip(plain, secret, strict=True)]
    least, middle, most = statistics.quantiles(added, n=4)
    clear, sealed = statistics.median(plain), statistics.median(secret)
    return Added(way, clear, sealed, middle, least, most, alone)


async def main(messages: int) -> None:
    configure_logging("ERROR", "text")
    table = Table("CPU µs a message", "clear", "encrypted", "added", "of it vodozemac", "ours")
    for one in await encrypted(messages, lambda _: None):
        table.add_row(
            one.way,
            f"{one.clear:.0f}",
            f"{one.encrypted:.0f}",
            f"{one.added:+.0f} ({one.least:+.0f} to {one.most:+.0f})",
            f"{one.cipher:.0f}",
            f"{one.added - one.cipher:+.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
