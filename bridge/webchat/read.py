"""Decoder of wire text to replies and pushes, for all revisions (protocol reference 1 and 2).

`parse_frame` never raises: no odd frame can close a link. A frame with a type below 200, a 301 or
302 with a `result`, or a `result` without a type is a reply; any other frame is a push.

Revisions and vendor clients differ in how they spell numbers, flags and objects (reference 1.1,
traps T6, T10, T18). So the small functions at the end accept any JSON value and return a Python
value, or None if it is unreadable; only `decode` raises. An agent's unreadable content becomes
`UnknownContent`, never dropped. The 301 is undocumented; its shape is the vendor's phone clients'.
"""

import base64
import binascii
import html
import json
import math
import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Annotated, Literal, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.webchat import frames
from bridge.webchat.codes import FrameType, MessageType, NoticeType, RequestStatus, ResultCode
from bridge.webchat.words import name_line

JsonObject = Mapping[str, object]
_Id = TypeVar("_Id", CallId, QueueId, RequestId, SessionId)

_Range = msgspec.Meta(ge=-(2**63), le=2**63 - 1)
_CallRange = msgspec.Meta(ge=0, le=2**63 - 1)
_IdRange = msgspec.Meta(ge=1, le=2**63 - 1)

_SEND_MESSAGE = int(FrameType.SEND_MESSAGE)
_FIRST_PUSH = 200
_LONGEST_LOT = 1024 * 1024
"""Maximum length of a text that `divided` splits, in characters."""
_MOST_PARTS = 10_000
"""Maximum number of frames in such a text: reading half a million would take a second."""
_GUID_LENGTH = 32
_MOST_OPTIONS = 500
"""Maximum number of file extensions, ratings, and suggestions, which the room's record keeps; and
of people, groups of questions, and articles that are read."""
_LONGEST_LABEL = 100
"""Maximum length of a rating's label: each message after a chat is compared with all of them."""
_LONGEST_ICON = 64 * 1024
"""Maximum length of an agent's picture or its address, kept in the record as well."""
_EXTENSION_BORDERS = re.compile(r"[\s,;，；|]+")


def parse_frame(
    text: str, *, client_id: str = ""
) -> frames.Reply | frames.Received | frames.Ignored:
    """Decode one frame; `client_id`, if known, removes the customer from people lists (T16)."""
    return read_plain(text) or read_any(text, client_id)


def divided(text: str) -> tuple[str, ...]:
    """Split a text of several frames, which `parse_frame` ignores; empty if it is anything else.
    Some servers send pending frames at once, as an array or as concatenated objects. What follows
    them and cannot be read is the last part.
    """
    text = text.strip("\ufeff \t\r\n")
    listed = text.startswith("[")
    if len(text) > _LONGEST_LOT or (listed and not text.endswith("]")):
        return ()
    parts: list[str] = []
    place, end = int(listed), len(text) - listed
    try:
        while place < end:
            if text[place] in ", \t\r\n":
                place += 1
                continue
            _, after = _DECODER.raw_decode(text, place)  # as tolerant as `decode`
            parts.append(text[place:after])
            place = after
            if len(parts) > _MOST_PARTS:
                return ()
    except (ValueError, RecursionError):
        if not parts:
            return ()
        parts.append(text[place:])
    return tuple(parts) if listed or len(parts) > 1 else ()


class _PlainReply(msgspec.Struct, tag_field="type", tag=110, forbid_unknown_fields=True):
    """A reply to a 110 with none but the usual keys."""

    result: Annotated[int, _Range]
    messageId: Annotated[CallId, _CallRange] | None = None  # noqa: N815 -- the wire's names
    message: str = ""
    sessionId: Annotated[SessionId, _IdRange] | None = None  # noqa: N815


