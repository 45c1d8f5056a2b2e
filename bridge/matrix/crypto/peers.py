"""Other users: audiences of rooms, device lists, olm channels, limits on what strangers can cause.

Replies of `POST /keys/query` are kept in memory only, until /sync reports a change: after a start
everything is queried again, so no change is missed. A device whose keys change under the same id is
rejected, unless it was absent from a device list in between (signed out).

A `Channel` holds the last few olm sessions of a bridge device and another user's device, newest
first, as one row. To use it, hold the lock of the bridge device, and store the row before sending
what was encrypted: a ratchet that went backwards would use a message key twice. If another process
saved the same row meanwhile, the save raises Stale and the row must be read again (`Vault`).

`Places` caches each room's encryption settings and audience until an event changes them. That a
room is encrypted is stored permanently: no event can undo it (specification, "m.room.encryption"),
so a homeserver that says otherwise is not believed.

`RateLimit` limits requests and waits for what is probably not there (a key, a device, a
homeserver). `Allowance` limits the new keys and new devices that strangers can make the bridge
store: per sender and hour, and per homeserver and day. Homeservers get a day because honest users
all send at once after a weekend without the bridge, or when the bridge's devices are new.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol
from weakref import WeakValueDictionary

import msgspec
import vodozemac
from cachetools import LRUCache

from bridge.ids import RoomId, UserId, server_of
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.vault import LOG, Recall, Vault
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.store import SecretRow

# --- device lists ---------------------------------------------------------------------------------

_AT_ONCE = 50
"""Maximum devices whose signatures are checked without a pause."""
MOST = 1_000
"""Maximum devices of a user that are read, like Synapse's limit for users of other homeservers; a
homeserver may list any number. A user as whom programs log in has hundreds."""
_MOST_DEVICES = 200_000
"""Maximum devices of all users that are kept in memory: about 400 bytes each."""
_WITHIN = 15.0
"""Maximum seconds for another homeserver to answer for its users' keys, as messages wait."""
_AGAIN_MS = 30_000
"""Minimum ms before a homeserver that did not answer, or a user with endless keys, is asked for."""
_OF_SERVER = 4
"""Maximum requests for keys of a homeserver's users at a time: a reply takes up to 64 MB of memory.
Synapse runs ten queries of a device (or user without one) at a time, and goes on with one that was
given up, so the users of its own are asked for as another device than others."""


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


_Call = Callable[[Sequence[str]], Awaitable[Json]]


