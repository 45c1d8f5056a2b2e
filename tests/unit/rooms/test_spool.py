from __future__ import annotations

import asyncio
import errno
import io
import tempfile
import threading
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from typing_extensions import Buffer

from bridge.rooms.blobs import IN_MEMORY, keep
from bridge.rooms.ports import NoSpace, TooBig
from tests.support.matrix_rig import blob

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("size", [0, 10, IN_MEMORY, 3 * IN_MEMORY + 7])
async def test_a_file_can_be_read_as_often_as_needed(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    async with keep(blob(data[:size]).chunks) as kept:
        assert kept.size == size
        for _ in range(2):
            assert b"".join([chunk async for chunk in kept.chunks()]) == data[:size]


async def test_a_cancelled_reader_takes_no_byte_from_the_next() -> None:
    """Its thread goes on: as if the call centre refuses an upload before it has read the file."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()
    async with keep(blob(b"abc").chunks) as kept, asyncio.TaskGroup() as tasks:
        read, seek = kept.stream.read, kept.stream.seek

        def slow_read(size: int) -> bytes:
            begun.set()
            go_on.wait(20)
            found = read(size)
            done.set()
            return found

        def second_seek(at: int) -> int:
            there = seek(at)
            go_on.set()
            done.wait(20)
            return there

        async def whole() -> bytes:
            return b"".join([chunk async for chunk in kept.chunks()])

        vars(kept.stream)["read"] = slow_read
        first = tasks.create_task(whole())
        await asyncio.to_thread(begun.wait, 20)
        first.cancel()
        vars(kept.stream).update(read=read, seek=second_seek)
        asyncio.get_running_loop().call_later(0.3, go_on.set)
        assert await whole() == b"abc"


async def test_an_exception_of_the_source_is_passed_on() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"
        raise TooBig("more than allowed")

    with pytest.raises(TooBig):
        async with keep(chunks()):
            pytest.fail("it was kept all the same")


@pytest.mark.parametrize("when", ["write", "flush"])
async def test_a_full_disk_is_a_temporary_failure(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Also if only the last bytes do not fit: these are written on flush, and again on close."""

    class Full(io.BytesIO):
        def write(self, data: Buffer) -> int:
            return full() if when == "write" else super().write(data)

        def flush(self) -> None:
            full()

        def close(self) -> None:
            super().close()
            full()

    def full() -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda max_size: Full())
    with pytest.raises(NoSpace, match="No space left"), capture_logs() as logs:
        async with keep(blob(b"abc").chunks):
            pytest.fail("it was kept all the same")
    (line,) = logs
    assert (line["log_level"], line["why"]) == ("warning", "No space left on device")
