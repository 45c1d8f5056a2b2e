"""Visit: one step of a room in progress, and the draft of the next commit.

The pure modules of this package (`people`, `commands`, `references`, …) each change a `Visit`, as
those of `conversation` change a `Turn`. Its creator adopts the result, all or nothing, into the
room's `Draft`, which is committed in one transaction with those of other rooms (`engine`). Code
that has to acknowledge an input awaits a `Written`.

Every change of a setting (by command, state event, or order from outside) goes through `change`:
the record gets the new settings and the audit (`store.Change`) a row for each, in one commit. The
record is authoritative. The state event `org.matrix_webchat.room` is updated from it
(`ShowSettings`) where the host may write it; elsewhere it stays as somebody wrote it, and is read
again only when somebody writes it anew. An event written by the bridge changes no setting: echoes
of all bridge users are dropped.

A visit also records what became of people's messages: up to which one they are read (`receipts`),
and which can be sent again (`references`). The conversation delivers in the order of typing, so no
waiting message is older than the newest delivered one; one reported as undelivered may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple, TypeGuard, get_args

import msgspec
from msgspec.structs import replace

from bridge.conversation import model
from bridge.conversation.machine import is_plain_success, step, wants_link
from bridge.conversation.turn import all_pieces
from bridge.ids import CallId, EventId, InputSeq, RoomId, UserId, localpart_of
from bridge.rooms import store
from bridge.rooms.effects import (
    Answering,
    Aside,
    Effect,
    ShowBridge,
    ShowSettings,
    StoredEffect,
    TellStatus,
)
from bridge.rooms.ports import (
    CALL,
    Meaning,
    MemberGone,
    MemberJoined,
    Nothing,
    Spoke,
    Undecryptable,
    Unreadable,
)
from bridge.rooms.record import (
    Chat,
    Membership,
    Raw,
    RoomInput,
    RoomRecord,
    RoomSettings,
    Undelivered,
    dump_chat,
    dump_input,
    dump_record,
    is_local,
    load_input,
    load_record,
    note_chat,
)
from bridge.rooms.rules import ENTERPRISE, Rules, as_strings, set_together
from bridge.webchat.codes import RESULTS
from bridge.webchat.frames import SendMessage
from bridge.webchat.words import looks_like, name_line

_WEBCHAT = store.Lane.WEBCHAT
_CARD = b'{"is":"CardPosted"'
"""Prefix of a stored `CardPosted`."""
_RINGS = 30_000
"""ms for which a call rings: matrix-js-sdk announces it by two events, one of them with the former
name of the type (MSC4075)."""
_FACTS, _ASIDE = frozenset(get_args(model.Fact)), frozenset(get_args(Aside))
_CAUSES = dict.fromkeys(get_args(Answering), "event_id") | {model.Say: "reply_to"}
"""Field with an effect's cause, by type; `isinstance` of a union asks each member's metaclass."""
_POSTED = frozenset(get_args(model.ToMatrix)) - {model.AgentsLeft}
_TOO_LATE = (_POSTED, frozenset({model.AskRating}))
"""Effects on a room being erased that are dropped: if the bridge has left it, and if it stays."""
_encoder = msgspec.json.Encoder()
_effect: msgspec.json.Decoder[StoredEffect] = msgspec.json.Decoder(StoredEffect)
load_effect: Callable[[bytes], StoredEffect] = _effect.decode
"""Decode a stored effect; raises ValueError for anything else."""


def peek(row: store.EffectRow) -> StoredEffect | None:
    """Decode a row's effect ahead of its turn; None if it is unreadable."""
    try:
        return load_effect(row.effect)
    except ValueError:
        return None


def new_effect(effect: Effect) -> store.NewEffect | None:
    """Return the journal's form of an effect; None for a fact, which needs no action."""
    body = _encoder.encode(effect)
    if isinstance(effect, model.CallWebChat):  # as nearly always
        cause, call_id = effect.event_id, effect.call_id
        return store.NewEffect(
            _WEBCHAT, body, cause, call_id, effect.repeat, marked=True, call=effect
        )
    if isinstance(effect, model.UploadMedia):
        return store.NewEffect(_WEBCHAT, body, effect.event_id, effect.call_id)
    kind = type(effect)
    if kind in _FACTS:
        return None
    about = getattr(effect, _CAUSES[kind]) or None if kind in _CAUSES else None
    return store.NewEffect(store.Lane.ASIDE if kind in _ASIDE else store.Lane.MATRIX, body, about)


