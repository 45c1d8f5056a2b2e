"""`make demo CHECK=1`, as a newcomer runs it: every step passes."""

from __future__ import annotations

import asyncio
import sys

import pytest
from rich.console import Console

from bridge.demo.transcript import StepFailedError, Transcript, expect

PATIENCE = 180.0


@pytest.mark.asyncio
async def test_every_step_of_the_demo_passes() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bridge",
        "demo",
        "--check",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        printed, _ = await process.communicate()
    text = printed.decode()
    assert process.returncode == 0, text
    assert "FAIL" not in text
    assert "PASS  the customer rates: rate 5 thanks" in text


@pytest.mark.asyncio
async def test_a_step_that_goes_wrong_is_counted_and_does_not_end_the_demo() -> None:
    transcript = Transcript(Console(quiet=True))
    async with transcript.step("good"):
        expect(1 + 1 == 2, "sums")
    async with transcript.step("bad"):
        expect([], "something")
    async with transcript.step("late"):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    assert transcript.passed == 1
    assert transcript.failed == ["bad", "late"]
    with pytest.raises(StepFailedError, match="wanted"):
        expect(None, "wanted")
