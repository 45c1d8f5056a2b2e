"""The knowledge base's answers to `ask`, as one message that any client shows.

Whether it helped is said by reaction (👍, 👎) or by the command `human`; then the question goes
along to the agent (`cards`, `orders`).
"""

from __future__ import annotations

from bridge.conversation.effects import Args
from bridge.conversation.inputs import FailureReason
from bridge.media.plaintext import html_to_text
from bridge.rooms.effects import AskRobot, ShowAnswer
from bridge.rooms.inputs import RobotAnswered
from bridge.rooms.ports import CallFailure
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit
from bridge.webchat.http import RobotAnswer

MOST_ANSWERS = 3
LONGEST_PREVIEW = 300
"""Characters."""


async def answer(around: Surroundings, ask: AskRobot) -> tuple[str, Args]:
    """Ask the robot; returns the key of the sentence that says what came of it, and its args."""
    try:
        reply = await around.link.ask_robot(ask.question)
    except CallFailure as failure:
        if failure.reason is FailureReason.TOO_BIG:
            return "robot.too_long", {}
        return "robot.unreachable", {}
    if not reply.answers:
        return "robot.nothing", {}
    base = around.rules.km_base_url
    cards = [_card(one, base) for one in reply.answers[:MOST_ANSWERS]]
    return "robot.answers", {"answers": "\n\n".join(cards)}


def answered(visit: Visit, came: RobotAnswered) -> None:
    """The knowledge base was asked: show what came of it."""
    visit.ask(ShowAnswer(came.event_id, came.question, came.key, came.args))


def _card(found: RobotAnswer, base: str) -> str:
    lines = [f"▪ {_words(found.title) or _words(found.question) or '…'}"]
    preview = _words(found.preview)
    if len(preview) > LONGEST_PREVIEW:
        preview = preview[: LONGEST_PREVIEW - 1].rstrip() + "…"
    lines.append(preview)
    if base and found.path:
        lines.append(f"{base.rstrip('/')}/{found.path.lstrip('/')}")
    return "\n".join(filter(None, lines))


def _words(fragment: str) -> str:
    """The text of an HTML fragment, on one line."""
    text = html_to_text(fragment)
    return " ".join((fragment if text is None else text).split())
