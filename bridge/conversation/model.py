"""Values of a conversation: its state, its inputs and its effects.

All are stored as tagged JSON. The tag is the class's name, so a class that is renamed keeps its
`tag`; a new field needs a default that an older row can live with. Moments and durations are ms.

Inputs are stored before they are handled, or with what they led to; but for `Tick`, `LinkLost`,
`LinkRestored`, `TurnAwaited` and `Resumed`, whose reasons would be noticed again after a restart.

Effects are stored before they are carried out. Each belongs to one *lane*, a union at the end;
within a lane they are carried out in order.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bridge.ids import AgentId, CallId, EventId, QueueId, RequestId, SessionId, UserId
from bridge.webchat.frames import Agent, AgentContent, Command, Push, Reply
from bridge.webchat.http import HistoryEntry

Args = dict[str, str | int | tuple[str, ...]]
"""What is filled into a sentence of ours."""


class Value(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base class of stored values."""


class CustomerText(Value, frozen=True):
    text: str


class FileKey(Value, frozen=True):
    """Decryption key of a file, in base64 (the key as in JSON web keys): AES-256-CTR, SHA-256."""

    key: str
    iv: str
    sha256: str


class CustomerMedia(Value, frozen=True):
    """A file that lies on the homeserver; it is uploaded to WebChat before its message goes."""

    kind: str
    """`image` (message type 2), `file`, `audio` (3), `video` (6 with `Policy.videos`, else 3) or
    `voice` (5 if it fits into a frame or its address will do, else 3)."""
    name: str
    mxc: str
    mime: str = "application/octet-stream"
    size: int | None = None
    """Bytes, as the sender claims them: hostile until counted."""
    caption: str = ""
    """It follows as a message of its own."""
    file_key: FileKey | None = None


class CustomerLocation(Value, frozen=True):
    """A place, in degrees of WGS-84."""

    latitude: float
    longitude: float
    poi: str = ""


CustomerContent = CustomerText | CustomerMedia | CustomerLocation


class Clip(Value, frozen=True):
    """The sound of a voice message: an AMR file."""

    seconds: int
    data: str
    """It in base64; "" if it was uploaded, being too long for a frame."""


class Held(Value, frozen=True):
    """A piece of content that a customer typed and that WebChat has not yet taken."""

    event_id: EventId
    content: CustomerContent
    at: int
    last: bool = True
    """The last piece of its event: a long text is split, and told about once."""
    url: str = ""
    """Of media: its address on the WebChat server, once uploaded."""
    clip: Clip | None = None
    asked: CallId | None = None
    """The call that may have carried it; its id is used to send it again."""
    repeats: int = 0
    """Times that it was sent again because its fate was unknown or its session was gone; of a file
    that is not uploaded yet, failures of that."""
    order: int = 0
    """Its place among the pieces of the room as they were typed."""
    words: str = ""
    """Of a text: the customer's own words, where the content adds to them."""
    consulted: bool = False
    quotes: tuple[EventId, ...] = ()
    """Messages whose words it repeats: once one of them is taken back, `instead` goes."""
    amends: EventId | None = None
    """The message that it is about: it goes as it is only to an agent who may have that one."""
    instead: tuple[CustomerContent, ...] = ()
    """The same without the words that it quotes, or for an agent without what it amends; empty:
    nothing goes then."""
    sender: UserId = UserId("")
    """Who typed it, in a room where several people may speak; empty as well in older rows."""

    @property
    def ready(self) -> bool:
        """Of media: its message can be written."""
        return bool(self.url) or self.clip is not None

    @property
    def is_note(self) -> bool:
        """A note for the agent that something was taken back: nobody is owed a word about it."""
        return self.amends is not None and not self.instead


class Upload(Value, frozen=True):
    media: CustomerMedia


class Outstanding(Value, frozen=True):
    call_id: CallId
    what: Command | Upload
    held: Held | None = None
    """The content that it carries, for as long not in `Conversation.held`."""
    moot: bool = False
    """Overtaken: the content was given up by the customer, or the request of this 101 has ended.
    Unwritten, it is not to be written."""
    stale: bool = False
    """The content is to go in other words by now (`held`). Unwritten, it is not to be written."""


