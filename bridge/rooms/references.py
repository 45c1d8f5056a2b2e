"""Messages about messages: replies, reactions, votes, edits, redactions, and sending again.

WebChat has none of these, so they are sent to the agent as text. The coroutines (`recall`, `erase`,
…) use the store and raise StoreError if the database does not answer; the functions are pure.

- A reply begins with a short quotation, a message in a thread with one of the thread's root.
  Reactions to and redactions of a message that the agent never saw (undelivered, or of an earlier
  chat) are not sent.
- The earlier message (`Earlier`) is read from the journal; once `retention` has erased it, the
  agent gets no quotation.
- An edit (correction) is sent as a word-by-word difference from the newest wording that an agent
  may have (`read_as`). An unsent message is replaced by its newest wording.
- A redaction erases all copies in the journal: the event, its corrections, and the effects of each.
  Settled ones are erased at once, others within a minute of settling; until then the room's record
  lists the events.
- Resending: by 🔁 on a message or on the bridge's report about it, or by the command `retry`. The
  event is read from the journal, or from the homeserver once `retention` has erased it, and handled
  as if new, under its own id.
- Sealed events: encrypted events whose key has not come within `KEY_PATIENCE`, for which later
  events wait. The sender is told; if the key comes within an hour, the event is handled then.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from typing import Literal

import msgspec
from msgspec.structs import replace

from bridge.conversation import model
from bridge.conversation.history import mark_of
from bridge.conversation.turn import all_pieces, cut, unique_events
from bridge.ids import EffectSeq, EventId, RoomId, UserId
from bridge.media.plaintext import MAX_LENGTH, differences, html_to_text
from bridge.rooms import ports
from bridge.rooms.effects import StoredEffect
from bridge.rooms.record import (
    MatrixEvent,
    PartPosted,
    Raw,
    RoomInput,
    RoomRecord,
    SealedEvent,
    fits,
    load_input,
)
from bridge.rooms.rules import TURNS, bare_sign
from bridge.rooms.store import Lane
from bridge.rooms.surroundings import Surroundings, asked
from bridge.rooms.visit import (
    KEPT_CORRECTIONS,
    Visit,
    can_be_sent_again,
    forgotten,
    load_effect,
    sent_again,
    undelivered,
)
from bridge.texts import clock_time
from bridge.webchat.frames import AgentLocation, AgentMedia, AgentText
from bridge.webchat.words import decode_emoji

QUOTED = 60
"""Maximum characters of a quotation."""
LONGEST_NUMBER = 40
"""Maximum characters of a message id in an anchor; longer ids are not remembered."""


class Earlier(msgspec.Struct, frozen=True):
    """A message to which another one refers, as read from the journal."""

    text: str
    """Text or caption; without one the file's or place's name, empty if it has none."""
    content: model.CustomerContent | None = None
    """None if an agent or the bridge sent it."""
    sender: UserId = UserId("")
    correction: bool = False
    answers: tuple[tuple[str, str], ...] = ()
    reports: EventId | None = None
    """The message that this notice of the bridge reports as undelivered."""
    at: int | None = None
    """When it was last received or sent to the call centre, ms since the epoch; None if unknown."""
    unsent: bool = False
    """True if it never went to the call centre: the robot or the bridge answered it."""
    command: bool = False
    """True if it was a command, or held back as if it were: no agent has seen it."""
    reaction: bool = False

    @property
    def words(self) -> str:
        """The typed text; empty for a file without a caption."""
        content = self.content
        named = isinstance(content, model.CustomerMedia) and self.text == content.name
        return "" if named else self.text


# --- looking up -----------------------------------------------------------------------------------


async def recall(around: Surroundings, room_id: RoomId, event_id: EventId) -> Earlier | None:
    """Read a message from the journal; None if it is unknown, erased, unreadable or no message."""
    body = await around.store.body_of(room_id, event_id)
    if body is None:
        return None
    row = _row(body)
    meaning = await _meaning(around, row)
    earlier = _from_a_person(meaning) or _from_us(row)
    if earlier is None:
        return None
    # A correction that changed nothing was not sent: then the time of the original counts.
    events = [event_id, *([meaning.target] if isinstance(meaning, ports.Corrected) else [])]
    # The trace of a customer's message includes our notices about it, which no agent got.
    ours = () if earlier.content is None else (Lane.MATRIX, Lane.ASIDE)
    rows = [row for event in events for row in await around.store.trace(event)]
    came = [row.at for row in rows if row.what == "received"]
    went = [row.at for row in rows if row.what == "stored" and row.detail not in ours]
    at = max((*came, *went), default=None)
    return replace(earlier, at=at, unsent=bool(came) and not went)


async def is_about_unknown(around: Surroundings, record: RoomRecord, body: bytes) -> bool:
    """True if an input is a reaction, vote or reply to an event not (yet) in the store."""
    about = None
    with suppress(Exception):  # reported when the input is handled
        meaning = await _meaning(around, _row(body), ask=False)
        if isinstance(meaning, ports.Spoke | ports.Reacted | ports.PollAnswered):
            about = refers_to(record, meaning)
    return about is not None and await around.store.body_of(record.room_id, about) is None


FETCHING = 10_000
"""ms within which a visit may begin to fetch an event: of 200 that `retry all` means, each would
wait for a homeserver that hangs."""


async def original(
    around: Surroundings, visit: Visit, event_id: EventId
) -> ports.Meaning | ports.Undecryptable | None:
    """Read a person's event, which was not delivered; None if nobody has a copy of it."""
    body = await around.store.body_of(visit.record.room_id, event_id)
    row = None if body is None else _row(body)
    if body is None:
        late = around.clock.now() - visit.now > FETCHING
        fetched = None if late else await _fetched(around, visit.record, event_id)
        if fetched is None:
            return ports.Undecryptable("undelivered.unread", later=True)
        row = fetched or None
    found = await _meaning(around, row)
    if isinstance(found, ports.Undecryptable) and isinstance(row, MatrixEvent):
        found = replace(found, key=keep_sealed(visit, row.raw, found))
    return found


