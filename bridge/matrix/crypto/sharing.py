"""Megolm, writing: one outbound session per sender and room, its key shared with every reader.

A session is replaced when it is old or has encrypted many messages, and when somebody who has its
key may no longer read (left the room, or removed a device). A new reader gets the key from its
present index, and so cannot decrypt earlier messages.

Members, device lists and one-time keys may have to come from homeservers that are slow on purpose.
So `prepare` requests them without the lock of the sender's device; `encrypt` runs under the lock.

Megolm sessions are kept in memory only: a ratchet read back from a database might be an old state,
and use a message key twice. Olm sessions are stored, as a new one costs the other side a one-time
key; they are stored before the request that carries what they encrypted.

`Places` caches each room's encryption settings and audience until an event changes them. That a
room is encrypted is stored permanently: no event can undo it (specification, "m.room.encryption"),
so a homeserver that says otherwise is not believed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
import vodozemac
from cachetools import LRUCache

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.keys import own_key
from bridge.matrix.crypto.peers import Channel, Device, Peers, RateLimit, one_time_key
from bridge.matrix.crypto.vault import LOG, Recall, Vault
from bridge.matrix.crypto.wire import (
    MARKER,
    MEGOLM,
    ONE_TIME,
    Json,
    KeyServer,
    integer,
    mapping,
    text,
)
from bridge.rooms.ports import Refused

_AT_ONCE = 50
"""Devices per request."""
_BARREN_MS = 300_000
"""Back-off in ms before a one-time key is claimed again from a device that had none."""
_MOST_SESSIONS = 20_000
_IN_CLEAR = ("m.relates_to", MARKER)
_dump = msgspec.json.Encoder().encode


class Readers(msgspec.Struct, frozen=True):
    """Readers of a message, as determined at `now` (ms since the epoch), before encryption."""

    room_id: RoomId
    scheme: Scheme
    now: int
    audience: frozenset[str]
    devices: Mapping[str, tuple[Device, ...]]
    claimed: Mapping[Device, str]
    """One-time keys of devices without an olm session."""


class _Outbound(msgspec.Struct, eq=False):
    """Outbound megolm session; `readers` have its key, `given` have or may have it."""

    session: vodozemac.GroupSession
    session_id: str
    created: int
    readers: frozenset[Device] = frozenset()
    given: frozenset[Device] = frozenset()
    complete: Readers | None = None
    """The `Readers` for whom every device had the key; None if some device lacks it."""

    def is_spent(self, scheme: Scheme, now: int) -> bool:
        old = not 0 <= now - self.created < scheme.rotate_ms
        return old or self.session.message_index >= scheme.rotate_messages

    def is_revoked(
        self, audience: frozenset[str], devices: Mapping[str, tuple[Device, ...]]
    ) -> bool:
        """True if a device that has or may have the key may no longer read.

        A member whose homeserver does not answer has no entry in `devices`, and may still read.
        """
        present = {device for known in devices.values() for device in known}
        return any(one.user in devices or one.user not in audience for one in self.given - present)


class Sharing:
    """Outbound sessions of all rooms; `encrypt` and `renew` need the lock of the sending device."""

    def __init__(self, vault: Vault, server: KeyServer, peers: Peers, places: Places) -> None:
        self._vault = vault
        self._server = server
        self._peers = peers
        self._places = places
        self._outbound: LRUCache[tuple[str, str, RoomId], _Outbound] = LRUCache(_MOST_SESSIONS)
        self._barren = RateLimit(1, _BARREN_MS)
        """Vain claims of a one-time key by a bridge user from a device."""

    def needs_session(self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int) -> bool:
        return self._current(own, room_id, scheme, now) is None

    async def prepare(self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int) -> Readers:
        """Determine the readers of a message. May be slow, so call it without the device's lock."""
        audience = await self._places.audience(own.user, room_id)
        found = self._current(own, room_id, scheme, now)
        devices = await self._peers.devices(own.user, audience, fresh=found is None)
        if found is not None and found.is_revoked(audience, devices):
            found = None
            devices = await self._peers.devices(own.user, audience, fresh=True)
        channels = await self._channels(own, _missing(devices, found))
        claimed = await self.claim(own.user, [one for one, at in channels if not at.open], now)
        return Readers(room_id, scheme, now, audience, devices, claimed)

    def still_holds(self, readers: Readers) -> bool:
        """True if no change of audience or devices was reported since `prepare`."""
        known = self._peers.cache.get
        return self._places.audience_known(readers.room_id) is readers.audience and all(
            (there := known(user)) is not None and there.devices is devices
            for user, devices in readers.devices.items()
        )

    def encrypt_at_once(
        self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int, event: tuple[str, Json]
    ) -> Json | None:
        """Encrypt like `encrypt` if all known readers have the key already, else return None.

        Needs no lock: it awaits nothing and uses no olm session.
        """
        found = self._current(own, room_id, scheme, now)
        if found is None or found.complete is None or not self.still_holds(found.complete):
            return None
        return _sealed(own, found, room_id, event)

    async def encrypt(self, own: OwnDevice, readers: Readers, event: tuple[str, Json]) -> Json:
        """Share the key with readers that lack it; encrypt `event` (type and content)."""
        room_id, now = readers.room_id, readers.now
        found = self._current(own, room_id, readers.scheme, now)
        if found is not None and found.is_revoked(readers.audience, readers.devices):
            found = None
        if found is None:
            session = vodozemac.GroupSession()
            found = _Outbound(session, session.session_id, now)
            # For transcripts, which decrypt the bridge's own messages. Stored before sharing.
            await self._vault.save([own_key(self._vault, own, room_id, found.session, now)])
            self._outbound[own.user, own.device_id, room_id] = found
        if missing := _missing(readers.devices, found):
            await self._share(own, found, missing, readers)
        told = readers.devices.keys() == readers.audience and not _missing(readers.devices, found)
        found.complete = readers if told else None
        return _sealed(own, found, room_id, event)

    def _current(
        self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int
    ) -> _Outbound | None:
        found = self._outbound.get((own.user, own.device_id, room_id))
        return None if found is None or found.is_spent(scheme, now) else found

    # --- to devices -------------------------------------------------------------------------

    async def _share(
        self, own: OwnDevice, found: _Outbound, devices: Iterable[Device], readers: Readers
    ) -> None:
        content: Json = {
            "algorithm": MEGOLM,
            "room_id": readers.room_id,
            "session_id": found.session_id,
            "session_key": found.session.session_key.to_base64(),
        }
        able = []
        for at, (device, channel) in enumerate(await self._channels(own, devices), 1):
            if channel.open or channel.begin(device, readers.claimed.get(device, "")):
                able.append((device, channel))
            if at % _AT_ONCE == 0:
                await asyncio.sleep(0)  # each new session takes 0.1 ms
        told = frozenset(device for device, _ in able)
        found.given |= told  # set first: the request may arrive although its answer is lost
        await self._tell(own, able, ("m.room_key", content), readers.now)
        LOG.debug("room key shared", room=readers.room_id, devices=len(able))
        found.readers |= told

    async def _channels(
        self, own: OwnDevice, devices: Iterable[Device]
    ) -> list[tuple[Device, Channel]]:
        return [
            (one, await Channel.load(self._vault, own, one.user, one.curve25519)) for one in devices
        ]

    async def _tell(
        self,
        own: OwnDevice,
        able: Sequence[tuple[Device, Channel]],
        event: tuple[str, Json],
        now: int,
    ) -> None:
        """Send an event to devices over olm."""
        for start in range(0, len(able), _AT_ONCE):
            part = able[start : start + _AT_ONCE]
            messages: dict[str, dict[str, Json]] = defaultdict(dict)
            for device, channel in part:
                messages[device.user][device.device_id] = channel.encrypt(device, *event)
            await self._vault.save([channel.row(self._vault, now) for _, channel in part])
            await self._server.send_to_devices(own.user, "m.room.encrypted", {**messages})

    async def renew(self, own: OwnDevice, device: Device, one_time: str, now: int) -> bool:
        """Replace a broken olm session with a new one; False if the claimed key is invalid."""
        channels = await self._channels(own, [device])
        if not channels[0][1].begin(device, one_time):
            return False
        await self._tell(own, channels, ("m.dummy", {}), now)
        return True

    async def claim(
        self, user: UserId, devices: Iterable[Device], now: int, *, anew: bool = False
    ) -> dict[Device, str]:
        """Claim a one-time key of each device; `anew` ignores the back-off (`_BARREN_MS`)."""
        left = self._barren.left
        wanting = [one for one in devices if anew or left((user, one.curve25519), now)]
        if not wanting:
            return {}
        request: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for device in wanting:
            request[device.user][device.device_id] = ONE_TIME
        reply, claimed = await self._server.claim(user, request), {}
        for device in wanting:
            key = one_time_key(device, mapping(reply, device.user, device.device_id))
            if key:
                claimed[device] = key
            else:
                self._barren.spend((user, device.curve25519), now)
                LOG.info("a device has no one-time key for the bridge", user=device.user)
        return claimed


