"""What a link asks of its surroundings; the composition root adapts storage and metrics to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from bridge.ids import RoomId


@dataclass(frozen=True)
class Token:
    """What a login gave. The value is a secret and stays out of every repr."""

    login_name: str
    value: str = field(repr=False)
    issued: int
    """ms since the epoch."""
    client_id: str = ""
    """What the server calls the customer in people lists, where it says so."""
    cookies: str = field(default="", repr=False)
    """The `Cookie` header that goes wherever the token goes; "" if the login set none."""


class TokenStore(Protocol):
    """Keeps each room's token over a restart: every login brings us nearer to the blacklist.

    Every method raises `bridge.rooms.store.StoreError` when it cannot be done.
    """

    async def load(self, room_id: RoomId) -> Token | None: ...

    async def save(self, room_id: RoomId, token: Token) -> None: ...

    async def forget(self, room_id: RoomId) -> None: ...


class Facts(Protocol):
    """Things learnt about a server, kept over a restart. Raises StoreError."""

    async def get(self, name: str) -> str | None: ...

    async def put(self, name: str, value: str) -> None: ...


class LinkMetrics(Protocol):
    """Where a link counts what it does."""

    def logged_in(self, result: int | None) -> None:
        """One login request ended; None: without an answer that could be read."""
        ...

    def opened(self, *, again: bool) -> None:
        """A link stands; `again`: it stood before."""
        ...

    def closed(self) -> None:
        """An open link ended, for whatever reason."""
        ...

    def open_failed(self) -> None:
        """A try to open a link failed (the login included)."""
        ...
