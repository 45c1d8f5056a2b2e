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
