"""What the pure part asks the shell to do: send a frame to a customer, or hang up on one."""

from __future__ import annotations

from dataclasses import dataclass

Wire = dict[str, object]
"""A decoded frame or a part of one, keys spelled as on the wire."""


@dataclass(frozen=True, slots=True)
class Send:
    """One frame for one customer's socket."""

    login: str
    frame: Wire
    record: Wire | None = None
    """Where to note that a socket took it (`sent`)."""

    @property
    def is_push(self) -> bool:
        """Replies die with their socket; a push may be kept for the next."""
        return "result" not in self.frame


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close a customer's socket once everything before has been written."""

    login: str
    code: int
    """A WebSocket close code; 1006 cuts the connection at once and without a word."""


Outgoing = Send | HangUp


@dataclass(slots=True)
class Pending:
    """A push that waits for its receipt, or for a socket."""

    send: Send
    sent_at: float
    """Seconds, monotonic."""
    resends: int = 0