def _sealed(own: OwnDevice, found: _Outbound, room_id: RoomId, event: tuple[str, Json]) -> Json:
    kind, content = event
    plain = _dump({"type": kind, "content": content, "room_id": room_id})
    sealed: Json = {
        "algorithm": MEGOLM,
        "ciphertext": found.session.encrypt(plain).to_base64(),
        "session_id": found.session_id,
        "sender_key": own.curve25519,
        "device_id": own.device_id,
    }
    # Not encrypted: relations, which homeservers aggregate; and the bridge's marker, a transaction
    # id by which `adapter.Markers` recognizes its events.
    return sealed | {name: content[name] for name in _IN_CLEAR if name in content}


def _missing(devices: Mapping[str, tuple[Device, ...]], found: _Outbound | None) -> list[Device]:
    there = frozenset() if found is None else found.readers
    return [one for known in devices.values() for one in known if one not in there]


# --- rooms: encryption and audience ---------------------------------------------------------------

_MOST_ROOMS = 20_000
ROTATE_MESSAGES = 100
ROTATE_MS = 7 * 86_400_000
_LONGEST_MS = 365 * 86_400_000


class Scheme(msgspec.Struct, frozen=True):
    """Row: encryption settings of a room (from m.room.encryption)."""

    encrypted: bool
    rotate_messages: int = ROTATE_MESSAGES
    rotate_ms: int = ROTATE_MS


