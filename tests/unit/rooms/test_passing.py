"""A file on its way through us ends where it may, and says whose fault it was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bridge.rooms.blobs import at_most
from bridge.rooms.ports import TooBig, Unavailable

pytestmark = pytest.mark.asyncio


class Broken(Exception):
    """Of some HTTP library."""


async def pieces(*sizes: int, fails: Exception | None = None) -> AsyncIterator[bytes]:
    for size in sizes:
        yield bytes(size)
    if fails is not None:
        raise fails


async def passed(chunks: AsyncIterator[bytes], into: list[int] | None = None) -> list[int]:
    """The sizes of what came through, also of what came before an error."""
    got = [] if into is None else into
    async for chunk in at_most(10, chunks, (Broken,)):
        got.append(len(chunk))
    return got


async def test_as_much_as_is_allowed() -> None:
    assert await passed(pieces()) == []
    assert await passed(pieces(4, 6)) == [4, 6]


async def test_more_is_not_read_on() -> None:
    got: list[int] = []
    with pytest.raises(TooBig, match="more than 10 bytes"):
        await passed(pieces(4, 6, 1, fails=KeyError("never reached")), got)
    assert got == [4, 6]


async def test_a_file_that_breaks_off_says_what_broke_it() -> None:
    error = Broken("the line")
    with pytest.raises(Unavailable, match="interrupted: Broken") as caught:
        await passed(pieces(4, fails=error))
    assert caught.value.__cause__ is error


async def test_other_exceptions_are_nobodys_to_explain() -> None:
    with pytest.raises(KeyError):
        await passed(pieces(4, fails=KeyError("ours")))
