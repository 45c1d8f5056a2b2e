"""What a Matrix event means to us. Pure, and it never raises: every field is a stranger's.

Whatever a person typed becomes `Spoke` or `Unreadable`, so that it is carried or they are told;
only what nobody typed (echoes, reactions, topics, …) becomes `Nothing`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bridge.conversation.model import CustomerMedia, CustomerText
from bridge.ids import EventId, UserId
from bridge.matrix.crypto.attachments import read_file_field
from bridge.matrix.users import OurUsers
from bridge.media import OCTETS, clean_mime, guess_mime, safe_name
from bridge.media.plaintext import html_to_text
from bridge.rooms.inputs import (
    EncryptionOn,
    Invited,
    Meaning,
    MemberGone,
    MemberJoined,
    Nothing,
    RoomConfigured,
    Spoke,
    Unreadable,
    Upgraded,
)

ROOM_SETTINGS = "org.matrix_webchat.room"
"""Our own state event (contract, "In a room")."""

CONTENT_EVENTS = frozenset(
    {"m.room.message", "m.room.encrypted", "m.sticker"}
    | {"m.poll.start", "org.matrix.msc3381.poll.start"}
)
"""Event types that hold what a person typed or sent."""

KIND = "unreadable.kind"
ENCRYPTED = "unreadable.encrypted"
ENCRYPTED_FILE = "unreadable.encrypted_file"
MALFORMED = "unreadable.malformed"
BLANK = "unreadable.blank"

_MEDIA = {"m.image": "image", "m.file": "file", "m.video": "video", "m.audio": "audio"}
_MXC = re.compile(r"mxc://[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]{0,254}/[A-Za-z0-9_-]{1,255}")
_MAX_CLAIMED_SIZE = 2**53
"""Largest integer that Matrix allows (specification, "Canonical JSON")."""

_Fields = dict[str, object]


def interpret(raw: _Fields, ours: OurUsers) -> Meaning:
    """Read one event.

    Args:
        raw: the event as the homeserver sent it.
        ours: tells our own users from people.
    """
    kind = _text(raw, "type")
    sender = UserId(_text(raw, "sender"))
    if not sender or not _text(raw, "event_id"):
        return Nothing()
    if kind == "m.room.member":
        return _membership(raw, sender, ours)
    if ours.is_ours(sender):
        return Nothing()
    if "state_key" in raw:
        return _state(raw, kind, sender)
    if kind not in CONTENT_EVENTS or _withdrawn(raw):
        return Nothing()
    return _content_event(raw, kind, sender)


def _membership(raw: _Fields, sender: UserId, ours: OurUsers) -> Meaning:
    who = UserId(_text(raw, "state_key"))
    content = _object(raw, "content")
    membership = _text(content, "membership")
    if membership == "invite":
        if ours.is_host(who) and not ours.is_ours(sender):
            direct = content.get("is_direct") is True
            return Invited(EventId(_text(raw, "event_id")), by=sender, whom=who, direct=direct)
        return Nothing()
    if membership == "join":
        before = _object(_object(raw, "unsigned"), "prev_content")
        # A new name or picture is also a "join"; whoever was in the room already is no news.
        if not who or ours.is_ours(who) or _text(before, "membership") == "join":
            return Nothing()
        return MemberJoined(who)
    if membership in {"leave", "ban"} and who:
        return MemberGone(who, by=sender)
    return Nothing()


def _state(raw: _Fields, kind: str, sender: UserId) -> Meaning:
    if raw.get("state_key") != "":
        return Nothing()
    content = _object(raw, "content")
    match kind:
        case "m.room.encryption":
            return EncryptionOn()
        case "m.room.tombstone":
            return Upgraded(_text(content, "replacement_room"))
        case _ if kind == ROOM_SETTINGS:
            return RoomConfigured(EventId(_text(raw, "event_id")), sender, content)
        case _:
            return Nothing()


def _content_event(raw: _Fields, kind: str, sender: UserId) -> Meaning:
    event_id = EventId(_text(raw, "event_id"))
    content = _object(raw, "content")
    if kind == "m.room.encrypted":
        return Unreadable(event_id, sender, ENCRYPTED)
    if kind == "m.sticker":
        return _media(event_id, sender, content, "image")
    if kind != "m.room.message":
        return Unreadable(event_id, sender, KIND)
    relation = _object(content, "m.relates_to")
    if _text(relation, "rel_type") == "m.replace":
        # The agent has the old wording, so a correction is sent as one; "* " is Matrix's own sign.
        replacement = _object(content, "m.new_content") or content
        return _text_or_blank(event_id, sender, _plain(replacement), lambda text: f"* {text}")
    is_reply = bool(_object(relation, "m.in_reply_to"))
    return _message(event_id, sender, content, is_reply=is_reply)


def _message(event_id: EventId, sender: UserId, content: _Fields, *, is_reply: bool) -> Meaning:
    kind = _text(content, "msgtype")
    match kind:
        case "m.text" | "m.notice":
            return _text_or_blank(event_id, sender, _plain(content, is_reply=is_reply))
        case "m.emote":
            text = _plain(content, is_reply=is_reply)
            return _text_or_blank(event_id, sender, text, lambda done: f"* {done}")
        case "m.image" | "m.file" | "m.video" | "m.audio":
            return _media(event_id, sender, content, _MEDIA[kind])
        case "m.location":
            place, geo = _text(content, "body").strip(), _text(content, "geo_uri").strip()
            text = place if geo in place else f"{place} ({geo})" if place else geo
            return _text_or_blank(event_id, sender, text)
        case _:
            return Unreadable(event_id, sender, KIND if kind else MALFORMED)


def _text_or_blank(
    event_id: EventId,
    sender: UserId,
    text: str,
    decorate: Callable[[str], str] = str,
) -> Meaning:
    if not text.strip():
        return Unreadable(event_id, sender, BLANK)
    text = decorate(text)
    return Spoke(event_id, sender, CustomerText(text), plain=text)


def _media(event_id: EventId, sender: UserId, content: _Fields, kind: str) -> Meaning:
    """A file; a caption rides along in `plain`, which the engine sends as a text after it."""
    mxc, file_key = _text(content, "url"), None
    if "file" in content:
        encrypted = read_file_field(_object(content, "file"))
        if encrypted is None:
            return Unreadable(event_id, sender, ENCRYPTED_FILE)
        mxc, file_key = encrypted
    if not _MXC.fullmatch(mxc):
        return Unreadable(event_id, sender, MALFORMED)
    info = _object(content, "info")
    body, filename = _text(content, "body"), _text(content, "filename")
    caption = _plain(content) if filename and body != filename else ""
    claimed = filename or body
    mime = clean_mime(_text(info, "mimetype")) or guess_mime(claimed) or OCTETS
    size = info.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _MAX_CLAIMED_SIZE:
        size = None
    name = safe_name(claimed, mime, fallback=kind)
    media = CustomerMedia(kind=kind, name=name, mxc=mxc, mime=mime, size=size, file_key=file_key)
    return Spoke(event_id, sender, media, plain=caption.strip())


def _plain(content: _Fields, *, is_reply: bool = False) -> str:
    """The text of a message: from its HTML if that can be read, else its body."""
    # Synapse passes NUL on; PostgreSQL stores no text that holds one, and nobody can see it.
    body = _text(content, "body").replace("\x00", "")
    html = _text(content, "formatted_body").replace("\x00", "")
    if html and _text(content, "format") == "org.matrix.custom.html":
        text = html_to_text(html)
        if text:
            return text
    return _without_quotation(body) if is_reply else body


def _without_quotation(body: str) -> str:
    """Drop the quoted lines that older clients put above a reply (specification, "Rich replies").

    They open the body, start with `> ` and end with an empty line; anything else was typed.
    """
    lines = body.split("\n")
    count = 0
    while count < len(lines) and lines[count].startswith("> "):
        count += 1
    if not count or count >= len(lines) or lines[count].strip():
        return body
    return "\n".join(lines[count + 1 :])


def _withdrawn(raw: _Fields) -> bool:
    """Redacted before we read it: the person took it back."""
    return "redacted_because" in _object(raw, "unsigned") and not _object(raw, "content")


def _text(fields: _Fields, key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def _object(fields: _Fields, key: str) -> _Fields:
    value = fields.get(key)
    return value if isinstance(value, dict) else {}
