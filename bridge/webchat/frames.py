"""Every frame of the WebChat protocol as a frozen value.

`type` is that of the wire, of a frame or a content; a reply carries that of its command. Which key
spells what in which revision is the codec's business alone. The values are msgspec structs because
the durable engine stores them as tagged JSON.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.webchat.codes import FrameType, MessageType, ResultCode


class Frame(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base of all frames: a frozen struct, tagged for the store."""


# --- content that we write into 110 (guide 2, "chat message") ---------------------------------


class Text(Frame, frozen=True):
    type: ClassVar = MessageType.TEXT
    text: str


class Image(Frame, frozen=True):
    type: ClassVar = MessageType.IMAGE
    name: str
    uri: str
    """Absolute address on the WebChat server."""
    thumbnail: str = ""
    """Base64 preview; left empty, as it would burst the server's frame limit (trap T23)."""


class File(Frame, frozen=True):
    type: ClassVar = MessageType.FILE
    name: str
    url: str
    size: int = 0
    """Bytes."""
    kind: str = ""
    """The file name's extension without its dot, such as `zip`."""


class Location(Frame, frozen=True):
    type: ClassVar = MessageType.LOCATION
    latitude: float
    longitude: float
    poi: str = ""
    map: str = "baidu"
    thumbnail: str = ""


class Voice(Frame, frozen=True):
    type: ClassVar = MessageType.VOICE
    seconds: int
    data: str = ""
    """Base64 of an AMR file."""
    uri: str = ""
    """Where that lies on the WebChat server, of one that has no `data` (guide of 2019-10-14)."""


class Video(Frame, frozen=True):
    """No guide shows one from a customer; type 6 stands among the constants (reference 1.5)."""

    type: ClassVar = MessageType.VIDEO
    name: str
    url: str
    size: int = 0
    """Bytes."""


Content = Text | Image | File | Location | Voice | Video


# --- commands, client to server -----------------------------------------------------------------


class Logout(Frame, frozen=True):
    type: ClassVar = FrameType.LOGOUT


class Heartbeat(Frame, frozen=True):
    type: ClassVar = FrameType.HEARTBEAT


class RequestChat(Frame, frozen=True):
    type: ClassVar = FrameType.REQUEST_CHAT
    queue_id: QueueId
    source: str = "APP"
    """Wire `from`. Any text is tolerated (trap T25)."""
    to_agent: str = ""
    """Wire `toUserId` (later): ask for one agent."""
    tracks: str = ""
    """JSON text (later)."""
    brand: str = ""
    """A second source (later)."""


class CancelRequest(Frame, frozen=True):
    type: ClassVar = FrameType.CANCEL_REQUEST
    request_id: RequestId


class CloseSession(Frame, frozen=True):
    type: ClassVar = FrameType.CLOSE_SESSION
    session_id: SessionId


class RateSession(Frame, frozen=True):
    """A rating id of 0 is legal (trap T21)."""

    type: ClassVar = FrameType.RATE_SESSION
    session_id: SessionId
    rating: int
    comments: str = ""


class SendMessage(Frame, frozen=True):
    type: ClassVar = FrameType.SEND_MESSAGE
    session_id: SessionId
    content: Content


class SendPreMessage(Frame, frozen=True):
    type: ClassVar = FrameType.SEND_PRE_MESSAGE
    request_id: RequestId
    text: str


class Preview(Frame, frozen=True):
    type: ClassVar = FrameType.PREVIEW
    session_id: SessionId
    text: str


class Typing(Frame, frozen=True):
    type: ClassVar = FrameType.TYPING
    session_id: SessionId


class Receipt(Frame, frozen=True):
    """Answers a push that carries an rsId; has no reply of its own."""

    type: ClassVar = FrameType.RECEIPT
    rs_id: str


class TransferFromRobot(Frame, frozen=True):
    type: ClassVar = FrameType.ROBOT_TRANSFER
    session_id: SessionId


Command = (
    Logout
    | Heartbeat
    | RequestChat
    | CancelRequest
    | CloseSession
    | RateSession
    | SendMessage
    | SendPreMessage
    | Preview
    | Typing
    | Receipt
    | TransferFromRobot
)


# --- what the server sends ---------------------------------------------------------------------


MOST_AGENTS = 50
"""Agents of one session: each becomes a user on the homeserver, which no one can remove again."""


class Agent(Frame, frozen=True):
    """One entry of a 202/204 people list."""

    id: AgentId
    name: str = ""
    icon: str = ""
    """Absolute address, relative path, or empty."""
    comments: str = ""
    """The call centre's internal note: not for customers (trap T39)."""


_SUCCESS = int(ResultCode.SUCCESS)
UNTYPED = 0
"""The `type` of an answer without one, as to a command that the server could not read."""


