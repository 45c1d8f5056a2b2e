"""Other people's devices: which there are, and that they are who they say. Pure but for the asking.

What is known is kept until /sync says that it changed, and only in memory: after a start everything
is asked anew, so nothing that changed meanwhile can be missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from bridge.ids import UserId
from bridge.matrix.crypto.encoding import Json, is_signed, mapping, text
from bridge.matrix.crypto.own import MEGOLM, OLM
from bridge.matrix.crypto.recall import Recall

_KEPT = 20_000
"""Users whose devices are kept in memory."""


class Device(msgspec.Struct, frozen=True):
    """A device that people read on, its keys verified to be signed by itself."""

    user: str
    device_id: str
    curve25519: str
    ed25519: str


class Asking(Protocol):
    """`POST /keys/query`."""

    async def query(self, asker: UserId, users: Sequence[str]) -> Json: ...


class Peers:
    """The devices of users, asked for when they are not known."""

    def __init__(self, server: Asking) -> None:
        self._server = server
        self._known: Recall[str, tuple[Device, ...]] = Recall(_KEPT)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    def outdated(self, user: str) -> None:
        """The user's devices changed, or we no longer hear of changes."""
        self._known.forget(user)

    def all_outdated(self) -> None:
        self._known.forget_all()

    async def devices(
        self, asker: UserId, users: Iterable[str], *, fresh: bool = False
    ) -> dict[str, tuple[Device, ...]]:
        """The devices of each user.

        Args:
            asker: one of ours.
            users: whose devices.
            fresh: ask even for those that are known.

        Raises:
            Unavailable, Refused: as the homeserver's calls. A user whose own homeserver is away
                is left out of the answer, and asked for again next time.
        """
        found = {} if fresh else {u: d for u in users if (d := self._known.get(u)) is not None}
        missing = [user for user in users if user not in found]
        if not missing:
            return found
        with self._known.fetching() as fetch:
            reply = await self._server.query(asker, missing)
            away = mapping(reply, "failures")
            listed = mapping(reply, "device_keys")
            for user in missing:
                if user not in listed and user.partition(":")[2] in away:
                    self._log.warning("the devices of a user cannot be asked for", user=user)
                    continue
                found[user] = read_devices(user, mapping(listed, user))
                fetch.keep(user, found[user])
        return found


def read_devices(user: str, listed: Mapping[str, object]) -> tuple[Device, ...]:
    """The devices of a reply that can be believed and that can read what we send."""
    return tuple(
        device
        for device_id, fields in listed.items()
        if isinstance(fields, dict) and (device := _read(user, device_id, fields)) is not None
    )


def _read(user: str, device_id: str, fields: Json) -> Device | None:
    keys = mapping(fields, "keys")
    curve25519, ed25519 = text(keys, f"curve25519:{device_id}"), text(keys, f"ed25519:{device_id}")
    algorithms = fields.get("algorithms")
    able = isinstance(algorithms, list) and OLM in algorithms and MEGOLM in algorithms
    named = text(fields, "user_id") == user and text(fields, "device_id") == device_id
    if not (able and named and curve25519 and ed25519):
        return None
    if not is_signed(fields, user, f"ed25519:{device_id}", ed25519):
        return None
    return Device(user, device_id, curve25519, ed25519)