def log_fields(
    record: RoomRecord, row: store.EffectRow | None = None, what: object | None = None
) -> dict[str, object]:
    """Return the log fields of a room, of a row of its journal, and of an effect or command.

    `event_id` is the cause of the row, for `trace`: an event, or the key of a push.
    """
    fields: dict[str, object] = {"room": record.room_id, "chat": record.conversation.number}
    if record.enterprise:
        fields["enterprise"] = record.enterprise
    if row is not None:
        fields |= {"event_id": row.cause, "seq": row.seq}
    return fields if what is None else fields | {"what": type(what).__name__}


# --- visit ----------------------------------------------------------------------------------------

KEPT_CORRECTIONS = 50
"""Maximum number of a room's corrections (edits) kept: the next edit is diffed against the newest,
and a redaction removes all."""

Mark = tuple[RoomRecord, int, int, Rules]
"""A savepoint: the record, the number of effects, the number of changes, and the rules."""


class Visit(msgspec.Struct, eq=False):
    """Mutable state of a step in progress; see the module."""

    record: RoomRecord
    rules: Rules
    now: int
    """ms since the epoch."""
    effects: list[Effect] = []
    buried: list[tuple[InputSeq, str]] = []
    """Inputs at which the bridge's own code failed, and why."""
    again: list[EventId] = []
    """Messages to be sent again, once the reader has looked them up."""
    admins: tuple[UserId, ...] = ()
    """Members who may configure the room, if power levels were asked for in this step."""
    changes: list[store.Change] = []
    """Rows of the audit."""
    locks: ExitStack | None = None
    """Holder of an inviter's lock until the end of the step; None if the step may not wait, or once
    it holds one."""
    under_way: bool = False
    """True while effects of the room's enterprise are unfinished; False if it is the only one."""

    @property
    def with_person(self) -> bool:
        """True if a person reads what is sent now: not the robot, and no `close` was given."""
        phase = self.record.conversation.phase
        return isinstance(phase, model.Chatting) and not (phase.robot or phase.close)

    def set(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)

    def mark(self) -> Mark:
        """Return a savepoint for `undo`."""
        return self.record, len(self.effects), len(self.changes), self.rules

    def undo(self, mark: Mark) -> None:
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
        """Tell the sender that this event is not delivered; of a call, by its first event only."""
        if key == CALL:
            if 0 <= self.now - self.record.called_at < _RINGS:
                if not args:
                    return
                args = {**args, "told": 1}  # it rings, and is to be declined
            else:
                self.set(called_at=self.now)
        self.add(model.Reported(event_id, key, args or {}))

    def for_agent(self, key: str, args: model.Args) -> str:
        """Return a sentence for agents, in the operator's language for them, else the room's."""
        language = self.rules.agents_language(self.record.settings)
        return self.rules.texts.render(language, key, args)

    def name_of(self, who: UserId) -> str:
        """Return a person's name as shown to agents, with the user id where it looks like another's
        (specification, "Calculating the display name for a user"): the agent relies on it.
        """
        known = {who.user: who.name or localpart_of(who.user) for who in self.record.people}
        name = name_line(known.pop(who, localpart_of(who)))
        return f"{name} ({who})" if name and looks_like(name, known.values()) else name or who

    def is_unserved(self, meaning: Meaning) -> TypeGuard[Spoke | Unreadable]:
        """True for a customer's message in a room that has never been served."""
        if self.record.membership is not Membership.NONE:
            return False
        if not isinstance(meaning, Spoke | Unreadable) or not self.rules.serves(meaning.sender):
            return False
        return not (isinstance(meaning, Spoke) and meaning.notice)

    def doubts(self, meaning: Meaning, raw: Raw) -> bool:
        """Whether an event of another server may be hidden (`MatrixPort.is_hidden`).

        Synapse pushes events that it has soft-failed, too: somebody who was banned may name the
        state before that, when they might still write, or remove the bridge.
        """
        record = self.record
        if is_local(raw, record.host):
            return False
        if record.membership is not Membership.JOINED or isinstance(meaning, Nothing):
            return False
        if isinstance(meaning, MemberGone | MemberJoined):
            return True
        sender = str(raw.get("sender"))
        here = record.direct and sender == record.customer
        return not (here or any(person.user == sender for person in record.people))

    def for_room(self, key: str, args: model.Args) -> str:
        """Return a sentence for the room, to be put into another one."""
        language = self.rules.language_for(self.record)
        return self.rules.texts.render(language, key, args)

    def follow(self, language: tuple[int, str]) -> None:
        """Store the language of the customer's words; a queue card is read just now: rewrite it."""
        before = self.rules.language_for(self.record)
        self.set(language=language)
        queued = isinstance(self.record.conversation.phase, model.Queued)
        if queued and self.rules.language_for(self.record) != before:
            self.step(model.Moved())

    def step(self, happened: model.Input, event: EventId | None = None) -> None:
        """Apply an input to the conversation; `event` is the Matrix event behind it, if any."""
        before, policy, now = self.record, self.rules.policy_for(self.record), self.now
        former, queue = before.conversation, policy.queue_id
        after, effects = step(former, happened, now, policy)
        chats = note_chat(before.chats, former, after, happened, now, queue=queue, event=event)
        if before.enterprise and chats is not before.chats:
            name = before.enterprise
            chats = tuple(one if one.enterprise else replace(one, enterprise=name) for one in chats)
        self.record = replace(before, conversation=after, chats=chats)
        if before.corrections:
            self._note_whole()
        for effect in effects if before.gone_at is None else _of_erased(before, effects):
            self.add(effect)

    def _note_whole(self) -> None:
        """Note corrections that are sent in full, as no agent has an earlier wording."""
        record = self.record
        wordings = {newer for _, newer in record.corrections} - set(record.whole)
        pieces = all_pieces(record.conversation) if wordings else ()
        found = {one.event_id for one in pieces if one.amends is None and one.event_id in wordings}
        if found:
            self.set(whole=(*record.whole, *sorted(found))[-KEPT_CORRECTIONS:])

    def add(self, effect: Effect) -> None:
        """Ask for an effect, and record what it says of a message; `Delivered` is only recorded."""
        if self.rules.status_events and isinstance(effect, model.Delivered | model.Reported):
            why = effect.key if isinstance(effect, model.Reported) else ""
            self.ask(TellStatus(effect.event_id, why))
        if isinstance(effect, model.Delivered):
            event_id = effect.event_id
            if undelivered(self.record, event_id) is not None:
                self.set(arrived_again=self.record.arrived_again + 1)
            self.record = _delivered(self.record, event_id)
            self._tell_arrived(event_id)
            return
        self.effects.append(effect)
        if isinstance(effect, model.Reported):
            if can_be_sent_again(effect.key):
                self.record = _reported(self.record, effect)
            else:
                self.record = forgotten(self.record, effect.event_id)
            self._tell_arrived()

    def _tell_arrived(self, latest: EventId | None = None) -> None:
        """Say how many of the messages sent again have arrived, once none is under way."""
        count = self.record.arrived_again
        if not count or any(note.again for note in self.record.undelivered):
            return
        self.set(arrived_again=0)
        if count == 1 and latest is not None:
            self.say("again.delivered", reply_to=latest)
        else:
            self.say("again.delivered_all", {"count": count})


