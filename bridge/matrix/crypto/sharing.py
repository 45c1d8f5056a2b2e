"""Megolm, writing: one outbound session per sender and room, its key shared with every reader.

A session is given up when somebody who has its key may not read any more (left, or removed a
device), when it is old or has encrypted many messages. A new reader gets the key from its present
index, so earlier messages stay closed to them.

The questions that this takes (who is in the room, with which devices, a one-time key for one) may
go to homeservers that are slow on purpose. So they are asked in `prepare`, without the lock of the
sender's device; `encrypt` runs under it.

Sessions are kept in memory only: a ratchet that is read back from a database may have been there
before, and would use a message key twice. Olm sessions are stored, before the request that carries
what they encrypted: they cost the other side a one-time key.

`Places` caches each room's encryption settings and audience until an event changes them. That a
room is encrypted is stored for good: no event undoes it (specification, "m.room.encryption"), so a
homeserver that says otherwise is not believed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
import vodozemac
from cachetools import LRUCache

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.keys import own_key
from bridge.matrix.crypto.keyserver import KeyServer
from bridge.matrix.crypto.olm import Channel, one_time_key
from bridge.matrix.crypto.peers import Device, Peers
from bridge.matrix.crypto.vault import LOG, Recall, Vault
from bridge.matrix.crypto.wire import MARKER, MEGOLM, ONE_TIME, Json, mapping, text
from bridge.rooms.ports import Refused

_AT_ONCE = 50
"""Devices per request."""
_BARREN_MS = 300_000
"""How long a device that had no one-time key is not asked for one again."""
_MOST_SESSIONS = 20_000
_IN_CLEAR = ("m.relates_to", MARKER)
_dump = msgspec.json.Encoder().encode


class Readers(msgspec.Struct, frozen=True):
    """Readers of a message, as they were found at `now`, before it is encrypted."""

    room_id: RoomId
    scheme: Scheme
    now: int
    audience: frozenset[str]
    devices: Mapping[str, tuple[Device, ...]]
    claimed: Mapping[Device, str]
    """One-time keys of devices that there is no channel to."""


class _Outbound(msgspec.Struct, eq=False):
    """Outbound session; `readers` have its key, `given` have or may have it."""

    session: vodozemac.GroupSession
    session_id: str
    created: int
    readers: frozenset[Device] = frozenset()
    given: frozenset[Device] = frozenset()
    complete: Readers | None = None
    """As they were found when all of them had the key."""

    def is_spent(self, scheme: Scheme, now: int) -> bool:
        old = not 0 <= now - self.created < scheme.rotate_ms
        return old or self.session.message_index >= scheme.rotate_messages

    def is_revoked(
        self, audience: frozenset[str], devices: Mapping[str, tuple[Device, ...]]
    ) -> bool:
        """True if somebody who has or may have its key may not read any more.

        One whose homeserver cannot be asked just now, and so has no devices here, still may.
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
        self._barren: LRUCache[tuple[str, str], int] = LRUCache(10_000)

    def needs_session(self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int) -> bool:
        return self._current(own, room_id, scheme, now) is None

    async def prepare(self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int) -> Readers:
        """Find out who is to read a message. May take long: the lock is not held."""
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
        """True unless we heard of a change since `prepare`."""
        known = self._peers.cache.get
        return self._places.audience_known(readers.room_id) is readers.audience and all(
            (there := known(user)) is not None and there.devices is devices
            for user, devices in readers.devices.items()
        )

    def encrypt_at_once(
        self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int, event: tuple[str, Json]
    ) -> Json | None:
        """As `encrypt`, if everybody who may read has the key, as far as we have heard; else None.

        It takes no lock, for it waits for nothing and uses no olm session.
        """
        found = self._current(own, room_id, scheme, now)
        if found is None or found.complete is None or not self.still_holds(found.complete):
            return None
        return _sealed(own, found, room_id, event)

    async def encrypt(self, own: OwnDevice, readers: Readers, event: tuple[str, Json]) -> Json:
        """The content of the m.room.encrypted event that carries an event (type and content)."""
        room_id, now = readers.room_id, readers.now
        found = self._current(own, room_id, readers.scheme, now)
        if found is not None and found.is_revoked(readers.audience, readers.devices):
            found = None
        if found is None:
            session = vodozemac.GroupSession()
            found = _Outbound(session, session.session_id, now)
            # We read our own words too, for transcripts; before anybody else has the key.
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
        able = [
            (device, channel)
            for device, channel in await self._channels(own, devices)
            if channel.open or channel.begin(device, readers.claimed.get(device, ""))
        ]
        told = frozenset(device for device, _ in able)
        found.given |= told  # before: only the homeserver's answer may be lost
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
            rows = [row for _, channel in part for row in channel.rows(self._vault, now)]
            await self._vault.save(rows)
            await self._server.send_to_devices(own.user, "m.room.encrypted", {**messages})

    async def renew(self, own: OwnDevice, device: Device, one_time: str, now: int) -> bool:
        """Begin a new session in place of a broken one; False if the claimed key is none."""
        channels = await self._channels(own, [device])
        if not channels[0][1].begin(device, one_time):
            return False
        await self._tell(own, channels, ("m.dummy", {}), now)
        return True

    async def claim(
        self, user: UserId, devices: Iterable[Device], now: int, *, anew: bool = False
    ) -> dict[Device, str]:
        """Take a one-time key of each device; one that had none is not asked, unless `anew`."""
        wanting = [one for one in devices if anew or not self._is_barren(user, one, now)]
        if not wanting:
            return {}
        request: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for device in wanting:
            request[device.user][device.device_id] = ONE_TIME
        reply, claimed = await self._server.claim(user, request), {}
        for device in wanting:
            key = one_time_key(device, mapping(mapping(reply, device.user), device.device_id))
            if key:
                claimed[device] = key
            else:
                self._barren[user, device.curve25519] = now
                LOG.info("a device has no key for us", user=device.user)
        return claimed

    def _is_barren(self, user: UserId, device: Device, now: int) -> bool:
        since = self._barren.get((user, device.curve25519))
        return since is not None and 0 <= now - since < _BARREN_MS


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
    # Homeservers bundle and count relations, so these stand in clear; and by our marker, which
    # is a number, an event is known again (`adapter.Markers`).
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
    """Row: encryption settings of a room (its m.room.encryption)."""

    encrypted: bool
    rotate_messages: int = ROTATE_MESSAGES
    rotate_ms: int = ROTATE_MS


