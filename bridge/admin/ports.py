"""Ports of administration: what the operations need from the rest of the bridge."""

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
"""Number of rooms by (call centre, phase, queue)."""


class Caller(msgspec.Struct, frozen=True):
    actor: str
    """Author of an action, as in the audit trail."""
    way: str
    """`api`, `console` or `widget`."""
    room: RoomId | None = None
    """The room that the caller is admin of; None for the operator."""
    language: str = "en"
    """Language of the error for an order that cannot be carried out."""


class ApiError(Exception):
    """Failure of an operation: an HTTP status and an error in Matrix's form."""

    def __init__(self, status: int, errcode: str, error: str, retry_after_ms: int = 0) -> None:
        super().__init__(error)
        self.status, self.errcode, self.retry_after_ms = status, errcode, retry_after_ms


def not_found(sentence: str) -> ApiError:
    return ApiError(404, "M_NOT_FOUND", sentence)


class Health(Protocol):
    def missing(self) -> Mapping[str, str]: ...


class Bridge(msgspec.Struct, frozen=True):
    """Dependencies of the operations; built once, by the composition root."""

    enterprises: Mapping[str, Surroundings]
    """Call centres by their id in the configuration; a single one has the id ""."""
    orders: Engine
    health: Health
    links: Callable[[], Collection[LinkState]]
    """Returns the state of this process's links."""
    busy: Callable[[], Awaitable[Busy]]
    """Counts the rooms of all processes whose link is wanted."""
    recent: Callable[[], Sequence[tuple[str, Chat]]]
    """Returns (call centre, chat) for this process's newest chats whose wait has ended."""
    advice: Callable[[str], str] = lambda _: ""
    """Returns what to do about a dead letter, given its reason; empty if unknown."""
    replica: str = ""
    """Name of this process among several; empty if it is the only one."""
    named: Callable[[str], str] = str
    """Maps a call centre's id in a room's record to its id in the configuration."""
    open_names: Callable[[str], bool] = lambda _: False
    """True if login names of this call centre are no secret: they do not suffice to log in."""

    @property
    def around(self) -> Surroundings:
        """The first call centre's surroundings, for the parts that all of them share."""
        return next(iter(self.enterprises.values()))