def _of_erased(record: RoomRecord, effects: Iterable[Effect]) -> Iterator[Effect]:
    """Yield the effects that a room being erased still has; the operator ended its chat."""
    for effect in effects:
        if type(effect) in _TOO_LATE[record.stays]:
            continue
        if isinstance(effect, model.Say) and effect.key.startswith("chat.ended_by_you"):
            yield replace(effect, key="chat.ended_by_operator")
        else:
            yield effect


def signed(visit: Visit, who: UserId, happened: model.Input) -> model.Input:
    """Prefix a message with the speaker's name, for shared rooms."""
    if isinstance(happened, model.Withdrawn) and happened.note:
        return replace(happened, note=_named(visit, who, happened.note))
    if not isinstance(happened, model.Said):
        return happened
    instead = happened.instead
    bare = happened.content.text if isinstance(happened.content, model.CustomerText) else ""
    return replace(
        happened,
        content=_signed(visit, who, happened.content),
        instead=None if instead is None else _signed(visit, who, instead),
        words=happened.words or bare,
        sender=who,
    )


def _signed(visit: Visit, who: UserId, content: model.CustomerContent) -> model.CustomerContent:
    match content:
        case model.CustomerText():
            return model.CustomerText(_named(visit, who, content.text))
        case model.CustomerMedia():
            return replace(content, caption=_named(visit, who, content.caption))
        case model.CustomerLocation(poi=poi):
            named = _named(visit, who, poi) if poi else visit.name_of(who)
            return replace(content, poi=named)


