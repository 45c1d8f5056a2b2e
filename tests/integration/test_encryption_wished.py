"""`encryption.default` and `encryption.require`, as customers meet them in Element."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.client import set_state
from tests.support.encrypted import Phones, both_ways
from tests.support.matrix_user import Customer, Event, content_of
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENCRYPTED: dict[str, object] = {"algorithm": "m.megolm.v1.aes-sha2"}


@dataclass(frozen=True)
class House:
    stage: Stage
    phones: Phones

    async def talk(self, name: str, first: str, **options: object) -> Talk:
        """Return a new customer in an unencrypted room."""
        phone = await self.phones.of(name)
        room = await phone.create_dm(self.stage.bot, first, **({"initial_state": []} | options))
        return Talk(self.stage, phone, room)


@asynccontextmanager
async def house_with(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, **encryption: bool
) -> AsyncIterator[House]:
    section = bridge_section(encryption=encryption)
    options = StageOptions(simulator=UNLIMITED, config={"bridge": section})
    async with staged(request, tmp_path_factory, options) as stage, AsyncExitStack() as closing:
        yield House(stage, Phones(stage, closing))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encrypting_by_default(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    async with house_with(request, tmp_path_factory, default=True) as house:
        yield house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def requiring_encryption(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    async with house_with(request, tmp_path_factory, require=True) as house:
        yield house


def is_encryption(event: Event) -> bool:
    return event.get("type") == "m.room.encryption"


async def sent_as(talk: Talk, event: Event) -> object:
    """Return the event's type at the homeserver."""
    kinds = {e["event_id"]: e["type"] for e in await talk.history()}
    return kinds[event["event_id"]]


async def test_a_clear_chat_becomes_encrypted(encrypting_by_default: House) -> None:
    """In a direct room as Element creates it, where the bot has all power."""
    talk = await encrypting_by_default.talk("wished1", "not secret yet")
    turned_on = await talk.sees(is_encryption)
    assert turned_on["sender"] == encrypting_by_default.stage.bot
    assert content_of(turned_on) == ENCRYPTED
    told = await talk.reads("I have turned on encryption", encrypting_by_default.stage.bot)
    assert await sent_as(talk, told) == "m.room.encrypted"
    await talk.heard("not secret yet")
    await talk.accept()
    await both_ways(talk, "from now on")
    assert await sent_as(talk, await talk.reads("yes, from now on", MEI)) == "m.room.encrypted"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wished2", {"preset": "public_chat", "is_direct": False}),
        ("wished3", {"preset": "private_chat", "is_direct": False}),
    ],
    ids=["public", "without the power"],
)
async def test_a_room_where_the_bot_may_not_turn_on_encryption_stays_clear(
    encrypting_by_default: House, name: str, options: dict[str, object]
) -> None:
    talk = await encrypting_by_default.talk(name, "in the open", **options)
    await talk.heard("in the open")
    await talk.accept()
    await talk.desk("say", text="so am I")
    assert await sent_as(talk, await talk.reads("so am I", MEI)) == "m.room.message"
    assert not any(is_encryption(event) for event in talk.customer.events(talk.room))


async def test_unencrypted_messages_are_refused_where_encryption_is_required(
    requiring_encryption: House,
) -> None:
    talk = await requiring_encryption.talk("demanded1", "my card number is 1234")
    event = await talk.reads("my card number", talk.customer.user_id)
    await talk.reads_reply("Not delivered: only encrypted messages", str(event["event_id"]))
    await talk.say("!wc status")
    await talk.reads("No chat at the moment", requiring_encryption.stage.bot)
    start = await talk.say("!wc start")
    await talk.reads_reply("Not delivered", start)
    assert talk.person is None, "the call centre was never asked"

    await set_state(talk.customer, talk.room, "m.room.encryption", ENCRYPTED)
    await talk.sees(is_encryption)
    await talk.reads("will answer here", requiring_encryption.stage.bot)
    await talk.say("now then")
    await talk.heard("now then")
    await talk.accept()
    await both_ways(talk, "in secret")
    # Another client of the customer, without encryption, in the same room.
    plain = await Customer.send(
        talk.customer, talk.room, {"msgtype": "m.text", "body": "by another app"}
    )
    await talk.reads_reply("sent without encryption", plain)
    person = await talk.at_desk(lambda _: True)
    assert [text for text in person.texts if "1234" in text or "app" in text] == []
