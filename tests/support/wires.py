"""Wires between two programs, to be cut (openly, or so that nobody is told), stalled or delayed, or
to break in the middle of a frame.

A wire knows nothing of what it carries: HTTP, WebSocket and PostgreSQL's protocol alike. To carry
the last one it may lie between two Unix sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bridge.demo.child_process import free_port

SOCKET = ".s.PGSQL.5432"
"""PostgreSQL's, in a directory that takes the place of a host in its URL."""
_PIECE = 64 * 1024
_TURNS = 5
"""Of the event loop, after which a connection that was taken is known."""


async def take_no_more(*listeners: int) -> None:
    """Take no more connections from these sockets (descriptors), before their server is closed.

    One that was taken just now would stay unclosed if the server were gone before it has its turn.
    """
    for one in listeners:
        asyncio.get_running_loop().remove_reader(one)
    for _ in range(_TURNS):
        await asyncio.sleep(0)


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
        self._lost = asyncio.Event()
        """Of the connections made until `mend`: what is carried by them vanishes."""
        self._ends: set[asyncio.StreamWriter] = set()
        self._far: set[asyncio.StreamWriter] = set()
        """Those of them that lead `there`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Wire]:
        if isinstance(self.here, Path):
            server = await asyncio.start_unix_server(self._carry, self.here)
        else:
            server = await asyncio.start_server(self._carry, "127.0.0.1", self.here)
        try:
            yield self
        finally:
            await take_no_more(*(one.fileno() for one in server.sockets))
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

    def lose(self) -> None:
        """Let all that is carried vanish, and answer no new connection, until `mend`.

        So does a network that drops every packet: there is no answer, no reset and no end.
        """
        self._lost.set()

    def mend(self) -> None:
        """Carry everything again. Connections that have `lose`d something stay as they are.

        The far side is rid of its ends of these, as TCP's keepalives would have it by themselves.
        """
        self._cut, self.delay, self.halves = False, 0.0, 0
        self._moves.set()
        if self._lost.is_set():
            self._lost = asyncio.Event()
            for end in self._far:
                end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it, or it is cut."""
        ends, lost = {writer}, self._lost
        self._ends |= ends
        try:
            if self._cut:
                return
            if lost.is_set():
                await reader.read()  # until it is given up
                return
            if isinstance(self._there, Path):
                far, back = await asyncio.open_unix_connection(self._there)
            else:
                far, back = await asyncio.open_connection("127.0.0.1", self._there)
            ends.add(back)
            self._ends.add(back)
            self._far.add(back)
            if writer.transport.is_closing():  # cut while it was made
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, lost))
                group.create_task(self._pump(far, writer, lost))
        except* (OSError, EOFError):
            pass
        finally:
            self._ends -= ends
            self._far -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        """Carry one direction, or let it vanish. OSError, EOFError: it is over."""
        while piece := await reader.read(_PIECE):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._moves.wait()
            if lost.is_set():
                continue
            if self.halves > 0 and len(piece) > 1:
                self.halves -= 1
                writer.write(piece[: len(piece) // 2])
                await writer.drain()
                raise EOFError
            writer.write(piece)
            await writer.drain()
        if not lost.is_set() and writer.can_write_eof():
            writer.write_eof()


@asynccontextmanager
async def wire_to_postgres(server: Path) -> AsyncIterator[tuple[Wire, Path]]:
    """A wire to the PostgreSQL whose socket is in that directory, and the directory to be used."""
    with TemporaryDirectory(prefix="w-") as folder:  # a socket's path may have 107 bytes
        async with Wire(server / SOCKET, Path(folder) / SOCKET).running() as wire:
            yield wire, Path(folder)
