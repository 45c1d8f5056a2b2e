"""Helpers to run the link against the simulator, shared with the conformance tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from bridge.ids import QueueId, SessionId
from bridge.link.login import room_key
from bridge.rooms.ports import Account
from bridge.simulator.simulator import Simulator, SimulatorOptions
from bridge.webchat.frames import ChatStarted, RequestChat, SendMessage, Text
from tests.unit.link.rig import Rig, account

ADA = account()
LOGIN = f"mx-{room_key(ADA.room_id)}"
ASK = RequestChat(QueueId(1))


def text(what: str, session: int) -> SendMessage:
    return SendMessage(SessionId(session), Text(what))


@asynccontextmanager
async def simulated(**options: object) -> AsyncIterator[Simulator]:
    plain: dict[str, object] = {"script": "accept", "login_limit": 0, **options}
    simulator = Simulator(SimulatorOptions(strict=True).changed(plain))
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


def customer(simulator: Simulator, login: str = LOGIN) -> dict[str, object]:
    customers = cast("dict[str, dict[str, object]]", simulator.state()["customers"])
    return customers[login]


def commands(simulator: Simulator, kind: int) -> list[dict[str, object]]:
    """Return the frames of one type that the server received."""
    bodies = [frame["frame"] for frame in simulator.frames() if frame["direction"] == "in"]
    return [body for body in bodies if isinstance(body, dict) and body.get("type") == kind]


def said(simulator: Simulator) -> list[object]:
    """Return the texts that the server accepted, in order."""
    messages = cast("list[dict[str, object]]", customer(simulator)["messages"])
    return [message["text"] for message in messages]


def connected(rigged: Rig) -> bool:
    return rigged.counts.open_links == 1


def pushed(rigged: Rig, count: int) -> bool:
    return len(rigged.events.pushes) == count


async def chat(rigged: Rig, who: Account = ADA, call_id: int = 1) -> int:
    """Start a chat and return its session id."""
    before = len(rigged.events.pushes)
    assert (await rigged.call(who, call_id, ASK)).ok
    await rigged.events.until(lambda: "ChatStarted" in rigged.events.kinds[before:])
    pushes = [received.push for _, received in rigged.events.pushes[before:]]
    return next(int(push.session_id) for push in pushes if isinstance(push, ChatStarted))
