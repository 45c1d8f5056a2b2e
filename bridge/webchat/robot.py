"""What the robot says over the socket: type 301 (later; protocol reference 1.6).

No revision documents the frame. The shape is that of the vendor's phone clients, which carry the
same content over another transport; what they cannot read either is shown as it came.
"""

import html

from bridge.ids import SessionId
from bridge.webchat.frames import RobotMessage
from bridge.webchat.lenient import JsonObject, compact, first, integer, mapping, sequence, string

_TRANSFER_CODES = ("CLIENT_ZRG", "ZRG", "AUTO_ZRG")


def read_robot_message(frame: JsonObject) -> RobotMessage | None:
    """Read a 301 push; None if it says nothing. The text is an HTML fragment, as an agent's is."""
    content = first(frame, "content")
    if content is None:
        return None
    session_id = integer(frame.get("sessionId"))
    words, suggestions, transfer = _words(content)
    if not (words or suggestions or transfer):
        words = html.escape(compact(content), quote=False)
    return RobotMessage(
        session_id=None if session_id is None else SessionId(session_id),
        robot_type=integer(frame.get("robotType")),
        text=words,
        suggestions=suggestions,
        transfer=transfer,
    )


def _words(content: object) -> tuple[str, tuple[str, ...], bool]:
    """Text, suggested questions, and whether a person is about to take over."""
    told = mapping(content)
    if told is None:
        return string(content), (), False
    match told.get("type"):
        case "error":
            return string(told.get("message")), (), False
        case "text":
            return _answer(told)
        case "command":
            order = mapping(told.get("content")) or {}
            words = string(first(order, "extra") or first(told, "extra"))
            return words, (), order.get("code") in _TRANSFER_CODES
        case "image" | "image-text" | "news" as kind:
            return _pictured(told, picture=kind == "image"), (), False
        case _:
            shown = first(told, "content", "text")
            return string(shown) if isinstance(shown, str) else "", (), False


def _answer(told: JsonObject) -> tuple[str, tuple[str, ...], bool]:
    lines = [string(told.get("content"))]
    suggestions: list[str] = []
    for entry in sequence(told.get("relatedQuestions")):
        group = mapping(entry) or {}
        lines.append(string(group.get("title")))
        related = (mapping(item) or {} for item in sequence(group.get("relates")))
        suggestions += [name for item in related if (name := string(item.get("name")))]
    return "\n".join(filter(None, lines)), tuple(suggestions), False


def _pictured(told: JsonObject, *, picture: bool) -> str:
    """Pictures and articles as a fragment, as far as they are understood.

    Both phone clients know that these kinds exist, and read neither (reference 1.6). The keys are
    those by which the vendor calls such things elsewhere.
    """
    content = first(told, "content", "articles", "news")
    entries = content if isinstance(content, list) else [content]
    return "".join(_entry(one, picture=picture) for one in entries)


def _entry(entry: object, *, picture: bool) -> str:
    about = mapping(entry)
    if about is None:
        text = string(entry) if isinstance(entry, str) else ""
        is_address = text.lower().startswith(("http://", "https://"))
        return _image(text) if picture and is_address else text
    title = html.escape(string(first(about, "title", "name")))
    url = string(first(about, "url", "link", "linkUrl"))
    words = string(first(about, "description", "digest", "content", "text"))
    source = string(first(about, "picUrl", "picurl", "imgUrl", "imageUri", "image", "pic"))
    if picture and not source:
        source, url = url, ""
    if url:
        title = f'<a href="{html.escape(url)}">{title or html.escape(url)}</a>'
    lines = [line for line in (title, words) if line]
    return "".join(f"<p>{line}</p>" for line in lines) + (_image(source) if source else "")


def _image(source: str) -> str:
    return f'<img src="{html.escape(source)}">'
