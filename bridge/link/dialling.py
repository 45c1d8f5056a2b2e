"""Opening a socket: what each answer to the handshake means (protocol reference 3.3)."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

from bridge.conversation.inputs import FailureReason
from bridge.link.failures import OpenFailure, TokenRefused, describe
from bridge.link.learnt import Learnt
from bridge.link.ports import Token
from bridge.link.settings import LinkSettings
from bridge.link.wire import Wire
from bridge.rooms.ports import Clock

NOT_THERE = frozenset({404, 408, 429})
"""Handshake statuses of a server (or proxy) that is not ready, although they are 4xx (row 38)."""


class _Connect(connect):
    """Follows no redirect: our token is for one server only."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def quiet_logger() -> logging.Logger:
    """Return the logger for the websockets library.

    Its debug lines hold URLs with tokens and whole frames, so they are never let through, whatever
    level the operator sets (row 86).
    """
    logger = logging.getLogger("bridge.link.websockets")
    logger.setLevel(logging.INFO)
    return logger


async def dial(
    url: str,
    token: Token,
    *,
    settings: LinkSettings,
    learnt: Learnt,
    clock: Clock,
    tls: ssl.SSLContext | None,
    ping_after: float,
    unheard: Callable[[str], None],
) -> Wire:
    """Open a socket.

    Args:
        url: the `cws` address, with its token.
        token: the same token, for the frames.
        settings: limits and times.
        learnt: what is known of the server.
        clock: for the frames' `time`.
        tls: one context for all links, None for a plain `ws` address.
        ping_after: seconds of silence before this socket is pinged.
        unheard: told the kind of each frame that says nothing to us.

    Raises:
        TokenRefused: the handshake was answered by a 4xx (protocol reference 3.3).
        OpenFailure: UNREACHABLE; `code` is the HTTP status where there was one.
    """
    timing = settings.timing
    try:
        socket = await _Connect(
            url,
            compression=None,  # 16 instead of 56 KiB for each link
            max_size=settings.max_incoming_bytes,
            ping_interval=None,  # the watch pings only into silence
            open_timeout=timing.handshake,
            close_timeout=timing.close,
            logger=quiet_logger(),
            additional_headers={"Cookie": token.cookies} if token.cookies else None,
            proxy=None,
            ssl=tls,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        if 400 <= status < 500 and status not in NOT_THERE:
            raise TokenRefused(f"handshake: HTTP {status}", status) from None
        raise OpenFailure(
            FailureReason.UNREACHABLE, f"handshake: HTTP {status}", code=status
        ) from None
    except (InvalidHandshake, OSError, TimeoutError, EOFError) as error:
        raise OpenFailure(FailureReason.UNREACHABLE, f"handshake: {describe(error)}") from None
    return Wire(
        socket,
        token,
        settings=settings,
        learnt=learnt,
        clock=clock,
        ping_after=ping_after,
        unheard=unheard,
    )
