"""Reports for room admins: who changed what (`audit`), and figures of the room's chats (`stats`).

Both are read from what is stored anyway, as much of it as one report may have: rows of the audit,
and of the chats. The picture is drawn without words, so that it is true in every language; what it
shows is said behind it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby, islice
from math import ceil

import msgspec

from bridge.conversation.model import Args
from bridge.ids import EventId
from bridge.media.pictures import stacked_bars
from bridge.rooms.ports import Blob
from bridge.rooms.record import Chat, Ending, LookedUp, RoomRecord, load_chat
from bridge.rooms.rules import shown_value
from bridge.rooms.store import Change, EffectRow
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.transcripts import Telling, rated
from bridge.rooms.visit import TellChanges, TellFigures
from bridge.texts.durations import clock_time, duration

MOST_CHANGES, USUAL_CHANGES = 50, 10
"""Changes that are listed: what was changed at once, in one line."""
MOST_ROWS, LONGEST_LIST = 300, 7_500
"""Rows of the audit that are read for it, one for each setting, and characters that it may have."""
MOST_CHATS = 2_000
"""Chats that are looked at for them, the newest."""


# --- the audit ------------------------------------------------------------------------------------


async def list_changes(around: Surroundings, record: RoomRecord, order: TellChanges) -> LookedUp:
    """Answer `audit`. Raises StoreError if the database did not answer."""
    limit = min(order.limit or USUAL_CHANGES, MOST_CHANGES)
    changes = await around.store.changes(record.room_id, limit=MOST_ROWS)
    if not changes:
        return LookedUp(order.event_id, "audit.none")
    if len(changes) == MOST_ROWS:  # there may be more of what was changed with the last
        changes = [one for one in changes if one.at != changes[-1].at] or changes
    rules = around.rules
    language, zone = rules.language_for(record), rules.timezone
    # What was changed at once is one line.
    by_whom = groupby(changes, lambda one: (one.at, one.actor, rules.way(record, one.way)))
    lines = [
        f"{clock_time(language, at, zone)} · {who} ({way}) · {'; '.join(map(_line, found))}"
        for (at, who, way), found in islice(by_whom, limit)
    ]
    while sum(map(len, lines)) > LONGEST_LIST and len(lines) > 1:
        lines.pop()
    return LookedUp(order.event_id, "audit.list", {"list": "\n".join(lines)})


def _line(change: Change) -> str:
    if not (change.before or change.after):
        return change.key
    before, after = (shown_value(one) or "–" for one in (change.before, change.after))
    return f"{change.key}: {before} → {after}"


# --- figures --------------------------------------------------------------------------------------


class Day(msgspec.Struct):
    """The chats that were asked for on one day."""

    on: date
    answered: int = 0
    in_vain: int = 0


class Figures(msgspec.Struct):
    """Chats by how they went. Waits are those until an agent came, in seconds, the shortest first.

    What still waits, or is with an agent, is among `asked` and `answered` as well.
    """

    days: list[Day]
    asked: int = 0
    answered: int = 0
    left: int = 0
    nobody: int = 0
    waits: list[float] = []
    ratings: Counter[int] = msgspec.field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        """The wait that so large a share of the waits did not exceed (nearest rank)."""
        return self.waits[max(0, ceil(share * len(self.waits)) - 1)]


def figures_of(chats: Iterable[Chat], now: int, days: int, zone: tzinfo) -> Figures:
    """Figures of the chats that were asked for today and on the days before, in that zone."""
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
        if chat.rating is not None:
            found.ratings[chat.rating] += 1
    found.waits.sort()
    return found


def _date(ms: int, zone: tzinfo) -> date:
    return datetime.fromtimestamp(ms / 1000, zone).date()


async def figures(
    around: Surroundings, record: RoomRecord, order: TellFigures
) -> tuple[LookedUp, Blob | None]:
    """Answer `stats`: what is said, and the picture. Raises StoreError."""
    zone, telling, days = around.rules.timezone or UTC, Telling(around.rules, record), order.days
    rows = await around.store.chats(record.room_id, MOST_CHATS)
    chats = [load_chat(row.chat) for row in rows]
    found = figures_of(chats, around.clock.now(), days, zone)
    if not found.asked:
        return LookedUp(order.event_id, "stats.none", {"count": days}), None
    lines = _lines(telling, found)
    if len(chats) == MOST_CHATS and _date(chats[-1].asked, zone) >= found.days[0].on:
        lines.append(telling.say("stats.more", {"count": MOST_CHATS}))
    told = LookedUp(order.event_id, "stats.figures", {"count": days, "list": "\n".join(lines)})
    bars = [(f"{day.on:%m-%d}", day.answered, day.in_vain) for day in found.days]
    drawn = asyncio.get_running_loop().run_in_executor(around.conversions, stacked_bars, bars)
    return told, Blob.of(await drawn, "image/png", "stats.png")


def _lines(telling: Telling, found: Figures) -> list[str]:
    chats = Args(asked=found.asked, answered=found.answered, left=found.left, nobody=found.nobody)
    lines = [telling.say("stats.chats", chats)]
    if found.waits:
        half, most = (duration(telling.language, found.quantile(one)) for one in (0.5, 0.9))
        lines.append(telling.say("stats.waits", {"half": half, "most": most}))
    if found.ratings:
        each = sorted(found.ratings.items(), reverse=True)
        said = ", ".join(f"{rated(value, telling.label(value))} × {n}" for value, n in each)
        lines.append(telling.say("stats.ratings", {"ratings": said}))
    return lines


async def send_figures(
    around: Surroundings, record: RoomRecord, row: EffectRow, picture: Blob
) -> EventId:
    """Put the picture into the room, with a legend; raises Unavailable or Refused."""
    caption = Telling(around.rules, record).say("stats.picture")
    txn_id = f"stats.{row.created:x}.{row.seq}"
    send = around.matrix.send_file
    return await send(record.matrix_id, record.host, picture, txn_id, caption)
