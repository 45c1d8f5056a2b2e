"""`Wire`, the tests' TCP proxy, closes each connection that it accepts."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import suppress

import pytest

from tests.support.wires import Wire


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_accepted_while_the_wire_stops_is_closed(turns: int) -> None:
    """Else a ResourceWarning fails the whole test run, after all tests have passed."""
    gc.freeze()
    clients = [socket.socket() for _ in range(10)]
    wire = Wire(there=1)
    async with wire.running():
        for client in clients:
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(("127.0.0.1", wire.here))
        for _ in range(turns):
            await asyncio.sleep(0)
    for client in clients:
        client.close()
    await asyncio.sleep(0)
    gc.collect()
