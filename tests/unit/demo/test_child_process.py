"""A child process that ends by itself while it is being stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from bridge.demo.child_process import ChildProcess


class Vanishing:
    """A process that ends just before it gets a signal; its exit code is known later."""

    def __init__(self, at: str) -> None:
        self.pid = 1
        self.returncode: int | None = None
        self._at = at
        self._gone = asyncio.Event()

    def terminate(self) -> None:
        self._signal("terminate")

    def kill(self) -> None:
        self._signal("kill")

    async def wait(self) -> int:
        await self._gone.wait()
        self.returncode = 7
        return self.returncode

    def _signal(self, name: str) -> None:
        if name == self._at:
            self._gone.set()
            raise ProcessLookupError


@pytest.mark.parametrize("at", ["terminate", "kill"])
@pytest.mark.asyncio
async def test_stopping_a_process_that_has_just_ended_succeeds(at: str, tmp_path: Path) -> None:
    child = ChildProcess(
        name="it", command=(), url="", ready="/", log_file=tmp_path / "log", patience=0.01
    )
    child._process = cast("asyncio.subprocess.Process", Vanishing(at))
    assert await child.stop() == 7
    assert not child.runs
