"""Messages about messages: replies, reactions, votes, edits, redactions, and sending again.

WebChat has none of these, so an agent is told in words. Pure.

- A reply begins with a short quotation. Nothing is told of a message that the agent never saw, be
  it that it did not arrive or that another agent had it, in an earlier chat. What the earlier
  message said (`Earlier`) is read from the ledger by the reader (`recall`): the journal keeps what
  people sent and what agents did, as long as the operator's `retention` allows. Of a
  message that is no longer there, the agent is told without its words.
- An edit (correction) is told once, as a difference of words (`changes`), against the newest
  wording that an agent may have (`read_as`). What has not gone to the agent yet is sent in its
  newest wording only.
- Sending again: by 🔁 on a message, or on our answer to it, or by the command `retry`. The room
  remembers the newest messages that it has reported as undelivered; the reader reads the event from
  the ledger, and it is handled as if it had been sent now: under its own event id, behind whatever
  waits already.
- Sealed events: encrypted ones whose key has not come. The sender is told, the event is kept for an
  hour and delivered if its key comes, behind what was handled since. The reader has waited
  `KEY_PATIENCE` for the key before any later event of the room is handled.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import msgspec

from bridge.conversation.model import (
    Args,
    Chatting,
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Ended,
    Held,
    Idle,
    Input,
    Queued,
    Requesting,
    Said,
    Withdrawn,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, UserId
from bridge.rooms import cards, commands, people
from bridge.rooms.commands import Parsed, parse
from bridge.rooms.inbox import Corrected, Meaning, PollAnswered, Reacted, Spoke, Withdrew
from bridge.rooms.ports import Undecryptable
from bridge.rooms.record import RoomRecord, SealedEvent, Thread
from bridge.rooms.visit import KEPT_CORRECTIONS, Visit, forgotten, sent_again, undelivered
from bridge.texts.durations import clock_time

QUOTED = 60
"""Characters of a quotation."""

_DIRECTIONS = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the reading direction; one that was cut off would turn all that follows."""


class Earlier(msgspec.Struct, frozen=True):
    """A message that another one is about, as the ledger has it."""

    text: str
    """Its words: a text, a caption, or, where there are none, a file's or a place's name."""
    content: CustomerContent | None = None
    """None if an agent sent it."""
    sender: UserId = UserId("")
    """The person who sent it, where one did."""
    correction: bool = False
    """It is itself a correction."""
    answers: tuple[tuple[str, str], ...] = ()
    """A poll's: id and text of each."""
    reports: EventId | None = None
    """It is ours, and says that this message did not arrive."""
    at: int | None = None
    """When it last went to the call centre, or came from there, ms; None: nobody knows."""
    unsent: bool = False
    """It never went to the call centre: the robot answered it, or we did."""


def refers_to(record: RoomRecord, meaning: Meaning) -> EventId | None:
    """The event whose words are needed to handle this one."""
    match meaning:
        case Spoke():
            # Clients show the newest wording in the first one's place; the first may have been
            # corrected because nobody was to read it.
            return None if meaning.reply_to is None else newest(record, meaning.reply_to)
        case Corrected() | Withdrew():
            return read_as(record, meaning.target)
        case Reacted():
            return newest(record, meaning.target)
        case PollAnswered():
            ours = any(card.event_id == meaning.target for card in record.cards)
            return None if ours else newest(record, meaning.target)
        case _:
            return None


def newest(record: RoomRecord, event_id: EventId) -> EventId:
    """The event with the newest wording of that message."""
    return dict(record.corrections).get(event_id, event_id)


def read_as(record: RoomRecord, event_id: EventId) -> EventId:
    """The event with the newest wording that an agent may have, or is to get as the message.

    A correction that did not go, or still waits, leaves an agent with what was there before it.
    """
    for wording in reversed(wordings(record, event_id)[1:]):
        missing = undelivered(record, wording) is not None or is_unsent(record, wording, None)
        if wording in record.whole or not missing:
            return wording
    return event_id


def wordings(record: RoomRecord, event_id: EventId) -> tuple[EventId, ...]:
    """The message and its corrections."""
    return event_id, *(new for old, new in record.corrections if old == event_id)