class Idle(Value, frozen=True):
    """Phase without a chat or a request; held content waits for the customer's next word."""

    since: int = 0
    linger_until: int | None = None
    """The link stays till then: an agent may still take up the refused request (reference 2.3)."""
    refused: Queued | None = None
    """That request; what had gone with it lies in `Conversation.held`."""
    pre_sent: tuple[int, ...] = ()
    """`Held.order` of these pieces."""


class Requesting(Value, frozen=True):
    """Phase while 101 is on its way, or will be as soon as `retry_at` allows."""

    queue_id: QueueId
    since: int
    session_id: SessionId | None = None
    """Named by the 101 reply: adopted when 202 comes, or 10 s later (row 12)."""
    agents: tuple[Agent, ...] = ()
    adopt_at: int | None = None
    """End of the wait for a 202: adopt `session_id`, or give up if there is none (row 14)."""
    lost_session: SessionId | None = None
    """The session that WebChat has just disowned: "already chatting" must not bring it back."""
    any_agent: bool = False
    """The agent asked for is away (-9): ask again without naming one."""
    cancel: bool = False
    quiet: bool = False
    """A request of our own, for a callback: nothing is shown of it yet."""
    unsure: bool = False
    """Whether WebChat had an earlier 101 for it is not known: there may be a session by now."""


class Queued(Value, frozen=True):
    """Phase with a request that WebChat holds."""

    queue_id: QueueId
    since: int
    request_id: RequestId | None = None
    former_id: RequestId | None = None
    """While we ask again with 101: the id until then."""
    position: int | None = None
    accepted: bool = False
    """Status 1 or 11 came; 202 is due."""
    heard_at: int = 0
    """Last sign of life: a silent request is asked after (trap T14)."""
    resync: bool = False
    """The link was away: ask again with 101 (row 30)."""
    cut: bool = False
    """The link was away since this request was made: if it is lost, it is made anew, once."""
    any_agent: bool = False
    cancel: bool = False
    cancel_by: int | None = None
    """End of a cancel that cannot be sent (no request id yet)."""
    pre_sent: tuple[Held, ...] = ()
    """Texts that 111 took: the agent's once 202 comes, ours again if the queue ends."""
    pre_refused: bool = False
    """WebChat refused a pre-message: what is typed from now on waits for the session."""
    first_position: int | None = None
    first_at: int = 0
    moved_at: int = 0
    """When `position` was reached."""
    shown_at: int = 0
    """When the queue card was last written; 0: not since this phase began."""
    next_told: bool = False
    quiet_until: int | None = None
    """Nothing is shown until then: a request of our own may end as soon as it stands."""
    words: str = ""
    """The call centre's own for `position`."""


class Chatting(Value, frozen=True):
    """Phase of a running session, with people or with the robot."""

    session_id: SessionId
    since: int
    queue_id: QueueId
    agents: tuple[Agent, ...] = ()
    robot: bool = False
    close: bool = False
    """The customer asked to end it: 103 goes after what they wrote before."""
    unwanted: bool = False
    """It began after the customer had left the queue (row 22): 103 goes before anything else."""
    ping_at: int | None = None
    """When the customer is told that an agent is there, should none have written by then."""
    unanswered: bool = False
    """No agent has written yet; never so with the robot, nor in rows of earlier versions."""
    human: bool = False
    """The customer asked the robot for a person: 302 goes after what they wrote before."""
    seeking: bool = False
    """The robot is looking for a person (XFER of the reference)."""
    choices: tuple[str, ...] = ()
    """The robot's last proposals, in the order shown: answered by number."""
    request_id: RequestId | None = None
    """The request of which it came: what went with that is the agents'."""
    close_order: int | None = None
    """The lowest `Held.order` of what came after `close`, and is for the next chat; None: all that
    is held goes in this one."""


class Ended(Value, frozen=True):
    """Phase after a session, which may still be rated (trap T19)."""

    session_id: SessionId
    since: int = 0


