"""State, inputs and effects of a conversation, as values.

All are stored as tagged JSON. The tag is the class name, so a renamed class keeps its old name as
`tag`; a new field needs a default that suits older rows. Moments and durations are ms.

An input is stored before it is handled, or together with its effects; except a `Signal`.

Effects are stored before they are carried out. Each belongs to one *lane* (the unions at the end of
this module), which carries out its effects in order.
"""

from __future__ import annotations

import msgspec

from bridge.ids import AgentId, CallId, EventId, QueueId, RequestId, SessionId, UserId
from bridge.webchat.codes import FailureReason, Silence
from bridge.webchat.frames import Agent, AgentContent, Command, Push, Reply
from bridge.webchat.http import HistoryEntry

Args = dict[str, str | int | tuple[str, ...]]
"""Arguments for the placeholders of a sentence in `texts`."""


class Value(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base class of stored values."""


class CustomerText(Value, frozen=True):
    text: str


class FileKey(Value, frozen=True):
    """Decryption key of an encrypted file (AES-256-CTR, SHA-256), in base64; `key` is base64url."""

    key: str
    iv: str
    sha256: str


class CustomerMedia(Value, frozen=True):
    """A file on the homeserver, uploaded to WebChat before its message is sent."""

    kind: str
    """`image` (message type 2), `file`, `audio` (3), `video` (6 with `Policy.videos`, else 3) or
    `voice` (5 if it fits into a frame or the server takes an address, else 3)."""
    name: str
    mxc: str
    mime: str = "application/octet-stream"
    size: int | None = None
    """Size in bytes as the sender claims it: do not trust it before the bytes are counted."""
    caption: str = ""
    """Caption, sent as a separate message after the file."""
    file_key: FileKey | None = None
    more: tuple[CustomerMedia, ...] = ()
    """Further files of the same message (MSC4274), each sent as a message of its own."""


class CustomerLocation(Value, frozen=True):
    """A place, in degrees of WGS-84."""

    latitude: float
    longitude: float
    poi: str = ""


CustomerContent = CustomerText | CustomerMedia | CustomerLocation


class Clip(Value, frozen=True):
    """The recording of a voice message, an AMR file."""

    seconds: int
    data: str
    """The file in base64; "" if it was too long for a frame and was uploaded."""


class Held(Value, frozen=True):
    """A piece of a customer's content that WebChat has not accepted yet."""

    event_id: EventId
    content: CustomerContent
    at: int
    last: bool = True
    """True for the last piece of its event: a long text is split, but reported once."""
    url: str = ""
    """Address of uploaded media on the WebChat server."""
    clip: Clip | None = None
    asked: CallId | None = None
    """Id of an earlier call that may have delivered it; reused when it is sent again."""
    repeats: int = 0
    """Retries after an unknown outcome or a lost session; before the upload, failed uploads."""
    order: int = 0
    """Its position in the order in which the room's pieces were typed."""
    words: str = ""
    """The customer's own words, if the text of `content` adds to them."""
    consulted: bool = False
    quotes: tuple[EventId, ...] = ()
    """Messages that it quotes: when one of them is redacted, `instead` is sent."""
    amends: EventId | None = None
    """The message that it corrects or reports as redacted; for an agent who may have that one."""
    instead: tuple[CustomerContent, ...] = ()
    """Replacement without the quotation, or for an agent who lacks the amended message; if empty,
    nothing replaces it."""
    sender: UserId = UserId("")
    """Author, in a room where several people may speak; empty elsewhere and in older rows."""
    again: bool = False
    """True if it was sent again on request: then it takes no place from new messages."""

    @property
    def ready(self) -> bool:
        """Whether the message of a media piece can be written: it is uploaded, or has a clip."""
        return bool(self.url) or self.clip is not None

    @property
    def is_note(self) -> bool:
        """True for a note that tells the agent of a redaction; its failure is not reported."""
        return self.amends is not None and not self.instead


class Upload(Value, frozen=True):
    media: CustomerMedia


class Outstanding(Value, frozen=True):
    call_id: CallId
    what: Command | Upload
    held: Held | None = None
    """The content that the call carries, meanwhile removed from `Conversation.held`."""
    moot: bool = False
    """True if the customer gave the content up, or if the request of this 101 has ended: its reply
    is ignored, and a frame that is not written yet must not be."""
    stale: bool = False
    """True if the content has changed (see `held`): an unwritten frame must not be written."""


class Idle(Value, frozen=True):
    """Phase without a chat or a request; held content waits until the customer acts again."""

    since: int = 0
    linger_until: int | None = None
    """When to close the link: till then an agent may accept the refused request (reference 2.3)."""
    refused: Queued | None = None
    """The refused request; its pre-messages are back in `Conversation.held`."""
    pre_sent: tuple[int, ...] = ()
    """`Held.order` of those pre-messages."""


class Requesting(Value, frozen=True):
    """Phase while a 101 is unanswered, is due once `retry_at` allows, or waits for its 202."""

    queue_id: QueueId
    since: int
    session_id: SessionId | None = None
    """Session of the 101 reply, adopted when 202 comes or after `server.START_WAIT` (row 12)."""
    agents: tuple[Agent, ...] = ()
    adopt_at: int | None = None
    """Deadline for the 202: then adopt `session_id`, or give up if it is None (row 14)."""
    lost_session: SessionId | None = None
    """The session that WebChat has just disowned; a reply to 101 must not bring it back."""
    any_agent: bool = False
    """True if the requested agent is away (-9): ask again without naming one."""
    cancel: bool = False
    quiet: bool = False
    """True for the bridge's own request for a callback, not shown to the customer yet."""
    unsure: bool = False
    """True if an earlier 101 may have reached WebChat, so that a session may exist."""


class Queued(Value, frozen=True):
    """Phase with a request that WebChat holds."""

    queue_id: QueueId
    since: int
    request_id: RequestId | None = None
    former_id: RequestId | None = None
    """The previous request id, while 101 is sent again."""
    position: int | None = None
    accepted: bool = False
    """True once status 1 or 11 came; the 202 is due."""
    heard_at: int = 0
    """Time of the last sign of life; a silent request is checked with 101 (trap T14)."""
    resync: bool = False
    """True if 101 must be sent again to learn whether the request still exists (row 30)."""
    cut: bool = False
    """True if the link was lost since this request was made: if dropped, it is repeated once."""
    any_agent: bool = False
    cancel_by: int | None = None
    """Deadline of a cancel, after which the queue is left even without WebChat's answer."""
    pre_sent: tuple[Held, ...] = ()
    """Pre-messages that WebChat accepted: delivered with the 202, held again if the queue ends."""
    put_back: tuple[int, ...] = ()
    """`Held.order` of an earlier request's pre-messages, in case an agent has accepted that."""
    pre_refused: bool = False
    """True once WebChat refused a pre-message: later content waits for the session."""
    first_position: int | None = None
    first_at: int = 0
    moved_at: int = 0
    """When `position` was reached."""
    shown_at: int = 0
    """When the queue card was last written; 0 if not since this phase began."""
    next_told: bool = False
    quiet_until: int | None = None
    """The bridge's own request stays hidden until then, as it may end at once."""
    words: str = ""
    """The call centre's own sentence about `position`."""

    @property
    def cancel(self) -> bool:
        return self.cancel_by is not None

    def holds(self, request_id: RequestId) -> bool:
        """True if this is the request's phase, also while 101 is sent again."""
        return request_id in {self.request_id, self.former_id}


class Chatting(Value, frozen=True):
    """Phase of a running session, with people or with the robot."""

    session_id: SessionId
    since: int
    queue_id: QueueId
    agents: tuple[Agent, ...] = ()
    robot: bool = False
    close: bool = False
    """True if the customer asked to end the chat: 103 follows their earlier content."""
    unwanted: bool = False
    """True, with `close`, if it began after the customer left the queue (row 22): 103 is first."""
    ping_at: int | None = None
    """When to tell that an agent is there, unless one has written, or that a `close` was taken."""
    unanswered: bool = False
    """True until an agent writes; False if it began with the robot, or in an earlier version."""
    human: bool = False
    """True, with `robot`, if the customer asked it for a person: 302 follows earlier content."""
    seeking: bool = False
    """True, with `robot`, while it looks for a person (XFER of the reference)."""
    choices: tuple[str, ...] = ()
    """The robot's last proposals, in the order shown; the customer answers by number."""
    robots: tuple[Agent, ...] = ()
    """The robot that a person has replaced, to name it if it speaks late or comes back."""
    request_id: RequestId | None = None
    """The request that led to this chat; the agents have its pre-messages."""
    close_order: int | None = None
    """Lowest `Held.order` typed after `close`, for the next chat; None if all belongs to this."""


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
    """The message sent as the comment."""
    more: bool = False
    """True if the customer is to be asked for the reason, with the next message as the comment."""
    besides: str = ""
    """Comment of a newer rating, given while the message of `event_id` waits to be sent."""
    said_by: EventId | None = None
    """The command or reply that contained the comment."""
    besides_by: EventId | None = None
    """The command or reply that contained `besides`."""


class Rated(Value, frozen=True):
    """A rating that WebChat took, first at `at`; it can be changed for `chat.RATING_CHANGE`."""

    session_id: SessionId
    at: int
    asked: int | None = None
    """The value whose reason the customer was asked for; None if not asked, or answered."""
    event_id: EventId | None = None
    """The message sent as the comment."""


class Question(Value, frozen=True):
    """A message outside a chat on which the knowledge base was asked; its pieces are in `held`."""

    event_id: EventId
    at: int
    note: str | None = None
    """Short form of the answer, for an agent; None if there is no answer yet."""
    aside: bool = False
    """True if the message waits for a person whatever the answer: no agent was available."""


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """A `history.Mark` as versions before `Marks` stored it, digests in hex."""

    at: int
    mark: str
    id: str = ""
    awaited: int = 0
    exact: str = ""
    session: SessionId | None = None


class MarkDetail(msgspec.Struct, frozen=True, array_like=True):
    """Extra attributes of the mark at index `place` of `Marks`; see `history.Mark`."""

    place: int
    id: str
    awaited: int
    pushed: bool


class Marks(msgspec.Struct, frozen=True, array_like=True):
    """Packed marks of the agents' latest messages (see `history`): 13 bytes each, newest last."""

    packed: bytes = b""
    sessions: tuple[SessionId, ...] = ()
    """Sessions of the marks; the histories of these should contain the marked messages."""
    details: tuple[MarkDetail, ...] = ()


class Recall(Value, frozen=True):
    """A pending history lookup; no message up to `since` was missed."""

    since: int
    session_id: SessionId | None = None
    """None if the request has not led to a session yet."""
    due: int = 0
    asked: bool = False
    again: bool = False
    """True if another lookup is needed after the one under way."""
    brief: bool = False
    """True if the link was lost only for a moment."""
    tries: int = 0
    calls_since: int | None = None
    """First call id since the link was restored (`history.still_waits`)."""


class Callback(Value, frozen=True):
    """A callback, offered or wanted, because the call centre was closed or had no agent."""

    queue_id: QueueId
    wanted: int | None = None
    """When the customer asked for it; None if it was only offered."""
    next_at: int = 0
    tries: int = 0
    """Attempts, for the back-off; 0 again when it waits for a known opening time."""


class Vain(Value, frozen=True):
    """How the newest request failed, as its queue card says."""

    key: str
    args: Args = {}
    since: int = 0
    """When the card first said so; `kept` messages were waiting then."""
    kept: int = 0


class Conversation(Value, frozen=True):
    phase: Phase = Idle()
    number: int = 0
    """Number of the chat in this room, which identifies its queue card and transcript."""
    held: tuple[Held, ...] = ()
    """Waiting content in the order typed; at most one more piece is in `outstanding`."""
    typed: int = 0
    """The next `Held.order`."""
    outstanding: Outstanding | None = None
    next_call: int = 1
    rating: Rating | None = None
    """The rating that WebChat has not taken yet."""
    last_session: SessionId | None = None
    """The newest session: it can be rated until the next one starts (trap T19)."""
    last_closed: bool = False
    last_ended_at: int | None = None
    """End of the last session; the next agent has not seen earlier messages."""
    last_request: RequestId | None = None
    """The newest queue request that ended; late news of it is ignored."""
    failures: int = 0
    """Consecutive failures of the link or the server; reset by any answer."""
    trouble_since: int | None = None
    """When the first of these `failures` came; None while there are none."""
    retry_at: int | None = None
    """No call is made before this moment; None while one is outstanding."""
    told_trouble: bool = False
    """True once the customer was told that the service cannot be reached."""
    rated: Rated | None = None
    poll: SessionId | None = None
    """The newest session for which a rating was requested."""
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) of the ratings that the server offers (200); empty if it did not say."""
    extensions: tuple[str, ...] = ()
    """File extensions the server takes (200), lower case, no dots; empty if it did not say."""
    callback: Callback | None = None
    """Offered when the newest request failed, or wanted; cleared when a chat begins."""
    vain: Vain | None = None
    """None unless the newest request failed; cleared by a new card, a chat or a cancel."""
    dropped: tuple[EventId, ...] = ()
    """Messages given up with the request; the customer is still to be told their number."""
    heard: tuple[Heard, ...] = ()
    """Marks as an earlier version stored them; empty once `marks` is used."""
    marks: Marks = Marks()
    linked_at: int = 0
    turn_at: int | None = None
    """When the customer expects the delayed login; None if they were told of no delay."""
    told_away: bool = False
    """True once the customer was told that the link is lost, independently of `told_trouble`."""
    unsure_at: int = 0
    """When the newest line was said, if it is that agents' messages may be missing here; else 0."""
    recall: Recall | None = None
    questions: tuple[Question, ...] = ()
    """Questions to the knowledge base, open or answered; empty unless Idle or Ended."""
    watched_at: int = 0
    """When the customer or an agent last wrote, or the phone was notified, ms since the epoch."""


