"""Visit: one step of a room in the making, with its effects, and the draft of the next commit.

The pure modules of this ring (`people`, `commands`, `references`, …) each change a `Visit` a
little, as those of `conversation` do with a `Turn`. Whoever made it commits what it came to, all or
nothing: it goes into the room's `Draft`, which is written as one, with those of other rooms
(`engine`). Whoever has to acknowledge something waits for what is `Written`.

Whichever way a setting is changed (a command, the state event, an order from outside), it comes
through `change`: the record has the new settings, the audit (`store.Change`) a row for each, both
written in one commit. The record is the truth. The state event `org.matrix_webchat.room` follows it
(`ShowSettings`) where our host may write it; where it may not, the event stays as somebody wrote
it, and counts again once somebody writes it anew. What we write ourselves is no change: the
homeserver's echo of it is dropped, as of all that our users send.

A visit also notes what became of people's messages: how far our users have read (`receipts`), and
which can be sent again (`references`). The conversation delivers in the order in which things were
typed, so the newest delivered message is never ahead of one that still waits. What was reported to
its sender as undelivered may lie before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from bridge.conversation import model
from bridge.conversation.machine import simply_taken, step, wants_link
from bridge.conversation.model import Value
from bridge.conversation.turn import all_pieces
from bridge.ids import CallId, EffectSeq, EventId, InputSeq, RoomId, UserId
from bridge.rooms.record import (
    Chat,
    Membership,
    OwnLogin,
    Raw,
    RoomRecord,
    RoomSettings,
    Stored,
    Undecryptable,
    Undelivered,
    dump_chat,
    dump_input,
    dump_record,
    load_input,
    load_record,
    note_chat,
    taken,
)
from bridge.rooms.rules import ENTERPRISE, Rules, set_together, written
from bridge.rooms.store import (
    Change,
    ChatRow,
    EffectRow,
    Entry,
    InputRow,
    Lane,
    Loaded,
    NewEffect,
    NewInput,
    Outcome,
    Settlement,
    StoredRoom,
    StoreError,
)
from bridge.webchat.codes import RESULTS
from bridge.webchat.words import name_line


class EnterRoom(Value, frozen=True):
    """Accept an invitation; the result comes back as `Entered` or `EntryFailed`."""

    host: UserId
    inviter: UserId
    encrypt: bool = False
    """Turn encryption on there, if the host may and the room is not public."""
    into: RoomId | None = None
    """The room that replaces the one that it is on Matrix; None: that one itself."""


class LeaveRoom(Value, frozen=True):
    """Leave, with every user named."""

    users: tuple[UserId, ...]
    reason: str = ""
    """As people are to read it."""
    inviter: UserId = UserId("")
    """Whose invitation is refused by it, if one is."""
    why: str = ""
    """The same reason, for the operator's log."""
    former: RoomId | None = None
    """The room that was replaced, which the agents' ghosts leave as well; None: that of today."""


class ShowAnswer(Value, frozen=True):
    """Show what the knowledge base says, as a card that replies to the question."""

    event_id: EventId
    question: str
    key: str
    args: model.Args = {}
    first: bool = False
    """Nobody gave a command: the message that was asked about still waits for a person."""


class RedactAll(Value, frozen=True):
    """Take these events out of the room as far as the homeserver lets us; none: all that it holds.

    A room that is erased is asked what that is when it is done, for it goes on until then.
    """

    theirs: tuple[EventId, ...] = ()
    ours: tuple[EventId, ...] = ()
    """Of our users, who may take back their own; in rows of an earlier version."""


class PutSigns(Value, frozen=True):
    """Put reactions to a message of ours, for customers to tap; we know the card by now."""

    event_id: EventId
    signs: tuple[str, ...]
    gone: tuple[str, ...] = ()
    """Those to be taken away again."""


class ShowSettings(Value, frozen=True):
    """Make the room's state event say what its settings are, where our host may write it."""