Waiting = Requesting | Queued
NoChat = Idle | Ended
Phase = NoChat | Waiting | Chatting


class Rating(Value, frozen=True):
    session_id: SessionId
    value: int
    comment: str = ""
    event_id: EventId | None = None
    """The message that goes along as the comment."""
    more: bool = False
    """The customer is asked why: the next message goes along."""
    besides: str = ""
    """What was written with a newer rating, while that message was under way."""
    said_by: EventId | None = None
    """The command, or the reply, of which the comment is a part."""
    besides_by: EventId | None = None
    """That of `besides`."""


class Rated(Value, frozen=True):
    """A rating that WebChat took, first at `at`; it can be changed for `Policy.rating_change`."""

    session_id: SessionId
    at: int
    asked: int | None = None
    """The rating about which the customer was asked why; None: they were not, or have said."""
    event_id: EventId | None = None
    """The message that went along."""


class Question(Value, frozen=True):
    """A message outside a chat that was put to the knowledge base; its pieces wait in `held`."""

    event_id: EventId
    at: int
    note: str | None = None
    """The answer in short, for an agent; None: there is none yet."""
    aside: bool = False
    """It waits for a person, whatever the robot says: nobody was there to answer it."""


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """A `history.Mark` as stored by versions before `Marks`, in hex."""

    at: int
    mark: str
    id: str = ""
    awaited: int = 0
    exact: str = ""
    session: SessionId | None = None


class Told(msgspec.Struct, frozen=True, array_like=True):
    """Attributes of the mark in `place` of `Marks`, which a history told; see `history.Mark`."""

    place: int
    id: str
    awaited: int
    pushed: bool


class Marks(msgspec.Struct, frozen=True, array_like=True):
    """Marks of agents' latest messages, packed (see `history`): 13 bytes each, the newest last."""

    packed: bytes = b""
    sessions: tuple[SessionId, ...] = ()
    """Chats whose history has to have some of these words."""
    told: tuple[Told, ...] = ()


class Recall(Value, frozen=True):
    """A pending question for the history: all up to `since` was surely heard."""

    since: int
    session_id: SessionId | None = None
    """None: no session has come of our request yet."""
    due: int = 0
    asked: bool = False
    again: bool = False
    """Something happened since then: ask once more."""
    brief: bool = False
    """The link was away for a moment only."""
    tries: int = 0
    calls_since: int | None = None
    """Calls from this id on were made since the link stands again (`history.still_waits`)."""


class Callback(Value, frozen=True):
    """A callback, offered or wished for, because the call centre was closed or empty."""

    queue_id: QueueId
    wanted: int | None = None
    """When the customer wished it; None: it was only offered."""
    next_at: int = 0
    tries: int = 0
    """Requests since the queue last opened, as far as we know its hours."""


class Vain(Value, frozen=True):
    """The newest request has ended in vain: what its card says of it."""

    key: str
    args: Args = {}
    since: int = 0
    """When that card was written first, with `kept` messages."""
    kept: int = 0


