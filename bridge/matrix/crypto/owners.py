"""Whose a key is: the keys that a letter names must be those of a device of its sender.

Specification, "m.olm.v1.curve25519-aes-sha2": what a letter says of the device that wrote it has to
fit what `POST /keys/query` says of its sender's devices. Without that, whoever carries letters
could write some in anybody's name and leave no trace; with it, the device has to stand in the list
that its owner can see. A device that is listed no more, or not yet, may prove itself by a
signature of its owner's identity (MSC4147).
"""

from __future__ import annotations

from typing import Protocol

import structlog
from cachetools import LRUCache

from bridge.ids import UserId
from bridge.matrix.crypto.encoding import Json, is_signed, text
from bridge.matrix.crypto.peers import Device, Known, Peers, read_device
from bridge.rooms.ports import Refused, Unavailable

_AGAIN_MS = 30_000
"""How often at most a user's devices are asked for because one is not among them, and a homeserver
that did not answer is asked for any."""


class Claim(Protocol):
    """What a letter says of the device that wrote it. `roomkeys.RoomKey` is one."""

    @property
    def sender_key(self) -> str: ...

    @property
    def ed25519(self) -> str: ...

    @property
    def device_keys(self) -> Json | None: ...


class Owners:
    """Compares.

    Args:
        peers: knows the devices.
        asker: one of ours, who asks for them.
    """

    def __init__(self, peers: Peers, asker: UserId) -> None:
        self._peers = peers
        self._asker = asker
        self._asked: LRUCache[str, int] = LRUCache(10_000)
        self._away: LRUCache[str, int] = LRUCache(10_000)
        """Homeservers that did not answer -> when they were asked."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def is_owner(self, user: str, claim: Claim, now: int, *, ask: bool = True) -> bool:
        """True if the device that a letter says to be of is one of its sender's.

        False may turn into True later: the list may be late, or the homeserver not answer.

        Args:
            user: the sender.
            claim: what the letter says.
            now: ms since the epoch.
            ask: False: go by what is known; to ask may take long.
        """
        known = self._peers.remembered(user)
        if self._fits(user, claim, known):
            return True
        if not ask or self._is_lately_asked(user, known, now):
            return False
        self._asked[user] = now
        if self._fits(user, claim, await self._ask(user, now)):
            return True
        self._log.warning("a key from a device that its sender is not known to have", user=user)
        return False

    def _is_lately_asked(self, user: str, known: Known | None, now: int) -> bool:
        last = self._away.get(_server(user)) if known is None else self._asked.get(user)
        return last is not None and 0 <= now - last < _AGAIN_MS

    async def _ask(self, user: str, now: int) -> Known | None:
        try:
            found = (await self._peers.known(self._asker, [user], fresh=True)).get(user)
        except (Unavailable, Refused) as error:
            self._log.info("the devices of a user cannot be asked for", user=user, why=str(error))
            return None
        if found is None:
            # Each of its users' messages would wait for it anew.
            self._away[_server(user)] = now
        return found

    def _fits(self, user: str, claim: Claim, known: Known | None) -> bool:
        if known is None:
            return False
        for device in known.devices:
            if device.curve25519 == claim.sender_key:
                return device.ed25519 == claim.ed25519
        return _proven(user, claim, known)


def _server(user: str) -> str:
    return user.partition(":")[2]


def _proven(user: str, claim: Claim, known: Known) -> bool:
    """True if the letter brought the device's keys, signed by the owner's identity."""
    fields = claim.device_keys
    if not fields or not known.self_signing:
        return False
    device = read_device(user, text(fields, "device_id"), fields)
    wanted = claim.sender_key, claim.ed25519
    return (
        isinstance(device, Device)
        and (device.curve25519, device.ed25519) == wanted
        and is_signed(fields, user, f"ed25519:{known.self_signing}", known.self_signing)
    )
