"""Interpretation of Matrix events. Pure, and it never raises: a stranger may have set any field.

Whatever a person typed becomes `Spoke` or `Unreadable`, so that it is delivered or the sender told;
only events that nobody typed (echoes, topics, …) become `Nothing`. Fields of a wrong type count as
missing. Order: contents of messages; events about other events (specification, "Forming
relationships between events"); poll votes (MSC3381, stable and unstable); the event as a whole
(`interpret`, and `recorded` for transcripts).
"""

from __future__ import annotations

import re

import msgspec

from bridge.conversation import model
from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.crypto import wire
from bridge.matrix.crypto.wire import Json, read_file_field
from bridge.matrix.render import WIDGET
from bridge.matrix.users import OurUsers
from bridge.media.formats import OCTETS, clean_mime, guess_mime, safe_name
from bridge.media.places import read_geo_uri
from bridge.media.plaintext import ELEMENTS, OVERRIDES, ended, html_to_text
from bridge.rooms import ports
from bridge.webchat.words import is_unseen

KIND = "unreadable.kind"
MALFORMED = "unreadable.malformed"

_VOICE = ("org.matrix.msc3245.voice", "org.matrix.msc3245.voice.v2", "m.voice")
_EFFECTS = ("nic.custom.", "io.element.effect")
"""How the types of texts begin that clients show with an animation, such as /confetti."""
_MXC = re.compile(r"mxc://[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]{0,254}/[A-Za-z0-9_-]{1,255}")
_ROOM_ID = re.compile(r"![\x21-\x7e]{1,254}")
_USUAL = {"image": "image/png", "video": "video/mp4", "voice": "audio/ogg"}
"""Types of files whose event tells none; players find out the rest themselves."""
_MAX_CLAIMED_SIZE = 2**53
"""Largest integer that Matrix allows (specification, "Canonical JSON")."""
_MAX_POI = 200
_URL = re.compile(r"\(?(?<![a-z])[a-z]{1,20}://\S+")
_PILL = re.compile(r"\[([^\[\]\n]{1,200})\]\(https://matrix\.to/#/[^)\s]{1,400}\)")
"""A mention as a Markdown link, which some clients write into the plain body."""
_MARKS, _INSIDE = re.compile(r"[*_~`\\\s]+"), re.compile(r"\w[*_~`]+\w|\\")
"""Marks of emphasis, and where none was meant: 30*40*50, a password, a path, ¯\\_(ツ)_/¯."""
_ANGLED = re.compile(r"<([A-Za-z]\w*)>")
_ESCAPED = re.compile(r"\\([\\*_\[\]`<>])")
"""Marks that Element escapes in a message that is edited: first\\_last@example.org."""
_FALLBACK = re.compile(r"\A> (?:\* )?<@[^\s<>:]+:[^\s<>]+>.*\n(?:>.*\n)*\n")
"""The reply fallback of older clients; any other quotation was typed."""

# --- contents of messages -------------------------------------------------------------------------


class Readable(msgspec.Struct, frozen=True):
    """A deliverable message. For any other, readers return the text catalogue key of the reason."""

    content: model.CustomerContent
    plain: str = ""
    """A message's text or a file's caption."""
    wrap: str = ""
    """Text catalogue key of the sentence that wraps the text for agents; empty if none does."""
    answers: tuple[tuple[str, str], ...] = ()
    """Id and text of each answer of a poll."""
    notice: bool = False
    """True for an `m.notice`, which a program wrote."""


def sent_at(event: Json) -> int:
    """Return when the sender's homeserver got an event, ms since the epoch; 0 if it is missing."""
    return wire.integer(event, "origin_server_ts") or 0


def is_membership(event: Json, user: UserId, membership: str) -> bool:
    """Whether the event sets the user's membership of a room to this value."""
    return (
        event.get("type") == "m.room.member"
        and event.get("state_key") == user
        and wire.text(event, "content", "membership") == membership
    )


def read_content(kind: str, content: Json) -> Readable | str:
    """Read the content of a `CONTENT_EVENTS` event, or the new content of an edit."""
    if kind == "m.room.message":
        return read_message(content)
    if kind in POLLS:
        return read_poll(content)
    if kind == "m.sticker":
        return read_file(content, "image")
    if kind == "m.room.encrypted":
        return ENCRYPTED
    # An extensible event (MSC1767): only text is read.
    words = _extensible(content)
    return _text(words) if words and kind.endswith("message") else KIND


