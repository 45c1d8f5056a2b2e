"""Messages about messages: replies, reactions, votes, edits, redactions, and sending again.

WebChat has none of these, so an agent is told in words. All is pure but what asks the store
(`recall`, `original`, `said_by_agent`, `erase`, `erase_more`) and raises StoreError if the database
did not answer.

- A reply begins with a short quotation, and a message in a thread with one of its root. Nothing is
  told of a message that the agent never saw: it did not arrive, or was of an earlier chat.
- The earlier message (`Earlier`) is read from the journal, where `retention` erases it some day: of
  one that is erased the agent is told without its words.
- An edit (correction) is told once, as a difference of words (`changes`), against the newest
  wording that an agent may have (`read_as`). What has not gone yet goes in its newest wording only.
- A redaction erases all copies in the journal: the event, its corrections, and the effects of each.
  What has ended is erased at once, the rest up to a minute after its end; until then the room's
  record remembers the events.
- Sending again: by 🔁 on a message or on our answer to it, or by the command `retry`. The event is
  read from the journal and handled as if it had been sent now, under its own id.
- Sealed events: encrypted ones whose key has not come within `KEY_PATIENCE`, for which later events
  wait. The sender is told; if the key comes within an hour, the event is handled then.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import takewhile

import msgspec
from msgspec.structs import replace

from bridge.config.model import SERVED
from bridge.conversation import model
from bridge.conversation.history import mark_of
from bridge.conversation.turn import all_pieces, unique_events
from bridge.ids import EffectSeq, EventId, RoomId, UserId
from bridge.media.plaintext import html_to_text
from bridge.rooms.record import (
    Corrected,
    MatrixEvent,
    Meaning,
    PartPosted,
    PollAnswered,
    Raw,
    Reacted,
    RoomRecord,
    SealedEvent,
    Spoke,
    Stored,
    Undecryptable,
    Withdrew,
    load_input,
)
from bridge.rooms.rules import bare_sign
from bridge.rooms.store import Lane
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import (
    KEPT_CORRECTIONS,
    StoredEffect,
    Visit,
    forgotten,
    load_effect,
    sent_again,
    undelivered,
)
from bridge.texts.durations import clock_time
from bridge.webchat.frames import AgentLocation, AgentMedia, AgentText
from bridge.webchat.words import decode_emoji

QUOTED = 60
"""Characters of a quotation."""

_DIRECTIONS = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the reading direction; one that was cut off would turn all that follows."""


class Earlier(msgspec.Struct, frozen=True):
    """A message that another one is about, as the journal has it."""

    text: str
    """Its words: a text, a caption, or, where there are none, a file's or a place's name."""
    content: model.CustomerContent | None = None
    """None if an agent sent it."""
    sender: UserId = UserId("")
    correction: bool = False
    answers: tuple[tuple[str, str], ...] = ()
    """A poll's: id and text of each."""
    reports: EventId | None = None
    """It is ours, and says that this message did not arrive."""
    at: int | None = None
    """When it last went to the call centre, or came from there, ms; None: nobody knows."""
    unsent: bool = False
    """It never went to the call centre: the robot answered it, or we did."""
    command: bool = False
    """It was a command, so that no agent has seen it."""

    @property
    def words(self) -> str:
        """Its typed words: a file without a caption has a name, but no words."""
        content = self.content
        named = isinstance(content, model.CustomerMedia) and self.text == content.name
        return "" if named else self.text


# --- looking up -----------------------------------------------------------------------------------


async def recall(around: Surroundings, room_id: RoomId, event_id: EventId) -> Earlier | None:
    """Read an event's words and time; None if we have no right to them, or they are erased."""
    body = await around.store.body_of(room_id, event_id)
    if body is None:
        return None
    row = _row(body)
    meaning = await _meaning(around, row)
    earlier = _from_a_person(meaning) or _from_us(row)
    if earlier is None:
        return None
    # A correction that changed nothing was told to nobody: then what it corrected counts.
    events = [event_id, *([meaning.target] if isinstance(meaning, Corrected) else [])]
    # What we said of a message is in its ledger too, and says nothing of when an agent read it.
    ours = () if earlier.content is None else (Lane.MATRIX, Lane.ASIDE)
    rows = [row for one in events for row in await around.store.trace(one)]
    came = [row.at for row in rows if row.what == "received"]
    went = [row.at for row in rows if row.what == "stored" and row.detail not in ours]
    at = max((*came, *went), default=None)
    return replace(earlier, at=at, unsent=bool(came) and not went)


