"""Sign-in to the console by one-time links, and to the room page by Matrix OpenID.

The console: `matrix-webchat console-link` creates a link; opening it creates a session. Both
secrets are 256 random bits with an HMAC, so that forgeries are rejected without the database. The
database has only their SHA-256, so a copy of it gives no access: rows of `secrets` with an expiry,
changed by compare and swap. So a link works once among all processes, and needs no running bridge
to be created.

The room page (a Matrix widget), for the admins of one room: the Matrix client that shows the page
gives it an OpenID token, which proves the user's identity but does not let anyone act as them. Only
the bridge's homeserver is asked to verify it. The room in the page's URL is a claim of the client:
the user must be joined to that room and have power level 50 or the operator's permission `admin`.

A session of the room page is a signed token (user, room, expiry) that the page keeps in memory and
sends as a bearer token: browsers withhold cookies from pages in frames, and other sites cannot send
it. Permission is checked anew for each change, and cached for a minute for other calls. Only the
room page accepts the token.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Protocol

import msgspec
import structlog
from cachetools import LRUCache, TTLCache

from bridge.admin.views import ApiError, Bridge, room_of, rules_of
from bridge.config.model import Permission
from bridge.ids import RoomId, UserId, server_of
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.reader import ADMIN_LEVEL
from bridge.rooms.record import Membership, RoomRecord
from bridge.rooms.store import SecretRow, Stale, StoreError, StorePort

_LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.admin.console")


class NotLetIn(Exception):
    """Access to the page is denied; `status` is HTTP's, `key` selects the page's sentence."""

    def __init__(self, status: int, key: str) -> None:
        super().__init__(key)
        self.status = status
        self.key = key


_MAC = 64
"""Characters of the HMAC at the end of a signed text."""


def _signed(key: bytes, text: str) -> str:
    return text + hmac.digest(key, text.encode("utf-8", "replace"), "sha256").hex()


def _is_signed(key: bytes, signed: str) -> bool:
    expected = _signed(key, signed[:-_MAC])
    return hmac.compare_digest(expected.encode(), signed.encode("utf-8", "replace"))


# --- the console ----------------------------------------------------------------------------------

LINK_LIFE = 10 * 60_000
SESSION_LIFE = 12 * 3_600_000
"""Lifetimes of links and sessions in ms."""
_KEPT_SESSIONS = 1_000
"""Maximum number of cached sessions."""


class Pass(msgspec.Struct, frozen=True):
    """A link or a session, as stored."""

    who: str
    """Name for the audit trail, as given to `console-link`."""
    until: int
    """Expiry, ms since the epoch."""
    used: bool = False


class SignIn:
    """Links and sessions in the database. Methods raise StoreError if it does not answer."""

    def __init__(self, store: StorePort, clock: Clock, key: bytes) -> None:
        """`key` signs links and sessions."""
        self._store = store
        self._clock = clock
        self._key = key
        self._seen: LRUCache[str, Pass] = LRUCache(_KEPT_SESSIONS)
        """Cache of sessions, used only while the database is down: health is needed just then."""

    async def link(self, who: str) -> str:
        secret = _signed(self._key, secrets.token_urlsafe(32))
        link = Pass(who, self._clock.now() + LINK_LIFE)
        await self._store.save_secrets([_row(_name("link", secret), link)])
        return secret

    async def sign_in(self, secret: str) -> str:
        """Exchange a link for a session; return the session's secret."""
        name, now = _name("link", secret), self._clock.now()
        stored = await self._store.secret(name) if _is_signed(self._key, secret) else None
        link = None if stored is None else _read(stored)
        if link is None or link.until <= now:
            raise NotLetIn(401, "linkExpired")
        session = _signed(self._key, secrets.token_urlsafe(32))
        rows = (
            _row(name, msgspec.structs.replace(link, used=True), stored),
            _row(_name("session", session), Pass(link.who, now + SESSION_LIFE)),
        )
        used = NotLetIn(401, "linkUsed")
        if link.used:
            raise used
        try:
            await self._store.save_secrets(rows)
        except Stale:
            raise used from None
        return session

    async def who(self, session: str) -> str | None:
        """Return the session's owner; None if it is invalid or has expired."""
        if not _is_signed(self._key, session):
            return None
        name = _name("session", session)
        try:
            stored = await self._store.secret(name)
        except StoreError:
            if name not in self._seen:
                raise
            found: Pass | None = self._seen[name]
        else:
            found = None if stored is None else _read(stored)
        if found is None or found.until <= self._clock.now():
            self._seen.pop(name, None)
            return None
        self._seen[name] = found
        return found.who

    async def sign_out(self, session: str) -> None:
        if not _is_signed(self._key, session):
            return
        name = _name("session", session)
        self._seen.pop(name, None)
        await self._store.save_secrets([SecretRow(name, None)])


