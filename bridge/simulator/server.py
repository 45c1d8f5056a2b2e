"""The WebChat simulator: the server side of the 2016 guide on one port, with a control API.

It is the other end in the demo, in integration and chaos runs, and for whoever writes a client.
One aiohttp application serves login, upload, robot, files, sockets and `/_sim`. Everything that
decides is pure (state, checks, handlers, scripts); this package's shell only carries bytes.

The control API needs no password: bind the simulator to loopback or to a network you trust.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from aiohttp import web

from bridge.simulator import ops, report, scripts
from bridge.simulator.control import ControlSide
from bridge.simulator.files import Shelf
from bridge.simulator.http import HttpSide
from bridge.simulator.journal import Journal
from bridge.simulator.ops import BadOpError
from bridge.simulator.options import DeskAgent, SimulatorOptions
from bridge.simulator.outgoing import Wire
from bridge.simulator.pulse import Pulse
from bridge.simulator.scripts import Simulation
from bridge.simulator.sockets import Switchboard
from bridge.simulator.state import CallCentre

__all__ = ["BadOpError", "DeskAgent", "Simulator", "SimulatorOptions", "serve"]

_LARGEST_BODY = 128 * 1024 * 1024
"""Of one control operation: a file travels in it as base64."""


class _Running:
    """What exists between start and stop."""

    def __init__(
        self, runner: web.AppRunner, directory: tempfile.TemporaryDirectory[str], shelf: Shelf
    ) -> None:
        self.runner = runner
        self.directory = directory
        self.shelf = shelf


class Simulator:
    """One simulated WebChat server.

    Args:
        options: the switches; the guide read strictly when left out.
    """

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        options = options or SimulatorOptions()
        self._simulation = Simulation(CallCentre(options, self._new_token))
        self._journal = Journal(options.keep_frames)
        self._pulse = Pulse()
        self._board = Switchboard(self._simulation, self._journal, self._pulse)
        self._stopping = asyncio.Event()
        self._running: _Running | None = None
        self._log = structlog.get_logger()

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT/webchat`; empty before the start."""
        return self._simulation.centre.base_url

    @property
    def control_url(self) -> str:
        """`http://127.0.0.1:PORT/_sim`; empty before the start."""
        context = self._simulation.centre.options.context
        return f"{self.base_url.removesuffix(context)}/_sim" if self.base_url else ""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; port 0 takes a free one.

        Returns:
            The port.

        Raises:
            OSError: the address is taken or not ours.
            RuntimeError: it runs already.
        """
        if self._running is not None:
            raise RuntimeError("the simulator runs already")
        directory = tempfile.TemporaryDirectory(prefix="webchat-simulator-")
        app = web.Application(client_max_size=_LARGEST_BODY)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            taken = await _reserve(host, port)
        except OSError:
            directory.cleanup()
            raise
        raise NotImplementedError(taken, runner)
