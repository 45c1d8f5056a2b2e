"""What a Matrix event means to us. Pure, and it never raises: every field is a stranger's.

Whatever a person typed becomes `Spoke` or `Unreadable`, so that it is carried or they are told;
only what nobody typed (echoes, topics, …) becomes `Nothing`.
"""

from __future__ import annotations

from bridge.ids import EventId, UserId
from bridge.matrix.contents import (
    Fields,
    Unusable,
    Written,
    object_of,
    read_extensible,
    read_file,
    read_message,
    read_poll,
    text_of,
)
from bridge.matrix.relations import (
    correction,
    reaction,
    redaction,
    relation_of,
    replied_to,
    thread_of,
)
from bridge.matrix.users import OurUsers
from bridge.matrix.votes import POLL_RESPONSES, vote
from bridge.rooms.inputs import (
    AgentInvited,
    EncryptionOn,
    Invited,
    Meaning,
    MemberGone,
    MemberJoined,
    Nothing,
    Renamed,
    RoomConfigured,
    Spoke,
    Unreadable,
    Upgraded,
)
from bridge.rooms.recorded import Recorded

ROOM_SETTINGS = "org.matrix_webchat.room"
"""Our own state event (contract, "In a room")."""

EXTENSIBLE_EVENTS = frozenset(
    {"m.message", "org.matrix.msc1767.message"}
    | {"m.file", "m.image", "m.video", "m.audio", "m.voice", "m.location"}
)
"""What may once take the place of `m.room.message` (MSC1767 and those that build on it)."""

CONTENT_EVENTS = frozenset(
    {"m.room.message", "m.room.encrypted", "m.sticker"}
    | {"m.poll.start", "org.matrix.msc3381.poll.start"}
    | EXTENSIBLE_EVENTS
)
"""Event types that hold what a person typed or sent."""

CALL_EVENTS = frozenset(
    {"m.call.invite", "m.rtc.notification", "org.matrix.msc4075.rtc.notification"}
    | {"m.call.notify", "org.matrix.msc4075.call.notify"}
)
"""A person rings: the first is the old kind of call, the others announce the new one (MSC4075, by
its name of today and by the one before)."""

_BEACONS = frozenset({"m.beacon_info", "org.matrix.msc3672.beacon_info"})
"""State by which a person shares where they are from now on (MSC3672)."""

ENCRYPTED = "unreadable.encrypted"
CALL = "unreadable.call"
LIVE_LOCATION = "unreadable.live_location"
VERIFICATION = "unreadable.verification"


def interpret(raw: Fields, ours: OurUsers) -> Meaning:
    """Read one event.

    Args:
        raw: the event as the homeserver sent it.
        ours: tells our own users from people.
    """
    kind = text_of(raw, "type")
    sender = UserId(text_of(raw, "sender"))
    if not sender or not text_of(raw, "event_id"):
        return Nothing()
    if kind == "m.room.member":
        return _membership(raw, sender, ours)
    if ours.is_ours(sender):
        return Nothing()
    if "state_key" in raw:
        return _state(raw, kind, sender)
    event_id = EventId(text_of(raw, "event_id"))
    if _withdrawn(raw):
        return Nothing()
    if kind == "m.room.message" and _verifies(object_of(raw, "content")):
        # It goes to one person by name; between others it is none of our business.
        asked = UserId(text_of(object_of(raw, "content"), "to"))
        return Unreadable(event_id, sender, VERIFICATION) if ours.is_ours(asked) else Nothing()
    if kind in CONTENT_EVENTS:
        return _content_event(raw, kind, sender)
    if kind in CALL_EVENTS:
        return Unreadable(event_id, sender, CALL)
    if kind in POLL_RESPONSES:
        return vote(raw, event_id, sender)
    if kind == "m.reaction":
        return reaction(raw, event_id, sender)
    if kind == "m.room.redaction":
        return redaction(raw, event_id, sender)
    return Nothing()


def _membership(raw: Fields, sender: UserId, ours: OurUsers) -> Meaning:
    who = UserId(text_of(raw, "state_key"))
    event_id = EventId(text_of(raw, "event_id"))
    content = object_of(raw, "content")
    membership = text_of(content, "membership")
    if membership == "invite":
        if ours.is_ours(sender) or not ours.is_ours(who):
            return Nothing()
        if ours.is_host(who):
            direct = content.get("is_direct") is True
            return Invited(event_id, by=sender, whom=who, direct=direct)
        return AgentInvited(event_id, by=sender, whom=who)
    if membership == "join":
        before = object_of(object_of(raw, "unsigned"), "prev_content")
        if not who or ours.is_ours(who):
            return Nothing()
        name = text_of(content, "displayname")
        if text_of(before, "membership") != "join":
            return MemberJoined(who, name, event_id)
        # A new name or picture is also a "join"; whoever was in the room already is no news.
        return Renamed(who, name) if name != text_of(before, "displayname") else Nothing()
    if membership in {"leave", "ban"} and who:
        return MemberGone(who, by=sender, event_id=event_id)
    return Nothing()


