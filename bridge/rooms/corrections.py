"""Corrections of earlier messages: the agent reads what changed, once. Pure.

What has not gone to the agent yet is sent in its new wording only. Corrections of one message each
go by the newest wording before, which the room's record remembers by its event.
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
from bridge.rooms.changes import changes
from bridge.rooms.inputs import Corrected
from bridge.rooms.references import (
    Earlier,
    is_order,
    is_unsent,
    newest,
    with_words,
    words_of,
)
from bridge.rooms.visit import Visit

KEPT_CORRECTIONS = 50
"""Corrected messages of a room of which the newest wording is known."""


def corrected(visit: Visit, edit: Corrected, earlier: Earlier | None) -> list[Input]:
    """What happens to the conversation. A correction that comes too late is reported."""
    former = newest(visit.record, edit.target)
    _note_correction(visit, edit)
    whole = with_words(edit.content, edit.plain)
    if is_unsent(visit.record, former, earlier):
        return [Withdrawn(former), Said(edit.event_id, whole)]
    if earlier is not None and is_order(visit, earlier):
        return [Said(edit.event_id, whole)]  # no agent has seen what it corrects
    told = _correction(visit, whole, earlier)
    if told is None:
        return []
    if isinstance(visit.record.conversation.phase, Idle | Ended):
        visit.report(edit.event_id, "undelivered.late_correction")
        return []
    return [Said(edit.event_id, told)]


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
    if found is None:
        return CustomerText(visit.word("agent.corrected", {"text": new or "—"}))
    told = [visit.word("agent.change", {"old": one.old, "new": one.new}) for one in found]
    return CustomerText(visit.word("agent.corrected", {"text": "\n".join(told)}))


def _note_correction(visit: Visit, edit: Corrected) -> None:
    kept = [pair for pair in visit.record.corrections if pair[0] != edit.target]
    visit.set(corrections=(*kept, (edit.target, edit.event_id))[-KEPT_CORRECTIONS:])
