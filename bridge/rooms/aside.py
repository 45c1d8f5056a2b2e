"""The lane aside: slow effects that must not delay anybody's messages.

An effect that a crash interrupted is carried out again: queries to the call centre (knowledge base,
history) change nothing there, and the others (transcript, login, redacting a password, declining an
invitation) are idempotent. Each has a time limit, after which the answer says that it failed.

Two of the effects are reports for room admins: changes of settings (`audit`), and statistics of
chats (`stats`). Both are made from stored rows (of the audit, of the chats), up to a maximum. The
chart contains no text, so that it fits every language; its caption is the legend.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby, islice
from math import ceil
from typing import TypeVar

import msgspec
import structlog

from bridge.conversation.history import MOST_RECALLED
from bridge.conversation.model import AskRobot, FetchHistory, Recalled
from bridge.ids import EventId, UserId
from bridge.media.formats import stacked_bars
from bridge.rooms import cards, effects, own_account, transcripts
from bridge.rooms.ports import Blob, CallFailure, NoticeText, Refused, Status, Unavailable
from bridge.rooms.reader import other_room
from bridge.rooms.record import (
    Chat,
    Ending,
    LookedUp,
    RoomRecord,
    load_chat,
    permalink,
    via,
)
from bridge.rooms.room import Room
from bridge.rooms.rules import STARTS, Rules, bridge_state_of, shown_value
from bridge.rooms.store import Change, EffectRow, Outcome
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.transcripts import Telling, rated
from bridge.rooms.visit import Came, Done, can_be_sent_again
from bridge.texts import LOCALES, clock_time, duration
from bridge.webchat.codes import FailureReason

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.aside")
_effects: msgspec.json.Decoder[effects.Aside] = msgspec.json.Decoder(effects.Aside)
"""Decoder of this lane's effects only: mypy finds one that `run` does not carry out."""

SOON = (2.0, 5.0)
"""Back-off in seconds between attempts while the customer waits for the answer."""
RESTART = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Back-off long enough for a restart of the homeserver."""
AT_LENGTH = (*RESTART, 120.0, 300.0)
"""Back-off of effects that should succeed even if that takes minutes."""
COMPANY = 3.0
"""Seconds before an agent's user steps in: the bot may be invited into the same room after it."""
TRANSCRIPTS = 2
"""Maximum number of transcripts at once: a long one takes 50 MiB of memory while it is read."""


EffectT = TypeVar("EffectT")


