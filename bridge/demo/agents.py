"""The call centre's side of the demo: the agents' moves, and what the simulated server knows."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bridge.demo.transcript import StepFailedError, Transcript
from bridge.simulator.simulator import Simulator
from bridge.simulator.state import Wire

PATIENCE = 20.0
"""Seconds after which something awaited is held not to come."""


class AtDeskMessage(msgspec.Struct):
    """A message as the simulated desk received it."""

    kind: str
    text: str
    repeat: bool
    content: object = None


class AtDeskRating(msgspec.Struct):
    rating: int
    comments: str


class AtDesk(msgspec.Struct):
    """One customer as the simulated server sees her."""

    name: str
    messages: list[AtDeskMessage]
    ratings: list[AtDeskRating]
    signals: list[dict[str, object]]
    """What told that she types."""
    linked: bool
    pending_pushes: int
    """Pushes that she has not confirmed."""


class AtDeskUpload(msgspec.Struct):
    sha256: str


class DeskView(msgspec.Struct):
    """The part of the simulator's state that the demo looks at."""

    customers: dict[str, AtDesk]
    uploads: list[AtDeskUpload]


class Desk:
    """One customer as her agents see her.

    Args:
        simulator: the call centre.
        transcript: where it is printed what reaches the desk.
        name: the customer's, as WebChat was told it.
    """

    def __init__(self, simulator: Simulator, transcript: Transcript, name: str) -> None:
        self._simulator = simulator
        self._transcript = transcript
        self._name = name

    @property
    def view(self) -> DeskView:
        """What the server knows of all."""
        return msgspec.convert(self._simulator.state(), DeskView)

    @property
    def customer(self) -> AtDesk:
        """What it knows of her."""
        return self._found[1]

    @property
    def _found(self) -> tuple[str, AtDesk]:
        for login, customer in self.view.customers.items():
            if customer.name == self._name:
                return login, customer
        raise StepFailedError(f"WebChat does not know {self._name}")

    async def do(self, op: str, **fields: object) -> Wire:
        """One move of an agent's in her chat."""
        return await self._simulator.do({"op": op, "login": self._found[0], **fields})

    async def gets(self, what: str, wanted: Callable[[AtDeskMessage], bool]) -> AtDeskMessage:
        """Wait for a message of hers."""
        await self.until(what, lambda desk: any(wanted(message) for message in desk.messages))
        self._transcript.said("desk", f"← {what}")
        return next(message for message in self.customer.messages if wanted(message))

    async def until(self, what: str, holds: Callable[[AtDesk], bool]) -> None:
        """Wait until something holds of what the server knows of her."""

        def seen(state: Wire) -> bool:
            customers = msgspec.convert(state, DeskView).customers.values()
            return any(one.name == self._name and holds(one) for one in customers)

        try:
            await self._simulator.wait_for(seen, PATIENCE)
        except TimeoutError as error:
            raise StepFailedError(f"{what}: not at the desk within {PATIENCE:.0f} s") from error


def text_is(text: str) -> Callable[[AtDeskMessage], bool]:
    return lambda message: message.text == text


def kind_is(kind: str) -> Callable[[AtDeskMessage], bool]:
    return lambda message: message.kind == kind
