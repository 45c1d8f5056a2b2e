"""All that a conversation can ask for. Effects are stored before they are carried out."""

from __future__ import annotations

import msgspec

from bridge.conversation.model import CustomerMedia
from bridge.ids import AgentId, CallId, EventId, QueueId, SessionId
from bridge.webchat.frames import Agent, AgentContent, Command

Args = dict[str, str | int]


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


class Card(Wish, frozen=True):
    """The one message that is edited in place as the queue moves; one per `number`."""

    number: int
    key: str
    args: Args = {}


class AskRating(Wish, frozen=True):
    """Ask for a rating, once per session."""

    session_id: SessionId
    ratings: tuple[tuple[int, str], ...] = ()
    """(id, label) as the server offers them; empty: the operator's."""


class Relay(Wish, frozen=True):
    """An agent's message, sent by the agent's ghost."""

    agent: Agent
    content: AgentContent
    session_id: SessionId


class AgentsCame(Wish, frozen=True):
    """Ghosts that join the room (or whose name or picture changed)."""

    agents: tuple[Agent, ...]
    queue_id: QueueId | None = None


class AgentsLeft(Wish, frozen=True):
    """Ghosts that leave the room."""

    agents: tuple[AgentId, ...]


# --- facts for the ledger -----------------------------------------------------------------------


class Delivered(Wish, frozen=True):
    """All of this event has been taken by WebChat. Kept by the ledger; nothing is sent."""

    event_id: EventId


class Reported(Wish, frozen=True):
    """The customer is told that this event was not, or perhaps not, delivered.

    Sent as a reply to the event, from `texts` by key.
    """

    event_id: EventId
    key: str
    args: Args = {}


ToWebChat = CallWebChat | UploadMedia
ToAside = FetchHistory
ToMatrix = Say | Card | AskRating | Relay | AgentsCame | AgentsLeft | Reported
Effect = ToWebChat | ToAside | ToMatrix | Delivered
