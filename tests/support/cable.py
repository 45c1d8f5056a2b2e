"""A cable to PostgreSQL that can be cut so that nobody is told: no answer, no reset, no end.

A socket of its own stands for the server's. What goes through a cut cable vanishes, and a new
connection is taken and not answered, as by a network that drops every packet.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from shutil import rmtree

SOCKET = ".s.PGSQL.5432"


class Cable:
    """See the module; `running` makes it. `directory`: for `host=` in place of the server's."""

    def __init__(self, server: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cable-"))
        self._server = server
        self._whole = asyncio.Event()
        self._whole.set()
        self._near: set[asyncio.StreamWriter] = set()
        self._far: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        """Let new connections through; what was cut stays so, for its packets are lost.

        The server is rid of its ends of it then, as TCP's keepalives would have it by themselves.
        """
        for end in self._far:
            end.close()
        self._far.clear()
        self._whole = asyncio.Event()
        self._whole.set()

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        whole = self._whole
        self._near.add(back)
        with suppress(OSError):
            if whole.is_set():
                far, on = await asyncio.open_unix_connection(self._server / SOCKET)
                self._far.add(on)
                await asyncio.gather(_carry(near, on, whole), _carry(far, back, whole))
            else:
                await near.read()  # until it is given up


async def _carry(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, whole: asyncio.Event
) -> None:
    while data := await source.read(65_536):
        if whole.is_set():
            sink.write(data)
            await sink.drain()
    if whole.is_set():
        sink.close()


@asynccontextmanager
async def cable(server: Path) -> AsyncIterator[Cable]:
    """A cable to the server whose socket is in that directory."""
    made = Cable(server)
    listening = await asyncio.start_unix_server(made._connected, made.directory / SOCKET)
    try:
        yield made
    finally:
        listening.close()
        for end in made._near | made._far:
            end.close()
        rmtree(made.directory)
