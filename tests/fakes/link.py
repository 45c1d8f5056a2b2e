"""A fake link to a call centre: it records and answers all calls, and fails on demand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import msgspec

from bridge.ids import CallId, RequestId, RoomId, SessionId
from bridge.rooms.ports import Account, Blob, CallFailure
from bridge.webchat.frames import Command, Reply, RequestChat, SendMessage, Text
from bridge.webchat.http import HistoryEntry, RobotAnswer
from tests.fakes.matrix import at_once


class Call(msgspec.Struct, frozen=True):
    """A command that has reached the call centre."""

    room_id: RoomId
    call_id: CallId
    command: Command


class FakeLink:
    """Implements `ports.LinkPort`.

    Attributes:
        calls: calls that arrived, in order.
        before: exceptions for the next calls, raised before anything is written.
        cut: exceptions raised in the middle of the next files.
        after: exceptions for the next calls, raised after they arrived.
        answers: replies to the next calls; success when empty.
        gate: calls wait for it after they arrived.
        kept: rooms whose link is kept up.
        free: whether `call_now` can write a call without waiting.
        kept_back: collects the callbacks of `call_now` that report answers; None calls them soon.
        disturb: awaited before and after each write.
        hints: typing signals: room and session.
        histories: results of the next history requests; None when empty.
        uploads: number of uploaded files.
        logins: accounts that logged in.
    """

    def __init__(self, disturb: Callable[[], Awaitable[None]] = at_once) -> None:
        self.calls: list[Call] = []
        self.free: Callable[[], bool] = lambda: True
        self.kept_back: list[Callable[[], None]] | None = None
        self.before: deque[Exception] = deque()
        self.after: deque[Exception] = deque()
        self.cut: deque[Exception] = deque()
        self.answers: deque[Reply] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.kept: set[RoomId] = set()
        self.disturb = disturb
        self.hints: list[tuple[RoomId, SessionId]] = []
        self.histories: deque[tuple[HistoryEntry, ...] | Exception | None] = deque()
        self.uploads = 0
        self.logins: list[Account] = []

    def texts(self, room_id: RoomId) -> list[str]:
        """Return all texts that reached the agent of a room, in order."""
        return [
            one.command.content.text
            for one in self.calls
            if one.room_id == room_id
            and isinstance(one.command, SendMessage)
            and isinstance(one.command.content, Text)
        ]

    async def leave(self, rooms: Collection[RoomId]) -> None:
        self.kept.difference_update(rooms)

    async def call(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        before_write: Callable[[], Awaitable[None]],
    ) -> Reply:
        await self.disturb()
        if self.before:
            raise self.before.popleft()
        await before_write()
        await self.disturb()
        self.calls.append(Call(account.room_id, call_id, command))
        await self.gate.wait()
        await self.disturb()
        if self.after:
            raise self.after.popleft()
        if self.answers:
            return msgspec.structs.replace(self.answers.popleft(), call_id=call_id)
        if isinstance(command, RequestChat):
            return Reply(101, 1, call_id=call_id, request_id=RequestId(9001), queue_length=1)
        return Reply(110, 1, call_id=call_id)

    def call_now(
        self,
        account: Account,
        call_id: CallId,
        command: Command,
        done: Callable[[Reply | CallFailure], None],
    ) -> bool:
        if self.before or not self.gate.is_set() or not self.free():
            return False
        self.calls.append(Call(account.room_id, call_id, command))
        told: Reply | CallFailure
        if self.after:
            failure = self.after.popleft()
            assert isinstance(failure, CallFailure)
            told = failure
        elif self.answers:
            told = msgspec.structs.replace(self.answers.popleft(), call_id=call_id)
        elif isinstance(command, RequestChat):
            told = Reply(101, 1, call_id=call_id, request_id=RequestId(9001), queue_length=1)
        else:
            told = Reply(110, 1, call_id=call_id)
        if self.kept_back is not None:
            self.kept_back.append(partial(done, told))
        else:
            asyncio.get_running_loop().call_soon(done, told)
        return True

    async def upload(self, account: Account, blob: Blob) -> str:
        del account
        await self.disturb()
        if self.before:
            raise self.before.popleft()
        async for _ in blob.chunks:
            pass
        self.uploads += 1
        await self.gate.wait()
        return f"https://crm.example.org/{self.uploads}"

    def fetch(self, url: str, limit: int) -> AbstractAsyncContextManager[Blob]:
        del limit
        return self._file(url)

    @asynccontextmanager
    async def _file(self, url: str) -> AsyncIterator[Blob]:
        if self.before:
            raise self.before.popleft()

        async def chunks() -> AsyncIterator[bytes]:
            yield url.encode()
            if self.cut:
                raise self.cut.popleft()

        yield Blob(chunks(), None, "image/png", "a.png")

    def absolute(self, address: str) -> str:
        return f"https://crm.example.org/webchat/{address.lstrip('/')}"

    def icon_url(self, icon: str, queue_id: int | None) -> str:
        del queue_id
        return f"https://crm.example.org/{icon}"

    def keep(self, account: Account) -> None:
        self.kept.add(account.room_id)

    def release(self, room_id: RoomId) -> None:
        self.kept.discard(room_id)

    def typing(self, room_id: RoomId, session_id: SessionId) -> None:
        self.hints.append((room_id, session_id))

    async def log_in(self, account: Account) -> None:
        self.logins.append(account)
        await self.disturb()
        if self.before:
            raise self.before.popleft()

    async def history(self, account: Account, count: int) -> tuple[HistoryEntry, ...] | None:
        del account, count
        await self.disturb()
        told = self.histories.popleft() if self.histories else None
        if isinstance(told, Exception):
            raise told
        return told

    async def ask_robot(self, question: str) -> tuple[RobotAnswer, ...]:
        raise NotImplementedError(question)
