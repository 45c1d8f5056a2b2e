"""The state of one room's conversation: a frozen value per phase, and what goes with it.

Everything here is stored as tagged JSON by the storage ring, so every field has a default that an
older row can live with.
"""

from __future__ import annotations

import msgspec

from bridge.ids import CallId, EventId, QueueId, RequestId, SessionId
from bridge.webchat.frames import Agent, Command


class Value(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base class of stored values: frozen, JSON with the class's name as its tag."""


class CustomerText(Value, frozen=True):
    text: str


class FileKey(Value, frozen=True):
    """Decryption key of a file: AES-256-CTR key and counter, SHA-256 of the ciphertext.

    Base64, the key in the alphabet of JSON web keys.
    """

    key: str
    iv: str
    sha256: str


class CustomerMedia(Value, frozen=True):
    """A file that lies on the homeserver; it is uploaded to WebChat before its message goes."""

    kind: str
    """`image` becomes message type 2; `file` and `audio` type 3; `video` type 6 where
    `Policy.videos` says so, else 3; `voice` type 5 if it fits into a frame, else 3."""
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
    """How often it was sent again because its fate was unknown or its session was gone; of a file
    that is not uploaded yet, how often that has failed."""
    order: int = 0
    """Counts the pieces of a room as they were typed: what comes back goes to its old place."""
    words: str = ""
    """Text only: what was typed, where the content says more (a speaker's name, a quotation)."""
    consulted: bool = False
    """The knowledge base was asked about it."""
    quotes: tuple[EventId, ...] = ()
    """Messages whose words it repeats: once one of them is taken back, `instead` goes."""
    amends: EventId | None = None
    """It is about this message, and goes as it is only to an agent who may have that one."""
    instead: tuple[CustomerContent, ...] = ()
    """The same without the words that it quotes; or what goes to an agent who does not have what it
    amends. Empty: nothing does."""

    @property
    def ready(self) -> bool:
        """Media only: its message can be written."""
        return bool(self.url) or self.clip is not None

    @property
    def is_note(self) -> bool:
        """It only tells an agent that something was taken back: nobody is owed a word about it."""
        return self.amends is not None and not self.instead


class Upload(Value, frozen=True):
    """An upload as the outstanding call, instead of a frame."""

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
    stale: bool = False
    """The content is to go in other words by now (`held`). If this or `moot`, what has not been
    written yet is not to be."""


class Idle(Value, frozen=True):
    """No chat, none asked for. Held content waits for the customer's next word."""

    since: int = 0
    linger_until: int | None = None
    """An agent may still take up the refused request (reference 2.3): the link stays till then."""
    refused: Queued | None = None
    """That request; what had gone with it lies in `Conversation.held`."""
    pre_sent: tuple[int, ...] = ()
    """Which pieces that is, by `Held.order`."""


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
    quiet: bool = False
    """We ask on our own for somebody who wants to be called back: nothing is shown of it yet."""


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
    cut: bool = False
    """The link was away since this request was made: if it is lost, it is made anew, once."""
    any_agent: bool = False
    """As in `Requesting`."""
    cancel: bool = False
    cancel_by: int | None = None
    """A cancel that cannot be sent (no request id yet) ends here by itself."""
    pre_sent: tuple[Held, ...] = ()
    """Texts that 111 took: they are the agent's once 202 comes, ours again if the queue ends."""
    pre_refused: bool = False
    """WebChat refused a pre-message: what is typed from now on waits for the session."""
    first_position: int | None = None
    """The first place that WebChat named."""
    first_at: int = 0
    """When it did, ms."""
    moved_at: int = 0
    """When the present place was reached, ms."""
    shown_at: int = 0
    """When the queue card was last written, ms; 0: not since this phase began."""
    next_told: bool = False
    """The customer knows that they are next."""
    quiet_until: int | None = None
    """Nothing is shown until then: a request of our own may end as soon as it stands."""


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
    seeking: bool = False
    """The robot is looking for a person (XFER of the reference)."""
    choices: tuple[str, ...] = ()
    """What the robot proposed last, in the order shown: answered by number."""
    request_id: RequestId | None = None
    """The request in a queue of which it came: what went with that is the agents'."""
    marked: bool = False
    """All that its agents said is in `Conversation.marks`; False: it began under a version of ours
    that remembered nothing of the kind (before schema 4)."""


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
    vote: bool = False
    """Given in the poll, which then stays open for a change of mind."""


class Rated(Value, frozen=True):
    """A rating that WebChat took; it may still be changed for `Policy.rating_change`."""

    session_id: SessionId
    at: int
    """When the first one was taken, ms."""


class Question(Value, frozen=True):
    """A message outside a chat that was put to the knowledge base; its pieces wait in `held`."""

    event_id: EventId
    at: int
    """When it was asked, ms."""
    note: str | None = None
    """The answer in short, as an agent will read it; None: there is none yet."""
    aside: bool = False
    """Nobody was there to answer it: whatever the robot says, it goes on waiting for a person."""


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """A mark as versions before `Marks` stored it: what `history.Mark` says, in hex."""

    at: int
    mark: str
    id: str = ""
    awaited: int = 0
    exact: str = ""
    session: SessionId | None = None


class Told(msgspec.Struct, frozen=True, array_like=True):
    """Attributes of a mark in `Marks` that a history told."""

    place: int
    """Which mark, counted from the oldest."""
    id: str
    """The server's number of the message, where a history told it."""
    awaited: int
    """Where a history told it: until when the server may still push it as well, ms."""
    pushed: bool


class Marks(msgspec.Struct, frozen=True, array_like=True):
    """Marks of what agents said lately, packed (see `history`): 13 bytes each, the newest last."""

    packed: bytes = b""
    sessions: tuple[SessionId, ...] = ()
    """Chats whose history has to have some of these words."""
    told: tuple[Told, ...] = ()


class Recall(Value, frozen=True):
    """A pending question for the history, because the link was away."""

    since: int
    """Up to when we surely heard everything, ms."""
    session_id: SessionId | None = None
    """None: no session has come of our request yet."""
    due: int = 0
    """When to ask, ms."""
    asked: bool = False
    """It is being asked for."""
    again: bool = False
    """Something happened since it was asked for: ask once more."""
    tries: int = 0
    """How often it could not be had."""
    unmarked: bool = False
    """It tells what a version of ours that made no marks has shown (`Chatting.marked`)."""


class Callback(Value, frozen=True):
    """A callback, offered or wished for, because the call centre was closed or empty."""

    queue_id: QueueId
    wanted: int | None = None
    """Since when the customer wishes it, ms; None: it was only offered."""
    next_at: int = 0
    """When we ask next, ms."""
    tries: int = 0
    """How often we have asked since the queue last opened, as far as we know its hours."""


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
    last_ended_at: int | None = None
    """When the newest session that is over ended, ms: what was said until then, whoever comes next
    has not seen."""
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
    poll: SessionId | None = None
    """The session that a poll still asks about."""
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) that the server offers (200); empty: it did not say."""
    extensions: tuple[str, ...] = ()
    """Files that the server takes (200), lower case, no dots; empty: it did not say."""
    callback: Callback | None = None
    """Offered at the end of the newest request, or wished for; over once a chat begins."""
    heard: tuple[Heard, ...] = ()
    """The marks in a row that an earlier version stored; empty once `marks` is used."""
    marks: Marks = Marks()
    """Marks of what agents said lately."""
    linked_at: int = 0
    """When the link was last restored, ms."""
    turn_at: int | None = None
    """When the customer expects our login's turn to come, ms; None: they know of no such wait."""
    told_away: bool = False
    """The customer knows that the link is away, though nothing of theirs waits for it."""
    recall: Recall | None = None
    questions: tuple[Question, ...] = ()
    """Questions to the knowledge base, open or answered; empty unless Idle or Ended."""
