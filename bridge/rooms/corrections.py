"""Corrections of earlier messages: the agent reads what changed, once. Pure.

What has not gone to the agent yet is sent in its new wording only. Corrections of one message each
go by the newest wording before that an agent may have (`references.read_as`), which the room's
record remembers by its event; what was between goes no more.
"""

from __future__ import annotations

import msgspec

from bridge.conversation.inputs import Input, Said, Withdrawn
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
    quotation,
    read_as,
    with_words,
    wordings,
    words_of,
)
from bridge.rooms.visit import Visit

KEPT_CORRECTIONS = 50
"""Corrections of a room that are remembered: by the newest the next one of its message goes, and
with the message all of them are taken back."""


def corrected(visit: Visit, edit: Corrected, earlier: Earlier | None) -> list[Input]:
    """What happens to the conversation. A correction that comes too late is reported.

    So is one of somebody else's message, which no client shows (specification, "Event
    replacements").
    """
    if earlier is not None and not _is_own(edit, earlier):
        visit.report(edit.event_id, "unreadable.malformed")
        return []
    former = read_as(visit.record, edit.target)
    happened = _superseded(visit, edit.target, former)
    _note_correction(visit, edit)
    return [*happened, *_told(visit, edit, former, earlier)]


def _superseded(visit: Visit, target: EventId, former: EventId) -> list[Input]:
    """Corrections that no agent has, newer than `former`: none of them is to go any more."""
    known = wordings(visit.record, target)
    dropped = known[known.index(former) + 1 :]
    for event_id in dropped:
        visit.record = forgotten(visit.record, event_id)
    kept = tuple(one for one in visit.record.corrections if one[1] not in dropped)
    visit.set(corrections=kept)
    return [Withdrawn(event_id) for event_id in dropped]


def _told(visit: Visit, edit: Corrected, former: EventId, earlier: Earlier | None) -> list[Input]:
    """What an agent is to get, who may have the wording `former`, which says `earlier`."""
    whole = with_words(edit.content, edit.plain)
    if is_unsent(visit.record, former, earlier):
        _note_whole(visit, edit)
        return [Withdrawn(former), Said(edit.event_id, whole)]
    if undelivered(visit.record, former) is not None:
        visit.record = forgotten(visit.record, former)
        _note_whole(visit, edit)
        return [Withdrawn(former), Said(edit.event_id, whole)]  # the agent has not seen it either
    if earlier is not None and is_order(visit, earlier):
        _note_whole(visit, edit)
        return [Said(edit.event_id, whole)]  # no agent has seen what it corrects
    told = _correction(visit, whole, earlier)
    if told is None:
        return []
    if isinstance(visit.record.conversation.phase, Idle | Ended) or is_past(visit.record, earlier):
        visit.report(edit.event_id, "undelivered.late_correction")
        return []
    return [Said(edit.event_id, told)]


def _is_own(edit: Corrected, earlier: Earlier) -> bool:
    return earlier.content is not None and earlier.sender in {"", edit.sender}


def whole(visit: Visit, edit: Corrected) -> CustomerContent:
    """A correction that has not arrived, in full: what the agent has seen by now is uncertain.

    It is no correction to an agent who never had the message in another wording.
    """
    content = with_words(edit.content, edit.plain)
    if isinstance(content, CustomerText) and edit.event_id not in visit.record.whole:
        return CustomerText(visit.word("agent.corrected", {"text": content.text}))
    return content


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
        return CustomerText(visit.word("agent.withdrawn", {"quote": quotation(old)}))
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
