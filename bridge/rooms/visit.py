"""One step in a room, in the making: the record so far and the effects so far.

The pure modules of this ring (`reception`, `commands`, `references`, …) each change a `Visit` a
little, as those of `conversation` do with a `Turn`. Whoever made it commits what it came to, all or
nothing.

A visit also notes what became of the messages that people sent. Two things follow from that: how
far the room shows our users as having read (`receipts`), and which messages can be sent again
(`references`). A receipt means "read up to here". The conversation delivers in the order in which
things were typed, so the newest delivered message is never ahead of one that still waits. What was
reported to its sender as undelivered may lie before it: that person has been told in words.
"""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.conversation.machine import step
from bridge.conversation.model import Args, Delivered, Input, Reported, Say
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, InputSeq
from bridge.rooms.effects import Effect
from bridge.rooms.record import RoomRecord, Undelivered, note_chat
from bridge.rooms.rules import Rules
from bridge.webchat.codes import RESULTS

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
        again: messages that are to be sent again, once the reader has looked them up.
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
        noted = note_chat(
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
        if not record.corrections:
            return
        wordings = {newer for _, newer in record.corrections} - set(record.whole)
        pieces = all_pieces(record.conversation) if wordings else ()
        found = {one.event_id for one in pieces if one.amends is None and one.event_id in wordings}
        if found:
            self.set(whole=(*record.whole, *sorted(found))[-KEPT_CORRECTIONS:])

    def _take(self, effect: Effect) -> None:
        """Note what an effect says of a message; one that is no more than a fact ends here."""
        if isinstance(effect, Delivered):
            known = undelivered(self.record, effect.event_id)
            if known is not None:
                self.say("again.delivered", reply_to=effect.event_id)
        else:
            self.ask(effect)
        self.record = note_outcome(self.record, effect)


KEPT_UNDELIVERED = 20
"""Messages of a room that can be sent again; the oldest go first."""

_HOPELESS = frozenset(
    {"undelivered.blank", "undelivered.too_big", "undelivered.extension", "undelivered.media_gone"}
    | {"undelivered.internal", "undelivered.media_changed", "undelivered.too_big_limit"}
    | {f"result.{code}" for code, row in RESULTS.items() if not row.resend}
)
"""What comes to the same the next time, with WebChat or with us."""
_SEALED = (
    *("unreadable.no_key", "unreadable.unknown_device"),
    *("unreadable.undecryptable", "unreadable.withheld."),
)
"""What may have become readable since."""


def can_be_sent_again(key: str) -> bool:
    """True if a message that was answered with this sentence may do better the next time."""
    if key.startswith(_SEALED):
        return True
    return key.startswith(("undelivered.", "result.")) and key not in _HOPELESS


def note_outcome(record: RoomRecord, effect: Effect) -> RoomRecord:
    """The record, once it is known what this effect says of a message."""
    match effect:
        case Delivered(event_id=event_id):
            return _delivered(record, event_id)
        case Reported(event_id=event_id, key=key) if can_be_sent_again(key):
            return _reported(record, event_id)
        case Reported(event_id=event_id):
            return forgotten(record, event_id)
        case _:
            return record


def undelivered(record: RoomRecord, event_id: EventId | None) -> Undelivered | None:
    """What is remembered of a message that did not arrive; None if it did, or nothing is."""
    return next((one for one in record.undelivered if one.event_id == event_id), None)


def sent_again(record: RoomRecord, event_id: EventId) -> RoomRecord:
    """That message is under way once more."""
    return _with_undelivered(
        record,
        tuple(
            msgspec.structs.replace(one, again=True) if one.event_id == event_id else one
            for one in record.undelivered
        ),
    )


def forgotten(record: RoomRecord, event_id: EventId) -> RoomRecord:
    """That message cannot be sent again any more."""
    if undelivered(record, event_id) is None:
        return record
    return _with_undelivered(
        record, tuple(one for one in record.undelivered if one.event_id != event_id)
    )


def _delivered(record: RoomRecord, event_id: EventId) -> RoomRecord:
    known = undelivered(record, event_id)
    record = forgotten(record, event_id)
    if known is not None and known.passed:
        return record
    record = msgspec.structs.replace(record, read_up_to=event_id)
    if all(one.passed for one in record.undelivered):
        return record
    return _with_undelivered(
        record, tuple(msgspec.structs.replace(one, passed=True) for one in record.undelivered)
    )


def _reported(record: RoomRecord, event_id: EventId) -> RoomRecord:
    known = undelivered(record, event_id)
    passed = known is not None and known.passed
    others = [one for one in record.undelivered if one.event_id != event_id]
    kept = (*others, Undelivered(event_id, passed))[-KEPT_UNDELIVERED:]
    return _with_undelivered(record, kept)


def _with_undelivered(record: RoomRecord, kept: tuple[Undelivered, ...]) -> RoomRecord:
    return msgspec.structs.replace(record, undelivered=kept)
