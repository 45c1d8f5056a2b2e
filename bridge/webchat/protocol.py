"""Pairing of commands and replies of one socket: text in, text out, no I/O.

A command gets at most one reply, which repeats our `messageId` (guide 3), so it is matched by call
id **and** type; where the server left the id out, or put one of its own, the oldest waiter of that
type takes it (trap T12). A repeated reply never goes to another call, which would report a message
as delivered on the strength of another's reply.

A reply without a type (a server that could not read the command has none to repeat) answers exactly
the call that it names. One that names nothing answers the only call that waits, as long as nothing
else that was written here may still be answered: no call that was given up, and no receipt.
"""

import msgspec

from bridge.ids import CallId
from bridge.webchat.codes import Dialect, ResultCode
from bridge.webchat.frames import UNTYPED, Command, Ignored, Receipt, Received, Reply
from bridge.webchat.read import parse_frame
from bridge.webchat.write import dump_command

_REMEMBERED_CALLS = 64
"""Of a socket, in 8 KiB: a reply that comes twice does so within a minute of a busy chat."""


class Answered(msgspec.Struct, frozen=True):
    call_id: CallId
    command: Command
    reply: Reply
    """Its own `call_id` is what the server wrote, which may be None or foreign."""


class Protocol:
    """Pairs commands with replies for one socket; `client_id` as `parse_frame` wants it."""

    def __init__(self, token: str, *, client_id: str = "") -> None:
        self._token = token
        self._client_id = client_id
        self.waiting: dict[CallId, Command] = {}
        """The calls without a reply, oldest first."""
        self._settled: dict[tuple[int | None, int], None] = {}
        """Call id and wire type of what needs no reply any more, oldest first."""
        self._strays = False
        """Something was written that nobody waits for, and that may be answered all the same."""
        self.token_refused = False
        """The server said -15 outside any reply, as some do on accepting a socket (ref. 3.3)."""

    def send(
        self, command: Command, call_id: CallId, time_ms: int, dialect: Dialect = Dialect.Y2016
    ) -> str:
        """The text to write to the socket; the command waits for its reply from now on, once under
        a call id. Raises as `dump_command`; nothing is remembered then.
        """
        text = dump_command(
            command, call_id=call_id, token=self._token, time_ms=time_ms, dialect=dialect
        )
        if isinstance(command, Receipt):  # no revision documents an answer to 120
            self._strays = True
        else:
            self.waiting[call_id] = command
            self._settled.pop((call_id, command.type), None)
        return text

    def receive(self, text: str | bytes) -> Answered | Received | Ignored:
        """Read one frame. Never raises."""
        reply = parse_frame(text, client_id=self._client_id)
        if not isinstance(reply, Reply):
            return reply
        call_id = self._waiter(reply)
        if call_id is not None:
            return Answered(call_id, self._settle(call_id), reply)
        if reply.result == ResultCode.INVALID_TOKEN and not self._is_repeated(reply):
            self.token_refused = True
        return Ignored(f"reply {reply.type} that nobody awaits")

    def forget(self, call_id: CallId) -> None:
        """Stop waiting for one reply, which is ignored from now on."""
        if call_id in self.waiting:
            self._settle(call_id)
            self._strays = True

    def _waiter(self, reply: Reply) -> CallId | None:
        """The call that a reply answers."""
        named = None if reply.call_id is None else self.waiting.get(reply.call_id)
        if named is not None and reply.type in (named.type, UNTYPED):
            return reply.call_id
        if reply.type == UNTYPED:
            sole = len(self.waiting) == 1 and not self._strays and reply.call_id is None
            return next(iter(self.waiting)) if sole else None
        if self._is_repeated(reply):
            return None
        alike = (call_id for call_id, one in self.waiting.items() if one.type == reply.type)
        return next(alike, None)

    def _is_repeated(self, reply: Reply) -> bool:
        if reply.type == UNTYPED:
            return any(call_id == reply.call_id for call_id, _ in self._settled)
        return (reply.call_id, reply.type) in self._settled

    def _settle(self, call_id: CallId) -> Command:
        command = self.waiting.pop(call_id)
        self._settled[call_id, command.type] = None
        if len(self._settled) > _REMEMBERED_CALLS:
            del self._settled[next(iter(self._settled))]
        return command