class RoomState(Protocol):
    """Requests for a room's state. `client.Homeserver` implements it."""

    async def state(self, user: UserId, room_id: RoomId, kind: str) -> Json | None: ...

    async def members(self, user: UserId, room_id: RoomId) -> Sequence[Json]: ...


class Users(Protocol):
    """The bridge users, who get no keys. `users.OurUsers` implements it."""

    main: UserId
    """The bot."""

    def hosts(self) -> tuple[UserId, ...]: ...

    def is_ours(self, user_id: str) -> bool: ...


class Places:
    def __init__(self, homeserver: RoomState, users: Users, vault: Vault) -> None:
        self._homeserver = homeserver
        self._users = users
        self._vault = vault
        self._schemes: Recall[RoomId, Scheme] = Recall(_MOST_ROOMS)
        self._audiences: Recall[RoomId, frozenset[str]] = Recall(_MOST_ROOMS)
        self.audience_known = self._audiences.get

    def changed(self, raw: Json) -> None:
        """Invalidate the cached settings or audience that a state event may have changed."""
        kind = text(raw, "type") if "state_key" in raw else ""
        room_id = RoomId(text(raw, "room_id"))
        if kind == "m.room.encryption":
            self._schemes.forget(room_id)
        elif kind in {"m.room.member", "m.room.history_visibility"}:
            self._audiences.forget(room_id)

    def leave(self, ours: Callable[[str], bool]) -> None:
        """Drop cached rooms that this process no longer serves: it is not told of their changes.

        Once it serves the room again, `prepare` detects who left and replaces the session.
        """
        self._schemes.forget_where(lambda room_id, _: not ours(room_id))
        self._audiences.forget_where(lambda room_id, _: not ours(room_id))

    async def scheme(self, asker: UserId, room_id: RoomId) -> Scheme:
        """Return the room's settings. Refused: `M_UNSUPPORTED_ALGORITHM` (not megolm)."""
        if (known := self._schemes.get(room_id)) is not None:
            return known
        with self._schemes.fetching() as keep:
            event = await self._homeserver.state(asker, room_id, "m.room.encryption")
            return keep(room_id, await self._for_good(room_id, event))

    async def _for_good(self, room_id: RoomId, event: Json | None) -> Scheme:
        """Return the settings of the state event, but once encrypted, always encrypted."""
        name = f"room/{room_id}"
        before = await self._vault.load(name, Scheme)
        if before is not None and not _is_megolm(event):
            LOG.error("a room's encryption was removed from its state; it stays on", room=room_id)
            return before
        told = _scheme(event)
        if told.encrypted and told != before:
            await self._vault.save([self._vault.row(name, told)])
        return told

    async def audience(self, asker: UserId, room_id: RoomId) -> frozenset[str]:
        """Return the users who may read new messages of the room, without the bridge users."""
        if (known := self._audiences.get(room_id)) is not None:
            return known
        with self._audiences.fetching() as keep:
            visibility = await self._homeserver.state(asker, room_id, "m.room.history_visibility")
            members = await self._homeserver.members(asker, room_id)
            # With history visibility "joined", invited users may not read.
            setting = text(visibility, "content", "history_visibility")
            readers = {"join"} if setting == "joined" else {"join", "invite"}
            audience = frozenset(
                user
                for event in members
                if text(event, "content", "membership") in readers
                and (user := text(event, "state_key"))
                and not self._users.is_ours(user)
            )
            return keep(room_id, audience)


def _is_megolm(event: Json | None) -> bool:
    return text(event, "content", "algorithm") == MEGOLM


def _scheme(event: Json | None) -> Scheme:
    if event is None:
        return Scheme(encrypted=False)
    content = mapping(event, "content")
    if not _is_megolm(event):
        raise Refused("M_UNSUPPORTED_ALGORITHM", text(content, "algorithm")[:100])
    return Scheme(
        encrypted=True,
        rotate_messages=_within(content, "rotation_period_msgs", ROTATE_MESSAGES, 10_000),
        rotate_ms=_within(content, "rotation_period_ms", ROTATE_MS, _LONGEST_MS),
    )


def _within(content: Json, key: str, otherwise: int, most: int) -> int:
    value = integer(content, key)
    return otherwise if value is None or value < 1 else min(value, most)
