import asyncio

import pytest

from bridge.link.gate import Demand


@pytest.mark.asyncio
async def test_gone_waits_for_the_last_wish_to_end() -> None:
    demand = Demand()
    demand.keep()
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(demand.gone(0.01))
        with demand.call():
            demand.release()
            await asyncio.sleep(0.05)
            assert demand.present
            assert demand.calling
            assert not gone.done()
    assert not demand.present


@pytest.mark.asyncio
async def test_a_new_wish_within_the_delay_keeps_it() -> None:
    demand = Demand()
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(demand.gone(0.1))
        await asyncio.sleep(0)
        demand.keep()
        await asyncio.sleep(0.2)
        assert not gone.done()
        demand.release()


@pytest.mark.asyncio
async def test_back_within() -> None:
    demand = Demand()
    assert not await demand.back_within(0.01)
    async with asyncio.TaskGroup() as tasks:
        back = tasks.create_task(demand.back_within(5))
        await asyncio.sleep(0)
        demand.keep()
    assert back.result()
    assert await demand.back_within(0)