class ShowBridge(Value, frozen=True):
    """Have the room's state say who bridges it to what (MSC2346), where our host may write it."""


class AskQueue(Value, frozen=True):
    """Offer the queues as a poll, as a reply to the event (empty: nobody's)."""

    event_id: EventId


class TellChanges(Value, frozen=True):
    """List who changed what in the room, as a reply to the event (empty: nobody's)."""

    event_id: EventId
    limit: int


class TellFigures(Value, frozen=True):
    """Show the figures of the room's chats of the last days, in words and as a picture."""

    event_id: EventId
    days: int


class TellHistory(Value, frozen=True):
    """List the room's chats, as a reply to the event."""

    event_id: EventId
    limit: int = 0
    """How many; 0: as many as usual."""


class SendTranscript(Value, frozen=True):
    """Put the whole of a chat into the room, as a page."""

    event_id: EventId
    number: int | None = None
    """Which; None: the newest."""
    json: bool = False


class TryLogin(Value, frozen=True):
    """Ask the call centre whether it takes a customer's account; comes back as `LoginTried`."""

    event_id: EventId
    login: OwnLogin


class Conceal(Value, frozen=True):
    """Take a message that holds a password out of the room, and out of our journal."""

    event_id: EventId


class ShowPanel(Value, frozen=True):
    """Put the room page's widget into the room; the answer is said only to a command."""

    event_id: EventId | None = None
    """The command; None: we have just come in."""
    former: RoomId | None = None
    """Only if it stands in this room, which ours has replaced."""
    reader: UserId = UserId("")
    """Who of ours was there."""


class TellStatus(Value, frozen=True):
    """Have clients mark a message as delivered, or as failed: `why` is the key of the sentence."""

    event_id: EventId
    why: str = ""


class Decline(Value, frozen=True):
    """Refuse the invitation `event_id` of one of our users, and say why, as of `LeaveRoom`."""

    event_id: EventId
    user: UserId
    reason: str
    inviter: UserId = UserId("")
    why: str = ""


_Shown = PutSigns | ShowAnswer | ShowSettings | AskQueue
InRoom = model.ToMatrix | EnterRoom | LeaveRoom | RedactAll | _Shown
"""The lane to Matrix."""
_Told = TellHistory | TellChanges | TellFigures | SendTranscript
_Wished = ShowPanel | TryLogin | Conceal | Decline | TellStatus
Aside = model.ToAside | _Told | _Wished | ShowBridge
"""The lane aside."""
StoredEffect = model.ToWebChat | InRoom | Aside
"""All that something has to be done about."""
Effect = StoredEffect | model.Fact

_Answering = model.Reported | ShowAnswer | AskQueue | model.AskRobot | _Told | _Wished
"""Of which `event_id` is the cause."""
_WEBCHAT = Lane.WEBCHAT
_CARD = b'{"is":"CardPosted"'
"""The beginning of such an input, as it is stored."""
_SERVED = (Membership.JOINED, Membership.ENTERING)
_encoder = msgspec.json.Encoder()
_effect: msgspec.json.Decoder[StoredEffect] = msgspec.json.Decoder(StoredEffect)


def load_effect(body: bytes) -> StoredEffect:
    """An effect as it was stored; raises ValueError for anything else."""
    return _effect.decode(body)


def peek(row: EffectRow) -> StoredEffect | None:
    """The effect of a row whose turn it is not; None: it cannot be read, and its turn will tell."""
    try:
        return load_effect(row.effect)
    except ValueError:
        return None


