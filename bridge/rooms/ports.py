"""Ports: the interfaces of homeserver, call centre and clock that the rooms need.

The adapters translate every foreign exception into the four classes below.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from bridge.conversation.model import (
    CustomerContent,
    CustomerMedia,
    FailureReason,
    LinkLost,
    LinkRestored,
    TurnAwaited,
)
from bridge.ids import CallId, EventId, RoomId, SessionId, UserId
from bridge.rooms.record import Entered, Meaning, OwnLogin, Raw, Thread, Undecryptable
from bridge.rooms.store import NewInput
from bridge.webchat import frames
from bridge.webchat.frames import Agent, Command, Received, Reply
from bridge.webchat.http import HistoryEntry, RobotReply


class Unavailable(Exception):
    """The peer is out of reach or overloaded: try again, after `retry_after` seconds if told."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def describe(error: BaseException) -> str:
    """A foreign network error in words, without its own, which may quote a URL and so a token."""
    if isinstance(error, TimeoutError) and not error.strerror:
        return "no answer in time"
    name = type(error).__name__
    refused = getattr(error, "certificate_error", error)  # aiohttp's way to wrap it
    if isinstance(refused, ssl.SSLCertVerificationError):
        return f"{name}: {refused.verify_message}"  # names the host at most
    broken = getattr(error, "os_error", error)  # so too
    if isinstance(broken, ssl.SSLError) and broken.reason:
        return f"{name}: {broken.reason}"
    if isinstance(error, OSError) and error.strerror:
        # asyncio puts its own words in place of the system's; below 0 it is about names.
        number = error.errno or 0
        return f"{name}: {os.strerror(number) if number > 0 else error.strerror}"
    return name


def tls_context(*, verify: bool) -> ssl.SSLContext:
    """The TLS context for a peer, with the system's authorities or those of `SSL_CERT_FILE`.

    Not "strict", as Python is by itself since 3.13: that refuses most authorities that people make
    for themselves, since `openssl req` writes no key usage into them.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


CHANGED_FILE = "M_BAD_FILE"
"""Our own code for an encrypted file that is not what its sender encrypted."""


class Refused(Exception):
    """The peer said no, and will again; `code` is its own (`M_FORBIDDEN`, `-16`, `403`)."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code} {message}".strip())
        self.code = code


class Despite:
    """Context of a call behind which one goes on, also if it is refused with one of these codes."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: object, _traceback: object) -> bool:
        return isinstance(error, Refused) and error.code in self._codes


SHUT_OUT = frozenset({"M_FORBIDDEN", "M_BAD_STATE"})
"""The room does not let a user in: not invited, or banned."""


class CallFailure(Exception):
    """A WebChat call or upload came to nothing; `certain`: it has not arrived."""

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
        """Bytes, where the content exceeds a limit that is known."""


class TooBig(Exception):
    """A file exceeds the limit that was set for it."""


class Account(msgspec.Struct, frozen=True):
    room_id: RoomId
    customer: UserId
    displayname: str
    login: OwnLogin | None = None
    """The customer's own account; None: as the operator's config says."""
    key: str = ""
    """Stands for the room in login names; empty: see `RoomRecord.key`."""
    running: bool = False
    """A chat is going on, or the customer is in a queue of the call centre's: nobody new."""


class Blob(msgspec.Struct, frozen=True):
    """A file on its way through us; read once, never whole in memory."""

    chunks: AsyncIterator[bytes]
    """Raises TooBig past the limit, Unavailable when the source breaks off."""
    size: int | None
    """Bytes, when the source says so."""
    mime: str
    name: str = ""

    @classmethod
    def of(cls, data: bytes, mime: str = "", name: str = "") -> Blob:
        """A file that is at hand."""

        async def whole() -> AsyncIterator[bytes]:
            yield data

        return cls(whole(), len(data), mime, name)