class Conversation(Value, frozen=True):
    phase: Phase = Idle()
    number: int = 0
    """Number of the chat in this room; the queue card and the transcript go by it."""
    held: tuple[Held, ...] = ()
    """In the order in which it was typed; at most one piece more is in `outstanding`."""
    typed: int = 0
    """The next `Held.order`."""
    outstanding: Outstanding | None = None
    next_call: int = 1
    rating: Rating | None = None
    """Given, not yet taken by WebChat."""
    last_session: SessionId | None = None
    """The newest session: it can be rated until the next one starts (trap T19)."""
    last_closed: bool = False
    last_ended_at: int | None = None
    """End of the last session; the next agent has not seen earlier messages."""
    last_request: RequestId | None = None
    """The newest queue request that ended: late news of it is ignored."""
    failures: int = 0
    """Consecutive failures of the link or the server; zero once anything is answered."""
    trouble_since: int | None = None
    retry_at: int | None = None
    """No call is made before this moment."""
    told_trouble: bool = False
    """The customer knows that the service cannot be reached."""
    rated: Rated | None = None
    poll: SessionId | None = None
    """The newest session for which a rating was asked."""
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) that the server offers (200); empty: it did not say."""
    extensions: tuple[str, ...] = ()
    """File extensions that the server takes (200), lower case, no dots; empty: it did not say."""
    callback: Callback | None = None
    """Offered at the end of the newest request, or wished for; over once a chat begins."""
    vain: Vain | None = None
    """None while the newest request goes on, and once it has become a chat or was cancelled."""
    dropped: tuple[EventId, ...] = ()
    """Messages given up with the request; the customer is yet to be told, in one line."""
    heard: tuple[Heard, ...] = ()
    """The marks in a row that an earlier version stored; empty once `marks` is used."""
    marks: Marks = Marks()
    linked_at: int = 0
    turn_at: int | None = None
    """When the customer expects our login's turn; None: they know of no such wait."""
    told_away: bool = False
    """The customer knows that the link is away, though nothing of theirs waits for it."""
    recall: Recall | None = None
    questions: tuple[Question, ...] = ()
    """Questions to the knowledge base, open or answered; empty unless Idle or Ended."""


# --- inputs ---------------------------------------------------------------------------------------


class Happening(Value, frozen=True):
    """Base class of inputs."""


class Said(Happening, frozen=True):
    """A message of the customer: text, media or a location."""

    event_id: EventId
    content: CustomerContent
    words: str = ""
    """The customer's own words, where the content adds to them (a name, a quotation)."""
    again: bool = False
    """Sent again on request, so that the customer expects an answer."""
    quotes: tuple[EventId, ...] = ()
    amends: EventId | None = None
    """Of an edit: the earlier message, which the agent may have."""
    instead: CustomerContent | None = None
    """The same without what it quotes (None: nothing is left then); of an edit the whole message in
    its new wording, for an agent who does not have it in another."""
    sender: UserId = UserId("")
    """Who says it, where several people may speak."""


class Withdrawn(Happening, frozen=True):
    """A redaction: the customer took a message back."""

    event_id: EventId
    also: tuple[EventId, ...] = ()
    """Its edits."""
    by: EventId = EventId("")
    """The redaction's own event."""
    note: str = ""
    """The note for an agent who may have it; empty: none."""


class Start(Happening, frozen=True):
    """The command for a chat, without a message; `queue_id` overrides the room's queue once."""

    queue_id: QueueId | None = None


class Cancel(Happening, frozen=True):
    """The command to leave the queue."""


class Close(Happening, frozen=True):
    """The command to end the chat."""


class Human(Happening, frozen=True):
    """The command for a person: away from the robot, or into a queue."""


class Solved(Happening, frozen=True):
    """The knowledge base's answer to this question was enough; None: to all of them."""

    event_id: EventId | None = None


class CallBack(Happening, frozen=True):
    """The command for a callback: ask on, and call the customer once an agent is there."""


class Rate(Happening, frozen=True):
    value: int
    comment: str = ""
    session_id: SessionId | None = None
    """The chat that is meant; None: the newest."""
    event_id: EventId | None = None
    """The message that is the comment; None: it was part of a command, or of a reply."""
    more: bool = False
    """It is an unhappy one: without a comment, the customer is asked why."""
    said_by: EventId | None = None
    """That command or reply, where it has a comment: once it is taken back, the comment is kept
    back."""


class Pushed(Happening, frozen=True):
    push: Push
    at: int = 0
    """When it came; 0: just now."""
    numbered: bool = False
    """It has a receipt id, by which a repeat is known: none comes this far."""


class Replied(Happening, frozen=True):
    call_id: CallId
    reply: Reply


class Uploaded(Happening, frozen=True):
    call_id: CallId
    url: str
    """Absolute; empty if the content travels in the frame, in `clip`."""
    size: int = 0
    clip: Clip | None = None