class _PlainText(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal[1]
    content: str


class _PlainPush(msgspec.Struct, tag_field="type", tag=210, forbid_unknown_fields=True):
    """A 210 with a text, spelt as in the guides."""

    msg: _PlainText
    sessionId: Annotated[SessionId, _IdRange] | None = None  # noqa: N815
    agentId: str = ""  # noqa: N815
    rsId: str = ""  # noqa: N815


_PLAIN_DECODER: msgspec.json.Decoder[_PlainReply | _PlainPush] = msgspec.json.Decoder(
    _PlainReply | _PlainPush
)


def read_plain(text: str) -> frames.Reply | frames.Received | None:
    """Decode the two most frequent frames like `read_any`, but faster; None for all others."""
    try:
        frame = _PLAIN_DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(frame, _PlainReply):
        return frames.Reply(
            _SEND_MESSAGE,
            frame.result,
            frame.message.replace("\0", "\ufffd"),
            frame.messageId,
            session_id=frame.sessionId,
        )
    words = frames.AgentText(_fragment(frame.msg.content))
    agent = AgentId(clean(frame.agentId).strip())
    rs_id = clean(frame.rsId) if frame.rsId.strip() else ""
    received = frames.MessageReceived(frame.sessionId or SessionId(0), agent, words)
    return frames.Received(received, rs_id, later=rs_id != "")


def read_any(text: str, client_id: str) -> frames.Reply | frames.Received | frames.Ignored:
    """Decode a frame of any type and spelling."""
    try:
        frame = decode(text)
    except NotJson:
        begun = text.lstrip("\ufeff \t\r\n[],").startswith("{")
        return frames.Ignored(frames.BROKEN if begun else "not JSON")
    if not isinstance(frame, dict):
        return frames.Ignored("not a JSON object")
    frame = flat(frame)
    kind = integer(frame.get("type"))
    if kind is None:
        if "result" not in frame and not _from_agent(frame):
            return frames.Ignored("frame without type")
        kind = frames.UNTYPED if "result" in frame else int(FrameType.MESSAGE_RECEIVED)
    if _is_reply(kind, frame):
        return _reply(kind, frame, client_id)
    push = _push(kind, frame, client_id)
    rs_id = text_of(frame, "rsId")
    rs_id = rs_id if rs_id.strip() else ""  # a receipt cannot name a blank id
    if isinstance(push, frames.Ignored):
        return frames.Ignored(push.kind, rs_id)
    later = kind == FrameType.INIT_CONFIG or rs_id != "" or frame.get("users") is not None
    return frames.Received(push, rs_id, later)


def _is_reply(kind: int, frame: JsonObject) -> bool:
    if kind == FrameType.ROBOT_MESSAGE:
        # 301 is never sent as a command, so one with content is a push despite its `result`.
        return "result" in frame and "content" not in frame
    return "result" in frame if kind == FrameType.ROBOT_TRANSFER else kind < _FIRST_PUSH


def _reply(kind: int, frame: JsonObject, client_id: str) -> frames.Reply | frames.Ignored:
    if "result" not in frame:
        # The command ends by its time-out.
        return frames.Ignored(f"reply {kind} without result")
    # Only 1 is success (trap T13); an unreadable result is a plain failure.
    result = result_code(frame.get("result"))
    # A 101 reply may name its agent by keys of the frame itself (reference 1.3).
    agent = _agent({key: value for key, value in frame.items() if key != "id"})
    sole = () if agent is None else (agent,)
    robot_type = integer(frame.get("robotType"))
    if robot_type is None and flag(frame.get("robotMode")):
        robot_type = 0  # a robot of unknown make (trap T18)
    return frames.Reply(
        type=kind,
        result=ResultCode.FAILURE if result is None else result,
        message=text_of(frame, "message"),
        call_id=_id(CallId, frame.get("messageId"), 0),  # the one id that may be 0 (trap T11)
        request_id=_id(RequestId, frame.get("requestId")),
        queue_length=integer(frame.get("queueLength")),
        session_id=_id(SessionId, frame.get("sessionId")),
        agents=_people(frame, client_id) or sole,
        permanent="perm" in frame,
        robot_type=robot_type,
        place=text_of(frame, "positionInQueueMessage"),
        continued=flag(frame.get("continueLastSession")),
    )


def _push(kind: int, frame: JsonObject, client_id: str) -> frames.Push | frames.Ignored:
    given_id = _id(SessionId, frame.get("sessionId"))
    if given_id is None and kind == FrameType.CHAT_STARTED:  # others are about the present session
        return frames.Ignored(f"push {kind} without sessionId")
    session_id, agent_id = given_id or SessionId(0), AgentId(text_of(frame, "agentId").strip())
    match kind:
        case FrameType.INIT_CONFIG:
            return _init_config(frame)
        case FrameType.REQUEST_STATUS:
            return _queue_status(frame)
        case FrameType.ROBOT_MESSAGE:
            return read_robot_message(frame) or frames.Ignored(f"push {kind} without content")
        case FrameType.ROBOT_TRANSFER:
            return _robot_transfer(frame)
        case FrameType.RATING_PUSHED:
            return frames.RatingPushed(session_id, agent_id)
        case FrameType.SESSION_CLOSED:
            return frames.SessionClosed(session_id, agent_id)
        case FrameType.AGENTS_UPDATED:
            queue_id = _id(QueueId, frame.get("queueId"))
            return frames.AgentsUpdated(session_id, _people(frame, client_id), queue_id)
        case FrameType.CHAT_STARTED:
            people, robot = _people(frame, client_id), flag(frame.get("robotMode"))
            early = _init_config(frame)
            config = early if early.ratings or early.extensions else None
            continued = flag(frame.get("continueLastSession"))
            return frames.ChatStarted(session_id, people, robot, config, continued)
        case _ if kind == FrameType.MESSAGE_RECEIVED or _from_agent(frame):
            content, number = read_content(frame.get("msg")), _message_id(frame)
            return frames.MessageReceived(session_id, agent_id, content, number)
        case _:
            return frames.Ignored(f"unknown type {kind}")


def _from_agent(frame: JsonObject) -> bool:
    """Return whether a frame of an unknown type has what only an agent's message has."""
    return "content" in (mapping(frame.get("msg")) or {}) and text_of(frame, "agentId") != ""


def _queue_status(frame: JsonObject) -> frames.QueueStatus | frames.Ignored:
    status = integer(first(frame, "requestStatus", "result"))  # trap T32
    position = integer(frame.get("queueLength"))
    if status is None:
        if position is None:
            return frames.Ignored("push 201 without requestStatus")
        status = RequestStatus.WAITING  # implied by a position
    request_id = _id(RequestId, frame.get("requestId"))
    session_id, place = _id(SessionId, frame.get("sessionId")), ""
    if status == RequestStatus.WAITING:
        place = text_of(frame, "positionInQueueMessage", "message")
    return frames.QueueStatus(request_id, status, position, session_id, place)


def _robot_transfer(frame: JsonObject) -> frames.QueueStatus | frames.RobotMessage | frames.Ignored:
    """Decode a 302 push: a position in the queue behind the robot, or a text (reference 1.2)."""
    position = integer(frame.get("queueLength"))
    session = _id(SessionId, frame.get("sessionId"))
    if position is not None and position > 0:
        place = text_of(frame, "positionInQueueMessage")
        return frames.QueueStatus(None, RequestStatus.WAITING, position, session, place)
    words = text_of(frame, "message", "content")
    if not words:
        return frames.Ignored("push 302 without message")
    return frames.RobotMessage(session, integer(frame.get("robotType")), words, transfer=True)


def _init_config(frame: JsonObject) -> frames.InitConfig:
    listed = frame.get("fileAcceptExtensionsArr")  # a string, despite its name (trap T36)
    named = sequence(listed) or _EXTENSION_BORDERS.split(string(listed), _MOST_OPTIONS)
    shown = (string(name)[:_MAX_SHOWN] for name in named[:_MOST_OPTIONS])
    cleaned = (name.strip().strip(".*").strip().lower() for name in shown)
    ratings = []
    for entry in sequence(frame.get("ratings"))[:_MOST_OPTIONS]:
        # The guide does not document the elements; these keys are guesses.
        rating = mapping(entry) or {}
        value = integer(first(rating, "id", "ratingId", "value"))
        label = text_of(rating, "name", "label", "text", "title", "comments", "ratingComments")
        if value is not None and label:
            ratings.append((value, label[:_LONGEST_LABEL]))
    return frames.InitConfig(
        extensions=tuple(dict.fromkeys(filter(None, cleaned))), ratings=tuple(ratings)
    )


def _people(frame: JsonObject, client_id: str) -> tuple[frames.Agent, ...]:
    """Return the agents of a people list: `agents` in 2016, later `users`, with the customer (T16).

    The customer is the entry with `client_id`, or else an entry without `comments` whose id is as
    long as a GUID (reference 5), unless that would empty a list named `agents`. At most
    `MOST_AGENTS` are returned.
    """
    by_name = sequence(frame.get("agents"))
    sure: dict[str, frames.Agent] = {}
    guessed: set[str] = set()
    for entry in (by_name or sequence(frame.get("users")))[:_MOST_OPTIONS]:
        person = mapping(entry) or {}
        agent = _agent(person)
        if agent is None or agent.id == client_id:
            continue
        sure.setdefault(agent.id, agent)
        uncommented = all(person.get(key) is None for key in ("comments", "commonts"))
        if uncommented and len(agent.id) >= _GUID_LENGTH:
            guessed.add(agent.id)
    if by_name and guessed >= sure.keys():
        guessed.clear()
    agents = (agent for agent in sure.values() if agent.id not in guessed)
    return tuple(islice(agents, frames.MOST_AGENTS))


def _agent(person: JsonObject) -> frames.Agent | None:
    agent_id = text_of(person, "id", "agentId").strip()
    if not 0 < len(agent_id) <= _MAX_SHOWN:
        return None
    icon = text_of(person, "icon", "portraitUri")
    return frames.Agent(
        AgentId(agent_id),
        name_line(text_of(person, "name", "agentName")),
        icon if len(icon) <= _LONGEST_ICON else "",
        text_of(person, "comments", "commonts")[:_MAX_SHOWN],
    )


# --- content of agents (protocol reference 1.5, 2.2) --------------------------------------------

_ADDRESS_KEYS = ("imgUrl", "imageUri", "url", "fileUrl", "remoteUrl", "sightUrl")
_MEDIA: Mapping[int, tuple[str, tuple[str, ...]]] = {
    # A preview (`thumbData`) is accepted for an image, but cannot replace a file.
    MessageType.IMAGE: ("image", ("thumbData", "data", "content")),
    MessageType.FILE: ("file", ("data",)),
    MessageType.VOICE: ("voice", ("voiceData", "data", "voiceUri")),
    MessageType.VIDEO: ("video", ("data", "sightUri")),
    MessageType.HQ_VOICE: ("voice", ("voiceData", "data", "voiceUri")),
}
"""Per message type: the kind, and the keys with base64 data, or at last an address."""
_TEXT_KEYS = ("text", "content")
_NAME_KEYS = ("imgName", "fileName", "sightName", "name")
_LENGTH_KEYS = ("voiceLength", "length", "sightLength", "duration")

_STRICT_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)
_DATA_URI = re.compile(r"data:([^,]*),", re.IGNORECASE)
_ROOTED_PATH = re.compile(r"/[^\n<>]+")
_PATH = re.compile(r"[^\s<>\"{}\[\]]+")
_JPEG = "/9j/"
_SHORTEST_ROOTED_BASE64 = 200
_LONGEST_CLIP = 1e9
"""Maximum seconds of sound or video: Matrix has no integers beyond 2^53 milliseconds."""
_WHITE_SPACE = str.maketrans("", "", " \t\r\n\f\v")
_MOST_ESCAPES = 100_000
"""Maximum number of percent escapes in a data URI: each takes 200 bytes while it is unquoted."""

