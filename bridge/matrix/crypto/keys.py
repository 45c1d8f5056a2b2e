"""Megolm, reading: stored inbound sessions ("room keys"), decryption, and replay detection.

A key is stored by room, session and sender: only the user who sent us a key can have written with
it, so nobody can pass off another's words as theirs. It counts once its device is known to belong
to the sender (`Owners`). It goes `KEPT` ms after its last use, or `UNUSED` ms after it came.

Sessions that were used lately stay unpickled in a cache, which forgets a key when another copy of
it is written; where its copy is too old or cannot decrypt, the row is read again.

A homeserver could send an encrypted message a second time as another event. So its index in the
session is kept with the event's id as long as the key (`Replays`): written when a key is used for
the first time, after `_AT_MOST` messages, and with each /sync; a kill forgets the newest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog
import vodozemac
from cachetools import LRUCache
from msgspec.structs import replace

from bridge.ids import UserId
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.devices import OwnDevice
from bridge.matrix.crypto.olm import Payload
from bridge.matrix.crypto.peers import Known, Peers, read_device
from bridge.matrix.crypto.vault import Recall, Vault
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Undecryptable
from bridge.rooms.store import SecretRow

KEPT = 90 * 86_400_000
"""ms that a key outlives its last use."""
UNUSED = 14 * 86_400_000
"""ms that a key is kept which nothing was opened with; whoever sends one writes with it soon."""
_MAX_DEVICE_KEYS = 8_192
"""Bytes of a device's keys that came with a letter; honest ones have about 1,000."""
_NEVER_ENCRYPTED = frozenset({"", "m.room.redaction", "m.room.encrypted"})
"""Event types that must not appear inside an encrypted payload."""

FORWARDED = "m.forwarded_room_key"
KEY_KINDS = frozenset({"m.room_key", FORWARDED})
"""The letters that bring keys."""
MOST_CACHED = 2_000
"""Sessions in the cache, about 2 KiB each."""
NO_KEY = "unreadable.no_key"
BROKEN = "unreadable.undecryptable"
REPEATED = "unreadable.repeated"
UNKNOWN_DEVICE = "unreadable.unknown_device"
_WITHHELD = {
    "m.blacklisted": "unreadable.withheld.blocked",
    "m.unverified": "unreadable.withheld.unverified",
    "m.unauthorised": "unreadable.withheld.unauthorised",
}
"""Code of m.room_key.withheld -> key of the texts."""
OTHERWISE_WITHHELD = "unreadable.withheld.other"


class RoomKey(msgspec.Struct, frozen=True):
    """Row: an inbound session with the device that sent it."""

    pickle: str
    sender_key: str
    ed25519: str
    keep_until: int
    unproven: bool = False
    """Whether its device is the sender's has not been found out yet."""
    device_keys: wire.Json | None = None
    """What the letter brought to prove it (MSC4147), as long as it is not proven."""


class Withheld(msgspec.Struct, frozen=True):
    """Row, by `no/` and the key's name: a device's refusal to send a key."""

    code: str


class _Opened(msgspec.Struct, frozen=True):
    """A stored key, unpickled."""

    key: RoomKey
    session: vodozemac.InboundGroupSession


class Sealed(msgspec.Struct, frozen=True):
    """Envelope of an encrypted event: its ciphertext, and what names its key."""

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
    """The row with which we decrypt what one of our users sends in a new session."""
    inbound = vodozemac.InboundGroupSession(session.session_key)
    row = RoomKey(inbound.pickle(vault.pickle_key), own.curve25519, own.ed25519, now + KEPT)
    return vault.row(key_name(room_id, session.session_id, own.user), row, row.keep_until)


def is_encrypted(raw: wire.Json) -> bool:
    return raw.get("type") == "m.room.encrypted" and "state_key" not in raw


def sealed_of(raw: wire.Json) -> Sealed | None:
    """The envelope of an encrypted event, if it is one that we can read at all."""
    content = wire.mapping(raw, "content")
    if wire.text(content, "algorithm") != wire.MEGOLM:
        return None
    room_id, sender = wire.id_text(raw, "room_id"), wire.id_text(raw, "sender")
    session_id, ciphertext = wire.key_text(content, "session_id"), wire.text(content, "ciphertext")
    if not (room_id and sender and session_id and ciphertext):
        return None
    return Sealed(room_id, session_id, sender, ciphertext, key_name(room_id, session_id, sender))


