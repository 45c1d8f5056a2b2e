"""Wire text as replies and pushes, of every revision at once (protocol reference 1.1, 1.3, 1.4).

A frame below 200, a 301 or 302 with a `result`, or a `result` without any type answers a command;
any other is a push. Nothing
here raises: what cannot be used becomes `Ignored`, with a `kind` that is free of content, so that
it can be logged once per kind.
"""

import re

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.webchat.codes import FrameType, RequestStatus, ResultCode
from bridge.webchat.content import read_content
from bridge.webchat.frames import (
    UNTYPED,
    Agent,
    AgentsUpdated,
    ChatStarted,
    Ignored,
    InitConfig,
    MessageReceived,
    Push,
    QueueStatus,
    RatingPushed,
    Received,
    Reply,
    RobotMessage,
    SessionClosed,
)
from bridge.webchat.lenient import (
    JsonObject,
    NotJson,
    decode,
    first,
    flag,
    integer,
    mapping,
    result_code,
    sequence,
    string,
)
from bridge.webchat.robot import read_robot_message

_FIRST_PUSH = 200
_GUID_LENGTH = 32
_EXTENSION_BORDERS = re.compile(r"[\s,;，；|]+")


def parse_frame(text: str | bytes, *, client_id: str = "") -> Reply | Received | Ignored:
    """Read one frame. Never raises, whatever it is given.

    Args:
        text: the frame. Bytes are read as UTF-8: a binary frame that holds JSON is understood.
        client_id: our own id, where the login told it: it takes us off people lists (trap T16).
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            return Ignored("binary frame")
    try:
        frame = decode(text)
    except NotJson:
        return Ignored("not JSON")
    if not isinstance(frame, dict):
        return Ignored("no JSON object")
    kind = integer(frame.get("type"))
    if kind is None:
        if "result" not in frame:
            return Ignored("frame without type")
        kind = UNTYPED
    if _is_reply(kind, frame):
        return _reply(kind, frame, client_id)
    push = _push(kind, frame, client_id)
    rs_id = _text(frame, "rsId")
    if not rs_id.strip():  # nothing that a receipt could name
        rs_id = ""
    if isinstance(push, Ignored):
        return Ignored(push.kind, rs_id)
    later = kind == FrameType.INIT_CONFIG or rs_id != "" or "users" in frame
    return Received(push, rs_id, later)


def _is_reply(kind: int, frame: JsonObject) -> bool:
    match kind:
        case FrameType.ROBOT_TRANSFER:
            return "result" in frame
        case FrameType.ROBOT_MESSAGE:
            # We never ask with 301, so only one without content can be somebody's answer.
            return "result" in frame and "content" not in frame
        case _:
            return kind < _FIRST_PUSH


def _reply(kind: int, frame: JsonObject, client_id: str) -> Reply | Ignored:
    if "result" not in frame:
        # It says neither yes nor no. The command's own time-out decides.
        return Ignored(f"reply {kind} without result")
    # Success if and only if it equals 1 (trap T13): what cannot be read is a plain failure.
    result = result_code(frame.get("result"))
    request_id, session_id = integer(frame.get("requestId")), integer(frame.get("sessionId"))
    call_id = integer(frame.get("messageId"))
    robot_type = integer(frame.get("robotType"))
    if robot_type is None and flag(frame.get("robotMode")):
        robot_type = 0  # a robot, its make not said
    return Reply(
        type=kind,
        result=ResultCode.FAILURE if result is None else result,
        message=_text(frame, "message"),
        call_id=None if call_id is None else CallId(call_id),
        request_id=None if request_id is None else RequestId(request_id),
        queue_length=integer(frame.get("queueLength")),
        session_id=None if session_id is None else SessionId(session_id),
        agents=_people(frame, client_id) or _sole_agent(frame),
        permanent="perm" in frame,
        robot_type=robot_type,
        continued=flag(frame.get("continueLastSession")),
    )


def _push(kind: int, frame: JsonObject, client_id: str) -> Push | Ignored:
    match kind:
        case FrameType.INIT_CONFIG:
            return _init_config(frame)
        case FrameType.REQUEST_STATUS:
            return _queue_status(frame)
        case FrameType.ROBOT_MESSAGE:
            return read_robot_message(frame) or Ignored(f"push {kind} without content")
        case FrameType.ROBOT_TRANSFER:
            return _robot_transfer(frame)
        case FrameType.MESSAGE_RECEIVED:
            # An agent's words are delivered even if the frame does not say from which session.
            return MessageReceived(
                session_id=SessionId(integer(frame.get("sessionId")) or 0),
                agent_id=_agent_id(frame),
                content=read_content(frame.get("msg")),
            )
        case (
            FrameType.CHAT_STARTED
            | FrameType.RATING_PUSHED
            | FrameType.AGENTS_UPDATED
            | FrameType.SESSION_CLOSED
        ):
            session_id = integer(frame.get("sessionId"))
            if session_id is None:
                return Ignored(f"push {kind} without sessionId")
            return _session_push(kind, SessionId(session_id), frame, client_id)
        case _:
            return Ignored(f"unknown type {kind}")


def _session_push(kind: int, session_id: SessionId, frame: JsonObject, client_id: str) -> Push:
    match kind:
        case FrameType.CHAT_STARTED:
            return ChatStarted(
                session_id=session_id,
                agents=_people(frame, client_id),
                continued=flag(frame.get("continueLastSession")),
                robot=flag(frame.get("robotMode")),
            )
        case FrameType.AGENTS_UPDATED:
            queue_id = integer(frame.get("queueId"))
            return AgentsUpdated(
                session_id=session_id,
                agents=_people(frame, client_id),
                queue_id=None if queue_id is None else QueueId(queue_id),
                queue_name=_text(frame, "queueName"),
            )
        case FrameType.RATING_PUSHED:
            return RatingPushed(session_id, _agent_id(frame))
        case _:
            return SessionClosed(session_id, _agent_id(frame))


def _queue_status(frame: JsonObject) -> QueueStatus | Ignored:
    """201: flat in the guide, inside `data` in the vendor's phone clients (row 16)."""
    said = {**frame, **(mapping(frame.get("data")) or {})}
    status = integer(first(said, "requestStatus", "result"))  # trap T32
    position = integer(said.get("queueLength"))
    if status is None:
        if position is None:
            return Ignored("push 201 without requestStatus")
        status = RequestStatus.WAITING  # who has a place in the queue waits in it
    request_id, session_id = integer(said.get("requestId")), integer(said.get("sessionId"))
    return QueueStatus(
        request_id=None if request_id is None else RequestId(request_id),
        status=status,
        position=position,
        session_id=None if session_id is None else SessionId(session_id),
    )


