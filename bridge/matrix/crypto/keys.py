"""Megolm, reading: stored inbound sessions ("room keys"), decryption, and replay detection.

A key is stored by room, session and sender. It decrypts only messages of the user who sent the key,
so nobody can pass off another's words as theirs, and is used only once its device is proven to
belong to that sender (`Owners`). It expires `KEPT` ms after its last use, or `UNUSED` ms after
arrival if it was never used.

Recently used sessions stay unpickled in an LRU cache; after a better copy of a key is written, it
is forgotten there. An outdated copy cannot overwrite it, as rows are written by compare-and-swap.
If the cached copy has expired or cannot decrypt, the row is read again.

Replay detection: a homeserver could deliver an encrypted message again as another event. So each
message index is stored with its event id, as long as the key (`Replays`): at the first use of a
key, after `AT_MOST` messages and with each /sync. A kill loses the newest of these notes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakValueDictionary

import msgspec
import vodozemac
from msgspec.structs import replace

from bridge.ids import UserId
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.peers import Known, Payload, Peers, RateLimit, read_device
from bridge.matrix.crypto.vault import LOG, Recall, Vault, again
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Undecryptable
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
    device_keys: wire.Json | None = None
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


def is_encrypted(raw: wire.Json) -> bool:
    return raw.get("type") == "m.room.encrypted" and "state_key" not in raw


def sealed_of(raw: wire.Json) -> Sealed | None:
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
        if wire.text(content, "algorithm") != wire.MEGOLM or not room_id or not session_id:
            return None
        session = _session_of(payload)
        if session is None or session.session_id != session_id:
            return None
        name = key_name(room_id, session_id, payload.sender)
        known, was = await self._vault.read(name, RoomKey)
        if name in coming:
            known = self._vault.opened(name, coming[name].value, RoomKey)
        if known is not None:
            made = payload.sender_key, payload.ed25519
            if not known.unproven and (known.sender_key, known.ed25519) != made:
                return None  # a session belongs to one device, and another is proven
            if self._unpickled(known).first_known_index <= session.first_known_index:
                return name, []  # the same key again, or one that decrypts fewer messages
        proof = payload.device_keys or None
        if len(msgspec.json.encode(proof)) > _MAX_DEVICE_KEYS:
            proof = None
        row = RoomKey(
            session.pickle(self._vault.pickle_key),
            payload.sender_key,
            payload.ed25519,
            now + UNUSED,
            unproven=True,
            device_keys=proof,
        )
        return name, [self._vault.row(name, row, row.keep_until, was)]

    def refusal(self, event: wire.Json, now: int) -> tuple[str, list[SecretRow]] | None:
        """Read m.room_key.withheld: return the name of the refused key and the row to store."""
        content = wire.mapping(event, "content")
        room_id, session_id = wire.id_text(content, "room_id"), wire.key_text(content, "session_id")
        sender = wire.id_text(event, "sender")
        if not (room_id and session_id and sender):
            return None
        name = key_name(room_id, session_id, sender)
        row = Withheld(wire.text(content, "code")[:100])
        return name, [self._vault.row(f"no/{name}", row, now + UNUSED)]

    async def open(
        self, raw: wire.Json, sealed: Sealed, now: int, *, ask: bool = True
    ) -> wire.Json | Undecryptable:
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
        if opened.part != index // IN_A_ROW:
            notes = await self._replays.notes(sealed.key_name, index // IN_A_ROW)
            opened.part, opened.notes = index // IN_A_ROW, notes
        repeated = self._replays.is_one(opened.notes, index, event_id, key.keep_until)
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


def _opened(raw: wire.Json, sealed: Sealed, plain: bytes) -> wire.Json | Undecryptable:
    try:
        payload = _read_plain(plain)
    except (ValueError, RecursionError):
        return Undecryptable(BROKEN, later=False)
    if payload.type in _NEVER_ENCRYPTED or payload.room_id != sealed.room_id:
        return Undecryptable(BROKEN, later=False)
    content = payload.content
    relation = wire.mapping(raw, "content").get("m.relates_to")
    if relation is not None:
        # The relation stands unencrypted in the envelope; one inside is at most a copy.
        content = content | {"m.relates_to": relation}
    return raw | {"type": payload.type, "content": content}


# --- whose device sent a key ----------------------------------------------------------------------

_AGAIN_MS = 30_000
"""Minimum ms between device list queries for one user because of an unknown device, and between
queries to a homeserver that did not answer."""


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
        self._away = RateLimit(1, _AGAIN_MS)
        """Homeservers that did not answer."""

    async def is_owner(self, user: str, key: RoomKey, now: int, *, ask: bool = True) -> bool:
        """True if a key's device is its sender's; `ask` allows a query for the device list."""
        known, server = self._peers.cache.get(user), user.partition(":")[2]
        if _is_owned(user, key, known):
            return True
        free = self._away.left(server, now) if known is None else self._asked.left(user, now)
        if not ask or not free:
            return False
        self._asked.spend(user, now)
        try:
            known = (await self._peers.known(self._asker, [user], fresh=True)).get(user)
        except (Unavailable, Refused) as error:
            LOG.info("the devices of a user cannot be queried", user=user, why=str(error))
            known = None
        else:
            if known is None:
                # Otherwise each message of its users would wait for the server again.
                self._away.spend(server, now)
        if _is_owned(user, key, known):
            return True
        LOG.warning("a room key came from a device that its sender is not known to have", user=user)
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


def _digest(event_id: str) -> bytes:
    return hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).digest()[:8]


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

    def is_one(self, notes: Notes, index: int, event_id: str, keep_until: int) -> bool:
        """Replay check: True if another event carried this message before; else note it."""
        seen, digest = notes.seen, _digest(event_id)
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
                    await self._read_again(notes)
            raise

    def drop(self, erased: Callable[[str], bool]) -> None:
        """Discard unsaved notes of erased rows (by name)."""
        self._unsaved = {n: one for n, one in self._unsaved.items() if not erased(n)}

    def _row(self, notes: Notes) -> SecretRow:
        row = self._vault.row(notes.name, notes.seen, notes.seen.until, notes.stored)
        notes.stored = row.value  # the next save replaces this value
        return row

    async def _read_again(self, notes: Notes) -> None:
        there, notes.stored = await self._vault.read(notes.name, Seen)
        if there is not None:
            notes.seen.events |= there.events
            notes.seen.until = max(notes.seen.until, there.until)