def _named(visit: Visit, who: UserId, text: str) -> str:
    """Return a text with its speaker's name; if it is empty, a sentence that tells the sender.

    Further lines are indented: one that begins with another's name must not read as theirs. An
    ideographic space, as desks that show HTML collapse others.
    """
    text = "\n".join(f"\u3000{line}" if at else line for at, line in enumerate(text.splitlines()))
    key = "agent.speaker" if text else "agent.sender"
    return visit.for_agent(key, {"name": visit.name_of(who), "text": text})


KEPT_UNDELIVERED = 200
"""Maximum number of resendable messages of a room (as `Policy.max_held`); the oldest go first."""

_HOPELESS = frozenset(
    {"undelivered.blank", "undelivered.too_big", "undelivered.extension", "undelivered.media_gone"}
    | {"undelivered.internal", "undelivered.media_changed", "undelivered.too_big_limit"}
    | {f"result.{code}" for code, row in RESULTS.items() if not row.resend}
)
"""Text keys of failures for which sending again cannot help, at WebChat or in the bridge."""
_PRIVATE = frozenset({"undelivered.like_login", "undelivered.with_rating"})
"""Text keys of messages that may hold a password, or words about an agent."""
_SEALED = ("unreadable.no_key", "unreadable.unknown_device")
"""Text keys of events that may become decryptable; a key that was withheld is not sent later."""


def can_be_sent_again(key: str) -> bool:
    """True if a message that was answered with this text key may succeed when sent again."""
    if key.startswith(_SEALED):
        return True
    return key.startswith(("undelivered.", "result.", model.COUNTED)) and key not in _HOPELESS


def undelivered(record: RoomRecord, event_id: EventId | None) -> Undelivered | None:
    """Return the note of an undelivered message; None if it arrived or is unknown."""
    return next((note for note in record.undelivered if note.event_id == event_id), None)


def sent_again(record: RoomRecord, event_id: EventId) -> RoomRecord:
    known = record.undelivered
    kept = (replace(note, again=True) if note.event_id == event_id else note for note in known)
    return replace(record, undelivered=tuple(kept))


def forgotten(record: RoomRecord, *gone: EventId) -> RoomRecord:
    """Return the record without these messages' notes: they cannot be sent again any more."""
    kept = tuple(note for note in record.undelivered if note.event_id not in gone)
    return record if kept == record.undelivered else replace(record, undelivered=kept)


def _delivered(record: RoomRecord, event_id: EventId) -> RoomRecord:
    known, notes = undelivered(record, event_id), record.undelivered
    if known is not None and known.passed:
        return forgotten(record, event_id)
    place = len(notes) if known is None else notes.index(known)
    passed = tuple(replace(note, passed=True) for note in notes[:place])
    return replace(record, read_up_to=event_id, undelivered=(*passed, *notes[place + 1 :]))


def _reported(record: RoomRecord, report: model.Reported) -> RoomRecord:
    event_id, known = report.event_id, undelivered(record, report.event_id)
    passed, private = (False, False) if known is None else (known.passed, known.private)
    note = Undelivered(event_id, passed=passed, private=private or report.key in _PRIVATE)
    record = forgotten(record, event_id)
    return replace(record, undelivered=(*record.undelivered, note)[-KEPT_UNDELIVERED:])


# --- administration: changes of the settings, who made them, and how they are undone --------------

MOST_UNDONE, LONGEST_UNDONE = 10, 4_000
"""Maximum number of changes of a room that can be undone, and of their characters together: they
are part of the record, which is written with each message."""


class By(NamedTuple):
    """Author of a change, and its way (see `store.Change`)."""

    actor: str = ""
    way: str = "command"