def new_effect(effect: Effect) -> NewEffect | None:
    """An effect for the journal; None for a fact about which nothing has to be done."""
    body = _encoder.encode(effect)
    if isinstance(effect, model.CallWebChat):  # as nearly always
        cause, call_id = effect.event_id, effect.call_id
        return NewEffect(_WEBCHAT, body, cause, call_id, effect.repeat, attempted=True)
    if isinstance(effect, model.UploadMedia):
        return NewEffect(_WEBCHAT, body, effect.event_id, effect.call_id)
    if isinstance(effect, model.Fact):
        return None
    about: EventId | None = None
    if isinstance(effect, model.Say):
        about = effect.reply_to
    elif isinstance(effect, _Answering):
        about = effect.event_id or None
    return NewEffect(Lane.ASIDE if isinstance(effect, Aside) else Lane.MATRIX, body, about)


def log_fields(
    record: RoomRecord, row: EffectRow | None = None, what: object | None = None
) -> dict[str, object]:
    """Fields of a log line about a room, about a row of its journal, and what that was to do.

    `event_id` is what the row came of, for `trace`: an event, or WebChat's number of a push.
    """
    fields: dict[str, object] = {"room": record.room_id, "chat": record.conversation.number}
    if record.enterprise:
        fields["enterprise"] = record.enterprise
    if row is not None:
        fields |= {"event_id": row.cause, "seq": row.seq}
    return fields if what is None else fields | {"what": type(what).__name__}


# --- visit ----------------------------------------------------------------------------------------

KEPT_CORRECTIONS = 50
"""Corrections of a room that are remembered: by the newest the next one of its message goes, and
with the message all of them are taken back."""

Mark = tuple[RoomRecord, int, int, Rules]
"""The record, how many effects had been asked for, how many changes made, and by which rules."""


class Visit(msgspec.Struct, eq=False):
    """The mutable state of a step in the making; see the module."""

    record: RoomRecord
    rules: Rules
    now: int
    """ms since the epoch."""
    effects: list[Effect] = []
    buried: list[tuple[InputSeq, str]] = []
    """Inputs that our own code failed at, and why."""
    again: list[EventId] = []
    """Messages that are to be sent again, once the reader has looked them up."""
    admins: tuple[UserId, ...] = ()
    """Members who may configure the room, as far as was asked for this step."""
    changes: list[Change] = []
    """For the audit."""
    turn: ExitStack | None = None
    """Of a step that may wait: holds until its end the lock of who invites us."""
    alone: bool = False
    """Another room may wait for this step, as it has taken that: nothing more belongs into it."""
    under_way: bool = False
    """Something that the room's enterprise is to carry out is not done yet; False if it is the only
    one."""

    def set(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)

    def mark(self) -> Mark:
        """Mark of how far it has come, for `undo`."""
        return self.record, len(self.effects), len(self.changes), self.rules

    def undo(self, mark: Mark) -> None:
        """Roll back to the mark: our own code failed in the midst of something."""
        self.record, effects, changes, self.rules = mark
        del self.effects[effects:]
        del self.changes[changes:]
        self.again.clear()

    def ask(self, effect: Effect) -> None:
        self.effects.append(effect)

    def say(
        self, key: str, args: model.Args | None = None, *, reply_to: EventId | None = None
    ) -> None:
        self.ask(model.Say(key, args or {}, reply_to=reply_to))

    def report(self, event_id: EventId, key: str, args: model.Args | None = None) -> None:
        """Tell the customer that this event goes nowhere."""
        self.take(model.Reported(event_id, key, args or {}))

    def word(self, key: str, args: model.Args) -> str:
        """A sentence for agents, in their language if the operator names one, else the room's."""
        language = self.rules.agents_language(self.record.settings)
        return self.rules.texts.render(language, key, args)

    def name_of(self, who: UserId) -> str:
        """A person's name, as agents are to read it."""
        name = next((one.name for one in self.record.people if one.user == who), "")
        return name or name_line(who[1:].partition(":")[0]) or who

    def part(self, key: str, args: model.Args) -> str:
        """A sentence for the room that is to stand within another one."""
        language = self.rules.language_for(self.record)
        return self.rules.texts.render(language, key, args)

    def step(self, happened: model.Input, event: EventId | None = None) -> None:
        """Let something happen to the conversation; `event` is what brought it, if any did."""
        before, policy, now = self.record, self.rules.policy_for(self.record), self.now
        former, queue = before.conversation, policy.queue_id
        after, effects = step(former, happened, now, policy)
        chats = note_chat(before.chats, former, after, happened, now, queue=queue, event=event)
        self.record = replace(before, conversation=after, chats=chats)
        if before.corrections:
            self._note_whole()
        for effect in effects:
            self.take(effect)

    def _note_whole(self) -> None:
        """Remember the corrections that go as the message, since no agent has another wording."""
        record = self.record
        wordings = {newer for _, newer in record.corrections} - set(record.whole)
        pieces = all_pieces(record.conversation) if wordings else ()
        found = {one.event_id for one in pieces if one.amends is None and one.event_id in wordings}
        if found:
            self.set(whole=(*record.whole, *sorted(found))[-KEPT_CORRECTIONS:])

    def take(self, effect: Effect) -> None:
        """Note what an effect says of a message; `Delivered` says no more, and ends here."""
        if self.rules.status_events and isinstance(effect, model.Delivered | model.Reported):
            why = effect.key if isinstance(effect, model.Reported) else ""
            self.ask(TellStatus(effect.event_id, why))
        if isinstance(effect, model.Delivered):
            event_id = effect.event_id
            if not self.record.undelivered:  # as nearly always
                self.set(read_up_to=event_id)
                return
            if undelivered(self.record, event_id) is not None:
                self.set(arrived_again=self.record.arrived_again + 1)
            self.record = _delivered(self.record, event_id)
            self._tell_arrived(event_id)
            return
        self.effects.append(effect)
        if isinstance(effect, model.Reported):
            note = _reported if can_be_sent_again(effect.key) else forgotten
            self.record = note(self.record, effect.event_id)
            self._tell_arrived()

    def _tell_arrived(self, latest: EventId | None = None) -> None:
        """Say what has arrived of the messages that were sent again, once none is under way."""
        count = self.record.arrived_again
        if not count or any(one.again for one in self.record.undelivered):
            return
        self.set(arrived_again=0)
        if count == 1 and latest is not None:
            self.say("again.delivered", reply_to=latest)
        else:
            self.say("again.delivered_all", {"count": count})


