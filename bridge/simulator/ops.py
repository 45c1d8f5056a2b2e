"""The control operations, as `POST /_sim/do` takes them: `{"op": "say", "text": "…"}`.

Whom an operation is about may be left out when it can only be one: the only open session, the
request that has waited longest.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from bridge.ids import AgentId, QueueId, RequestId, SessionId
from bridge.simulator.faults import Fault
from bridge.simulator.options import DeskAgent
from bridge.simulator.outgoing import Wire
from bridge.simulator.state import Memory


class BadOpError(Exception):
    """An operation that cannot be done; the message is one sentence saying why."""


class Op(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="op",
):
    """What all operations share."""


class OnRequest(Op, frozen=True, kw_only=True):
    """About a queue request: by id, by customer, or the one that has waited longest."""

    request: RequestId | None = None
    login: str = ""


class Accept(OnRequest, frozen=True, kw_only=True, tag="accept"):
    agent: AgentId = AgentId("")
    """Empty: the one with the fewest sessions."""


class Refuse(OnRequest, frozen=True, kw_only=True, tag="refuse"):
    """End a request with any requestStatus: refused, timed out, lost, closed hours."""

    status: int = 2


class OnSession(Op, frozen=True, kw_only=True):
    """About an open session: by id, by customer, or the only one there is."""

    session: SessionId | None = None
    login: str = ""
    agent: AgentId = AgentId("")
    """Who acts; empty: the session's first agent."""


class Say(OnSession, frozen=True, kw_only=True, tag="say"):
    text: str
    """HTML, sent as it is."""


class Image(OnSession, frozen=True, kw_only=True, tag="image"):
    data: str = ""
    """Base64; empty: a picture is generated from `name`."""
    name: str = "picture.png"
    width: int = 64
    height: int = 64
    style: Literal["base64", "object", "data-uri"] = "base64"
    """The guide's base64 text, a later client's `{imgUrl, imgName}`, or a data URI."""


class File(OnSession, frozen=True, kw_only=True, tag="file"):
    name: str
    data: str = ""
    """Base64."""
    text: str = ""
    """The bytes as text, instead of `data`."""
    as_text: bool = False
    """The content is JSON text instead of an object (trap T6)."""


class Voice(OnSession, frozen=True, kw_only=True, tag="voice"):
    data: str = ""
    """Base64 of an AMR file; empty: silence is generated. Another recording is made AMR first."""
    seconds: int = 2
    style: Literal["base64", "object"] = "base64"
    """The guide's base64 text, or a later client's `{voiceData, voiceLength}`."""


class Location(OnSession, frozen=True, kw_only=True, tag="location"):
    latitude: float
    longitude: float
    poi: str = ""
    map: str = "baidu"


class Notice(OnSession, frozen=True, kw_only=True, tag="notice"):
    text: str
    notice_type: int | None = None


class Typing(OnSession, frozen=True, kw_only=True, tag="typing"):
    """A later revision's system notice 5; a server of 2016 has none."""


class Recall(OnSession, frozen=True, kw_only=True, tag="recall"):
    """Take back what was said: system notice 6, and `revokeFlag` in the history."""

    message: int | None = None
    """The number that saying it gave (`n`); None: what was said last."""


class PushRating(OnSession, frozen=True, kw_only=True, tag="push_rating"):
    pass


class Agents(OnSession, frozen=True, kw_only=True, tag="agents"):
    """Replace the people of a session, new names and pictures included."""

    agents: tuple[DeskAgent, ...]


class Transfer(OnSession, frozen=True, kw_only=True, tag="transfer"):
    """Hand the session to another agent, who is online."""

    to: AgentId
    queue: QueueId | None = None
    queue_name: str = ""


class Conference(OnSession, frozen=True, kw_only=True, tag="conference"):
    """Bring in one more agent, who is online."""

    to: AgentId


class Leave(OnSession, frozen=True, kw_only=True, tag="leave"):
    """An agent goes out of a session in which others stay."""


class Close(OnSession, frozen=True, kw_only=True, tag="close"):
    pass


class SignOn(Op, frozen=True, kw_only=True, tag="sign_on"):
    """An agent comes online, or takes another name or picture."""

    agent: DeskAgent


class SignOff(Op, frozen=True, kw_only=True, tag="sign_off"):
    """An agent goes offline; open sessions stay as they are."""

    agent: AgentId


class Push(Op, frozen=True, kw_only=True, tag="push"):
    """Send a customer any frame at all: what later revisions know, and nonsense."""

    login: str
    frame: Wire


class Kick(Op, frozen=True, kw_only=True, tag="kick"):
    login: str
    code: int = 1001
    """A close code; 1006: cut without a close frame."""


class ExpireToken(Op, frozen=True, kw_only=True, tag="expire_token"):
    login: str


class Forget(Op, frozen=True, kw_only=True, tag="forget"):
    what: Memory | Literal["blacklist"]


class Restart(Op, frozen=True, kw_only=True, tag="restart"):
    """Close every socket with 1001 and answer everything with 404 for some seconds."""

    seconds: float = 0
    forget: tuple[Memory, ...] = ()


class Set(Op, frozen=True, kw_only=True, tag="set"):
    """Change options, and replace the faults still to come."""

    options: dict[str, object] = {}
    faults: list[Fault] | None = None


AnyOp = (
    Accept
    | Refuse
    | Say
    | Image
    | File
    | Voice
    | Location
    | Notice
    | Typing
    | Recall
    | PushRating
    | Agents
    | Transfer
    | Conference
    | Leave
    | Close
    | SignOn
    | SignOff
    | Push
    | Kick
    | ExpireToken
    | Forget
    | Restart
    | Set
)


def read(body: object) -> AnyOp:
    """Turn a decoded JSON object into an operation.

    Raises:
        BadOpError: with the field and what is wrong with it.
    """
    try:
        op: AnyOp = msgspec.convert(body, AnyOp)
    except msgspec.ValidationError as error:
        raise BadOpError(str(error)) from error
    return op