def _state(raw: Fields, kind: str, sender: UserId) -> Meaning:
    content = object_of(raw, "content")
    if kind in _BEACONS and raw.get("state_key") == sender and content.get("live") is True:
        return Unreadable(EventId(text_of(raw, "event_id")), sender, LIVE_LOCATION)
    if raw.get("state_key") != "":
        return Nothing()
    match kind:
        case "m.room.encryption":
            return EncryptionOn()
        case "m.room.tombstone":
            return Upgraded()
        case _ if kind == ROOM_SETTINGS:
            return RoomConfigured(EventId(text_of(raw, "event_id")), sender, content)
        case _:
            return Nothing()


def _content_event(raw: Fields, kind: str, sender: UserId) -> Meaning:
    event_id = EventId(text_of(raw, "event_id"))
    content = object_of(raw, "content")
    match kind:
        case "m.room.encrypted":
            return Unreadable(event_id, sender, ENCRYPTED)
        case "m.sticker":
            written = read_file(content, "image")
        case "m.poll.start" | "org.matrix.msc3381.poll.start":
            corrected = correction(event_id, sender, content, read_poll)
            if corrected is not None:
                return corrected
            written = read_poll(content)
        case _ if kind in EXTENSIBLE_EVENTS:
            written = read_extensible(content, kind)
        case _:
            corrected = correction(event_id, sender, content)
            if corrected is not None:
                return corrected
            is_reply = bool(object_of(relation_of(content), "m.in_reply_to"))
            written = read_message(content, is_reply=is_reply)
    match written:
        case Unusable():
            return Unreadable(event_id, sender, written.key)
        case Written():
            return Spoke(
                event_id,
                sender,
                written.content,
                written.plain,
                wrap=written.wrap,
                reply_to=replied_to(content),
                thread=thread_of(content),
                answers=written.answers,
                notice=written.notice,
            )


def _verifies(content: Fields) -> bool:
    """A person wants to compare emoji with somebody (specification, "Key verification")."""
    return text_of(content, "msgtype") == "m.key.verification.request"


def _withdrawn(raw: Fields) -> bool:
    """Redacted before we read it: the person took it back."""
    return "redacted_because" in object_of(raw, "unsigned") and not object_of(raw, "content")


def recorded(raw: Fields) -> Recorded | None:
    """Read a message, whoever sent it. Pure, and never raises: every field is a stranger's."""
    kind, content = text_of(raw, "type"), object_of(raw, "content")
    event_id, sender = EventId(text_of(raw, "event_id")), UserId(text_of(raw, "sender"))
    if kind not in CONTENT_EVENTS or "state_key" in raw or not event_id or not sender:
        return None
    moment = raw.get("origin_server_ts")
    at = moment if isinstance(moment, int) and not isinstance(moment, bool) else 0
    if not content:
        return Recorded(event_id, sender, at, withdrawn=True)
    relation, replaces = relation_of(content), None
    if text_of(relation, "rel_type") == "m.replace":
        replaces = EventId(text_of(relation, "event_id"))
        content = object_of(content, "m.new_content")
    written = _recorded_content(kind, content, is_reply=bool(object_of(relation, "m.in_reply_to")))
    return Recorded(
        event_id,
        sender,
        at,
        content=None if isinstance(written, Unusable) else written.content,
        words="" if isinstance(written, Unusable) else written.plain,
        replaces=replaces,
        reply_to=replied_to({"m.relates_to": relation}),
    )


def _recorded_content(kind: str, content: Fields, *, is_reply: bool) -> Written | Unusable:
    match kind:
        case "m.sticker":
            return read_file(content, "image")
        case "m.poll.start" | "org.matrix.msc3381.poll.start":
            return read_poll(content)
        case "m.room.encrypted":
            return Unusable("unreadable.undecryptable")
        case _ if kind in EXTENSIBLE_EVENTS:
            return read_extensible(content, kind)
        case _:
            return read_message(content, is_reply=is_reply)
