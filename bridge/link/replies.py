"""Who waits for which reply on one socket, and what each of them is told in the end.

`Protocol` pairs replies with call ids; here each call id is a caller that waits. What a loss means
for a command that was written and not answered: it may have arrived, unless the server closed with
1009 and it was the newest command: then it was too big, and surely refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.conversation.inputs import FailureReason
from bridge.ids import CallId
from bridge.rooms.ports import CallFailure
from bridge.webchat.codes import ResultCode
from bridge.webchat.errors import LocalProtocolError
from bridge.webchat.frames import Command, Ignored, Receipt, Received, Reply
from bridge.webchat.protocol import Answered, Protocol

TOO_BIG = 1009
"""Close code for a frame beyond the receiver's buffer (RFC 6455 7.4.1, trap T23)."""
FIRST_RECEIPT = 2**30
"""Call ids of receipts: far above those that conversations count up from 1."""
_STRAY_REFUSAL = Reply(type=0, result=ResultCode.INVALID_TOKEN)


class Replies:
    """The callers of one socket."""

    def __init__(self, protocol: Protocol, max_frame: int, unheard: Callable[[str], None]) -> None:
        """Take the longest frame to write, in bytes, and whom to tell of frames that say nothing.

        `unheard` is told the kind of each.
        """
        self.proven = False
        """The server took at least one command with this token."""
        self._protocol = protocol
        self._max_frame = max_frame
        self._unheard = unheard
        self._waiters: dict[CallId, asyncio.Future[Reply]] = {}
        self._newest: CallId | None = None
        self._receipts = FIRST_RECEIPT

    @property
    def token_refused(self) -> bool:
        """The server said -15 without answering anything in particular."""
        return self._protocol.token_refused

    def expect(
        self, call_id: CallId, command: Command, now: int
    ) -> tuple[str, asyncio.Future[Reply]]:
        """Return the frame to write now, and its reply to come; `now` in ms since the epoch.

        Raises:
            CallFailure: certain: TOO_BIG, or REFUSED for what must never be sent.
        """
        try:
            frame = self._protocol.send(command, call_id, now)
        except LocalProtocolError as error:
            raise CallFailure(FailureReason.REFUSED, certain=True, message=str(error)) from error
        if len(frame.encode()) > self._max_frame:
            self._protocol.forget(call_id)
            message = f"the frame exceeds {self._max_frame} bytes"
            raise CallFailure(FailureReason.TOO_BIG, certain=True, message=message)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiters[call_id] = reply
        self._newest = call_id
        return frame, reply

    def receipt(self, rs_id: str, now: int) -> str:
        """Return the frame that acknowledges a push; nothing comes back."""
        self._receipts += 1
        return self._protocol.send(Receipt(rs_id), CallId(self._receipts), now)

    def forget(self, call_id: CallId, reply: asyncio.Future[Reply]) -> None:
        """Its caller has stopped waiting; a late reply must not be taken for another's."""
        if self._waiters.get(call_id) is reply:
            del self._waiters[call_id]
            self._protocol.forget(call_id)

    def take(self, frame: str | bytes) -> Received | None:
        """Read one frame: a reply goes to its caller, a push is returned."""
        match self._protocol.receive(frame):
            case Answered(call_id=call_id, reply=reply):
                if reply.result != ResultCode.INVALID_TOKEN:
                    self.proven = True
                self._resolve(call_id, reply)
            case Received() as received:
                return received
            case Ignored(kind=kind):
                self._unheard(kind)
        if self.token_refused:
            # A -15 that answers nothing in particular refuses all that is under way.
            for call_id in tuple(self._waiters):
                self._resolve(call_id, _STRAY_REFUSAL)
        return None

    def due(self) -> set[asyncio.Future[Reply]]:
        """Return the replies that are still to come."""
        return set(self._waiters.values())

    def lost(self, close_code: int | None) -> None:
        """The socket is gone: tell everybody. `close_code` is the server's own, if it sent one."""
        self._protocol.abandon()
        for call_id, waiter in self._waiters.items():
            if waiter.done():
                continue
            if close_code == TOO_BIG and call_id == self._newest:
                failure = CallFailure(FailureReason.TOO_BIG, certain=True, code=TOO_BIG)
            else:
                failure = no_answer("the link was lost")
            waiter.set_exception(failure)
        self._waiters.clear()

    def _resolve(self, call_id: CallId, reply: Reply) -> None:
        waiter = self._waiters.pop(call_id, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)


def no_answer(message: str) -> CallFailure:
    """Return the failure of a command that was written and whose fate is unknown."""
    return CallFailure(FailureReason.NO_ANSWER, certain=False, message=message)
