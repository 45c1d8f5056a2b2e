"""What a message holds: text, a file, a place, a poll, as content that WebChat can carry. Pure.

Every field is a stranger's: whatever is missing or of the wrong kind is as if it were not there.
"""

from __future__ import annotations

import re

import msgspec

from bridge.conversation.model import (
    CustomerContent,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    FileKey,
)
from bridge.matrix.crypto.attachments import read_file_field
from bridge.media import OCTETS, clean_mime, guess_mime, safe_name
from bridge.media.places import read_geo_uri
from bridge.media.plaintext import html_to_text

KIND = "unreadable.kind"
ENCRYPTED_FILE = "unreadable.encrypted_file"
MALFORMED = "unreadable.malformed"
BLANK = "unreadable.blank"

MAX_ANSWERS = 20
"""Of a poll; the specification's own limit."""

_MEDIA = {"m.image": "image", "m.file": "file", "m.video": "video", "m.audio": "audio"}
_VOICE = ("org.matrix.msc3245.voice", "org.matrix.msc3245.voice.v2", "m.voice")
_MXC = re.compile(r"mxc://[A-Za-z0-9\[][A-Za-z0-9.:\[\]-]{0,254}/[A-Za-z0-9_-]{1,255}")
_MAX_CLAIMED_SIZE = 2**53
"""Largest integer that Matrix allows (specification, "Canonical JSON")."""
_MAX_POI = 200
_PILL = re.compile(r"\[([^\[\]\n]{1,200})\]\(https://matrix\.to/#/[^)\s]{1,400}\)")
"""A mention in Markdown, as some clients leave it in a plain body."""
# Overrides turn what follows round, which honest right-to-left text never needs. NUL: Synapse
# passes it on, PostgreSQL stores no text that holds one, and nobody can see it.
_INVISIBLE = {ord(char): None for char in "\x00\u202d\u202e"}

Fields = dict[str, object]


class Written(msgspec.Struct, frozen=True):
    """A message that can be carried."""

    content: CustomerContent
    plain: str = ""
    """The words of it: a text, or a file's caption."""
    wrap: str = ""
    """Key of the sentence in which agents see the text; empty: as it is."""
    answers: tuple[tuple[str, str], ...] = ()
    """A poll's: id and text of each."""
    notice: bool = False
    """It says of itself that a program wrote it."""


class Unusable(msgspec.Struct, frozen=True):
    """A message that cannot; `key` of the texts says why."""

    key: str