# --- inputs ---------------------------------------------------------------------------------------


class Said(Value, frozen=True):
    """A message of the customer: text, media or a location."""

    event_id: EventId
    content: CustomerContent
    words: str = ""
    """The customer's own words, if the content adds to them (a name, a quotation)."""
    again: bool = False
    """True if it is sent again on request: `Pending` follows, once for all such messages."""
    quotes: tuple[EventId, ...] = ()
    amends: EventId | None = None
    """For an edit, the earlier message, which the agent may have."""
    instead: CustomerContent | None = None
    """The content without its quotations, None if nothing is left; for an edit, the whole new
    wording for an agent who has no earlier one."""
    sender: UserId = UserId("")
    """Speaker, where several people may speak."""
    replaces: tuple[EventId, ...] = ()
    """Wordings that it replaces, which no agent has: if the first one waits, in its place."""


class Withdrawn(Value, frozen=True):
    """A redaction of one of the customer's messages."""

    event_id: EventId
    also: tuple[EventId, ...] = ()
    """Edits of the message."""
    by: EventId = EventId("")
    """The redaction event."""
    note: str = ""
    """Note for an agent who may have the message; empty for none."""


class Start(Value, frozen=True):
    """The command to start a chat; `queue_id` overrides the room's queue once."""

    queue_id: QueueId | None = None


