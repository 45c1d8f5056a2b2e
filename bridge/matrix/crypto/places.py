"""Rooms, as far as encrypting for them goes: whether, by which rules, and for whom.

Asked of the homeserver once, kept in memory, and forgotten when an event says that it changed. But
that a room is encrypted is kept for good: no event undoes it (specification, "m.room.encryption"),
so a homeserver that says otherwise is not believed.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import structlog

from bridge.ids import RoomId, UserId
from bridge.matrix.client import Homeserver
from bridge.matrix.crypto.encoding import Json, mapping, text
from bridge.matrix.crypto.own import MEGOLM
from bridge.matrix.crypto.recall import Recall
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Refused

_KEPT = 20_000
ROTATE_MESSAGES = 100
ROTATE_MS = 7 * 86_400_000
_LONGEST_MS = 365 * 86_400_000
_HIDDEN_FROM_INVITED = "joined"
_TELLING = frozenset({"m.room.encryption", "m.room.member", "m.room.history_visibility"})


class Scheme(msgspec.Struct, frozen=True):
    """How a room wants its messages (its m.room.encryption)."""

    encrypted: bool
    rotate_messages: int = ROTATE_MESSAGES
    rotate_ms: int = ROTATE_MS


class Ours(Protocol):
    """Tells our own users, who read nothing of each other."""

    def is_ours(self, user_id: str) -> bool: ...


class Places:
    """Every method raises `Unavailable`, `Refused` or StoreError.

    Args:
        homeserver: tells.
        ours: who needs no key.
        vault: remembers which rooms are encrypted.
    """

    def __init__(self, homeserver: Homeserver, ours: Ours, vault: Vault) -> None:
        self._homeserver = homeserver
        self._ours = ours
        self._vault = vault
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")
        self._schemes: Recall[RoomId, Scheme] = Recall(_KEPT)
        self._audiences: Recall[RoomId, frozenset[str]] = Recall(_KEPT)

    def changed(self, raw: Json) -> None:
        """An event of a room: forget what it may have changed."""
        kind = raw.get("type")
        if kind not in _TELLING or "state_key" not in raw:
            return
        room_id = RoomId(text(raw, "room_id"))
        if kind == "m.room.encryption":
            self._schemes.forget(room_id)
        else:
            self._audiences.forget(room_id)

    async def scheme(self, asker: UserId, room_id: RoomId) -> Scheme:
        """Whether and how the room is encrypted.

        Raises:
            Refused: `M_UNSUPPORTED_ALGORITHM` if it is, in a way that nobody can read.
        """
        known = self._schemes.get(room_id)
        if known is not None:
            return known
        with self._schemes.fetching() as fetch:
            event = await self._homeserver.state(asker, room_id, "m.room.encryption")
            scheme = await self._for_good(room_id, event)
            fetch.keep(room_id, scheme)
        return scheme

    async def _for_good(self, room_id: RoomId, event: Json | None) -> Scheme:
        """What holds: as told, but once encrypted, always encrypted as clients can read it."""
        name = f"room/{room_id}"
        before = await self._vault.load(name, Scheme)
        if before is not None and not _is_megolm(event):
            self._log.error("a room's encryption is gone from its state; it stays on", room=room_id)
            return before
        told = _scheme(event)
        if told.encrypted and told != before:
            await self._vault.save([self._vault.row(name, told)])
        return told

    def audience_known(self, room_id: RoomId) -> frozenset[str] | None:
        """What `audience` would say without asking; None if it would ask."""
        return self._audiences.get(room_id)

    async def audience(self, asker: UserId, room_id: RoomId) -> frozenset[str]:
        """Who may read what is said in the room now, without our own users."""
        known = self._audiences.get(room_id)
        if known is not None:
            return known
        with self._audiences.fetching() as fetch:
            visibility = await self._homeserver.state(asker, room_id, "m.room.history_visibility")
            members = await self._homeserver.members(asker, room_id)
            hidden = _setting(visibility, "history_visibility") == _HIDDEN_FROM_INVITED
            readers = {"join"} if hidden else {"join", "invite"}
            audience = frozenset(
                user
                for event in members
                if text(mapping(event, "content"), "membership") in readers
                and (user := text(event, "state_key"))
                and not self._ours.is_ours(user)
            )
            fetch.keep(room_id, audience)
        return audience


def _is_megolm(event: Json | None) -> bool:
    return text(mapping(event or {}, "content"), "algorithm") == MEGOLM


def _scheme(event: Json | None) -> Scheme:
    if event is None:
        return Scheme(encrypted=False)
    content = mapping(event, "content")
    if not _is_megolm(event):
        raise Refused("M_UNSUPPORTED_ALGORITHM", text(content, "algorithm")[:100])
    return Scheme(
        encrypted=True,
        rotate_messages=_within(content.get("rotation_period_msgs"), ROTATE_MESSAGES, 10_000),
        rotate_ms=_within(content.get("rotation_period_ms"), ROTATE_MS, _LONGEST_MS),
    )


def _within(value: object, otherwise: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return otherwise
    return min(value, most)


def _setting(event: Json | None, key: str) -> str:
    return text(mapping(event or {}, "content"), key)