class LinkPort(Protocol):
    """WebChat: one link (login, token, socket) per room that is being served.

    Whatever asks the call centre raises CallFailure; but for `call` it is certain.
    """

    async def call(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
    ) -> Reply:
        """Send a command and return its reply; `before_write` is awaited right before the bytes go.

        Opens the link when it is not up. A reply of -15 is healed once inside (new login, same
        command again). A CallFailure says whether it may have arrived (`certain`).
        """

    def call_now(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        done: Callable[[Reply | CallFailure], None],
    ) -> bool:
        """Write a command before returning, if nothing is in the way; False: `call` it.

        It must be stored as attempted. `done` is told later what `call` would return or raise; it
        must not raise.
        """

    async def upload(self, account: Account, blob: Blob) -> str:
        """Upload a file and return its absolute address.

        After a CallFailure of INVALID_TOKEN a login is under way, and another try may follow.
        """

    def fetch(self, url: str, limit: int) -> AbstractAsyncContextManager[Blob]:
        """Open a file that an agent sent, from the server's own origin or an allowed host.

        Refused: the host is not allowed, or the server has no such file. Unavailable: it did not
        answer. TooBig: it says that it is longer than `limit` bytes.
        """

    def absolute(self, address: str) -> str:
        """Absolute form of a server's address that may be relative; "" stays ""."""

    def icon_url(self, icon: str, queue_id: int | None) -> str:
        """The absolute address of an agent's picture, or "" (reference 3.9)."""

    def keep(self, account: Account) -> None:
        """Keep this room's link up from now on, through every loss."""

    async def leave(self, rooms: Collection[RoomId]) -> None:
        """Close the links of these rooms at once, without a logout: they go on elsewhere.

        What was read from them is still told to the engine.
        """

    def release(self, room_id: RoomId) -> None:
        """Close a link that is no longer wanted, once nothing is under way.

        A call that still waits for it to open fails, for certain, with NO_TURN; a login that waits
        for its turn is not made.
        """

    def typing(self, room_id: RoomId, session_id: SessionId) -> None:
        """Show the agent that the customer is typing (113), if link and server let us.

        Returns at once and never raises; at most one in 5 s reaches the agent.
        """

    async def log_in(self, account: Account) -> None:
        """Try the customer's own account, and keep the token if the server takes it."""

    async def history(self, account: Account, count: int) -> tuple[HistoryEntry, ...] | None:
        """The customer's last messages, newest last, at most `count` (and 100); None: none kept.

        Opens the link when it is not up, and may wait half a minute for its turn: requests share
        the limit of logins (reference 3.7). A CallFailure of NO_TURN or UNREACHABLE may pass.
        """

    async def ask_robot(self, question: str) -> RobotReply:
        """Ask the knowledge base, whose reply may be empty. Needs no link.

        CallFailures: TOO_BIG above 1,000 characters, SIGN_REFUSED for a wrong key, REFUSED and
        UNREACHABLE.
        """


class LinkEvents(Protocol):
    """News of links, for the engine, which implements it."""

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        """Store a push, told by a unique key (receipt id and digest, or our start and an ordinal).

        Returns when it is durable: only then may a receipt be sent.
        """

    async def fared(self, room_id: RoomId, how: LinkRestored | LinkLost | TurnAwaited) -> None:
        """Hear how a link that is wanted fares; of a login's turn again from time to time."""


# --- homeserver -----------------------------------------------------------------------------------


class NoticeText(msgspec.Struct, frozen=True):
    text: str
    reply_to: EventId | None = None
    thread: EventId | None = None
    """The root of the thread in which `reply_to` is."""
    ping: bool = False
    mentions: tuple[UserId, ...] = ()
    """For `m.mentions`: their phones ring, also in a room where only mentions ring."""


class EditableNotice(msgspec.Struct, frozen=True):
    """A sentence of ours that later ones replace in place: the first is written so, too."""

    text: str
    edits: EventId | None = None
    """The first version, an `EditableNotice` too; None: this is the first."""


Notice = NoticeText | EditableNotice


class RelayedMedia(msgspec.Struct, frozen=True):
    """An agent's file, ready to be uploaded to the homeserver."""

    kind: str
    """`image`, `file`, `voice` or `video`."""
    blob: Blob
    seconds: float | None = None


class Part(msgspec.Struct, frozen=True):
    """One event that an agent's message became, and the beginning of what it says."""

    event_id: EventId
    text: str = ""


Relayed = frames.AgentText | RelayedMedia | frames.AgentLocation
"""An agent's words, as they came: the matrix ring cleans them. A file, ready for the homeserver."""


