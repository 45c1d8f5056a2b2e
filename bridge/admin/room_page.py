"""Sign-in to the room page, a widget: by Matrix OpenID, for one room, for its admins.

The page is shown inside of a Matrix client, by which it gets an OpenID token: a word of the user's
homeserver that says who they are, and lets nobody act as them. Our homeserver, and no other, is
asked whose it is. What a client writes into the page's address (the room) is a claim, which is held
against the room itself: who is not a member of it, or neither has a power level of 50 nor the
operator's permission `admin`, sees and sets nothing.

A session is a signed word of ours that the page keeps in its memory and sends as a bearer token:
browsers keep cookies from pages in frames, and nobody else's page can send it. It says who and
where; what they may is looked up with each change, and else remembered for a minute. It is good for
the room page alone.
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
"""ms for which it is remembered what somebody may."""
_KEPT = 2_000
_LONGEST = 2_000
"""Characters of a token."""
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.admin.console")


class Witness(Protocol):
    """What is asked of the homeserver. Raises Unavailable and Refused."""

    async def openid_user(self, token: str) -> UserId:
        """Whose OpenID token it is; Refused: nobody's."""

    async def is_joined(self, room_id: RoomId, reader: UserId, who: UserId) -> bool: ...

    async def power_levels(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> dict[UserId, float]: ...


class RoomSession(msgspec.Struct, frozen=True):
    user: UserId
    room: RoomId
    """On Matrix, as the client calls it."""
    until: int


class RoomAdmins:
    """Who is signed in to the room page, and which room they may configure."""

    def __init__(self, witness: Witness, bridge: Bridge, domain: str, key: bytes) -> None:
        """`domain`: of our homeserver; `key` signs sessions."""
        self._witness = witness
        self._bridge = bridge
        self._domain = domain
        self._key = key
        self._clock = bridge.around.clock
        self._known: TTLCache[tuple[UserId, RoomId], bool] = TTLCache(
            _KEPT, REMEMBERED, timer=self._clock.now
        )

    async def sign_in(self, openid_token: str, room: RoomId) -> str:
        """A session for whoever has this OpenID token, if they are an admin of the room."""
        if not openid_token or len(openid_token) > _LONGEST:
            raise NotLetIn(401, "notYours")
        try:
            user = await self._witness.openid_user(openid_token)
        except Refused as error:
            raise NotLetIn(401, "notYours") from error
        except Unavailable as error:
            _LOG.warning("nobody vouches for who opens the room page", why=str(error))
            raise NotLetIn(502, "noOpenId") from error
        # It answers for its own users alone; a homeserver that does not is not ours.
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
        except (ValueError, TypeError):  # no base64, no ASCII
            session = None
        if session is None or session.until <= self._clock.now():
            raise NotLetIn(401, "signedOut")
        return session

    async def room_of(self, session: RoomSession, *, anew: bool = False) -> RoomRecord:
        """The room that this session is for, if we serve it and its user may configure it now.

        `anew`: what is remembered does not count.
        """
        try:
            row, record = await room_of(self._bridge, session.room)
        except ApiError as error:
            raise NotLetIn(404, "notHere") from error
        if not row.customer or record.membership is not Membership.JOINED:
            raise NotLetIn(404, "notHere")
        # Only where it is now: who stayed in a room that was replaced may not be in the new one.
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
