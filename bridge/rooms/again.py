"""Sending again what did not arrive: by 🔁 on the message or on our answer to it, or by `retry`.

The room remembers the newest messages that it has reported (`fates`); what they said is asked of
the ledger by the actor, as the event came, and handled as if it had been said now: under its own
event id, behind whatever waits already. Pure.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.events import Input, Said
from bridge.conversation.model import CustomerText
from bridge.conversation.turn import all_pieces
from bridge.ids import EventId, UserId
from bridge.rooms import corrections, fates, people, references, sealed
from bridge.rooms.commands import folded, parse
from bridge.rooms.inputs import Corrected, Meaning, Reacted, Spoke
from bridge.rooms.ports import Undecryptable
from bridge.rooms.references import Earlier
from bridge.rooms.visit import Visit

_SIGNS = frozenset("🔁🔄🔂↩")
_VARIATION = "\ufe0f"


def by_reaction(visit: Visit, reaction: Reacted, earlier: Earlier | None) -> bool:
    """Take a reaction as the wish to send again; False if it is none.

    On a message of a person's it is such a wish also where nothing is left to do (they tapped
    twice, or it has arrived meanwhile): an agent is never told of it.

    Args:
        visit: record in; `visit.again` out.
        reaction: to a message, or to what we said of it.
        earlier: what the target is, as the ledger has it.
    """
    if reaction.key.replace(_VARIATION, "") not in _SIGNS:
        return False
    wanted = _meant(visit, reaction.target, earlier)
    if wanted is not None:
        _want(visit, wanted)
    return wanted is not None or (earlier is not None and earlier.content is not None)


def by_command(visit: Visit, spoke: Spoke | Corrected, earlier: Earlier | None) -> None:
    """Carry out `retry`: all of them, or what it replies to and nothing else, or the newest."""
    target = spoke.reply_to if isinstance(spoke, Spoke) else None
    waiting = [one.event_id for one in visit.record.undelivered if not one.again]
    # What was corrected since does not go in its old words any more.
    wanted = [one for one in waiting if references.newest(visit.record, one) == one]
    if folded(spoke.plain.split()[-1]) != "all":
        wanted = wanted[-1:]
        if target is not None:
            meant = _meant(visit, target, earlier)
            wanted = [] if meant is None else [meant]
    for event_id in wanted:
        _want(visit, event_id)
    if not wanted:
        visit.say("again.nothing", reply_to=spoke.event_id)


def send(
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
        _end(visit, event_id, "again.forgotten")
        return
    if isinstance(found, Undecryptable):
        visit.report(event_id, found.key)
        return
    if visit.record.settings.paused:
        visit.report(event_id, "undelivered.paused", {"prefix": visit.rules.prefix})
        return
    sender, happened = _as_if_new(visit, found, earlier)
    if not happened:
        _end(visit, event_id, "again.cannot")
        return
    visit.record = fates.sent_again(visit.record, event_id)
    sealed.withdraw(visit, event_id)  # else it would go once more when its key comes
    for one in happened:
        wished = msgspec.structs.replace(one, again=last) if isinstance(one, Said) else one
        visit.step(people.signed(visit, sender, wished))


def _meant(visit: Visit, target: EventId, earlier: Earlier | None) -> EventId | None:
    """The reported message that `target` is, or is our answer to, in its newest wording."""
    for event_id in (target, None if earlier is None else earlier.reports):
        if event_id is None:
            continue
        newest = references.newest(visit.record, event_id)
        if fates.undelivered(visit.record, newest) is not None:
            return newest
    return None


def _want(visit: Visit, event_id: EventId) -> None:
    """Have a message sent again, but not while it is under way."""
    on_its_way = {piece.event_id for piece in all_pieces(visit.record.conversation)}
    if event_id in on_its_way:
        visit.say("again.under_way", reply_to=event_id)
    else:
        visit.again.append(event_id)


def _as_if_new(visit: Visit, found: Meaning, earlier: Earlier | None) -> tuple[UserId, list[Input]]:
    """Who sent it, and what it comes to now; nothing if it was no message to an agent."""
    match found:
        case Spoke() | Corrected() if _is_order(visit, found):
            return found.sender, []
        case Spoke():
            return found.sender, [references.spoken(visit, found, earlier)]
        case Corrected():
            return found.sender, corrections.sent_again(visit, found, earlier)
        case Reacted():
            return found.sender, references.reacted(visit, found, earlier)
        case _:
            return UserId(""), []


def _is_order(visit: Visit, spoke: Spoke | Corrected) -> bool:
    """It was meant for us: what came of it was ours to send, not theirs."""
    if not isinstance(spoke.content, CustomerText):
        return False
    return parse(spoke.plain, visit.rules.prefix, prefix_needed=True) is not None


def _end(visit: Visit, event_id: EventId, key: str) -> None:
    visit.record = fates.forgotten(visit.record, event_id)
    visit.say(key, reply_to=event_id)