async def old_report(around: Surroundings, record: RoomRecord, event_id: EventId) -> Earlier | None:
    """Read the bridge's report of an undelivered message whose row has been erased."""
    row = await _fetched(around, record, event_id) if record.undelivered else None
    if not row or not around.matrix.is_ours(str(row.raw.get("sender"))):
        return None
    about: object = row.raw
    for key in ("content", "m.relates_to", "m.in_reply_to", "event_id"):
        about = about.get(key) if isinstance(about, dict) else None
    return Earlier("", reports=EventId(about)) if isinstance(about, str) else None


async def _fetched(
    around: Surroundings, record: RoomRecord, event_id: EventId
) -> MatrixEvent | Literal[False] | None:
    """Ask the homeserver for an event whose content `retention` has erased from the journal.

    Messages may wait for longer than that, and people read a report days later; meanwhile the
    room may have been upgraded. False if it has no such event, None if it does not tell.
    """

    async def ask() -> MatrixEvent | Literal[False]:
        for place in filter(None, dict.fromkeys((record.matrix_id, record.came_from))):
            if raw := await around.matrix.event(place, record.host, event_id):
                return MatrixEvent(raw)
        return False

    return await asked(ask, around.clock)


def recall_anchor(number: str) -> str | None:
    """Name of the anchor of a message's recall; None if there is no id or it is too long."""
    return f"recalled:{number}" if 0 < len(number) <= LONGEST_NUMBER else None


async def said_by_agent(
    around: Surroundings, record: RoomRecord, before: EffectSeq, taken: model.TakeBack
) -> tuple[EventId, ...]:
    """Return the events of the message that an agent redacts; empty if they are unknown.

    A push without a number is identified by the digest of its words, if it has any, and by the
    nearest time among equal ones.
    """
    parts: defaultdict[EventId, list[EventId]] = defaultdict(list)
    alike: list[tuple[int, EventId]] = []
    for event_id, body, received in await around.store.posted(
        record.room_id, before, record.moved_at
    ):
        await asyncio.sleep(0)  # a text of an agent may take 10 ms to read
        match _row(body):
            case PartPosted(of=first):
                parts[first].append(event_id)
            case model.Relay(message_id="", agent=agent, content=AgentText(html=words)):
                mark, blank = taken.mark, mark_of(agent.id, "").hex()
                if mark and mark_of(agent.id, words).hex() == mark != blank:
                    alike.append((abs(received - taken.at), event_id))
            case model.Relay(message_id=number) if number and number == taken.message_id:
                return event_id, *parts[event_id]
    nearest = min(alike, default=None)
    return () if nearest is None else (nearest[1], *parts[nearest[1]])