def _robot_transfer(frame: JsonObject) -> QueueStatus | RobotMessage | Ignored:
    """302 unasked: a place in the queue behind the robot, or words about it (reference 1.2)."""
    position, session_id = integer(frame.get("queueLength")), integer(frame.get("sessionId"))
    session = None if session_id is None else SessionId(session_id)
    if position is not None and position > 0:
        return QueueStatus(None, RequestStatus.WAITING, position, session)
    words = string(first(frame, "message", "content"))
    if not words:
        return Ignored("push 302 without message")
    return RobotMessage(session, integer(frame.get("robotType")), words, transfer=True)


def _init_config(frame: JsonObject) -> InitConfig:
    listed = frame.get("fileAcceptExtensionsArr")  # a string, despite its name (trap T36)
    named = sequence(listed) or _EXTENSION_BORDERS.split(string(listed))
    cleaned = (string(name).strip().strip(".*").strip().lower() for name in named)
    ratings = []
    for entry in sequence(frame.get("ratings")):
        # The guide does not say what an element looks like; these spellings are guesses.
        rating = mapping(entry) or {}
        value = integer(first(rating, "id", "ratingId", "value"))
        label = string(
            first(rating, "name", "label", "text", "title", "comments", "ratingComments")
        )
        if value is not None and label:
            ratings.append((value, label))
    return InitConfig(
        extensions=tuple(dict.fromkeys(filter(None, cleaned))), ratings=tuple(ratings)
    )


def _people(frame: JsonObject, client_id: str) -> tuple[Agent, ...]:
    """The agents of a people list: `agents` in 2016, `users` with the customer later (trap T16).

    The customer is the entry with our own client id; failing that, one without `comments` whose id
    is as long as a GUID (reference 5). That guess never empties a list that is called `agents`.
    """
    by_name = sequence(frame.get("agents"))
    sure: dict[str, Agent] = {}
    guessed: set[str] = set()
    for entry in by_name or sequence(frame.get("users")):
        person = mapping(entry)
        agent = _agent(person) if person else None
        if person is None or agent is None or agent.id == client_id:
            continue
        sure.setdefault(agent.id, agent)
        uncommented = all(person.get(key) is None for key in ("comments", "commonts"))
        if uncommented and len(agent.id) >= _GUID_LENGTH:
            guessed.add(agent.id)
    if by_name and guessed >= sure.keys():
        guessed.clear()
    return tuple(agent for agent in sure.values() if agent.id not in guessed)


def _sole_agent(frame: JsonObject) -> tuple[Agent, ...]:
    """A 101 reply names its agent by keys of its own (reference 1.3)."""
    agent = _agent({key: value for key, value in frame.items() if key != "id"})
    return (agent,) if agent else ()


def _agent(person: JsonObject) -> Agent | None:
    agent_id = string(first(person, "id", "agentId")).strip()
    if not agent_id:
        return None
    return Agent(
        id=AgentId(agent_id),
        name=string(first(person, "name", "agentName")),
        icon=string(person.get("icon")),
        comments=string(first(person, "comments", "commonts")),
    )


def _agent_id(frame: JsonObject) -> AgentId:
    return AgentId(_text(frame, "agentId").strip())


def _text(frame: JsonObject, key: str) -> str:
    return string(frame.get(key))