class FailureReason(StrEnum):
    UNREACHABLE = "unreachable"
    """Network, a proxy's error page, a server that is starting: worth another try."""
    NO_TURN = "no_turn"
    """Nothing is wrong: our own logins wait for their turn, or nobody wants it any more."""
    NO_ANSWER = "no_answer"
    """Written, then nothing, or the link or we ourselves died before the answer."""
    SILENT = "silent"
    """Written, and the server said nothing to it for long although the link stood."""
    LOGIN_REFUSED = "login_refused"
    """-20, -6, or no account for this room: no retry helps."""
    SIGN_REFUSED = "sign_refused"
    """-30: the operator's key is wrong."""
    TOO_BIG = "too_big"
    """The server closed the link over the size of this frame, or the file exceeds a limit."""
    MEDIA_GONE = "media_gone"
    """The homeserver no longer has the file, or never gave it."""
    MEDIA_CHANGED = "media_changed"
    """The encrypted file is not what its sender encrypted."""
    REFUSED = "refused"
    """The server refused an upload, `code` says why."""
    UPLOAD_FAILED = "upload_failed"
    """An upload was not answered in the guide's words; `code`: the HTTP status, if it says more."""
    OVERTAKEN = "overtaken"
    """Not written: its content was taken back before, or came to go otherwise."""


class CallFailed(Happening, frozen=True):
    call_id: CallId
    reason: FailureReason
    certain: bool = True
    """True: it surely did not arrive. False: it may have."""
    code: int | None = None
    """The ResultCode, where the server gave one; of UPLOAD_FAILED the HTTP status."""
    limit: int | None = None
    """The limit that the content exceeds, bytes, where it is known."""


class Silence(StrEnum):
    NOTHING = "nothing"
    UNREACHABLE = "unreachable"
    """It does not answer, or refuses us."""


class Consulted(Happening, frozen=True):
    """The knowledge base's answer to a question, which is being shown, or that there is none."""

    event_id: EventId
    note: str = ""
    """The answer in short, for an agent; empty if there is none."""
    silence: Silence = Silence.NOTHING


class LinkLost(Happening, frozen=True):
    """The link (socket) to WebChat has been away for long, and still is."""


class TurnAwaited(Happening, frozen=True):
    """The link cannot be opened yet: our logins wait for their turn, at most so many seconds."""

    seconds: int


class LinkRestored(Happening, frozen=True):
    """The link was lost and stands again, since `at` (0: just now)."""

    at: int = 0
    brief: bool = False
    """It was away for a moment only."""


class Resumed(Happening, frozen=True):
    """The bridge has started again and found this conversation going on."""


class Recalled(Happening, frozen=True):
    """WebChat's history of the last messages: the answer to `FetchHistory`."""

    session_id: SessionId
    since: int
    entries: tuple[HistoryEntry, ...] = ()
    """Newest last; empty if the server has no history or would not give it."""
    failed: bool = False
    """It has one and could not be asked, or would not give it."""
    kept: bool = True
    """False: it keeps none, so that its silence says nothing."""


class Moved(Happening, frozen=True):
    """The room was upgraded: in the new one nothing stands yet of what the customer was shown."""


class Tick(Happening, frozen=True):
    """A deadline has passed."""


CustomerAct = Said | Withdrawn | Start | Cancel | Close | Human | Solved | CallBack | Rate
Outcome = Replied | Uploaded | CallFailed | Consulted | Recalled
_Link = LinkLost | TurnAwaited | LinkRestored
Input = CustomerAct | Pushed | Outcome | _Link | Resumed | Moved | Tick


# --- effects --------------------------------------------------------------------------------------


class Wish(Value, frozen=True):
    """Base class of effects."""


class CallWebChat(Wish, frozen=True):
    call_id: CallId
    command: Command
    event_id: EventId | None = None
    """The customer's event that it carries."""
    repeat: bool = False
    """It may have arrived before; the ledger says so."""


class UploadMedia(Wish, frozen=True):
    call_id: CallId
    media: CustomerMedia
    event_id: EventId


class AskRobot(Wish, frozen=True):
    event_id: EventId
    question: str
    first: bool = False
    """The message waits for the answer, which comes as `Consulted`; False: asked by command, the
    answer goes to the room alone (`rooms.cards`)."""


