"""Examples of server pushes other than agents' messages, for docs/matrix-events.md."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bridge.conversation.model import (
    AgentsCame,
    AgentsLeft,
    Args,
    AskRating,
    Card,
    Chatting,
    Pushed,
    Queued,
    Relay,
    Say,
    TakeBack,
)
from bridge.ids import AgentId, QueueId, RequestId, SessionId
from bridge.matrix.render import notice_content
from bridge.rooms.ports import NoticeText
from bridge.texts import Texts
from bridge.webchat.codes import NoticeType, RequestStatus
from bridge.webchat.frames import (
    Agent,
    AgentNotice,
    AgentsUpdated,
    ChatStarted,
    MessageReceived,
    Push,
    QueueStatus,
    RatingPushed,
    SessionClosed,
)
from tests.support.event_answers import Row
from tests.unit.rooms.desks import Desk
from tests.unit.rooms.visits import ADA

SESSION = SessionId(5150)
MEI, JUN = Agent(AgentId("K17"), "Mei"), Agent(AgentId("K18"), "Jun")


def news() -> Iterator[Row]:
    """Yield all rows, in the order of the table."""
    waiting = QueueStatus(RequestId(9), RequestStatus.WAITING, 3)
    yield _row("place in the queue (201)", waiting, queued=True)
    yield _row("the last place before the turn", _at(waiting, 1), queued=True)
    refused = QueueStatus(RequestId(9), RequestStatus.REFUSED)
    yield _row("the request is refused", refused, queued=True)
    yield _row("the chat begins (202)", ChatStarted(SESSION, (MEI,)), queued=True)
    yield _row("another agent takes over (204)", AgentsUpdated(SESSION, (JUN,)))
    yield _row("one more agent (204)", AgentsUpdated(SESSION, (MEI, JUN)))
    renamed = msgspec.structs.replace(MEI, name="May")
    yield _row("an agent has another name (204)", AgentsUpdated(SESSION, (renamed,)))
    yield _row("one of two agents leaves (204)", AgentsUpdated(SESSION, (MEI,)), agents=(MEI, JUN))
    for name, kind in (
        ("notice of the system (210)", NoticeType.NORMAL),
        ("notice that a chat sleeps (210), after a minute of silence", NoticeType.AFK_WARNING),
        ("notice of the operator's own (210)", NoticeType.CUSTOM),
    ):
        notice = AgentNotice(kind, "Please do not send card numbers.")
        yield _row(name, MessageReceived(SESSION, MEI.id, notice))
    recall = MessageReceived(SESSION, MEI.id, AgentNotice(NoticeType.REVOKE_MESSAGE), "152820")
    yield _row("takes a message back (210)", recall)
    yield _row("asks for a rating (203)", RatingPushed(SESSION, MEI.id))
    yield _row("ends the chat (205)", SessionClosed(SESSION, MEI.id))


def _at(status: QueueStatus, position: int) -> QueueStatus:
    return msgspec.structs.replace(status, position=position)


def _row(name: str, push: Push, *, queued: bool = False, agents: tuple[Agent, ...] = (MEI,)) -> Row:
    desk = Desk()
    if queued:
        desk.phase(Queued(QueueId(2), desk.now, RequestId(9), position=4))
    else:
        desk.phase(Chatting(SESSION, desk.now, QueueId(2), agents))
    if "silence" not in name:
        talk = msgspec.structs.replace(desk.record.conversation, watched_at=desk.now)
        desk.visit.set(conversation=talk)
    desk.visit.step(Pushed(push))
    shown: list[str] = []
    words: list[str] = []
    for effect in desk.effects:
        match effect:
            case AgentsCame():
                shown.append("the ghost comes in, under its name")
            case AgentsLeft():
                shown.append("the ghost leaves")
            case AskRating():
                shown.append("a poll, which has the question in words as well")
            case Card():
                shown.append("the queue card, edited")
                words.append(_sentence(effect.key, effect.args))
            case TakeBack():
                shown.append("the message redacted; `m.notice` where it is not known which")
                words.append(_sentence("chat.recalled", {}))
            case Say():
                notice = NoticeText("…", ping=effect.ping, mentions=(ADA,) if effect.ping else ())
                ping = " with a mention: it rings" if effect.ping else ""
                shown.append(f"`{notice_content(notice)['msgtype']}`{ping}")
                words.append(_sentence(effect.key, effect.args))
            case Relay():
                raise AssertionError("that is a message: it belongs to event_answers")
            case _:
                pass
    phase = desk.visit.record.conversation.phase
    if isinstance(phase, Chatting) and phase.ping_at is not None:
        shown.append("the agent's first message mentions the customer: it rings, or else a line")
        words.append(_sentence("chat.started", {"names": ("Mei",)}))
    return name, " then ".join(shown), "the same", " then ".join(words) or "—"


def _sentence(key: str, args: Args) -> str:
    named: Args = args | {"queue": "Returns"}
    return Texts().render("en", key, {"prefix": "!wc", **named})
