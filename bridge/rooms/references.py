"""Messages about messages: replies, reactions, and what was taken back. Pure.

WebChat has none of these, so an agent is told in words: a reply begins with a short quotation, and
nothing is told of what the agent never saw, be it that it did not arrive or that another agent had
it, in an earlier chat. What the earlier message said (`Earlier`) the actor asks of the ledger,
which keeps it for as long as the operator allows; of a message that is forgotten, the agent is told
without its words.
"""

from __future__ import annotations

import re

import msgspec

from bridge.conversation.events import Args, Input, Said, Withdrawn
from bridge.conversation.model import (
    Chatting,
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Ended,
    Held,
    Idle,
    Queued,
    Requesting,
)
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, UserId
from bridge.rooms import cards, orders
from bridge.rooms.commands import Parsed, parse
from bridge.rooms.fates import forgotten, undelivered
from bridge.rooms.inputs import Corrected, Meaning, PollAnswered, Reacted, Spoke, Withdrew
from bridge.rooms.record import RoomRecord, Thread
from bridge.rooms.visit import Visit
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
    """What the agent is to get of a message: with its caption, and what it replies to.

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
    """What happens to the conversation; the agent is told of what may have reached them."""
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
    """That a message was taken back, without a word of it."""
    rules = visit.rules
    if earlier.at is None:
        return visit.word("agent.withdrawn", {})
    language = rules.agents_language or rules.language_for(visit.record.settings)
    time = clock_time(language, earlier.at, rules.timezone, now_ms=visit.now)
    return visit.word("agent.withdrawn_at", {"time": time})


def reacted(visit: Visit, reaction: Reacted, earlier: Earlier | None) -> list[Input]:
    """What happens to the conversation: an agent in the chat is told."""
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
    """What happens to the conversation: an agent in the chat is told of a vote in a person's poll.

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
    """What was typed: a file without a caption had a name, but no words."""
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
    """It was an order to us, and no agent has seen it."""
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
        return orders.makes_sense(visit, parsed)
    return parsed is not None
