"""Settings of a WebChat server: those of the operator, and its detected capabilities (`Learnt`).

Two facts about its dialect are detected:

* The *revision*: a 200, an rsId or a list of `users` proves a server later than 2016, which gets
  heartbeats, typing notices and the later keys.
* The *keys* of 110 and 104: if a server refuses one set and accepts the other, that decides,
  whatever the revision. Refusals over keys are -14; -17 unless the text is blank; and -8 and -100
  as long as this server has not been seen to read these keys.

While nothing is known, texts and ratings are written with both sets of keys. If the operator
configures a dialect, it is used: pushes change nothing, and what a refusal proves holds until the
next start. With `auto` both are stored as facts of the server. So are the kind of upload body that
it accepts, and the maximum frame length once it has closed a link over a longer frame (close 1009,
trap T23). New knowledge applies at once; `run` stores it, so that no socket waits for the database.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import structlog

from bridge import __version__
from bridge.config.model import WebChat
from bridge.ids import RoomId
from bridge.rooms.ports import Clock, tls_context
from bridge.rooms.store import Facts, StoreError, Token
from bridge.webchat import frames
from bridge.webchat.codes import Dialect, ResultCode, UploadMode, meaning
from bridge.webchat.http import Endpoints
from bridge.webchat.words import is_unseen

USER_AGENT = f"matrix-webchat-bridge/{__version__}"
"""Own name, since firewalls reject those of HTTP libraries."""
MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FRAME_OVERHEAD = 600
"""Bytes of a 110 or 111 frame besides its text: keys, ids, and a generously long token."""
SHORTEST_TEXT = 200
"""Minimum bytes for text in a frame, whatever the frame limit."""
TOMCAT_LIMIT = 8000
"""Bytes that fit into the default text buffer of the vendor's server (8,192), with a margin; the
first limit tried if longer frames were allowed."""
LEAST_FRAME = 1024
"""Minimum of the frame limit, in bytes; a 1009 after a frame this short has another cause."""
UNANSWERED_BEATS = 3
"""Unanswered heartbeats in a row, none ever answered, that prove that the server lacks them."""
SAVE_AGAIN = 5.0
"""Seconds between two attempts to store facts."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Timeouts and pauses of links, in seconds."""

    connect: float = 30.0
    """Timeout of a call waiting for its link to open, login included."""
    handshake: float = 10.0
    """Timeout of opening a socket."""
    reply: float = 20.0
    """Timeout of the reply to a command (row 17)."""
    mute: float = 60.0
    """The same for a message, a pre-message and a rating, which a slow server must not get twice.
    After it the link is dropped, and they are sent again on the next one (row 33). Also of the
    answer to a login, which counts for the blacklist, and to an upload, which takes time."""
    upload: float = 600.0
    """Timeout of an upload or download of a file."""
    ping_after: float = 30.0
    """Silence before a ping (row 36)."""
    ping_wait: float = 15.0
    """Silence after a ping or a heartbeat that ends the link."""
    dialect_wait: float = 1.5
    """Time that the first 110 or 104 on a new link waits for a push that shows the server's
    dialect, while that is unknown (protocol reference 5)."""
    settle: float = 2.0
    """Timeout of the ping that tests a new link before commands are written; after it the link is
    used anyway. Also of other commands' replies once the server has refused the token, and of the
    reply to a 101 once the chat has begun."""
    stable: float = 10.0
    """Uptime after which a lost link is opened again soon, as is one that answered a command."""
    close: float = 2.0
    """Timeout of the closing handshake."""
    release: float = 10.0
    """Time that an unused link stays up."""
    backoff_first: float = 1.0
    backoff_last: float = 60.0
    turn_noticed: float = 5.0
    """Time in the login queue after which the customer is told."""
    turn_again: float = 15.0
    """Minimum time between two such notices …"""
    turn_share: float = 0.05
    """… and as a share of the remaining wait, since a long queue is costly to compute."""
    session_grace: float = 600.0
    """Time without a link after which the customer is told, even if not waiting for it (row 34)."""
    refusal: float = 3600.0
    """Time after a refused login without a retry by the bridge itself (reference 3.7)."""
    refusal_first: float = 60.0
    """The same for a retry by a customer's action; doubled with each refusal …"""
    refusal_last: float = 600.0
    """… up to this."""
    disowned: float = 600.0
    """Minimum time between two logins made because the server does not know the account (-6)."""
    blacklist: float = 600.0
    """Pause of all logins once the server seems to have blacklisted the bridge."""
    token_age: float = 23 * 3600.0
    """Age at which a token is renewed at the next (re)connect; the server's limit is 24 h."""


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """Settings of one WebChat server: its section of the config, and values not configurable."""

    server: WebChat
    enterprise: str = ""
    """Enterprise id for log lines."""
    mark: str = ""
    """Distinguishes its stored facts and tokens from other enterprises'; "" for the first one."""
    neighbours: int = 1
    """Number of enterprises, this one included, that share the rate limit of this login URL."""
    unseal: Callable[[RoomId, bytes], str] | None = None
    """Unseals the password of a customer's own account, sealed for the room; raises StoreError.
    None if such accounts are not used."""
    max_incoming_bytes: int = 16 * 1024 * 1024
    """Maximum bytes of a frame from the server; agents' pictures come as base64."""
    reconnect_limit: int = 100
    """Maximum number of sockets being opened at the same time."""
    at_once: int = 1000
    """Maximum number of pushes being stored at a time, and so in one turn of the event loop; lower
    if there are other servers, so that their pushes do not wait long behind a burst."""
    timing: Timing = field(default_factory=Timing)

    @property
    def tags(self) -> dict[str, str]:
        """Fields for each log line."""
        return {"enterprise": self.enterprise} if self.enterprise else {}

    def fact(self, what: str) -> str:
        name = f"{what} {Endpoints(self.server.base_url).login}"
        return f"{name} {self.mark}" if self.mark else name