class Call(msgspec.Struct, frozen=True):
    """A command to run; the room's answer is a reply to `event_id`."""

    words: tuple[str, ...]
    """Arguments: the words after the verb."""
    event_id: EventId
    """Empty for an order from outside the room (`Order`)."""
    target: EventId | None = None
    """The message to which the command is a reply."""
    reports: EventId | None = None
    """The undelivered message that `target`, a notice of the bridge, reports."""
    by: By = By()
    """Author of the command, and its way."""
    admin: bool = False
    """True if given by a room admin."""
    settings: Mapping[str, str] = {}
    """`Order.settings`, in place of words."""
    elsewhere: str = ""
    """See `Facts.elsewhere`."""
    place: int = 0
    """Number of the visit's effects before the command: its answer precedes what it causes."""


def change(visit: Visit, settings: RoomSettings, by: By) -> None:
    """Change the room's settings, with a row of the audit for each changed key."""
    record, before, after = visit.record, as_strings(visit.record.settings), as_strings(settings)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    for key in keys:
        audit(visit, by, key, before.get(key, ""), after.get(key, ""))
    if keys:
        # If no enterprise was chosen, `undo` restores the present one.
        was = {ENTERPRISE: visit.rules.enterprise, **before}
        latest = tuple((key, was.get(key, "")) for key in keys)
        former = (*record.former, latest)[-MOST_UNDONE:]
        while sum(len(value) for values in former for _, value in values) > LONGEST_UNDONE:
            former = former[1:]
        visit.set(settings=settings, former=former)
        visit.ask(ShowSettings(record.settings))
        if {"queue", "enterprise"} & set(keys):
            visit.ask(ShowBridge())
        phase = record.conversation.phase
        # The queue card says whether words go to an agent; a callback waits for the opening.
        about = {"paused", "language"} if isinstance(phase, model.Queued) else {"hours"}
        if about & set(keys) and isinstance(phase, model.Queued | model.NoChat):
            visit.step(model.Moved())
        if record.settings.paused and not settings.paused:
            visit.step(model.Pending())


def audit(visit: Visit, by: By, key: str, before: str = "", after: str = "") -> None:
    record = visit.record
    row = store.Change(visit.now, *by, key, before, after, record.room_id, record.enterprise)
    visit.changes.append(row)


def audit_order(visit: Visit, by: By, verb: str, words: str, named: str) -> None:
    """Note an order from outside that acts, and tell the room of it unless its answer did.

    `named` is the verb in the room's language.
    """
    audit(visit, by, verb, after=words)
    if not any(isinstance(one, model.Say) and one.also == "order.by" for one in visit.effects):
        args: model.Args = {"actor": by.actor, "command": f"{named} {words}".strip()}
        visit.say("order.acted", args | {"way": by.way})


def undo_change(visit: Visit, by: By) -> bool:
    """Undo the last change that was not undone yet; False if there is none.

    Raises BadOrder if the former value is no longer valid, such as a queue that was removed.
    """
    record = visit.record
    if not record.former:
        return False
    change(visit, set_together(dict(record.former[-1]), record.settings, visit.rules), by)
    visit.set(former=record.former[:-1])
    return True


# --- rate limit of messages, commands and gestures ------------------------------------------------


def too_fast(visit: Visit, sent: int, count: int = 1) -> bool:
    """Apply the rate limit: count messages in the minute in which they were sent; True if over it.

    Not when they came: after an outage all of its messages come within seconds.
    """
    minute, record = sent // 60_000, visit.record
    if minute == record.minute - 1:  # received by a process whose clock is slower
        minute += 1
    spoken = record.spoken if minute == record.minute else 0
    if spoken + count > visit.rules.limits.messages_per_minute:
        return True
    visit.set(minute=minute, spoken=spoken + count)
    return False


def excessive(visit: Visit, event_id: EventId, sent: int) -> bool:
    """Apply the rate limit to a command or a gesture; answer only the first one over it.

    A message over the limit is answered each time, as its words are not carried.
    """
    if not too_fast(visit, sent):
        return False
    limit = visit.rules.limits.messages_per_minute
    if visit.record.spoken == limit:
        visit.set(spoken=limit + 1)
        visit.say("refused.too_fast", {"limit": limit}, reply_to=event_id)
    return True


# --- draft ----------------------------------------------------------------------------------------