class RoomState(Protocol):
    """Calls about a room's state. `client.Homeserver` is one."""

    async def state(self, user: UserId, room_id: RoomId, kind: str) -> Json | None: ...

    async def members(self, user: UserId, room_id: RoomId) -> Sequence[Json]: ...


class Users(Protocol):
    """Our users, who get no keys. `users.OurUsers` is one."""

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
        self.scheme_known = self._schemes.get

    def changed(self, raw: Json) -> None:
        """Invalidate what an event of the room may have changed."""
        kind = text(raw, "type") if "state_key" in raw else ""
        room_id = RoomId(text(raw, "room_id"))
        if kind == "m.room.encryption":
            self._schemes.forget(room_id)
        elif kind in {"m.room.member", "m.room.history_visibility"}:
            self._audiences.forget(room_id)

    def leave(self, ours: Callable[[str], bool]) -> None:
        """Forget rooms that are not ours any more: of these we do not hear what changes.

        Who has left meanwhile is found once they are ours again, and their session given up.
        """
        self._schemes.forget_where(lambda room_id, _: not ours(room_id))
        self._audiences.forget_where(lambda room_id, _: not ours(room_id))

    async def scheme(self, asker: UserId, room_id: RoomId) -> Scheme:
        """The room's settings. Refused: it is encrypted with an `M_UNSUPPORTED_ALGORITHM`."""
        if (known := self._schemes.get(room_id)) is not None:
            return known
        with self._schemes.fetching() as keep:
            event = await self._homeserver.state(asker, room_id, "m.room.encryption")
            return keep(room_id, await self._for_good(room_id, event))

    async def _for_good(self, room_id: RoomId, event: Json | None) -> Scheme:
        """The settings that hold: as told, but once encrypted, always encrypted."""
        name = f"room/{room_id}"
        before = await self._vault.load(name, Scheme)
        if before is not None and not _is_megolm(event):
            LOG.error("a room's encryption is gone from its state; it stays on", room=room_id)
            return before
        told = _scheme(event)
        if told.encrypted and told != before:
            await self._vault.save([self._vault.row(name, told)])
        return told

    async def audience(self, asker: UserId, room_id: RoomId) -> frozenset[str]:
        """Recipients of what is said in the room now, without our own users."""
        if (known := self._audiences.get(room_id)) is not None:
            return known
        with self._audiences.fetching() as keep:
            visibility = await self._homeserver.state(asker, room_id, "m.room.history_visibility")
            members = await self._homeserver.members(asker, room_id)
            # What is "joined" is hidden from those who are only invited.
            setting = text(mapping(visibility or {}, "content"), "history_visibility")
            readers = {"join"} if setting == "joined" else {"join", "invite"}
            audience = frozenset(
                user
                for event in members
                if text(mapping(event, "content"), "membership") in readers
                and (user := text(event, "state_key"))
                and not self._users.is_ours(user)
            )
            return keep(room_id, audience)


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
