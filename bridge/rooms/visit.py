"""One input in a room, being handled: the record so far and the effects so far."""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.conversation.effects import Args, Delivered, Reported, Say
from bridge.conversation.inputs import Input
from bridge.conversation.machine import step
from bridge.ids import EventId, InputSeq
from bridge.rooms.effects import Effect
from bridge.rooms.record import RoomRecord
from bridge.rooms.rules import Rules


class Visit:
    """The mutable side of `reception.receive`.

    Attributes:
        record: the room as it stands.
        effects: what has been asked for, in order.
        buried: inputs that our own code failed at, and why.
        rules: the operator's decisions.
        now: ms since the epoch.
    """

    def __init__(self, record: RoomRecord, rules: Rules, now: int) -> None:
        self.record = record
        self.effects: list[Effect] = []
        self.buried: list[tuple[InputSeq, str]] = []
        self.rules = rules
        self.now = now

    def set(self, **changes: Any) -> None:
        """Replace fields of the record."""
        self.record = msgspec.structs.replace(self.record, **changes)

    def ask(self, effect: Effect) -> None:
        self.effects.append(effect)

    def say(self, key: str, args: Args | None = None, *, reply_to: EventId | None = None) -> None:
        """Say a sentence in the room."""
        self.ask(Say(key, args or {}, reply_to=reply_to))

    def report(self, event_id: EventId, key: str, args: Args | None = None) -> None:
        """Tell the customer that this event goes nowhere."""
        self.ask(Reported(event_id, key, args or {}))

    def word(self, key: str, args: Args) -> str:
        """A sentence for agents, in the room's language."""
        language = self.rules.language_for(self.record.settings)
        return self.rules.texts.render(language, key, args)

    def step(self, happened: Input) -> None:
        """Let something happen to the conversation."""
        policy = self.rules.policy_for(self.record)
        conversation, effects = step(self.record.conversation, happened, self.now, policy)
        self.set(conversation=conversation)
        self.effects.extend(effect for effect in effects if not isinstance(effect, Delivered))