async def is_about_unknown(around: Surroundings, record: RoomRecord, body: bytes) -> bool:
    """True if an input is a reaction, a vote or a reply to an event that nobody knows here (yet).

    Raises StoreError. What our own code fails at is told where the input is handled.
    """
    about = None
    with suppress(Exception):
        meaning = await _meaning(around, _row(body), ask=False)
        if isinstance(meaning, Spoke | Reacted | PollAnswered):
            about = refers_to(record, meaning)
    return about is not None and await around.store.body_of(record.room_id, about) is None


async def original(
    around: Surroundings, room_id: RoomId, event_id: EventId
) -> Meaning | Undecryptable | None:
    """Read a person's event again; None if it is none, or no longer kept."""
    body = await around.store.body_of(room_id, event_id)
    return None if body is None else await _meaning(around, _row(body))


async def said_by_agent(
    around: Surroundings, record: RoomRecord, before: EffectSeq, taken: model.TakeBack
) -> tuple[EventId, ...]:
    """The events of the message that an agent takes back; none if nobody knows them here.

    A push without a number is known by its words, if it has any; of equal ones, that nearest to
    their moment.
    """
    parts: defaultdict[EventId, list[EventId]] = defaultdict(list)
    alike: list[tuple[int, EventId]] = []
    for event_id, body, received in await around.store.posted(
        record.room_id, before, record.moved_at
    ):
        match _row(body):
            case PartPosted(of=first):
                parts[first].append(event_id)
            case model.Relay(message_id="", agent=agent, content=AgentText(html=words)):
                mark = mark_of(agent.id, words)
                if mark.hex() == taken.mark and mark != mark_of(agent.id, ""):
                    alike.append((abs(received - taken.at), event_id))
            case model.Relay(message_id=number) if number and number == taken.message_id:
                return event_id, *parts[event_id]
    nearest = min(alike, default=None)
    return () if nearest is None else (nearest[1], *parts[nearest[1]])


def _row(body: bytes) -> Stored | StoredEffect | None:
    """The input or the effect in a row of the journal; None if it holds neither."""
    for load in (load_input, load_effect):
        with suppress(ValueError):
            return load(body)
    return None


async def _meaning(
    around: Surroundings, row: Stored | StoredEffect | None, *, ask: bool = True
) -> Meaning | Undecryptable | None:
    if not isinstance(row, MatrixEvent):
        return None
    raw = await around.matrix.open(row.raw, ask=ask)
    return raw if isinstance(raw, Undecryptable) else around.matrix.interpret(raw)


def _from_a_person(meaning: Meaning | Undecryptable | None) -> Earlier | None:
    if not isinstance(meaning, Spoke | Corrected):
        return None
    content, text = meaning.content, meaning.plain
    match content:
        case model.CustomerText(text=own) | model.CustomerMedia(name=own):
            text = text or own
        case model.CustomerLocation():
            text = content.poi
    correction = isinstance(meaning, Corrected)
    return Earlier(text, content, meaning.sender, correction, meaning.answers)


def _from_us(row: Stored | StoredEffect | None) -> Earlier | None:
    """Words of an event of ours: an agent's, or our report of an undelivered message."""
    match row:
        case PartPosted():
            return Earlier(row.text)
        case model.Relay(content=AgentText(html=html)):
            return Earlier(html_to_text(decode_emoji(html)) or "")
        case model.Relay(content=AgentMedia(name=words) | AgentLocation(poi=words)):
            return Earlier(words)
        case model.Relay():
            return Earlier("")
        case model.Reported():
            return Earlier("", reports=row.event_id)
        case _:
            return None


# --- which message, and who has it ----------------------------------------------------------------


def refers_to(record: RoomRecord, meaning: Meaning) -> EventId | None:
    """The earlier event that a reply, edit, redaction, reaction or vote is about, or a thread."""
    match meaning:
        case PollAnswered(target=target) if any(card.event_id == target for card in record.cards):
            return None
        case Spoke(about=str() as target) | Reacted(target=target) | PollAnswered(target=target):
            # Clients show the newest wording in the first one's place; the first may have been
            # corrected because nobody was to read it.
            return newest(record, target)
        case Corrected() | Withdrew():
            return read_as(record, meaning.target)
        case _:
            return None