class Came(msgspec.Struct, frozen=True):
    """An input on its way to its room."""

    happened: RoomInput
    key: str | None = None
    opened: Raw | Undecryptable | None = None
    """The event as from `MatrixPort.open`; None if not opened yet."""

    def new_input(self, room_id: RoomId) -> store.NewInput:
        return store.NewInput(room_id, dump_input(self.happened), self.key)


def remembered(signals: Sequence[model.Signal], happened: model.Signal) -> list[model.Signal]:
    """Add a signal to the waiting ones, of which only the newest of each kind stays.

    `LinkRestored.brief` stays true only if every loss of the link was brief.
    """
    if isinstance(happened, model.LinkRestored):
        known = [signal for signal in signals if isinstance(signal, model.LinkRestored)]
        happened = replace(happened, brief=happened.brief and all(signal.brief for signal in known))
    return [*(signal for signal in signals if type(signal) is not type(happened)), happened]


class Done(msgspec.Struct):
    """Result of an effect; see `Settlement`."""

    event_id: EventId | None = None
    anchor: str | None = None
    came: tuple[Came, ...] = ()
    """Inputs for the room that follow from it."""
    outcome: store.Outcome = store.Outcome.DELIVERED
    detail: str = ""


Written = asyncio.Future[int | store.StoreError]
"""Number of a commit's inputs that were known already, once it is durable; or its error."""


class Ended(msgspec.Struct, frozen=True):
    """An outcome that may not be stored yet."""

    row: store.EffectRow
    settlement: store.Settlement
    came: tuple[Came, ...]


class Draft(msgspec.Struct):
    """The next commit of a room: all that has happened since the last one.

    What a step adds (entries, chats, …) comes with a record to be saved.
    """

    record: RoomRecord | None = None
    """The newest record; None if nothing has changed it."""
    save: bool = False
    """True if the record has to be written: not all of its changes are plain successes."""
    exact: bool = False
    """See `Commit.exact`."""
    entries: tuple[store.Entry, ...] = ()
    waiting: tuple[store.NewInput, ...] = ()
    handled: tuple[InputSeq, ...] = ()
    buried: tuple[tuple[InputSeq, str], ...] = ()
    ended: tuple[Ended, ...] = ()
    chats: tuple[tuple[Chat | None, Chat], ...] = ()
    """Results of `changed_chats`; only the newest version of each chat is written."""
    changes: tuple[store.Change, ...] = ()
    phases: tuple[tuple[RoomRecord, RoomRecord, int], ...] = ()
    """Phase changes: record before, record after, and time (ms)."""
    waiters: tuple[Written, ...] = ()

    def chat_rows(self) -> list[store.ChatRow]:
        newest = {chat.number: chat for _, chat in self.chats}
        return [store.ChatRow(number, dump_chat(one), one.ended) for number, one in newest.items()]

    @property
    def empty(self) -> bool:
        return self.record is None and not (self.waiting or self.ended or self.waiters)

    def tell(self, answer: int | store.StoreError) -> None:
        """Resolve the waiters' futures, except cancelled ones."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(answer)


def bare(record: RoomRecord) -> RoomRecord:
    """Return the record without message bodies: safe to store unencrypted for an encrypted room.

    Operators can query it, and it is what is left if the key of the full record is lost.
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


def stored_as(record: RoomRecord, revision: int, deadline: int | None = None) -> store.StoredRoom:
    """Return the row of a room; `revision` is the one that the record was made from."""
    state = record.conversation
    return store.StoredRoom(
        record.room_id,
        dump_record(record),
        live=wants_link(state),
        phase=type(state.phase).__name__,
        deadline=deadline,
        customer=record.customer if record.served else "",
        revision=revision,
        bare=dump_record(bare(record)) if record.encrypted else b"",
    )


def record_in(stored: store.StoredRoom | None, room_id: RoomId) -> RoomRecord:
    """Decode the record of a row; an empty one if none is stored. Raises as `load_record`."""
    return load_record(stored.record) if stored and stored.record else RoomRecord(room_id)


def readable_record(stored: store.StoredRoom | None, room_id: RoomId) -> RoomRecord:
    """Decode the record of a row; an empty one if none is stored, or it cannot be decoded."""
    with suppress(ValueError):
        return record_in(stored, room_id)
    return RoomRecord(room_id)


