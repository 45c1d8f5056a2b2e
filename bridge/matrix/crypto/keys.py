"""Megolm: room keys of others to read with, and sessions of the bridge users to write with.

Reading: a stored inbound session ("room key") is named by room, session and sender. It decrypts
only messages of the user who sent the key, so nobody can pass off another's words as theirs, and is
used only once its device is proven to belong to that sender (`Owners`). It expires `KEPT` ms after
its last use, or `UNUSED` ms after arrival if it was never used.

Recently used sessions stay unpickled in an LRU cache; after a better copy of a key is written, it
is forgotten there. An outdated copy cannot overwrite it, as rows are written by compare-and-swap.
If the cached copy has expired or cannot decrypt, the row is read again.

Replay detection: a homeserver could deliver an encrypted message again as another event. So each
message index is stored with its event id, as long as the key (`Replays`): at the first use of a
key, after `AT_MOST` messages and every half a minute. A kill loses the newest of these notes.

Writing (`Sharing`): one outbound session per sender and room, its key shared with every reader. A
session is replaced when it is old or has encrypted many messages, and when somebody who has its key
may no longer read (left the room, or removed a device). A new reader gets the key from its present
index, and so cannot decrypt earlier messages. Somebody who was in the room, but had no device that
could get it, gets it as of then (`Owed`): nobody else could show them those messages.

Members, device lists and one-time keys may have to come from homeservers that are slow on purpose,
and a room may have thousands of devices. So the lock of the sender's device, which also reads other
rooms' keys, is held neither while they are requested, nor longer than for a few devices at a time.

Outbound sessions are kept in memory only: a ratchet read back from a database might be an old
state, and use a message key twice. Olm sessions are stored, as a new one costs the other side a
one-time key; they are stored before the request that carries what they encrypted.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec
import vodozemac
from cachetools import LRUCache
from msgspec.structs import replace

from bridge.ids import RoomId, UserId
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.devices import OwnDevice, Upkeep
from bridge.matrix.crypto.peers import (
    Audience,
    Channel,
    Device,
    Known,
    Payload,
    Peers,
    Places,
    RateLimit,
    Scheme,
    one_time_key,
    read_device,
)
from bridge.matrix.crypto.vault import LOG, Recall, Vault, again
from bridge.matrix.crypto.wire import Json
from bridge.rooms.ports import Refused, Unavailable, Undecryptable
from bridge.rooms.store import SecretRow, Stale

KEPT = 90 * 86_400_000
"""Lifetime in ms of a key after its last use."""
UNUSED = 14 * 86_400_000
"""Lifetime in ms of a key that has decrypted nothing: senders normally use a new key at once."""
_MAX_DEVICE_KEYS = 8_192
"""Maximum bytes of the device keys that come with a room key; honest ones have about 1,000."""
_NEVER_ENCRYPTED = frozenset({"", "m.room.redaction", "m.room.encrypted"})
"""Event types that must not appear inside an encrypted payload."""

FORWARDED = "m.forwarded_room_key"
KEY_KINDS = frozenset({"m.room_key", FORWARDED})
"""Types of to-device messages that carry room keys."""
MOST_CACHED = 2_000
"""Maximum cached sessions: about 2 KiB each, plus up to 14 KiB of replay notes."""
NO_KEY = "unreadable.no_key"
BROKEN = "unreadable.undecryptable"
REPEATED = "unreadable.repeated"
UNKNOWN_DEVICE = "unreadable.unknown_device"
_WITHHELD = {
    "m.blacklisted": "unreadable.withheld.blocked",
    "m.unverified": "unreadable.withheld.unverified",
    "m.unauthorised": "unreadable.withheld.unauthorised",
}
"""Code of m.room_key.withheld -> text key."""
OTHERWISE_WITHHELD = "unreadable.withheld.other"


class RoomKey(msgspec.Struct, frozen=True):
    """Row: an inbound session with the device that sent it."""

    pickle: str
    sender_key: str
    ed25519: str
    keep_until: int
    unproven: bool = False
    """True until its device is proven to be the sender's."""
    device_keys: Json | None = None
    """Device keys sent along as proof (MSC4147); None once proven, or if none came."""