def _row(body: bytes) -> RoomInput | StoredEffect | None:
    """Decode the input or effect of a journal row; None if it is neither."""
    for load in (load_input, load_effect):
        with suppress(ValueError):
            return load(body)
    return None


async def _meaning(
    around: Surroundings, row: RoomInput | StoredEffect | None, *, ask: bool = True
) -> ports.Meaning | ports.Undecryptable | None:
    if not isinstance(row, MatrixEvent):
        return None
    raw = await around.matrix.open(row.raw, ask=ask)
    return raw if isinstance(raw, ports.Undecryptable) else around.matrix.interpret(raw)


def _from_a_person(meaning: ports.Meaning | ports.Undecryptable | None) -> Earlier | None:
    if isinstance(meaning, ports.Reacted):  # to be known if it is taken back
        return Earlier(meaning.key, model.CustomerText(meaning.key), meaning.sender, reaction=True)
    if not isinstance(meaning, ports.Spoke | ports.Corrected):
        return None
    content, text = meaning.content, meaning.plain
    match content:
        case model.CustomerText(text=own) | model.CustomerMedia(name=own):
            text = text or own
        case model.CustomerLocation():
            text = content.poi
    correction = isinstance(meaning, ports.Corrected)
    return Earlier(text, content, meaning.sender, correction, meaning.answers)


def _from_us(row: RoomInput | StoredEffect | None) -> Earlier | None:
    """Return an agent's message, or the bridge's report of an undelivered one."""
    match row:
        case PartPosted(text=text) if text or row.of:
            return Earlier(text)
        case model.Relay(content=AgentText(html=html)):
            # Not decoded for each reaction if it is too long to be read as HTML.
            short = html if len(html) <= MAX_LENGTH else ""
            return Earlier(html_to_text(decode_emoji(short)) or "")
        case model.Relay(content=AgentMedia(name=words) | AgentLocation(poi=words)):
            return Earlier(words)
        case model.Relay():
            return Earlier("")
        case model.Say(key="chat.notice", args={"text": str(words)}):
            return Earlier(words)  # the call centre's own, such as "Are you still there?"
        case model.Reported():
            return Earlier("", reports=row.event_id)
        case _:
            return None


# --- which message, and whether an agent has it ---------------------------------------------------


def refers_to(record: RoomRecord, meaning: ports.Meaning) -> EventId | None:
    """Return the target of a reply, edit, redaction, reaction or vote, or the root of a thread."""
    match meaning:
        case (
            ports.Spoke(about=str() as target)
            | ports.Reacted(target=target)
            | ports.PollAnswered(target=target)
        ):
            # As clients show it; nobody may be meant to read the former wording any more.
            return newest(record, target)
        case ports.Corrected() | ports.Withdrew():
            return read_as(record, meaning.target)
        case _:
            return None


def newest(record: RoomRecord, event_id: EventId) -> EventId:
    return dict(record.corrections).get(event_id, event_id)


def read_as(record: RoomRecord, event_id: EventId) -> EventId:
    """Return the event with the newest wording that an agent has or will get as the message.

    A correction that waits or was not delivered leaves the agent with the wording before it.
    """
    for wording in reversed(wordings(record, event_id)[1:]):
        if wording in record.whole or not _is_unseen(record, wording, None):
            return wording
    return event_id


def wordings(record: RoomRecord, event_id: EventId) -> tuple[EventId, ...]:
    return event_id, *(new for old, new in record.corrections if old == event_id)


def _is_past(record: RoomRecord, earlier: Earlier | None) -> bool:
    """True if the message belongs to an earlier chat, perhaps with another agent."""
    at, ended = None if earlier is None else earlier.at, record.conversation.last_ended_at
    return at is not None and ended is not None and at <= ended