class Peers:
    """Keys of other users; the caller drops a device list that changed or is no longer tracked.

    Each homeserver is asked for by itself, and so is a user whose keys are too long to be read:
    neither keeps the keys of others from coming.
    """

    def __init__(self, server: wire.KeyServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._away = RateLimit(1, _AGAIN_MS)
        """Homeservers that did not answer, and users with endless keys."""
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self.cache: Recall[str, Known] = Recall(_MOST_DEVICES, lambda known: 5 + len(known.devices))
        self._pinned: LRUCache[str, dict[str, tuple[str, str]]] = LRUCache(
            _MOST_DEVICES, lambda pinned: 5 + len(pinned)
        )
        """User -> device id -> its keys, which must not change."""

    async def known(
        self, asker: UserId, users: Iterable[str], *, fresh: bool = False
    ) -> dict[str, Known]:
        """Return devices and identity of users whose server answers; `fresh` skips the cache."""
        users = list(users)
        found = {} if fresh else {u: d for u in users if (d := self.cache.get(u)) is not None}
        missing = [user for user in users if user not in found]
        if not missing:
            return found

        async def query(users: Sequence[str]) -> Json:
            near = server_of(users[0]) == server_of(asker)
            return await self._server.query(asker, users, device=near)

        with self.cache.fetching() as keep:
            for user, reply in (await self.ask(asker, missing, "device_keys", query)).items():
                devices = await self._unchanged(user, wire.mapping(reply, "device_keys", user))
                found[user] = keep(user, Known(devices, read_identity(user, reply)))
                if len(missing) > 1:
                    await asyncio.sleep(0)  # a reply may have 48,000 devices of its users
        return found

    def answers(self, user: str) -> bool:
        """False for some time after a user's keys did not come."""
        now = self._clock.now()
        return self._away.left(server_of(user), now) and self._away.left(user, now)

    async def ask(
        self, asker: UserId, users: Iterable[str], part: str, call: _Call
    ) -> dict[str, Json]:
        """Return the reply of `call` for each user whose keys come.

        `part`: the field of the reply with the keys by user.
        """
        servers = defaultdict[str, list[str]](list)
        for user in filter(self.answers, users):
            servers[server_of(user)].append(user)
        home = server_of(asker)
        asked = [
            self._of_server(server, each, part, call, None if server == home else _WITHIN)
            for server, each in servers.items()
        ]
        return dict(item for found in await asyncio.gather(*asked) for item in found.items())

    async def _of_server(
        self, server: str, users: Sequence[str], part: str, call: _Call, limit: float | None
    ) -> dict[str, Json]:
        places = self._places.setdefault(server, asyncio.Semaphore(_OF_SERVER))
        try:
            async with asyncio.timeout(limit), places:
                reply = await call(users)
        except TimeoutError:
            self._leave_out(server, users[0], "its homeserver does not answer in time")
            return {}
        except Unavailable as error:
            if not error.begun:
                raise
            if len(users) == 1:
                self._leave_out(users[0], users[0], "they are too long to be read")
                return {}
            half = len(users) // 2  # in search of the one with endless keys
            first = await self._of_server(server, users[:half], part, call, limit)
            return first | await self._of_server(server, users[half:], part, call, limit)
        away = server in wire.mapping(reply, "failures")
        found = {user: reply for user in users if not away or wire.mapping(reply, part, user)}
        for user in users:
            if user not in found:
                self._leave_out(server, user, "its homeserver does not answer")
        return found

    def _leave_out(self, who: str, user: str, why: str) -> None:
        """Leave out a homeserver or user for a while."""
        if self._away.spend(who, self._clock.now()):
            LOG.warning("the keys of a user do not come", user=user, why=why)

    async def _unchanged(self, user: str, listed: Json) -> tuple[Device, ...]:
        """Return the user's devices, except those whose keys changed under the same id."""
        found, good = list[Device](), list[Device]()
        for device in read_devices(user, listed):
            found.append(device)
            if len(found) % _AT_ONCE == 0:
                await asyncio.sleep(0)  # each signature takes 0.07 ms to check
        # Without a pause: two replies at a time must not pin different keys.
        before = self._pinned.get(user) or {}
        pinned = {key: before[key] for key in islice(listed, MOST) if key in before}
        for device in found:
            keys = device.curve25519, device.ed25519
            if pinned.setdefault(device.device_id, keys) == keys:
                good.append(device)
            else:
                LOG.warning("the keys of a device changed", user=user)
        self._pinned[user] = pinned
        return tuple(good)


def read_devices(user: str, listed: Mapping[str, object]) -> Iterator[Device]:
    """Yield the devices of a reply that are validly signed and support olm and megolm."""
    for device_id, fields in islice(listed.items(), MOST):
        if isinstance(fields, dict) and (device := read_device(user, device_id, fields)):
            yield device


def read_device(user: str, device_id: str, fields: Json) -> Device | None:
    """Read a device's self-signed keys; None if they are invalid, or lack olm or megolm."""
    keys = wire.mapping(fields, "keys")
    curve25519 = wire.key_text(keys, f"curve25519:{device_id}")
    ed25519 = wire.key_text(keys, f"ed25519:{device_id}")
    able = {wire.OLM, wire.MEGOLM} <= set(wire.strings(fields, "algorithms"))
    named = wire.text(fields, "user_id") == user and wire.id_text(fields, "device_id") == device_id
    good = able and named and curve25519
    if not good or not wire.is_signed(fields, user, f"ed25519:{device_id}", ed25519):
        return None
    return Device(user, device_id, curve25519, ed25519)


def read_identity(user: str, reply: Mapping[str, object]) -> str:
    """Return a user's self-signing key from a reply of `POST /keys/query`; "" if not valid."""
    keys = wire.mapping(reply, "self_signing_keys", user)
    master = _only_key(user, "master", wire.mapping(reply, "master_keys", user))
    found = _only_key(user, "self_signing", keys)
    signed = master and found and wire.is_signed(keys, user, f"ed25519:{master}", master)
    return found if signed else ""


def _only_key(user: str, usage: str, fields: Json) -> str:
    """Return a cross-signing key object's public key (specification, "Cross-signing"), or ""."""
    keys = wire.mapping(fields, "keys")
    if wire.text(fields, "user_id") != user or usage not in wire.strings(fields, "usage"):
        return ""
    for key_id in keys:
        public = wire.key_text(keys, key_id)
        if public and key_id == f"ed25519:{public}":
            return public
    return ""


# --- olm channels ---------------------------------------------------------------------------------

_MOST_SESSIONS = 4
"""Maximum sessions of a channel: more than one only if both sides began one, or one was lost."""
_MAX_MESSAGE = 256 * 1024
_MOST_CLAIMED = 5
"""Maximum one-time keys of a device that are checked; a homeserver should return one."""
_UNUSED_MS = 180 * 86_400_000
"""Lifetime in ms of an unused channel. After it, the two devices start a new session."""
_DEVICE_KEYS = ("sender_device_keys", "org.matrix.msc4147.device_keys")


class _Sessions(msgspec.Struct):
    pickles: list[str] = []
    device_id: str = ""
    """The bridge device; sessions of a former one are ignored."""


class Channel:
    """The olm sessions of a bridge device with another user's device.

    The row's name includes the other user: anybody can claim another user's identity key, which
    must not affect that user's channel.
    """

    def __init__(self, own: OwnDevice, user: str, curve25519: str) -> None:
        self.own = own
        self.curve25519 = curve25519
        self._name = f"olm/{own.user}/{user}/{curve25519}"
        self._sessions: list[vodozemac.Session] = []
        self._stored: bytes | None = None
        """The row's bytes as read, for compare-and-swap: a channel is written once."""
        self.renewed = False
        """Whether the other device has begun a session beside the stored ones (`decrypt`)."""

    @classmethod
    async def load(cls, vault: Vault, own: OwnDevice, user: str, curve25519: str) -> Channel:
        channel = cls(own, user, curve25519)
        found, channel._stored = await vault.read(channel._name, _Sessions)
        if found is not None and found.device_id == own.device_id:
            channel._sessions = [
                vodozemac.Session.from_pickle(pickle, vault.pickle_key) for pickle in found.pickles
            ]
        return channel

    def row(self, vault: Vault, now: int) -> SecretRow:
        pickles = [session.pickle(vault.pickle_key) for session in self._sessions[:_MOST_SESSIONS]]
        sessions = _Sessions(pickles, self.own.device_id)
        return vault.row(self._name, sessions, now + _UNUSED_MS, self._stored)

    @property
    def open(self) -> bool:
        return bool(self._sessions)

    def begin(self, device: Device, one_time: str) -> bool:
        """Begin a session with a one-time key; False if the key is invalid."""
        try:
            theirs = vodozemac.Curve25519PublicKey.from_base64(device.curve25519)
            key = vodozemac.Curve25519PublicKey.from_base64(one_time)
            session = self.own.account.create_outbound_session(theirs, key)
        except ValueError:
            return False
        self._sessions.insert(0, session)
        return True

    def encrypt(self, device: Device, kind: str, content: Json) -> Json:
        """Return the content of an m.room.encrypted to-device event. The channel must be open."""
        payload: Json = {
            "type": kind,
            "content": content,
            "sender": self.own.user,
            "recipient": device.user,
            "recipient_keys": {"ed25519": device.ed25519},
            "keys": {"ed25519": self.own.ed25519},
            # MSC4147: lets a recipient that does not know this device yet verify its owner.
            "sender_device_keys": self.own.cross_signed_keys,
        }
        number, ciphertext = self._sessions[0].encrypt(msgspec.json.encode(payload)).to_parts()
        return {
            "algorithm": wire.OLM,
            "sender_key": self.own.curve25519,
            "ciphertext": {self.curve25519: {"type": number, "body": wire.to_base64(ciphertext)}},
        }

    def decrypt(self, number: int, body: bytes) -> bytes:
        """Decrypt a message, which may begin a session and use up a one-time key of the bridge.

        Raises ValueError if no stored session can decrypt it; a new session may repair this.
        """
        message = vodozemac.AnyOlmMessage.from_parts(number, body)
        prekey = message.to_pre_key()
        for place, session in enumerate(self._sessions):
            if prekey is not None and session.session_id != prekey.session_id():
                continue
            try:
                plain = session.decrypt(message)
            except ValueError:
                continue
            # The session that the other side uses moves to the front: it can decrypt that one.
            self._sessions.insert(0, self._sessions.pop(place))
            return bytes(plain)
        if prekey is None:
            raise ValueError("no matching olm session")
        theirs = vodozemac.Curve25519PublicKey.from_base64(self.curve25519)
        session, plain = self.own.account.create_inbound_session(theirs, prekey)
        self.renewed = self.open
        self._sessions.insert(0, session)
        return bytes(plain)


def one_time_key(device: Device, claimed: Mapping[str, object]) -> str:
    """Return the one-time key in a `POST /keys/claim` reply that the device signed; "" if none."""
    signer = f"ed25519:{device.device_id}"
    for key_id in islice(claimed, _MOST_CLAIMED):
        fields = wire.mapping(claimed, key_id)
        if key_id.startswith(f"{wire.ONE_TIME}:") and wire.is_signed(
            fields, device.user, signer, device.ed25519
        ):
            return wire.text(fields, "key")
    return ""


class Letter(msgspec.Struct, frozen=True):
    """Olm message of a to-device event, still encrypted."""

    sender: str
    sender_key: str
    number: int
    body: bytes


class Payload(msgspec.Struct, frozen=True):
    """Plaintext of an olm message whose sender and recipient fields were checked."""

    sender: str
    sender_key: str
    ed25519: str
    """The sending device's signing key as claimed; `keys.Owners` verifies it."""
    kind: str
    content: Json
    device_keys: Json = {}
    """Device keys sent along (MSC4147), unverified; empty if none."""


def letter_of(own: OwnDevice, event: Json) -> Letter | None:
    """Read an m.room.encrypted to-device event's olm message for `own`; None if there is none."""
    content = wire.mapping(event, "content")
    part = wire.mapping(content, "ciphertext", own.curve25519)
    number, body = wire.integer(part, "type"), wire.text(part, "body")
    sender, sender_key = wire.id_text(event, "sender"), wire.key_text(content, "sender_key")
    if wire.text(content, "algorithm") != wire.OLM or not sender or not sender_key:
        return None
    if number not in {0, 1} or len(body) > _MAX_MESSAGE:
        return None
    try:
        return Letter(sender, sender_key, number, wire.from_base64(body))
    except ValueError:
        return None


def read_payload(own: OwnDevice, letter: Letter, plain: bytes) -> Payload | None:
    """Read an olm message's plaintext; None if sender or recipient do not match ("m.olm.v1")."""
    try:
        fields = msgspec.json.decode(plain, type=dict[str, object])
    except (ValueError, RecursionError):
        return None
    meant = (
        wire.text(fields, "sender") == letter.sender
        and wire.text(fields, "recipient") == own.user
        and wire.text(fields, "recipient_keys", "ed25519") == own.ed25519
    )
    if not meant:
        return None
    return Payload(
        letter.sender,
        letter.sender_key,
        wire.text(fields, "keys", "ed25519"),
        wire.text(fields, "type"),
        wire.mapping(fields, "content"),
        next((keys for name in _DEVICE_KEYS if (keys := wire.mapping(fields, name))), {}),
    )


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


class Audience(msgspec.Struct, frozen=True):
    """Users who may read new messages of a room, without the bridge users."""

    users: frozenset[str]
    shared: bool
    """Whether the room shows its history to newcomers (`wire.SHARED`)."""


class RoomState(Protocol):
    """Requests for a room's state. `client.Homeserver` implements it."""

    async def state(self, user: UserId, room_id: RoomId, kind: str) -> Json | None: ...

    async def members(self, user: UserId, room_id: RoomId) -> Sequence[Json]: ...


class Users(Protocol):
    """The bridge users, who get no keys. `users.OurUsers` implements it."""

    main: UserId
    """The bot."""
    hosts: tuple[UserId, ...]

    def is_ours(self, user_id: str) -> bool: ...
    def is_open_to_all(self, user_id: str) -> bool: ...


class Places:
    def __init__(self, homeserver: RoomState, users: Users, vault: Vault) -> None:
        self._homeserver = homeserver
        self._users = users
        self._vault = vault
        self._schemes: Recall[RoomId, Scheme] = Recall(_MOST_ROOMS)
        self._audiences: Recall[RoomId, Audience] = Recall(_MOST_ROOMS)
        self.audience_known = self._audiences.get

    def changed(self, raw: Json) -> None:
        """Invalidate the cached settings or audience that a state event may have changed."""
        kind = wire.text(raw, "type") if "state_key" in raw else ""
        room_id = RoomId(wire.text(raw, "room_id"))
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
        scheme = _scheme(event)
        if scheme.encrypted and scheme != before:
            await self._vault.save([self._vault.row(name, scheme)])
        return scheme

    async def audience(self, asker: UserId, room_id: RoomId) -> Audience:
        """Return who may read new messages of the room."""
        if (known := self._audiences.get(room_id)) is not None:
            return known
        with self._audiences.fetching() as keep:
            visibility = await self._homeserver.state(asker, room_id, "m.room.history_visibility")
            members = {
                wire.text(event, "state_key"): wire.text(event, "content", "membership")
                for event in await self._homeserver.members(asker, room_id)
            }
            # With history visibility "joined", invited users may not read.
            setting = wire.text(visibility, "content", "history_visibility")
            readers = {"join"} if setting == "joined" else {"join", "invite"}
            users = frozenset(
                user
                for user, membership in members.items()
                if membership in readers and user and not self._users.is_ours(user)
            )
            audience = Audience(users, setting in {"shared", "world_readable"})
            # One who has left, and still owes somebody a key, is shown the members of then.
            return keep(room_id, audience) if members.get(asker) == "join" else audience


def _is_megolm(event: Json | None) -> bool:
    return wire.text(event, "content", "algorithm") == wire.MEGOLM


def _scheme(event: Json | None) -> Scheme:
    if event is None:
        return Scheme(encrypted=False)
    content = wire.mapping(event, "content")
    if not _is_megolm(event):
        raise Refused("M_UNSUPPORTED_ALGORITHM", wire.text(content, "algorithm")[:100])
    return Scheme(
        encrypted=True,
        rotate_messages=_within(content, "rotation_period_msgs", ROTATE_MESSAGES, 10_000),
        rotate_ms=_within(content, "rotation_period_ms", ROTATE_MS, _LONGEST_MS),
    )


def _within(content: Json, key: str, otherwise: int, most: int) -> int:
    value = wire.integer(content, key)
    return otherwise if value is None or value < 1 else min(value, most)


# --- rate limits per name, in memory --------------------------------------------------------------

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class RateLimit:
    """Rate limit: `each` items per name in a window of `period` ms, from the first item on."""

    def __init__(self, each: int, period: int) -> None:
        self._each = each
        self._period = period
        self._spent: LRUCache[Hashable, tuple[int, int]] = LRUCache(20_000)
        """Name -> start of its window (ms), and items taken since."""

    def left(self, name: Hashable, now: int) -> bool:
        """False if the limit of this window is reached."""
        return self._window(name, now)[1] < self._each

    def spend(self, name: Hashable, now: int) -> bool:
        """Take one item, if there is one `left`."""
        began, count = self._window(name, now)
        if count >= self._each:
            return False
        self._spent[name] = (began, count + 1)
        return True

    def _window(self, name: Hashable, now: int) -> tuple[int, int]:
        began, count = self._spent.get(name) or (now, 0)
        return (began, count) if 0 <= now - began < self._period else (now, 0)


class Allowance:
    """Rate limits per user and hour, and per homeserver and day (none for the bridge's `home`)."""

    def __init__(self, each: int, together: int, home: str) -> None:
        self._users = RateLimit(each, HOUR_MS)
        self._servers = RateLimit(together, DAY_MS)
        self._home = home

    def spend(self, user: str, now: int) -> bool:
        server = server_of(user)
        if server == self._home:
            return self._users.spend(user, now)
        # One that is refused costs neither of them anything.
        left = self._servers.left(server, now) and self._users.spend(user, now)
        return left and self._servers.spend(server, now)