class AsideLane:
    begin = None
    """No effect of this lane can start synchronously: all may take long."""

    async def run(self, room: Room, row: EffectRow) -> Done:
        """Carry out one effect, and return the answer as an input."""
        around, effect = room.around, _effects.decode(row.effect)
        match effect:
            case AskRobot():
                return Done(came=(Came(await cards.ask_robot(around, effect)),))
            case FetchHistory():
                return await self._fetch_history(room, effect)
            case effects.TellHistory():
                return await self._patiently(room, transcripts.list_chats, effect, SOON)
            case effects.TellChanges():
                return await self._patiently(room, list_changes, effect, SOON)
            case effects.TellFigures():
                return await self._tell_figures(room, row, effect)
            case effects.TryLogin():
                tried = await own_account.try_login(around, room.account, effect)
                outcome = Outcome.DELIVERED if tried.reason is None else Outcome.REFUSED
                return Done(came=(Came(tried),), outcome=outcome)
            case effects.SendTranscript():
                failed = LookedUp(effect.event_id, "transcript.unavailable")
                send = transcripts.send_transcript
                async with around.places("to send a transcript", TRANSCRIPTS):
                    return await self._patiently(room, send, effect, SOON, failed)
            case effects.ShowBridge():
                return await self._patiently(
                    room, lambda around, record, _: around.show_bridge(record), effect, SOON
                )
            case effects.ShowPanel(event_id=asked):
                reply = None if asked is None else LookedUp(asked, "panel.unavailable")
                return await self._patiently(room, show_panel, effect, SOON, reply)
            case effects.TellStatus():
                return await self._patiently(room, tell_status, effect, RESTART)
            case effects.Conceal():
                failed = LookedUp(effect.event_id, "login.delete")
                return await self._patiently(room, own_account.conceal, effect, AT_LENGTH, failed)
            case effects.Decline(inviter=by, why=why):
                _log.info("invitation refused", room=room.room_id, inviter=by, why=why)
                return await self._decline(room, effect)

    async def _decline(self, room: Room, order: effects.Decline) -> Done:
        joins = order.enterprise is not None

        async def attempt(around: Surroundings, _: RoomRecord, order: effects.Decline) -> None:
            # Only for the attempt: while it waits for the next, other servers' need the places.
            async with room.answering(order.inviter, order.user, joins=joins):
                await decline(around, room.record, order)

        if joins:
            await room.pause(COMPANY)
        return await self._patiently(room, attempt, order, AT_LENGTH)

    async def _fetch_history(self, room: Room, ask: FetchHistory) -> Done:
        """Fetch the call centre's history; empty if the server keeps none."""
        try:
            entries = await room.around.link.history(room.account, MOST_RECALLED)
        except CallFailure as failure:
            # NO_TURN only waits for the rate limit: the machine asks again later.
            in_line = failure.reason is FailureReason.NO_TURN
            log = _log.debug if in_line else _log.warning
            log("history not available", room=room.room_id, why=failure.reason)
            nothing = Came(Recalled(ask.session_id, ask.since, failed=True))
            return Done(came=(nothing,), outcome=Outcome.FAILED)
        recalled = Recalled(ask.session_id, ask.since, entries or (), kept=entries is not None)
        return Done(came=(Came(recalled),))

    async def _tell_figures(self, room: Room, row: EffectRow, order: effects.TellFigures) -> Done:
        """Answer with the figures as text, after posting them as a picture if possible."""
        answer, picture = await figures(room.around, room.record, order)
        done = Done()
        if picture is not None:
            done = await self._patiently(room, send_figures, (row, picture), SOON)
        done.came = (Came(answer),)
        return done

    async def _patiently(
        self,
        room: Room,
        attempt: Callable[
            [Surroundings, RoomRecord, EffectT], Awaitable[LookedUp | EventId | Done | None]
        ],
        order: EffectT,
        waits: tuple[float, ...],
        failed: LookedUp | None = None,
    ) -> Done:
        """Retry transient errors with back-off; at the end, or if refused, answer with `failed`.

        An attempt returns an answer for the room, or what it sent there, if either.
        """
        outcome = Outcome.FAILED
        for wait in (*waits, None):
            try:
                came = await attempt(room.around, room.record, order)
            except Unavailable as error:
                _log.info("effect failed, retrying", room=room.room_id, why=str(error), wait=wait)
                if wait is not None:
                    await room.pause(max(wait, min(error.retry_after or 0, 60.0)))
            except Refused as error:
                _log.warning("effect refused", room=room.room_id, why=error.code)
                outcome = Outcome.REFUSED
                break
            else:
                if isinstance(came, LookedUp):
                    return Done(came=(Came(came),))
                return came if isinstance(came, Done) else Done(came)
        return Done(came=() if failed is None else (Came(failed),), outcome=outcome)


async def tell_status(
    around: Surroundings, record: RoomRecord, order: effects.TellStatus
) -> EventId:
    """Send a message's delivery status, as mautrix bridges do; it quotes no message."""
    network, _ = bridge_state_of(around.rules, record)
    status = Status(order.event_id, network, order.why, can_be_sent_again(order.why))
    txn_id = f"status.{order.event_id}.{order.why}"
    return await around.matrix.tell_status(record.matrix_id, record.host, status, txn_id)


async def show_panel(
    around: Surroundings, record: RoomRecord, order: effects.ShowPanel
) -> LookedUp | None:
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


