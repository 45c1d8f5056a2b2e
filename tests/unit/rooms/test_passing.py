"""`at_most`: a file is passed on up to a size limit, and an interruption names its cause."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from bridge.rooms.blobs import at_most
from bridge.rooms.ports import TooBig, Unavailable

pytestmark = pytest.mark.asyncio


class Broken(aiohttp.ClientError):
    """An error of the HTTP library."""


async def pieces(*sizes: int, fails: Exception | None = None) -> AsyncIterator[bytes]:
    for size in sizes:
        yield bytes(size)
    if fails is not None:
        raise fails


async def passed(chunks: AsyncIterator[bytes], into: list[int] | None = None) -> list[int]:
    """Sizes of the chunks passed on, also of those before an error."""
    got = [] if into is None else into
    async for chunk in at_most(10, chunks):
        got.append(len(chunk))
    return got


async def test_a_file_up_to_the_limit_passes() -> None:
    assert await passed(pieces()) == []
    assert await passed(pieces(4, 6)) == [4, 6]


async def test_a_file_beyond_the_limit_is_not_read_on() -> None:
    got: list[int] = []
    with pytest.raises(TooBig, match="more than 10 bytes"):
        await passed(pieces(4, 6, 1, fails=KeyError("never reached")), got)
    assert got == [4, 6]


async def test_an_interrupted_file_names_the_cause() -> None:
    error = Broken("the line")
    with pytest.raises(Unavailable, match="interrupted: broken") as caught:
        await passed(pieces(4, fails=error))
    assert caught.value.__cause__ is error


async def test_other_exceptions_pass_unchanged() -> None:
    with pytest.raises(KeyError):
        await passed(pieces(4, fails=KeyError("ours")))