def in_turn(
    waiting: dict[InputSeq, store.InputRow], came: Collection[store.InputRow]
) -> dict[InputSeq, store.InputRow]:
    """Add inputs to the waiting ones, in order. Cards go first: people may tap on one at once."""
    last = next(reversed(waiting), 0)
    waiting |= {row.seq: row for row in came}
    if all(row.seq > last and not row.body.startswith(_CARD) for row in came):
        return waiting
    return dict(
        sorted(waiting.items(), key=lambda item: (not item[1].body.startswith(_CARD), item[0]))
    )


def entries_of(effects: Iterable[Effect], came: store.NewInput | None = None) -> list[store.Entry]:
    """Return journal rows for effects and the input that caused them, which shares the first."""
    made: list[store.Entry] = []
    for effect in effects:
        wanted = new_effect(effect)
        if wanted is not None:
            made.append(store.Entry(came, wanted))
            came = None
    if came is not None:
        made.append(store.Entry(came))
    return made


def unmark_calls(entries: Iterable[store.Entry], *, at_once: bool) -> Iterator[store.Entry]:
    """Keep the attempted mark only on the first call, and only if that goes out at once.

    A crash before its bytes are written would make it uncertain without need. So it is marked in
    advance only if nothing is ahead of it and the call centre has answered a moment ago.
    """
    for entry in entries:
        effect, made = entry.effect, entry
        if effect is not None and effect.lane is store.Lane.WEBCHAT:
            if effect.marked and not at_once:
                made = store.Entry(entry.came, replace(effect, marked=False))
            at_once = False
        yield made


def causes(rows: Iterable[store.EffectRow], drafts: Iterable[Draft]) -> set[str]:
    """Return the Matrix events carried or answered by effects that are not settled in the store."""
    found = {row.cause for row in rows}
    for draft in drafts:
        found |= {entry.effect.cause for entry in draft.entries if entry.effect is not None}
        found |= {ended.row.cause for ended in draft.ended}
    return {cause for cause in found if cause}


# --- plain successes: outcomes without a step -----------------------------------------------------


def plain_success(record: RoomRecord, rules: Rules, came: Sequence[Came]) -> RoomRecord | None:
    """Return the record after an outcome that only says that WebChat has the message under way.

    None if a step is needed, as more may follow from the outcome.
    """
    answer = came[0].happened if len(came) == 1 else None
    if record.undelivered or record.corrections or rules.status_events:
        return None
    plain = isinstance(answer, model.Replied) and is_plain_success(record.conversation, answer)
    return after_success(record) if plain else None


def after_success(record: RoomRecord) -> RoomRecord | None:
    """Return the record once WebChat has the message under way; None if none is."""
    state = record.conversation
    asked = state.outstanding
    if asked is None or asked.held is None or not isinstance(asked.what, SendMessage):
        return None
    if asked.stale or not isinstance(state.phase, model.Chatting):
        return None
    read_up_to = asked.held.event_id if asked.held.last else record.read_up_to
    state = replace(state, outstanding=None)
    return replace(record, conversation=state, read_up_to=read_up_to)


def recovered(record: RoomRecord, loaded: store.Loaded) -> RoomRecord:
    """Return the stored record, with the success of its call if that was not written.

    A call that has neither an open row nor a waiting outcome was a plain success.
    """
    after, asked = after_success(record), record.conversation.outstanding
    if after is None or asked is None:
        return record
    call_id = asked.call_id
    under_way = any(row.call_id == call_id for row in loaded.effects)
    return record if under_way or any(_ends(row.body, call_id) for row in loaded.inputs) else after


def _ends(body: bytes, call_id: CallId) -> bool:
    """True if a stored input is the outcome of that call."""
    try:
        stored = load_input(body)
    except ValueError:
        return False
    return isinstance(stored, model.Replied | model.CallFailed) and stored.call_id == call_id


def as_failed(record: RoomRecord, body: bytes) -> RoomRecord:
    """Return the record after an input became a dead letter: its call counts as no success."""
    state, asked = record.conversation, record.conversation.outstanding
    if asked is None or not _ends(body, asked.call_id):
        return record
    state = replace(state, outstanding=replace(asked, stale=True))
    return replace(record, conversation=state)
