"""Frames of the WebChat protocol as frozen values.

`type` is the wire type of the frame or content; a reply has that of its command. Only `read` and
`protocol` know the key names of each revision. The values are msgspec structs because the bridge
stores them as tagged JSON.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from bridge.ids import AgentId, CallId, QueueId, RequestId, SessionId
from bridge.webchat.codes import FrameType, MessageType, ResultCode


class Frame(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base class of frames: a frozen struct, tagged for the store."""


# --- content of a 110, from the customer (guide 2, "chat message") ------------------------------


class Text(Frame, frozen=True):
    type: ClassVar = MessageType.TEXT
    text: str


class Image(Frame, frozen=True):
    type: ClassVar = MessageType.IMAGE
    name: str
    uri: str
    """Absolute address on the WebChat server."""
    thumbnail: str = ""
    """Base64 preview; left empty, as it would exceed the server's frame limit (trap T23)."""


class File(Frame, frozen=True):
    type: ClassVar = MessageType.FILE
    name: str
    url: str
    size: int = 0
    """Bytes."""
    kind: str = ""
    """File extension without the dot, such as `zip`."""


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
    """Address of the file on the WebChat server, if there is no `data` (guide of 2019-10-14)."""


class Video(Frame, frozen=True):
    """A customer's video: in no guide, except type 6 among the constants (reference 1.5)."""

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
    """Wire `toUserId` (later): the wanted agent; empty for any."""
    tracks: str = ""
    """JSON text on where the customer comes from (later)."""
    brand: str = ""
    """A second `source` (later)."""


class CancelRequest(Frame, frozen=True):
    type: ClassVar = FrameType.CANCEL_REQUEST
    request_id: RequestId


class CloseSession(Frame, frozen=True):
    type: ClassVar = FrameType.CLOSE_SESSION
    session_id: SessionId


class RateSession(Frame, frozen=True):
    type: ClassVar = FrameType.RATE_SESSION
    session_id: SessionId
    rating: int
    """Rating id; 0 is legal (trap T21)."""
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
    """The receipt for a push with an `rsId`; it has no reply."""

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


# --- replies and pushes, server to client ------------------------------------------------------


MOST_AGENTS = 50
"""Maximum number of agents per session: each becomes a Matrix user, which cannot be deleted."""


class Agent(Frame, frozen=True):
    """One entry of a people list (202, 204)."""

    id: AgentId
    name: str = ""
    icon: str = ""
    """Absolute address, relative path, or empty."""
    comments: str = ""
    """The call centre's internal note, not meant for customers (trap T39)."""


_SUCCESS = int(ResultCode.SUCCESS)
UNTYPED = 0
"""`type` of a reply without one, as to a command that the server could not read."""


class Reply(Frame, frozen=True):
    """The reply to one command; covers every variant of reference 1.3."""

    type: int
    """Type of the command; UNTYPED if the server left it out."""
    result: int
    """A ResultCode, or an undocumented number. Only 1 is success."""
    message: str = ""
    call_id: CallId | None = None
    """None if the server left `messageId` out (trap T12)."""
    request_id: RequestId | None = None
    queue_length: int | None = None
    session_id: SessionId | None = None
    agents: tuple[Agent, ...] = ()
    permanent: bool = False
    """True if `perm` was present: adopt the session, no 202 follows."""
    robot_type: int | None = None
    place: str = ""
    """The call centre's own sentence about the position."""
    continued: bool = False
    """True if a session exists and goes on: its 202 follows (`continueLastSession`)."""

    @property
    def ok(self) -> bool:
        """True if the server accepted the command (trap T13)."""
        return self.result == _SUCCESS


class InitConfig(Frame, frozen=True):
    extensions: tuple[str, ...] = ()
    """File extensions the server takes, lower case, no dots; empty if not given."""
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) of every readable element."""


class QueueStatus(Frame, frozen=True):
    request_id: RequestId | None
    status: int
    """A RequestStatus, or an undocumented number."""
    position: int | None = None
    """Position in the queue (wire `queueLength`), 0 when served (trap T4)."""
    session_id: SessionId | None = None
    place: str = ""


class ChatStarted(Frame, frozen=True):
    session_id: SessionId
    agents: tuple[Agent, ...] = ()
    """Without the customer (trap T16)."""
    robot: bool = False
    config: InitConfig | None = None
    """Given here by servers of 2017-11-15 to 2017-12-19, and by later ones in a 200."""
    continued: bool = False
    """True if the session is older than the newest queue request."""


class RatingPushed(Frame, frozen=True):
    session_id: SessionId
    agent_id: AgentId


class AgentsUpdated(Frame, frozen=True):
    session_id: SessionId
    agents: tuple[Agent, ...] = ()
    """The complete new list."""
    queue_id: QueueId | None = None


class SessionClosed(Frame, frozen=True):
    session_id: SessionId
    agent_id: AgentId


class AgentText(Frame, frozen=True):
    """A text (msg.type 1): an HTML fragment, or plain text (reference 3.9)."""

    html: str


class AgentMedia(Frame, frozen=True):
    """Media (msg.type 2, 3, 5, 6, 11). Exactly one of `data` and `url` is non-empty."""

    kind: str
    """`image`, `file`, `voice` or `video`."""
    data: str = ""
    """Content in base64."""
    url: str = ""
    """Address as the server wrote it, absolute or relative (reference 3.4)."""
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
    """A NoticeType, or a project's own number. NORMAL if the server named none."""
    text: str = ""


class UnknownContent(Frame, frozen=True):
    """Content of an undocumented type or shape: shown as a placeholder, never dropped."""

    message_type: int | None
    raw: str = ""
    """Compact JSON of the content, at most 2,000 characters."""


AgentContent = AgentText | AgentMedia | AgentLocation | AgentNotice | UnknownContent


class MessageReceived(Frame, frozen=True):
    session_id: SessionId
    agent_id: AgentId
    content: AgentContent
    message_id: str = ""
    """The server's message number, if given; in a REVOKE_MESSAGE, that of the revoked message."""


class RobotMessage(Frame, frozen=True):
    session_id: SessionId | None
    robot_type: int | None
    text: str = ""
    suggestions: tuple[str, ...] = ()
    transfer: bool = False
    """True if the robot offers or performs the transfer to a person."""
    sought: bool = False
    """True, with `transfer`, if the robot performs it: a person is looked for already."""


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
    """True if only later revisions send it: a 200, an `rsId`, a list of `users` (reference 5)."""


BROKEN = "a broken JSON object"
"""Kind of an ignored frame that may have been an agent's message."""


class Ignored(Frame, frozen=True):
    """A frame without a use: logged once per `kind`, never fatal (reference 1.1)."""

    kind: str
    """Short description without content: `not JSON`, `unknown type 299`, …; or `BROKEN`."""
    rs_id: str = ""
    """Receipt id of an unusable push, which is receipted all the same, or it would be repeated."""
