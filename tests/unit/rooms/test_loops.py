"""The loops of a room, with a clock that does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from bridge.rooms.loops import Loops
from bridge.rooms.store import StoreError


@pytest.mark.asyncio
async def test_a_database_that_stays_away_is_told_once() -> None:
    """Every room tries again each second: the log is not to be nothing else."""
    answers = [StoreError("full"), StoreError("full"), StoreError("full"), None, StoreError("gone")]

    ended = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        await asyncio.sleep(0)

    async def once() -> bool:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return bool(answers)

    async with asyncio.TaskGroup() as tasks:

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            tasks.create_task(work)

        def after() -> None:
            if loops.idle:
                ended.set()

        loops = Loops(spawn, sleep, after, structlog.get_logger())
        answers.append(None)
        with capture_logs() as logs:
            loops.start("actor", once)
            await ended.wait()
    told = [(line["log_level"], line["why"]) for line in logs]
    assert told == [("warning", "full"), ("debug", "full"), ("debug", "full"), ("warning", "gone")]
