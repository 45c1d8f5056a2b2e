"""Sign-in to the room page (a Matrix widget) by Matrix OpenID, for the admins of one room.

The Matrix client that shows the page gives it an OpenID token, which proves the user's identity but
does not let anyone act as them. Only the bridge's homeserver is asked to verify it. The room in the
page's URL is a claim of the client: the user must be joined to that room and have power level 50 or
the operator's permission `admin`.

A session is a signed token (user, room, expiry) that the page keeps in memory and sends as a bearer
token: browsers withhold cookies from pages in frames, and other sites cannot send it. Permission is
checked anew for each change, and cached for a minute for other calls. Only the room page accepts
the token.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog
from cachetools import TTLCache

from bridge.admin.ports import ApiError, Bridge
from bridge.admin.signin import NotLetIn
from bridge.admin.views import room_of, rules_of
from bridge.config.model import Permission
from bridge.ids import RoomId, UserId
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.reader import ADMIN_LEVEL
from bridge.rooms.record import Membership, RoomRecord

SESSION_LIFE = 3_600_000
REMEMBERED = 60_000
"""ms for which a user's permission is cached."""
_KEPT = 2_000
_LONGEST = 2_000
"""Maximum characters of a token."""
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.admin.console")


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
            _KEPT, REMEMBERED, timer=self._clock.now
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
        if user.partition(":")[2] != self._domain:
            raise NotLetIn(401, "notYours")
        session = RoomSession(user, room, self._clock.now() + SESSION_LIFE)
        await self.room_of(session)
        return self._signed(msgspec.json.encode(session))

    def session(self, token: str) -> RoomSession:
        body, _, _ = token.partition(".")
        try:
            said = urlsafe_b64decode(body.encode())
            ours = len(token) <= _LONGEST and hmac.compare_digest(self._signed(said), token)
            session = msgspec.json.decode(said, type=RoomSession) if ours else None
        except (ValueError, TypeError):  # not base64, not ASCII
            session = None
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

    def _signed(self, body: bytes) -> str:
        mac = hmac.digest(self._key, body, "sha256").hex()
        return f"{urlsafe_b64encode(body).decode()}.{mac}"