def read_message(content: Json) -> Readable | str:
    kind = wire.text(content, "msgtype")
    match kind:
        case "m.text" | "m.notice":
            return _text(plain(content), notice=kind == "m.notice")
        case "m.emote":
            done = plain(content)
            return _text("" if is_unseen(done) else f"* {done}")
        case "m.audio" if any(key in content for key in _VOICE):
            return read_file(content, "voice")
        case "m.image" | "m.file" | "m.video" | "m.audio":
            return read_file(content, kind.removeprefix("m."))
        case "m.gallery" | "dm.filament.gallery":
            return _gallery(content)
        case "m.location":
            return _location(content)
        case _ if kind.startswith(_EFFECTS):
            return _text(plain(content))
        case _:
            return KIND if kind else MALFORMED


def read_file(content: Json, kind: str) -> Readable | str:
    """Read a file message; `plain` is its caption."""
    mxc, file_key = wire.text(content, "url"), None
    if isinstance(sealed := content.get("file"), dict):
        encrypted = read_file_field(sealed)
        if encrypted is None:
            return "unreadable.encrypted_file"
        mxc, file_key = encrypted
    if not _MXC.fullmatch(mxc):
        return MALFORMED
    filename, words = _visible(wire.text(content, "filename")).strip(), plain(content).strip()
    caption, claimed = words if filename not in {"", words} else "", filename or words
    mimes = clean_mime(wire.text(content, "info", "mimetype")), guess_mime(claimed)
    mime = next((guess for guess in mimes if guess not in {"", OCTETS}), _USUAL.get(kind, OCTETS))
    if kind == "image" and not mime.startswith("image/"):  # a sticker of Telegram's may be a video
        kind = "video" if mime.startswith("video/") else "file"
    size = wire.integer(content, "info", "size")
    if size is not None and not 0 <= size <= _MAX_CLAIMED_SIZE:
        size = None
    name = safe_name(claimed, mime, fallback=kind)
    media = model.CustomerMedia(
        kind=kind, name=name, mxc=mxc, mime=mime, size=size, file_key=file_key
    )
    return Readable(media, caption)


def _gallery(content: Json) -> Readable | str:
    """Read several files in one message (MSC4274); unreadable if one of them is."""
    files: list[model.CustomerMedia] = []
    captions = [plain(content).strip()]
    for item in wire.objects(content, "itemtypes"):
        kind = wire.text(item, "itemtype").removeprefix("m.")
        match read_file(item, kind if kind in {"image", "video", "audio"} else "file"):
            case Readable(content=model.CustomerMedia() as file, plain=caption):
                files.append(file)
                captions.append(caption)
            case unreadable:
                return unreadable
    if not files:
        return MALFORMED
    first = msgspec.structs.replace(files[0], more=tuple(files[1:]))
    return Readable(first, "\n".join(filter(None, captions)))


def read_poll(content: Json) -> Readable | str:
    """Read the start of a poll (MSC3381) as a question with numbered answers."""
    poll = wire.mapping(content, "m.poll") or wire.mapping(content, "org.matrix.msc3381.poll.start")
    question = _extensible(wire.mapping(poll, "question")).strip()
    choices = tuple(
        (wire.text(answer, "id") or wire.text(answer, "m.id"), text)
        for answer in wire.objects(poll, "answers")[: ports.MOST_ANSWERS]
        if (text := _extensible(answer).strip())
    )
    if question and choices:
        lines = [question, *(f"{at}. {text}" for at, (_, text) in enumerate(choices, 1))]
        return Readable(model.CustomerText("\n".join(lines)), wrap="agent.poll", answers=choices)
    # Fall back to the text for clients without polls.
    whole = _extensible(content).strip()
    return Readable(model.CustomerText(whole), wrap="agent.poll") if whole else MALFORMED


def plain(content: Json) -> str:
    """Return the text of a message: from its HTML if that is readable, else its body."""
    html, body = wire.text(content, "formatted_body"), _visible(wire.text(content, "body"))
    if wire.mapping(content, "m.relates_to", "m.in_reply_to"):
        body = _FALLBACK.sub("", body)
    if html and wire.text(content, "format") == "org.matrix.custom.html":
        text = html_to_text(html)
        typed = _INSIDE.search(body) and _MARKS.sub("", text or "") == _MARKS.sub("", body)
        if text and not typed and not _lost(body, text):
            return text
    return _PILL.sub(r"\1", body) if "](" in body else body


