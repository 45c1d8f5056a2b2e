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
"""Own name, since firewalls reject those of HTTP libraries."""
MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
FRAME_OVERHEAD = 600
"""Bytes of a 110 or 111 frame besides its text: keys, ids, and a generously long token."""
SHORTEST_TEXT = 200
"""Minimum bytes for text in a frame, whatever the frame limit."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Timeouts and pauses of links, in seconds."""

    connect: float = 30.0
    """Timeout of a call waiting for its link to open, login included."""
    handshake: float = 10.0
    """Timeout of opening a socket."""
    reply: float = 20.0
    """Timeout of the reply to a command, a login or an upload (row 17)."""
    mute: float = 60.0
    """The same for a message, a pre-message and a rating, which a slow server must not get twice.
    After it the link is dropped, and they are sent again on the next one (row 33)."""
    upload: float = 600.0
    """Timeout of an upload or download of a file."""
    ping_after: float = 30.0
    """Silence before a ping (row 36)."""
    ping_wait: float = 15.0
    """Silence after a ping or a heartbeat that ends the link."""
    dialect_wait: float = 1.5
    """Time that the first 110 or 104 on a new link waits for a push that shows the server's
    dialect, while that is unknown (protocol reference 5)."""
    hint_gap: float = 5.0
    """Minimum time between two typing notices (reference 1.2)."""
    settle: float = 2.0
    """Timeout of the ping that tests a new link before commands are written; after it the link is
    used anyway. Also of other commands' replies once the server has refused the token."""
    stable: float = 10.0
    """Uptime after which the loss of a link restarts the back-off from the beginning."""
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
    def told(self) -> dict[str, str]:
        """Fields for each log line."""
        return {"enterprise": self.enterprise} if self.enterprise else {}

    def fact(self, what: str) -> str:
        """Return the name of a stored fact about the server."""
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
    try:
        if server.ca_file:
            context.load_verify_locations(server.ca_file)
    except OSError as error:
        why = "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"ca_file cannot be used: {server.ca_file}: {why}") from error
    return context


class TokenStore(Protocol):
    """Keeps tokens over a restart, since logins are rate-limited; raises StoreError."""

    async def token(self, room_id: RoomId) -> Token | None: ...
    async def save_token(self, token: Token) -> None: ...
    async def forget_token(self, room_id: RoomId) -> None: ...


class LinkMetrics(Protocol):
    """Counters of links; the result of a login is None if it got no readable answer."""

    def logged_in(self, result: int | None) -> None: ...
    def opened(self, *, again: bool) -> None: ...
    def closed(self) -> None: ...
    def open_failed(self) -> None: ...