class Reply(Frame, frozen=True):
    """The answer to one command, every variant of reference 1.3 in one shape."""

    type: int
    """That of the command; UNTYPED where the server left it out."""
    result: int
    """A ResultCode, or a number that no revision documents. Success only if it equals 1."""
    message: str = ""
    call_id: CallId | None = None
    """None when the server left `messageId` out (trap T12)."""
    request_id: RequestId | None = None
    queue_length: int | None = None
    session_id: SessionId | None = None
    agents: tuple[Agent, ...] = ()
    permanent: bool = False
    """`perm` was present: adopt the session, no 202 follows."""
    robot_type: int | None = None
    place: str = ""
    """The call centre's own words for our place in the queue."""

    @property
    def ok(self) -> bool:
        """True if the server accepted the command (trap T13)."""
        return self.result == _SUCCESS


class InitConfig(Frame, frozen=True):
    extensions: tuple[str, ...] = ()
    """File extensions the server takes, lower case, no dots; empty: not said."""
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) of every element that could be read as such."""


class QueueStatus(Frame, frozen=True):
    request_id: RequestId | None
    status: int
    """A RequestStatus, or an undocumented number."""
    position: int | None = None
    """Wire `queueLength`: our place, 0 when served (trap T4)."""
    session_id: SessionId | None = None
    place: str = ""
    """The call centre's own words for it."""


class ChatStarted(Frame, frozen=True):
    session_id: SessionId
    agents: tuple[Agent, ...] = ()
    """Without the customer (trap T16)."""
    robot: bool = False
    config: InitConfig | None = None
    """What a server between 2017-11-15 and 2017-12-19 says here, and a later one by 200."""


class RatingPushed(Frame, frozen=True):
    session_id: SessionId
    agent_id: AgentId


class AgentsUpdated(Frame, frozen=True):
    session_id: SessionId
    agents: tuple[Agent, ...] = ()
    """The whole new list."""
    queue_id: QueueId | None = None
    queue_name: str = ""


class SessionClosed(Frame, frozen=True):
    session_id: SessionId
    agent_id: AgentId


class AgentText(Frame, frozen=True):
    """msg.type 1: an HTML fragment, or plain text (reference 3.9)."""

    html: str


class AgentMedia(Frame, frozen=True):
    """msg.type 2, 3, 5, 6 or 11. Exactly one of `data` and `url` is non-empty."""

    kind: str
    """`image`, `file`, `voice` or `video`."""
    data: str = ""
    """Base64 of the bytes."""
    url: str = ""
    """As the server wrote it: absolute or relative (reference 3.4)."""
    name: str = ""
    size: int | None = None
    seconds: float | None = None


class AgentLocation(Frame, frozen=True):
    latitude: float
    longitude: float
    poi: str = ""
    map: str = ""


class AgentNotice(Frame, frozen=True):
    notice_type: int
    """A NoticeType, or a project's own number. NORMAL: the server named none."""
    text: str = ""


class UnknownContent(Frame, frozen=True):
    """A msg.type or shape that no revision documents: shown as a placeholder, never dropped."""

    message_type: int | None
    raw: str = ""
    """Compact JSON of the content, at most 2,000 characters."""


AgentContent = AgentText | AgentMedia | AgentLocation | AgentNotice | UnknownContent


class MessageReceived(Frame, frozen=True):
    session_id: SessionId
    agent_id: AgentId
    content: AgentContent
    message_id: str = ""
    """The server's number of it, where it says so; of a REVOKE_MESSAGE, of the message meant."""


class RobotMessage(Frame, frozen=True):
    session_id: SessionId | None
    robot_type: int | None
    text: str = ""
    suggestions: tuple[str, ...] = ()
    transfer: bool = False
    """The robot offers, or performs, the hand-over to a person."""


Push = (
    InitConfig  # 200 (later)
    | QueueStatus  # 201
    | ChatStarted  # 202
    | RatingPushed  # 203
    | AgentsUpdated  # 204
    | SessionClosed  # 205
    | MessageReceived  # 210
    | RobotMessage  # 301 (later)
)


class Received(Frame, frozen=True):
    """A push together with its receipt id."""

    push: Push
    rs_id: str = ""
    later: bool = False
    """Only later revisions have such a frame: a 200, an rsId, a list of `users` (reference 5)."""


class Ignored(Frame, frozen=True):
    """A frame that says nothing to us: logged once per `kind`, never fatal (reference 1.1)."""

    kind: str
    """Short and free of content: `not JSON`, `unknown type 299`, …"""
    rs_id: str = ""
    """A push that we cannot use wants its receipt all the same, or it comes again and again."""