async def decline(around: Surroundings, record: RoomRecord, order: effects.Decline) -> None:
    """Decline an invitation; a refusal means that it was withdrawn meanwhile."""
    where, ghost = record.matrix_id, order.user
    if order.enterprise is not None and not record.served:
        text = await _where_to_write(around, record, order.inviter, order.enterprise)
        # Rings: what was typed here has reached nobody.
        notice = NoticeText(text, ping=True, mentions=(order.inviter,))
        with suppress(Refused):
            await around.matrix.step_in(where, ghost, notice, f"declined.{order.event_id}")
    try:
        await around.matrix.leave(where, ghost, order.reason)
    except Refused as error:
        _log.debug("nothing to decline", room=record.room_id, why=error.code)


async def _where_to_write(
    around: Surroundings, here: RoomRecord, by: UserId, enterprise: str
) -> str:
    """Return the sentence that names the inviter's chat with the call centre, else its bot."""
    rules = around.rules.rules_of(enterprise) or around.rules
    link, language = f"https://matrix.to/#/{rules.bot}", rules.language
    if (chat := await other_room(around, rules, here, by)) is not None:
        link, language = permalink(chat.matrix_id, None, via(chat)), rules.language_for(chat)
    return rules.texts.render(language, "agents.write_there", {"link": link})


# --- the audit ------------------------------------------------------------------------------------

MOST_CHANGES, USUAL_CHANGES = 50, 10
"""Maximum and default number of lines of `audit`; settings changed together share a line."""
MOST_ROWS, LONGEST_LIST = 300, 7_500
"""Maximum rows of the audit read for it (one per setting), and maximum characters of the list."""


async def list_changes(
    around: Surroundings, record: RoomRecord, order: effects.TellChanges
) -> LookedUp:
    """Return the answer to `audit`. Raises StoreError."""
    limit = min(order.limit or USUAL_CHANGES, MOST_CHANGES)
    changes = await around.store.changes(record.room_id, limit=MOST_ROWS)
    if not changes:
        return LookedUp(order.event_id, "audit.none")
    if len(changes) == MOST_ROWS:  # the last line may be incomplete
        changes = [change for change in changes if change.at != changes[-1].at] or changes
    rules = around.rules
    language, zone = rules.language_for(record), rules.timezone
    by_whom = groupby(
        changes, lambda row: (row.at, row.actor, rules.word(language, f"way.{row.way}"))
    )
    lines = []
    for (at, who, way), found in islice(by_whom, limit):
        changed = LOCALES[language].semicolon.join(_line(rules, language, row) for row in found)
        lines.append(f"{clock_time(language, at, zone)} · {who} · {way} · {changed}")
    while sum(map(len, lines)) > LONGEST_LIST and len(lines) > 1:
        lines.pop()
    return LookedUp(order.event_id, "audit.list", {"list": "\n".join(lines)})


def _line(rules: Rules, language: str, change: Change) -> str:
    key, before, after = change.key, change.before, change.after
    if key == "start" and not before and after not in {"", *STARTS}:
        return f"{key} {shown_value(after)}"  # the command, not the setting
    if not (before or after):
        return key

    def shown(value: str) -> str:
        if key == "queue" and value.isdecimal() and not rules.choices:  # else maybe of another one
            return rules.queue_name(int(value))
        return rules.word(language, f"value.{value}") if key in {"start", "paused"} else value

    both = (shown_value(shown(value)) or "–" for value in (before, after))
    return rules.line(language, key, " → ".join(both))


# --- statistics -----------------------------------------------------------------------------------

MOST_CHATS = 2_000
"""Maximum number of chats in the statistics, newest first."""


class Day(msgspec.Struct):
    """Chats requested on one day."""

    on: date
    answered: int = 0
    in_vain: int = 0