def newest(record: RoomRecord, event_id: EventId) -> EventId:
    return dict(record.corrections).get(event_id, event_id)


def read_as(record: RoomRecord, event_id: EventId) -> EventId:
    """The event with the newest wording that an agent may have, or is to get as the message.

    A correction that did not go, or still waits, leaves an agent with what was there before it.
    """
    for wording in reversed(wordings(record, event_id)[1:]):
        if wording in record.whole or not _is_unseen(record, wording, None):
            return wording
    return event_id


def wordings(record: RoomRecord, event_id: EventId) -> tuple[EventId, ...]:
    return event_id, *(new for old, new in record.corrections if old == event_id)


def _is_past(record: RoomRecord, earlier: Earlier | None) -> bool:
    """True if it belongs to a chat that is over, whose agent need not be the present one."""
    at, ended = None if earlier is None else earlier.at, record.conversation.last_ended_at
    return at is not None and ended is not None and at <= ended


def _is_unseen(record: RoomRecord, event_id: EventId, earlier: Earlier | None) -> bool:
    """True if a message was reported as undelivered, or nothing of it has been sent yet."""
    if undelivered(record, event_id) is not None:
        return True
    waiting = [piece for piece in record.conversation.held if piece.event_id == event_id]
    outstanding = record.conversation.outstanding
    going = None if outstanding is None or outstanding.held is None else outstanding.held.event_id
    if going == event_id or not waiting or any(piece.asked is not None for piece in waiting):
        return False
    # The first parts of a long text may have gone already: then these are not all of it.
    texts = [one.content.text for one in waiting if isinstance(one.content, model.CustomerText)]
    return earlier is None or sum(map(len, texts)) >= len(earlier.words)


def _never_went(record: RoomRecord, event_id: EventId, earlier: Earlier | None) -> bool:
    """True if that message was none for an agent: the robot answered it, or we did."""
    # Of what goes out at this moment, the journal has no row yet.
    going = unique_events(all_pieces(record.conversation))
    return earlier is not None and earlier.unsent and event_id not in going


def _quoted(record: RoomRecord, event_id: EventId) -> tuple[EventId, ...]:
    """The message as it came, and in its newest wording."""
    return tuple(dict.fromkeys((event_id, newest(record, event_id))))


# --- replies, reactions, votes --------------------------------------------------------------------


def spoken(visit: Visit, spoke: Spoke, earlier: Earlier | None) -> model.Said:
    """The message as an agent gets it: with its caption, and a quotation of what it replies to.

    `instead`: what is left of it, should that be taken back before it goes; of a file its name.
    """
    bare = spoke.content
    if spoke.wrap and isinstance(bare, model.CustomerText):
        bare = model.CustomerText(visit.word(spoke.wrap, {"text": bare.text}))
    bare = _captioned(bare, spoke.plain)
    quote = "" if earlier is None else _quotable(visit, earlier)
    if not quote or spoke.about is None or isinstance(bare, model.CustomerLocation):
        return model.Said(spoke.event_id, bare, spoke.plain)
    words = bare.text if isinstance(bare, model.CustomerText) else bare.caption
    told = visit.word("agent.reply", {"quote": quote, "text": words})
    content: model.CustomerContent = model.CustomerText(told)
    if isinstance(bare, model.CustomerMedia):
        content = _captioned(bare, told.strip())
        bare = _captioned(bare, bare.caption or bare.name or bare.kind)
    events = _quoted(visit.record, spoke.about)
    return model.Said(spoke.event_id, content, spoke.plain, quotes=events, instead=bare)


def _quotable(visit: Visit, earlier: Earlier) -> str:
    """The quotation; empty if there is none, or no agent is to read a word of that person's."""
    author = earlier.sender
    strange = bool(author) and visit.rules.permission(author) not in SERVED
    return "" if strange or earlier.command else quotation(earlier.text)


def _captioned(content: model.CustomerContent, caption: str) -> model.CustomerContent:
    if isinstance(content, model.CustomerMedia) and caption:
        return replace(content, caption=caption)
    return content