class Entry(msgspec.Struct, frozen=True):
    """State of a room at the moment when it was entered."""

    earlier: tuple[Raw, ...]
    """Message events sent before we joined that we may read, oldest first, raw."""
    found: Entered
    """Without `order`."""


class Poll(msgspec.Struct, frozen=True):
    """A question of ours with its answers: (id, text)."""

    question: str
    answers: tuple[tuple[str, str], ...]
    text: str
    """All of it for clients without polls, and what to do there."""


class Status(msgspec.Struct, frozen=True):
    """What became of a person's message."""

    event_id: EventId
    network: str
    """The bridge, as state key of `m.bridge`."""
    why: str = ""
    """Key of the sentence that says why it failed; empty: it was delivered."""
    again: bool = False
    """It may do better the next time."""


class Recorded(msgspec.Struct, frozen=True):
    event_id: EventId
    sender: UserId
    at: int
    """When its homeserver got it, ms since the epoch; as true as that server's clock."""
    content: CustomerContent | None = None
    """None: it was taken back (`withdrawn`), or is of a kind that has no words."""
    words: str = ""
    """Its text, or a file's caption."""
    withdrawn: bool = False
    replaces: EventId | None = None
    """The earlier message of which this is the newer wording."""
    reply_to: EventId | None = None


