"""Two encrypting clients × every kind of content × both ways × restarts, lost keys and devices.

In each cell a text, a picture, a file and a voice message go to the agent and come from the agent.
One client is matrix-nio; the other is Element's crypto engine in its strictest setting, which
reads nothing from and gives no key to a device that is not cross-signed, and shows no shield.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.support.encrypted import Phones
from tests.support.operator import Backup, crypto_reset, has_looked_for_news
from tests.support.sides import Exchange, NioSide, Reading, Side, StrictSide, account
from tests.support.stage import Stage
from tests.support.strict import strict_client
from tests.support.talk import Talk

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("kind", ["nio", "element"]),
]


class Customers:
    """Factory of customers with clients of one kind, and of further devices for them."""

    def __init__(self, stage: Stage, kind: str, closing: AsyncExitStack) -> None:
        self.stage, self.kind = stage, kind
        self._closing = closing
        self._phones = Phones(stage, closing)

    async def chatting(self, name: str) -> tuple[Exchange, Reading]:
        """Return a customer in a chat with Mei."""
        name = f"{name}-{self.kind}"
        if self.kind == "nio":
            talk, phone = await self._phones.talk(name)
            side: Side = NioSide(phone, talk)
        else:
            client = await self._closing.enter_async_context(strict_client(self.stage, name))
            opened = await client.do("open", host=self.stage.bot, text="hello")
            talk = Talk(self.stage, client.customer, str(opened["room"]))
            side = StrictSide(client, talk.room)
        await talk.heard("hello")
        await talk.accept()
        return Exchange(talk), Reading(side)

    async def another(self, exchange: Exchange, first: Side, *, same: bool) -> Reading:
        """Return a further device; `same`: with the first one's cross-signing identity."""
        name = account(first).user_id[1:].partition(":")[0]
        if isinstance(first, NioSide):
            phone = await self._phones.of(name, new=False)
            return Reading(NioSide(phone, exchange.talk))
        assert isinstance(first, StrictSide)
        recovery = str((await first.client.do("recover"))["recovery"]) if same else ""
        client = await self._closing.enter_async_context(
            strict_client(self.stage, name, new=False, recovery=recovery)
        )
        return Reading(StrictSide(client, exchange.talk.room))


@pytest_asyncio.fixture(loop_scope="module")
async def customers(stage: Stage, kind: str) -> AsyncIterator[Customers]:
    async with AsyncExitStack() as closing:
        yield Customers(stage, kind, closing)


async def test_before_and_after_a_kill(stage: Stage, customers: Customers) -> None:
    exchange, mine = await customers.chatting("kill")
    await exchange.both_ways(mine, "before")
    await stage.bridge.kill()
    await stage.bridge.start()
    await exchange.both_ways(mine, "after")


async def test_written_while_the_bridge_is_down(stage: Stage, customers: Customers) -> None:
    exchange, mine = await customers.chatting("down")
    await stage.bridge.kill()
    await exchange.ask(mine.side, "meanwhile")
    await stage.bridge.start()
    await exchange.heard("meanwhile")
    await exchange.answer("at last")
    await exchange.read(mine, "at last")


async def test_a_second_device_of_the_customer(customers: Customers) -> None:
    """Both devices read all agent messages, and the agent those of both."""
    exchange, first = await customers.chatting("second")
    second = await customers.another(exchange, first.side, same=True)
    await first.side.spare_session()
    await exchange.both_ways(second, "of the second")
    await exchange.read(first, "of the second")
    await exchange.both_ways(first, "of the first")
    await exchange.read(second, "of the first")


async def test_the_customers_device_was_reset(customers: Customers) -> None:
    """A login without the old data: new keys and a new identity."""
    exchange, old = await customers.chatting("anew")
    await exchange.both_ways(old, "of old")
    other = await customers.another(exchange, old.side, same=False)
    await old.side.log_out()
    await exchange.both_ways(other, "of new")


async def test_the_bridges_keys_were_reset(stage: Stage, customers: Customers) -> None:
    """`crypto reset` gives all bridge users new devices and identities."""
    exchange, mine = await customers.chatting("reset")
    await exchange.both_ways(mine, "before")
    before = await mine.side.devices(stage.bot)
    await stage.bridge.stop()
    await crypto_reset(stage)
    await stage.bridge.start()
    await mine.side.devices(stage.bot, unlike=before)
    await mine.side.spare_session()
    await exchange.both_ways(mine, "after")


async def test_the_bridges_database_was_restored(
    stage: Stage, customers: Customers, kind: str
) -> None:
    """From a copy older than the last messages: new devices of the same identities.

    The copy has no record of the later messages. The check after each start finds them in the room,
    and they are delivered again, as it cannot be known that they were.
    """
    exchange, mine = await customers.chatting("restored")
    await exchange.both_ways(mine, "before")
    before = await mine.side.devices(stage.bot)
    await exchange.talk.customer.wait_until(lambda: has_looked_for_news(stage))
    await stage.bridge.stop()
    backup = Backup(stage, kind)
    backup.make()
    await stage.bridge.start()
    await exchange.both_ways(mine, "of the lost time")
    await stage.bridge.stop()
    backup.restore()
    await stage.bridge.start()
    await mine.side.devices(stage.bot, unlike=before)
    await exchange.heard_again("of the lost time")
    await mine.side.spare_session()
    await exchange.both_ways(mine, "after")