def is_past(record: RoomRecord, earlier: Earlier | None) -> bool:
    """True if it belongs to a chat that is over, whose agent need not be the present one."""
    ended = record.conversation.last_ended_at
    if earlier is None or earlier.at is None or ended is None:
        return False
    return earlier.at <= ended


def note_thread(visit: Visit, spoke: Spoke, received: int) -> None:
    """Note the thread of this message, received at that moment (ms), or that it is in none."""
    thread = None if spoke.thread is None else Thread(spoke.thread, spoke.event_id, received)
    if thread != visit.record.thread:
        visit.set(thread=thread)


def spoken(visit: Visit, spoke: Spoke, earlier: Earlier | None) -> Said:
    """The message as an agent gets it: with its caption, and a quotation of what it replies to.

    And what of it is left, should that be taken back before it goes; of a file its name.
    """
    bare = _spoken(visit, spoke, "")
    quote = "" if earlier is None or is_order(visit, earlier) else quotation(earlier.text)
    if not quote or spoke.reply_to is None or isinstance(bare, CustomerLocation):
        return Said(spoke.event_id, bare, spoke.plain)
    content = _spoken(visit, spoke, quote)
    if isinstance(bare, CustomerMedia) and not bare.caption:
        bare = msgspec.structs.replace(bare, caption=bare.name or bare.kind)
    events = tuple(dict.fromkeys((spoke.reply_to, newest(visit.record, spoke.reply_to))))
    return Said(spoke.event_id, content, spoke.plain, quotes=events, instead=bare)


def _spoken(visit: Visit, spoke: Spoke, quote: str) -> CustomerContent:
    """The content, with a quotation of what it replies to."""
    content = spoke.content
    if spoke.wrap and isinstance(content, CustomerText):
        content = CustomerText(visit.word(spoke.wrap, {"text": content.text}))
    content = with_words(content, spoke.plain)
    if not quote:
        return content
    match content:
        case CustomerText():
            return CustomerText(visit.word("agent.reply", {"quote": quote, "text": content.text}))
        case CustomerMedia():
            caption = visit.word("agent.reply", {"quote": quote, "text": content.caption}).strip()
            return msgspec.structs.replace(content, caption=caption)
        case CustomerLocation():
            return content


def withdrew(visit: Visit, taken: Withdrew, earlier: Earlier | None) -> list[Input]:
    """Inputs of a redaction; the agent is told of one whose message may have reached them."""
    record = visit.record
    former = read_as(record, taken.target)
    note = ""
    if earlier is not None and _is_known(visit, taken, former, earlier):
        note = _taken_back(visit, earlier)
    gone = wordings(record, taken.target)
    for event_id in gone:
        visit.record = forgotten(visit.record, event_id)
    visit.set(corrections=tuple(one for one in record.corrections if one[0] != taken.target))
    cards.forget(visit, taken.target)
    others = tuple(one for one in gone if one != former)
    return [Withdrawn(former, others, taken.event_id, note)]


def _is_known(visit: Visit, taken: Withdrew, former: EventId, earlier: Earlier) -> bool:
    """True if the agent who is there, or is to come, may have that message (`former` of it)."""
    record, phase = visit.record, visit.record.conversation.phase
    if not visit.rules.tell_withdrawals or earlier.content is None:
        return False
    if never_went(record, former, earlier):
        return False
    if is_unsent(record, former, earlier) or undelivered(record, former) is not None:
        return False
    if is_past(record, earlier) or is_order(visit, earlier):
        return False
    if earlier.correction and former == taken.target:
        return False  # not the message, only a correction of it
    begun = isinstance(phase, Requesting) and phase.session_id is not None
    return begun or isinstance(phase, Chatting | Queued)


def _taken_back(visit: Visit, earlier: Earlier) -> str:
    """Note for the agent that a message was taken back, without a word of it."""
    rules = visit.rules
    if earlier.at is None:
        return visit.word("agent.withdrawn", {})
    language = rules.agents_language or rules.language_for(visit.record.settings)
    time = clock_time(language, earlier.at, rules.timezone, now_ms=visit.now)
    return visit.word("agent.withdrawn_at", {"time": time})