class Figures(msgspec.Struct):
    """Number of chats by result. `waits`: seconds until an agent came, in ascending order.

    Each of `asked` is in one of the others; those with an agent count as `answered`.
    """

    days: list[Day]
    asked: int = 0
    answered: int = 0
    left: int = 0
    nobody: int = 0
    waiting: int = 0
    waits: list[float] = []
    ratings: Counter[int] = msgspec.field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        """Return the quantile of the waits for a share from 0 to 1 (nearest rank)."""
        return self.waits[max(0, ceil(share * len(self.waits)) - 1)]


def figures_of(chats: Iterable[Chat], now: int, days: int, zone: tzinfo) -> Figures:
    """Count the chats requested on the last `days` days, today included, in that time zone."""
    today = _date(now, zone)
    found = Figures([Day(today - timedelta(days=ago)) for ago in reversed(range(days))])
    by_date = {day.on: day for day in found.days}
    for chat in chats:
        day = by_date.get(_date(chat.asked, zone))
        if day is None:
            continue
        found.asked += 1
        if chat.started is not None and chat.ending is not Ending.CANCELLED:
            found.answered += 1
            day.answered += 1
            if not chat.robot:
                found.waits.append(max(0, chat.started - chat.asked) / 1000)
        elif chat.ended is not None:
            day.in_vain += 1
            found.left += chat.ending is Ending.CANCELLED
            found.nobody += chat.ending is not Ending.CANCELLED
        else:
            found.waiting += 1
        if chat.rating is not None:
            found.ratings[chat.rating] += 1
    found.waits.sort()
    return found


def _date(ms: int, zone: tzinfo) -> date:
    return datetime.fromtimestamp(ms / 1000, zone).date()


async def figures(
    around: Surroundings, record: RoomRecord, order: effects.TellFigures
) -> tuple[LookedUp, Blob | None]:
    """Return the answer to `stats`, and its chart as PNG. Raises StoreError."""
    zone, telling, days = around.rules.timezone or UTC, Telling(around.rules, record), order.days
    rows = await around.store.chats(record.room_id, MOST_CHATS)
    chats = [load_chat(row.chat) for row in rows]
    found = figures_of(chats, around.clock.now(), days, zone)
    if not found.asked:
        return LookedUp(order.event_id, "stats.none", {"count": days}), None
    lines = _lines(telling, found)
    if len(chats) == MOST_CHATS and _date(chats[-1].asked, zone) >= found.days[0].on:
        lines.append(telling.say("stats.more", {"count": MOST_CHATS}))
    answer = LookedUp(order.event_id, "stats.figures", {"count": days, "list": "\n".join(lines)})
    bars = [(f"{day.on:%m-%d}", day.answered, day.in_vain) for day in found.days]
    drawn = asyncio.get_running_loop().run_in_executor(around.conversions, stacked_bars, bars)
    return answer, Blob.of(await drawn, "image/png", "stats.png")


def _lines(telling: Telling, found: Figures) -> list[str]:
    counts = ("asked", "answered", "left", "nobody", "waiting")
    lines = [telling.say("stats.chats", {count: getattr(found, count) for count in counts})]
    if found.waits:
        half, most = (duration(telling.language, found.quantile(part)) for part in (0.5, 0.9))
        lines.append(telling.say("stats.waits", {"half": half, "most": most}))
    if found.ratings:
        each = sorted(found.ratings.items(), reverse=True)
        ratings = tuple(f"{rated(value, telling.label(value))} × {n}" for value, n in each)
        lines.append(telling.say("stats.ratings", {"ratings": ratings}))
    return lines


async def send_figures(
    around: Surroundings, record: RoomRecord, order: tuple[EffectRow, Blob]
) -> EventId:
    """Post the chart with a legend; raises Unavailable or Refused."""
    row, picture = order
    caption = Telling(around.rules, record).say("stats.picture")
    txn_id = f"stats.{row.created:x}.{row.seq}"
    send = around.matrix.send_file
    return await send(record.matrix_id, record.host, picture, txn_id, caption)