def unverified(server: WebChat) -> str:
    """Return a warning if certificates are not verified, else ""."""
    if server.verify_ssl or server.base_url.startswith("http:"):
        return ""
    return "webchat.verify_ssl is false: anyone on the network path can read and change everything"


def trusted_by(server: WebChat) -> ssl.SSLContext:
    """Make the TLS context for the server; ValueError if `ca_file` cannot be used."""
    context = tls_context(verify=server.verify_ssl)
    trust(context, server.ca_file)
    return context


def trust(context: ssl.SSLContext, ca_file: str) -> None:
    """Add the certificates of `ca_file`, if there is one; ValueError if it cannot be used."""
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
    except OSError as error:
        why = "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"ca_file cannot be used: {ca_file}: {why}") from error


class TokenStore(Protocol):
    """Keeps tokens over a restart, since logins are rate-limited; raises StoreError."""

    async def token(self, room_id: RoomId) -> Token | None: ...
    async def save_token(self, token: Token) -> None: ...
    async def forget_token(self, room_id: RoomId) -> None: ...


Pushed = frames.Received | frames.Ignored | Callable[[], object]
"""A push, an ignored frame that needs a receipt, or what is to be called after those before it."""


class PushReader(Protocol):
    """Takes what a socket reads; neither method blocks or raises."""

    def push(self, received: Pushed, size: int) -> None:
        """Take the next of them, of `size` bytes in memory."""

    def unreadable(self) -> None:
        """Note that a frame could not be read: it may have been an agent's message."""


class LinkMetrics(Protocol):
    """Counters of links; the result of a login is None if it got no readable answer."""

    def logged_in(self, result: int | None) -> None: ...
    def opened(self, *, again: bool) -> None: ...
    def closed(self) -> None: ...
    def open_failed(self) -> None: ...


# --- detected capabilities ------------------------------------------------------------------------


class Feature(StrEnum):
    """A feature that a server may lack; tried again after a restart of the bridge."""

    HEARTBEAT = "heartbeat"
    TYPING = "typing"
    HISTORY = "history"
    LONG_VOICE = "long voice"
    """A voice message with the URL of its sound."""


