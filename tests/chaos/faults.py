"""The table of faults: what happens to which part of the installation.

A fault is over when its function returns: all servers and connections are then restored.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random

from bridge.simulator.state import Wire as Frame
from tests.chaos.ground import Ground, Link, fill
from tests.support.postgres import PostgresMissing
from tests.support.replicas import taken_over
from tests.support.stage import pid_of
from tests.support.wires import Wire

SHORT = (0.5, 4.5)
"""Range of seconds for which a suspended replica keeps its rooms."""
LONG = (8.5, 11.0)
"""Range of seconds after which another replica has taken them over."""
WHILE = (1.0, 5.0)
"""Range of the duration of every other fault, seconds."""
HOURS = (1, 6)
"""Range of hours by which a clock is changed."""

Play = Callable[[Ground, Random], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    kind: str
    subject: str
    """Affected part; two faults of the same subject are not combined."""
    play: Play
    there: Callable[[Ground], bool] = lambda ground: True
    """Whether the fault is possible in this installation."""

    @property
    def name(self) -> str:
        return f"{self.subject}: {self.kind}"


# --- processes ------------------------------------------------------------------------------------


async def _down(ground: Ground, rng: Random, index: int, kind: str, least: float) -> None:
    """Wait while a bridge is down, at least until other replicas have taken over its rooms."""
    until = asyncio.get_running_loop().time() + least
    if ground.store == "three" and ground.alone:
        chats = [one for one in ground.chats if await ground.shared.owner(one.talk.room) == index]
        if chats:
            ground.takeovers.append((kind, await taken_over(ground.shared, chats, index)))
    await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))


async def _kill_bridge(ground: Ground, rng: Random) -> None:
    index = rng.randrange(len(ground.shared.bridges))
    ground.resting.add(index)
    await ground.shared.bridges[index].kill()
    await _down(ground, rng, index, "kill -9", rng.uniform(0, 3))
    await ground.shared.bridges[index].start(ready=False)
    ground.resting.discard(index)


async def _stop_bridge(seconds: tuple[float, float], ground: Ground, rng: Random) -> None:
    index = rng.randrange(len(ground.shared.bridges))
    ground.shared.signal(index, signal.SIGSTOP)
    try:
        if seconds == LONG:
            await _down(ground, rng, index, "SIGSTOP", rng.uniform(*seconds))
        else:
            await asyncio.sleep(rng.uniform(*seconds))
    finally:
        ground.shared.signal(index, signal.SIGCONT)


async def _kill_postgres(ground: Ground, rng: Random) -> None:
    assert ground.postgres is not None
    ground.postgres.signal(signal.SIGKILL)
    await asyncio.sleep(rng.uniform(0.5, 3))
    await _postgres_again(ground)


async def _postgres_again(ground: Ground) -> None:
    """Start PostgreSQL, with retries: killed processes may keep its shared memory for a moment."""
    assert ground.postgres is not None
    for _ in range(20):
        if ground.postgres.runs():
            return
        with suppress(PostgresMissing):
            await asyncio.to_thread(ground.postgres.start)
        await asyncio.sleep(0.5)
    raise AssertionError("PostgreSQL does not start again")


async def _stop_postgres(seconds: tuple[float, float], ground: Ground, rng: Random) -> None:
    assert ground.postgres is not None
    ground.postgres.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(rng.uniform(*seconds))
    finally:
        ground.postgres.signal(signal.SIGCONT)


async def _kill_synapse(ground: Ground, rng: Random) -> None:
    await ground.stage.synapse.kill()
    await asyncio.sleep(rng.uniform(0, 3))
    await ground.stage.synapse.start()


async def _stop_synapse(seconds: tuple[float, float], ground: Ground, rng: Random) -> None:
    pid = pid_of(ground.stage.synapse._child)
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(rng.uniform(*seconds))
    finally:
        os.kill(pid, signal.SIGCONT)


async def _kill_webchat(ground: Ground, rng: Random) -> None:
    simulator, wires = ground.stage.simulator, ground.wires["WebChat"]
    port = int(simulator.base_url.rpartition(":")[2].partition("/")[0])
    for wire in wires:
        wire.cut()
    await simulator.stop()
    await asyncio.sleep(rng.uniform(0.5, 4))
    await simulator.start(port=port)
    for wire in wires:
        wire.mend()


async def _stop_webchat(seconds: tuple[float, float], ground: Ground, rng: Random) -> None:
    for wire in ground.wires["WebChat"]:
        wire.stall()
    await asyncio.sleep(rng.uniform(*seconds))
    for wire in ground.wires["WebChat"]:
        wire.mend()


# --- links ----------------------------------------------------------------------------------------


async def _on_wires(
    link: Link, break_it: Callable[[Wire, Random], None], ground: Ground, rng: Random
) -> None:
    """Break the wire of one bridge or of all bridges for a while."""
    wires = ground.wires[link]
    chosen = wires if rng.random() < 0.5 else [rng.choice(wires)]
    for wire in chosen:
        break_it(wire, rng)
    await asyncio.sleep(rng.uniform(*WHILE))
    for wire in chosen:
        wire.mend()


def _cut(wire: Wire, rng: Random) -> None:
    wire.cut()


def _delay(wire: Wire, rng: Random) -> None:
    wire.delay = rng.uniform(0.2, 1.0)


def _halve(wire: Wire, rng: Random) -> None:
    wire.halves = rng.randint(1, 4)


# --- copies, order, disk, clock -------------------------------------------------------------------


async def _transactions(which: str, ground: Ground, rng: Random) -> None:
    setattr(ground.shared.balancer, which, rng.randint(3, 10))
    await asyncio.sleep(rng.uniform(*WHILE))
    setattr(ground.shared.balancer, which, 0)


async def _frames(fault: Mapping[str, object], ground: Ground, rng: Random) -> None:
    """Let the simulator double, reorder or delay frames of half of the customers for a while."""
    # Without push numbers a duplicate looks like a repeated text: double only replies then.
    kinds = (110, 210) if ground.server == "receipts" and fault["fault"] == "double" else (110,)
    planned: list[Frame] = [
        {**fault, "type": kind, "login": chat.talk.login, "count": rng.randint(1, 3)}
        for chat in rng.sample(ground.chats, k=max(1, len(ground.chats) // 2))
        for kind in kinds
    ]
    async with asyncio.timeout(30):
        while True:
            with suppress(RuntimeError):  # stopped by another fault
                await ground.stage.simulator.do({"op": "set", "faults": planned})
                break
            await asyncio.sleep(0.2)
    await asyncio.sleep(rng.uniform(*WHILE))
    with suppress(RuntimeError):  # the simulator is down
        await ground.stage.simulator.do({"op": "set", "faults": []})


async def _full_disk(ground: Ground, rng: Random) -> None:
    assert ground.disk is not None
    await asyncio.to_thread(fill, ground.disk)
    await asyncio.sleep(rng.uniform(*WHILE))
    (ground.disk / "filling").unlink()
    if ground.postgres is not None:
        await asyncio.sleep(0.5)
        await _postgres_again(ground)


async def _turn(sign: str, ground: Ground, rng: Random) -> None:
    clocks = ground.clocks if rng.random() < 0.5 else [rng.choice(ground.clocks)]
    for clock in clocks:
        clock.write_text(f"{sign}{rng.randint(*HOURS)}h")
    await asyncio.sleep(rng.uniform(3, 6))
    for clock in clocks:
        clock.write_text("+0")
    await asyncio.sleep(1.1)  # libfaketime caches the file for a second


# --- the table ------------------------------------------------------------------------------------


def _stored(ground: Ground) -> bool:
    return ground.postgres is not None


def _turns(ground: Ground) -> bool:
    return bool(ground.clocks)


def _mounted(ground: Ground) -> bool:
    return ground.disk is not None


def _links(link: Link, name: str, there: Callable[[Ground], bool]) -> Sequence[Fault]:
    ways = {"cut": _cut, "delayed": _delay, "halved in a frame": _halve}
    return [Fault(kind, name, partial(_on_wires, link, way), there) for kind, way in ways.items()]


FAULTS: Sequence[Fault] = (
    Fault("kill -9", "bridge", _kill_bridge),
    Fault("SIGSTOP, short", "bridge", partial(_stop_bridge, SHORT)),
    Fault("SIGSTOP, long", "bridge", partial(_stop_bridge, LONG)),
    Fault("kill -9", "PostgreSQL", _kill_postgres, _stored),
    Fault("SIGSTOP, short", "PostgreSQL", partial(_stop_postgres, SHORT), _stored),
    Fault("SIGSTOP, long", "PostgreSQL", partial(_stop_postgres, LONG), _stored),
    Fault("kill -9", "Synapse", _kill_synapse),
    Fault("SIGSTOP, short", "Synapse", partial(_stop_synapse, SHORT)),
    Fault("SIGSTOP, long", "Synapse", partial(_stop_synapse, LONG)),
    Fault("killed", "WebChat", _kill_webchat),
    Fault("stands still, short", "WebChat", partial(_stop_webchat, SHORT)),
    Fault("stands still, long", "WebChat", partial(_stop_webchat, LONG)),
    *_links("WebChat", "link to WebChat", lambda ground: True),
    *_links("Synapse", "link to Synapse", lambda ground: True),
    *_links("appservice", "link from Synapse", lambda ground: True),
    *_links("PostgreSQL", "link to PostgreSQL", _stored),
    Fault("doubled", "transactions", partial(_transactions, "doubled")),
    Fault("again after newer ones", "transactions", partial(_transactions, "repeated")),
    Fault("doubled", "frames", partial(_frames, {"fault": "double"})),
    Fault("reordered", "frames", partial(_frames, {"fault": "reorder"})),
    Fault("delayed", "frames", partial(_frames, {"fault": "delay", "delay_ms": 1500})),
    Fault("full", "disk", _full_disk, _mounted),
    Fault("turned forward", "clock", partial(_turn, "+"), _turns),
    Fault("turned back", "clock", partial(_turn, "-"), _turns),
)
