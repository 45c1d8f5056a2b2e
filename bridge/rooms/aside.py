"""The lane aside: slow effects that must not delay anybody's messages.

An effect that a crash interrupted is carried out again: queries to the call centre (knowledge base,
history) change nothing there, and the others (transcript, login, redacting a password, declining an
invitation) are idempotent. Each has a time limit, after which the answer says that it failed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from msgspec.structs import replace

from bridge.conversation.history import MOST_RECALLED
from bridge.conversation.model import AskRobot, FailureReason, FetchHistory, Recalled
from bridge.ids import EventId
from bridge.rooms import cards, reports, transcripts
from bridge.rooms.ports import Account, CallFailure, Refused, Status, Unavailable
from bridge.rooms.record import LoginTried, LookedUp, RoomRecord
from bridge.rooms.room import Room
from bridge.rooms.rules import bridge_state_of
from bridge.rooms.store import EffectRow, Outcome
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import (
    Came,
    Conceal,
    Decline,
    Done,
    SendTranscript,
    ShowBridge,
    ShowPanel,
    TellChanges,
    TellFigures,
    TellHistory,
    TellStatus,
    TryLogin,
    can_be_sent_again,
    load_effect,
)
from bridge.webchat.codes import ResultCode

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.aside")

SOON = (2.0, 5.0)
"""Back-off in seconds between attempts while the customer waits for the answer."""
RESTART = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Back-off long enough for a restart of the homeserver."""
AT_LENGTH = (*RESTART, 120.0, 300.0)
"""Back-off of effects that should succeed even if that takes minutes."""


class AsideLane:
    def __init__(self, around: Surroundings) -> None:
        self._around = around

    begin = None
    """No effect of this lane can start synchronously: all may take long."""

    async def run(self, room: Room, row: EffectRow) -> Done:
        """Carry out one effect, and return the answer as an input."""
        around, effect = self._around, load_effect(row.effect)
        match effect:
            case AskRobot():
                return Done(came=(Came(await cards.ask_robot(around, effect)),))
            case FetchHistory():
                return await self._recall(room, effect)
            case TellHistory():
                listed = await transcripts.list_chats(around, room.record, effect)
                return Done(came=(Came(listed),))
            case TellChanges():
                told = await reports.list_changes(around, room.record, effect)
                return Done(came=(Came(told),))
            case TellFigures():
                return await self._tell_figures(room, row, effect)
            case TryLogin():
                tried = await try_login(around, room.account, effect)
                outcome = Outcome.DELIVERED if tried.reason is None else Outcome.REFUSED
                return Done(came=(Came(tried),), outcome=outcome)
            case SendTranscript():
                send = partial(transcripts.send_transcript, around, room.record, effect)
                failed = LookedUp(effect.event_id, "transcript.unavailable")
                return await _patiently(room, send, SOON, failed)
            case ShowBridge():
                say = lambda: cards.show_bridge(around, room.record)  # noqa: E731 - reads it anew
                return await _patiently(room, say, SOON, None)
            case ShowPanel():
                show = partial(show_panel, around, room.record, effect)
                asked = effect.event_id
                said = None if asked is None else LookedUp(asked, "panel.unavailable")
                return await _patiently(room, show, SOON, said)
            case TellStatus():
                tell = partial(tell_status, around, room.record, effect)
                return await _patiently(room, tell, RESTART, None)
            case Conceal():
                hide = partial(conceal, around, room.record, effect.event_id)
                failed = LookedUp(effect.event_id, "login.delete")
                return await _patiently(room, hide, AT_LENGTH, failed)
            case Decline():
                _log.info(
                    "invitation refused", room=room.room_id, inviter=effect.inviter, why=effect.why
                )
                return await _patiently(room, partial(self._decline, room, effect), AT_LENGTH, None)
            case _:
                raise TypeError(f"{type(effect).__name__} is not an effect of this lane")

    async def _recall(self, room: Room, ask: FetchHistory) -> Done:
        """Fetch the call centre's history; empty if the server keeps none."""
        try:
            entries = await self._around.link.history(room.account, MOST_RECALLED)
        except CallFailure as failure:
            # NO_TURN only waits for the rate limit: the machine asks again later.
            in_line = failure.reason is FailureReason.NO_TURN
            log = _log.debug if in_line else _log.warning
            log("history not available", room=room.room_id, why=failure.reason)
            nothing = Came(Recalled(ask.session_id, ask.since, failed=True))
            return Done(came=(nothing,), outcome=Outcome.FAILED)
        recalled = Recalled(ask.session_id, ask.since, entries or (), kept=entries is not None)
        return Done(came=(Came(recalled),))

    async def _tell_figures(self, room: Room, row: EffectRow, order: TellFigures) -> Done:
        """Answer with the figures as text, after posting them as a picture if possible."""
        told, picture = await reports.figures(self._around, room.record, order)
        done = Done()
        if picture is not None:
            send = partial(reports.send_figures, self._around, room.record, row, picture)
            done = await _patiently(room, send, SOON, None)
        done.came = (Came(told),)
        return done

    async def _decline(self, room: Room, order: Decline) -> None:
        """Decline an invitation; a refusal means that it was withdrawn meanwhile."""
        try:
            await self._around.matrix.leave(room.record.matrix_id, order.user, order.reason)
        except Refused as error:
            _log.debug("nothing to decline", room=room.room_id, why=error.code)


