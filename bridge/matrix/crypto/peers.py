"""Device lists of other users, cached.

Replies of `POST /keys/query` are kept in memory only, until /sync reports a change: after a start
everything is queried again, so no change is missed. A device whose keys change under the same id is
rejected, unless it was absent from a device list in between (signed out).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import islice

import msgspec
from cachetools import LRUCache

from bridge.ids import UserId
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.vault import LOG, Recall
from bridge.matrix.crypto.wire import Json, id_text, is_signed, key_text, mapping, text

_KEPT = 20_000
MOST = 200
"""Maximum devices of a user that are read; a homeserver may list any number."""


class Device(msgspec.Struct, frozen=True):
    """Device of another user, with keys that it signed itself."""

    user: str
    device_id: str
    curve25519: str
    ed25519: str


class Known(msgspec.Struct, frozen=True):
    """Devices of a user, and its self-signing key (empty if there is none)."""

    devices: tuple[Device, ...]
    self_signing: str = ""


class Peers:
    """Device lists of other users; the caller drops one that changed or is no longer tracked."""

    def __init__(self, server: KeyServer) -> None:
        self._server = server
        self.cache: Recall[str, Known] = Recall(_KEPT)
        self._pinned: LRUCache[str, dict[str, tuple[str, str]]] = LRUCache(_KEPT)
        """User -> device id -> its keys, which must not change."""

    async def devices(
        self, asker: UserId, users: Iterable[str], *, fresh: bool = False
    ) -> dict[str, tuple[Device, ...]]:
        found = await self.known(asker, users, fresh=fresh)
        return {user: known.devices for user, known in found.items()}

    async def known(
        self, asker: UserId, users: Iterable[str], *, fresh: bool = False
    ) -> dict[str, Known]:
        """Return devices and identity of users whose server answers; `fresh` skips the cache."""
        users = list(users)
        found = {} if fresh else {u: d for u in users if (d := self.cache.get(u)) is not None}
        missing = [user for user in users if user not in found]
        if not missing:
            return found
        with self.cache.fetching() as keep:
            reply = await self._server.query(asker, missing)
            away = mapping(reply, "failures")
            listed = mapping(reply, "device_keys")
            for user in missing:
                if user not in listed and user.partition(":")[2] in away:
                    LOG.warning("the devices of a user cannot be queried", user=user)
                    continue
                devices = self._unchanged(user, mapping(listed, user))
                found[user] = keep(user, Known(devices, read_identity(user, reply)))
                if len(missing) > 1:
                    await asyncio.sleep(0)  # a homeserver may list 200 devices of each of its users
        return found

    def _unchanged(self, user: str, listed: Json) -> tuple[Device, ...]:
        """Return the user's devices, except those whose keys changed under the same id."""
        before = self._pinned.get(user) or {}
        pinned = {one: before[one] for one in islice(listed, MOST) if one in before}
        good = []
        for device in read_devices(user, listed):
            keys = device.curve25519, device.ed25519
            if pinned.setdefault(device.device_id, keys) == keys:
                good.append(device)
            else:
                LOG.warning("the keys of a device changed", user=user)
        self._pinned[user] = pinned
        return tuple(good)


def read_devices(user: str, listed: Mapping[str, object]) -> tuple[Device, ...]:
    """Return the devices of a reply that are validly signed and support olm and megolm."""
    return tuple(
        device
        for device_id, fields in islice(listed.items(), MOST)
        if isinstance(fields, dict) and (device := read_device(user, device_id, fields)) is not None
    )


def read_device(user: str, device_id: str, fields: Json) -> Device | None:
    """Read a device's self-signed keys; None if they are invalid, or lack olm or megolm."""
    keys = mapping(fields, "keys")
    curve25519 = key_text(keys, f"curve25519:{device_id}")
    ed25519 = key_text(keys, f"ed25519:{device_id}")
    able = {wire.OLM, wire.MEGOLM} <= set(wire.strings(fields, "algorithms"))
    named = text(fields, "user_id") == user and id_text(fields, "device_id") == device_id
    if not (able and named and curve25519 and ed25519):
        return None
    if not is_signed(fields, user, f"ed25519:{device_id}", ed25519):
        return None
    return Device(user, device_id, curve25519, ed25519)


def read_identity(user: str, reply: Mapping[str, object]) -> str:
    """Return a user's self-signing key from a reply of `POST /keys/query`; "" if not valid."""
    keys = mapping(mapping(reply, "self_signing_keys"), user)
    master = _only_key(user, "master", mapping(mapping(reply, "master_keys"), user))
    found = _only_key(user, "self_signing", keys)
    signed = master and found and is_signed(keys, user, f"ed25519:{master}", master)
    return found if signed else ""


def _only_key(user: str, usage: str, fields: Json) -> str:
    """Return a cross-signing key object's public key (specification, "Cross-signing"), or ""."""
    keys = mapping(fields, "keys")
    if text(fields, "user_id") != user or usage not in wire.strings(fields, "usage"):
        return ""
    for key_id in keys:
        public = key_text(keys, key_id)
        if public and key_id == f"ed25519:{public}":
            return public
    return ""
