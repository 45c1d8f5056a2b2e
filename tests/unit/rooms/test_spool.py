from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from typing_extensions import Buffer

from bridge.rooms.blobs import IN_MEMORY, keep
from bridge.rooms.ports import Blob, NoSpace, TooBig
from tests.support.matrix_rig import blob

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("size", [0, 10, IN_MEMORY, 3 * IN_MEMORY + 7])
async def test_a_file_can_be_read_as_often_as_needed(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    async with keep(blob(data[:size])) as kept:
        assert kept.size == size
        for _ in range(2):
            assert b"".join([chunk async for chunk in kept.chunks()]) == data[:size]


async def test_an_exception_of_the_source_is_passed_on() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"
        raise TooBig("more than allowed")

    with pytest.raises(TooBig):
        async with keep(Blob(chunks(), None, "")):
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
        async with keep(blob(b"abc")):
            pytest.fail("it was kept all the same")
    (line,) = logs
    assert (line["log_level"], line["why"]) == ("warning", "OSError: No space left on device")
