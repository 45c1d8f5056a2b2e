"""All that a conversation can ask for. Effects are stored before they are carried out."""

from __future__ import annotations

import msgspec

from bridge.conversation.model import CustomerMedia
from bridge.ids import AgentId, CallId, EventId, QueueId, SessionId
from bridge.webchat.frames import Agent, AgentContent, Command

Args = dict[str, str | int | tuple[str, ...]]


class Wish(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """What all effects share."""


# --- the lane to WebChat ------------------------------------------------------------------------


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


# --- the lane aside -----------------------------------------------------------------------------


class AskRobot(Wish, frozen=True):
    """Put a question to the knowledge base; what it says comes back as `Consulted`.

    To one that was asked by command it comes back to the room alone (`rooms.inputs`).
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


# --- the lane to Matrix -------------------------------------------------------------------------


class Say(Wish, frozen=True):
    """A sentence of ours in the room, from `texts` by key."""

    key: str
    args: Args = {}
    reply_to: EventId | None = None
    ping: bool = False
    """True only for what is worth the customer's phone ringing: m.text instead of m.notice."""


class QueuePlace(Wish, frozen=True, tag="Place"):
    """How a customer's wait goes, for the second line of the card. Moments are ms.

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


# --- what became of an event --------------------------------------------------------------------


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


ToWebChat = CallWebChat | UploadMedia
ToAside = AskRobot | FetchHistory
Sentence = Say | Card | CallbackCard | Offer | Reported
ToMatrix = Sentence | AskRating | EndPoll | Relay | AgentsCame | AgentsLeft
Effect = ToWebChat | ToAside | ToMatrix | Delivered | Answered
