"""Pairing of commands and replies of one socket: text in, text out, no I/O.

A command gets at most one reply, which repeats its `messageId` (guide 3): they are matched by call
id **and** type. If the server omitted the id or used one of its own, the reply goes to the oldest
waiting call of that type (trap T12). A repeated reply never goes to another call, whose message
would falsely be reported as delivered.

A reply without a type (from a server that could not read the command) goes only to the call that it
names. Without a call id too, it goes to the only waiting call, unless a call that was given up or a
receipt could still be answered.
"""

import msgspec

from bridge.ids import CallId
from bridge.webchat.codes import Dialect, ResultCode
from bridge.webchat.frames import UNTYPED, Command, Ignored, Receipt, Received, Reply
from bridge.webchat.read import parse_frame
from bridge.webchat.write import dump_command

_REMEMBERED_CALLS = 64
"""Maximum number of settled calls remembered per socket, 8 KiB: a minute of a busy chat."""


class Answered(msgspec.Struct, frozen=True):
    call_id: CallId
    command: Command
    reply: Reply
    """The reply, whose `call_id` is the server's and may be None or foreign."""


class Protocol:
    """Pairs commands with replies for one socket; `client_id` is passed to `parse_frame`."""

    def __init__(self, token: str, *, client_id: str = "") -> None:
        self._token = token
        self._client_id = client_id
        self.waiting: dict[CallId, Command] = {}
        """Calls without a reply, oldest first."""
        self._settled: dict[tuple[int | None, int], None] = {}
        """Call id and wire type of settled calls, oldest first."""
        self._strays = False
        """True once a receipt was sent or a call given up, which may still be answered."""
        self.token_refused = False
        """True once -15 came without a command, as when a socket is accepted (reference 3.3)."""

    def send(
        self, command: Command, call_id: CallId, time_ms: int, dialect: Dialect = Dialect.Y2016
    ) -> str:
        """Return the text to write to the socket, and register the command as waiting, unless
        `dump_command` raises.
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
        return Ignored(f"unexpected reply {reply.type}")

    def forget(self, call_id: CallId) -> None:
        """Stop waiting for a call's reply, which is ignored if it still comes."""
        if call_id in self.waiting:
            self._settle(call_id)
            self._strays = True

    def _waiter(self, reply: Reply) -> CallId | None:
        """Return the waiting call that a reply answers; None if there is none."""
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
