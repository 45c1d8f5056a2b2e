"""The bridge as administration sees it: what the operations ask of its other parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from bridge.ids import QueueId, RoomId
from bridge.rooms.engine import Engine
from bridge.rooms.ports import LinkState
from bridge.rooms.record import Chat
from bridge.rooms.surroundings import Surroundings

Busy = Mapping[tuple[str, str, QueueId], int]
"""Rooms by call centre, phase and queue."""


class Caller(msgspec.Struct, frozen=True):
    actor: str
    """As in the table of changes."""
    way: str
    """`api`, `console` or `widget`."""
    room: RoomId | None = None
    """The one room whose admin it is; None: the operator."""
    language: str = "en"
    """In which an order that cannot be carried out is refused."""


class ApiError(Exception):
    """Why an operation is not carried out: a status of HTTP, and an error as Matrix has them."""

    def __init__(self, status: int, errcode: str, error: str, retry_after_ms: int = 0) -> None:
        super().__init__(error)
        self.status, self.errcode, self.retry_after_ms = status, errcode, retry_after_ms


def not_found(sentence: str) -> ApiError:
    return ApiError(404, "M_NOT_FOUND", sentence)


class Health(Protocol):
    def missing(self) -> Mapping[str, str]: ...


class Bridge(msgspec.Struct, frozen=True):
    """Everything that operations use; built once, by the composition root."""

    enterprises: Mapping[str, Surroundings]
    """Of each call centre, by its name in the configuration; the only one's name is empty."""
    orders: Engine
    health: Health
    links: Callable[[], Collection[LinkState]]
    """Of this process."""
    busy: Callable[[], Awaitable[Busy]]
    """How many rooms of all processes there are of each call centre, phase and queue.

    Only those whose link is wanted.
    """
    recent: Callable[[], Sequence[tuple[str, Chat]]]
    """The newest chats of this process whose wait has ended, and their call centres."""
    advice: Callable[[str], str] = lambda _: ""
    """What to do about a dead letter, by why it is one; empty: nothing is known."""
    replica: str = ""
    """Name of this process among several; empty: it is the only one."""
    named: Callable[[str], str] = str
    """The name in the configuration of a call centre as it stands in a room's record."""
    open_names: Callable[[str], bool] = lambda _: False
    """Whether knowing the login name does not open an account of this call centre."""

    @property
    def around(self) -> Surroundings:
        """What all call centres share."""
        return next(iter(self.enterprises.values()))