def gestured(
    visit: Visit, gesture: Reacted | PollAnswered, earlier: Earlier | None
) -> list[model.Input]:
    """Inputs of a reaction or of a vote in a person's poll: an agent who has seen it is told."""
    record, phase = visit.record, visit.record.conversation.phase
    alone = not isinstance(phase, model.Chatting) or phase.robot or phase.close
    if alone or not visit.rules.tell.reactions or earlier is None or _is_past(record, earlier):
        return []
    quotes = _quoted(record, gesture.target)
    if _never_went(record, quotes[-1], earlier):
        return []
    if isinstance(gesture, Reacted):
        quote = quotation(earlier.text)
        if not quote or earlier.command or undelivered(record, quotes[-1]) is not None:
            return []
        text = visit.word("agent.reacted", {"reaction": gesture.key, "quote": quote})
    else:
        known, voted_for = dict(earlier.answers), dict.fromkeys((gesture.answer, *gesture.more))
        chosen = tuple(known[one] for one in voted_for if one in known)
        if not chosen:
            return []
        quote = quotation(earlier.text.partition("\n")[0])
        text = visit.word("agent.vote", {"quote": quote, "choice": chosen})
    return [model.Said(gesture.event_id, model.CustomerText(text), quotes=quotes)]


def quotation(text: str) -> str:
    """The beginning of a message, in one line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("> ")]
    words = _DIRECTIONS.sub("", " ".join(" ".join(lines).split()))
    return words if len(words) <= QUOTED else words[: QUOTED - 1].rstrip() + "…"


# --- redactions -----------------------------------------------------------------------------------


def withdrew(visit: Visit, taken: Withdrew, earlier: Earlier | None) -> list[model.Input]:
    """Inputs of a redaction; the agent is told of one whose message may have reached them."""
    record, rules = visit.record, visit.rules
    former, gone, note = read_as(record, taken.target), wordings(record, taken.target), ""
    if earlier is not None and _is_known(visit, taken, former, earlier):
        note = visit.word("agent.withdrawn", {})  # without a word of the message
        if earlier.at is not None:
            language = rules.agents_language(record.settings)
            time = clock_time(language, earlier.at, rules.timezone, now_ms=visit.now)
            note = visit.word("agent.withdrawn_at", {"time": time})
        if earlier.sender not in {"", taken.sender} and not record.direct:  # moderators may
            author = visit.name_of(earlier.sender)
            note = visit.word("agent.withdrawn_author", {"text": note, "name": author})
    for event_id in gone:
        visit.record = forgotten(visit.record, event_id)
    visit.set(corrections=tuple(one for one in record.corrections if one[0] != taken.target))
    others = tuple(one for one in gone if one != former)
    return [model.Withdrawn(former, others, taken.event_id, note)]


def _is_known(visit: Visit, taken: Withdrew, former: EventId, earlier: Earlier) -> bool:
    """True if the agent who is there, or is to come, may have that message (`former` of it)."""
    record, phase = visit.record, visit.record.conversation.phase
    if not visit.rules.tell.withdrawals or earlier.content is None or earlier.command:
        return False
    if earlier.correction and former == taken.target:
        return False  # not the message, only a correction of it
    if _never_went(record, former, earlier) or _is_unseen(record, former, earlier):
        return False
    begun = isinstance(phase, model.Requesting) and phase.session_id is not None
    present = begun or isinstance(phase, model.Chatting | model.Queued)
    return present and not _is_past(record, earlier)


ERASE_EVERY = 60_000
"""ms until what could not be erased at once is looked at again."""
ERASING_LIMIT = 100
"""Events of a room that are remembered for it; `retention` erases what is beyond."""


async def erase(around: Surroundings, visit: Visit, before: RoomRecord, target: EventId) -> None:
    """Erase what can be erased of a message and its corrections in `before`; remember the rest."""
    gone = wordings(before, target)
    for event_id in gone:
        drop_sealed(visit, event_id)
        await around.store.forget_body(visit.record.room_id, event_id)
    remembered = dict.fromkeys((*visit.record.erasing, *gone))
    visit.set(erasing=tuple(remembered)[-ERASING_LIMIT:], erase_at=visit.now + ERASE_EVERY)


async def erase_more(around: Surroundings, visit: Visit, busy: Collection[str]) -> None:
    """Erase what has ended meanwhile, if it is time; not events that `busy` effects are about."""
    moment = erasing_due(visit.record)
    if moment is None or visit.now < moment:
        return
    waiting = unique_events(all_pieces(visit.record.conversation))
    left = tuple(one for one in visit.record.erasing if one in waiting or one in busy)
    for event_id in visit.record.erasing:
        if event_id not in left:
            await around.store.forget_body(visit.record.room_id, event_id)
    visit.set(erasing=left, erase_at=visit.now + ERASE_EVERY)


def erasing_due(record: RoomRecord) -> int | None:
    return record.erase_at if record.erasing else None


def has_to_ask(record: RoomRecord, now: int) -> bool:
    """True if a signal needs I/O: sealed events to be tried again, or copies to be erased."""
    moment = erasing_due(record)
    due = moment is not None and moment <= now
    return bool(record.sealed) or due or record.gone_at is not None


# --- edits ----------------------------------------------------------------------------------------


def corrected(visit: Visit, edit: Corrected, earlier: Earlier | None) -> list[model.Input]:
    """Inputs of an edit; one that is too late, or of somebody else's message, is reported."""
    record, target = visit.record, edit.target
    if target in record.erasing:
        return []  # taken back meanwhile, and shown by no client any more
    if earlier is not None and (earlier.content is None or earlier.sender not in {"", edit.sender}):
        visit.report(edit.event_id, "unreadable.malformed")
        return []
    state = record.conversation
    if any(one is not None and one.event_id == target for one in (state.rating, state.rated)):
        visit.report(edit.event_id, "undelivered.late_correction")  # it went along with a rating
        return []
    former, known = read_as(record, target), wordings(record, target)
    gone = known[known.index(former) + 1 :]  # no agent has these, and none is to go any more
    for event_id in gone:
        visit.record = forgotten(visit.record, event_id)
    kept = [one for one in record.corrections if one[1] not in gone]
    visit.set(corrections=(*kept, (target, edit.event_id))[-KEPT_CORRECTIONS:])
    if _is_unseen(visit.record, former, earlier):
        said, gone = _as_message(visit, edit, former), (former, *gone)
    else:
        said = _told(visit, edit, former, earlier)
    return [*_withdrawn(gone), *said]