class Cancel(Value, frozen=True):
    """The command to leave the queue."""


class Close(Value, frozen=True):
    """The command to end the chat."""


class Human(Value, frozen=True):
    """The command for a person: a transfer from the robot, or a request in a queue."""


class Solved(Value, frozen=True):
    """The knowledge base's answer to this question, or to all if None, was enough."""

    event_id: EventId | None = None
    aside: bool = False
    """True if the newest answer is to `ask`, whose question waits for nobody."""


class Pending(Value, frozen=True):
    """Held content wants an agent now: it was sent again, or the room is no longer paused."""


class CallBack(Value, frozen=True):
    """The command for a callback: keep asking, and notify the customer once an agent is there."""


class Rate(Value, frozen=True):
    value: int
    comment: str = ""
    session_id: SessionId | None = None
    """The chat that is rated; None for the newest."""
    event_id: EventId | None = None
    """The message that is the comment; None if the comment is part of a command or reply."""
    more: bool = False
    """True for a bad rating: without a comment, the customer is asked for the reason."""
    said_by: EventId | None = None
    """The command or reply with the comment; its redaction withholds the comment."""


class Pushed(Value, frozen=True):
    push: Push
    at: int = 0
    """When the push came; 0 for now."""
    numbered: bool = False
    """True if it has a receipt id (`rsId`); its repeats were filtered out before."""