class MatrixPort(Protocol):
    """The homeserver. Every method raises Unavailable or Refused, and nothing else foreign."""

    async def look_back(self, room_id: RoomId, reader: UserId, since: int) -> None:
        """Find what we have sent to a room since then (ms): it is not sent again."""

    def is_ours(self, user_id: str) -> bool:
        """Bot, queue user or ghost."""

    def serves(self, user: UserId) -> bool:
        """False for a bot or a queue user that was found to be somebody else's account."""

    async def open(
        self, raw: Raw, patience: float | None = None, *, ask: bool = True
    ) -> Raw | Undecryptable:
        """An event as its sender wrote it: `raw` itself, if it is not encrypted.

        Every event has to pass here, before `interpret`. `patience`: seconds to wait for a missing
        key; None: do not wait. `ask`: False: ask no homeserver whose the key is, which may take
        long. Raises StoreError, as the database holds the keys.
        """

    def heard(self, raw: Raw) -> None:
        """Heed who has joined or left by an event that is not encrypted, before its turn comes."""

    async def limit_to(self, ours: Callable[[str], bool]) -> None:
        """Serve these rooms alone from now on, and read the keys of these users, by their ids.

        What is known of others is forgotten; what must not be is written when this returns.
        """

    def forget(self, rooms: Collection[RoomId], person: UserId | None = None) -> None:
        """Let go, in memory, of the keys of these rooms, or of a person's: they are erased."""

    def interpret(self, raw: Raw) -> Meaning:
        """Interpret an event. Pure, and never raises: hostile events are `Unreadable`."""

    async def enter(
        self, room_id: RoomId, host: UserId, inviter: UserId, *, encrypt: bool = False
    ) -> Entry:
        """Join as `host` and look around; `encrypt`: a private room, if the host may do that."""

    async def leave(self, room_id: RoomId, who: UserId, reason: str = "") -> None:
        """Leave, or refuse an invitation, and say why; not being a member is no error."""

    async def power_levels(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> dict[UserId, float]:
        """The users' levels in the room; infinite for a creator of a version-12 room."""

    async def show_panel(
        self,
        room_id: RoomId,
        host: UserId,
        url: str,
        name: str,
        former: tuple[RoomId, UserId] | None = None,
    ) -> None:
        """Put the room page into the room as a widget; Refused: the host may not do that.

        `former`: only if it stands in that room, where this user of ours is or was.
        """

    async def is_replaced(self, room_id: RoomId, reader: UserId) -> bool:
        """True if the room says of itself that another has taken its place (`m.room.tombstone`)."""

    async def configuration(self, room_id: RoomId, reader: UserId) -> Raw | None:
        """Content of the state event `org.matrix_webchat.room`; None: the room has none."""

    async def configure(self, room_id: RoomId, sender: UserId, content: Raw) -> None:
        """Write that state event; Refused if `sender` may not."""

    async def show_bridge(self, room_id: RoomId, host: UserId, key: str, content: Raw) -> None:
        """Have the state event `m.bridge` of this key say so; Refused if `host` may not.

        What it says already is not written, and what we know it to say not even asked for.
        """

    async def say(
        self, room_id: RoomId, sender: UserId, notice: Notice, txn_id: str
    ) -> EventId: ...

    async def tell_status(
        self, room_id: RoomId, sender: UserId, status: Status, txn_id: str
    ) -> EventId:
        """Send `com.beeper.message_send_status`, in clear: it holds no words."""

    async def name_service_members(
        self, room_id: RoomId, host: UserId, users: Sequence[UserId]
    ) -> None:
        """Have clients not count these users of ours, so that a direct chat remains one to them.

        A room that does not let `host` do it is no failure.
        """

    async def welcome_agent(
        self, room_id: RoomId, host: UserId, agent: Agent, icon: Blob | None, icon_source: str
    ) -> UserId:
        """Make the agent's ghost exist with its name and picture, and be in the room."""

    async def icon_known(self, agent: Agent, icon_source: str) -> bool:
        """True if the ghost already wears the picture of that address: do not fetch it again."""

    def ghost_of(self, agent: Agent) -> UserId: ...

    def pieces(
        self, fragment: str, absolute: Callable[[str], str]
    ) -> tuple[frames.AgentText | frames.AgentMedia, ...]:
        """An agent's fragment as texts and the pictures between them, in order; at least one."""

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
        """Send an agent's message as its ghost, which is made to be in the room, into a thread.

        A long text becomes several events, which come back in order. A location has to say of whose
        map it is. Where the room does not let the ghost in, `host` says it under the agent's name.
        `mentions`: as of `NoticeText`.
        """

    def download(self, media: CustomerMedia, limit: int) -> AbstractAsyncContextManager[Blob]:
        """Open a customer's file; TooBig if the homeserver says that it is over `limit` bytes."""

    async def show_typing(self, room_id: RoomId, who: UserId, seconds: float) -> None:
        """Show one of ours as typing for so long; 0: no longer. Nothing is lost if it fails."""

    async def mark_read(self, room_id: RoomId, who: UserId, event_id: EventId) -> None:
        """Show that one of ours has read up to this event. It may fail, and be repeated."""

    async def react(
        self, room_id: RoomId, sender: UserId, target: EventId, sign: str, txn_id: str
    ) -> EventId:
        """Put a reaction (one emoji) to an event."""

    async def poll(self, room_id: RoomId, sender: UserId, poll: Poll, txn_id: str) -> EventId:
        """Ask a question; who votes is `PollAnswered`."""

    async def cancel_verification(
        self, room_id: RoomId, sender: UserId, request: EventId, txn_id: str
    ) -> EventId:
        """Say no to a request to verify `sender` (specification, "Key verification framework")."""

    async def send_file(
        self, room_id: RoomId, sender: UserId, file: Blob, txn_id: str, caption: str = ""
    ) -> EventId:
        """Send a file, with words below it."""

    async def redact(self, room_id: RoomId, who: UserId, event_id: EventId, txn_id: str) -> None:
        """Take an event's content out of the room; Refused if `who` may not."""

    def timeline(
        self, room_id: RoomId, reader: UserId, first: EventId
    ) -> AsyncGenerator[Raw, None]:
        """The room's events from `first` on, oldest first, as they came (see `open`).

        Refused: the homeserver does not have `first`, or does not show it to `reader`.
        """

    def recorded(self, raw: Raw) -> Recorded | None:
        """An opened event as a transcript shows it; None for what is no message. Never raises."""


class LinkState(msgspec.Struct, frozen=True):
    """The link of a room, for people."""

    room_id: RoomId
    state: Literal["up", "opening", "waiting"]
    """`waiting`: it failed, and is tried again later."""
    since: int
    """When it came up or went away, ms since the epoch."""
    why: str = ""
    """Why it does not stand; empty: nothing went wrong."""


class Others(Protocol):
    """The processes with which this one shares the rooms; each of these has one owner."""

    async def pass_on(self, inputs: Sequence[NewInput], now: int) -> int:
        """Store inputs for the owners of their rooms, and tell these; returns how many were new.

        Raises:
            StoreError: none was stored; Unstorable if one of them never can be.
        """

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        """Tell the room's owner who is typing there."""


class Clock(Protocol):
    """Time, so that tests can turn it."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    async def sleep(self, seconds: float) -> None: ...