class Learnt:
    """Capabilities of a server, shared by all its links."""

    def __init__(self, settings: LinkSettings, facts: Facts, clock: Clock) -> None:
        server = settings.server
        self._wanted = None if server.dialect == "auto" else Dialect(server.dialect)
        """Configured dialect; None if it is to be detected (`auto`)."""
        self._most = server.max_frame_bytes
        self._facts = facts
        self._clock = clock
        self._fact = settings.fact
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger(**settings.tags)
        self._later = self._wanted is Dialect.Y2019
        self._keys: Dialect | None = None
        self._missing: set[Feature] = set()
        self._beats_missed: int | None = 0
        """Number of unanswered heartbeats; None once one was answered."""
        self.upload_mode = UploadMode.AUTO
        """Kind of upload body that was accepted; AUTO if none was yet."""
        self._unsaved: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.read: set[Dialect] = set()
        """Keys that the server has accepted in this run, or must know, judging by its pushes; its
        refusals then have other causes. Refusals of earlier runs are not counted, as a server may
        have been replaced."""
        self.longest_frame = self._most
        """Maximum bytes of a frame to the server."""
        self._conclude()

    def _conclude(self) -> None:
        """Derive how to write commands, as plain attributes, which every message reads."""
        self.known = self._wanted is not None or self._later or self._keys is not None
        """True once the dialect is certain."""
        self.keys = self._keys or self._wanted or (Dialect.Y2019 if self._later else Dialect.DUAL)
        """Dialect of the next command."""
        room = self.longest_frame - FRAME_OVERHEAD
        self.longest_clip = max(SHORTEST_TEXT, room)
        """Maximum bytes of a voice message in one frame; every dialect writes it once."""
        if self.keys is Dialect.Y2016_11:  # the first guides have a URL in its place
            self.longest_clip = 0
        once = room // 2 if self.keys is Dialect.DUAL else room
        self.longest_text = max(SHORTEST_TEXT, once)
        """Maximum bytes of a text, escaped as JSON, in one frame; dialect `dual` writes it twice.
        May shrink while the bridge runs."""

    async def load(self) -> None:
        """Load the facts of earlier runs; if the store is down, they are detected again."""
        names = ("dialect", "keys", "longest_frame", "upload_mode")
        try:
            facts = [await self._facts.fact(self._fact(name)) for name in names]
        except StoreError as error:
            self._log.warning("facts of the webchat server not loaded", error=str(error))
            return
        dialect, keys, frame, mode = facts
        if self._wanted is None:
            self._keys = Dialect(keys) if keys in (Dialect.Y2016, Dialect.Y2019) else None
            self._later = Dialect.Y2019 in (dialect, keys)
            self.read = {Dialect.Y2019} if dialect == Dialect.Y2019 else set()
        if mode in (UploadMode.RAW, UploadMode.MULTIPART):
            self.upload_mode = UploadMode(mode)
        longest, _, most = (frame or "").partition("/")
        # Void if `max_frame_bytes` has changed since, so that an operator can raise the limit.
        if longest.isdecimal() and most == str(self._most):
            self.longest_frame = int(longest)
        self._conclude()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while not await self.save():
                await self._clock.sleep(SAVE_AGAIN)

    async def save(self) -> bool:
        """Store unsaved facts; return False if that failed."""
        for name, value in list(self._unsaved.items()):
            try:
                await self._facts.save_fact(name, value)
            except StoreError as error:
                self._log.warning("fact of the webchat server not stored", error=str(error))
                return False
            if self._unsaved.get(name) == value:
                del self._unsaved[name]
        return True

    def _remember(self, what: str, value: str) -> None:
        self._unsaved[self._fact(what)] = value
        self._changed.set()

    def refuses(self, keys: Dialect, command: frames.Command, reply: frames.Reply) -> bool:
        """Return True if the server may accept this command with other keys."""
        match reply.result, command:
            case ResultCode.INVALID_PARAMETER, _:
                return has_keys(command)
            case ResultCode.EMPTY_MESSAGE, frames.SendMessage(content=frames.Text(text=text)):
                return not is_unseen(text)  # a server that read a blank text may call it empty
            case ResultCode.EMPTY_MESSAGE, _:
                return tells_keys_apart(command)
            case ResultCode.REQUEST_ERROR | ResultCode.INTERNAL_ERROR, _:
                return tells_keys_apart(command) and keys not in self.read
            case _:
                return False

    def refuses_voice(self, command: frames.Command, reply: frames.Reply) -> bool:
        """Return True if a voice message with a URL was refused; the next one is sent as a file."""
        voice = command.content if isinstance(command, frames.SendMessage) else None
        if not (isinstance(voice, frames.Voice) and voice.uri) or meaning(reply.result).passing:
            return False
        if reply.result != ResultCode.INVALID_CHAT_SESSION_ID:
            self.has_not(Feature.LONG_VOICE)
        return True

    def saw_later(self) -> None:
        """Note a push that only later servers send."""
        if self._later:
            self.read.add(Dialect.Y2019)
            return
        self._later = True
        self.read = {Dialect.Y2019}  # the server may have been replaced just now
        self._conclude()
        if self._wanted is None:
            self._log.info("webchat server is of a later revision", dialect=self.keys)
            self._remember("dialect", Dialect.Y2019)

    def took(self, keys: Dialect, *, after_refusal: bool) -> None:
        """Note that the server accepted a text or a rating with these keys."""
        self.read.add(keys)
        if not after_refusal or self._keys is keys:
            return
        self._keys = keys
        self._later = self._later or keys is Dialect.Y2019
        self._conclude()
        if self._wanted is None:
            self._log.info("webchat server accepts the keys of another dialect", keys=keys)
            self._remember("keys", keys)
        else:
            event = "webchat server refuses the configured dialect; set webchat.dialect"
            self._log.warning(event, configured=self._wanted, takes=keys)

    def took_file(self, mode: UploadMode) -> None:
        """Note that the server accepted a file in another kind of body than known."""
        self.upload_mode = mode
        self._log.info("webchat upload mode found", mode=mode)
        self._remember("upload_mode", mode)

    def has(self, feature: Feature) -> bool:
        """Return whether to try a feature. A configured 2016 allows only that guide's commands; a
        configured `dual` sends typing notices without proof of a later server.
        """
        if feature in self._missing:
            return False
        if feature is Feature.HISTORY:  # over HTTP, and harmless if unknown
            return True
        if feature is Feature.LONG_VOICE:
            return self.keys in {Dialect.Y2019, Dialect.Y2016_11}
        if self._later and self._wanted not in {Dialect.Y2016, Dialect.Y2016_11}:
            return True
        return feature is not Feature.HEARTBEAT and self._wanted is Dialect.DUAL

    def has_not(self, feature: Feature) -> None:
        if feature not in self._missing:
            self._missing.add(feature)
            self._log.info("webchat server lacks a feature", feature=feature)

    def beat(self, *, answered: bool) -> None:
        """Count unanswered heartbeats: a server without them must not cost a link every minute."""
        if answered:
            self._beats_missed = None
        elif self._beats_missed is not None:
            self._beats_missed += 1
            if self._beats_missed >= UNANSWERED_BEATS:
                self.has_not(Feature.HEARTBEAT)

    def too_long(self, size: int) -> None:
        """Lower the frame limit: the server closed a link over a frame of `size` bytes."""
        longest = TOMCAT_LIMIT if size > TOMCAT_LIMIT else max(LEAST_FRAME, size // 2)
        if longest >= self.longest_frame:
            return
        self.longest_frame = longest
        self._conclude()
        self._log.warning(
            "webchat server closed a link over a long frame", size=size, limit=longest
        )
        self._remember("longest_frame", f"{longest}/{self._most}")


def has_keys(command: frames.Command) -> bool:
    """Return True for the commands whose keys depend on the dialect: 110 and 104."""
    return isinstance(command, frames.SendMessage | frames.RateSession)


def tells_keys_apart(command: frames.Command) -> bool:
    """Return True for texts and ratings, whose keys differ in each dialect (reference 5). Others
    differ only in empty keys that are left out, which proves nothing about texts.
    """
    if isinstance(command, frames.SendMessage):
        return isinstance(command.content, frames.Text)
    return isinstance(command, frames.RateSession)


def other_keys(command: frames.Command, keys: Dialect) -> tuple[Dialect, ...]:
    """Return the key sets to try for a command that was refused with `keys`, best first."""
    if keys is Dialect.DUAL and not tells_keys_apart(command):
        return (Dialect.Y2019,)  # DUAL and Y2016 are the same for it
    return keys.others
