"""Every cell: two independent encrypting clients × every kind of content × both ways × whatever
happens to the bridge, its keys and the customer's devices.

In each cell a text, a picture, a file and a voice message go to the agent and come from the agent.
The one client is matrix-nio; the other is Element's crypto engine in its strictest setting, which
reads nothing from and gives no key to a device that is not cross-signed, and shows no shield.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.support.encrypted import Phones
from tests.support.operator import Backup, crypto_reset
from tests.support.sides import (
    Exchange,
    NioSide,
    Reading,
    Side,
    StrictSide,
    account,
)
from tests.support.stage import Stage
from tests.support.strict import strict_client
from tests.support.talk import Talk

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("kind", ["nio", "element"]),
]


class Customers:
    """Makes customers with clients of one kind, and further devices of theirs."""

    def __init__(self, stage: Stage, kind: str, closing: AsyncExitStack) -> None:
        self.stage, self.kind = stage, kind
        self._closing = closing
        self._phones = Phones(stage, closing)

    async def chatting(self, name: str) -> tuple[Exchange, Reading]:
        """A customer in a chat with Mei."""
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
        """One more device; with `same` under the identity of the first."""
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
    """Both devices read all that the agent says, and what the second one sends is read."""
    exchange, first = await customers.chatting("second")
    second = await customers.another(exchange, first.side, same=True)
    await first.side.spare_session()
    await exchange.both_ways(second, "of the second")
    await exchange.read(first, "of the second")
    await exchange.both_ways(first, "of the first")
    await exchange.read(second, "of the first")


async def test_the_customers_device_was_reset(customers: Customers) -> None:
    """Logged out, and in again with nothing kept: new keys, and a new identity."""
    exchange, old = await customers.chatting("anew")
    await exchange.both_ways(old, "of old")
    other = await customers.another(exchange, old.side, same=False)
    await account(old.side).call("POST", "v3/logout")
    await exchange.both_ways(other, "of new")


async def test_the_bridges_keys_were_reset(stage: Stage, customers: Customers) -> None:
    """By `crypto reset`: new devices and new identities of all of our users."""
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
    """From a copy of before the last messages: new devices of the same identities.

    The copy does not know what became of the lost time's messages. They stand in the room, so the
    look that follows each start finds them, and the agent gets them again rather than perhaps not.
    """
    exchange, mine = await customers.chatting("restored")
    await exchange.both_ways(mine, "before")
    before = await mine.side.devices(stage.bot)
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