class Withheld(msgspec.Struct, frozen=True):
    """Row `no/{key name}`: a device's refusal to send a key."""

    code: str


class Seen(msgspec.Struct):
    """Row: message index -> hash of the event id."""

    events: dict[int, bytes] = {}
    until: int = 0
    """Expiry, ms since the epoch: the key's own."""


class Notes(msgspec.Struct, weakref=True, eq=False):
    """Replay notes of up to `IN_A_ROW` messages of a key: row name, content and stored bytes."""

    name: str
    seen: Seen
    stored: bytes | None


class _Opened(msgspec.Struct, eq=False):
    """A stored key, unpickled, with the replay notes around the message it last decrypted."""

    room_id: str
    key: RoomKey
    stored: bytes | None
    session: vodozemac.InboundGroupSession
    part: int = -1  # no notes loaded yet
    notes: Notes = msgspec.field(default_factory=lambda: Notes("", Seen(), None))


class Sealed(msgspec.Struct, frozen=True):
    """Envelope of an encrypted event: its ciphertext, and the name of its key with its parts."""

    room_id: str
    session_id: str
    sender: str
    ciphertext: str
    key_name: str


def key_name(room_id: str, session_id: str, sender: str) -> str:
    return f"in/{room_id}/{session_id}/{sender}"


def own_key(
    vault: Vault, own: OwnDevice, room_id: str, session: vodozemac.GroupSession, now: int
) -> SecretRow:
    """Return the row that lets the bridge decrypt its own user's messages of a new session."""
    inbound = vodozemac.InboundGroupSession(session.session_key)
    row = RoomKey(inbound.pickle(vault.pickle_key), own.curve25519, own.ed25519, now + KEPT)
    return vault.row(key_name(room_id, session.session_id, own.user), row, row.keep_until)


def is_encrypted(raw: Json) -> bool:
    return raw.get("type") == "m.room.encrypted" and "state_key" not in raw


def sealed_of(raw: Json) -> Sealed | None:
    """Return the envelope of an encrypted event; None if malformed or not megolm."""
    content = wire.mapping(raw, "content")
    if wire.text(content, "algorithm") != wire.MEGOLM:
        return None
    room_id, sender = wire.id_text(raw, "room_id"), wire.id_text(raw, "sender")
    session_id, ciphertext = wire.key_text(content, "session_id"), wire.text(content, "ciphertext")
    if not (room_id and sender and session_id and ciphertext):
        return None
    name = key_name(room_id, session_id, sender)
    return Sealed(room_id, session_id, sender, ciphertext, name)