def _told(
    visit: Visit, edit: Corrected, former: EventId, earlier: Earlier | None
) -> list[model.Input]:
    """Inputs for an agent who may have the wording `former`, which says `earlier`."""
    if earlier is not None and earlier.command:
        return _as_message(visit, edit, former)
    whole = _captioned(edit.content, edit.plain)
    told = _correction(visit, whole, earlier)
    if told is None:
        return []
    over = isinstance(visit.record.conversation.phase, model.NoChat)
    if over or _is_past(visit.record, earlier):
        visit.report(edit.event_id, "undelivered.late_correction")
        return []
    if _never_went(visit.record, former, earlier):
        return _as_message(visit, edit, former)
    return [model.Said(edit.event_id, told, amends=former, instead=whole)]


def _as_message(visit: Visit, edit: Corrected, former: EventId) -> list[model.Input]:
    """The correction in place of the message, of which no agent has a former wording."""
    visit.record = forgotten(visit.record, former)
    visit.set(whole=(*visit.record.whole, edit.event_id)[-KEPT_CORRECTIONS:])
    return [model.Said(edit.event_id, _captioned(edit.content, edit.plain))]


def _withdrawn(events: tuple[EventId, ...]) -> list[model.Input]:
    return [model.Withdrawn(events[0], events[1:])] if events else []


def _correction(
    visit: Visit, content: model.CustomerContent, earlier: Earlier | None
) -> model.CustomerContent | None:
    """The correction as the agent reads it; None if it changes nothing that an agent sees."""
    before = None if earlier is None else earlier.content
    file = before.mxc if isinstance(before, model.CustomerMedia) else None
    match content:
        case model.CustomerText():
            return _reworded(visit, content.text, earlier)
        case model.CustomerMedia() if content.mxc == file:
            return _reworded(visit, content.caption, earlier)
        case model.CustomerMedia():
            text = content.caption or content.name
            return _captioned(content, visit.word("agent.corrected", {"text": text}))
        case model.CustomerLocation():
            return None if content == before else content