KEPT_UNDELIVERED = 200
"""Messages of a room that can be sent again, as many as may wait; the oldest go first."""

_HOPELESS = frozenset(
    {"undelivered.blank", "undelivered.too_big", "undelivered.extension", "undelivered.media_gone"}
    | {"undelivered.internal", "undelivered.media_changed", "undelivered.too_big_limit"}
    | {f"result.{code}" for code, row in RESULTS.items() if not row.resend}
)
"""What comes to the same the next time, with WebChat or with us."""
_SEALED = ("unreadable.no_key", "unreadable.unknown_device", "unreadable.undecryptable")
"""What may have become readable since; a key that was withheld is not sent later."""


def can_be_sent_again(key: str) -> bool:
    """True if a message that was answered with this sentence may do better the next time."""
    if key.startswith(_SEALED):
        return True
    return key.startswith(("undelivered.", "result.", model.COUNTED)) and key not in _HOPELESS


def undelivered(record: RoomRecord, event_id: EventId | None) -> Undelivered | None:
    """The note of a message that did not arrive; None if it did, or nothing is known of it."""
    return next((one for one in record.undelivered if one.event_id == event_id), None)


def sent_again(record: RoomRecord, event_id: EventId) -> RoomRecord:
    """The record, once that message is under way once more."""
    known = record.undelivered
    kept = (replace(one, again=True) if one.event_id == event_id else one for one in known)
    return replace(record, undelivered=tuple(kept))


def forgotten(record: RoomRecord, event_id: EventId) -> RoomRecord:
    """The record, once that message cannot be sent again any more."""
    kept = tuple(one for one in record.undelivered if one.event_id != event_id)
    return record if kept == record.undelivered else replace(record, undelivered=kept)