class Replied(Value, frozen=True):
    call_id: CallId
    reply: Reply


class Uploaded(Value, frozen=True):
    call_id: CallId
    url: str
    """Absolute address; empty if the content travels in the frame, in `clip`."""
    size: int = 0
    clip: Clip | None = None


class CallFailed(Value, frozen=True):
    call_id: CallId
    reason: FailureReason
    certain: bool = True
    """True if the call certainly did not arrive; False if it may have."""
    code: int | None = None
    """The ResultCode, if the server gave one; for UPLOAD_FAILED the HTTP status."""
    limit: int | None = None
    """The limit that the content exceeds, in bytes, if known."""


class Consulted(Value, frozen=True):
    """The knowledge base's answer to a question (the room shows it already), or its lack of one."""

    event_id: EventId
    note: str = ""
    """Short form of the answer, for an agent; empty if there is none."""
    silence: Silence = Silence.NOTHING


class LinkLost(Value, frozen=True):
    """The link to WebChat has been lost for long, and still is."""


class TurnAwaited(Value, frozen=True):
    """The link cannot be opened yet: its login waits for the rate limit, at most `seconds`."""

    seconds: int


class LinkRestored(Value, frozen=True):
    """The link was lost and stands again, since `at` (0 for now)."""

    at: int = 0
    brief: bool = False
    """True if it was lost only for a moment."""