_QUOTED_JSON = re.compile(r"(['\"])(\[.*\]|\{.*\})\1", re.DOTALL)


def read_content(message: object) -> frames.AgentContent:
    """Decode `msg`, which should be an object with `type` and `content` but may be anything."""
    msg = mapping(message)
    if msg is None:
        return _in_words(None, message)
    kind = integer(msg.get("type"))
    content = msg.get("content")
    match kind:
        case MessageType.TEXT if "content" in msg:
            return frames.AgentText(_fragment(content))
        case MessageType.LOCATION:
            return _location(content) or _in_words(kind, content)
        case MessageType.SYSTEM_NOTICE:
            return _notice(integer(msg.get("noticeType")), content)
        case int() if kind in _MEDIA:
            return _media(*_MEDIA[kind], content) or frames.UnknownContent(kind, _raw(content))
        case _:
            return _in_words(kind, content)


def _in_words(kind: int | None, content: object) -> frames.AgentText | frames.UnknownContent:
    """Return the words in content of an undocumented type or shape, which may be an agent's."""
    about, words = unwrap(content), ""
    if isinstance(about, dict):
        texts = {key: text for key, text in about.items() if _is_worded(text)}
        words = _entry(texts, picture=False)
    elif isinstance(about, str) and _is_worded(about):
        words = _fragment(about)
    return frames.AgentText(words) if words.strip() else frames.UnknownContent(kind, _raw(content))