async def _patiently(
    room: Room,
    attempt: Callable[[], Awaitable[LookedUp | EventId | None]],
    waits: tuple[float, ...],
    failed: LookedUp | None,
) -> Done:
    """Retry transient errors with back-off; at the end, or if refused, answer with `failed`.

    An attempt returns an answer for the room, or the event that it sent there, if either.
    """
    outcome = Outcome.FAILED
    for wait in (*waits, None):
        try:
            came = await attempt()
        except Unavailable as error:
            _log.info("effect failed, retrying", room=room.room_id, why=str(error), wait=wait)
            if wait is not None:
                await room.pause(max(wait, min(error.retry_after or 0, 60.0)))
        except Refused as error:
            _log.warning("effect refused", room=room.room_id, why=error.code)
            outcome = Outcome.REFUSED
            break
        else:
            return Done(came=(Came(came),)) if isinstance(came, LookedUp) else Done(came)
    return Done(came=() if failed is None else (Came(failed),), outcome=outcome)


async def try_login(around: Surroundings, account: Account, order: TryLogin) -> LoginTried:
    """Try a login at the call centre, which may wait for its turn, and return its result."""
    try:
        await around.link.log_in(replace(account, login=order.login))
    except CallFailure as failure:
        later = failure.reason in {FailureReason.UNREACHABLE, FailureReason.NO_TURN}
        if later and failure.code is None:
            return LoginTried(order.event_id, order.login, "login.unreachable")
        code = ResultCode.FAILURE if failure.code is None else failure.code
        return LoginTried(order.event_id, order.login, "login.refused", int(code))
    return LoginTried(order.event_id, order.login)


async def tell_status(around: Surroundings, record: RoomRecord, told: TellStatus) -> EventId:
    """Send a message's delivery status, as mautrix bridges do; it quotes no message."""
    network, _ = bridge_state_of(around.rules, record)
    status = Status(told.event_id, network, told.why, can_be_sent_again(told.why))
    txn_id = f"status.{told.event_id}.{told.why}"
    return await around.matrix.tell_status(record.matrix_id, record.host, status, txn_id)


async def show_panel(around: Surroundings, record: RoomRecord, order: ShowPanel) -> LookedUp | None:
    """Put the room page's widget into the room; return the reply to its command, if any."""
    rules, event_id, key = around.rules, order.event_id, "panel.shown"
    name = rules.texts.render(rules.language_for(record), "panel.name", {})
    former = None if order.former is None else (order.former, order.reader)
    where = record.matrix_id, record.host
    try:
        await around.matrix.show_panel(*where, rules.panel_url, name, former)
    except Refused as error:
        _log.info("room page not shown", room=record.room_id, why=error.code)
        key = "panel.forbidden"
    return None if event_id is None else LookedUp(event_id, key, {"url": rules.panel_url})


async def conceal(around: Surroundings, record: RoomRecord, event_id: EventId) -> LookedUp | None:
    """Erase a password from the journal and redact it; if refused, return the reply to say so."""
    await around.store.forget_body(record.room_id, event_id)
    try:
        await around.matrix.redact(record.matrix_id, record.host, event_id, f"conceal.{event_id}")
    except Refused:
        return LookedUp(event_id, "login.delete")
    return None
