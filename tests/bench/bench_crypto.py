"""CPU per encrypted message: decrypting a customer's, and encrypting one of the bridge.

Run it as a program: `python -m tests.bench.bench_crypto [messages] [rounds]`. The CPU is that of
this process, all threads; it prints the median and range of the rounds, in which all cases
alternate. "Bare" is vodozemac alone; the other cases include reading and writing keys and replay
records in the store, and starting sessions and sharing them with a customer's two devices.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
import vodozemac
from rich.console import Console
from rich.table import Table

from bridge.matrix.crypto.devices import OwnDevice, Upkeep
from bridge.matrix.crypto.keys import RoomKeys, Sharing, sealed_of
from bridge.matrix.crypto.peers import Payload, Peers, Places, Scheme
from bridge.matrix.crypto.vault import Sealer, Vault
from bridge.matrix.crypto.wire import Json
from bridge.ops.logging import configure_logging
from bridge.rooms.store import StorePort
from bridge.rooms.surroundings import SystemClock
from bridge.storage.sqlstore import open_store
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.crypto.test_places import Rooms
from tests.unit.matrix.crypto.world import (
    ALICE,
    BOT,
    ROOM,
    USERS,
    Believing,
    FakeServer,
    Phone,
    World,
    deaf,
)

TEXT = "x" * 200


async def cpu(times: int, once: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    """Return CPU and wall-clock microseconds per call."""
    wall, used = time.perf_counter(), time.process_time()
    for number in range(times):
        await once(number)
    spent = time.process_time() - used, time.perf_counter() - wall
    return spent[0] / times * 1e6, spent[1] / times * 1e6


async def opening(rows: StorePort, messages: int) -> tuple[float, float]:
    """Measure decrypting a customer's messages, with a new session every hundred, as clients do."""
    vault, world = Vault(rows, Sealer("secret")), World()
    keys, phone = RoomKeys(vault, Believing()), Phone(world)
    raws: list[Json] = []
    for number in range(messages):
        if number % 100 == 0:
            phone.group = vodozemac.GroupSession()
            told = Payload(ALICE, "c", "e", "m.room_key", phone.room_key())
            taken = await keys.take(told, 0, {})
            assert taken is not None
            await vault.save(taken[1])
            keys.forget(taken[0])
        raws.append(phone.say(TEXT, f"${number}"))

    async def once(number: int) -> None:
        sealed = sealed_of(raws[number])
        assert sealed is not None
        assert isinstance(await keys.open(raws[number], sealed, 0), dict)
        if number % 500 == 499:
            await keys.save()

    return await cpu(messages, once)


async def sealing(rows: StorePort, messages: int) -> tuple[float, float]:
    """Measure encrypting a ghost's messages to a customer's two devices, with key rotation."""
    vault, world, rooms = Vault(rows, Sealer("secret")), World(), Rooms()
    server = FakeServer(world)
    await server.make_device(BOT, "D")
    for device_id in ("PHONE", "LAPTOP"):
        Phone(world, device_id=device_id)
    own = OwnDevice.draw(BOT, "D")
    clock = SystemClock()
    upkeep = Upkeep(vault, server, BOT, clock, deaf)
    upkeep._devices[BOT] = own  # as published
    sharing = Sharing(vault, server, Peers(server, clock), Places(rooms, USERS, vault), upkeep)
    content: Json = {"msgtype": "m.text", "body": TEXT}

    async def once(number: int) -> None:
        scheme, event = Scheme(encrypted=True), ("m.room.message", content)
        if sharing.encrypt_at_once(own, ROOM, scheme, number, event) is None:
            readers = await sharing.prepare(own, ROOM, scheme, number)
            await sharing.encrypt(BOT, readers, event, last=True)

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


async def one_round(store: StorePort, messages: int) -> dict[str, tuple[float, float]]:
    """Return CPU and wall-clock microseconds per message of each case."""
    sealed, opened = await bare(messages)
    found = {"decrypt, bare": opened, "encrypt, bare": sealed}
    for name, rows in (("memory", MemoryStore()), ("SQLite", store)):
        found[f"decrypt, {name}"] = await opening(rows, messages)
        found[f"encrypt, {name}"] = await sealing(rows, messages)
    return found


async def main(messages: int, rounds: int) -> None:
    configure_logging("ERROR", "text")
    table = Table("", "CPU µs", "range", "wall µs")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder)}/bench.db"
        async with open_store(url, SystemClock()) as store:
            found = [await one_round(store, messages) for _ in range(rounds)]
    for case in found[0]:
        used, wall = zip(*(one[case] for one in found), strict=True)
        spread = f"{min(used):.0f}-{max(used):.0f}"
        table.add_row(
            case, f"{statistics.median(used):.0f}", spread, f"{statistics.median(wall):.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*arguments, *(1_000, 7)[len(arguments) :]))
