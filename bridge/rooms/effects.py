"""Effects of the rooms, beside those of the conversation, and the lane of each.

They are stored like those (`conversation.model`). An effect is carried out by the lane to whose
union it belongs: `to_webchat`, `to_matrix` or `aside`.
"""

from __future__ import annotations

from bridge.conversation import model
from bridge.conversation.model import Value
from bridge.ids import EventId, RoomId, SessionId, UserId
from bridge.rooms.record import OwnLogin, RoomSettings


class EnterRoom(Value, frozen=True):
    """Accept an invitation; the result comes back as `Entered` or `EntryFailed`."""

    host: UserId
    inviter: UserId
    encrypt: bool = False
    """Whether to turn encryption on, if the host may and the room is not public."""
    into: RoomId | None = None
    """The new room of an upgrade; None: the record's present Matrix room."""


class LeaveRoom(Value, frozen=True):
    """Make all of `users` leave the room."""

    users: tuple[UserId, ...]
    reason: str = ""
    """Reason shown to people."""
    inviter: UserId = UserId("")
    """Sender of the invitation that this declines, if any."""
    why: str = ""
    """The same reason, for the operator's log."""
    former: RoomId | None = None
    """The Matrix room to leave, the agents' ghosts too; None: the record's present one."""


class ShowAnswer(Value, frozen=True):
    """Show the knowledge base's answer, as a card that replies to the question."""

    event_id: EventId
    question: str
    key: str
    args: model.Args = {}
    first: bool = False
    """True if the question is a message, not a command: it still waits for a person."""


class RedactAll(Value, frozen=True):
    """Redact these events as far as the homeserver permits; if none are given, all in the journal.

    When a room is erased, that list is read at execution, as the room goes on until then.
    """

    theirs: tuple[EventId, ...] = ()


class PutSigns(Value, frozen=True):
    """Add reactions to a card for customers to tap; a tap is understood by now."""

    event_id: EventId
    signs: tuple[str, ...]
    gone: tuple[str, ...] = ()
    """Reactions to be removed."""


class ShowSettings(Value, frozen=True):
    """Write the room's settings into its state event, where the host may."""

    former: RoomSettings | None = None
    """The settings until a change; None if nothing was changed."""


class ShowBridge(Value, frozen=True):
    """Write the room's state event `m.bridge` (MSC2346), where the host may."""


class AskQueue(Value, frozen=True):
    """Offer the queues as a poll or `in_words`, in reply to the event (empty: to none)."""

    event_id: EventId
    in_words: bool = False


class TellChanges(Value, frozen=True):
    """List who changed what in the room, in reply to the event (empty: to none)."""

    event_id: EventId
    limit: int


class TellFigures(Value, frozen=True):
    """Show statistics of the room's chats of the last `days`, as text and as a picture."""

    event_id: EventId
    days: int


class TellHistory(Value, frozen=True):
    """List the room's chats, as a reply to the event."""

    event_id: EventId
    limit: int = 0
    """Maximum number of chats; 0: the default."""


class SendTranscript(Value, frozen=True):
    """Send the transcript of a chat into the room, as an HTML page, with `json` as JSON too."""

    event_id: EventId
    number: int | None = None
    """Number of the chat; None: the newest."""
    json: bool = False
    by: UserId = UserId("")
    """Person who asks for it; empty if stored by a version before this field."""


class TryLogin(Value, frozen=True):
    """Try a customer's own account at the call centre; the result comes back as `LoginTried`."""

    event_id: EventId
    login: OwnLogin


class Conceal(Value, frozen=True):
    """Redact a message that holds a password, and erase it from the journal."""

    event_id: EventId


class ShowPanel(Value, frozen=True):
    """Put the room page's widget into the room; only a command is answered."""

    event_id: EventId | None = None
    """The command; None if the bridge has just entered."""
    former: RoomId | None = None
    """The replaced room: add the widget only if it is there, too."""
    reader: UserId = UserId("")
    """The bridge user who is or was in `former`."""


class TellStatus(Value, frozen=True):
    """Send a status event: message delivered, or failed, if `why` (a text key) is set."""

    event_id: EventId
    why: str = ""


class Decline(Value, frozen=True):
    """Decline the invitation `event_id` of a bridge user; other fields as in `LeaveRoom`."""

    event_id: EventId
    user: UserId
    reason: str
    inviter: UserId = UserId("")
    why: str = ""
    enterprise: str | None = None
    """Call centre of the agent whose ghost first says in the room where to write; None: it does
    not, as the inviter reads the reason, or nobody."""


class EndPoll(Value, frozen=True):
    """Close a poll. Only in rows of earlier versions; ignored."""

    session_id: SessionId


_Shown = PutSigns | ShowAnswer | ShowSettings | AskQueue
InRoom = model.ToMatrix | EnterRoom | LeaveRoom | RedactAll | _Shown
"""Effects of the lane to Matrix."""
_Told = TellHistory | TellChanges | TellFigures | SendTranscript
_Wished = ShowPanel | TryLogin | Conceal | Decline | TellStatus
Aside = model.ToAside | _Told | _Wished | ShowBridge
"""Effects of the lane aside."""
StoredEffect = model.ToWebChat | InRoom | Aside | EndPoll
"""Effects that are stored and carried out."""
Effect = StoredEffect | model.Fact

Answering = model.Reported | ShowAnswer | AskQueue | model.AskRobot | _Told | _Wished
"""Effects whose `event_id` is their cause."""
