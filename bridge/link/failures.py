"""Why a link does not stand: the exceptions that travel inside this package."""

from __future__ import annotations

import ssl

from bridge.conversation.events import FailureReason
from bridge.rooms.ports import CallFailure


class OpenFailure(CallFailure):
    """The link could not be opened; nothing was written, so it is always certain.

    Attributes:
        pause: seconds for which no other try may be made, whatever the link's own backoff says.
        rest: seconds for which none may be made that nobody asks for.
    """

    def __init__(
        self,
        reason: FailureReason,
        message: str,
        *,
        code: int | None = None,
        pause: float = 0.0,
        rest: float = 0.0,
    ) -> None:
        super().__init__(reason, certain=True, code=code, message=message)
        self.pause = pause
        self.rest = rest


class TokenRefused(Exception):
    """The server does not know the token that was used (any more): log in again.

    Attributes:
        status: of the HTTP answer, where it was told by one.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Unwanted(Exception):
    """Nobody wants the link any more for which a login stood in line."""


def no_turn(message: str) -> OpenFailure:
    """Return what it means for a call that its login has not come to its turn."""
    return OpenFailure(FailureReason.NO_TURN, message)


def describe(error: BaseException) -> str:
    """Say what a foreign network error was, without its text.

    The texts of aiohttp and websockets may quote a URL, and ours carry tokens (row 86).
    """
    name = type(error).__name__
    refused = getattr(error, "certificate_error", error)  # aiohttp's way to wrap it
    if isinstance(refused, ssl.SSLCertVerificationError):
        return f"{name}: {refused.verify_message}"  # names the host at most
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    return name
