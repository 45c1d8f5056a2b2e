"""Call centres and frames for the tests of the simulator's pure part."""

import itertools
import json
from collections.abc import Mapping
from typing import NamedTuple

from bridge.simulator import handlers, operations
from bridge.simulator.checks import check
from bridge.simulator.options import SimulatorOptions
from bridge.simulator.state import CallCentre, Customer, Outgoing, Send, Wire

WALL_MS = 1_733_011_200_000
"""The constant time of the wall clock."""


def make_centre(**options: object) -> CallCentre:
    """A strict centre whose tokens are T1, T2, …"""
    numbers = itertools.count(1)
    centre = CallCentre(
        SimulatorOptions(strict=True).changed(options), lambda: f"T{next(numbers)}", lambda: WALL_MS
    )
    centre.base_url = "http://desk.test/webchat"
    return centre


def join(centre: CallCentre, login: str = "ada", *, linked: bool = True) -> Customer:
    customer, _ = centre.sign_in(login, "", now=0)
    customer.linked = linked
    return customer


class Phone:
    """One customer talking to a centre without sockets."""

    def __init__(self, centre: CallCentre, login: str = "ada") -> None:
        self.centre = centre
        self.customer = join(centre, login)
        self._ids = itertools.count(1)
        self._now = 1.0

    def at(self, now: float) -> "Phone":
        """Return this phone at another time, in seconds."""
        self._now = now
        return self

    def send(self, frame_type: int, **fields: object) -> list[Outgoing]:
        token = next(iter(self.customer.tokens), "none")
        frame = {"messageId": next(self._ids), "type": frame_type, "token": token, "time": 1}
        return self.write(json.dumps(frame | fields))

    def write(self, text: str) -> list[Outgoing]:
        call = check(text, self.centre.options)
        return handlers.answer(self.centre, self.customer, call, self._now)

    def queue(self, queue_id: int = 7) -> list[Outgoing]:
        return self.send(101, queueId=queue_id, **{"from": "APP"})

    def text(self, session_id: int, text: str, **fields: object) -> list[Outgoing]:
        return self.send(110, sessionId=session_id, msg=text_message(text), **fields)


def text_message(text: str) -> Wire:
    return {"type": 1, "content": {"content": text, "extra": ""}}


def frames(outgoing: list[Outgoing]) -> list[Wire]:
    """Return the frames among outgoing items."""
    return [item.frame for item in outgoing if isinstance(item, Send)]


def codes(outgoing: list[Outgoing]) -> list[tuple[object, object]]:
    """Return type and result of each frame; of a 201, its requestStatus."""
    return [
        (frame["type"], frame.get("result", frame.get("requestStatus")))
        for frame in frames(outgoing)
    ]


def chatting(centre: CallCentre, login: str = "ada") -> tuple[Phone, int]:
    """Return a customer in an open session, and the session id."""
    phone = Phone(centre, login)
    phone.queue()
    if phone.customer.session is None:
        perform(centre, {"op": "accept", "login": login})
    assert phone.customer.session is not None
    return phone, phone.customer.session.id


class Done(NamedTuple):
    outgoing: list[Outgoing]
    answer: Wire


def perform(centre: CallCentre, op: Mapping[str, object], now: float = 1) -> Done:
    answer = operations.perform(centre, op, now, no_files)
    return Done(centre.outgoing(), answer)


def no_files(name: str, body: bytes) -> tuple[str, str]:
    return f"/webchat/up/1/{name}", f"1/{name}"