class RoomKeys:
    """Inbound sessions: stored in the vault, the newest used ones cached."""

    def __init__(self, vault: Vault, owners: Owners) -> None:
        self._vault = vault
        self._owners = owners
        self._replays = replays = Replays(vault)
        self.save = replays.save
        self._cache: Recall[str, _Opened] = Recall(MOST_CACHED)
        vault.caches.append(self._cache)

    async def take(self, payload: Payload, now: int) -> tuple[str, list[SecretRow]] | None:
        """Check a key that came; its name and the rows to store, or None if it is no good.

        It may have come again because we asked (m.forwarded_room_key), which is believed only of
        the device that made the session.
        """
        content = payload.content
        room_id, session_id = wire.id_text(content, "room_id"), wire.key_text(content, "session_id")
        if wire.text(content, "algorithm") != wire.MEGOLM or not room_id or not session_id:
            return None
        session = _session_of(payload)
        if session is None or session.session_id != session_id:
            return None
        name = key_name(room_id, session_id, payload.sender)
        known = await self._vault.load(name, RoomKey)
        if known is not None:
            made = payload.sender_key, payload.ed25519
            if not known.unproven and (known.sender_key, known.ed25519) != made:
                return None  # one device makes a session, and we know which
            if self._unpickled(known).first_known_index <= session.first_known_index:
                return name, []  # the same key again, or one that reads less
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
        return name, [self._vault.row(name, row, row.keep_until)]

    def refusal(self, event: wire.Json, now: int) -> tuple[str, list[SecretRow]] | None:
        """The name of the key that will not come, by m.room_key.withheld, and the row to store."""
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
        """Decrypt an event, or say why not; with `ask`, servers may be asked whose the key is."""
        found = await self._plaintext(sealed, now)
        if isinstance(found, Undecryptable):
            return found
        opened, plain = found
        key = await self._proven(sealed, opened.key, now, ask=ask)
        if key is None:
            return Undecryptable(UNKNOWN_DEVICE, later=True)
        index, event_id = plain.message_index, wire.text(raw, "event_id")
        repeated = await self._replays.is_one(sealed.key_name, index, event_id, key.keep_until)
        if key is not opened.key:
            await self._store(sealed.key_name, opened, key)
        if repeated:
            return Undecryptable(REPEATED, later=False)
        return _opened(raw, sealed, bytes(plain.plaintext))

    async def _plaintext(
        self, sealed: Sealed, now: int
    ) -> tuple[_Opened, vodozemac.DecryptedMessage] | Undecryptable:
        """Decrypt with the cached session, else with the stored one."""
        cached = self._cache.get(sealed.key_name)
        if cached is not None and cached.key.keep_until >= now:
            plain = _decrypt(cached.session, sealed)
            if not isinstance(plain, Undecryptable):
                return cached, plain
        stored = await self._load(sealed.key_name)
        if stored is None:
            refused = await self._vault.load(f"no/{sealed.key_name}", Withheld)
            why = NO_KEY if refused is None else _WITHHELD.get(refused.code, OTHERWISE_WITHHELD)
            return Undecryptable(why, later=True)
        plain = _decrypt(stored.session, sealed)
        return plain if isinstance(plain, Undecryptable) else (stored, plain)

    async def _load(self, name: str) -> _Opened | None:
        with self._cache.fetching() as keep:
            key = await self._vault.load(name, RoomKey)
            if key is None:
                self._cache.forget(name)
                return None
            opened = _Opened(key, self._unpickled(key))
            keep(name, opened)
        return opened

    def _unpickled(self, key: RoomKey) -> vodozemac.InboundGroupSession:
        return vodozemac.InboundGroupSession.from_pickle(key.pickle, self._vault.pickle_key)

    async def _proven(self, sealed: Sealed, key: RoomKey, now: int, *, ask: bool) -> RoomKey | None:
        """The key, proven and its life extended by its use; None if it cannot be proven yet."""
        fresh = key.keep_until - now >= KEPT // 2
        if not key.unproven and fresh:
            return key
        if key.unproven and not await self._owners.is_owner(sealed.sender, key, now, ask=ask):
            return None
        keep_until = key.keep_until if fresh else now + KEPT
        return replace(key, unproven=False, device_keys=None, keep_until=keep_until)

    async def _store(self, name: str, opened: _Opened, key: RoomKey) -> None:
        """Store a key as it is after its use, with all replay notes: one commit for both."""
        if self._cache.get(name) is not opened:
            return  # another copy came meanwhile, and stays; it will be proven when it is used
        row = self._vault.row(name, key, key.keep_until)
        await self._replays.save([row], known_to=self._cache)
        if self._cache.get(name) is opened:
            self._cache.put(name, _Opened(key, opened.session))


class _Plain(msgspec.Struct):
    type: str
    room_id: str
    content: dict[str, object]


def _decrypt(
    session: vodozemac.InboundGroupSession, sealed: Sealed
) -> vodozemac.DecryptedMessage | Undecryptable:
    try:
        message = vodozemac.MegolmMessage.from_base64(sealed.ciphertext)
        if message.message_index() < session.first_known_index:
            # Written before the key was shared with us; an earlier one may still come.
            return Undecryptable(NO_KEY, later=True)
        return session.decrypt(message)
    except ValueError:
        return Undecryptable(BROKEN, later=False)