def _is_worded(value: object) -> bool:
    """Return whether a value is text, but no file's data."""
    if not isinstance(value, str) or _DATA_URI.match(value):
        return False
    return len(value) < _SHORTEST_ROOTED_BASE64 or not _base64(value)


def _notice(kind: int | None, content: object) -> frames.AgentNotice | frames.AgentText:
    """Decode a system notice (2.2): NORMAL marks text of the agent; in 2016 there was no type."""
    text = "" if content is None else _fragment(content)
    if kind == NoticeType.NORMAL and text.strip():
        return frames.AgentText(text)
    return frames.AgentNotice(NoticeType.NORMAL if kind is None else kind, text)


def _message_id(frame: JsonObject) -> str:
    """Return the message number, or in a REVOKE_MESSAGE notice that of the revoked message. No
    guide says where a push has its number: `messageId` or `id` in the frame or the message.
    """
    msg = mapping(frame.get("msg")) or {}
    if integer(msg.get("noticeType")) == NoticeType.REVOKE_MESSAGE:
        content = msg.get("content")
        meant = first(mapping(content) or {"id": content}, "messageId", "id")
        return string(meant) if integer(meant) is not None else ""
    return text_of(frame, "messageId") or text_of(msg, "messageId", "id")


def _raw(content: object) -> str:
    return "" if content is None else compact(content)