def _delivered(record: RoomRecord, event_id: EventId) -> RoomRecord:
    known, record = undelivered(record, event_id), forgotten(record, event_id)
    if known is not None and known.passed:
        return record
    passed = tuple(replace(one, passed=True) for one in record.undelivered)
    return replace(record, read_up_to=event_id, undelivered=passed)


def _reported(record: RoomRecord, event_id: EventId) -> RoomRecord:
    known, record = undelivered(record, event_id), forgotten(record, event_id)
    note = Undelivered(event_id, passed=known is not None and known.passed)
    return replace(record, undelivered=(*record.undelivered, note)[-KEPT_UNDELIVERED:])


# --- administration: changes of the settings, who made them, and how they are undone --------------

MOST_UNDONE, LONGEST_UNDONE = 10, 4_000
"""Changes of a room that can be undone, one after the other, and characters of all: the record has
them, which is written with each message."""


class By(NamedTuple):
    """Who changes something, and which way."""

    actor: str = ""
    """A Matrix user, or a name such as `operator`."""
    way: str = "command"
    """`command`, `state`, `console`, `api`, `cli` or `widget`."""


def change(visit: Visit, settings: RoomSettings, by: By) -> None:
    """Change the room's settings, with a row of the audit for each one that is new."""
    record, before, after = visit.record, written(visit.record.settings), written(settings)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    for key in keys:
        note(visit, by, key, before.get(key, ""), after.get(key, ""))
    if keys:
        # Where no enterprise was chosen, back to whose it is.
        was = {ENTERPRISE: visit.rules.enterprise, **before}
        latest = tuple((key, was.get(key, "")) for key in keys)
        former = (*record.former, latest)[-MOST_UNDONE:]
        while sum(len(value) for values in former for _, value in values) > LONGEST_UNDONE:
            former = former[1:]
        visit.set(settings=settings, former=former)
        visit.ask(ShowSettings())
        if {"queue", "enterprise"} & set(keys):
            visit.ask(ShowBridge())


def note(visit: Visit, by: By, key: str, before: str = "", after: str = "") -> None:
    """Write a row of the audit about the room."""
    record = visit.record
    row = Change(visit.now, *by, key, before, after, record.room_id, record.enterprise)
    visit.changes.append(row)


def undo(visit: Visit, by: By) -> bool:
    """Take back the last change that was not yet taken back; False: there is none.

    Raises BadOrder: what it was is no longer possible, such as a queue that is gone.
    """
    record = visit.record
    if not record.former:
        return False
    change(visit, set_together(dict(record.former[-1]), record.settings, visit.rules), by)
    visit.set(former=record.former[:-1])
    return True


# --- draft ----------------------------------------------------------------------------------------


class Came(msgspec.Struct, frozen=True):
    """An input on its way to its room."""

    happened: Stored
    key: str | None = None
    opened: Raw | Undecryptable | None = None
    """An event's content as `MatrixPort.open` gives it; None: not opened yet."""

    def new_input(self, room_id: RoomId) -> NewInput:
        return NewInput(room_id, dump_input(self.happened), self.key)


Signal = model.Tick | model.LinkLost | model.LinkRestored | model.TurnAwaited | model.Resumed
"""Inputs that need not be stored: they would be noticed again after a restart."""


def remembered(signals: Sequence[Signal], happened: Signal) -> list[Signal]:
    """The signals that wait, with one more; of a kind that tells of a state the newest counts.

    The link was away for a moment only if it was so each time.
    """
    if happened in signals:
        return [*signals]
    if isinstance(happened, model.LinkRestored):
        known = [one for one in signals if isinstance(one, model.LinkRestored)]
        brief = happened.brief and all(one.brief for one in known)
        happened = replace(happened, brief=brief)
    if isinstance(happened, model.LinkRestored | model.TurnAwaited):
        signals = [one for one in signals if not isinstance(one, type(happened))]
    return [*signals, happened]


