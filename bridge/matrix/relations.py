"""Events about other events: corrections, replies, threads, reactions, what was taken back. Pure.

Specification, "Forming relationships between events". Every field is a stranger's.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.ids import EventId, UserId
from bridge.matrix.contents import (
    Fields,
    Unusable,
    Written,
    object_of,
    read_message,
    text_of,
)
from bridge.rooms.inputs import Corrected, Meaning, Nothing, Reacted, Unreadable, Withdrew

_MAX_KEY = 40
"""Characters of a reaction; an emoji of many parts has about ten."""


def relation_of(content: Fields) -> Fields:
    """The content's `m.relates_to`, empty if it has none."""
    return object_of(content, "m.relates_to")


def replied_to(content: Fields) -> EventId | None:
    """The event that this one answers, as its author sees it."""
    relation = relation_of(content)
    if text_of(relation, "rel_type") == "m.thread" and relation.get("is_falling_back") is True:
        return None  # only there for clients that have no threads
    return _event_id(object_of(relation, "m.in_reply_to"), "event_id")


def thread_of(content: Fields) -> EventId | None:
    """The event at the root of the thread that this one is in."""
    relation = relation_of(content)
    if text_of(relation, "rel_type") != "m.thread":
        return None
    return _event_id(relation, "event_id")


def correction(
    event_id: EventId,
    sender: UserId,
    content: Fields,
    read: Callable[[Fields], Written | Unusable] = read_message,
) -> Meaning | None:
    """What a correction means; None if this is none.

    Args:
        event_id: the correction's own.
        sender: who made it.
        content: with both wordings.
        read: of the kind of event that is corrected.
    """
    relation = relation_of(content)
    if text_of(relation, "rel_type") != "m.replace":
        return None
    new = object_of(content, "m.new_content")
    if not new:
        # Without it, what clients show that know no corrections has to do; "* " is their sign.
        body = text_of(content, "body").removeprefix("* ")
        new = {"msgtype": text_of(content, "msgtype"), "body": body}
    written = read(new)
    target = _event_id(relation, "event_id")
    match written:
        case Unusable():
            return Unreadable(event_id, sender, written.key)
        case Written() if target is None:
            return Unreadable(event_id, sender, "unreadable.malformed")
        case Written():
            return Corrected(
                event_id,
                sender,
                target,
                written.content,
                written.plain,
                written.answers,
                notice=written.notice,
            )


def reaction(raw: Fields, event_id: EventId, sender: UserId) -> Meaning:
    """What an `m.reaction` means."""
    content = object_of(raw, "content")
    relation = relation_of(content)
    target = _event_id(relation, "event_id")
    if target is None or text_of(relation, "rel_type") != "m.annotation":
        return Nothing()
    key = text_of(relation, "key").strip()
    if key.startswith("mxc://"):
        # A picture as reaction: its short name is what can be said of it.
        key = text_of(content, "shortcode") or text_of(content, "com.beeper.reaction.shortcode")
    key = "".join(char for char in key if char.isprintable() or char in "\u200d\ufe0f")[:_MAX_KEY]
    return Reacted(event_id, sender, target, key) if key else Nothing()


def redaction(raw: Fields, event_id: EventId, sender: UserId) -> Meaning:
    """What an `m.room.redaction` means: since version 11 of rooms it is said in the content."""
    target = _event_id(object_of(raw, "content"), "redacts") or _event_id(raw, "redacts")
    return Nothing() if target is None else Withdrew(event_id, sender, target)


def _event_id(fields: Fields, key: str) -> EventId | None:
    value = text_of(fields, key)
    return EventId(value) if value.startswith("$") and len(value) <= 255 else None