def text_of(fields: Fields, key: str) -> str:
    """A field's text, "" if it has none."""
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def object_of(fields: Fields, key: str) -> Fields:
    """A field's object, empty if it has none."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def read_message(content: Fields, *, is_reply: bool = False) -> Written | Unusable:
    """Read the content of an `m.room.message`.

    Args:
        content: the event's, or the new one of a correction.
        is_reply: older clients quote above what they reply to; that is dropped.
    """
    kind = text_of(content, "msgtype")
    match kind:
        case "m.text" | "m.notice":
            written = _text(plain(content, is_reply=is_reply))
            if isinstance(written, Written) and kind == "m.notice":
                return msgspec.structs.replace(written, notice=True)
            return written
        case "m.emote":
            done = plain(content, is_reply=is_reply)
            return _text(f"* {done}" if done.strip() else "")
        case "m.audio" if any(key in content for key in _VOICE):
            return read_file(content, "voice")
        case "m.image" | "m.file" | "m.video" | "m.audio":
            return read_file(content, _MEDIA[kind])
        case "m.location":
            return _location(content)
        case _:
            return Unusable(KIND if kind else MALFORMED)


def read_file(content: Fields, kind: str) -> Written | Unusable:
    """Read a file; a caption rides along in `plain`."""
    found = _place_of_file(content)
    if isinstance(found, Unusable):
        return found
    mxc, file_key = found
    info = object_of(content, "info")
    body, filename = text_of(content, "body"), text_of(content, "filename")
    caption = plain(content) if filename and body != filename else ""
    claimed = filename or body
    mime = clean_mime(text_of(info, "mimetype")) or guess_mime(claimed) or OCTETS
    size = info.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= _MAX_CLAIMED_SIZE:
        size = None
    name = safe_name(claimed, mime, fallback=kind)
    media = CustomerMedia(kind=kind, name=name, mxc=mxc, mime=mime, size=size, file_key=file_key)
    return Written(media, caption.strip())


def read_extensible(content: Fields, kind: str) -> Written | Unusable:
    """Read an extensible event: its words, if it holds nothing else (MSC1767)."""
    words = _extensible(content)
    return _text(words) if words and kind.endswith("message") else Unusable(KIND)


def read_poll(content: Fields) -> Written | Unusable:
    """Read the start of a poll (MSC3381) as a question with numbered answers."""
    poll = object_of(content, "m.poll") or object_of(content, "org.matrix.msc3381.poll.start")
    question = _extensible(object_of(poll, "question")).strip()
    answers = poll.get("answers")
    choices = [
        (text_of(answer, "id") or text_of(answer, "m.id"), text)
        for answer in (answers if isinstance(answers, list) else [])[:MAX_ANSWERS]
        if isinstance(answer, dict) and (text := _extensible(answer).strip())
    ]
    if not question or not choices:
        # Clients that cannot show polls find the same in words.
        whole = _extensible(content).strip()
        return Written(CustomerText(whole), wrap="agent.poll") if whole else Unusable(MALFORMED)
    lines = [question, *(f"{at}. {text}" for at, (_, text) in enumerate(choices, 1))]
    whole = "\n".join(lines)
    return Written(CustomerText(whole), wrap="agent.poll", answers=tuple(choices))


def plain(content: Fields, *, is_reply: bool = False) -> str:
    """The text of a message: from its HTML if that can be read, else its body."""
    body = text_of(content, "body").translate(_INVISIBLE)
    html = text_of(content, "formatted_body").translate(_INVISIBLE)
    if html and text_of(content, "format") == "org.matrix.custom.html":
        text = html_to_text(html)
        if text:
            return text
    body = _PILL.sub(r"\1", body)
    return _without_quotation(body) if is_reply else body


def _text(text: str) -> Written | Unusable:
    return Written(CustomerText(text), text) if text.strip() else Unusable(BLANK)


def _place_of_file(content: Fields) -> tuple[str, FileKey | None] | Unusable:
    mxc, file_key = text_of(content, "url"), None
    if "file" in content:
        encrypted = read_file_field(object_of(content, "file"))
        if encrypted is None:
            return Unusable(ENCRYPTED_FILE)
        mxc, file_key = encrypted
    return (mxc, file_key) if _MXC.fullmatch(mxc) else Unusable(MALFORMED)


def _location(content: Fields) -> Written | Unusable:
    """A place (specification, `m.location`; MSC3488). One that cannot be read is text."""
    about = object_of(content, "m.location") or object_of(content, "org.matrix.msc3488.location")
    body = plain(content).strip()
    uri = text_of(content, "geo_uri") or text_of(about, "uri")
    place = read_geo_uri(uri)
    if place is None:
        shown = body if uri.strip() in body else f"{body} ({uri.strip()})" if body else uri
        return _text(shown.translate(_INVISIBLE))
    # Clients without a map show the body, so it often repeats the coordinates; a name it is not.
    poi = text_of(about, "description").translate(_INVISIBLE) or ("" if "geo:" in body else body)
    poi = " ".join(poi.split())[:_MAX_POI]
    return Written(CustomerLocation(place.latitude, place.longitude, poi))


def _extensible(fields: Fields) -> str:
    """The plain text of an extensible event's part (MSC1767), stable or not."""
    for key in ("m.text", "org.matrix.msc1767.text", "body"):
        value = fields.get(key)
        for part in value if isinstance(value, list) else [value]:
            text = text_of(part, "body") if isinstance(part, dict) else part
            if isinstance(text, str) and text.strip():
                return text.translate(_INVISIBLE)
    return ""


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