class RoomKeys:
    """Inbound sessions: stored in the vault, recently used ones cached."""

    def __init__(self, vault: Vault, owners: Owners) -> None:
        self._vault = vault
        self._owners = owners
        self._replays = replays = Replays(vault)
        self.save = replays.save
        self._cache: Recall[str, _Opened] = Recall(MOST_CACHED)
        self.forget = self._cache.forget

    async def take(
        self, payload: Payload, now: int, coming: Mapping[str, SecretRow]
    ) -> tuple[str, list[SecretRow]] | None:
        """Check a received key; return its name and the rows to store, or None if it is invalid.

        `coming` holds rows received before it that are yet to be stored. A key sent in answer to a
        request (m.forwarded_room_key) is accepted only from the device that made the session.
        """
        content = payload.content
        room_id, session_id = wire.id_text(content, "room_id"), wire.key_text(content, "session_id")
        if wire.text(content, "algorithm") != wire.MEGOLM or not room_id:
            return None
        session = _session_of(payload)
        if session is None or session.session_id != session_id:
            return None
        name = key_name(room_id, session_id, payload.sender)
        made = payload.sender_key, payload.ed25519
        known, was = await self._vault.read(name, RoomKey)
        if name in coming:
            known = self._vault.opened(name, coming[name].value, RoomKey)
        if known is not None:
            if not known.unproven and (known.sender_key, known.ed25519) != made:
                return None  # a session belongs to one device, and another is proven
            if self._unpickled(known).first_known_index <= session.first_known_index:
                return name, []  # the same key again, or one that decrypts fewer messages
        proof = payload.device_keys or None
        if len(msgspec.json.encode(proof)) > _MAX_DEVICE_KEYS:
            proof = None
        pickle = session.pickle(self._vault.pickle_key)
        row = RoomKey(pickle, *made, now + UNUSED, unproven=True, device_keys=proof)
        return name, [self._vault.row(name, row, row.keep_until, was)]

    def refusal(self, event: Json, now: int) -> tuple[str, list[SecretRow]] | None:
        """Read m.room_key.withheld: return the name of the refused key and the row to store."""
        content = wire.mapping(event, "content")
        room_id, session_id = wire.id_text(content, "room_id"), wire.key_text(content, "session_id")
        sender = wire.id_text(event, "sender")
        if not (room_id and session_id and sender):
            return None
        name = key_name(room_id, session_id, sender)
        row = Withheld(wire.id_text(content, "code"))
        return name, [self._vault.row(f"no/{name}", row, now + UNUSED)]

    async def open(
        self, raw: Json, sealed: Sealed, now: int, *, ask: bool = True
    ) -> Json | Undecryptable:
        """Decrypt an event or return why not; `ask` allows a query for the sender's devices."""
        found = self._by_cached(sealed, now) or await self._by_stored(sealed)
        if isinstance(found, Undecryptable):
            return found
        opened, plain = found
        key = opened.key
        # A use need not be stored if the key is proven and at least half of `KEPT` remains.
        used = not key.unproven and key.keep_until - now >= KEPT // 2
        if not used:
            if key.unproven and not await self._owners.is_owner(sealed.sender, key, now, ask=ask):
                return Undecryptable(UNKNOWN_DEVICE, later=True)
            key = replace(key, unproven=False, device_keys=None, keep_until=now + KEPT)
        event_id, index = wire.text(raw, "event_id"), plain.message_index
        if opened.part != (part := index // IN_A_ROW):
            opened.notes, opened.part = await self._replays.notes(sealed.key_name, part), part
        repeated = self._replays.is_replay(opened.notes, index, event_id, key.keep_until)
        if self._replays.waiting >= AT_MOST:
            await again(self._replays.save)
        if not used:
            await self._store(sealed.key_name, opened, key)
        if repeated:
            return Undecryptable(REPEATED, later=False)
        return _opened(raw, sealed, plain.plaintext)

    def _by_cached(
        self, sealed: Sealed, now: int
    ) -> tuple[_Opened, vodozemac.DecryptedMessage] | None:
        """Decrypt with the cached session; None if the stored one must be read."""
        opened = self._cache.get(sealed.key_name)
        if opened is None or opened.key.keep_until < now:
            return None
        plain = _decrypt(opened.session, sealed)
        return None if isinstance(plain, Undecryptable) else (opened, plain)

    async def _by_stored(
        self, sealed: Sealed
    ) -> tuple[_Opened, vodozemac.DecryptedMessage] | Undecryptable:
        """Decrypt with the stored key, or return why there is none."""
        name = sealed.key_name
        with self._cache.fetching() as keep:
            key, stored = await self._vault.read(name, RoomKey)
            if key is not None:
                opened = _Opened(sealed.room_id, key, stored, self._unpickled(key))
                keep(name, opened)
                plain = _decrypt(opened.session, sealed)
                return plain if isinstance(plain, Undecryptable) else (opened, plain)
        self.forget(name)
        refused = await self._vault.load(f"no/{name}", Withheld)
        why = NO_KEY if refused is None else _WITHHELD.get(refused.code, OTHERWISE_WITHHELD)
        return Undecryptable(why, later=True)

    def _unpickled(self, key: RoomKey) -> vodozemac.InboundGroupSession:
        return vodozemac.InboundGroupSession.from_pickle(key.pickle, self._vault.pickle_key)

    async def _store(self, name: str, opened: _Opened, key: RoomKey) -> None:
        """Store a key after its use together with all replay notes, in one commit."""
        row = self._vault.row(name, key, key.keep_until, opened.stored)
        try:
            await self._replays.save([row])
        except Stale:
            self.forget(name)  # another copy has been stored meanwhile; its own use will prove it
        else:
            opened.key, opened.stored = key, row.value

    def leave(self, ours: Callable[[str], bool]) -> None:
        """Drop cached keys of rooms that this process no longer serves."""
        self._cache.forget_where(lambda _, opened: not ours(opened.room_id))

    def drop(self, erased: Callable[[str], bool]) -> None:
        """Drop cached keys whose rows are erased, and their unsaved replay notes."""
        self._cache.forget_where(lambda name, _: erased(name))
        self._replays.drop(erased)


class _Plain(msgspec.Struct):
    type: str
    room_id: str
    content: dict[str, object]


_read_plain = msgspec.json.Decoder(_Plain).decode


def _decrypt(
    session: vodozemac.InboundGroupSession, sealed: Sealed
) -> vodozemac.DecryptedMessage | Undecryptable:
    message = None
    try:
        message = vodozemac.MegolmMessage.from_base64(sealed.ciphertext)
        return session.decrypt(message)
    except ValueError:
        # Written before the key was shared with the bridge? An earlier copy may still come.
        early = message is not None and message.message_index() < session.first_known_index
        return Undecryptable(NO_KEY, later=True) if early else Undecryptable(BROKEN, later=False)


def _session_of(payload: Payload) -> vodozemac.InboundGroupSession | None:
    key = wire.text(payload.content, "session_key")
    try:
        if payload.kind == FORWARDED:
            if wire.text(payload.content, "sender_key") != payload.sender_key:
                return None  # forwarded by another device than the session's own
            return vodozemac.InboundGroupSession.import_session(vodozemac.ExportedSessionKey(key))
        return vodozemac.InboundGroupSession(vodozemac.SessionKey(key))
    except ValueError:
        return None


def _opened(raw: Json, sealed: Sealed, plain: bytes) -> Json | Undecryptable:
    try:
        payload = _read_plain(plain)
    except (ValueError, RecursionError):
        return Undecryptable(BROKEN, later=False)
    if payload.type in _NEVER_ENCRYPTED or payload.room_id != sealed.room_id:
        return Undecryptable(BROKEN, later=False)
    content = payload.content
    if (relation := wire.mapping(raw, "content").get("m.relates_to")) is not None:
        # The relation stands unencrypted in the envelope; one inside is at most a copy.
        content = content | {"m.relates_to": relation}
    return raw | {"type": payload.type, "content": content}


# --- whose device sent a key ----------------------------------------------------------------------

_AGAIN_MS = 30_000
"""Minimum ms between device list queries for one user because of an unknown device."""


class Owners:
    """Check that a room key's device belongs to its sender; `asker` is the bridge user who queries.

    Otherwise a homeserver could write messages in anybody's name (specification,
    "m.olm.v1.curve25519-aes-sha2"). The device must be in the sender's device list or bear a
    signature of the sender's identity (MSC4147).
    """

    def __init__(self, peers: Peers, asker: UserId) -> None:
        self._peers = peers
        self._asker = asker
        self._asked = RateLimit(1, _AGAIN_MS)

    async def is_owner(self, user: str, key: RoomKey, now: int, *, ask: bool = True) -> bool:
        """True if a key's device is its sender's; `ask` allows a query for the device list."""
        known = self._peers.cache.get(user)
        if _is_owned(user, key, known):
            return True
        if not ask or not (known is None or self._asked.left(user, now)):
            return False
        self._asked.spend(user, now)
        try:
            known = (await self._peers.known(self._asker, [user], fresh=True)).get(user)
        except (Unavailable, Refused) as error:
            LOG.info("the devices of a user cannot be queried", user=user, why=str(error))
            return False
        if _is_owned(user, key, known):
            return True
        if known is not None:
            LOG.warning(
                "a room key came from a device that its sender is not known to have", user=user
            )
        return False


def _is_owned(user: str, key: RoomKey, known: Known | None) -> bool:
    if known is None:
        return False
    for device in known.devices:
        if device.curve25519 == key.sender_key:
            return device.ed25519 == key.ed25519
    proof, signer = key.device_keys, known.self_signing
    if not proof or not signer:
        return False
    proven = read_device(user, wire.text(proof, "device_id"), proof)
    return (
        proven is not None
        and (proven.curve25519, proven.ed25519) == (key.sender_key, key.ed25519)
        and wire.is_signed(proof, user, f"ed25519:{signer}", signer)
    )


# --- replay detection -----------------------------------------------------------------------------

IN_A_ROW = 128
"""Messages of a session per row; most sessions carry a hundred."""
AT_MOST = 200
"""Maximum unsaved notes of all sessions together."""


class Replays:
    """Replay notes: which event carried which megolm message. Raises StoreError."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._live: WeakValueDictionary[str, Notes] = WeakValueDictionary()
        """All notes in use, so that each row exists once in memory."""
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._unsaved: dict[str, Notes] = {}
        self.waiting = 0

    async def notes(self, key_name: str, part: int) -> Notes:
        name = f"seen/{part}/{key_name}"
        found = self._live.get(name)
        if found is None:
            # Without the lock, notes made and saved meanwhile could be lost by this read.
            async with self._reading.setdefault(name, asyncio.Lock()):
                found = self._live.get(name)
                if found is None:
                    seen, stored = await self._vault.read(name, Seen)
                    found = self._live[name] = Notes(name, seen or Seen(), stored)
        return found

    def is_replay(self, notes: Notes, index: int, event_id: str, keep_until: int) -> bool:
        """True if another event carried this message before; else note that this one does."""
        seen, text = notes.seen, event_id.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(text).digest()[:8]
        count = len(seen.events)
        known = seen.events.setdefault(index, digest)
        if len(seen.events) > count or seen.until < keep_until:
            seen.until = max(seen.until, keep_until)
            self._unsaved[notes.name] = notes
            self.waiting += 1
        return known != digest

    async def save(self, others: Sequence[SecretRow] = ()) -> None:
        """Store the unsaved notes together with other rows (`Vault.save`).

        Raises Stale if another process wrote one of the rows; its notes are then merged in.
        """
        unsaved, self._unsaved, self.waiting = self._unsaved, {}, 0
        saved = [(notes, notes.stored, self._row(notes)) for notes in unsaved.values()]
        if not saved and not others:
            return
        try:
            await self._vault.save([*others, *(row for _, _, row in saved)])
        except BaseException as error:
            self._unsaved = unsaved | self._unsaved
            for notes, was, row in saved:
                if notes.stored == row.value:
                    notes.stored = was
            if isinstance(error, Stale):
                for notes in unsaved.values():
                    theirs, notes.stored = await self._vault.read(notes.name, Seen)
                    if theirs is not None:
                        notes.seen.events |= theirs.events
                        notes.seen.until = max(notes.seen.until, theirs.until)
            raise

    def drop(self, erased: Callable[[str], bool]) -> None:
        """Discard unsaved notes of erased rows (by name)."""
        self._unsaved = {n: value for n, value in self._unsaved.items() if not erased(n)}

    def _row(self, notes: Notes) -> SecretRow:
        row = self._vault.row(notes.name, notes.seen, notes.seen.until, notes.stored)
        notes.stored = row.value  # the next save replaces this value
        return row


# --- writing --------------------------------------------------------------------------------------

_AT_ONCE = 50
"""Maximum devices that get a key by one request, and without a pause; and users owed a key."""
_BARREN_MS = 300_000
"""Back-off in ms before a one-time key is claimed again from a device that had none."""
_MOST_SESSIONS = 20_000
_IN_CLEAR = ("m.relates_to", wire.MARKER)
_dump = msgspec.json.Encoder().encode
_Channels = list[tuple[Device, Channel]]


class Readers(msgspec.Struct, frozen=True):
    """Readers of a message, as determined at `now` (ms since the epoch), before encryption."""

    room_id: RoomId
    scheme: Scheme
    now: int
    audience: Audience
    known: Mapping[str, Known]
    """Devices of those in the audience whose homeserver answers."""
    claimed: Mapping[Device, str]
    """One-time keys of devices without an olm session."""
    away: bool = False
    """True if some get no key because their homeserver does not answer."""


class _Outbound(msgspec.Struct, eq=False):
    """Outbound megolm session; `readers` have its key, `given` have or may have it.

    `shared`: newcomers may get it from others, as the room shows its history (`wire.SHARED`).
    `given` maps a device to the key as it got it first. That is sent again if need be: a later one
    opens fewer messages, and some clients would put it in the first one's place.
    """

    session: vodozemac.GroupSession
    session_id: str
    created: int
    shared: bool = False
    readers: frozenset[Device] = frozenset()
    given: dict[Device, str] = {}
    owed: dict[str, str] = {}
    """User in the audience without a device that has the key -> the key for their next device."""
    complete: Readers | None = None
    """The `Readers` for whom every device had the key; None if some device lacks it."""

    def is_spent(self, scheme: Scheme, now: int) -> bool:
        old = not 0 <= now - self.created < scheme.rotate_ms
        return old or self.session.message_index >= scheme.rotate_messages

    def is_revoked(self, audience: Audience, known: Mapping[str, Known]) -> bool:
        """True if a device that has or may have the key may no longer read, or `shared` is over.

        A member whose homeserver does not answer has no entry in `known`, and may still read.
        """
        absent = self.given.keys() - _devices(known)
        return self.shared is not audience.shared or any(
            device.user in known or device.user not in audience.users for device in absent
        )


class Owed(msgspec.Struct, frozen=True):
    """Row: a key for a user's next device (`_Outbound.owed`); it opens what was said meanwhile."""

    user: str
    sender: UserId
    room_id: RoomId
    session_id: str
    key: str
    shared: bool = False

    @property
    def name(self) -> str:
        return f"owed/{key_name(self.room_id, self.session_id, self.sender)}/{self.user}"


@dataclass(eq=False, repr=False)
class Sharing:
    """Outbound sessions of all rooms; `renew` needs the lock of the sending device."""

    _vault: Vault
    _server: wire.KeyServer
    _peers: Peers
    _places: Places
    _upkeep: Upkeep

    def __post_init__(self) -> None:
        self._outbound: LRUCache[tuple[str, str, RoomId], _Outbound] = LRUCache(_MOST_SESSIONS)
        self._barren = RateLimit(1, _BARREN_MS)
        """Vain claims of a one-time key by a bridge user from a device."""

    async def prepare(
        self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int, *, only: str = ""
    ) -> Readers:
        """Determine the readers of a message, or of a key for `only` this user. May be slow."""
        audience = await self._places.audience(own.user, room_id)
        users = audience.users & {only} if only else audience.users
        found = self._current(own, room_id, scheme, now)
        known = await self._peers.known(own.user, users, fresh=found is None and not only)
        if found is not None and found.is_revoked(audience, known):
            found = None
            known = await self._peers.known(own.user, users, fresh=True)
        new = [one for one, at in await self._channels(own, _missing(known, found)) if not at.open]
        claimed = await self.claim(own.user, new, now)
        away = len(known) < len(users) or not all(self._peers.answers(one.user) for one in new)
        return Readers(room_id, scheme, now, audience, known, claimed, away)

    def _still_holds(self, readers: Readers) -> bool:
        """True if no change of audience or devices was reported since `prepare`."""
        cached = self._peers.cache.get
        return self._places.audience_known(readers.room_id) is readers.audience and all(
            cached(user) is known for user, known in readers.known.items()
        )

    def encrypt_at_once(
        self, own: OwnDevice, room_id: RoomId, scheme: Scheme, now: int, event: tuple[str, Json]
    ) -> Json | None:
        """Encrypt like `encrypt` if all known readers have the key already, else return None.

        Needs no lock: it awaits nothing and uses no olm session.
        """
        found = self._current(own, room_id, scheme, now)
        if found is None or found.complete is None or not self._still_holds(found.complete):
            return None
        return _sealed(own, found, room_id, event)

    async def encrypt(
        self, sender: UserId, readers: Readers, event: tuple[str, Json] | Owed, *, last: bool
    ) -> Json | None:
        """Share the key with readers that lack it, and encrypt `event` (type and content).

        A key that is `Owed` is shared with its user alone, and {} returned. None if a change of
        audience or devices was reported since `prepare`, unless it is the `last` attempt. Raises
        Unavailable if nobody gets the key because homeservers do not answer: a later one is no use.
        """
        room_id, now = readers.room_id, readers.now
        async with self._upkeep.holding(sender) as own:
            found = self._current(own, room_id, readers.scheme, now)
            if found is not None and found.is_revoked(readers.audience, readers.known):
                found = None
            if isinstance(event, Owed):
                if await self._vault.load(event.name, Owed) is None:
                    return {}  # given, or the user has left, since `prepare`
                found = self._outbound.get((own.user, own.device_id, room_id))
                if found is None or found.session_id != event.session_id:  # it encrypts no more
                    spent, owed = vodozemac.GroupSession(), {event.user: event.key}
                    found = _Outbound(spent, event.session_id, 0, event.shared, owed=owed)
            elif found is None:
                session = vodozemac.GroupSession()
                found = _Outbound(session, session.session_id, now, readers.audience.shared)
                # For transcripts, which decrypt the bridge's own messages. Stored before sharing.
                await self._vault.save([own_key(self._vault, own, room_id, found.session, now)])
                self._outbound[own.user, own.device_id, room_id] = found
        missing = _missing(readers.known, found)
        for start in range(0, len(missing), _AT_ONCE):
            if not (last or self._still_holds(readers)):
                return None
            async with self._upkeep.holding(sender) as own:
                await self._share(own, found, missing[start : start + _AT_ONCE], readers)
            await asyncio.sleep(0)
        if readers.away and not found.readers:
            raise Unavailable("the homeservers of all who may read this do not answer")
        done = readers.known.keys() == readers.audience.users and not _missing(readers.known, found)
        lacking = readers.audience.users - {reader.user for reader in found.readers}
        if isinstance(event, Owed):  # others are not looked at, and the session may be spent
            done, lacking = False, lacking & found.owed.keys()
        key = found.session.session_key.to_base64() if lacking else ""
        first = sorted(lacking, key=lambda user: (user not in found.owed, user))[:_AT_ONCE]
        await self._owe(own, room_id, found, {u: found.owed.get(u, key) for u in first}, now)
        found.complete = readers if done else None
        if not (last or self._still_holds(readers)):
            return None
        return {} if isinstance(event, Owed) else _sealed(own, found, room_id, event)

    async def _owe(
        self, own: OwnDevice, room_id: RoomId, found: _Outbound, owed: dict[str, str], now: int
    ) -> None:
        """Store what has changed in the keys that are owed, before anything is said with them."""
        rows = list[SecretRow]()
        for user in owed.keys() ^ found.owed.keys():
            row = Owed(user, own.user, room_id, found.session_id, owed.get(user, ""), found.shared)
            kept = self._vault.row(row.name, row, now + UNUSED)
            rows.append(kept if row.key else SecretRow(row.name, None))
        await self._vault.save(rows)
        found.owed = owed

    async def owing(self, users: Collection[str]) -> dict[str, list[str]]:
        """Return the users who are owed keys (of all, if "" is among `users`) -> names of rows."""
        found = defaultdict[str, list[str]](list)
        for name in await self._vault.names("owed/"):
            found[f"@{name.rpartition('/@')[2]}"].append(name)
        return found if "" in users else {user: found[user] for user in found.keys() & users}

    def drop(self, gone: Callable[[RoomId], bool] = lambda _: True) -> None:
        """Drop the sessions of rooms that are erased, or may be by another process; or all."""
        for key in [key for key in self._outbound if gone(key[2])]:
            del self._outbound[key]

    def _current(self, own: OwnDevice, room: RoomId, scheme: Scheme, now: int) -> _Outbound | None:
        found = self._outbound.get((own.user, own.device_id, room))
        return None if found is None or found.is_spent(scheme, now) else found

    # --- to devices -------------------------------------------------------------------------

    async def _share(
        self, own: OwnDevice, found: _Outbound, devices: Iterable[Device], readers: Readers
    ) -> None:
        content = Json(algorithm=wire.MEGOLM, room_id=readers.room_id, session_id=found.session_id)
        content[wire.SHARED] = found.shared
        key = found.session.session_key.to_base64()
        able = [
            (device, channel)
            for device, channel in await self._channels(own, devices)
            if channel.open or channel.begin(device, readers.claimed.get(device, ""))
        ]
        receivers = frozenset(device for device, _ in able)
        # Set first: the request may arrive although its answer is lost.
        found.given = {to: found.owed.get(to.user, key) for to in receivers} | found.given
        each = {to: content | {"session_key": found.given[to]} for to in receivers}
        await self._tell(own, able, "m.room_key", each, readers.now)
        LOG.debug("room key shared", room=readers.room_id, devices=len(able))
        found.readers |= receivers

    async def _channels(self, own: OwnDevice, devices: Iterable[Device]) -> _Channels:
        return [(d, await Channel.load(self._vault, own, d.user, d.curve25519)) for d in devices]

    async def _tell(
        self, own: OwnDevice, able: _Channels, kind: str, contents: Mapping[Device, Json], now: int
    ) -> None:
        """Send an event to devices over olm, with a content for each."""
        messages: dict[str, dict[str, Json]] = defaultdict(dict)
        for device, channel in able:
            sealed = channel.encrypt(device, kind, contents[device])
            messages[device.user][device.device_id] = sealed
        if able:
            await self._vault.save([channel.row(self._vault, now) for _, channel in able])
            await self._server.send_to_devices(own.user, "m.room.encrypted", {**messages})

    async def renew(self, own: OwnDevice, device: Device, one_time: str, now: int) -> bool:
        """Replace a broken olm session with a new one; False if the claimed key is invalid."""
        channels = await self._channels(own, [device])
        if not channels[0][1].begin(device, one_time):
            return False
        await self._tell(own, channels, "m.dummy", {device: {}}, now)
        return True

    def share_again(self, own: OwnDevice, renewed: Collection[tuple[str, str]]) -> None:
        """Share the device's present sessions once more with others that began a new olm session.

        A client that could not decrypt the last one does so, and may lack their keys; Element only
        when it has a key to send (matrix-js-sdk 43). `renewed`: their users and identity keys.
        """
        for (user, device_id, _), found in self._outbound.items():
            if (user, device_id) == (own.user, own.device_id):
                lost = {peer for peer in found.readers if (peer.user, peer.curve25519) in renewed}
                found.readers -= lost
                found.complete = None if lost else found.complete

    async def claim(
        self, user: UserId, devices: Iterable[Device], now: int, *, anew: bool = False
    ) -> dict[Device, str]:
        """Claim a one-time key of each device; `anew` ignores the back-off (`_BARREN_MS`)."""
        left, claimed = self._barren.left, dict[Device, str]()
        wanting = [device for device in devices if anew or left((user, device.curve25519), now)]
        request: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for device in wanting:
            request[device.user][device.device_id] = wire.ONE_TIME

        async def ask(users: Sequence[str]) -> Json:
            return await self._server.claim(user, {device: request[device] for device in users})

        replies = await self._peers.ask(user, request, "one_time_keys", ask)
        for at, device in enumerate(wanting, 1):
            if at % _AT_ONCE == 0:
                await asyncio.sleep(0)  # each signature takes 0.1 ms to check
            if device.user not in replies:
                continue
            listed = wire.mapping(replies[device.user], "one_time_keys", device.user)
            if key := one_time_key(device, wire.mapping(listed, device.device_id)):
                claimed[device] = key
            else:
                self._barren.spend((user, device.curve25519), now)
                LOG.info("a device has no one-time key for the bridge", user=device.user)
        return claimed


def _sealed(own: OwnDevice, found: _Outbound, room_id: RoomId, event: tuple[str, Json]) -> Json:
    kind, content = event
    plain = _dump({"type": kind, "content": content, "room_id": room_id})
    sealed: Json = {
        "algorithm": wire.MEGOLM,
        "ciphertext": found.session.encrypt(plain).to_base64(),
        "session_id": found.session_id,
        "sender_key": own.curve25519,
        "device_id": own.device_id,
    }
    # Not encrypted: relations, which homeservers aggregate; and the bridge's marker, a transaction
    # id by which `adapter.find_markers` recognizes its events.
    return sealed | {name: content[name] for name in _IN_CLEAR if name in content}


def _devices(known: Mapping[str, Known]) -> list[Device]:
    return [device for listed in known.values() for device in listed.devices]


def _missing(known: Mapping[str, Known], found: _Outbound | None) -> list[Device]:
    readers = frozenset() if found is None else found.readers
    return [device for device in _devices(known) if device not in readers]
