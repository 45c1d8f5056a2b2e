"""Device lists of other people, and whose device sent a key.

`Peers` keeps what `POST /keys/query` says of a user, in memory only, until /sync says that it
changed: after a start everything is asked anew, so no change is missed. A device whose keys change
under the same id is not believed; a device that was signed out may come back with new keys.

`Owners` decides whether the device that sent a room key belongs to the user who is its sender
(specification, "m.olm.v1.curve25519-aes-sha2"). Otherwise a homeserver could write messages in
anybody's name. The device has to stand in the sender's device list; one that is not listed any
more, or not yet, may be proven by a signature of its owner's identity (MSC4147).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Protocol

import msgspec
import structlog
from cachetools import LRUCache

from bridge.ids import UserId
from bridge.matrix.crypto.vault import Recall
from bridge.matrix.crypto.wire import MEGOLM, OLM, Json, id_text, is_signed, key_text, mapping, text
from bridge.rooms.ports import Refused, Unavailable

_KEPT = 20_000
"""Users whose devices are kept in memory."""
MOST = 200
"""Devices of a user that are looked at; a homeserver may list as many as it likes."""


class Device(msgspec.Struct, frozen=True):
    """Device of somebody else, whose keys are signed by itself."""

    user: str
    device_id: str
    curve25519: str
    ed25519: str


class Known(msgspec.Struct, frozen=True):
    """Devices and signing key of a user."""

    devices: tuple[Device, ...]
    self_signing: str = ""
    """The key of the user's identity that signs devices; empty if there is no identity."""


class Asking(Protocol):
    """`POST /keys/query`."""

    async def query(self, asker: UserId, users: Sequence[str]) -> Json: ...


class Peers:
    """Cache of other users' device lists."""

    def __init__(self, server: Asking) -> None:
        self._server = server
        self._known: Recall[str, Known] = Recall(_KEPT)
        self._pinned: LRUCache[str, dict[str, tuple[str, str]]] = LRUCache(_KEPT)
        """User -> device -> its keys."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    def outdated(self, user: str) -> None:
        """Forget the user's devices: they changed, or we no longer hear of changes."""
        self._known.forget(user)

    def all_outdated(self) -> None:
        self._known.forget_all()

    def remembered(self, user: str) -> Known | None:
        """What `known` would say without asking; None if it would ask."""
        return self._known.get(user)

    def still(self, devices: Mapping[str, tuple[Device, ...]]) -> bool:
        """True if these are the devices of these users, as far as we have heard."""
        for user, found in devices.items():
            known = self._known.get(user)
            if known is None or known.devices != found:
                return False
        return True

    async def devices(
        self, asker: UserId, users: Iterable[str], *, fresh: bool = False
    ) -> dict[str, tuple[Device, ...]]:
        """The devices of each user; otherwise as `known`."""
        found = await self.known(asker, users, fresh=fresh)
        return {user: known.devices for user, known in found.items()}

    async def known(
        self, asker: UserId, users: Iterable[str], *, fresh: bool = False
    ) -> dict[str, Known]:
        """Devices and signing key of each user.

        Args:
            asker: one of ours.
            users: of whom.
            fresh: ask even for those that are known.

        Raises:
            Unavailable, Refused: as the homeserver's calls. A user whose own homeserver is away
                is left out of the answer, and asked for again next time.
        """
        users = list(users)
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
                devices = self._unchanged(user, mapping(listed, user))
                found[user] = Known(devices, read_identity(user, reply))
                fetch.keep(user, found[user])
        return found

    def _unchanged(self, user: str, listed: Json) -> tuple[Device, ...]:
        """The user's devices, without those that had other keys before.

        What is listed no more is forgotten: its user signed out, and may sign in again by that id.
        """
        before = self._pinned.get(user) or {}
        pinned = {one: before[one] for one in islice(listed, MOST) if one in before}
        good = []
        for device in read_devices(user, listed):
            keys = device.curve25519, device.ed25519
            if pinned.setdefault(device.device_id, keys) == keys:
                good.append(device)
            else:
                self._log.warning("the keys of a device changed", user=user)
        self._pinned[user] = pinned
        return tuple(good)


def read_devices(user: str, listed: Mapping[str, object]) -> tuple[Device, ...]:
    """The devices of a reply that can be believed and that can read what we send."""
    return tuple(
        device
        for device_id, fields in islice(listed.items(), MOST)
        if isinstance(fields, dict) and (device := read_device(user, device_id, fields)) is not None
    )


def read_device(user: str, device_id: str, fields: Json) -> Device | None:
    """Read a device's keys, which it signed itself; None if they are not good."""
    keys = mapping(fields, "keys")
    curve25519 = key_text(keys, f"curve25519:{device_id}")
    ed25519 = key_text(keys, f"ed25519:{device_id}")
    algorithms = fields.get("algorithms")
    able = isinstance(algorithms, list) and OLM in algorithms and MEGOLM in algorithms
    named = text(fields, "user_id") == user and id_text(fields, "device_id") == device_id
    if not (able and named and curve25519 and ed25519):
        return None
    if not is_signed(fields, user, f"ed25519:{device_id}", ed25519):
        return None
    return Device(user, device_id, curve25519, ed25519)


def read_identity(user: str, reply: Mapping[str, object]) -> str:
    """The key by which a user's identity signs devices; empty if there is none to be believed.

    Args:
        user: whose.
        reply: that of `POST /keys/query`.
    """
    keys = mapping(mapping(reply, "self_signing_keys"), user)
    master = _only_key(user, "master", mapping(mapping(reply, "master_keys"), user))
    found = _only_key(user, "self_signing", keys)
    signed = master and found and is_signed(keys, user, f"ed25519:{master}", master)
    return found if signed else ""


def _only_key(user: str, usage: str, fields: Json) -> str:
    """The public key of a cross-signing key's object (specification, "Cross-signing")."""
    usages, keys = fields.get("usage"), mapping(fields, "keys")
    if text(fields, "user_id") != user or not isinstance(usages, list) or usage not in usages:
        return ""
    for key_id in keys:
        public = key_text(keys, key_id)
        if public and key_id == f"ed25519:{public}":
            return public
    return ""


# --- whose device sent a key ----------------------------------------------------------------------

_AGAIN_MS = 30_000
"""How often at most a user's devices are asked for because one is not among them, and a homeserver
that did not answer is asked for any."""


class Claim(Protocol):
    """Device keys that came with an olm message, not proven yet. `keys.RoomKey` is one."""

    @property
    def sender_key(self) -> str: ...

    @property
    def ed25519(self) -> str: ...

    @property
    def device_keys(self) -> Json | None: ...


class Owners:
    """Check that a device belongs to a user.

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
        """True if the device that an olm message names is one of its sender's.

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
    """True if the device's keys came too, signed by the owner's identity (MSC4147)."""
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
