"""Ports: interfaces through which the rooms use homeserver, call centre and clock.

A `Meaning` is a Matrix event as the matrix package interprets it; none is ever stored.

Adapters translate every exception of a library into one of the four exception classes below.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from bridge.conversation import model
from bridge.ids import CallId, EventId, RoomId, SessionId, UserId
from bridge.rooms.record import Entered, OwnLogin, Raw, Thread
from bridge.rooms.store import NewInput
from bridge.webchat import frames
from bridge.webchat.codes import FailureReason
from bridge.webchat.frames import Agent, Command, Received, Reply
from bridge.webchat.http import HistoryEntry, RobotAnswer


class Unavailable(Exception):
    """The peer is unreachable or overloaded: retry, after `retry_after` seconds if it named any."""

    begun = b""
    """The beginning of an answer that was too long to be read."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unauthorized(Unavailable):
    """The homeserver does not know the bridge's token: it has loaded another registration."""


class NotStored(Unavailable):
    """The homeserver does not take a file; it may answer other requests."""


class BrokenOff(Unavailable):
    """The source of a file does not answer, or breaks off in the middle."""


class NoSpace(BrokenOff):
    """The bridge's own machine cannot hold the file for a moment."""


_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BROKE = frozenset({"", "client", "client connection", "client os", "client payload", "connection"})
_BROKE |= {"eof", "incomplete read", "interface", "internal client", "os"}
"""Class names, in words, that say no more than that a connection broke."""


