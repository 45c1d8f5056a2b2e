"""Settings of one WebChat server's links, and the ports to storage and metrics."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from bridge import __version__
from bridge.config.model import WebChat
from bridge.ids import RoomId
from bridge.rooms.ports import tls_context
from bridge.rooms.store import Token
from bridge.webchat.http import Endpoints

USER_AGENT = f"matrix-webchat-bridge/{__version__}"
"""Firewalls turn away the names of the libraries."""
MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FRAME_OVERHEAD = 600
"""Bytes of a 110 or 111 frame beside its text: keys, ids, and a token of generous length."""
SHORTEST_TEXT = 200
"""Bytes of text for which there is room in every frame."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Every wait of the link, in seconds."""

    connect: float = 30.0
    """Longest wait of a call for its link to stand, login included."""
    handshake: float = 10.0
    """Longest opening of one socket."""
    reply: float = 20.0
    """Longest wait for the answer to a command, a login or an upload (row 17)."""
    mute: float = 60.0
    """The same for a message, a pre-message and a rating: a slow server must not get them twice.
    After that the link is given up, and they are sent again on the next one (row 33)."""
    upload: float = 600.0
    """Longest upload or download of one file."""
    ping_after: float = 30.0
    """Silence after which we ping (row 36)."""
    ping_wait: float = 15.0
    """Silence after a ping or a heartbeat that ends the link."""
    dialect_wait: float = 1.5
    """While nothing is known about the server's dialect, the first 110 or 104 on a new link waits
    so long for a push that tells (protocol reference 5)."""
    hint_gap: float = 5.0
    """Least time between two typing notices (reference 1.2)."""
    settle: float = 2.0
    """A new link is tried by a ping before commands trust it; after so long it is trusted anyway.
    Also how long other commands' replies are awaited once the server has refused the token."""
    stable: float = 10.0
    """A link that stood so long was no failure: the next loss starts the backoff anew."""
    close: float = 2.0
    """Longest closing handshake."""
    release: float = 10.0
    """A link that nobody wants any more stays up so long."""
    backoff_first: float = 1.0
    backoff_last: float = 60.0
    turn_noticed: float = 5.0
    """A login that waits so long for its turn is worth a word to the customer …"""
    turn_again: float = 15.0
    """… and again so long after that, while it waits …"""
    turn_share: float = 0.05
    """… but no sooner than after this share of what is left, for a long line is costly to read."""
    session_grace: float = 600.0
    """After so long without a link the customer is told, even who waits for none (row 34)."""
    refusal: float = 3600.0
    """After a refused login nothing is tried unasked for so long (reference 3.7)."""
    refusal_first: float = 60.0
    """What a customer does may try it sooner, but not before this; each time twice as long …"""
    refusal_last: float = 600.0
    """… up to this."""
    disowned: float = 600.0
    """Least time between two logins because the server does not know our account (-6)."""
    blacklist: float = 600.0
    """Pause of all logins once the server seems to have blacklisted us."""
    token_age: float = 23 * 3600.0
    """A token older than this is renewed at the next (re)connect; the server's limit is 24 h."""


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """One WebChat server: the operator's section of the config, and what no operator chooses."""

    server: WebChat
    enterprise: str = ""
    """Whose it is, for the log."""
    mark: str = ""
    """Sets its facts and tokens apart from others'; "": the only one, or the first."""
    neighbours: int = 1
    """Enterprises that log in at this very address, this one among them: they share its limit."""
    unseal: Callable[[RoomId, bytes], str] | None = None
    """Opens the password of a customer's own account, as it was sealed for the room; raises
    StoreError. None: such accounts are not used."""
    max_incoming_bytes: int = 16 * 1024 * 1024
    """Longest frame that we read: agents' pictures come as base64."""
    reconnect_limit: int = 100
    """Sockets that may be opening at the same time."""
    at_once: int = 1000
    """Pushes that may be on their way into the store, and so in one turn of the event loop: where
    there are other servers so few that theirs do not wait for long behind a burst of this one."""
    timing: Timing = field(default_factory=Timing)

    @property
    def told(self) -> dict[str, str]:
        """Fields of each log line."""
        return {"enterprise": self.enterprise} if self.enterprise else {}

    def fact(self, what: str) -> str:
        """The name of a stored fact about the server."""
        name = f"{what} {Endpoints(self.server.base_url).login}"
        return f"{name} {self.mark}" if self.mark else name


def unverified(server: WebChat) -> str:
    """A warning, where certificates are not checked; else empty."""
    if server.verify_ssl or server.base_url.startswith("http:"):
        return ""
    return "webchat.verify_ssl is false: whoever is on the way can read and change everything"


def trusted_by(server: WebChat) -> ssl.SSLContext:
    """The TLS context for the server. ValueError: `ca_file` holds no certificates."""
    context = tls_context(verify=server.verify_ssl)
    try:
        if server.ca_file:
            context.load_verify_locations(server.ca_file)
    except OSError as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"ca_file cannot be used: {server.ca_file}: {why}") from error
    return context


class TokenStore(Protocol):
    """Keeps each room's token over a restart, for logins are few; raises StoreError."""

    async def token(self, room_id: RoomId) -> Token | None: ...
    async def save_token(self, token: Token) -> None: ...
    async def forget_token(self, room_id: RoomId) -> None: ...


class LinkMetrics(Protocol):
    """Counters of a link; a login whose answer could not be read has the result None."""

    def logged_in(self, result: int | None) -> None: ...
    def opened(self, *, again: bool) -> None: ...
    def closed(self) -> None: ...
    def open_failed(self) -> None: ...