class Resumed(Value, frozen=True):
    """The bridge has restarted and found this conversation under way."""


class Recalled(Value, frozen=True):
    """WebChat's history of the last messages: the answer to `FetchHistory`."""

    session_id: SessionId
    since: int
    entries: tuple[HistoryEntry, ...] = ()
    """Newest last; empty if there is no history or it could not be read."""
    failed: bool = False
    """True if the history could not be read; worth a retry."""
    kept: bool = True
    """False if the server keeps no history, so that a missing message proves nothing."""


class Moved(Value, frozen=True):
    """The card and the agents are to be shown anew: in an upgraded room, or after new settings."""


class Noted(Value, frozen=True):
    """A note of the bridge's own for the agent of this chat; `about` is the event that it amends.

    It waits its turn, but no event's delivery depends on it: nobody is told if it reaches no agent.
    """

    by: EventId
    text: str
    about: EventId = EventId("")


class Tick(Value, frozen=True):
    """A deadline has passed."""


CustomerAct = Said | Withdrawn | Start | Cancel | Close | Human | Solved | CallBack | Rate | Pending
_Answer = Replied | Uploaded | CallFailed | Consulted | Recalled
Signal = LinkLost | TurnAwaited | LinkRestored | Resumed | Tick
"""Inputs that need not be stored: their causes are noticed again after a restart."""
Input = CustomerAct | Pushed | _Answer | Signal | Moved | Noted


# --- effects --------------------------------------------------------------------------------------


class CallWebChat(Value, frozen=True):
    call_id: CallId
    command: Command
    event_id: EventId | None = None
    """The customer's event that it carries."""
    beside: EventId | None = None
    """Another event whose words it carries, too."""
    repeat: bool = False
    """True if it may have arrived before; the ledger says so."""


class UploadMedia(Value, frozen=True):
    call_id: CallId
    media: CustomerMedia
    event_id: EventId


class AskRobot(Value, frozen=True):
    event_id: EventId
    question: str
    first: bool = False
    """True if the message waits for the answer (`Consulted`); False if it was asked by command."""


class FetchHistory(Value, frozen=True):
    """Fetch WebChat's history since a moment; the answer comes as `Recalled`."""

    session_id: SessionId
    since: int