class FetchHistory(Wish, frozen=True):
    """Ask WebChat what was said since then; the answer comes as `Recalled`."""

    session_id: SessionId
    since: int


class Say(Wish, frozen=True):
    """A sentence of ours in the room, from `texts` by key."""

    key: str
    args: Args = {}
    reply_to: EventId | None = None
    ping: bool = False
    """Worth the customer's phone ringing: m.text instead of m.notice."""
    also: str = ""
    """Key of a second sentence, with the same `args`, that stands below it."""


class Card(Wish, frozen=True):
    """The one message that is edited in place as the queue moves; one per `number`."""

    number: int
    key: str
    args: Args = {}
    """`queue` is an id, `opens` a moment."""
    more: tuple[str, ...] = ()
    """Sentences behind the first."""
    below: tuple[str, ...] = ()
    """Sentences of the second line."""
    dropped: tuple[EventId, ...] = ()
    """Messages that 🔁 sends after all."""


class CallbackCard(Wish, frozen=True):
    """A sentence of its own that can be answered by a reaction, as the card."""

    number: int
    key: str
    args: Args = {}
    dropped: tuple[EventId, ...] = ()


class AskRating(Wish, frozen=True):
    session_id: SessionId
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) as the server offers them; empty: the operator's."""


class EndPoll(Wish, frozen=True):
    """Close a poll: stored by earlier versions, and nothing comes of it."""

    session_id: SessionId


class Offer(Wish, frozen=True):
    """A sentence of ours that a reaction answers: who wants a person puts 🙋 or 👎 to it."""

    key: str
    args: Args = {}


class Relay(Wish, frozen=True):
    """An agent's message, sent by the agent's ghost."""

    agent: Agent
    content: AgentContent
    session_id: SessionId
    choices: tuple[str, ...] = ()
    """The robot's proposals, which a digit stands for, written or as a reaction."""
    posted: int | None = None
    """When it was said, by the server's clock, of one that is late; 0: unknown. None: just now."""
    message_id: str = ""
    """The server's number of it, where it told one."""
    ping: bool = False
    """Worth the customer's phone ringing: the agent's first words."""


class TakeBack(Wish, frozen=True):
    """An agent took a message back: that of this number, if it was told one."""

    agent: Agent
    message_id: str
    mark: str = ""
    """Digest of agent and words (`history.mark_of`, hex) where a history told it: by these a push
    without a number is known."""
    at: int = 0
    """When they were said, by our clock."""


class AgentsCame(Wish, frozen=True):
    """Ghosts that join the room (or whose name or picture changed)."""

    agents: tuple[Agent, ...]
    queue_id: QueueId | None = None


class AgentsLeft(Wish, frozen=True):
    agents: tuple[AgentId, ...]


class Delivered(Wish, frozen=True):
    """All of this event has been taken by WebChat."""

    event_id: EventId


COUNTED = "queue.dropped"
"""Key of `Reported` for which there is no reply: it is told with others, by their number."""


class Reported(Wish, frozen=True):
    """A reply to the event: it was not, or perhaps not, delivered; from `texts` by key."""

    event_id: EventId
    key: str
    args: Args = {}


class Answered(Wish, frozen=True):
    """The knowledge base's answer to this event was enough: nobody else gets it."""

    event_id: EventId


ToWebChat = CallWebChat | UploadMedia
"""Calls: at most one is under way in a room, and it is carried out before the next."""
ToAside = AskRobot | FetchHistory
"""Lookups outside the chat: no call waits behind them."""
Sentence = Say | Card | CallbackCard | Offer | Reported
"""Words of ours, from `texts` by key."""
ToMatrix = Sentence | AskRating | EndPoll | Relay | TakeBack | AgentsCame | AgentsLeft
Fact = Delivered | Answered
"""Facts for the room's record, which nobody carries out."""
Effect = ToWebChat | ToAside | ToMatrix | Fact
"""Each effect is in one lane: a `match` over a lane that ends in `assert_never` is whole."""
