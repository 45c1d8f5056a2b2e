"""CPU per encrypted message: opening a customer's, and encrypting one of ours.

Run it as a program: `python -m tests.bench.bench_crypto [messages]`. The CPU is that of this
process, all threads. "Bare" is vodozemac alone; the rest is with everything around it: keys read
from the store, opened and sealed, and, for ours, the ratchet stored before each message leaves.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
import vodozemac
from rich.console import Console
from rich.table import Table

from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.keys import RoomKeys, sealed_of
from bridge.matrix.crypto.olm import Payload
from bridge.matrix.crypto.peers import Peers
from bridge.matrix.crypto.sharing import Places, Scheme, Sharing
from bridge.matrix.crypto.vault import Sealer, SecretRows, Vault
from bridge.matrix.crypto.wire import Json
from bridge.ops.clock import SystemClock
from bridge.ops.logging import configure_logging
from bridge.storage.open import open_store
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import (
    ALICE,
    BOT,
    ROOM,
    Believing,
    FakeServer,
    Phone,
    World,
)

TEXT = "x" * 200


async def cpu(times: int, once: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    """CPU and wall-clock microseconds for each call."""
    wall, used = time.perf_counter(), time.process_time()
    for number in range(times):
        await once(number)
    spent = time.process_time() - used, time.perf_counter() - wall
    return spent[0] / times * 1e6, spent[1] / times * 1e6


async def opening(rows: SecretRows, messages: int) -> tuple[float, float]:
    """A customer's messages, a new session every hundred, as clients do."""
    vault, world = Vault(rows, Sealer("secret")), World()
    keys, phone = RoomKeys(vault, Believing()), Phone(world)
    raws: list[Json] = []
    for number in range(messages):
        if number % 100 == 0:
            phone.group = vodozemac.GroupSession()
            taken = await keys.take(Payload(ALICE, "c", "e", "m.room_key", phone.room_key()), 0)
            assert taken is not None
            await vault.save(taken[1])
        raws.append(phone.say(TEXT, f"${number}"))

    async def once(number: int) -> None:
        sealed = sealed_of(raws[number])
        assert sealed is not None
        assert isinstance(await keys.open(raws[number], sealed, 0), dict)

    return await cpu(messages, once)


async def sealing(rows: SecretRows, messages: int) -> tuple[float, float]:
    """A ghost's messages to a room with one customer with two devices; rotation included."""
    vault, world, rooms = Vault(rows, Sealer("secret")), World(), Rooms()
    server = FakeServer(world)
    await server.make_device(BOT, "D")
    for device_id in ("PHONE", "LAPTOP"):
        Phone(world, device_id=device_id)
    own = OwnDevice.draw(BOT, "D")
    sharing = Sharing(vault, server, Peers(server), Places(rooms, rooms, vault))
    content: Json = {"msgtype": "m.text", "body": TEXT}

    async def once(number: int) -> None:
        scheme = Scheme(encrypted=True)
        readers = await sharing.prepare(own, ROOM, scheme, number)
        await sharing.encrypt(own, readers, ("m.room.message", content))

    return await cpu(messages, once)


async def bare(messages: int) -> tuple[tuple[float, float], tuple[float, float]]:
    group = vodozemac.GroupSession()
    inbound = vodozemac.InboundGroupSession(group.session_key)
    sealed: list[vodozemac.MegolmMessage] = []

    async def encrypt(_: int) -> None:
        sealed.append(group.encrypt(TEXT.encode()))

    async def decrypt(number: int) -> None:
        inbound.decrypt(sealed[number])

    return await cpu(messages, encrypt), await cpu(messages, decrypt)


async def main(messages: int) -> None:
    configure_logging("ERROR", "text")
    table = Table("", "store", "CPU µs", "wall µs")

    def add(what: str, store: str, spent: tuple[float, float]) -> None:
        table.add_row(what, store, *(f"{value:.0f}" for value in spent))

    sealed, opened = await bare(messages)
    add("decrypt, bare", "-", opened)
    add("encrypt, bare", "-", sealed)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder)}/bench.db"
        async with open_store(url, SystemClock()) as store:
            for name, rows in (("memory", MemoryStore()), ("SQLite", store)):
                add("decrypt", name, await opening(rows, messages))
                add("encrypt", name, await sealing(rows, messages))
    Console().print(table)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
