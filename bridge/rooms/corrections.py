"""Corrections of earlier messages: the agent reads what changed, once. Pure.

What has not gone to the agent yet is sent in its new wording only. Corrections of one message each
go by the newest wording before that an agent may have (`references.read_as`), which the room's
record remembers by its event; what was between goes no more.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.events import Input, Said, Withdrawn
from bridge.conversation.model import (
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Ended,
    Idle,
)
from bridge.ids import EventId
from bridge.rooms.changes import changes
from bridge.rooms.fates import forgotten, undelivered
from bridge.rooms.inputs import Corrected
from bridge.rooms.references import (
    Earlier,
    is_order,
    is_past,
    is_unsent,
    never_went,
    read_as,
    with_words,
    wordings,
    words_of,
)
from bridge.rooms.visit import KEPT_CORRECTIONS, Visit


def corrected(visit: Visit, edit: Corrected, earlier: Earlier | None) -> list[Input]:
    """What happens to the conversation. A correction that comes too late is reported.

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
    """What an agent is to get, who may have the wording `former`, which says `earlier`."""
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


def sent_again(visit: Visit, edit: Corrected, earlier: Earlier | None) -> list[Input]:
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
    """That message waits to be sent, or was reported."""
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