def _lost(body: str, text: str) -> bool:
    """Whether a client took words in angle brackets for tags and left them out of the HTML."""
    words = {*_ANGLED.findall(body)}.difference(_ANGLED.findall(text))
    return bool(words) and not {word.lower() for word in words} <= ELEMENTS | ended(body)


def _new_content(edit: Json) -> Json:
    """Return the content of an edit, its body without the marks that only the editor wrote."""
    content = wire.mapping(edit, "m.new_content")
    body = wire.text(content, "body")
    if "\\" in body:
        bare = _ESCAPED.sub(r"\1", body)
        shown = html_to_text(wire.text(content, "formatted_body"))
        if shown and bare.count("\\") == shown.count("\\"):
            return content | {"body": bare}
    return content


def _visible(text: str) -> str:
    return OVERRIDES.sub("", text)


def _text(text: str, *, notice: bool = False) -> Readable | str:
    if not text.strip() or (not text.isascii() and is_unseen(text)):
        return "undelivered.blank"
    return Readable(model.CustomerText(text), text, notice=notice)


def _location(content: Json) -> Readable | str:
    """Read a location (specification, `m.location`; MSC3488); an unreadable one becomes text."""
    about = wire.mapping(content, "m.location") or wire.mapping(
        content, "org.matrix.msc3488.location"
    )
    body = plain(content).strip()
    uri = wire.text(content, "geo_uri") or wire.text(about, "uri")
    place = read_geo_uri(uri)
    if place is None:
        shown = body if uri.strip() in body else f"{body} ({uri.strip()})" if body else uri
        return _text(_visible(shown))
    # URIs are for clients without a map; the words around a geo URI are the client's.
    named = "" if "geo:" in body else _URL.sub("", body)
    poi = _visible(wire.text(about, "description")) or named
    poi = " ".join(poi.split())[:_MAX_POI]
    return Readable(model.CustomerLocation(place.latitude, place.longitude, poi))


def _extensible(fields: Json) -> str:
    """Return the plain text of part of an extensible event (MSC1767), stable or unstable."""
    for key in ("m.text", "org.matrix.msc1767.text", "body"):
        value = fields.get(key)
        for part in value if isinstance(value, list) else [value]:
            text = wire.text(part, "body") if isinstance(part, dict) else part
            if isinstance(text, str) and text.strip():
                return _visible(text)
    return ""


# --- events about other events --------------------------------------------------------------------

_MAX_KEY = 200
"""Maximum characters of a reaction, which may consist of words."""


def replied_to(content: Json) -> EventId | None:
    """Return the event that this one replies to; None also for a fallback reply in a thread."""
    relation = wire.mapping(content, "m.relates_to")
    if wire.text(relation, "rel_type") == "m.thread" and relation.get("is_falling_back") is True:
        return None  # meant for clients without threads
    return _event_id(relation, "m.in_reply_to", "event_id")


def related(content: Json, kind: str) -> EventId | None:
    """Return the target of the relation if it has this `rel_type`."""
    relation = wire.mapping(content, "m.relates_to")
    return _event_id(relation, "event_id") if wire.text(relation, "rel_type") == kind else None


def reaction(content: Json, event_id: EventId, sender: UserId) -> ports.Meaning:
    """Interpret an `m.reaction`; Nothing if it lacks a target or a printable key."""
    target = related(content, "m.annotation")
    key = wire.text(content, "m.relates_to", "key").strip()
    if key.startswith("mxc://"):
        # A picture as reaction: use its short name.
        name = wire.text(content, "com.beeper.reaction.shortcode")
        key = wire.text(content, "shortcode") or name or "🖼"
    key = "".join(char for char in key if char.isprintable() or char in "\u200d\ufe0f")[:_MAX_KEY]
    return ports.Reacted(event_id, sender, target, key) if target and key else ports.Nothing()


def redaction(raw: Json, event_id: EventId, sender: UserId) -> ports.Meaning:
    """Interpret an `m.room.redaction`; from room version 11 on the content names its target."""
    target = _event_id(raw, "content", "redacts") or _event_id(raw, "redacts")
    return ports.Nothing() if target is None else ports.Withdrew(event_id, sender, target)


def _event_id(found: object, *path: str) -> EventId | None:
    value = wire.text(found, *path)
    return EventId(value) if value.startswith("$") and len(value) <= 255 else None


# --- votes in polls -------------------------------------------------------------------------------

POLL_RESPONSES = frozenset({"m.poll.response", "org.matrix.msc3381.poll.response"})
_MAX_ANSWER = 255


