"""Votes in polls (MSC3381, stable and unstable). Pure; every field is a stranger's."""

from __future__ import annotations

from bridge.ids import EventId, UserId
from bridge.matrix.contents import MAX_ANSWERS, Fields, object_of, text_of
from bridge.matrix.relations import relation_of
from bridge.rooms.inputs import Meaning, Nothing, PollAnswered

POLL_RESPONSES = frozenset({"m.poll.response", "org.matrix.msc3381.poll.response"})
_MAX_ANSWER = 40


def vote(raw: Fields, event_id: EventId, sender: UserId) -> Meaning:
    """What a vote means. No answer at all takes it back, which is told to nobody."""
    content = object_of(raw, "content")
    relation = relation_of(content)
    target = text_of(relation, "event_id")
    if text_of(relation, "rel_type") != "m.reference" or not target.startswith("$"):
        return Nothing()
    chosen = object_of(content, "org.matrix.msc3381.poll.response").get("answers")
    if not isinstance(chosen, list):
        chosen = content.get("m.selections")
    answers = chosen if isinstance(chosen, list) else []
    known = [one for one in answers if isinstance(one, str) and len(one) <= _MAX_ANSWER]
    if not known:
        return Nothing()
    first, *more = known[:MAX_ANSWERS]
    return PollAnswered(event_id, sender, EventId(target), first, tuple(more))
