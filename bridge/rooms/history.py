"""The command `history`: the room's chats, one line each, with a link to where each began.

What is read is bounded, and rendered in the room's language when it is asked for.
"""

from __future__ import annotations

from bridge.conversation.events import Args
from bridge.ids import EventId
from bridge.rooms import ratings
from bridge.rooms.chats import Chat, Ending, load_chat
from bridge.rooms.effects import TellHistory
from bridge.rooms.inputs import LookedUp
from bridge.rooms.permalinks import permalink, via
from bridge.rooms.record import RoomRecord
from bridge.rooms.rules import Rules
from bridge.rooms.surroundings import Surroundings
from bridge.texts.durations import clock_time, duration
from bridge.texts.languages import listed

USUAL = 5
MOST = 50
"""Chats in one answer."""


async def look_up(around: Surroundings, record: RoomRecord, order: TellHistory) -> LookedUp:
    """The answer to the command.

    Raises:
        StoreError: the database did not answer.
    """
    limit = min(order.limit or USUAL, MOST)
    rows = await around.store.chats(record.room_id, limit)
    telling = Telling(around.rules, record)
    lines = []
    for row in rows:
        chat = load_chat(row.chat)
        first = await began_with(around, record, chat)
        lines.append(telling.line(chat, first))
    if not lines:
        return LookedUp(order.event_id, "history.none")
    args: Args = {"list": "\n".join(lines), "prefix": around.rules.prefix}
    return LookedUp(order.event_id, "history.list", args)


async def began_with(around: Surroundings, record: RoomRecord, chat: Chat) -> EventId | None:
    """The event where a chat begins: the customer's, else the queue card of this number."""
    if chat.first is not None:
        return chat.first
    return await around.store.anchor(record.room_id, f"card:{chat.number}")


class Telling:
    """Chats in words, for one room. Pure."""

    def __init__(self, rules: Rules, record: RoomRecord) -> None:
        self._rules = rules
        self._record = record
        self.language = rules.language_for(record.settings)

    def say(self, key: str, args: Args | None = None) -> str:
        """A sentence in the room's language."""
        return self._rules.texts.render(self.language, key, args or {})

    def when(self, moment: int) -> str:
        """A moment, ms since the epoch."""
        return clock_time(self.language, moment, self._rules.timezone)

    def line(self, chat: Chat, first: EventId | None) -> str:
        """One chat as `history` lists it; with a link if it is known where it began."""
        args: Args = {
            "number": chat.number,
            "date": self.when(chat.asked),
            "queue": self._rules.queue_name(chat.queue_id),
            "outcome": self.outcome(chat),
        }
        parts = [self.say("history.chat", args)]
        if chat.rating is not None:
            parts.append(self.say("history.rated", {"rating": self.rating(chat.rating)}))
        line = " · ".join(parts)
        if first is None:
            return line
        return f"{line}\n{permalink(self._record.room_id, first, via(self._record))}"

    def outcome(self, chat: Chat) -> str:
        """What became of a chat: who answered and for how long, or that nobody did."""
        if chat.started is None or chat.ending is Ending.CANCELLED:
            if chat.ended is None:
                return self.say("history.waiting")
            left = chat.ending is Ending.CANCELLED
            return self.say("history.cancelled" if left else "history.nobody")
        if chat.ended is None:
            return self.say("history.running", {"names": self.names(chat)})
        took = duration(self.language, (chat.ended - chat.started) / 1000)
        return self.say("history.answered", {"names": self.names(chat), "duration": took})

    def names(self, chat: Chat) -> str:
        """The agents of a chat; where none is named, what answered."""
        named = listed(self.language, [agent.name or agent.id for agent in chat.agents])
        return named or self.say("history.robot" if chat.robot else "history.unnamed")

    def rating(self, value: int) -> str:
        """A rating with its label, where the label is known."""
        label = self.label(value)
        return f"{value} ({label})" if label else str(value)

    def label(self, value: int) -> str:
        """What a rating is called here; empty if that is not known."""
        told = self._record.conversation.ratings
        label = ratings.name_of(self._rules, self.language, told, value)
        return "" if label == str(value) else label