def vote(content: Json, event_id: EventId, sender: UserId) -> ports.Meaning:
    """Interpret a vote. One without answers withdraws the voter's earlier vote and is ignored."""
    target = related(content, "m.reference")
    unstable = wire.strings(content, "org.matrix.msc3381.poll.response", "answers")
    chosen = unstable or wire.strings(content, "m.selections")
    known = [answer for answer in chosen if len(answer) <= _MAX_ANSWER]
    if target is None or not known:
        return ports.Nothing()
    first, *more = known[: ports.MOST_ANSWERS]
    return ports.PollAnswered(event_id, sender, target, first, tuple(more))


# --- the event as a whole -------------------------------------------------------------------------

ROOM_SETTINGS = "org.matrix_webchat.room"
"""State event type of the bridge's room settings (contract, "In a room")."""

EXTENSIBLE_EVENTS = frozenset(
    {"m.message", "org.matrix.msc1767.message"}
    | {"m.file", "m.image", "m.video", "m.audio", "m.voice", "m.location"}
)
"""Event types that may one day replace `m.room.message` (MSC1767 and MSCs based on it)."""

POLLS = frozenset({"m.poll.start", "org.matrix.msc3381.poll.start"})
CONTENT_EVENTS = EXTENSIBLE_EVENTS | POLLS | {"m.room.message", "m.room.encrypted", "m.sticker"}
"""Event types of messages from a person."""
_EDITED = POLLS | {"m.room.message"}
"""Event types of messages whose edits are read."""

CALL_EVENTS = frozenset(
    {"m.call.invite", "m.rtc.notification", "org.matrix.msc4075.rtc.notification"}
    | {"m.call.notify", "org.matrix.msc4075.call.notify"}
)
"""Event types of an incoming call: a legacy call, and MatrixRTC (MSC4075, by its present and former
names)."""

_CONFERENCES = ("jitsi", "m.jitsi")
"""Types of the widget that Element's call button adds where there are more than two members."""

_BEACONS = frozenset({"m.beacon_info", "org.matrix.msc3672.beacon_info"})
"""State event types of live location sharing (MSC3672)."""

ENCRYPTED = "unreadable.encrypted"


def interpret(raw: Json, ours: OurUsers) -> ports.Meaning:
    """Interpret one event, decrypted if its key was there."""
    kind, content = wire.text(raw, "type"), wire.mapping(raw, "content")
    event_id, sender = EventId(wire.text(raw, "event_id")), UserId(wire.text(raw, "sender"))
    if not sender or not event_id:
        return ports.Nothing()
    if kind == "m.room.member":
        return _membership(raw, event_id, sender, ours)
    if ours.is_ours(sender):
        return ports.Nothing()
    if "state_key" in raw:
        return _state(raw, kind, event_id, sender)
    if not content and "redacted_because" in wire.mapping(raw, "unsigned"):
        return ports.Nothing()  # redacted before the bridge read it
    if kind == "m.room.message" and content.get("msgtype") == "m.key.verification.request":
        # A verification request (specification, "Key verification") names one recipient.
        asked = wire.id_text(content, "to")
        if not ours.is_ours(asked):
            return ports.Nothing()
        return ports.Unreadable(event_id, sender, "unreadable.verification", {"user": asked})
    if kind in CONTENT_EVENTS:
        return message(kind, content, event_id, sender)
    if kind in CALL_EVENTS:
        return _call(kind, content, event_id, sender, ours)
    if kind in POLL_RESPONSES:
        return vote(content, event_id, sender)
    if kind == "m.reaction":
        return reaction(content, event_id, sender)
    if kind == "m.room.redaction":
        return redaction(raw, event_id, sender)
    return ports.Nothing()


def _call(
    kind: str, content: Json, event_id: EventId, sender: UserId, ours: OurUsers
) -> ports.Meaning:
    """Interpret an incoming call; one that rings has arguments for `render.declined`."""
    args: model.Args = {}
    if kind == "m.call.invite" and (call := wire.id_text(content, "call_id")):
        args["call"] = call
    elif content.get("notification_type") == "ring":
        args["rings"] = 1
    invitee = wire.id_text(content, "invitee")
    if invitee and not ours.is_ours(invitee):
        return ports.Nothing()  # members call each other
    return ports.Unreadable(event_id, sender, ports.CALL, args)