def reacted(visit: Visit, reaction: Reacted, earlier: Earlier | None) -> list[Input]:
    """Inputs of a reaction: an agent in the chat is told."""
    phase = visit.record.conversation.phase
    if not visit.rules.tell_reactions or not isinstance(phase, Chatting) or phase.robot:
        return []
    quote = "" if earlier is None else quotation(earlier.text)
    if earlier is None or not quote or is_order(visit, earlier):
        return []
    seen = undelivered(visit.record, newest(visit.record, reaction.target)) is None
    if not seen or is_past(visit.record, earlier):
        return []  # this agent has not seen what it is about
    text = visit.word("agent.reacted", {"reaction": reaction.key, "quote": quote})
    quotes = tuple(dict.fromkeys((reaction.target, newest(visit.record, reaction.target))))
    return [Said(reaction.event_id, CustomerText(text), quotes=quotes)]


def voted(visit: Visit, vote: PollAnswered, earlier: Earlier | None) -> list[Input]:
    """Inputs of a vote in a person's poll: an agent in the chat is told.

    Choices that nobody knows (the poll is forgotten, the vote is malformed) are told to nobody.
    """
    phase = visit.record.conversation.phase
    if not visit.rules.tell_reactions or not isinstance(phase, Chatting) or phase.robot:
        return []
    known = {} if earlier is None else dict(earlier.answers)
    voted_for = dict.fromkeys((vote.answer, *vote.more))
    chosen = tuple(known[one] for one in voted_for if one in known)
    if earlier is None or not chosen or is_past(visit.record, earlier):
        return []
    args: Args = {"quote": quotation(earlier.text.partition("\n")[0]), "choice": chosen}
    text = visit.word("agent.vote", args)
    quotes = tuple(dict.fromkeys((vote.target, newest(visit.record, vote.target))))
    return [Said(vote.event_id, CustomerText(text), quotes=quotes)]


