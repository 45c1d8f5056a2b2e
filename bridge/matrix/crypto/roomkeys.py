"""Megolm, reading: the keys of people's messages, and opening what was sent with them.

A key is kept by room, session and sender: only the one who sent us a key may have written with it,
so nobody can pass another's words off as theirs. Nothing is forgotten on use, since an inbox row
may be handled again after a crash; an unused key goes after `KEPT`.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import vodozemac

from bridge.matrix.crypto.encoding import Json, mapping, text
from bridge.matrix.crypto.olm import Payload
from bridge.matrix.crypto.own import MEGOLM
from bridge.matrix.crypto.vault import Vault
from bridge.rooms.ports import Undecryptable
from bridge.rooms.store import SecretRow

KEPT = 90 * 86_400_000
"""ms that a key outlives its last use."""
_SEEN = 100_000
"""Messages remembered, to notice one that is sent a second time as another."""

NO_KEY = "unreadable.no_key"
BROKEN = "unreadable.undecryptable"
_WITHHELD = {
    "m.blacklisted": "unreadable.withheld.blocked",
    "m.unverified": "unreadable.withheld.unverified",
    "m.unauthorised": "unreadable.withheld.unauthorised",
}
"""Code of m.room_key.withheld -> key of the texts."""
OTHERWISE_WITHHELD = "unreadable.withheld.other"


class RoomKey(msgspec.Struct, frozen=True):
    """The row of an inbound session."""

    pickle: str
    sender_key: str
    ed25519: str
    keep_until: int


class Withheld(msgspec.Struct, frozen=True):
    """The row of a key that a device told us it will not send."""

    code: str


class Sealed(msgspec.Struct, frozen=True):
    """What names the key of an encrypted event."""

    room_id: str
    session_id: str
    sender: str
    ciphertext: str

    @property
    def key_name(self) -> str:
        return key_name(self.room_id, self.session_id, self.sender)


def key_name(room_id: str, session_id: str, sender: str) -> str:
    return f"in/{room_id}/{session_id}/{sender}"


def withheld_name(name: str) -> str:
    """The row that says why there is no row of this name."""
    return f"no/{name}"


def is_encrypted(raw: Json) -> bool:
    return raw.get("type") == "m.room.encrypted" and "state_key" not in raw


def sealed_of(raw: Json) -> Sealed | None:
    """The envelope of an encrypted event, if it is one that we can read at all."""
    content = mapping(raw, "content")
    found = Sealed(
        text(raw, "room_id"),
        text(content, "session_id"),
        text(raw, "sender"),
        text(content, "ciphertext"),
    )
    complete = found.room_id and found.session_id and found.sender and found.ciphertext
    return found if complete and text(content, "algorithm") == MEGOLM else None


class RoomKeys:
    """The inbound sessions, on the vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._seen: OrderedDict[tuple[str, int], str] = OrderedDict()

    async def take(self, payload: Payload, now: int) -> tuple[str, list[SecretRow]] | None:
        """The rows of a key that came (m.room_key), and its name; None if it is no good."""
        content = payload.content
        room_id, session_id = text(content, "room_id"), text(content, "session_id")
        if text(content, "algorithm") != MEGOLM or not room_id or not session_id:
            return None
        try:
            key = vodozemac.SessionKey(text(content, "session_key"))
            session = vodozemac.InboundGroupSession(key)
        except ValueError:
            return None
        if session.session_id != session_id:
            return None
        name = key_name(room_id, session_id, payload.sender)
        known = await self._vault.load(name, RoomKey)
        if known is not None:
            older = vodozemac.InboundGroupSession.from_pickle(known.pickle, self._vault.pickle_key)
            if older.first_known_index <= session.first_known_index:
                return name, []  # the same key again, or one that reads less
        row = RoomKey(
            session.pickle(self._vault.pickle_key), payload.sender_key, payload.ed25519, now + KEPT
        )
        return name, [self._vault.row(name, row, row.keep_until)]

    def refusal(self, event: Json, now: int) -> tuple[str, SecretRow] | None:
        """The row of an m.room_key.withheld event, and the name of the key that will not come."""
        content = mapping(event, "content")
        room_id, session_id = text(content, "room_id"), text(content, "session_id")
        sender = text(event, "sender")
        if not (room_id and session_id and sender):
            return None
        name = key_name(room_id, session_id, sender)
        row = Withheld(text(content, "code")[:100])
        return name, self._vault.row(withheld_name(name), row, now + KEPT)

    async def open(self, raw: Json, sealed: Sealed, now: int) -> Json | Undecryptable:
        """The event as it was before it was encrypted, or why it cannot be had.

        Raises:
            StoreError: the database does not answer.
        """
        key = await self._vault.load(sealed.key_name, RoomKey)
        if key is None:
            refused = await self._vault.load(withheld_name(sealed.key_name), Withheld)
            if refused is None:
                return Undecryptable(NO_KEY, later=True)
            return Undecryptable(_WITHHELD.get(refused.code, OTHERWISE_WITHHELD), later=True)
        session = vodozemac.InboundGroupSession.from_pickle(key.pickle, self._vault.pickle_key)
        try:
            message = vodozemac.MegolmMessage.from_base64(sealed.ciphertext)
            if message.message_index() < session.first_known_index:
                # Written before the key was shared with us; an earlier one may still come.
                return Undecryptable(NO_KEY, later=True)
            plain = session.decrypt(message)
        except ValueError:
            return Undecryptable(BROKEN, later=False)
        if key.keep_until - now < KEPT // 2:
            later = msgspec.structs.replace(key, keep_until=now + KEPT)
            await self._vault.save([self._vault.row(sealed.key_name, later, later.keep_until)])
        if self._is_replay(sealed, plain.message_index, text(raw, "event_id")):
            return Undecryptable(BROKEN, later=False)
        return _opened(raw, sealed, bytes(plain.plaintext))

    def _is_replay(self, sealed: Sealed, index: int, event_id: str) -> bool:
        """True if another event carried this very message before."""
        where = (sealed.key_name, index)
        first = self._seen.setdefault(where, event_id)
        self._seen.move_to_end(where)
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        return first != event_id


def _opened(raw: Json, sealed: Sealed, plain: bytes) -> Json | Undecryptable:
    try:
        payload = msgspec.json.decode(plain, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Undecryptable(BROKEN, later=False)
    content, kind = payload.get("content"), text(payload, "type")
    if text(payload, "room_id") != sealed.room_id or not kind or not isinstance(content, dict):
        return Undecryptable(BROKEN, later=False)
    relation = mapping(raw, "content").get("m.relates_to")
    if relation is not None:
        # The relation stands outside, in clear; what may stand inside is a copy.
        content = content | {"m.relates_to": relation}
    return raw | {"type": kind, "content": content}