def _name(kind: str, secret: str) -> str:
    return f"console/{kind}/{sha256(secret.encode('utf-8', 'replace')).hexdigest()}"


def _row(name: str, value: Pass, was: bytes | None = None) -> SecretRow:
    return SecretRow(name, msgspec.json.encode(value), value.until, was)


def _read(stored: bytes) -> Pass:
    return msgspec.json.decode(stored, type=Pass)


# --- the room page --------------------------------------------------------------------------------

ROOM_SESSION_LIFE = 3_600_000
REMEMBERED = 60_000
"""ms for which a user's permission is cached."""
_KEPT_PERMISSIONS = 2_000
_LONGEST = 2_000
"""Maximum characters of a token."""


class Witness(Protocol):
    """Requests to the homeserver. They raise Unavailable and Refused."""

    async def openid_user(self, token: str) -> UserId:
        """Return the user of an OpenID token; Refused if it is invalid."""

    async def is_joined(self, room_id: RoomId, reader: UserId, who: UserId) -> bool: ...

    async def power_levels(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> dict[UserId, float]: ...


class RoomSession(msgspec.Struct, frozen=True):
    user: UserId
    room: RoomId
    """Room id on Matrix, as given by the client."""
    until: int


class RoomAdmins:
    """Signs users in to the room page and checks that they may configure their room."""

    def __init__(self, witness: Witness, bridge: Bridge, domain: str, key: bytes) -> None:
        """`domain`: the homeserver's server name; `key` signs sessions."""
        self._witness = witness
        self._bridge = bridge
        self._domain = domain
        self._key = key
        self._clock = bridge.around.clock
        self._known: TTLCache[tuple[UserId, RoomId], bool] = TTLCache(
            _KEPT_PERMISSIONS, REMEMBERED, timer=self._clock.now
        )

    async def sign_in(self, openid_token: str, room: RoomId) -> str:
        """Return a session token for the OpenID token's user; NotLetIn unless admin of the room."""
        if not openid_token or len(openid_token) > _LONGEST:
            raise NotLetIn(401, "notYours")
        try:
            user = await self._witness.openid_user(openid_token)
        except Refused as error:
            raise NotLetIn(401, "notYours") from error
        except Unavailable as error:
            _LOG.warning("room page user could not be verified", why=str(error))
            raise NotLetIn(502, "noOpenId") from error
        # A homeserver verifies only its own users; never trust it for another's.
        if server_of(user) != self._domain:
            raise NotLetIn(401, "notYours")
        session = RoomSession(user, room, self._clock.now() + ROOM_SESSION_LIFE)
        await self.room_of(session)
        return _signed(self._key, urlsafe_b64encode(msgspec.json.encode(session)).decode())

    async def serves(self, room: RoomId) -> bool:
        """Return whether the bridge knows the room: to be told only to verified users."""
        around = self._bridge.around
        return await around.store.room(around.upgrades.stored_id(room)) is not None

    def session(self, token: str) -> RoomSession:
        session = None
        if len(token) <= _LONGEST and _is_signed(self._key, token):
            with suppress(ValueError):  # signed by another version
                payload = urlsafe_b64decode(token[:-_MAC])
                session = msgspec.json.decode(payload, type=RoomSession)
        if session is None or session.until <= self._clock.now():
            raise NotLetIn(401, "signedOut")
        return session

    async def room_of(self, session: RoomSession, *, anew: bool = False) -> RoomRecord:
        """Return the session's room; NotLetIn unless it is served and its user is an admin of it.

        `anew`: bypass the cache of permissions.
        """
        try:
            row, record = await room_of(self._bridge, session.room)
        except ApiError as error:
            raise NotLetIn(404, "notHere") from error
        if not row.customer or record.membership is not Membership.JOINED:
            raise NotLetIn(404, "notHere")
        # Only the current room: members of a room that was upgraded may not be in the new one.
        if record.matrix_id != session.room:
            raise NotLetIn(404, "moved")
        who = session.user, session.room
        may = None if anew else self._known.get(who)
        if may is None:
            try:
                may = self._known[who] = await self._is_admin(record, session.user)
            except (Refused, Unavailable) as error:
                raise NotLetIn(502, "unknown") from error
        if not may:
            raise NotLetIn(403, "notAdmin")
        return record

    async def _is_admin(self, record: RoomRecord, user: UserId) -> bool:
        room_id, host = record.matrix_id, record.host
        if not await self._witness.is_joined(room_id, host, user):
            return False
        if rules_of(self._bridge, record).permission(user) is Permission.ADMIN:
            return True
        levels = await self._witness.power_levels(room_id, host, [user])
        return levels[user] >= ADMIN_LEVEL