def _fragment(content: object) -> str:
    """Return text content as HTML; undo json-lib's conversion to JSON or quotes (trap T24)."""
    if isinstance(content, str):
        quoted = _QUOTED_JSON.fullmatch(content)
        return clean(quoted[2] if quoted else content)
    if isinstance(content, dict):
        worded = [word for key in _TEXT_KEYS if isinstance(word := content.get(key), str)]
        if worded:
            return clean(next(filter(None, worded), ""))
    return html.escape(compact(content), quote=False)


def _location(content: object) -> frames.AgentLocation | None:
    place = mapping(content) or {}
    latitude, longitude = number(place.get("latitude")), number(place.get("longitude"))
    if latitude is None or longitude is None:
        return None
    return frames.AgentLocation(
        latitude, longitude, text_of(place, "poi", "locationAddress"), text_of(place, "map")
    )


def _media(kind: str, data_keys: tuple[str, ...], content: object) -> frames.AgentMedia | None:
    """Decode media: an object (or its JSON text) with an address or base64, or a bare string."""
    about = mapping(content)
    if about is None:
        about, found = {}, locate(string(content))
    elif address := text_of(about, *_ADDRESS_KEYS).strip():
        found = locate(address) if _DATA_URI.match(address) else ("", address)
    else:
        found = locate(text_of(about, *data_keys))
    if found is None:
        return None
    data, url = found
    size, seconds = integer(about.get("size")), number(first(about, *_LENGTH_KEYS))
    return frames.AgentMedia(
        kind=kind,
        data=data,
        url=url,
        name=" ".join(text_of(about, *_NAME_KEYS).split())[:_MAX_SHOWN],
        size=size if size is not None and size >= 0 else None,
        seconds=seconds if seconds is not None and 0 <= seconds <= _LONGEST_CLIP else None,
    )


def locate(source: str) -> tuple[str, str] | None:
    """Tell base64 from an address (trap T8): return (base64, ""), ("", address as written) or None.

    The base64 of a JPEG begins like a path (`/9j/…`), and a short path may be valid base64: data
    that begins with `/` must be long or begin like a JPEG.
    """
    source = source.strip()
    if _ABSOLUTE.match(source):
        return "", source
    if prefix := _DATA_URI.match(source):
        if source.count("%") > _MOST_ESCAPES:
            return None
        payload = unquote_to_bytes(source[prefix.end() :])
        if not prefix[1].lower().endswith(";base64"):
            payload = base64.b64encode(payload)
        data = _base64(payload.decode("ascii", "replace"))
        return (data, "") if data else None
    if source.startswith("/"):
        data = _on_one_line(source)
        strict = len(data) % 4 == 0 and _STRICT_BASE64.fullmatch(data)
        if strict and (data.startswith(_JPEG) or len(data) >= _SHORTEST_ROOTED_BASE64):
            return data, ""
        return ("", source) if _ROOTED_PATH.fullmatch(source) else None
    if data := _base64(source):
        return data, ""
    # The dot is not part of the pattern: many dots would take it quadratic time to fail.
    return ("", source) if "." in source[1:-1] and _PATH.fullmatch(source) else None


def _on_one_line(source: str) -> str:
    """Return base64 without white space (not by `split`, as each word takes 60 bytes); "" for text
    that is not ASCII.
    """
    return source.translate(_WHITE_SPACE) if source.isascii() else ""


