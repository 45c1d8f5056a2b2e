"""Wires between two programs, to be cut, stalled, delayed, or to break in the middle of a frame.

A wire knows nothing of what it carries: HTTP, WebSocket and PostgreSQL's protocol alike. To carry
the last one it may lie between two Unix sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.demo.child_process import free_port

_PIECE = 64 * 1024


class Wire:
    """One wire, from `here` to `there`: loopback ports, or Unix sockets.

    Attributes:
        delay: seconds by which everything comes later, both ways.
        halves: so many pieces will be carried by half only, and their connections cut.
    """

    def __init__(self, there: int | Path, here: int | Path = 0) -> None:
        self.delay = 0.0
        self.halves = 0
        self.here = here or free_port()
        self._there = there
        self._cut = False
        self._moves = asyncio.Event()
        self._moves.set()
        self._ends: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Wire]:
        if isinstance(self.here, Path):
            server = await asyncio.start_unix_server(self._carry, self.here)
        else:
            server = await asyncio.start_server(self._carry, "127.0.0.1", self.here)
        try:
            yield self
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """Break all connections without a word, and each new one, until `mend`."""
        self._cut = True
        self._moves.set()
        for end in list(self._ends):
            end.transport.abort()

    def stall(self) -> None:
        """Go on taking connections, and carry nothing, until `mend`: so a stopped program looks."""
        self._moves.clear()

    def mend(self) -> None:
        self._cut, self.delay, self.halves = False, 0.0, 0
        self._moves.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it, or it is cut."""
        ends = {writer}
        self._ends |= ends
        try:
            if self._cut:
                return
            if isinstance(self._there, Path):
                far, back = await asyncio.open_unix_connection(self._there)
            else:
                far, back = await asyncio.open_connection("127.0.0.1", self._there)
            ends.add(back)
            self._ends.add(back)
            if writer.transport.is_closing():  # cut while it was made
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back))
                group.create_task(self._pump(far, writer))
        except* (OSError, EOFError):
            pass
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction. OSError, EOFError: it is over."""
        while piece := await reader.read(_PIECE):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._moves.wait()
            if self.halves > 0 and len(piece) > 1:
                self.halves -= 1
                writer.write(piece[: len(piece) // 2])
                await writer.drain()
                raise EOFError
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
