import asyncio

import pytest

from bridge.link.limiter import WindowLimiter


@pytest.mark.asyncio
async def test_no_window_holds_more_than_the_count() -> None:
    limiter = WindowLimiter(3, 0.1)
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def go() -> None:
        async with limiter:
            times.append(loop.time())
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(go())
    assert len(times) == 10
    assert all(later - earlier >= 0.1 for earlier, later in zip(times, times[3:], strict=False))
    assert times[2] - times[0] < 0.05, "the first ones need not wait"


@pytest.mark.asyncio
async def test_a_failure_takes_its_place_too() -> None:
    limiter = WindowLimiter(1, 0.1)
    loop = asyncio.get_running_loop()
    with pytest.raises(ValueError, match="x"):
        async with limiter:
            raise ValueError("x")
    before = loop.time()
    async with limiter:
        assert loop.time() - before >= 0.09
