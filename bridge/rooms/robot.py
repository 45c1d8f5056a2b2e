"""The knowledge base's answers, as one message that any client shows.

It is asked by command, or before (or in place of) a person, as the operator chose. Whether it
helped is said by reaction (👍, 👎), by command (`solved`, `human`) or in plain words; whoever wants
a person takes along what was asked (`cards`, `orders`, `conversation.questions`).
"""

from __future__ import annotations

import structlog

from bridge.conversation import questions
from bridge.conversation.effects import AskRobot
from bridge.conversation.inputs import Consulted, FailureReason, Human, Input, Silence, Solved
from bridge.conversation.model import Chatting, Ended, Idle
from bridge.conversation.policy import RobotUse
from bridge.media.plaintext import html_to_text
from bridge.rooms.effects import ShowAnswer
from bridge.rooms.inputs import RobotAnswered
from bridge.rooms.ports import CallFailure
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit
from bridge.webchat.http import RobotAnswer

MOST_ANSWERS = 3
LONGEST_PREVIEW = 300
"""Characters."""
LONGEST_SHORT = 80
"""Characters of an answer that an agent is told of."""

_PERSON = frozenset(
    [
        "human",
        "person",
        "agent",
        "operator",
        "人工",
        "转人工",
        "人工客服",
        "转人工客服",
        "真人",
        "轉人工",
        "真人客服",
        "轉真人",
        "オペレーター",
        "担当者",
        "有人対応",
    ]
)
_ENOUGH = frozenset(
    [
        "solved",
        "thanks",
        "thank you",
        "ok",
        "已解决",
        "解决了",
        "谢谢",
        "好的",
        "已解決",
        "解決了",
        "謝謝",
        "解決しました",
        "ありがとう",
        "ありがとうございます",
    ]
)
_ENDINGS = " \t\r\n.!。！~～"


async def answer(around: Surroundings, ask: AskRobot) -> RobotAnswered:
    """Ask the knowledge base; whatever comes of it is something to say."""
    # A message that waits for the answer is kept, and may be taken back, in its own place.
    question = "" if ask.first else ask.question

    def nothing(key: str, *, unreachable: bool = False) -> RobotAnswered:
        return RobotAnswered(ask.event_id, question, key, first=ask.first, unreachable=unreachable)

    try:
        reply = await around.link.ask_robot(ask.question)
    except CallFailure as failure:
        if failure.reason is FailureReason.TOO_BIG:
            return nothing("robot.too_long")
        log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.robot")
        log.warning("the knowledge base did not answer", why=failure.reason, code=failure.code)
        return nothing("robot.unreachable", unreachable=True)
    if not reply.answers:
        return nothing("robot.nothing")
    base = around.rules.km_base_url
    found = reply.answers[:MOST_ANSWERS]
    return RobotAnswered(
        ask.event_id,
        question,
        "robot.answers",
        {"answers": "\n\n".join(_card(one, base) for one in found)},
        first=ask.first,
        short=tuple(_cut(_title(one) or _words(one.preview), LONGEST_SHORT) for one in found),
    )


def answered(visit: Visit, came: RobotAnswered) -> None:
    """The knowledge base was asked: show what came of it, and let the conversation go on.

    What came too late, because a person was asked for meanwhile, is not shown.
    """
    if not came.first:
        visit.ask(ShowAnswer(came.event_id, came.question, came.key, came.args))
        return
    question = questions.awaited(visit.record.conversation, came.event_id)
    if question is None:
        return
    note = ""
    if came.short:
        key = "robot.answers_kept" if question.aside else "robot.answers_first"
        visit.ask(ShowAnswer(came.event_id, came.question, key, came.args, first=True))
        note = visit.word("agent.robot_answered", {"answers": "; ".join(came.short)})
    silence = Silence.UNREACHABLE if came.unreachable else Silence.NOTHING
    visit.step(Consulted(came.event_id, note, silence))


def wish(visit: Visit, words: str) -> Input | None:
    """What a few plain words mean to the robot; None if they are a customer's words like others.

    Nobody who waits for an answer reads a manual: "human" asks for a person, and thanks for an
    answer are no new question.
    """
    conversation, use = visit.record.conversation, visit.rules.policy.robot
    phase = conversation.phase
    word = " ".join(words.split()).strip(_ENDINGS).casefold()
    if isinstance(phase, Chatting):
        return Human() if phase.robot and word in _PERSON else None
    if use not in {RobotUse.FIRST, RobotUse.WHEN_NO_AGENT} or not isinstance(phase, Idle | Ended):
        return None
    if word in _PERSON and (use is RobotUse.FIRST or conversation.questions):
        return Human()
    if word in _ENOUGH and any(one.note for one in conversation.questions):
        return Solved()
    return None


def _card(found: RobotAnswer, base: str) -> str:
    lines = [f"▪ {_title(found) or '…'}", _cut(_words(found.preview), LONGEST_PREVIEW)]
    if base and found.path:
        lines.append(f"{base.rstrip('/')}/{found.path.lstrip('/')}")
    return "\n".join(filter(None, lines))


def _title(found: RobotAnswer) -> str:
    return _words(found.title) or _words(found.question)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _words(fragment: str) -> str:
    """The text of an HTML fragment, on one line."""
    text = html_to_text(fragment)
    return " ".join((fragment if text is None else text).split())
