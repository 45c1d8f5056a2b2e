"""Events of a conversation: what comes in (inputs) and what it asks for in return (effects).

`machine.step` takes one input and returns effects. Both are stored as tagged JSON: the tag is the
class's name, so a class that is renamed keeps its `tag`, and a new field needs a default.

Inputs are stored before they are handled, or together with what they led to; but for `Tick`,
`LinkLost`, `LinkRestored`, `TurnAwaited` and `Resumed`, whose reasons would be noticed again after
a restart.

Effects are stored before they are carried out. Each belongs to one *lane*, named by the unions at
the end: `ToWebChat`, `ToAside` (the knowledge base and the history), `ToMatrix`, or none if it only
states a `Fact`. Within a lane they are carried out in order.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bridge.conversation.model import Clip, CustomerContent, CustomerMedia
from bridge.ids import AgentId, CallId, EventId, QueueId, SessionId
from bridge.webchat.frames import Agent, AgentContent, Command, Push, Reply
from bridge.webchat.http import HistoryEntry

# --- inputs ---------------------------------------------------------------------------------------


class Happening(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base class of all inputs: a frozen value, stored as JSON with the class's name as tag."""


class Said(Happening, frozen=True):
    """A message of the customer: text, media or a location."""

    event_id: EventId
    content: CustomerContent
    words: str = ""
    """The customer's own words, where the content adds to them (a name, a quotation)."""
    again: bool = False
    """It is sent again on request, so that the customer expects an answer."""
    quotes: tuple[EventId, ...] = ()
    """The messages that it quotes."""
    amends: EventId | None = None
    """An edit: the earlier message, which the agent may have, that it replaces."""
    instead: CustomerContent | None = None
    """The same without what it quotes, None: nothing is left then. Of a correction: the message in
    its new wording, for an agent who does not have it in another."""


class Withdrawn(Happening, frozen=True):
    """A redaction: the customer took a message back."""

    event_id: EventId
    also: tuple[EventId, ...] = ()
    """Its edits, which are taken back with it."""
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
    """The customer's word that the knowledge base's answer was enough."""

    event_id: EventId | None = None
    """The question; None: all of them."""


class CallBack(Happening, frozen=True):
    """The command for a callback: ask on, and call the customer once an agent is there."""


class Rate(Happening, frozen=True):
    value: int
    comment: str = ""
    session_id: SessionId | None = None
    """The chat that is meant; None: the newest."""
    vote: bool = False
    """By the poll."""


class Pushed(Happening, frozen=True):
    """A push of WebChat's."""

    push: Push
    at: int = 0
    """When it came, ms since the epoch; 0: just now."""
    numbered: bool = False
    """It has a receipt id: a repeat of it is known by that."""


class Replied(Happening, frozen=True):
    """The reply to a call."""

    call_id: CallId
    reply: Reply


class Uploaded(Happening, frozen=True):
    call_id: CallId
    url: str
    """Absolute; empty if the content travels in the frame, as `clip`."""
    size: int = 0
    clip: Clip | None = None


class FailureReason(StrEnum):
    """The reason why a call failed."""

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
    """An upload was answered, and not with the guide's words; `code` is the HTTP status, None where
    that says nothing."""
    OVERTAKEN = "overtaken"
    """Not written: before it could be, its content was taken back, or came to go otherwise."""


class CallFailed(Happening, frozen=True):
    """The failure of a call or an upload: there is no reply."""

    call_id: CallId
    reason: FailureReason
    certain: bool = True
    """True: it surely did not arrive. False: it may have."""
    code: int | None = None
    """The ResultCode, where the server gave one; of UPLOAD_FAILED the HTTP status."""
    limit: int | None = None
    """Bytes, where the content exceeds a limit that is known."""


class Silence(StrEnum):
    """The reason why the knowledge base has no answer."""

    NOTHING = "nothing"
    UNREACHABLE = "unreachable"
    """It does not answer, or refuses us."""


class Consulted(Happening, frozen=True):
    """The knowledge base's answer to a question, which is being shown, or that there is none."""

    event_id: EventId
    note: str = ""
    """The answer in short, as an agent will read it; empty if there is none."""
    silence: Silence = Silence.NOTHING
    """The reason why there is none."""


class LinkLost(Happening, frozen=True):
    """The link (socket) to WebChat has been away for long, and still is."""


class TurnAwaited(Happening, frozen=True):
    """The link cannot be opened yet, because our own logins wait for their turn."""

    seconds: int
    """The longest that it still takes, as things stand."""


class LinkRestored(Happening, frozen=True):
    """The link was lost and stands again."""

    at: int = 0
    """The moment since when it stands, ms since the epoch; 0: just now."""


class Resumed(Happening, frozen=True):
    """The bridge has started again and found this conversation going on."""


class Recalled(Happening, frozen=True):
    """The history of the last messages, as WebChat has it: the answer to `FetchHistory`."""

    session_id: SessionId
    since: int
    entries: tuple[HistoryEntry, ...] = ()
    """Newest last; empty if the server has no history or would not give it."""
    failed: bool = False
    """It has one and could not be asked, or would not give it."""
    kept: bool = True
    """False: the server keeps no history, so that its silence says nothing."""