def _membership(raw: Json, event_id: EventId, sender: UserId, ours: OurUsers) -> ports.Meaning:
    who = UserId(wire.text(raw, "state_key"))
    content = wire.mapping(raw, "content")
    membership = wire.text(content, "membership")
    if membership == "invite" and ours.is_ours(who) and not ours.is_ours(sender):
        if ours.is_host(who):
            return ports.Invited(sender, who, direct=content.get("is_direct") is True)
        # "Invite them back", as Element X offers, does not say that the room is direct.
        again = wire.text(raw, "unsigned", "prev_content", "membership") == "leave"
        direct = again or content.get("is_direct") is True
        return ports.AgentInvited(event_id, by=sender, whom=who, direct=direct)
    if membership == "join" and who and not ours.is_ours(who):
        before = wire.mapping(raw, "unsigned", "prev_content")
        name = wire.text(content, "displayname")
        if wire.text(before, "membership") != "join":
            return ports.MemberJoined(who, name, event_id)
        # A change of name or picture is also a "join".
        if name != wire.text(before, "displayname"):
            return ports.MemberJoined(who, name)
    if membership in {"leave", "ban"} and who:
        return ports.MemberGone(who, event_id=event_id)
    return ports.Nothing()


def _state(raw: Json, kind: str, event_id: EventId, sender: UserId) -> ports.Meaning:
    content, key = wire.mapping(raw, "content"), raw.get("state_key")
    if kind in _BEACONS and key == sender and content.get("live") is True:
        return ports.Unreadable(event_id, sender, "unreadable.live_location")
    if kind == WIDGET and content.get("type") in _CONFERENCES:
        return ports.Unreadable(event_id, sender, ports.CALL)
    if key != "":
        return ports.Nothing()
    if kind == "m.room.encryption":
        return ports.EncryptionOn(unreadable=wire.text(content, "algorithm") != wire.MEGOLM)
    if kind == ports.TOMBSTONE:
        into = wire.text(content, "replacement_room")
        return ports.Upgraded(RoomId(into) if _ROOM_ID.fullmatch(into) else None)
    if kind == ROOM_SETTINGS:
        return ports.RoomConfigured(event_id, sender, content)
    return ports.Nothing()


def message(kind: str, content: Json, event_id: EventId, sender: UserId) -> ports.Meaning:
    """Interpret a message, or the edit (`m.replace`) of one."""
    relation = wire.mapping(content, "m.relates_to")
    edited = kind in _EDITED and relation.get("rel_type") == "m.replace"
    parsed = read_content(kind, _new_content(content) if edited else content)
    target = _event_id(relation, "event_id") if edited else None
    if isinstance(parsed, str) or (edited and target is None):
        why = parsed if isinstance(parsed, str) else MALFORMED
        return ports.Unreadable(event_id, sender, why)
    payload, words, answers, notice = parsed.content, parsed.plain, parsed.answers, parsed.notice
    if target is not None:
        return ports.Corrected(event_id, sender, target, payload, words, answers, notice=notice)
    return ports.Spoke(
        event_id,
        sender,
        payload,
        words,
        wrap=parsed.wrap,
        reply_to=replied_to(content) if relation else None,
        thread=related(content, "m.thread") if relation else None,
        answers=answers,
        notice=notice,
    )


def recorded(raw: Json) -> ports.Recorded | None:
    """Read a message of any sender for a transcript; None for any other event."""
    kind, content = wire.text(raw, "type"), wire.mapping(raw, "content")
    event_id, sender = EventId(wire.text(raw, "event_id")), UserId(wire.text(raw, "sender"))
    if kind not in CONTENT_EVENTS or "state_key" in raw or not event_id or not sender:
        return None
    at = sent_at(raw)
    if not content:
        return ports.Recorded(event_id, sender, at, withdrawn=True)
    relation, replaces, reply_to = wire.mapping(content, "m.relates_to"), None, replied_to(content)
    if wire.text(relation, "rel_type") == "m.replace":
        replaces = EventId(wire.text(relation, "event_id"))
        content = _new_content(content)
    written = read_content(kind, content)
    found = ports.Recorded(event_id, sender, at, replaces=replaces, reply_to=reply_to)
    if isinstance(written, str):
        if written == ENCRYPTED or replaces is not None:
            return found
        words = _extensible(content)  # clients show the body of what was not delivered
        return msgspec.structs.replace(found, content=model.CustomerText(words), words=words)
    # The body of the bridge's polls has the numbers by which people choose: ratings, queues.
    words = wire.text(content, "body") if kind in POLLS else written.plain
    return msgspec.structs.replace(found, content=written.content, words=words)