def _session_of(payload: Payload) -> vodozemac.InboundGroupSession | None:
    key = wire.text(payload.content, "session_key")
    try:
        if payload.kind == FORWARDED:
            if wire.text(payload.content, "sender_key") != payload.sender_key:
                return None  # hearsay
            return vodozemac.InboundGroupSession.import_session(vodozemac.ExportedSessionKey(key))
        return vodozemac.InboundGroupSession(vodozemac.SessionKey(key))
    except ValueError:
        return None


def _opened(raw: wire.Json, sealed: Sealed, plain: bytes) -> wire.Json | Undecryptable:
    try:
        payload = msgspec.json.decode(plain, type=_Plain)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Undecryptable(BROKEN, later=False)
    if payload.type in _NEVER_ENCRYPTED or payload.room_id != sealed.room_id:
        return Undecryptable(BROKEN, later=False)
    content = payload.content
    relation = wire.mapping(raw, "content").get("m.relates_to")
    if relation is not None:
        # The relation stands outside, in clear; what may stand inside is a copy.
        content = content | {"m.relates_to": relation}
    return raw | {"type": payload.type, "content": content}


# --- whose device sent a key ----------------------------------------------------------------------

_AGAIN_MS = 30_000
"""How often at most a user's devices are asked for because one is not among them, and a homeserver
that did not answer is asked for any."""


class Owners:
    """Check that a room key's device belongs to its sender; `asker` is one of ours.

    Otherwise a homeserver could write messages in anybody's name (specification,
    "m.olm.v1.curve25519-aes-sha2"). The device has to stand in the sender's device list, or to be
    proven by a signature of its owner's identity (MSC4147).
    """

    def __init__(self, peers: Peers, asker: UserId) -> None:
        self._peers = peers
        self._asker = asker
        self._asked: LRUCache[str, int] = LRUCache(10_000)
        self._away: LRUCache[str, int] = LRUCache(10_000)
        """Homeservers that did not answer -> when they were asked."""
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.crypto")

    async def is_owner(self, user: str, key: RoomKey, now: int, *, ask: bool = True) -> bool:
        """True if the device that sent a key is its sender's; with `ask`, servers may be asked."""
        known, server = self._peers.cache.get(user), user.partition(":")[2]
        if _is_owned(user, key, known):
            return True
        last = self._away.get(server) if known is None else self._asked.get(user)
        if not ask or (last is not None and 0 <= now - last < _AGAIN_MS):
            return False
        self._asked[user] = now
        try:
            known = (await self._peers.known(self._asker, [user], fresh=True)).get(user)
        except (Unavailable, Refused) as error:
            self._log.info("the devices of a user cannot be asked for", user=user, why=str(error))
            known = None
        else:
            if known is None:
                # Each of its users' messages would wait for it anew.
                self._away[server] = now
        if _is_owned(user, key, known):
            return True
        self._log.warning("a key from a device that its sender is not known to have", user=user)
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

_IN_A_ROW = 128
"""Messages of a session that share a row; most sessions carry a hundred."""
_AT_MOST = 200
"""Notes that wait to be stored, of all sessions together."""
_KEPT = 5_000


class Seen(msgspec.Struct):
    """Row: index of the message -> hash of the event's id."""

    events: dict[int, bytes] = {}
    until: int = 0
    """When it goes: with the key, whose use keeps both."""


class Replays:
    """Which event carried which message. Raises StoreError if the database does not answer."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._rows: LRUCache[str, Seen] = LRUCache(_KEPT)
        self._unsaved: dict[str, Seen] = {}
        self._waiting = 0

    async def is_one(self, key_name: str, index: int, event_id: str, keep_until: int) -> bool:
        """Replay check: True if another event carried this message before; else it is noted."""
        name = f"seen/{index // _IN_A_ROW}/{key_name}"
        seen = self._in_memory(name)
        if seen is None:
            stored = await self._vault.load(name, Seen)
            # Somebody else may have been faster; there must not be two.
            seen = self._in_memory(name) or stored or Seen({})
            self._rows[name] = seen
        digest = hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).digest()[:8]
        first = seen.events.setdefault(index, digest)
        if first is digest or seen.until < keep_until:
            seen.until = max(seen.until, keep_until)
            self._unsaved[name] = seen
            self._waiting += 1
            if self._waiting >= _AT_MOST:
                await self.save()
        return first != digest

    async def save(
        self, others: Sequence[SecretRow] = (), *, known_to: Recall[str, Any] | None = None
    ) -> None:
        """Store the notes that are not stored yet, together with other rows (`Vault.save`)."""
        unsaved, self._unsaved, self._waiting = self._unsaved, {}, 0
        rows = [self._vault.row(name, seen, seen.until) for name, seen in unsaved.items()]
        if not rows and not others:
            return
        try:
            await self._vault.save([*others, *rows], known_to=known_to)
        except BaseException:
            self._unsaved = unsaved | self._unsaved
            raise

    def _in_memory(self, name: str) -> Seen | None:
        return self._unsaved.get(name) or self._rows.get(name)