def _reworded(visit: Visit, new: str, earlier: Earlier | None) -> model.CustomerText | None:
    old = "" if earlier is None else earlier.words
    found = changes(old, new) if old else None
    if found == () or new.split() == old.split():
        return None
    if not new.strip():  # of a file, the caption; a text is never empty
        return model.CustomerText(visit.word("agent.withdrawn_caption", {}))
    if not old and earlier is not None:
        return model.CustomerText(new)  # a file that had no caption
    if found is not None:
        new = "\n".join(visit.word("agent.change", {"old": a, "new": b}) for a, b in found)
    return model.CustomerText(visit.word("agent.corrected", {"text": new}))


# --- the difference of two wordings ---------------------------------------------------------------

MAX_PIECES = 160
"""Words and blanks between the first and the last change. The comparison is cubic."""

_LETTERS = r"[^\W_\u2e80-\U0003ffff]+"
_WORD = re.compile(rf"{_LETTERS}(?:[.,:'’_-]{_LETTERS})*|\s+|.", re.DOTALL)
"""A word or number of an alphabet, blanks, or one other character (Chinese has no blanks)."""
_NEAR = 3
"""Pieces between two changes that are not worth telling them apart."""


def changes(old: str, new: str) -> tuple[tuple[str, str], ...] | None:
    """Difference of two texts, word by word; None if it is as short to say the whole new one.

    Each (old, new) has a word on either side, so that it can be found.
    """
    if old.split() == new.split():
        return ()
    before, after = _WORD.findall(old), _WORD.findall(new)
    start = _common(before, after)
    middle, new_middle = before[start:], after[start:]
    end = _common(middle[::-1], new_middle[::-1])
    middle, new_middle = middle[: len(middle) - end], new_middle[: len(new_middle) - end]
    if max(len(middle), len(new_middle)) > MAX_PIECES:
        return None
    found = tuple(
        (_around(before, start + low, start + high), _around(after, start + to, start + upto))
        for low, high, to, upto in _places(middle, new_middle)
    )
    told = sum(len(one) + len(other) + 4 for one, other in found)
    return found if told < len(new) else None


