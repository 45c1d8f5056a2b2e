"""One room's link as its callers see it.

Calls wait at the `Gate` until the keeper has opened it, write one after the other, and wait for
their replies side by side. A command that the server refused over its token goes out once more on
the next wire, with its old call id and in its old place. So does one whose keys the server refused,
once in each other set of keys (protocol reference 5). What the server says nothing at all to is for
the caller to send again or not.

That keys are refused is said by -14. A server that looks for the text under another name may as
well find it blank (-17), and find it missing (-8) or break over it (-100): these two mean the keys
as long as this server has not been seen to read them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from bridge.conversation.inputs import FailureReason
from bridge.ids import CallId
from bridge.link.failures import OpenFailure, TokenRefused, no_turn
from bridge.link.gate import Demand, Gate
from bridge.link.keeper import Keeper, Shared, refused_again
from bridge.link.learnt import Feature
from bridge.link.ports import Token
from bridge.link.socket import UNKNOWN_KIND, Wire
from bridge.rooms.ports import Account, CallFailure
from bridge.webchat.codes import Dialect, ResultCode
from bridge.webchat.frames import (
    Command,
    RateSession,
    Reply,
    SendMessage,
    SendPreMessage,
    Text,
)
from bridge.webchat.words import is_unseen

Told = TypeVar("Told")
_CONTENT = (SendMessage, SendPreMessage, RateSession)
"""110, 111 and 104: sent again they may arrive twice, so their replies are awaited for longer."""


@dataclass(frozen=True)
class _Written:
    """A command on its way."""

    wire: Wire
    keys: Dialect
    reply: asyncio.Future[Reply]


class Link:
    """The link of one room; nothing of it moves unless `run` does."""

    def __init__(self, account: Account, around: Shared) -> None:
        self.demand = Demand()
        self._gate: Gate[Wire] = Gate()
        self._timing = around.settings.timing
        self._learnt = around.learnt
        self._hint_not_before: dict[Feature, float] = {}
        """When each kind of hint may be sent again, in loop time."""
        self._stranger: tuple[Wire, float] | None = None
        """Where the server said last that it does not know us, and until when we believe it."""
        self.keeper = Keeper(account, around, self.demand, self._gate)

    def speak_for(self, account: Account) -> None:
        """From now on be this account's link; the socket of another account is given up."""
        former, self.keeper.account = self.keeper.account, account
        if former.login == account.login:
            return
        if (wire := self._gate.way) is not None:
            self.refuse(wire)
        # Nor does it wait because the other one was refused.
        self._gate.hold(OpenFailure(FailureReason.UNREACHABLE, "the account has changed"), 0.0)

    def release(self) -> None:
        """The link is no longer wanted; see `LinkPort.release`."""
        self.demand.release()
        self._gate.dismiss(no_turn("nobody wants it any more"))

    async def run(self) -> None:
        """Keep the link up until nobody has wanted it for a while."""
        await self.keeper.run()

    async def rested(self) -> bool:
        """Wait out the backoff; False if the link is wanted again before that."""
        return not await self.demand.back_within(self._gate.pause_left())

    def abandon(self) -> None:
        """The bridge stops: whoever still waits for the link will not get it."""
        self._gate.refuse(OpenFailure(FailureReason.UNREACHABLE, "the links are closing"))

    async def call(
        self, call_id: CallId, command: Command, before_write: Callable[[], Awaitable[None]]
    ) -> Reply:
        """Send a command and return its reply; see `LinkPort.call`."""
        with self.demand.call():
            ticket = self._gate.ticket()
            keys: Dialect | None = None
            others: Iterator[Dialect] | None = None
            refused: list[Reply] = []
            relogged = False
            while True:
                written = await self._write(ticket, call_id, command, before_write, keys)
                seconds = self._patience(command)
                reply = await written.wire.answer(call_id, written.reply, seconds)
                if reply.result == ResultCode.INVALID_TOKEN:
                    self.refuse(written.wire)
                    if relogged:
                        raise refused_again()
                    relogged = True
                elif self._disowned(written.wire, reply):
                    self.refuse(written.wire)
                elif self._keys_refused(command, reply, written.keys):
                    refused.append(reply)
                    others = others or iter(_other_keys(command, written.keys))
                    keys = next(others, None)
                    if keys is None:
                        return _most_hopeful(refused)
                else:
                    if reply.ok and _tells_keys_apart(command):
                        self._learnt.took(written.keys, after_refusal=bool(refused))
                    return reply

    def _keys_refused(self, command: Command, reply: Reply, keys: Dialect) -> bool:
        """True if the server may want this command in other keys."""
        match reply.result:
            case ResultCode.INVALID_PARAMETER:
                return _has_keys(command)
            case ResultCode.EMPTY_MESSAGE:
                return _tells_keys_apart(command) and not _unseen(command)
            case ResultCode.REQUEST_ERROR | ResultCode.INTERNAL_ERROR:
                return _tells_keys_apart(command) and not self._learnt.reads(keys)
            case _:
                return False

    def _patience(self, command: Command) -> float | None:
        """Seconds to wait for a reply before the link is given up; None: as for any command."""
        return self._timing.mute if isinstance(command, _CONTENT) else None

    def _disowned(self, wire: Wire, reply: Reply) -> bool:
        """True if the server knows nobody of our token's (-6), and a new login may still help.

        One login, whatever is under way meanwhile; if it does not help, this is for an operator,
        and the next is `LinkTiming.disowned` away. The caller is told in the server's own words.
        """
        now = asyncio.get_running_loop().time()
        if reply.ok:
            self._stranger = None
        if reply.result != ResultCode.INVALID_CLIENT_ID:
            return False
        if self._stranger is None or now >= self._stranger[1]:
            self._stranger = wire, now + self._timing.disowned
        return self._stranger[0] is wire

    async def hint(self, feature: Feature, command: Command) -> None:
        """Tell the agent something that may as well be lost: what the customer is doing just now.

        Sent only on a link that stands, to a server that knows it, and not too often. Never raises.
        """
        wire, now = self._gate.way, asyncio.get_running_loop().time()
        if wire is None or not wire.usable or not self._learnt.has(feature):
            return
        if now < self._hint_not_before.get(feature, now):
            return
        self._hint_not_before[feature] = now + self._timing.hint_gap
        try:
            reply = await wire.ask(command)
        except CallFailure:
            return
        if reply.result in UNKNOWN_KIND:
            self._learnt.has_not(feature)
        elif reply.result == ResultCode.INVALID_TOKEN:
            self.refuse(wire)

    async def with_token(
        self, request: Callable[[Token], Awaitable[Told]], *, tries: int = 2, asks: bool = True
    ) -> Told:
        """Make an HTTP request that needs the link's token; log in anew if it is refused.

        Args:
            request: is given the token.
            tries: how often it may be made.
            asks: False: it is our own wish, and no reason to try a refused login again.

        Raises:
            OpenFailure: the link does not stand, or the token was refused `tries` times. After one
                try no fresh one has been seen yet: the caller's next finds it.
            Exception: what `request` raises, TokenRefused aside.
        """
        with self.demand.call():
            for _ in range(tries):
                wire = await self._standing(asks=asks)
                try:
                    return await request(wire.token)
                except TokenRefused:
                    self.refuse(wire)
        raise refused_again() if tries > 1 else _refused_once()

    async def _standing(self, *, asks: bool) -> Wire:
        """Return the open wire, waiting for it as a call would."""
        wire = await self._gate.enter(self._gate.ticket(), self._timing.connect, asks=asks)
        self._gate.leave()
        return wire

    def refuse(self, wire: Wire) -> None:
        """The server has refused the token of this wire: log in again and open another."""
        wire.refuse()
        self._gate.shut(wire)

    async def _write(
        self,
        ticket: int,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
        keys: Dialect | None,
    ) -> _Written:
        """Write a command, in these keys or in those that the server is thought to want."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timing.connect
        while True:
            wire = await self._gate.enter(ticket, deadline - loop.time())
            try:
                if _has_keys(command):
                    await wire.told_dialect()
                if wire.usable:
                    await before_write()
                # It may have ended while that was stored; then nothing was written, for certain.
                if wire.usable:
                    return await _spell(wire, call_id, command, keys or self._learnt.keys)
                self._gate.shut(wire)
            finally:
                self._gate.leave()


async def _spell(wire: Wire, call_id: CallId, command: Command, keys: Dialect) -> _Written:
    """Write a command; where both sets of keys are too long for a frame, in one of them.

    A text may have been divided when the server was known to want one set.
    """
    try:
        return _Written(wire, keys, await wire.write(call_id, command, keys))
    except CallFailure as failure:
        if failure.reason is not FailureReason.TOO_BIG or keys is not Dialect.DUAL:
            raise
    keys = keys.others[0]
    return _Written(wire, keys, await wire.write(call_id, command, keys))


def _refused_once() -> OpenFailure:
    """Return what a -15 means to a request that cannot be made again as it is."""
    message = "the token was refused; a new login is under way"
    return OpenFailure(FailureReason.UNREACHABLE, message, code=ResultCode.INVALID_TOKEN)


def _has_keys(command: Command) -> bool:
    """True for the commands that the dialects spell differently: 110 and 104."""
    return isinstance(command, SendMessage | RateSession)


def _tells_keys_apart(command: Command) -> bool:
    """True for what has other names in each dialect (reference 5): texts and ratings.

    Of anything else the later one only leaves out what is empty: a server that wants it written is
    no word about how it reads texts.
    """
    if isinstance(command, SendMessage):
        return isinstance(command.content, Text)
    return isinstance(command, RateSession)


def _unseen(command: Command) -> bool:
    """True for a text that shows nothing: a server that calls it empty may have read it."""
    if not isinstance(command, SendMessage) or not isinstance(command.content, Text):
        return False
    return is_unseen(command.content.text)


def _other_keys(command: Command, keys: Dialect) -> tuple[Dialect, ...]:
    """The sets of keys that are left for a command which was refused in these, best first."""
    if keys is Dialect.DUAL and not _tells_keys_apart(command):
        return (Dialect.Y2019,)  # the other two are the same for it
    return keys.others


def _most_hopeful(refusals: list[Reply]) -> Reply:
    """What a refusal in all keys comes to: trouble that may pass (-100), else the first one."""
    passing = (reply for reply in refusals if reply.result == ResultCode.INTERNAL_ERROR)
    return next(passing, refusals[0])