class Done(msgspec.Struct):
    """What came of an effect: see `Settlement`."""

    event_id: EventId | None = None
    anchor: str | None = None
    came: tuple[Came, ...] = ()
    """What has to be told to the room."""
    outcome: Outcome = Outcome.DELIVERED
    detail: str = ""


class Trouble(msgspec.Struct, eq=False):
    """Failures of a room. Not attributes of its own: beyond 30 its dict takes a kilobyte more."""

    commits: int = 0
    """Commits that failed so far."""
    unwritten: int = 0
    """Commits in a row that the database did not take."""
    singly: bool = False
    """One of the inputs leads to what cannot be stored: find out which."""
    poisonous: InputSeq | None = None
    """The input that is to be buried."""
    effect: tuple[EffectSeq, int] = EffectSeq(0), 0
    """The effect that our own code failed at last, and how often."""


Written = asyncio.Future[int | StoreError]
"""How many inputs of a commit were not new, once it is durable; or why it failed."""


class Ended(msgspec.Struct, frozen=True):
    """An outcome that the store may not have yet."""

    row: EffectRow
    settlement: Settlement
    came: tuple[Came, ...]
    unstorable: bool = False
    """A commit with it could not be stored: it goes alone, and leads to no step."""


class Draft(msgspec.Struct):
    """The next commit of a room: all that has happened since the last one."""

    record: RoomRecord | None = None
    """The newest; None while no step has been made."""
    implied: bool = False
    """All that is new in it follows from the outcomes: it need not be written (`record.taken`)."""
    entries: tuple[Entry, ...] = ()
    waiting: tuple[NewInput, ...] = ()
    handled: tuple[InputSeq, ...] = ()
    buried: tuple[tuple[InputSeq, str], ...] = ()
    ended: tuple[Ended, ...] = ()
    chats: tuple[tuple[Chat | None, Chat], ...] = ()
    """As `changed_chats` tells them; of each, only the newest is written."""
    changes: tuple[Change, ...] = ()
    signals: tuple[Signal, ...] = ()
    """Those that happened: to be repeated if the commit fails."""
    phases: tuple[tuple[RoomRecord, RoomRecord, int], ...] = ()
    """Before, after, and when, wherever a phase has changed."""
    waiters: tuple[Written, ...] = ()

    def chat_rows(self) -> list[ChatRow]:
        newest = {chat.number: chat for _, chat in self.chats}
        return [ChatRow(number, dump_chat(one), one.ended) for number, one in newest.items()]

    @property
    def empty(self) -> bool:
        return self.record is None and not (self.waiting or self.ended or self.waiters)

    def tell(self, answer: int | StoreError) -> None:
        """Tell those who wait; one that was cancelled does no more."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(answer)


def bare(record: RoomRecord) -> RoomRecord:
    """The record without a word that was said, so that of an encrypted room it may lie in clear.

    It is what operators look into, and what is left if the key of the rest is lost.
    """
    state, phase = record.conversation, record.conversation.phase
    if isinstance(phase, model.Queued):
        phase = replace(phase, pre_sent=(), words="")
    elif isinstance(phase, model.Chatting):
        phase = replace(phase, choices=())
    elif isinstance(phase, model.Idle):
        phase = model.Idle(phase.since)
    known = model.Conversation(
        phase,
        state.number,
        typed=state.typed,
        next_call=state.next_call,
        last_session=state.last_session,
    )
    return replace(record, conversation=known, cards=(), parked=(), sealed=())


def stored_as(record: RoomRecord, revision: int, deadline: int | None = None) -> StoredRoom:
    """The row of a room; `revision`: the one that the record was made from."""
    state, served = record.conversation, record.membership in _SERVED
    return StoredRoom(
        record.room_id,
        dump_record(record),
        live=wants_link(state),
        phase=type(state.phase).__name__,
        deadline=deadline,
        customer=record.customer if served else "",
        revision=revision,
        bare=dump_record(bare(record)) if record.encrypted else b"",
    )


def record_in(stored: StoredRoom | None, room_id: RoomId) -> RoomRecord:
    """The record of a row as of `Loaded.room`, an empty one if none was written yet.

    Raises ValueError as `load_record`.
    """
    return load_record(stored.record) if stored and stored.record else RoomRecord(room_id)


def implied(record: RoomRecord, rules: Rules, came: Sequence[Came]) -> RoomRecord | None:
    """The record after an outcome that says no more than that the call under way was `taken`.

    None: it takes a step, which may come to more than this.
    """
    answer = came[0].happened if len(came) == 1 else None
    if record.undelivered or record.corrections or rules.status_events:
        return None
    plain = isinstance(answer, model.Replied) and simply_taken(record.conversation, answer)
    return taken(record) if plain else None


def recovered(record: RoomRecord, loaded: Loaded) -> RoomRecord:
    """The stored record as the room had it: with what follows from the outcome of its call.

    A call that is neither under way nor has an outcome that waits was simply `taken`.
    """
    after, asked = taken(record), record.conversation.outstanding
    if after is None or asked is None:
        return record
    call_id = asked.call_id
    under_way = any(row.call_id == call_id for row in loaded.effects)
    return record if under_way or any(_ends(row.body, call_id) for row in loaded.inputs) else after


def _ends(body: bytes, call_id: CallId) -> bool:
    """True for the stored outcome of a call."""
    try:
        stored = load_input(body)
    except ValueError:
        return False
    return isinstance(stored, model.Replied | model.CallFailed) and stored.call_id == call_id


def not_taken(record: RoomRecord, body: bytes) -> RoomRecord:
    """The record, once this input is a dead letter: the call that it would end was not `taken`."""
    state, asked = record.conversation, record.conversation.outstanding
    if asked is None or not _ends(body, asked.call_id):
        return record
    state = replace(state, outstanding=replace(asked, stale=True))
    return replace(record, conversation=state)


def in_turn(
    waiting: dict[InputSeq, InputRow], came: Collection[InputRow]
) -> dict[InputSeq, InputRow]:
    """Add inputs to those that wait. A card goes first: people may tap on it as it is sent."""
    waiting |= {row.seq: row for row in came}
    if any(row.body.startswith(_CARD) for row in came):
        return dict(sorted(waiting.items(), key=lambda one: not one[1].body.startswith(_CARD)))
    return waiting


def entries_of(effects: Iterable[Effect], came: NewInput | None = None) -> list[Entry]:
    """Rows for what came and its effects: the first effect stands in the row of what came."""
    made: list[Entry] = []
    for effect in effects:
        wanted = new_effect(effect)
        if wanted is not None:
            made.append(Entry(came, wanted))
            came = None
    if came is not None:
        made.append(Entry(came))
    return made


def unmark_calls(entries: Iterable[Entry], *, at_once: bool) -> Iterator[Entry]:
    """Leave a call marked as attempted only if it is the first, and goes out at once.

    Should we die before it is written it passes for uncertain, which it is not: so that is done
    only where nothing is ahead of it and the call centre has answered a moment ago.
    """
    for entry in entries:
        effect, made = entry.effect, entry
        if effect is not None and effect.lane is Lane.WEBCHAT:
            if effect.attempted and not at_once:
                made = Entry(entry.came, replace(effect, attempted=False))
            at_once = False
        yield made


def causes(rows: Iterable[EffectRow], drafts: Iterable[Draft]) -> set[str]:
    """The Matrix events that an effect carries or answers which is open, if only in the store."""
    found = {row.cause for row in rows}
    for draft in drafts:
        found |= {one.effect.cause for one in draft.entries if one.effect is not None}
        found |= {one.row.cause for one in draft.ended}
    return {cause for cause in found if cause}