def describe(error: BaseException) -> str:
    """Describe an error in plain English: a reason in logs, answers, and what people read.

    Only errors of the bridge's own are quoted: others' messages may hold a URL and so a token, or
    values of a row. A library's class is named in words (`disk full`); that of an error in the
    bridge itself stays, as it helps to find it.
    """
    if isinstance(error, TimeoutError) and not error.strerror:
        return "no answer in time"
    refused = getattr(error, "certificate_error", error)  # where aiohttp wraps it
    if isinstance(refused, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {refused.verify_message}"  # names the host at most
    broken = getattr(error, "os_error", error)  # likewise
    if isinstance(broken, ssl.SSLError) and broken.reason:
        return f"TLS failed: {broken.reason}"
    if isinstance(error, OSError) and error.strerror:
        # asyncio replaces the system's message by its own; a negative errno is a DNS error.
        number = error.errno or 0
        return os.strerror(number) if number > 0 else error.strerror
    name, package = type(error).__name__, type(error).__module__.partition(".")[0]
    if package == "bridge" and (message := str(error)):
        return message
    if package in {"bridge", "builtins", "msgspec"} and not isinstance(error, OSError | EOFError):
        return f"unexpected error ({name})"
    words = _CAPITAL.sub(" ", name.removesuffix("Error")).lower()
    return "the connection broke" if words in _BROKE else words


def tls_context(*, verify: bool) -> ssl.SSLContext:
    """Return a TLS context that trusts the system's CAs or those of `SSL_CERT_FILE`.

    VERIFY_X509_STRICT (Python's default since 3.13) is off: it rejects most private CAs, as
    `openssl req` writes no key usage into their certificates.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


CHANGED_FILE = "M_BAD_FILE"
"""Bridge-internal error code: an encrypted file has a wrong hash or an unusable key."""


class Refused(Exception):
    """The peer's permanent refusal, with the peer's own `code` (`M_FORBIDDEN`, `-16`, `403`)."""

    UNSEEN = "UNSEEN"
    """Code of the bridge's own: somebody was not in the room at that time."""
    by_room = False
    """Whether a ghost is kept out by the room's own rules, not by the homeserver."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code} {message}".strip())
        self.code = code


class Despite:
    """Context manager that suppresses Refused with one of these codes."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: object, _traceback: object) -> bool:
        return isinstance(error, Refused) and error.code in self._codes


LIFTED = frozenset({"M_USER_SUSPENDED", "M_RESOURCE_LIMIT_EXCEEDED"})
"""Error codes of all that an account writes, until somebody of the homeserver lifts the measure."""


class CallFailure(Exception):
    """A WebChat call or upload failed; `certain`: it surely did not reach the server."""

    def __init__(
        self,
        reason: FailureReason,
        message: str = "",
        code: int | None = None,
        *,
        certain: bool = True,
        limit: int | None = None,
    ) -> None:
        super().__init__(message or reason)
        self.reason = reason
        self.certain = certain
        self.code = code
        self.limit = limit
        """Maximum size in bytes, if the content exceeds a known limit."""


class TooBig(Exception):
    """A file exceeds its size limit."""


class Account(msgspec.Struct, frozen=True):
    room_id: RoomId
    customer: UserId
    displayname: str
    login: OwnLogin | None = None
    """The customer's own account; None uses the login that the operator configured."""
    key: str = ""
    """The room's part of login names; empty: see `RoomRecord.key`."""
    running: bool = False
    """True while the customer is chatting or queued; such logins go first."""


class Blob(msgspec.Struct, frozen=True):
    """A file that is streamed through the bridge: read once, never held in memory as a whole."""

    chunks: AsyncIterator[bytes]
    """Raises TooBig past the size limit, BrokenOff if the source breaks off."""
    size: int | None
    """Size in bytes; None if the source does not state it."""
    mime: str
    name: str = ""

    @classmethod
    def of(cls, data: bytes, mime: str = "", name: str = "") -> Blob:
        """Wrap a file that is in memory."""

        async def whole() -> AsyncIterator[bytes]:
            yield data

        return cls(whole(), len(data), mime, name)


class LinkPort(Protocol):
    """WebChat: one link (login, token, socket) per room that is being served.

    Methods that ask the call centre raise CallFailure; it may be uncertain for commands only.
    """

    async def call(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
    ) -> Reply:
        """Send a command and return its reply; await `before_write` right before writing it.

        Opens the link if it is down. A reply of -15 is retried once, after a new login. The
        CallFailure says whether the command may have arrived (`certain`).
        """

    def call_now(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        done: Callable[[Reply | CallFailure], None],
    ) -> bool:
        """Write a command before returning; return False if that is impossible: use `call` then.

        It must already be stored as attempted. `done` gets what `call` would return or raise, and
        must not raise.
        """

    async def upload(self, account: Account, blob: Blob) -> str:
        """Upload a file and return its absolute URL.

        After a CallFailure of INVALID_TOKEN a new login is under way, and the caller may retry.
        """

    def fetch(self, url: str, limit: int) -> AbstractAsyncContextManager[Blob]:
        """Open a file that an agent sent, from the server's own origin or an allowed host.

        Refused: the host is not allowed, or the server has no such file. Unavailable: no answer.
        TooBig: the server states more than `limit` bytes.
        """

    def absolute(self, address: str) -> str:
        """Return the absolute form of a URL of the server that may be relative; "" stays ""."""

    def icon_url(self, icon: str, queue_id: int | None) -> str:
        """Return the absolute URL of an agent's picture, or "" (reference 3.9)."""

    def keep(self, account: Account) -> None:
        """Keep this room's link up from now on, reconnecting after every loss."""

    async def leave(self, rooms: Collection[RoomId]) -> None:
        """Close the links of these rooms at once, without a logout.

        Pushes that were already read are still delivered to the engine.
        """

    def release(self, room_id: RoomId) -> None:
        """Close a link that is no longer needed, once no call is under way.

        A call that still waits for the link to open fails with NO_TURN (certain); a login that
        waits for its turn is cancelled.
        """

    def typing(self, room_id: RoomId, session_id: SessionId) -> None:
        """Show the agent that the customer is typing (113), if the link is up and the server can.

        Returns at once and never raises. The caller keeps the rate limit, one in 5 s.
        """

    async def log_in(self, account: Account) -> None:
        """Log in with the customer's own account, and keep the token if the server accepts it."""

    async def history(self, account: Account, count: int) -> tuple[HistoryEntry, ...] | None:
        """Fetch the customer's last messages, newest last, at most `count` (and 100).

        None if the server keeps no history. Opens the link if it is down, and may wait half a
        minute: it shares the rate limit of logins (reference 3.7). A CallFailure of NO_TURN or
        UNREACHABLE is transient.
        """

    async def ask_robot(self, question: str) -> tuple[RobotAnswer, ...]:
        """Ask the knowledge base, which may have no answer. Needs no link.

        CallFailure: TOO_BIG (over 1,000 characters), SIGN_REFUSED (wrong key), REFUSED, UNREACHABLE
        """


class LinkEvents(Protocol):
    """Callbacks from the links, implemented by the engine."""

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        """Store a push under a unique key: receipt id and digest, or process start and ordinal.

        Returns when it is durable: only then may a receipt be sent.
        """

    def backlog(self, room_id: RoomId) -> float:
        """Return how much waits for the homeserver in this room, in parts of what is usual at most:
        above 1, pushes should come more slowly.
        """

    def signal(
        self, room_id: RoomId, happened: model.LinkRestored | model.LinkLost | model.TurnAwaited
    ) -> None:
        """Take note of a needed link's loss or return, or (repeatedly) of its wait to log in."""


# --- meanings of Matrix events --------------------------------------------------------------------


class Undecryptable(msgspec.Struct, frozen=True):
    """An encrypted event that cannot be decrypted (yet)."""

    key: str
    """Text key of the reason."""
    later: bool
    """True if the missing key may still arrive."""


class FromPerson(msgspec.Struct, frozen=True):
    """Base of events that a person sent."""

    event_id: EventId
    sender: UserId


class AboutEvent(FromPerson, frozen=True):
    """Base of events that a person sent about an earlier event, `target`."""

    target: EventId


class Invited(msgspec.Struct, frozen=True):
    """A person invited the bot or a queue user into a room."""

    by: UserId
    whom: UserId
    direct: bool


class AgentInvited(msgspec.Struct, frozen=True):
    """A person invited a bridge user who accepts no invitations, mostly a ghost."""

    event_id: EventId
    by: UserId
    whom: UserId
    direct: bool = False
    """True in a direct room, and where the ghost has been before."""


class MemberJoined(msgspec.Struct, frozen=True):
    """A member joined, or has another name now (without `event_id`: nobody has to be told)."""

    who: UserId
    name: str = ""
    event_id: EventId = EventId("")


class MemberGone(msgspec.Struct, frozen=True):
    """A member left, was kicked or banned; `who` may be a bridge user."""

    who: UserId
    event_id: EventId = EventId("")


class Spoke(FromPerson, frozen=True):
    """A person's message that can be carried, or read as a command."""

    content: model.CustomerContent
    plain: str = ""
    """The text to read as a command; a file's caption."""
    wrap: str = ""
    """Text key of the sentence that wraps the text for agents; empty: as it is."""
    reply_to: EventId | None = None
    thread: EventId | None = None
    """Root event of the thread that this one is in."""
    answers: tuple[tuple[str, str], ...] = ()
    """A poll's answers: (id, text)."""
    notice: bool = False
    """True for an `m.notice`: a program wrote it (specification)."""

    @property
    def about(self) -> EventId | None:
        """The event that is quoted to the agent."""
        return self.reply_to or self.thread


class Corrected(AboutEvent, frozen=True):
    """A person edited an earlier message of theirs; `content` and `plain` are the new ones."""

    content: model.CustomerContent
    plain: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    notice: bool = False


class Withdrew(AboutEvent, frozen=True):
    """A person redacted a message, a reaction, or any other event, `target`."""


class Reacted(AboutEvent, frozen=True):
    """A person added a reaction, mostly an emoji, to a message."""

    key: str


class PollAnswered(AboutEvent, frozen=True):
    answer: str
    """Id of the answer in the poll's start event."""
    more: tuple[str, ...] = ()
    """Ids of the other answers, if several may be chosen."""


CALL = "unreadable.call"
"""Text key of the answer to a call."""


class Unreadable(FromPerson, frozen=True):
    """A person's message that cannot be carried; they are told why (text key `key`)."""

    key: str
    args: model.Args = {}


class RoomConfigured(FromPerson, frozen=True):
    """The state event `org.matrix_webchat.room`."""

    content: Raw


class EncryptionOn(msgspec.Struct, frozen=True):
    """The room has become encrypted."""

    unreadable: bool = False
    """True if the algorithm is not Megolm."""


TOMBSTONE = "m.room.tombstone"


class Upgraded(msgspec.Struct, frozen=True):
    """The room was replaced by another (tombstone), into which the bridge has to be invited."""

    into: RoomId | None = None
    """None if the room was closed without a replacement."""


class Nothing(msgspec.Struct, frozen=True):
    """An event to ignore: an echo of a bridge user, a topic, …"""


_OfMembers = AgentInvited | MemberJoined | MemberGone
OfMessages = Spoke | Corrected | Withdrew | Reacted | PollAnswered | Unreadable
RoomEvent = _OfMembers | OfMessages | RoomConfigured | EncryptionOn | Upgraded | Nothing
"""An event of a room in which the bridge is, or which it is entering."""
Meaning = Invited | RoomEvent


# --- homeserver -----------------------------------------------------------------------------------


class NoticeText(msgspec.Struct, frozen=True):
    text: str
    reply_to: EventId | None = None
    thread: EventId | None = None
    """Root event of the thread that contains `reply_to`."""
    ping: bool = False
    """True for a message, which notifies as any other does; a notice is silent."""
    mentions: tuple[UserId, ...] = ()
    """User ids for `m.mentions`: notifies them even in a room set to mentions only."""


class EditableNotice(msgspec.Struct, frozen=True):
    """A notice that later ones edit in place."""

    text: str
    edits: EventId | None = None
    """Event id of the first version, an `EditableNotice` too; None: this is the first version."""
    mentions: tuple[UserId, ...] = ()
    """User ids to notify: with them it is m.text instead of m.notice."""


MOST_ANSWERS = 20
"""Maximum answers of a poll (MSC3381)."""


class Poll(msgspec.Struct, frozen=True):
    """A question; each vote arrives as a `PollAnswered`."""

    question: str
    answers: tuple[tuple[str, str], ...]
    """(id, text)."""
    text: str
    """Fallback for clients without polls: question, answers and how to reply."""


Notice = NoticeText | EditableNotice | Poll


class RelayedMedia(msgspec.Struct, frozen=True):
    kind: str
    """`image`, `file`, `voice` or `video`."""
    blob: Blob
    seconds: float | None = None


class Part(msgspec.Struct, frozen=True):
    """One of the events into which an agent's message was split, and the start of its text."""

    event_id: EventId
    text: str = ""


Relayed = frames.AgentText | RelayedMedia | frames.AgentLocation
"""Agent's content: text as received (the matrix ring sanitises it), file to upload, or location."""


class Entry(msgspec.Struct, frozen=True):
    """State of a room when the host joined it."""

    earlier: tuple[Raw, ...]
    """Readable message events from before the host joined, oldest first, raw."""
    found: Entered
    """The state, with an empty `order`."""


class Status(msgspec.Struct, frozen=True):
    """Delivery status of a person's message."""

    event_id: EventId
    network: str
    """State key of the bridge's `m.bridge` event."""
    why: str = ""
    """Text key of the reason for the failure; empty: it was delivered."""
    again: bool = False
    """Whether a retry may succeed."""


class Recorded(msgspec.Struct, frozen=True):
    event_id: EventId
    sender: UserId
    at: int
    """`origin_server_ts`, ms since the epoch: by the clock of the sender's homeserver."""
    content: model.CustomerContent | None = None
    """None if it was redacted (`withdrawn`), or is of an unsupported kind."""
    words: str = ""
    """Text, or a file's caption."""
    withdrawn: bool = False
    replaces: EventId | None = None
    """Event id of the message that this one edits."""
    reply_to: EventId | None = None


class MatrixPort(Protocol):
    """The homeserver. Of network errors, methods raise only Unavailable and Refused."""

    async def find_markers(self, room_id: RoomId, reader: UserId, since: int) -> None:
        """Find the bridge's events in a room since then (ms), so that they are not sent twice."""

    def is_ours(self, user_id: str) -> bool:
        """True for a bridge user: bot, queue user or ghost."""

    def serves(self, user: UserId) -> bool:
        """False for a bot or queue user whose account turned out to be somebody else's."""

    async def open(
        self, raw: Raw, patience: float | None = None, *, ask: bool = True
    ) -> Raw | Undecryptable:
        """Decrypt an event; returns `raw` itself if it is not encrypted.

        Every event has to pass here before `interpret`. `patience`: seconds to wait for a missing
        key; None: do not wait. `ask`: whether homeservers may be asked to whom the key belongs,
        which may take long. Raises StoreError, as the database holds the keys.
        """

    def invalidate(self, raw: Raw) -> None:
        """Invalidate cached members and encryption by a state event, before it is handled."""

    async def limit_to(self, ours: Callable[[str], bool]) -> None:
        """Serve only these rooms from now on, and read the key mailboxes of only these hosts.

        Caches of other ids are dropped; what must not be lost is saved when this returns.
        """

    def forget(self, rooms: Collection[RoomId], person: UserId | None = None) -> None:
        """Drop the keys of these rooms, or of a person, from memory, as they are being erased."""

    def interpret(self, raw: Raw) -> Meaning:
        """Interpret an event. Pure, and never raises: malformed events are `Unreadable`."""

    async def enter(
        self, room_id: RoomId, host: UserId, inviter: UserId, *, encrypt: bool = False
    ) -> Entry:
        """Join as `host` and read the state; `encrypt`: encrypt a room that is not public."""

    async def leave(self, room_id: RoomId, who: UserId, reason: str = "") -> None:
        """Leave, or decline an invitation, with a reason; not being a member is no error."""

    async def event(self, room_id: RoomId, reader: UserId, event_id: EventId) -> Raw | None:
        """Return an event as the homeserver has it; None if it shows the reader none."""

    async def is_hidden(self, room_id: RoomId, reader: UserId, event_id: EventId) -> bool:
        """Whether the homeserver shows an event, which it has pushed, to nobody in the room."""

    async def power_levels(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> dict[UserId, float]:
        """Return the users' power levels; infinite for a creator of a version-12 room."""

    async def show_panel(
        self,
        room_id: RoomId,
        host: UserId,
        url: str,
        name: str,
        former: tuple[RoomId, UserId] | None = None,
    ) -> None:
        """Put the room page into the room as a widget; Refused if the host may not.

        `former`: do so only if that room has the widget, as read by this bridge user.
        """

    async def is_replaced(self, room_id: RoomId, reader: UserId) -> bool:
        """True if the room was upgraded: an `m.room.tombstone` names its replacement."""

    async def host_in(self, room_id: RoomId) -> UserId | None:
        """Return the bot or queue user that is a member of the room; None if none is."""

    async def is_muted(self, room_id: RoomId, host: UserId, *, encrypted: bool) -> bool:
        """True if the power level of `host` is too low to send messages into the room."""

    async def configuration(self, room_id: RoomId, reader: UserId) -> Raw | None:
        """Content of the state event `org.matrix_webchat.room`; None if there is none."""

    async def configure(self, room_id: RoomId, sender: UserId, content: Raw) -> None:
        """Write the state event `org.matrix_webchat.room`; Refused if `sender` may not."""

    async def show_bridge(self, room_id: RoomId, host: UserId, key: str, content: Raw) -> None:
        """Write the state event `m.bridge` with this state key; Refused if `host` may not.

        Unchanged content is not written, nor read again while it is in the cache.
        """

    async def say(
        self, room_id: RoomId, sender: UserId, notice: Notice, txn_id: str
    ) -> EventId: ...

    async def tell_status(
        self, room_id: RoomId, sender: UserId, status: Status, txn_id: str
    ) -> EventId:
        """Send `com.beeper.message_send_status`, unencrypted: it quotes no message."""

    async def name_service_members(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> None:
        """Name bridge users as service members (MSC4171), so that clients still see a direct chat.

        A refusal by the room is no error.
        """

    async def welcome_agent(
        self, room_id: RoomId, host: UserId, agent: Agent, icon: Blob | None, icon_source: str
    ) -> UserId:
        """Register the agent's ghost, set its name and avatar, and join it to the room."""

    async def step_in(
        self, room_id: RoomId, ghost: UserId, notice: NoticeText, txn_id: str
    ) -> None:
        """Join as an invited ghost, and say this if nobody but the inviter is there; do nothing
        if that was done a moment ago.

        Refused for a ghost that the bridge has not made: a stranger chose its user id.
        """

    async def icon_known(self, agent: Agent, icon_source: str) -> bool:
        """True if the ghost's avatar was lately fetched from that URL: do not fetch it again."""

    def ghost_of(self, agent: Agent, enterprise: str = "") -> UserId:
        """Return an agent's user; `enterprise`: another one than that of this adapter."""

    def pieces(
        self, fragment: str, absolute: Callable[[str], str]
    ) -> tuple[frames.AgentText | frames.AgentMedia, ...]:
        """Split an agent's HTML into texts and pictures, in order; at least one."""

    async def relay(
        self,
        room_id: RoomId,
        host: UserId,
        agent: Agent,
        what: Relayed,
        txn_id: str,
        *,
        thread: Thread | None = None,
        mentions: tuple[UserId, ...] = (),
    ) -> tuple[Part, ...]:
        """Send an agent's message as its ghost, which joins the room if it has to.

        A long text becomes several events, returned in order. A location must name its map, which
        decides the datum. Where the ghost is refused, `host` sends under the agent's name.
        `mentions`: see `NoticeText`.
        """

    def download(self, media: model.CustomerMedia, limit: int) -> AbstractAsyncContextManager[Blob]:
        """Open a customer's file; TooBig if the homeserver states more than `limit` bytes."""

    async def show_typing(self, room_id: RoomId, who: UserId, seconds: float) -> None:
        """Show a bridge user as typing for that time; 0 stops it. Failures are harmless."""

    async def mark_read(self, room_id: RoomId, who: UserId, event_id: EventId) -> None:
        """Set a bridge user's read receipt to this event. It may fail, and can be repeated."""

    async def react(
        self, room_id: RoomId, sender: UserId, target: EventId, sign: str, txn_id: str
    ) -> EventId:
        """React to an event with one emoji."""

    async def decline(
        self, room_id: RoomId, sender: UserId, report: model.Reported, txn_id: str
    ) -> None:
        """Decline a request to verify `sender`, or a call; nothing for one that does not ring."""

    async def send_file(
        self, room_id: RoomId, sender: UserId, file: Blob, txn_id: str, caption: str = ""
    ) -> EventId:
        """Send a file with a caption."""

    async def redact(self, room_id: RoomId, who: UserId, event_id: EventId, txn_id: str) -> None:
        """Redact an event; Refused if `who` may not."""

    def timeline(
        self, room_id: RoomId, reader: UserId, first: EventId, who: UserId, since: int
    ) -> AsyncGenerator[Raw, None]:
        """The room's events from `first` on, oldest first, not decrypted (see `open`).

        If the homeserver has purged `first`: those that are left since `since` (ms). Refused: there
        are none, or it does not show them to `reader`; UNSEEN: nor to `who` (empty: nobody), who
        came later.
        """

    def recorded(self, raw: Raw) -> Recorded | None:
        """Read a decrypted event for a transcript; None if it is no message. Never raises."""


class LinkState(msgspec.Struct, frozen=True):
    """State of a room's link, as shown to people."""

    room_id: RoomId
    state: Literal["up", "opening", "waiting"]
    """`waiting`: it failed, and is retried later."""
    since: int
    """When it came up or was lost, ms since the epoch."""
    why: str = ""
    """Why it is down; empty if there was no error."""
    enterprise: str = ""
    """The call centre, by its id in the configuration."""


class Others(Protocol):
    """The other processes that share the rooms; each room is owned by one process."""

    async def pass_on(self, inputs: Sequence[NewInput], now: int) -> int:
        """Store inputs for the owners of their rooms, notify these, and return how many were new.

        Raises:
            StoreError: none was stored; Unstorable if one of them never can be.
        """

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        """Tell the room's owner who is typing there."""


class Clock(Protocol):
    """Time source, replaced in tests."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    async def sleep(self, seconds: float) -> None: ...
