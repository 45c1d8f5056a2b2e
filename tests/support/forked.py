"""Servers forked from a process that has imported them, as importing takes 1.5 s of CPU with each
Synapse and 0.7 with each bridge or command of the bridge.

That process is `multiprocessing`'s fork server, one of each kind for each pytest process. `make
demo`, in its tests too, starts both servers as people do; so do the tests of `bridge.__main__`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import multiprocessing
import os
import pickle
import select
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.forkserver import ForkServer, read_signed
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bridge.demo import child_process

if TYPE_CHECKING:
    from asyncio.subprocess import Process


IMPORTED = {
    ("synapse.app.homeserver",): "tests.support.imported_synapse",
    ("bridge",): "tests.support.imported_bridge",
}
"""Beginning of a command -> the module that imports what it runs."""
as_people_do = child_process.spawn
"""Starts a server without a fork: for tests of its memory, which a fork shares with its parent."""


@functools.cache
def _server(module: str) -> ForkServer:
    server = ForkServer()
    server.set_forkserver_preload([module])
    return server


@dataclass(frozen=True)
class _Start:
    """What a forked process is to do; the fork server expects a `multiprocessing.Process`."""

    module: str
    """Which of the imported modules runs it."""
    command: tuple[str, ...]
    log_file: Path
    folder: Path
    environment: dict[str, str]

    def _bootstrap(self, parent: int) -> int:
        process = multiprocessing.Process(target=self._run)
        return process._bootstrap(parent)  # type: ignore[attr-defined, no-any-return]

    def _run(self) -> None:
        if die := child_process.die_with_parent():
            die()
        os.setsid()
        log = os.open(self.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log, stream.fileno())
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv = [*self.command]
        importlib.import_module(self.module).run()


class Forked:
    """A forked process, as `asyncio.subprocess.Process` where `ChildProcess` uses it."""

    def __init__(self, start: _Start) -> None:
        self._status, orders = _server(start.module).connect_to_new_process([])
        with os.fdopen(orders, "wb") as file:
            file.write(pickle.dumps({}) + pickle.dumps(start))
        self.pid: int = read_signed(self._status)
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        if self._code is None and select.select([self._status], [], [], 0)[0]:
            self._code = read_signed(self._status)
            os.close(self._status)
        return self._code

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int | None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        if self.returncode is None:
            loop.add_reader(self._status, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._status)
        return self.returncode


async def spawn(
    command: tuple[str, ...], log_file: Path, environment: Mapping[str, str] | None
) -> Process:
    """Start a server as `child_process.spawn` does, but forked if it is one of `IMPORTED`."""
    for beginning, module in IMPORTED.items():
        if command[: len(beginning)] == beginning:
            its = dict(os.environ if environment is None else environment)
            start = _Start(module, command, log_file, Path.cwd(), its)
            return cast("Process", await asyncio.to_thread(Forked, start))
    return await as_people_do(command, log_file, environment)