def _common(one: list[str], other: list[str]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _places(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """Ranges that differ, in the old pieces and in the new; those close to each other joined."""
    joined: list[tuple[int, int, int, int]] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, low, high, new_low, new_high in matcher.get_opcodes():
        if tag == "equal":
            continue
        near = joined and low - joined[-1][1] <= _NEAR
        first, _, new_first, _ = joined.pop() if near else (low, high, new_low, new_high)
        joined.append((first, high, new_first, new_high))
    return joined


def _around(pieces: Sequence[str], low: int, high: int) -> str:
    """The part from `low` to `high`, with the word before and the word behind it."""
    low = next((at for at in range(low - 1, -1, -1) if _is_word(pieces[at])), low)
    high = next((at + 1 for at in range(high, len(pieces)) if _is_word(pieces[at])), high)
    return "".join(pieces[low:high]).strip()


def _is_word(piece: str) -> bool:
    return any(map(str.isalnum, piece))


# --- sending again --------------------------------------------------------------------------------

_RESEND_SIGNS = frozenset("🔁🔄🔂↩")


def resend_by_reaction(visit: Visit, reaction: Reacted, earlier: Earlier | None) -> bool:
    """Take a reaction, to a message or to what we said of it (`earlier`), as the wish to resend it.

    On a card it is about all that was given up with the request. On a message of a person's it is
    such a wish also where nothing is left to do (they tapped twice, or it has arrived meanwhile):
    an agent is never told of it. False if it is none.
    """
    if bare_sign(reaction.key) not in _RESEND_SIGNS:
        return False
    reports = None if earlier is None else earlier.reports
    cards = (one for one in visit.record.cards if one.event_id == reaction.target)
    about = [event_id for card in cards for event_id in card.dropped] or [reaction.target]
    meant = (reported_message(visit, one, reports) for one in about)
    wanted = [one for one in meant if one is not None]
    for one in wanted:
        want_again(visit, one)
    return bool(wanted) or (earlier is not None and earlier.content is not None)


def reported_message(visit: Visit, target: EventId, reports: EventId | None) -> EventId | None:
    """The undelivered message that `target` is, or is our report of, in its newest wording."""
    for event_id in (target, reports):
        wording = None if event_id is None else newest(visit.record, event_id)
        if wording is not None and undelivered(visit.record, wording) is not None:
            return wording
    return None


def want_again(visit: Visit, event_id: EventId) -> None:
    """Have a message sent again, but not while it is under way."""
    if event_id in unique_events(all_pieces(visit.record.conversation)):
        visit.say("again.under_way", reply_to=event_id)
    else:
        visit.again.append(event_id)


def resend(
    visit: Visit,
    event_id: EventId,
    found: Meaning | Undecryptable | None,
    earlier: Earlier | None,
    *,
    last: bool = True,
) -> list[model.Input]:
    """Inputs by which a message, `found`, happens once more; where it cannot, that is said.

    `earlier` is what it is about. `last`: its answer is one to all that were to be sent again.
    """
    if isinstance(found, Undecryptable):
        visit.report(event_id, found.key)
        return []
    if found is not None and visit.record.settings.paused:
        visit.report(event_id, "undelivered.paused")
        return []
    happened: list[model.Input] = []
    if isinstance(found, Spoke):
        happened = [spoken(visit, found, earlier)]
    elif isinstance(found, Corrected):
        happened = _corrected_again(visit, found, earlier)
    elif isinstance(found, Reacted):
        happened = gestured(visit, found, earlier)
    if not happened:  # forgotten, or no message to an agent
        visit.record = forgotten(visit.record, event_id)
        key = "again.forgotten" if found is None else "again.cannot"
        visit.say(key, reply_to=event_id)
        return []
    visit.record = sent_again(visit.record, event_id)
    drop_sealed(visit, event_id)  # else it would go once more when its key comes
    return [replace(one, again=last) if isinstance(one, model.Said) else one for one in happened]


def _corrected_again(visit: Visit, edit: Corrected, earlier: Earlier | None) -> list[model.Input]:
    """A correction that has not arrived, in full: what the agent has seen by now is uncertain.

    To an agent who never had the message in another wording it is no correction.
    """
    content, event_id = _captioned(edit.content, edit.plain), edit.event_id
    others = [one for one in wordings(visit.record, edit.target) if one != event_id]
    unseen = tuple(one for one in others if _is_unseen(visit.record, one, None))
    for one in unseen:
        visit.record = forgotten(visit.record, one)
    if unseen or _is_past(visit.record, earlier):
        visit.set(whole=(*visit.record.whole, event_id)[-KEPT_CORRECTIONS:])
    said = model.Said(event_id, content)
    if isinstance(content, model.CustomerText) and event_id not in visit.record.whole:
        told = model.CustomerText(visit.word("agent.corrected", {"text": content.text}))
        former = read_as(visit.record, edit.target)
        said = model.Said(event_id, told, amends=former, instead=content)
    return [*_withdrawn(unseen), said]


# --- events whose key has not come ----------------------------------------------------------------

KEY_PATIENCE = 10_000
"""ms after its arrival that an event's key is waited for."""
SEALED_KEPT = 3_600_000
"""ms that an event is kept for its key."""
SEALED_RETRY = 60_000
"""ms between attempts, besides the one that a key's arrival brings about."""
SEALED_LIMIT = 50
"""Events that a room may keep so; the oldest go first."""


def key_patience(received: int, now: int) -> float:
    """Seconds that an event's key may still be waited for, also if the clock went back."""
    return min(KEY_PATIENCE, max(0, received + KEY_PATIENCE - now)) / 1000


def keep_sealed(visit: Visit, raw: Raw) -> None:
    event = SealedEvent(raw, visit.now + SEALED_KEPT, visit.now + SEALED_RETRY)
    visit.set(sealed=(*visit.record.sealed, event)[-SEALED_LIMIT:])


def drop_sealed(visit: Visit, event_id: str) -> None:
    kept = (one for one in visit.record.sealed if one.raw.get("event_id") != event_id)
    visit.set(sealed=tuple(kept))


def sealed_due(record: RoomRecord) -> int | None:
    return min((event.retry_at for event in record.sealed), default=None)


def sort_out_sealed(visit: Visit, opened: list[SealedEvent]) -> None:
    """Drop what was opened and what has waited long enough; the rest is tried again later."""
    left = (one for one in visit.record.sealed if one not in opened and visit.now < one.until)
    later = visit.now + SEALED_RETRY
    visit.set(sealed=tuple(replace(one, retry_at=min(later, one.until)) for one in left))
