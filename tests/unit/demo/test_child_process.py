"""Child processes that end by themselves while they are stopped, or do not become ready."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from bridge.demo import child_process
from bridge.demo.child_process import ChildProcess, ServerError
from tests.support.ports import free_port
from tests.support.stage import runs


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
    assert not runs(child)


@pytest.mark.asyncio
async def test_a_process_that_does_not_become_ready_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_START_TIMEOUT", 0.5)
    port = free_port()
    child = ChildProcess(
        name="it",
        command=("http.server", str(port)),
        url=f"http://127.0.0.1:{port}",
        ready="/never",
        log_file=tmp_path / "log",
        patience=1,
    )
    with pytest.raises(ServerError, match="it is not ready yet"):
        await child.start()
    assert not runs(child)
