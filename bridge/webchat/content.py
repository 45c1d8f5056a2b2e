"""What agents send: `msg` of a 210 push, by message type (protocol reference 1.5, 2.2).

The guide says of an agent's content no more than "image and voice are base64, location is JSON,
a file is JSON about the file"; later revisions and the vendor's own clients know eight more
spellings. All are read here. What cannot be read becomes `UnknownContent`, which the customer sees
as a placeholder: an agent's message is never dropped.
"""

import base64
import binascii
import html
import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from bridge.webchat.codes import MessageType, NoticeType
from bridge.webchat.frames import (
    AgentContent,
    AgentLocation,
    AgentMedia,
    AgentNotice,
    AgentText,
    UnknownContent,
)
from bridge.webchat.lenient import (
    clean,
    compact,
    first,
    integer,
    mapping,
    number,
    string,
)

_KINDS: Mapping[int, str] = MappingProxyType(
    {
        MessageType.IMAGE: "image",
        MessageType.FILE: "file",
        MessageType.VOICE: "voice",
        MessageType.VIDEO: "video",
        MessageType.HQ_VOICE: "voice",
    }
)
_ADDRESS_KEYS = ("imgUrl", "imageUri", "url", "fileUrl", "remoteUrl", "sightUrl")
_DATA_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    # An image's preview is better than no image; that of a file is not the file.
    {
        "image": ("thumbData", "data", "content"),
        "file": ("data",),
        "voice": ("voiceData", "data"),
        "video": ("data",),
    }
)
_TEXT_KEYS = ("text", "content")
_NAME_KEYS = ("imgName", "fileName", "name")
_LENGTH_KEYS = ("voiceLength", "length", "duration")

_STRICT_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)
_DATA_URI = re.compile(r"data:([^,]*),", re.IGNORECASE)
_ROOTED_PATH = re.compile(r"/[^\n<>]+")
_PATH = re.compile(r"[^\s<>\"{}\[\]]+\.[^\s<>\"{}\[\]]+")
_JPEG = "/9j/"
_SHORTEST_ROOTED_BASE64 = 200

_QUOTED_JSON = re.compile(r"(['\"])(\[.*\]|\{.*\})\1", re.DOTALL)


def read_content(message: object) -> AgentContent:
    """Read `msg`, which should be an object with `type` and `content` but may be anything."""
    msg = mapping(message)
    if msg is None:
        return UnknownContent(None, _raw(message))
    kind = integer(msg.get("type"))
    content = msg.get("content")
    match kind:
        case MessageType.TEXT if "content" in msg:
            return AgentText(_fragment(content))
        case MessageType.LOCATION:
            return _location(content) or UnknownContent(kind, _raw(content))
        case MessageType.SYSTEM_NOTICE:
            return _notice(integer(msg.get("noticeType")), content)
        case int() if kind in _KINDS:
            return _media(_KINDS[kind], content) or UnknownContent(kind, _raw(content))
        case _:
            return UnknownContent(kind, _raw(content))


def _notice(kind: int | None, content: object) -> AgentNotice | AgentText:
    """A notice that calls itself NORMAL is words of the agent's; the seed's notices have no type
    (reference 2.2).
    """
    text = "" if content is None else _fragment(content)
    if kind == NoticeType.NORMAL and text.strip():
        return AgentText(text)
    return AgentNotice(NoticeType.NORMAL if kind is None else kind, text)


def _raw(content: object) -> str:
    return "" if content is None else compact(content)


def _fragment(content: object) -> str:
    """Text content as an HTML fragment.

    A json-lib server turns a text that looks like JSON into JSON, or puts quotes around it (trap
    T24): an agent who types `null` or `[1,2]` is to be read as having typed that.
    """
    if isinstance(content, str):
        quoted = _QUOTED_JSON.fullmatch(content)
        return clean(quoted[2] if quoted else content)
    if isinstance(content, dict):
        worded = [word for key in _TEXT_KEYS if isinstance(word := content.get(key), str)]
        if worded:
            return clean(next(filter(None, worded), ""))
    return html.escape(compact(content), quote=False)


def _location(content: object) -> AgentLocation | None:
    place = mapping(content) or {}
    latitude, longitude = number(place.get("latitude")), number(place.get("longitude"))
    if latitude is None or longitude is None:
        return None
    return AgentLocation(
        latitude=latitude,
        longitude=longitude,
        poi=string(first(place, "poi", "locationAddress")),
        map=string(place.get("map")),
    )


def _media(kind: str, content: object) -> AgentMedia | None:
    """An object (or its JSON text) with an address or base64, or one of these as a bare string."""
    about = mapping(content)
    if about is None:
        about, found = {}, locate(string(content))
    elif address := string(first(about, *_ADDRESS_KEYS)).strip():
        found = locate(address) if _DATA_URI.match(address) else ("", address)
    else:
        found = locate(string(first(about, *_DATA_KEYS[kind])))
    if found is None:
        return None
    data, url = found
    size, seconds = integer(about.get("size")), number(first(about, *_LENGTH_KEYS))
    return AgentMedia(
        kind=kind,
        data=data,
        url=url,
        name=string(first(about, *_NAME_KEYS)),
        size=size if size is not None and size >= 0 else None,
        seconds=seconds if seconds is not None and seconds >= 0 else None,
    )


def locate(source: str) -> tuple[str, str] | None:
    """Decide whether a bare string is the medium itself or its address (trap T8).

    The base64 of a JPEG begins like a path (`/9j/…`), so base64 is tried before relative addresses;
    but a short path may be base64 by accident, so what begins with `/` needs length or JPEG's
    beginning to count as data.

    Returns:
        (base64, "") for data, ("", address as written) for an address, None for neither.
    """
    source = source.strip()
    if _ABSOLUTE.match(source):
        return "", source
    if prefix := _DATA_URI.match(source):
        payload = unquote_to_bytes(source[prefix.end() :])
        if not prefix[1].lower().endswith(";base64"):
            payload = base64.b64encode(payload)
        data = _base64(payload.decode("ascii", "replace"))
        return (data, "") if data else None
    if source.startswith("/"):
        data = "".join(source.split())
        strict = len(data) % 4 == 0 and _STRICT_BASE64.fullmatch(data)
        if strict and (data.startswith(_JPEG) or len(data) >= _SHORTEST_ROOTED_BASE64):
            return data, ""
        return ("", source) if _ROOTED_PATH.fullmatch(source) else None
    if data := _base64(source):
        return data, ""
    return ("", source) if _PATH.fullmatch(source) else None


def _base64(source: str) -> str:
    """Base64 in its standard form, or "" if `source` is not base64.

    Line breaks, the URL-safe alphabet and missing padding are put right.
    """
    joined = "".join(source.split())
    if not _BASE64.fullmatch(joined):
        return ""
    body = joined.rstrip("=").replace("-", "+").replace("_", "/")
    padded = body + "=" * (-len(body) % 4)
    try:
        binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error:
        return ""
    return padded