def _is_unseen(record: RoomRecord, event_id: EventId, earlier: Earlier | None) -> bool:
    """True if a message was reported as undelivered, or no part of it has been sent yet."""
    if undelivered(record, event_id) is not None:
        return True
    waiting = [piece for piece in record.conversation.held if piece.event_id == event_id]
    outstanding = record.conversation.outstanding
    going = None if outstanding is None or outstanding.held is None else outstanding.held.event_id
    if going == event_id or not waiting or any(piece.asked is not None for piece in waiting):
        return False
    # The first parts may have been sent: then files are missing, or the waiting texts are shorter.
    texts = [one.content.text for one in waiting if isinstance(one.content, model.CustomerText)]
    before = None if earlier is None else earlier.content
    files = 1 + len(before.more) if isinstance(before, model.CustomerMedia) else 0
    whole = earlier is None or sum(map(len, texts)) >= len(earlier.words)
    return whole and len(waiting) - len(texts) >= files


def _never_sent(record: RoomRecord, event_id: EventId, earlier: Earlier | None) -> bool:
    """True if the message never went to an agent: the robot or the bridge answered it."""
    # A message being sent at this moment may have no effect in the journal yet.
    going = unique_events(all_pieces(record.conversation))
    return earlier is not None and earlier.unsent and event_id not in going


def _quoted(record: RoomRecord, event_id: EventId) -> tuple[EventId, ...]:
    return tuple(dict.fromkeys((event_id, newest(record, event_id))))


# --- replies, reactions, votes --------------------------------------------------------------------


def spoken(visit: Visit, spoke: ports.Spoke, earlier: Earlier | None) -> model.Said:
    """Return the message for the agent, with caption and a quotation of the one it replies to.

    `Said.instead` replaces it if the quoted message is redacted before it is sent.
    """
    bare = spoke.content
    if spoke.wrap and isinstance(bare, model.CustomerText):
        bare = model.CustomerText(visit.for_agent(spoke.wrap, {"text": bare.text}))
    bare = _captioned(bare, spoke.plain)
    quote = "" if earlier is None else _quotable(visit, earlier)
    if not quote or spoke.about is None or isinstance(bare, model.CustomerLocation):
        return model.Said(spoke.event_id, bare, spoke.plain)
    words = bare.text if isinstance(bare, model.CustomerText) else bare.caption
    text = visit.for_agent("agent.reply", {"quote": quote, "text": words})
    content: model.CustomerContent = model.CustomerText(text)
    if isinstance(bare, model.CustomerMedia):
        content = _captioned(bare, text.strip())
        bare = _captioned(bare, bare.caption or bare.name or bare.kind)
    events = _quoted(visit.record, spoke.about)
    return model.Said(spoke.event_id, content, spoke.plain, quotes=events, instead=bare)


def _quotable(visit: Visit, earlier: Earlier) -> str:
    """Return the quotation; empty for commands and for people whose messages are not carried.

    Of a message without words, such as an agent's picture without a name, it is the time.
    """
    author = earlier.sender
    strange = bool(author) and not visit.rules.serves(author)
    if strange or earlier.command or earlier.reports is not None:
        return ""
    quote = quotation(earlier.text)
    if quote or earlier.at is None:
        return quote
    return _dated(visit, "agent.message_at", earlier.at)


def _dated(visit: Visit, key: str, at: int) -> str:
    language = visit.rules.agents_language(visit.record.settings)
    time = clock_time(language, at, visit.rules.timezone, now_ms=visit.now)
    return visit.for_agent(key, {"time": time})


def _captioned(content: model.CustomerContent, caption: str) -> model.CustomerContent:
    return (
        replace(content, caption=caption) if isinstance(content, model.CustomerMedia) else content
    )


def gestured(
    visit: Visit, gesture: ports.Reacted | ports.PollAnswered, earlier: Earlier | None
) -> list[model.Input]:
    """Return the inputs of a reaction or a poll vote, for an agent who has seen the target."""
    record = visit.record
    carried = visit.with_person and visit.rules.tell.reactions
    if not carried or earlier is None or _is_past(record, earlier):
        return []
    quotes = _quoted(record, gesture.target)
    if _never_sent(record, quotes[-1], earlier):
        return []
    if isinstance(gesture, ports.Reacted):
        quote = _quotable(visit, earlier)
        if not quote or undelivered(record, quotes[-1]) is not None:
            return []
        text = visit.for_agent("agent.reacted", {"reaction": gesture.key, "quote": quote})
    else:
        known, voted_for = dict(earlier.answers), dict.fromkeys((gesture.answer, *gesture.more))
        chosen = tuple(known[answer] for answer in voted_for if answer in known)
        if not chosen:
            return []
        quote = quotation(earlier.text.partition("\n")[0])
        text = visit.for_agent("agent.vote", {"quote": quote, "choice": chosen})
    return [model.Said(gesture.event_id, model.CustomerText(text), quotes=quotes)]


