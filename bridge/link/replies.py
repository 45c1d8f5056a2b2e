"""Who waits for which reply on one socket, and what each of them is told in the end.

`Protocol` pairs replies with call ids; here each call id is a caller that waits. What a loss means
for a command that was written and not answered: it may have arrived. Only the longest of them, if
the server closed with 1009, surely did not: it was too big, and `Learnt` remembers its length.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from bridge.conversation.inputs import FailureReason
from bridge.ids import CallId
from bridge.link.learnt import Learnt
from bridge.rooms.ports import CallFailure
from bridge.webchat.codes import Dialect, ResultCode
from bridge.webchat.errors import LocalProtocolError
from bridge.webchat.frames import Command, Ignored, Receipt, Received, Reply
from bridge.webchat.protocol import Answered, Protocol

TOO_BIG = 1009
"""Close code for a frame beyond the receiver's buffer (RFC 6455 7.4.1, trap T23)."""
FIRST_OWN = 2**30
"""Call ids of the link's own frames: far above those that conversations count up from 1."""
_KNOWS_US_NOT = frozenset({ResultCode.INVALID_TOKEN, ResultCode.INVALID_CLIENT_ID})
_STRAY_REFUSAL = Reply(type=0, result=ResultCode.INVALID_TOKEN)


@dataclass(frozen=True)
class _Waiter:
    reply: asyncio.Future[Reply]
    size: int
    """Bytes of the frame that was written."""


class Replies:
    """The callers of one socket."""

    def __init__(self, protocol: Protocol, learnt: Learnt, unheard: Callable[[str], None]) -> None:
        """Take what is known of the server; `unheard` is told the kind of frames without sense."""
        self.proven = False
        """The server took at least one command with this token."""
        self._protocol = protocol
        self._learnt = learnt
        self._unheard = unheard
        self._waiters: dict[CallId, _Waiter] = {}
        self._own = FIRST_OWN

    @property
    def token_refused(self) -> bool:
        """The server said -15 without answering anything in particular."""
        return self._protocol.token_refused

    def own_id(self) -> CallId:
        """Return a call id for a command of the link's own."""
        self._own += 1
        return CallId(self._own)

    def expect(
        self, call_id: CallId, command: Command, now: int, keys: Dialect
    ) -> tuple[str, asyncio.Future[Reply]]:
        """Return the frame to write now, and its reply to come; `now` in ms since the epoch.

        Raises:
            CallFailure: certain: TOO_BIG, or REFUSED for what must never be sent.
        """
        try:
            frame = self._protocol.send(command, call_id, now, keys)
        except LocalProtocolError as error:
            raise CallFailure(FailureReason.REFUSED, certain=True, message=str(error)) from error
        size, longest = len(frame.encode()), self._learnt.longest_frame
        if size > longest:
            self._protocol.forget(call_id)
            message = f"the frame exceeds {longest} bytes"
            raise CallFailure(FailureReason.TOO_BIG, certain=True, message=message)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiters[call_id] = _Waiter(reply, size)
        return frame, reply

    def receipt(self, rs_id: str, now: int) -> str:
        """Return the frame that acknowledges a push; nothing comes back.

        Raises:
            CallFailure: TOO_BIG: the server named its push by something that no frame can hold.
        """
        frame = self._protocol.send(Receipt(rs_id), self.own_id(), now)
        if len(frame.encode()) > self._learnt.longest_frame:
            raise CallFailure(FailureReason.TOO_BIG, certain=True, message="a receipt is too long")
        return frame

    def forget(self, call_id: CallId, reply: asyncio.Future[Reply]) -> None:
        """Its caller has stopped waiting; a late reply must not be taken for another's."""
        waiter = self._waiters.get(call_id)
        if waiter is not None and waiter.reply is reply:
            del self._waiters[call_id]
            self._protocol.forget(call_id)

    def take(self, frame: str | bytes) -> Received | Ignored | None:
        """Read one frame: a reply goes to its caller, a push is returned.

        Also one that says nothing to us, if it wants a receipt.
        """
        match self._protocol.receive(frame):
            case Answered(call_id=call_id, reply=reply):
                if reply.result not in _KNOWS_US_NOT:
                    self.proven = True
                self._resolve(call_id, reply)
            case Received() as received:
                return received
            case Ignored() as ignored:
                self._unheard(ignored.kind)
                if ignored.rs_id:
                    return ignored
        if self.token_refused:
            # A -15 that answers nothing in particular refuses all that is under way.
            for call_id in tuple(self._waiters):
                self._resolve(call_id, _STRAY_REFUSAL)
        return None

    def due(self) -> set[asyncio.Future[Reply]]:
        """Return the replies that are still to come."""
        return {waiter.reply for waiter in self._waiters.values()}

    def lost(self, close_code: int | None) -> None:
        """The socket is gone: tell everybody. `close_code` is the server's own, if it sent one."""
        self._protocol.abandon()
        waiting = [waiter for waiter in self._waiters.values() if not waiter.reply.done()]
        self._waiters.clear()
        if close_code == TOO_BIG and waiting:
            # Shorter ones cannot be to blame; of equals the server stumbled over the last.
            longest = max(reversed(waiting), key=lambda waiter: waiter.size)
            self._learnt.too_long(longest.size)
            longest.reply.set_exception(
                CallFailure(FailureReason.TOO_BIG, certain=True, code=TOO_BIG)
            )
            waiting.remove(longest)
        for waiter in waiting:
            waiter.reply.set_exception(no_answer("the link was lost"))

    def _resolve(self, call_id: CallId, reply: Reply) -> None:
        waiter = self._waiters.pop(call_id, None)
        if waiter is not None and not waiter.reply.done():
            waiter.reply.set_result(reply)


def no_answer(message: str) -> CallFailure:
    """Return the failure of a command that was written and whose fate is unknown."""
    return CallFailure(FailureReason.NO_ANSWER, certain=False, message=message)