class Say(Value, frozen=True):
    """A notice in the room, from `texts` by key."""

    key: str
    args: Args = {}
    reply_to: EventId | None = None
    ping: bool = False
    """True to notify the customer's phone: sent as m.text instead of m.notice."""
    also: str = ""
    """Key of a second sentence, with the same `args`, shown below the first."""
    unquoted: bool = False
    """True if apps do not show the event of `reply_to`, such as a vote: it is only the cause."""


class Card(Value, frozen=True):
    """The queue card, one message per `number`, edited in place as the queue moves."""

    number: int
    key: str
    args: Args = {}
    """`queue` is an id, `opens` a moment."""
    more: tuple[str, ...] = ()
    """Keys of the sentences after the first."""
    below: tuple[str, ...] = ()
    """Keys of the sentences on the second line."""
    dropped: tuple[EventId, ...] = ()
    """Messages that the reaction 🔁 sends after all."""
    ping: bool = False
    """True to notify the customer's phone: posted anew, since nobody notices an edit."""
    anew: bool = False
    """True to post it anew, below the former, which stays as it is."""


class CallbackCard(Value, frozen=True):
    """A separate notice that can be answered by a reaction, like the queue card."""

    number: int
    key: str
    args: Args = {}
    dropped: tuple[EventId, ...] = ()


class AskRating(Value, frozen=True):
    session_id: SessionId
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) of the server's ratings; empty to use the operator's."""


class Offer(Value, frozen=True):
    """A notice that offers a person; the customer accepts with the reaction 🙋 or 👎."""

    key: str
    args: Args = {}


class Relay(Value, frozen=True):
    """An agent's message, sent by the agent's ghost."""

    agent: Agent
    content: AgentContent
    session_id: SessionId
    choices: tuple[str, ...] = ()
    """The robot's proposals, chosen by a digit, written or as a reaction."""
    posted: int | None = None
    """Server time of a message recovered from the history, 0 if unknown; None if it is new."""
    message_id: str = ""
    """The server's message number, if known."""
    ping: bool = False
    """True to notify the customer's phone: an agent's first words, and those after a silence."""


class TakeBack(Value, frozen=True):
    """Redact the agent's message of this number, which is empty if the server named none."""

    agent: Agent
    message_id: str
    mark: str = ""
    """Digest of agent and words (`history.mark_of`, hex), for a message named by the history."""
    at: int = 0
    """When the message was said, by the bridge's clock."""


class AgentsCame(Value, frozen=True):
    """Have agents' ghosts join the room, or update their name and picture."""

    agents: tuple[Agent, ...]
    queue_id: QueueId | None = None


class AgentsLeft(Value, frozen=True):
    agents: tuple[AgentId, ...]


class Delivered(Value, frozen=True):
    """WebChat has accepted the whole event."""

    event_id: EventId


KEPT = frozenset({"queue.kept", "start.needed", "start.needed_still"})
"""Keys of the sentences that say how many messages are kept: of two, only the newer is right."""
COUNTED = "queue.dropped"
"""Key of a `Reported` without a reply of its own: one sentence gives the number of all such."""


class Reported(Value, frozen=True):
    """A reply that the event was not, or perhaps not, delivered; from `texts` by key."""

    event_id: EventId
    key: str
    args: Args = {}
    ping: bool = False
    """True to notify the phone, as `Say.ping`: the message was sent a while ago."""


class Answered(Value, frozen=True):
    """The knowledge base answered this event, so it is sent to no agent."""

    event_id: EventId


ToWebChat = CallWebChat | UploadMedia
"""Calls, at most one under way in a room."""
ToAside = AskRobot | FetchHistory
"""Lookups outside the chat, which delay no call."""
Sentence = Say | Card | CallbackCard | Offer | Reported
"""Notices, from `texts` by key."""
ToMatrix = Sentence | AskRating | Relay | TakeBack | AgentsCame | AgentsLeft
Fact = Delivered | Answered
"""Facts for the room's record; no lane carries them out."""
Effect = ToWebChat | ToAside | ToMatrix | Fact
"""Each effect is in one union: mypy finds a case missing from a `match` with `assert_never`."""