def quotation(text: str) -> str:
    """The beginning of a message, in one line."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("> ")]
    words = _DIRECTIONS.sub("", " ".join(" ".join(lines).split()))
    return words if len(words) <= QUOTED else words[: QUOTED - 1].rstrip() + "…"


def with_words(content: CustomerContent, plain: str) -> CustomerContent:
    """A file with its caption; anything else as it is."""
    if isinstance(content, CustomerMedia) and plain:
        return msgspec.structs.replace(content, caption=plain)
    return content


def words_of(earlier: Earlier) -> str:
    """Typed words of a message: a file without a caption has a name, but no words."""
    content = earlier.content
    if isinstance(content, CustomerMedia) and earlier.text == content.name:
        return ""
    return earlier.text


def never_went(record: RoomRecord, event_id: EventId, earlier: Earlier | None) -> bool:
    """True if that message was none for an agent: the robot answered it, or we did."""
    going = {piece.event_id for piece in all_pieces(record.conversation)}
    # Of what goes out at this moment, the ledger has no row yet.
    return earlier is not None and earlier.unsent and event_id not in going


def is_unsent(record: RoomRecord, event_id: EventId, earlier: Earlier | None) -> bool:
    """True if nothing of that message has been sent yet, so that nothing has to be told."""
    conversation = record.conversation
    waiting = [piece for piece in conversation.held if piece.event_id == event_id]
    if not waiting or any(piece.asked is not None for piece in waiting):
        return False
    outstanding = conversation.outstanding
    going = None if outstanding is None else outstanding.held
    if going is not None and going.event_id == event_id:
        return False
    # The first parts of a long text may have gone already: then these are not all of it.
    return earlier is None or _length(waiting) >= len(words_of(earlier))


def _length(pieces: list[Held]) -> int:
    return sum(len(one.content.text) for one in pieces if isinstance(one.content, CustomerText))


def is_order(visit: Visit, earlier: Earlier) -> bool:
    """True if a message was a command, so that no agent has seen it."""
    if not isinstance(earlier.content, CustomerText):
        return False
    record, prefix = visit.record, visit.rules.prefix
    # While a chat runs, bare words are said to the agent. Which it was then, nobody remembers.
    bare = (
        record.direct
        and record.host == visit.rules.bot
        and isinstance(record.conversation.phase, Idle | Ended)
    )
    parsed = parse(earlier.text, prefix, prefix_needed=not bare)
    if isinstance(parsed, Parsed) and parsed.bare:
        return commands.makes_sense(visit, parsed)
    return parsed is not None


# --- edits ----------------------------------------------------------------------------------------


def corrected(visit: Visit, edit: Corrected, earlier: Earlier | None) -> list[Input]:
    """Inputs of a correction. One that comes too late is reported.

    So is one of somebody else's message, which no client shows (specification, "Event
    replacements").
    """
    if edit.target in visit.record.erasing:
        return []  # taken back meanwhile, and shown by no client any more
    if earlier is not None and not _is_own(edit, earlier):
        visit.report(edit.event_id, "unreadable.malformed")
        return []
    former = read_as(visit.record, edit.target)
    dropped = _superseded(visit, edit.target, former)
    _note_correction(visit, edit)
    return _told(visit, edit, former, dropped, earlier)


def _superseded(visit: Visit, target: EventId, former: EventId) -> tuple[EventId, ...]:
    """Corrections that no agent has, newer than `former`: none of them is to go any more."""
    known = wordings(visit.record, target)
    dropped = known[known.index(former) + 1 :]
    for event_id in dropped:
        visit.record = forgotten(visit.record, event_id)
    kept = tuple(one for one in visit.record.corrections if one[1] not in dropped)
    visit.set(corrections=kept)
    return dropped


def _told(
    visit: Visit,
    edit: Corrected,
    former: EventId,
    dropped: tuple[EventId, ...],
    earlier: Earlier | None,
) -> list[Input]:
    """Inputs for an agent who may have the wording `former`, which says `earlier`."""
    whole = with_words(edit.content, edit.plain)
    unseen = is_unsent(visit.record, former, earlier) or (
        undelivered(visit.record, former) is not None  # the agent has not seen it either
    )
    if unseen or (earlier is not None and is_order(visit, earlier)):
        visit.record = forgotten(visit.record, former)
        _note_whole(visit, edit)
        gone = (former, *dropped) if unseen else dropped
        return [*_withdrawn(gone), Said(edit.event_id, whole)]
    told = _correction(visit, whole, earlier)
    if told is None:
        return _withdrawn(dropped)
    if isinstance(visit.record.conversation.phase, Idle | Ended) or is_past(visit.record, earlier):
        visit.report(edit.event_id, "undelivered.late_correction")
        return _withdrawn(dropped)
    if never_went(visit.record, former, earlier):
        _note_whole(visit, edit)
        return [*_withdrawn(dropped), Said(edit.event_id, whole)]
    return [*_withdrawn(dropped), Said(edit.event_id, told, amends=former, instead=whole)]


def _withdrawn(events: tuple[EventId, ...]) -> list[Input]:
    return [Withdrawn(events[0], events[1:])] if events else []


def _is_own(edit: Corrected, earlier: Earlier) -> bool:
    return earlier.content is not None and earlier.sender in {"", edit.sender}


def corrected_again(visit: Visit, edit: Corrected, earlier: Earlier | None) -> list[Input]:
    """A correction that has not arrived, in full: what the agent has seen by now is uncertain.

    It is no correction to an agent who never had the message in another wording, `earlier`. No
    other wording goes after it.
    """
    content, event_id = with_words(edit.content, edit.plain), edit.event_id
    others = [one for one in wordings(visit.record, edit.target) if one != event_id]
    unseen = [one for one in others if _is_unseen(visit, one)]
    for one in unseen:
        visit.record = forgotten(visit.record, one)
    if unseen or is_past(visit.record, earlier):
        _note_whole(visit, edit)
    happened = _withdrawn(tuple(unseen))
    if isinstance(content, CustomerText) and event_id not in visit.record.whole:
        told = CustomerText(visit.word("agent.corrected", {"text": content.text}))
        former = read_as(visit.record, edit.target)
        return [*happened, Said(event_id, told, amends=former, instead=content)]
    return [*happened, Said(event_id, content)]


def _is_unseen(visit: Visit, event_id: EventId) -> bool:
    """True if a message waits to be sent, or was reported."""
    record = visit.record
    return undelivered(record, event_id) is not None or is_unsent(record, event_id, None)


def _correction(
    visit: Visit, content: CustomerContent, earlier: Earlier | None
) -> CustomerContent | None:
    """The correction as the agent reads it; None if it changes nothing that an agent sees."""
    before = None if earlier is None else earlier.content
    match content:
        case CustomerText():
            return _reworded(visit, content.text, earlier)
        case CustomerMedia() if isinstance(before, CustomerMedia) and before.mxc == content.mxc:
            return _reworded(visit, content.caption, earlier)
        case CustomerMedia():
            text = content.caption or content.name
            return msgspec.structs.replace(
                content, caption=visit.word("agent.corrected", {"text": text})
            )
        case CustomerLocation():
            return None if content == before else content


def _reworded(visit: Visit, new: str, earlier: Earlier | None) -> CustomerText | None:
    old = "" if earlier is None else words_of(earlier)
    found = changes(old, new) if old else None
    if found == () or new.split() == old.split():
        return None
    if not new.strip():  # of a file, the caption; a text is never empty
        return CustomerText(visit.word("agent.withdrawn_caption", {}))
    if not old and earlier is not None:
        return CustomerText(new)  # a file that had no caption
    if found is None:
        return CustomerText(visit.word("agent.corrected", {"text": new}))
    told = [visit.word("agent.change", {"old": one.old, "new": one.new}) for one in found]
    return CustomerText(visit.word("agent.corrected", {"text": "\n".join(told)}))


def _note_correction(visit: Visit, edit: Corrected) -> None:
    known = visit.record.corrections
    visit.set(corrections=(*known, (edit.target, edit.event_id))[-KEPT_CORRECTIONS:])


def _note_whole(visit: Visit, edit: Corrected) -> None:
    visit.set(whole=(*visit.record.whole, edit.event_id)[-KEPT_CORRECTIONS:])


# --- the difference of two wordings ---------------------------------------------------------------

MAX_PIECES = 160
"""Words and blanks between the first and the last change. The comparison is cubic."""

_LETTERS = r"[^\W_\u2e80-\U0003ffff]+"
_WORD = re.compile(rf"{_LETTERS}(?:[.,:'’_-]{_LETTERS})*|\s+|.", re.DOTALL)
"""A word or number of an alphabet, blanks, or one other character (Chinese has no blanks)."""
_NEAR = 3
"""Pieces between two changes that are not worth telling them apart."""


class Change(msgspec.Struct, frozen=True):
    """Difference in one place, with a word on either side, so that it can be found."""

    old: str
    new: str


def changes(old: str, new: str) -> tuple[Change, ...] | None:
    """Difference of two texts, word by word.

    Returns:
        Nothing if both say the same, None if it is as short to say the whole new text.
    """
    if old.split() == new.split():
        return ()
    before, after = _WORD.findall(old), _WORD.findall(new)
    places = _places(before, after)
    if places is None:
        return None
    found = tuple(Change(*(_text(part, between) for part, between in both)) for both in places)
    told = sum(len(change.old) + len(change.new) + 4 for change in found)
    return found if told < len(new) else None


_Place = tuple[tuple[Sequence[str], slice], tuple[Sequence[str], slice]]


def _places(before: list[str], after: list[str]) -> list[_Place] | None:
    """Slices that differ, those close to each other joined; None if it is too much to tell."""
    start, end = _same_at_both_ends(before, after)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if max(len(old), len(new)) > MAX_PIECES:
        return None
    joined: list[tuple[int, int, int, int]] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, low, high, new_low, new_high in matcher.get_opcodes():
        if tag == "equal":
            continue
        if joined and low - joined[-1][1] <= _NEAR:
            first, _, new_first, _ = joined.pop()
            joined.append((first, high, new_first, new_high))
        else:
            joined.append((low, high, new_low, new_high))
    return [
        (
            (before, slice(start + low, start + high)),
            (after, slice(start + new_low, start + new_high)),
        )
        for low, high, new_low, new_high in joined
    ]


def _same_at_both_ends(before: list[str], after: list[str]) -> tuple[int, int]:
    """Lengths of the common prefix and the common suffix, in pieces."""
    shorter = min(len(before), len(after))
    start = 0
    while start < shorter and before[start] == after[start]:
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return start, end


def _text(pieces: Sequence[str], between: slice) -> str:
    """The part, with the word before and the word behind it."""
    low, high = between.start, between.stop
    low = next((at for at in range(low - 1, -1, -1) if _is_word(pieces[at])), low)
    high = next((at + 1 for at in range(high, len(pieces)) if _is_word(pieces[at])), high)
    return "".join(pieces[low:high]).strip()


def _is_word(piece: str) -> bool:
    return any(character.isalnum() for character in piece)


# --- sending again --------------------------------------------------------------------------------

_RESEND_SIGNS = frozenset("🔁🔄🔂↩")
_VARIATION = "\ufe0f"


def resend_by_reaction(visit: Visit, reaction: Reacted, earlier: Earlier | None) -> bool:
    """Take a reaction as the wish to send again; False if it is none.

    On a message of a person's it is such a wish also where nothing is left to do (they tapped
    twice, or it has arrived meanwhile): an agent is never told of it.

    Args:
        visit: record in; `visit.again` out.
        reaction: to a message, or to what we said of it.
        earlier: what the target is, as the ledger has it.
    """
    if reaction.key.replace(_VARIATION, "") not in _RESEND_SIGNS:
        return False
    reports = None if earlier is None else earlier.reports
    wanted = commands.reported_message(visit, reaction.target, reports)
    if wanted is not None:
        commands.want_again(visit, wanted)
    return wanted is not None or (earlier is not None and earlier.content is not None)


def resend(
    visit: Visit,
    event_id: EventId,
    found: Meaning | Undecryptable | None,
    earlier: Earlier | None,
    *,
    last: bool = True,
) -> None:
    """Let a message happen once more.

    Args:
        visit: record in, record and effects out.
        event_id: the message.
        found: what it is; None if nobody knows any more.
        earlier: the message that it is about, as when it came first.
        last: it is the last that this wish is about: an answer to it is one to all of them.
    """
    if found is None:
        _cannot_resend(visit, event_id, "again.forgotten")
        return
    if isinstance(found, Undecryptable):
        visit.report(event_id, found.key)
        return
    if visit.record.settings.paused:
        visit.report(event_id, "undelivered.paused", {"prefix": visit.rules.prefix})
        return
    sender, happened = _as_if_new(visit, found, earlier)
    if not happened:
        _cannot_resend(visit, event_id, "again.cannot")
        return
    visit.record = sent_again(visit.record, event_id)
    drop_sealed(visit, event_id)  # else it would go once more when its key comes
    for one in happened:
        wished = msgspec.structs.replace(one, again=last) if isinstance(one, Said) else one
        visit.step(people.signed(visit, sender, wished))


def _as_if_new(visit: Visit, found: Meaning, earlier: Earlier | None) -> tuple[UserId, list[Input]]:
    """Sender, and inputs as of a new message; none if it was no message to an agent."""
    match found:
        case Spoke() | Corrected() if _is_command(visit, found):
            return found.sender, []
        case Spoke():
            return found.sender, [spoken(visit, found, earlier)]
        case Corrected():
            return found.sender, corrected_again(visit, found, earlier)
        case Reacted():
            return found.sender, reacted(visit, found, earlier)
        case _:
            return UserId(""), []


def _is_command(visit: Visit, spoke: Spoke | Corrected) -> bool:
    """True if a message was a command, so that there is nothing to resend."""
    if not isinstance(spoke.content, CustomerText):
        return False
    return parse(spoke.plain, visit.rules.prefix, prefix_needed=True) is not None


def _cannot_resend(visit: Visit, event_id: EventId, key: str) -> None:
    visit.record = forgotten(visit.record, event_id)
    visit.say(key, reply_to=event_id)


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


def keep_sealed(visit: Visit, raw: dict[str, object]) -> None:
    """Keep an event until its key comes."""
    event = SealedEvent(raw, visit.now + SEALED_KEPT, visit.now + SEALED_RETRY)
    visit.set(sealed=(*visit.record.sealed, event)[-SEALED_LIMIT:])


def drop_sealed(visit: Visit, event_id: str) -> None:
    """Drop a kept event that is not to be delivered any more."""
    kept = tuple(one for one in visit.record.sealed if one.raw.get("event_id") != event_id)
    if len(kept) < len(visit.record.sealed):
        visit.set(sealed=kept)


def sealed_due(record: RoomRecord) -> int | None:
    """Moment of the next attempt at the kept events, ms since the epoch."""
    return min((event.retry_at for event in record.sealed), default=None)


def sort_out_sealed(visit: Visit, opened: list[SealedEvent]) -> None:
    """Drop what was opened and what has waited long enough; the rest is tried again later."""
    now = visit.now
    visit.set(
        sealed=tuple(
            SealedEvent(event.raw, event.until, min(now + SEALED_RETRY, event.until))
            for event in visit.record.sealed
            if event not in opened and now < event.until
        )
    )