def quotation(text: str) -> str:
    """Return the beginning of a message on one line, without lines that quote others."""
    lines = (line for line in text.splitlines() if not line.startswith("> "))
    return cut(TURNS.sub("", " ".join(" ".join(lines).split())), QUOTED)


# --- redactions -----------------------------------------------------------------------------------


def withdrew(visit: Visit, taken: ports.Withdrew, earlier: Earlier | None) -> list[model.Input]:
    """Return the inputs of a redaction, with a note for an agent who may have the message."""
    record = visit.record
    former, gone, note = read_as(record, taken.target), wordings(record, taken.target), ""
    if earlier is not None and _is_known(visit, taken, former, earlier):
        note = visit.for_agent("agent.withdrawn", {})  # does not repeat the message
        if earlier.at is not None:
            key = "agent.unreacted" if earlier.reaction else "agent.withdrawn_at"
            note = _dated(visit, key, earlier.at)
        if earlier.sender not in {"", taken.sender} and not record.direct:  # a moderator did
            author = visit.name_of(earlier.sender)
            note = visit.for_agent("agent.withdrawn_author", {"text": note, "name": author})
    visit.record = forgotten(visit.record, *gone)
    visit.set(corrections=tuple(pair for pair in record.corrections if taken.target not in pair))
    others = tuple(event for event in gone if event != former)
    return [model.Withdrawn(former, others, taken.event_id, note)]


def _is_known(visit: Visit, taken: ports.Withdrew, former: EventId, earlier: Earlier) -> bool:
    """True if the present or coming agent may have the message, in its wording `former`."""
    record, phase = visit.record, visit.record.conversation.phase
    if not visit.rules.tell.withdrawals or earlier.content is None or earlier.command:
        return False
    if earlier.correction and former == taken.target:
        return False  # a redaction of the correction only
    if _never_sent(record, former, earlier) or _is_unseen(record, former, earlier):
        return False
    begun = isinstance(phase, model.Requesting) and phase.session_id is not None
    present = begun or isinstance(phase, model.Chatting | model.Queued)
    return present and not _is_past(record, earlier)


ERASE_EVERY = 60_000
"""ms between attempts to erase copies that were not settled yet."""
ERASING_LIMIT = 100
"""Maximum redacted events in a room's record; older ones are left to `retention`."""


async def erase(around: Surroundings, visit: Visit, before: RoomRecord, target: EventId) -> None:
    """Erase settled copies of a message and its corrections in `before`; list them for the rest."""
    gone = wordings(before, target)
    for event_id in gone:
        drop_sealed(visit, event_id)
        await around.store.forget_body(visit.record.room_id, event_id)
    note_erasing(visit, gone)


def note_erasing(visit: Visit, gone: tuple[EventId, ...]) -> None:
    """Note redacted events, of which copies that are not settled yet are erased later."""
    noted = dict.fromkeys((*visit.record.erasing, *gone))
    visit.set(erasing=tuple(noted)[-ERASING_LIMIT:], erase_at=visit.now + ERASE_EVERY)


def note_redacted(visit: Visit, raw: Raw) -> None:
    """Note a message that comes without content as it is redacted: a correction may follow."""
    unsigned = raw.get("unsigned")
    if visit.record.served and isinstance(unsigned, dict) and "redacted_because" in unsigned:
        note_erasing(visit, (EventId(str(raw["event_id"])),))


async def erase_more(around: Surroundings, visit: Visit, busy: Collection[str]) -> None:
    """Erase redacted events if due, except those still held or with `busy` effects."""
    moment = erasing_due(visit.record)
    if moment is None or visit.now < moment:
        return
    waiting = unique_events(all_pieces(visit.record.conversation))
    left = tuple(event for event in visit.record.erasing if event in waiting or event in busy)
    for event_id in visit.record.erasing:
        if event_id not in left:
            await around.store.forget_body(visit.record.room_id, event_id)
    visit.set(erasing=left, erase_at=visit.now + ERASE_EVERY)


def erasing_due(record: RoomRecord) -> int | None:
    return record.erase_at if record.erasing else None


