"""The lane aside: what may take long, and behind which nobody's messages must wait.

Questions to the call centre (knowledge base, history) change nothing where they are asked, so an
effect that a crash interrupted is simply carried out again. So are the orders whose outcome is told
to the customer: a transcript, a login, a password taken out of the room, an invitation declined.
Every one of them has an end: its own time limits, then an answer that says that there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import structlog

from bridge.conversation.history import MOST_RECALLED
from bridge.conversation.model import AskRobot, FailureReason, FetchHistory, Recalled
from bridge.ids import EventId, RoomId
from bridge.rooms import cards, transcripts
from bridge.rooms.commits import Done
from bridge.rooms.effects import (
    Conceal,
    Decline,
    Filed,
    SendTranscript,
    TellHistory,
    TryLogin,
    load_effect,
)
from bridge.rooms.inbox import LoginTried, LookedUp, Stored
from bridge.rooms.ports import Account, CallFailure, Refused, Unavailable
from bridge.rooms.reader import Came
from bridge.rooms.record import RoomRecord
from bridge.rooms.room import Room
from bridge.rooms.store import EffectRow, Outcome
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.transcripts import Transcripts
from bridge.webchat.codes import ResultCode

SOON = (2.0, 5.0)
"""Seconds between the attempts at what the customer is waiting for."""
AT_LENGTH = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""The same for what must not be given up lightly."""

Found = LookedUp | LoginTried | EventId | None
"""What is to be said or done in the room, or the event that stands there, if either."""


class Filing:
    """A part of the lane aside."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._transcripts = Transcripts(around)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.filing")

    async def run(self, room: Room, order: Filed) -> Done:
        """Carry out one order to its end.

        Raises:
            StoreError: the database did not answer; nothing is lost.
            Stopping: it waits for the next start.
        """
        came, outcome = await self._carry_out(room, order)
        if came is None or isinstance(came, str):
            return Done(came, outcome=outcome)
        return Done(came=(Came(came),), outcome=outcome)

    async def _carry_out(self, room: Room, order: Filed) -> tuple[Found, Outcome]:
        around = self._around
        match order:
            case TellHistory():
                return await transcripts.list_chats(around, room.record, order), Outcome.DELIVERED
            case TryLogin():
                tried = await try_login(around, room.account, order)
                return tried, Outcome.DELIVERED if tried.reason is None else Outcome.REFUSED
            case SendTranscript():
                send = partial(self._transcripts.send, room.record, order)
                failed = LookedUp(order.event_id, "transcript.unavailable")
                return await self._patiently(room, send, SOON, failed)
            case Conceal():
                hide = partial(conceal, around, room.record, order.event_id)
                failed = LookedUp(order.event_id, "login.delete")
                return await self._patiently(room, hide, AT_LENGTH, failed)
            case Decline():
                self._log.info(
                    "invitation refused", room=room.room_id, inviter=order.inviter, why=order.why
                )
                stay_out = partial(self._decline, room, order)
                return await self._patiently(room, stay_out, AT_LENGTH, None)

    async def _decline(self, room: Room, order: Decline) -> None:
        """Stay out of a room; an invitation that was taken back meanwhile needs no answer.

        Raises:
            Unavailable: of the homeserver.
        """
        try:
            await self._around.matrix.leave(room.room_id, order.user, order.reason)
        except Refused as error:
            self._log.debug("nothing to decline", room=room.room_id, why=error.code)

    async def _patiently(
        self,
        room: Room,
        attempt: Callable[[], Awaitable[LookedUp | EventId | None]],
        waits: tuple[float, ...],
        failed: LookedUp | None,
    ) -> tuple[LookedUp | EventId | None, Outcome]:
        """Try again for as long as another try may help; then there is `failed` to be said."""
        for wait in (*waits, None):
            try:
                return await attempt(), Outcome.DELIVERED
            except Unavailable as error:
                self._log.info("not to be had yet", room=room.room_id, why=str(error), wait=wait)
                if wait is not None:
                    await room.pause(max(wait, min(error.retry_after or 0, 60.0)))
            except Refused as error:
                self._log.warning("not to be had", room=room.room_id, why=error.code)
                return failed, Outcome.REFUSED
        return failed, Outcome.FAILED


async def try_login(around: Surroundings, account: Account, order: TryLogin) -> LoginTried:
    """Ask the call centre; says what came of it. May wait for its turn at the server's door."""
    try:
        await around.link.log_in(msgspec.structs.replace(account, login=order.login))
    except CallFailure as failure:
        if failure.reason is FailureReason.UNREACHABLE and failure.code is None:
            return LoginTried(order.event_id, order.login, "login.unreachable")
        code = ResultCode.FAILURE if failure.code is None else failure.code
        return LoginTried(order.event_id, order.login, "login.refused", int(code))
    return LoginTried(order.event_id, order.login)


async def conceal(around: Surroundings, record: RoomRecord, event_id: EventId) -> LookedUp | None:
    """Take a password out of the journal and out of the room; what to say if the room keeps it.

    Raises:
        StoreError: the database did not answer.
        Unavailable: the homeserver did not.
    """
    room_id = RoomId(record.room_id)
    await around.store.forget_body(room_id, event_id)
    try:
        await around.matrix.redact(room_id, record.host, event_id, f"conceal.{event_id}")
    except Refused:
        return LookedUp(event_id, "login.delete")
    return None


class AsideLane:
    """Implements `room.LaneRunner`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._filing = Filing(around)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.aside")

    def begin(self, room: Room, row: EffectRow, done: Callable[[Done], None]) -> bool:
        """Every effect of this lane may take long."""
        del room, row, done
        return False

    async def run(self, room: Room, row: EffectRow) -> Done:
        """Ask, and bring the answer back as an input."""
        effect = load_effect(row.effect)
        if isinstance(effect, Filed):
            return await self._filing.run(room, effect)
        match effect:
            case AskRobot():
                came: Stored = await cards.ask_robot(self._around, effect)
                outcome = Outcome.DELIVERED
            case FetchHistory():
                came, outcome = await self._recall(room, effect)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of this lane")
        return Done(came=(Came(came),), outcome=outcome)

    async def _recall(self, room: Room, ask: FetchHistory) -> tuple[Recalled, Outcome]:
        """What was said lately; a server that does not say has nothing to say."""
        try:
            entries = await self._around.link.history(room.account, MOST_RECALLED)
        except CallFailure as failure:
            # Whoever only waits in line asks again later: that is no trouble.
            in_line = failure.reason is FailureReason.NO_TURN
            log = self._log.debug if in_line else self._log.warning
            log("no history", room=room.room_id, why=failure.reason)
            return Recalled(ask.session_id, ask.since, failed=True), Outcome.FAILED
        came = Recalled(ask.session_id, ask.since, entries or (), kept=entries is not None)
        return came, Outcome.DELIVERED
