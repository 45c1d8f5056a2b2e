"""All that can happen to a conversation.

Inputs are stored before they are handled, or together with what they led to; but for `Tick`,
`LinkLost`, `LinkRestored`, `TurnAwaited` and `Resumed`, whose reasons would be noticed again after
a restart.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bridge.conversation.model import Clip, CustomerContent
from bridge.ids import CallId, EventId, QueueId, SessionId
from bridge.webchat.frames import Push, Reply
from bridge.webchat.http import HistoryEntry


class Happening(msgspec.Struct, frozen=True, tag=True, tag_field="is", omit_defaults=True):
    """What all inputs share."""


class Said(Happening, frozen=True):
    """The customer wrote or sent something."""

    event_id: EventId
    content: CustomerContent
    words: str = ""
    """What was typed, where the content says more than that."""
    again: bool = False
    """They have just asked for it to be sent again, and are owed an answer."""
    quotes: tuple[EventId, ...] = ()
    """Messages whose words it repeats."""
    amends: EventId | None = None
    """An earlier message, which the agent may have, and which it corrects."""
    instead: CustomerContent | None = None
    """The same without what it quotes, None: nothing is left then. Of a correction: the message in
    its new wording, for an agent who does not have it in another."""


class Withdrawn(Happening, frozen=True):
    """The customer took back what they wrote or sent."""

    event_id: EventId
    also: tuple[EventId, ...] = ()
    """Its other wordings, which go with it."""
    by: EventId = EventId("")
    """What took it back."""
    note: str = ""
    """What an agent who may have it is to read; empty: nothing."""


class Start(Happening, frozen=True):
    """Asked for a chat without writing; `queue_id` overrides the room's queue once."""

    queue_id: QueueId | None = None


class Cancel(Happening, frozen=True):
    """Wants out of the queue."""


class Close(Happening, frozen=True):
    """Wants the chat to end."""


class Human(Happening, frozen=True):
    """Wants a person: out of the robot's hands, or into a queue."""


class Solved(Happening, frozen=True):
    """The knowledge base has answered it: no person is needed."""

    event_id: EventId | None = None
    """The question; None: all of them."""


class CallBack(Happening, frozen=True):
    """Wants us to go on asking, and to be called once an agent is there."""


class Rate(Happening, frozen=True):
    value: int
    comment: str = ""
    session_id: SessionId | None = None
    """The chat that is meant; None: the newest."""
    vote: bool = False
    """By the poll."""


class Pushed(Happening, frozen=True):
    """WebChat said something unasked."""

    push: Push
    at: int = 0
    """When it came, ms since the epoch; 0: just now."""
    numbered: bool = False
    """It has a receipt id: a repeat of it is known by that."""


class Replied(Happening, frozen=True):
    """WebChat answered a call."""

    call_id: CallId
    reply: Reply


class Uploaded(Happening, frozen=True):
    call_id: CallId
    url: str
    """Absolute; empty if the content travels in the frame, as `clip`."""
    size: int = 0
    clip: Clip | None = None


class FailureReason(StrEnum):
    """Why a call came to nothing."""

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
    """A call or an upload got no reply."""

    call_id: CallId
    reason: FailureReason
    certain: bool = True
    """True: it surely did not arrive. False: it may have."""
    code: int | None = None
    """The ResultCode, where the server gave one; of UPLOAD_FAILED the HTTP status."""
    limit: int | None = None
    """Bytes, where the content exceeds a limit that is known."""


class Silence(StrEnum):
    """Why the knowledge base has no answer."""

    NOTHING = "nothing"
    UNREACHABLE = "unreachable"
    """It does not answer, or refuses us."""


class Consulted(Happening, frozen=True):
    """The knowledge base was asked, and what it answered is being shown."""

    event_id: EventId
    note: str = ""
    """The answer in short, as an agent will read it; empty if there is none."""
    silence: Silence = Silence.NOTHING
    """Why there is none."""


class LinkLost(Happening, frozen=True):
    """The link has been away for long, and is still."""


class TurnAwaited(Happening, frozen=True):
    """The link cannot be opened yet, because our own logins wait for their turn."""

    seconds: int
    """How much longer that takes, as things stand, at most."""


class LinkRestored(Happening, frozen=True):
    """The link was lost and stands again."""

    at: int = 0
    """Since when, ms since the epoch; 0: just now."""


class Resumed(Happening, frozen=True):
    """The bridge has started again and found this conversation going on."""


class Recalled(Happening, frozen=True):
    """What WebChat has of the last messages, as `FetchHistory` asked."""

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