# --- edits ----------------------------------------------------------------------------------------


def turn_down(
    visit: Visit,
    spoke: ports.Spoke | ports.Corrected,
    earlier: Earlier | None,
    key: str,
    args: model.Args | None = None,
) -> None:
    """Report what goes to nobody; an edit is noted, so that 🔁 sends the newest wording."""
    if isinstance(spoke, ports.Corrected) and earlier and earlier.sender == spoke.sender:
        noted = (*visit.record.corrections, (spoke.target, spoke.event_id))
        visit.set(corrections=noted[-KEPT_CORRECTIONS:])
    visit.report(spoke.event_id, key, args)


def corrected(visit: Visit, edit: ports.Corrected, earlier: Earlier | None) -> list[model.Input]:
    """Return the inputs of an edit; report one that is too late or of another's message."""
    record, target = visit.record, edit.target
    if target in record.erasing:
        return []  # the message is redacted
    if earlier is not None and (earlier.content is None or earlier.sender not in {"", edit.sender}):
        visit.report(edit.event_id, "unreadable.malformed")
        return []
    drop_superseded(visit, edit)
    former, known = read_as(record, target), wordings(record, target)
    gone = known[known.index(former) + 1 :]  # unsent, now superseded
    visit.record = forgotten(visit.record, *gone)
    kept = [pair for pair in record.corrections if pair[1] not in gone]
    visit.set(corrections=(*kept, (target, edit.event_id))[-KEPT_CORRECTIONS:])
    state = record.conversation
    if any(one is not None and one.event_id == target for one in (state.rating, state.rated)):
        visit.report(edit.event_id, "undelivered.late_correction")  # sent with a rating
        return []
    if _is_unseen(visit.record, former, earlier):
        return _as_message(visit, edit, former, (former, *gone))
    return [*_withdrawn(gone), *_as_correction(visit, edit, former, earlier)]


def _as_correction(
    visit: Visit, edit: ports.Corrected, former: EventId, earlier: Earlier | None
) -> list[model.Input]:
    """Return the inputs for an agent who may have the wording `former`, read as `earlier`."""
    if earlier is not None and earlier.command:
        return _as_message(visit, edit, former)
    whole = _captioned(edit.content, edit.plain)
    correction = _correction(visit, whole, earlier)
    if correction is None:
        return []
    over = isinstance(visit.record.conversation.phase, model.NoChat)
    if over or _is_past(visit.record, earlier):
        visit.report(edit.event_id, "undelivered.late_correction")
        return []
    if _never_sent(visit.record, former, earlier):
        return _as_message(visit, edit, former)
    return [model.Said(edit.event_id, correction, amends=former, instead=whole)]


def _as_message(
    visit: Visit, edit: ports.Corrected, former: EventId, replaces: tuple[EventId, ...] = ()
) -> list[model.Input]:
    """Return the correction as a message, in the place of `former`, which no agent has."""
    visit.record = forgotten(visit.record, former)
    return [model.Said(edit.event_id, _captioned(edit.content, edit.plain), replaces=replaces)]


def _withdrawn(events: tuple[EventId, ...]) -> list[model.Input]:
    return [model.Withdrawn(events[0], events[1:])] if events else []


def _correction(
    visit: Visit, content: model.CustomerContent, earlier: Earlier | None
) -> model.CustomerContent | None:
    """Return the correction for the agent; None if nothing that an agent sees has changed."""
    before = None if earlier is None else earlier.content
    file = before.mxc if isinstance(before, model.CustomerMedia) else None
    match content:
        case model.CustomerText():
            return _reworded(visit, content.text, earlier)
        case model.CustomerMedia() if content.mxc == file:
            return _reworded(visit, content.caption, earlier)
        case model.CustomerMedia():
            text = content.caption or content.name
            return _captioned(content, visit.for_agent("agent.corrected", {"text": text}))
        case model.CustomerLocation():
            return None if content == before else content


def _reworded(visit: Visit, new: str, earlier: Earlier | None) -> model.CustomerText | None:
    old = "" if earlier is None else earlier.words
    if new.split() == old.split():
        return None
    if not new.strip():  # a caption: texts are never empty
        return model.CustomerText(visit.for_agent("agent.withdrawn_caption", {}))
    if not old and earlier is not None:
        return model.CustomerText(new)  # the file had no caption
    if found := differences(old, new):
        new = "\n".join(visit.for_agent("agent.change", {"old": a, "new": b}) for a, b in found)
    return model.CustomerText(visit.for_agent("agent.corrected", {"text": new}))