def _base64(source: str) -> str:
    """Return base64 in the standard alphabet, on one line and padded; "" if it is not base64."""
    joined = _on_one_line(source)
    if not _BASE64.fullmatch(joined):
        return ""
    body = joined.rstrip("=").replace("-", "+").replace("_", "/")
    padded = body + "=" * (-len(body) % 4)
    try:
        binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error:
        return ""
    return padded


# --- content of the robot (later; reference 1.6) ------------------------------------------------

_TRANSFER_CODES = ("CLIENT_ZRG", "ZRG", "AUTO_ZRG")


def read_robot_message(frame: JsonObject) -> frames.RobotMessage | None:
    """Decode a 301 push; None without content. The text is an HTML fragment, as an agent's is."""
    content = first(frame, "content")
    if content is None:
        return None
    suggestions: tuple[str, ...] = ()
    transfer = sought = False
    match mapping(content):
        case None:
            words = string(content)
        case {"type": "error"} as answer:
            words = text_of(answer, "message")
        case {"type": "text"} as answer:
            words, suggestions = _answer(answer)
        case {"type": "command"} as answer:
            order = mapping(answer.get("content")) or {}
            words = string(first(order, "extra") or first(answer, "extra"))
            transfer = order.get("code") in _TRANSFER_CODES
            sought = order.get("code") == "AUTO_ZRG"
        case {"type": "image" | "image-text" | "news" as kind} as answer:
            words = _pictured(answer, picture=kind == "image")
        case answer:
            shown = first(answer, "content", "text")
            words = string(shown) if isinstance(shown, str) else ""
    if not (words or suggestions or transfer):
        words = html.escape(compact(unwrap(content)), quote=False)
    session, robot = _id(SessionId, frame.get("sessionId")), integer(frame.get("robotType"))
    return frames.RobotMessage(session, robot, words, suggestions, transfer, sought)


def _answer(answer: JsonObject) -> tuple[str, tuple[str, ...]]:
    """Return the text and the suggested questions."""
    lines = [text_of(answer, "content")]
    suggestions: list[str] = []
    for entry in sequence(answer.get("relatedQuestions"))[:_MOST_OPTIONS]:
        group = mapping(entry) or {}
        lines.append(text_of(group, "title"))
        room = _MOST_OPTIONS - len(suggestions)
        related = (mapping(item) or {} for item in sequence(group.get("relates"))[:room])
        suggestions += [name[:_MAX_SHOWN] for item in related if (name := text_of(item, "name"))]
    return "\n".join(filter(None, lines)), tuple(suggestions)


def _pictured(answer: JsonObject, *, picture: bool) -> str:
    """Return pictures or articles as HTML; the phone clients parse neither (reference 1.6)."""
    content = first(answer, "content", "articles", "news")
    entries = content[:_MOST_OPTIONS] if isinstance(content, list) else [content]
    return "".join(_entry(entry, picture=picture) for entry in entries)


def _entry(entry: object, *, picture: bool) -> str:
    about = mapping(entry)
    if about is None:
        text = string(entry) if isinstance(entry, str) else ""
        return _image(text) if picture and _ABSOLUTE.match(text) else text
    title = html.escape(text_of(about, "title", "name", "poi", "locationAddress"))
    url = text_of(about, "url", "link", "linkUrl")
    words = text_of(about, "description", "digest", "content", "text")
    source = text_of(about, "picUrl", "picurl", "imgUrl", "imageUri", "image", "pic")
    if picture and not source:
        source, url = url, ""
    if url:
        title = f'<a href="{html.escape(url)}">{title or html.escape(url)}</a>'
    lines = [line for line in (title, words) if line]
    return "".join(f"<p>{line}</p>" for line in lines) + (_image(source) if source else "")


def _image(source: str) -> str:
    return f'<img src="{html.escape(source)}">'


# --- single values ------------------------------------------------------------------------------

_INT64 = range(-(2**63), 2**63)
_DIGITS = re.compile(r"[+-]?[0-9]{1,19}(\.0*)?")
_MAX_SHOWN = 2000
"""Maximum length of JSON that is shown to people, of an agent's id and comments, and of the name of
a file, in characters."""
_MOST_VALUES = 250_000
"""Maximum number of values in a document: an empty list takes 40 times its text in memory."""


