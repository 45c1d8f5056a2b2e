"""Reports for room admins: changes of settings (`audit`), and statistics of chats (`stats`).

Both are made from stored rows (of the audit, of the chats), up to a maximum. The chart contains no
text, so that it fits every language; its caption is the legend.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import groupby, islice
from math import ceil

import msgspec

from bridge.ids import EventId
from bridge.media.pictures import stacked_bars
from bridge.rooms.ports import Blob
from bridge.rooms.record import Chat, Ending, LookedUp, RoomRecord, load_chat
from bridge.rooms.rules import shown_value
from bridge.rooms.store import Change, EffectRow
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.transcripts import Telling, rated
from bridge.rooms.visit import TellChanges, TellFigures
from bridge.texts.languages import clock_time, duration

MOST_CHANGES, USUAL_CHANGES = 50, 10
"""Maximum and default number of lines of `audit`; settings changed together share a line."""
MOST_ROWS, LONGEST_LIST = 300, 7_500
"""Maximum rows of the audit read for it (one per setting), and maximum characters of the list."""
MOST_CHATS = 2_000
"""Maximum number of chats in the statistics, newest first."""


# --- the audit ------------------------------------------------------------------------------------


async def list_changes(around: Surroundings, record: RoomRecord, order: TellChanges) -> LookedUp:
    """Return the answer to `audit`. Raises StoreError."""
    limit = min(order.limit or USUAL_CHANGES, MOST_CHANGES)
    changes = await around.store.changes(record.room_id, limit=MOST_ROWS)
    if not changes:
        return LookedUp(order.event_id, "audit.none")
    if len(changes) == MOST_ROWS:  # the last line may be incomplete
        changes = [one for one in changes if one.at != changes[-1].at] or changes
    rules = around.rules
    language, zone = rules.language_for(record), rules.timezone
    # Settings changed together share a line.
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


# --- statistics -----------------------------------------------------------------------------------


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
    around: Surroundings, record: RoomRecord, order: TellFigures
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
    told = LookedUp(order.event_id, "stats.figures", {"count": days, "list": "\n".join(lines)})
    bars = [(f"{day.on:%m-%d}", day.answered, day.in_vain) for day in found.days]
    drawn = asyncio.get_running_loop().run_in_executor(around.conversions, stacked_bars, bars)
    return told, Blob.of(await drawn, "image/png", "stats.png")


def _lines(telling: Telling, found: Figures) -> list[str]:
    counts = ("asked", "answered", "left", "nobody", "waiting")
    lines = [telling.say("stats.chats", {one: getattr(found, one) for one in counts})]
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
    """Post the chart with a legend; raises Unavailable or Refused."""
    caption = Telling(around.rules, record).say("stats.picture")
    txn_id = f"stats.{row.created:x}.{row.seq}"
    send = around.matrix.send_file
    return await send(record.matrix_id, record.host, picture, txn_id, caption)
