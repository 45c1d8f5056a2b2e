"""What we remember of one room's conversation: a frozen value per phase, and what rides along.

Everything here is stored as tagged JSON by the storage ring, so every field has a default that an
older row can live with.
"""

from __future__ import annotations

import msgspec

from bridge.ids import CallId, EventId, QueueId, RequestId, SessionId
from bridge.webchat.frames import Agent, Command


class Value(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """What all stored values share."""


class CustomerText(Value, frozen=True):
    text: str


class FileKey(Value, frozen=True):
    """What opens an encrypted file: AES-256-CTR key and counter, SHA-256 of the ciphertext.

    Base64, the key in the alphabet of JSON web keys.
    """

    key: str
    iv: str
    sha256: str


class CustomerMedia(Value, frozen=True):
    """A file that lies on the homeserver; it is uploaded to WebChat before its message goes."""

    kind: str
    """`image` becomes message type 2; `file`, `video` and `audio` become type 3; `voice` becomes
    type 5 if it fits into a frame, else 3."""
    name: str
    mxc: str
    mime: str = "application/octet-stream"
    size: int | None = None
    """Bytes, as the sender claims them: hostile until counted."""
    caption: str = ""
    """Text of the same event: it follows as a message of its own."""
    file_key: FileKey | None = None
    """The file lies there encrypted."""


class CustomerLocation(Value, frozen=True):
    """A place, in degrees of WGS-84."""

    latitude: float
    longitude: float
    poi: str = ""


CustomerContent = CustomerText | CustomerMedia | CustomerLocation


class Clip(Value, frozen=True):
    """A voice message that travels inside its frame."""

    seconds: int
    data: str
    """Base64 of an AMR file."""


class Held(Value, frozen=True):
    """A piece of content that a customer typed and that WebChat has not yet taken."""

    event_id: EventId
    content: CustomerContent
    at: int
    """When we stored it, ms."""
    last: bool = True
    """The last piece of its event: a long text is split, and told about once."""
    url: str = ""
    """Media only: where it lies on the WebChat server, once uploaded."""
    clip: Clip | None = None
    """Voice only: what goes into the frame, where it fits."""
    asked: CallId | None = None
    """The call that may already have carried it; the same id is used to send it again."""
    repeats: int = 0
    """How often it was sent again because its fate was unknown or its session was gone."""
    order: int = 0
    """Counts the pieces of a room as they were typed: what comes back goes to its old place."""

    @property
    def ready(self) -> bool:
        """Media only: its message can be written."""
        return bool(self.url) or self.clip is not None


class Upload(Value, frozen=True):
    """The outstanding call is no frame but an upload."""

    media: CustomerMedia


class Outstanding(Value, frozen=True):
    """The one thing that we have asked of WebChat and await the answer to."""

    call_id: CallId
    what: Command | Upload
    held: Held | None = None
    """The content that it carries; it is out of `Conversation.held` for as long."""
    moot: bool = False
    """Overtaken: content that comes back was given up by the customer meanwhile, and an answer to
    101 is about a request that has already ended."""


class Idle(Value, frozen=True):
    """No chat, none asked for. Held content waits for the customer's next word."""

    since: int = 0
    linger_until: int | None = None
    """An agent may still take up the refused request (reference 2.3): the link stays till then."""


class Requesting(Value, frozen=True):
    """101 is on its way, or will be as soon as `retry_at` allows."""

    queue_id: QueueId
    since: int
    session_id: SessionId | None = None
    """Named by the 101 reply: adopted when 202 comes, or 10 s later (row 12)."""
    agents: tuple[Agent, ...] = ()
    adopt_at: int | None = None
    """When to stop waiting for a 202: adopt `session_id`, or give up if there is none (row 14)."""
    lost_session: SessionId | None = None
    """The session that WebChat has just disowned: "already chatting" must not bring it back."""
    any_agent: bool = False
    """The agent asked for is away (-9): ask again without naming one."""
    cancel: bool = False


class Queued(Value, frozen=True):
    """WebChat holds our request."""

    queue_id: QueueId
    since: int
    request_id: RequestId | None = None
    former_id: RequestId | None = None
    """While we ask again with 101: the id that this request had until then."""
    position: int | None = None
    accepted: bool = False
    """Status 1 or 11 came; 202 is due."""
    heard_at: int = 0
    """Last sign of life of this request: a silent one is asked after (trap T14)."""
    resync: bool = False
    """The link was away: ask again with 101 (row 30)."""
    cancel: bool = False
    cancel_by: int | None = None
    """A cancel that cannot be sent (no request id yet) ends here by itself."""
    pre_sent: tuple[Held, ...] = ()
    """Texts that 111 took: they are the agent's once 202 comes, ours again if the queue ends."""
    pre_refused: bool = False
    """WebChat refused a pre-message: what is typed from now on waits for the session."""


class Chatting(Value, frozen=True):
    """A session runs, with people or with the robot."""

    session_id: SessionId
    since: int
    queue_id: QueueId
    agents: tuple[Agent, ...] = ()
    robot: bool = False
    close: bool = False
    """The customer asked to end it: 103 goes when what they wrote before has gone."""
    unwanted: bool = False
    """It began after the customer had left the queue (row 22): 103 goes before anything else."""
    rating_asked: bool = False
    human: bool = False
    """The customer asked the robot for a person: 302 goes when what they wrote before has gone."""


class Ended(Value, frozen=True):
    """The session is over and may still be rated (trap T19)."""

    session_id: SessionId
    rating_asked: bool = False
    since: int = 0


Phase = Idle | Requesting | Queued | Chatting | Ended


class Rating(Value, frozen=True):
    session_id: SessionId
    value: int
    comment: str = ""


class Rated(Value, frozen=True):
    """A rating that WebChat took; it may still be changed for `Policy.rating_change`."""

    session_id: SessionId
    at: int
    """When the first one was taken, ms."""


class Conversation(Value, frozen=True):
    """The whole state of the machine."""

    phase: Phase = Idle()
    number: int = 0
    """Counts the chats of this room; the queue card and the transcript go by it."""
    held: tuple[Held, ...] = ()
    """In the order in which it was typed. At most one piece is in `outstanding` besides."""
    typed: int = 0
    """Pieces so far."""
    outstanding: Outstanding | None = None
    next_call: int = 1
    rating: Rating | None = None
    """Given, not yet taken by WebChat."""
    last_session: SessionId | None = None
    """The newest session: it can be rated until the next one starts (trap T19)."""
    last_closed: bool = False
    """That session is known to be over."""
    last_request: RequestId | None = None
    """The newest queue request that ended: late news of it is ignored."""
    failures: int = 0
    """Consecutive failures of the link or the server; zero once anything is answered."""
    trouble_since: int | None = None
    """When the first of these failures came, ms."""
    retry_at: int | None = None
    """No call is made before this moment, ms."""
    told_trouble: bool = False
    """The customer knows that the service cannot be reached."""
    rated: Rated | None = None
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) that the server offers (200); empty: it did not say."""
    extensions: tuple[str, ...] = ()
    """Files that the server takes (200), lower case, no dots; empty: it did not say."""


class Policy(msgspec.Struct, frozen=True):
    """What the operator and the room admin decided, as far as the life cycle asks.

    Durations are in milliseconds.
    """

    queue_id: QueueId = QueueId(1)
    source: str = "APP"
    to_agent: str = ""
    map: str = "baidu"
    """Whose coordinates the desk expects: `baidu`, or `gaode` (AMap)."""
    start_on_message: bool = True
    max_text_bytes: int = 7000
    """Longest text of one frame, in bytes of escaped JSON."""
    max_held: int = 200
    """Pieces of content that a room may have waiting."""
    hold: int = 30 * 60_000
    """How long content waits for a service that cannot be reached."""
    hold_idle: int = 24 * 3_600_000
    """How long content waits for the customer's next word after a queue ended without an agent."""
    start_wait: int = 10_000
    """How long a session that the 101 reply named waits for its 202 (row 12)."""
    unknown_chat_wait: int = 5_000
    """How long "already chatting" waits for the 202 that explains it (row 14)."""
    queue_silence: int = 10 * 60_000
    """After so long without a sign of life a queue request is asked after."""
    accepted_wait: int = 20_000
    """The same, once a request was said to be accepted (trap T14)."""
    cancel_wait: int = 20_000
    """After so long a customer is out of the queue whatever WebChat says."""
    linger: int = 60_000
    """How long the link stays after a request was refused that may still be taken up."""
    rating_change: int = 5 * 60_000
    """How long a rating can be changed."""
    max_repeats: int = 3
    """How often content whose fate is unknown is sent again before the customer is told."""
    max_tries: int = 3
    """How often a call is made again that the server failed to carry out (-100)."""
    backoff_first: int = 1_000
    backoff_last: int = 60_000