def decoded(data: bytes | bytearray | memoryview) -> str:
    """Return text in UTF-8, or GB18030 if most of it is not UTF-8; unreadable bytes are U+FFFD."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        text = str(data, "utf-8", "replace")
    chinese = text.count("\ufffd") * 4 > len(text.encode()) - len(text)
    return str(data, "gb18030", "replace") if chinese else text


class NotJson(ValueError):
    """The text is not JSON, or is abusive JSON."""


def decode(text: str) -> object:
    """Decode one JSON document; NotJson also for deep nesting, for more than `_MOST_VALUES` values,
    or for a number of thousands of digits.

    Tolerates three faults of real servers: a byte order mark, raw control characters inside
    strings, and the constants NaN and Infinity (read as null).
    """
    if len(text) > _MOST_VALUES and _has_too_many_values(text):
        raise NotJson("too many values")
    try:
        value: object = _DECODER.decode(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        raise NotJson from None
    return value


def _has_too_many_values(text: str) -> bool:
    """True if a document has more than `_MOST_VALUES` values; brackets in strings are no values."""
    if sum(map(text.count, ",[{")) <= _MOST_VALUES:
        return False
    # Each value and key that is a string has two quotation marks.
    strings = (text.count('"') - text.count('\\"')) // 2
    return strings > 2 * _MOST_VALUES or sum(map(_STRING.sub("", text).count, ",[{")) > _MOST_VALUES


_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False, parse_constant=lambda _name: None)
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def clean(text: str) -> str:
    """Replace NUL and lone surrogates, which databases and Matrix refuse, with U+FFFD."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def compact(value: object) -> str:
    """Return a JSON value as compact JSON of at most 2,000 characters, for people."""
    try:
        shown = _COMPACT.encode(value)
    except (ValueError, RecursionError):  # the nesting could be read but not written
        return "…"
    return clean(shown[:_MAX_SHOWN])


def integer(value: object) -> int | None:
    """Return an integer, integral float or digit string within 64 bits as int (reference 1.1)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        found = _DIGITS.fullmatch(value.strip())
        value = int(value.strip().partition(".")[0]) if found else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() else None
    return value if isinstance(value, int) and value in _INT64 else None


def _id(kind: Callable[[int], _Id], value: object, least: int = 1) -> _Id | None:
    """Return an id; None also for 0 or -1, as Java servers write a missing number."""
    number = integer(value)
    return None if number is None or number < least else kind(number)


def result_code(value: object) -> int | None:
    """Return the wire `result` as int; true and false are 1 and 0 (trap T13)."""
    return int(value) if isinstance(value, bool) else integer(value)


def number(value: object) -> float | None:
    """Return a finite number, also from a string (test 58)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def string(value: object) -> str:
    """Return a string as it is, null as "", any other value as compact JSON."""
    if isinstance(value, str):
        return clean(value)
    return "" if value is None else compact(value)


def flag(value: object) -> bool:
    """Return True for true, 1, "true" and "1" (trap T18)."""
    if isinstance(value, str):
        return value.strip().lower() in {"true", "1"}
    return isinstance(value, int | float) and value == 1


def unwrap(value: object) -> object:
    """Decode an object or array that came as JSON text (trap T6); return other values as is."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return decode(value)
        except NotJson:
            return value
    return value


def mapping(value: object) -> JsonObject | None:
    """Return an object, also from JSON text; None for any other value."""
    found = unwrap(value)
    return found if isinstance(found, dict) else None


def sequence(value: object) -> list[object]:
    """Return an array, also from JSON text; empty for any other value."""
    found = unwrap(value)
    return found if isinstance(found, list) else []


def flat(frame: JsonObject) -> JsonObject:
    """Return a frame or an HTTP reply together with the values inside its `data`, which count first
    (reference 1.4, 201; test 16). The type of the frame is outside, if it has one.
    """
    if (inside := mapping(frame.get("data"))) is None:
        return frame
    named = {key: value for key, value in inside.items() if value is not None}
    return {**frame, **named, "type": first(frame, "type") or named.get("type")}


def first(source: JsonObject, *keys: str) -> object:
    """Return the value of the first of `keys` that is neither missing, null nor ""."""
    for key in keys:
        value = source.get(key)
        if value is not None and value != "":
            return value
    return None


def text_of(source: JsonObject, *keys: str) -> str:
    return string(first(source, *keys))
