"""TCP proxies with faults: reset, silent loss, stall, delay, or a break in the middle of a frame.

A wire does not interpret what it carries, be it HTTP, WebSocket or PostgreSQL's protocol. For
PostgreSQL it may connect two Unix sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.ports import free_port

SOCKET = ".s.PGSQL.5432"
"""PostgreSQL's socket file, in the directory that its URL names as host."""
_PIECE = 64 * 1024
_TURNS = 5
"""Event loop iterations after which an accepted connection is registered."""


async def take_no_more(*listeners: int) -> None:
    """Stop accepting connections on these sockets (descriptors) before their server closes.

    A connection accepted just before would otherwise never be closed.
    """
    for one in listeners:
        asyncio.get_running_loop().remove_reader(one)
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class Wire:
    """A proxy from `here` to `there`: loopback ports, or Unix sockets.

    Attributes:
        delay: seconds by which everything is delayed, both ways.
        halves: number of coming pieces to cut in half, closing their connections.
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
        """Set if the data of connections made until the next `mend` is dropped."""
        self._ends: set[asyncio.StreamWriter] = set()
        self._far: set[asyncio.StreamWriter] = set()
        """The ends on the side of `there`."""

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
        """Reset all connections, and each new one, until `mend`."""
        self._cut = True
        self._moves.set()
        for end in list(self._ends):
            end.transport.abort()

    def stall(self) -> None:
        """Accept connections but carry nothing until `mend`, like a stopped program."""
        self._moves.clear()

    def lose(self) -> None:
        """Drop all data, and do not answer new connections, until `mend`.

        Like a network that drops every packet: there is no answer, no reset and no EOF.
        """
        self._lost.set()

    def forget(self) -> None:
        """Drop all data of the connections made so far, like a firewall that was restarted."""
        self._lost.set()
        self._lost = asyncio.Event()

    def mend(self) -> None:
        """Carry everything again. After `lose`, the connections made so far stay silent.

        Their far ends are closed, as TCP keepalives would do.
        """
        self._cut, self.delay, self.halves = False, 0.0, 0
        self._moves.set()
        if self._lost.is_set():
            self._lost = asyncio.Event()
            for end in self._far:
                end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side closes it, or it is cut."""
        ends, lost = {writer}, self._lost
        self._ends |= ends
        try:
            if self._cut:
                return
            if lost.is_set():
                await reader.read()  # until the peer gives up
                return
            if isinstance(self._there, Path):
                far, back = await asyncio.open_unix_connection(self._there)
            else:
                far, back = await asyncio.open_connection("127.0.0.1", self._there)
            ends.add(back)
            self._ends.add(back)
            self._far.add(back)
            if writer.transport.is_closing():  # cut during the connect
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
        """Forward or drop one direction. Raises OSError or EOFError when it breaks."""
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
    """Run a wire to the PostgreSQL with its socket in `server`; yield it and its own directory."""
    with TemporaryDirectory(prefix="w-") as folder:  # a socket's path is at most 107 bytes
        async with Wire(server / SOCKET, Path(folder) / SOCKET).running() as wire:
            yield wire, Path(folder)
