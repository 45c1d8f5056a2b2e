"""`Pulse`, the common timer of sockets, on the event loops of asyncio and uvloop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from socket import socketpair

import pytest
import uvloop

from bridge.link import socket as socket_module
from bridge.link.socket import PULSE, Pulse, Wire
from tests.unit.link.rig import eventually
from tests.unit.link.test_socket import Socket


@pytest.mark.asyncio
async def test_sockets_are_woken_together_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, pulse = asyncio.get_running_loop(), Pulse()
    woken: list[tuple[str, float]] = []

    def waiting(name: str) -> Wire:
        wire = Socket().wire
        monkeypatch.setattr(wire, "look", lambda: woken.append((name, loop.time())))
        return wire

    one, two, gone = map(waiting, ("one", "two", "gone"))
    first = (loop.time() // PULSE + 2) * PULSE
    pulse.wake(two, first + 5 * PULSE)
    for wire in (one, two, gone):
        pulse.wake(wire, first - PULSE * 0.9)
        pulse.wake(wire, first - PULSE * 0.1)
    pulse.wake(two, first - PULSE * 0.5)
    pulse.forget(gone)
    pulse.wake(gone, first + PULSE)
    await eventually(lambda: len(woken) == 3)
    await asyncio.sleep(2 * PULSE)
    assert [name for name, _ in woken] in (["one", "two", "gone"], ["two", "one", "gone"])
    assert all(first - 0.01 <= at < first + PULSE for _, at in woken[:2])
    assert woken[0][1] == pytest.approx(woken[1][1], abs=0.01)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_past_moment_wakes_at_once(
    factory: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []

    async def wake() -> None:
        pulse, now = Pulse(), asyncio.get_running_loop().time()
        for name in ("late", "later"):
            wire = Socket().wire
            monkeypatch.setattr(wire, "look", partial(woken.append, name))
            pulse.wake(wire, now - 0.5)
        await eventually(lambda: len(woken) == 2)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(wake())


def test_sockets_are_read_before_silence_is_judged_after_a_suspension(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """uvloop runs late timers before it reads sockets."""
    monkeypatch.setattr(socket_module, "STOOD_STILL", PULSE)
    ours, theirs = socketpair()
    happened: list[str] = []

    def hear() -> None:
        if ours.recv(1) == b"1":
            time.sleep(4 * PULSE)  # the process is suspended
            theirs.send(b"2")
        else:
            happened.append("read")

    async def stand_still() -> None:
        loop, wire = asyncio.get_running_loop(), Socket().wire
        monkeypatch.setattr(wire, "look", lambda: happened.append("looked"))
        loop.add_reader(ours, hear)
        wire.pulse.wake(wire, loop.time() + PULSE)
        theirs.send(b"1")
        await eventually(lambda: "looked" in happened)
        loop.remove_reader(ours)

    with ours, theirs, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(stand_still())
    assert happened == ["read", "looked"]
