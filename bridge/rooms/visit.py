"""One step in a room, in the making: the record so far and the effects so far.

The pure modules of this ring (`reception`, `orders`, `references`, …) each change a `Visit` a
little, as those of `conversation` do with a `Turn`. Whoever made it commits what it came to, all or
nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.conversation.events import Args, Delivered, Input, Reported, Say
from bridge.conversation.machine import step
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, InputSeq
from bridge.rooms import chats, fates
from bridge.rooms.effects import Effect
from bridge.rooms.record import RoomRecord
from bridge.rooms.rules import Rules

KEPT_CORRECTIONS = 50
"""Corrections of a room that are remembered: by the newest the next one of its message goes, and
with the message all of them are taken back."""

Mark = tuple[RoomRecord, int]
"""The record, and how many effects had been asked for."""


class Visit:
    """The mutable side of `reception.receive`.

    Attributes:
        record: the room as it stands.
        effects: what has been asked for, in order.
        buried: inputs that our own code failed at, and why.
        again: messages that are to be sent again, once the actor has looked them up.
        rules: the operator's decisions.
        now: ms since the epoch.
    """

    def __init__(self, record: RoomRecord, rules: Rules, now: int) -> None:
        self.record = record
        self.effects: list[Effect] = []
        self.buried: list[tuple[InputSeq, str]] = []
        self.again: list[EventId] = []
        self.rules = rules
        self.now = now

    def set(self, **changes: Any) -> None:
        """Replace fields of the record."""
        self.record = msgspec.structs.replace(self.record, **changes)

    def mark(self) -> Mark:
        """How far it has come, for `undo`."""
        return self.record, len(self.effects)

    def undo(self, mark: Mark) -> None:
        """What has happened since then has not: our own code failed in the midst of it."""
        self.record, kept = mark
        del self.effects[kept:]
        self.again.clear()

    def take_again(self) -> list[EventId]:
        """The messages that are to be sent again; they are the caller's now."""
        wanted, self.again = self.again, []
        return wanted

    def ask(self, effect: Effect) -> None:
        self.effects.append(effect)

    def say(self, key: str, args: Args | None = None, *, reply_to: EventId | None = None) -> None:
        """Say a sentence in the room."""
        self.ask(Say(key, args or {}, reply_to=reply_to))

    def report(self, event_id: EventId, key: str, args: Args | None = None) -> None:
        """Tell the customer that this event goes nowhere."""
        self._take(Reported(event_id, key, args or {}))

    def word(self, key: str, args: Args) -> str:
        """A sentence for agents, in their language if the operator names one, else the room's."""
        language = self.rules.agents_language or self.rules.language_for(self.record.settings)
        return self.rules.texts.render(language, key, args)

    def part(self, key: str, args: Args) -> str:
        """A sentence for the room that is to stand within another one."""
        language = self.rules.language_for(self.record.settings)
        return self.rules.texts.render(language, key, args)

    def step(self, happened: Input, event: EventId | None = None) -> None:
        """Let something happen to the conversation; `event` is what brought it, if any did."""
        before = self.record
        policy = self.rules.policy_for(self.record)
        conversation, effects = step(self.record.conversation, happened, self.now, policy)
        noted = chats.noted(
            before.chats,
            before.conversation,
            conversation,
            happened,
            self.now,
            queue=policy.queue_id,
            event=event,
        )
        self.set(conversation=conversation, chats=noted)
        self._note_whole()
        for effect in effects:
            self._take(effect)

    def _note_whole(self) -> None:
        """Remember the corrections that go as the message, since no agent has another wording."""
        record = self.record
        wordings = {newer for _, newer in record.corrections} - set(record.whole)
        pieces = all_pieces(record.conversation) if wordings else ()
        found = {one.event_id for one in pieces if one.amends is None and one.event_id in wordings}
        if found:
            self.set(whole=(*record.whole, *sorted(found))[-KEPT_CORRECTIONS:])

    def _take(self, effect: Effect) -> None:
        """Note what an effect says of a message; one that is no more than a fact ends here."""
        if isinstance(effect, Delivered):
            known = fates.undelivered(self.record, effect.event_id)
            if known is not None:
                self.say("again.delivered", reply_to=effect.event_id)
        else:
            self.ask(effect)
        self.record = fates.noted(self.record, effect)
