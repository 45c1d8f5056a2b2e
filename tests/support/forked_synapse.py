"""Synapses forked from a process that has imported Synapse, which takes 1.5 s of CPU each time.

The process is `multiprocessing`'s fork server, one for each pytest process. Twisted's reactor,
which forks must not share, is made after the fork, as Synapse's own tests do it
(`synapse.app.complement_fork_starter`). `make demo`, in its tests too, starts Synapse as people do.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bridge.demo import child_process

if TYPE_CHECKING:
    from asyncio.subprocess import Process

SYNAPSE = "synapse.app.homeserver"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.imported_synapse"])
_start = child_process.spawn


class Forked:
    """A forked process, as `asyncio.subprocess.Process` where `ChildProcess` uses it."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        self.pid = process.pid
        self.terminate = process.terminate
        self.kill = process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    async def wait(self) -> int | None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        if self.returncode is None:
            loop.add_reader(self._process.sentinel, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._process.sentinel)
        return self.returncode


async def spawn(
    command: tuple[str, ...], log_file: Path, environment: Mapping[str, str] | None
) -> Process:
    """Start a server as `child_process.spawn` does; fork it if it is a Synapse."""
    if command[0] != SYNAPSE:
        return await _start(command, log_file, environment)
    process = _context.Process(target=_run, args=(command, log_file, dict(environment or {})))
    await asyncio.to_thread(process.start)
    return cast("Process", Forked(process))


def _run(command: tuple[str, ...], log_file: Path, environment: dict[str, str]) -> None:
    """Become a Synapse, in a forked process."""
    from tests.support import imported_synapse

    if die := child_process.die_with_parent():
        die()
    os.setsid()
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    warnings.resetwarnings()
    imported_synapse.run([*command])