class Tick(Happening, frozen=True):
    """A deadline has passed."""


Input = (
    Said
    | Withdrawn
    | Start
    | Cancel
    | Close
    | Human
    | Solved
    | CallBack
    | Rate
    | Pushed
    | Replied
    | Uploaded
    | CallFailed
    | Consulted
    | LinkLost
    | TurnAwaited
    | LinkRestored
    | Resumed
    | Recalled
    | Tick
)


# --- effects --------------------------------------------------------------------------------------

Args = dict[str, str | int | tuple[str, ...]]


class Wish(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """Base class of all effects: a frozen value, stored as JSON with the class's name as tag."""


# --- effects: the lane to WebChat -----------------------------------------------------------------


class CallWebChat(Wish, frozen=True):
    """Send one command and bring back its reply."""

    call_id: CallId
    command: Command
    event_id: EventId | None = None
    """The customer's event that it carries."""
    repeat: bool = False
    """It may have arrived before: the ledger says so."""


class UploadMedia(Wish, frozen=True):
    """Carry a file from the homeserver to WebChat."""

    call_id: CallId
    media: CustomerMedia
    event_id: EventId


# --- effects: the lane aside ----------------------------------------------------------------------


class AskRobot(Wish, frozen=True):
    """Put a question to the knowledge base; what it says comes back as `Consulted`.

    To one that was asked by command it comes back to the room alone (`rooms.record`).
    """

    event_id: EventId
    question: str
    first: bool = False
    """Not by command: the message waits for the answer."""


class FetchHistory(Wish, frozen=True):
    """Ask WebChat what was said lately; the answer comes back as `Recalled`."""

    session_id: SessionId
    since: int
    """When the link was last known to stand, ms since the epoch: what is older was heard."""


# --- effects: the lane to Matrix ------------------------------------------------------------------


class Say(Wish, frozen=True):
    """A sentence of ours in the room, from `texts` by key."""

    key: str
    args: Args = {}
    reply_to: EventId | None = None
    ping: bool = False
    """True only for what is worth the customer's phone ringing: m.text instead of m.notice."""


class QueuePlace(Wish, frozen=True, tag="Place"):
    """The progress of a customer's wait, for the second line of the card. Moments are ms.

    Stored rows know it by its former name.
    """

    queue_id: QueueId
    at: int
    """Now, for the card."""
    since: int
    """When the chat was asked for."""
    position: int | None = None
    first_position: int | None = None
    first_at: int = 0
    """When the first place was known."""
    moved_at: int = 0
    """When the present one was reached."""


class Card(Wish, frozen=True):
    """The one message that is edited in place as the queue moves; one per `number`."""

    number: int
    key: str
    args: Args = {}
    place: QueuePlace | None = None
    """While waiting: trend and expectation are added as the card is written."""


class CallbackCard(Wish, frozen=True):
    """A sentence about calling back, which can be answered by 🔔 or ❌."""

    number: int
    key: str
    args: Args = {}
    """`queue` is its id; `opens` is a moment, in ms."""


class AskRating(Wish, frozen=True):
    """Ask for a rating, once per session."""

    session_id: SessionId
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) as the server offers them; empty: the operator's."""


class EndPoll(Wish, frozen=True):
    """Close the poll of `AskRating`: a vote would change nothing any more."""

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
    """The robot's: what a digit, written or put to the message, stands for."""
    posted: int | None = None
    """Of one that comes late: when it was said, ms since the epoch by the server's clock; 0: nobody
    knows. None: just now."""


class AgentsCame(Wish, frozen=True):
    """Ghosts that join the room (or whose name or picture changed)."""

    agents: tuple[Agent, ...]
    queue_id: QueueId | None = None


class AgentsLeft(Wish, frozen=True):
    """Ghosts that leave the room."""

    agents: tuple[AgentId, ...]


# --- effects: what became of an event -------------------------------------------------------------


class Delivered(Wish, frozen=True):
    """All of this event has been taken by WebChat: a fact for the room's record, nothing to do."""

    event_id: EventId


class Reported(Wish, frozen=True):
    """The customer is told that this event was not, or perhaps not, delivered.

    Sent as a reply to the event, from `texts` by key.
    """

    event_id: EventId
    key: str
    args: Args = {}


class Answered(Wish, frozen=True):
    """The knowledge base's answer to this event was enough: nobody else gets it; nothing to do."""

    event_id: EventId


# --- lanes --------------------------------------------------------------------------------------

ToWebChat = CallWebChat | UploadMedia
"""Calls: at most one is under way in a room, and it is carried out before the next."""
ToAside = AskRobot | FetchHistory
"""Lookups outside the chat: no call waits behind them."""
Sentence = Say | Card | CallbackCard | Offer | Reported
"""Words of ours, from `texts` by key."""
ToMatrix = Sentence | AskRating | EndPoll | Relay | AgentsCame | AgentsLeft
"""Messages and members of the room."""
Fact = Delivered | Answered
"""Facts for the room's record, which nobody carries out."""
Effect = ToWebChat | ToAside | ToMatrix | Fact
"""Each effect is in one lane: a `match` over a lane that ends in `assert_never` is whole."""