# --- sending again --------------------------------------------------------------------------------

_RESEND_SIGNS = frozenset("🔁🔄🔂↩")


def resend_by_reaction(visit: Visit, reaction: ports.Reacted, earlier: Earlier | None) -> bool:
    """Resend a message on a 🔁 reaction to it or to our report about it (`earlier`).

    On a queue card, all messages dropped with the request. On a customer's message it counts even
    with nothing to resend (tapped twice, or delivered meanwhile): agents never see this reaction.
    On a report this is answered, as it asks for the tap. Returns False for any other reaction.
    """
    if bare_sign(reaction.key) not in _RESEND_SIGNS:
        return False
    reports = None if earlier is None else earlier.reports
    cards = (card for card in visit.record.cards if card.event_id == reaction.target)
    about = [event_id for card in cards for event_id in card.dropped] or [reaction.target]
    meant = (reported_message(visit, event, reports) for event in about)
    wanted = [note for note in meant if note is not None]
    for note in wanted:
        want_again(visit, note)
    if reports is not None and not wanted:
        visit.say("again.nothing", reply_to=reaction.target)
    return bool(wanted or reports) or (earlier is not None and earlier.content is not None)


def reported_message(visit: Visit, target: EventId, reports: EventId | None) -> EventId | None:
    """Return the undelivered message that `target` is or reports, in its newest wording."""
    for event_id in filter(None, (target, reports)):
        wording = newest(visit.record, event_id)
        if undelivered(visit.record, wording) is not None:
            return wording
    return None


def want_again(visit: Visit, event_id: EventId) -> None:
    """Schedule a resend, unless the message is under way."""
    if event_id in unique_events(all_pieces(visit.record.conversation)):
        visit.say("again.under_way", reply_to=event_id)
    else:
        visit.again.append(event_id)


def resend(
    visit: Visit,
    event_id: EventId,
    found: ports.Meaning | ports.Undecryptable | None,
    earlier: Earlier | None,
) -> list[model.Input]:
    """Return the inputs that resend the event `found`, or say why it cannot be resent.

    `earlier` is the message to which it refers. `Pending` has to follow.
    """
    if isinstance(found, ports.Undecryptable):
        visit.report(event_id, found.key)
        return []
    if found is not None and visit.record.settings.paused:
        visit.report(event_id, "undelivered.paused")
        return []
    happened: list[model.Input] = []
    if isinstance(found, ports.Spoke):
        happened = [spoken(visit, found, earlier)]
    elif isinstance(found, ports.Corrected):
        happened = _corrected_again(visit, found, earlier)
    elif isinstance(found, ports.Reacted):
        happened = gestured(visit, found, earlier)
    if not happened:  # erased, or nothing for an agent
        visit.record = forgotten(visit.record, event_id)
        key = "again.forgotten" if found is None else "again.cannot"
        visit.say(key, reply_to=event_id)
        return []
    visit.record = sent_again(visit.record, event_id)
    drop_sealed(visit, event_id)  # or it would be sent again when its key comes
    return [replace(one, again=True) if isinstance(one, model.Said) else one for one in happened]


def _corrected_again(
    visit: Visit, edit: ports.Corrected, earlier: Earlier | None
) -> list[model.Input]:
    """Resend an undelivered correction in full, as it is uncertain which wording the agent has.

    If the agent has none, it is sent as an ordinary message.
    """
    content, event_id = _captioned(edit.content, edit.plain), edit.event_id
    others = [event for event in wordings(visit.record, edit.target) if event != event_id]
    unseen = tuple(event for event in others if _is_unseen(visit.record, event, None))
    visit.record = forgotten(visit.record, *unseen)
    if unseen or _is_past(visit.record, earlier):
        visit.set(whole=(*visit.record.whole, event_id)[-KEPT_CORRECTIONS:])
    message = model.Said(event_id, content)
    if isinstance(content, model.CustomerText) and event_id not in visit.record.whole:
        text = model.CustomerText(visit.for_agent("agent.corrected", {"text": content.text}))
        former = read_as(visit.record, edit.target)
        message = model.Said(event_id, text, amends=former, instead=content)
    return [*_withdrawn(unseen), message]


# --- sealed events --------------------------------------------------------------------------------

KEY_PATIENCE = 10_000
"""ms after an event's arrival for which the room waits for its key."""
SEALED_KEPT = 3_600_000
"""ms for which an event without key is kept."""
SEALED_RETRY = 60_000
"""ms between attempts to decrypt it, besides the one when a key arrives."""
SEALED_LIMIT, SEALED_BYTES = 50, 256 * 1024
"""Maximum number and bytes of sealed events of a room. Fifty ordinary messages take 75 KB; a
megabyte would cost 5 ms of CPU time in each step."""
UNKEPT = "unreadable.undecryptable"
"""Text key of the answer to one more, which promises nothing."""


def key_patience(received: int, now: int) -> float:
    """Return the seconds left to wait for an event's key, safe against a clock set back."""
    return min(KEY_PATIENCE, max(0, received + KEY_PATIENCE - now)) / 1000


def keep_sealed(visit: Visit, raw: Raw, found: ports.Undecryptable) -> str:
    """Keep an event if its key may come, perhaps anew; return the text key of the answer to it.

    If there are too many, the oldest of strangers go, to whom nothing was promised; if that is not
    enough, this one is not kept, and its sender is asked to send it again.
    """
    if not found.later:
        return found.key
    served, kept = visit.rules.serves, [*visit.record.sealed]
    chat = _present_chat(visit.record) if served(str(raw.get("sender"))) else 0
    event = SealedEvent(raw, visit.now + SEALED_KEPT, visit.now + SEALED_RETRY, chat)
    events = [sealed.raw.get("event_id") for sealed in kept]
    if raw["event_id"] in events:
        kept[events.index(raw["event_id"])] = event  # in its place: corrections follow it
    else:
        while len(kept) >= SEALED_LIMIT or not fits((item.raw for item in kept), raw, SEALED_BYTES):
            strangers = [item for item in kept if not served(str(item.raw.get("sender")))]
            if not strangers:
                return UNKEPT if can_be_sent_again(found.key) else found.key
            kept.remove(strangers[0])
        kept.append(event)
    visit.set(sealed=tuple(kept))
    return found.key


def drop_sealed(visit: Visit, event_id: str) -> None:
    kept = (item for item in visit.record.sealed if item.raw.get("event_id") != event_id)
    visit.set(sealed=tuple(kept))


def drop_superseded(visit: Visit, edit: ports.Corrected) -> None:
    """Drop the sealed wordings before a correction: a late key would bring an agent the old one."""
    kept, later = list[SealedEvent](), False
    for item in visit.record.sealed:
        event_id, content = item.raw.get("event_id"), item.raw.get("content")
        relation = content.get("m.relates_to") if isinstance(content, dict) else None
        later, about = later or event_id == edit.event_id, event_id
        if isinstance(relation, dict) and relation.get("rel_type") == "m.replace":
            about = relation.get("event_id")
        if later or about != edit.target or item.raw.get("sender") != edit.sender:
            kept.append(item)
    visit.set(sealed=tuple(kept))


def refuse_late(visit: Visit, event: SealedEvent) -> bool:
    """Report an event whose key has come, if its chat is over; return whether it is.

    Else a chat that the customer has ended would begin anew up to an hour later, or the next one's
    agent would get words of the former, or a command end it.
    """
    over = event.chat not in {0, _present_chat(visit.record)}
    if over:
        visit.report(EventId(str(event.raw["event_id"])), "undelivered.closed")
    return over


def _present_chat(record: RoomRecord) -> int:
    """Return the number of the present chat; 0 if there is none."""
    state = record.conversation
    return 0 if isinstance(state.phase, model.NoChat) else state.number


def sealed_due(record: RoomRecord) -> int | None:
    return min((event.retry_at for event in record.sealed), default=None)


def sort_out_sealed(visit: Visit, opened: list[SealedEvent]) -> None:
    """Drop opened and expired events; schedule the next attempt for the rest."""
    left = (item for item in visit.record.sealed if item not in opened and visit.now < item.until)
    later = visit.now + SEALED_RETRY
    visit.set(sealed=tuple(replace(item, retry_at=min(later, item.until)) for item in left))
