"""Customers of another homeserver, which federates with the bridge's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import NamedTuple

import pytest
import pytest_asyncio

from bridge.demo.child_process import SynapseServer
from bridge.demo.phone import ENCRYPTION
from tests.support.client import room_call
from tests.support.encrypted import Phones
from tests.support.federation import Hostile, federating, hostile
from tests.support.logs import show_on_failure
from tests.support.matrix_user import Customer, Event, content_of, membership
from tests.support.ports import free_port
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.synapse import SYNAPSE_KEYS, lay_out
from tests.support.talk import Talk, announced

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Other(NamedTuple):
    """The homeserver of the customers, and the proxy before its federation."""

    server: SynapseServer
    proxy: Hostile


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Other]:
    folder, port = tmp_path_factory.mktemp("other"), free_port()
    await lay_out(folder / "synapse")
    show_on_failure(request, folder / "synapse" / "homeserver.log")
    async with hostile(folder, port) as (proxy, keys):
        extra = SYNAPSE_KEYS | keys
        async with SynapseServer(folder / "synapse", port=port, extra=extra) as server:
            yield Other(server, proxy)


@pytest.fixture
def other(there: Other) -> SynapseServer:
    return there.server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, there: Other
) -> AsyncIterator[Stage]:
    port, other = free_port(), there.server
    keys = federating(tmp_path_factory.mktemp("near"), port)
    permissions = {other.domain: "customer", f"@mallory:{other.domain}": "none"}
    permissions[str(keys["server_name"])] = "none"
    permissions[f"@near:{keys['server_name']}"] = "customer"
    options = StageOptions(
        synapse=keys,
        ports=(port, free_port()),
        simulator=UNLIMITED,
        config={"bridge": bridge_section(permissions=permissions)},
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


def kind_of(event: Event) -> object:
    return content_of(event).get("msgtype")


async def both_ways(talk: Talk, first: str) -> None:
    """Let an agent accept the customer; write and send a picture each way, and leave."""
    mei = f"@webchat__a00001:{talk.stage.synapse.domain}"
    await talk.heard(first)
    await talk.accept(ghost=mei)
    await talk.desk("say", text="where are you?")
    await talk.reads("where are you?", mei)
    await talk.customer.send_file(talk.room, b"far", "far.png", "image/png", "m.image")
    await announced(talk, b"far")
    await talk.desk("image")
    shown = await talk.sees(lambda event: (event["sender"], kind_of(event)) == (mei, "m.image"))
    assert (await talk.customer.read_file(shown)).startswith(b"\x89PNG")
    await room_call(talk.customer, "leave", talk.room)
    await talk.at_desk(lambda one: one.session is None)


async def test_a_customer_of_another_server(stage: Stage, other: SynapseServer) -> None:
    customer = await Customer.sign_up(stage.session, other, "clara")
    host = f"@webchat_queue_2:{stage.synapse.domain}"
    talk = await Talk.open(stage, customer, "from afar", host=host)
    await both_ways(talk, "from afar")


async def test_an_encrypted_room_of_another_server(stage: Stage, other: SynapseServer) -> None:
    async with AsyncExitStack() as closing:
        phone = await Phones(replace(stage, synapse=other), closing).of("sela")
        talk = await Talk.open(stage, phone, "sealed, from afar")
        await both_ways(talk, "sealed, from afar")
        assert phone.unreadable(talk.room) == []
        mei = f"@webchat__a00001:{stage.synapse.domain}"
        own = await Talk.open(stage, phone, "to her own account", host=mei)
        await own.reads("reaches nobody, not even the agent", mei)
        await own.sees(membership(mei, "leave"))
        assert phone.unreadable(own.room) == []


async def test_a_stranger_of_another_server(stage: Stage, other: SynapseServer) -> None:
    """The invitation is declined with the reason; the bot never joins."""
    talk = await Talk.open(stage, await Customer.sign_up(stage.session, other, "mallory"), "hi")
    declined = content_of(await talk.sees(membership(stage.bot, "leave")))
    assert "@mallory:" in str(declined["reason"])
    assert "may not use this service" in str(declined["reason"])
    assert not talk.messages(stage.bot)


async def test_a_server_that_is_slow_about_keys_delays_no_other_customers(
    stage: Stage, there: Other
) -> None:
    """Its customers' rooms had taken all ten queries that Synapse runs for the bot at a time."""
    there.proxy.slow = True
    rooms: list[tuple[Customer, str]] = []
    for number in range(3):
        far = await Customer.sign_up(stage.session, there.server, f"far{number}")
        rooms += [
            (far, await far.create_dm(stage.bot, initial_state=[ENCRYPTION])) for _ in range(5)
        ]
    for far, room in rooms:
        await far.wait_for(room, membership(stage.bot, "join"))
    mei = f"@webchat__a00001:{stage.synapse.domain}"
    async with AsyncExitStack() as closing:
        talk, _ = await Phones(stage, closing).talk("near")
        await talk.heard("hello")
        await talk.accept(ghost=mei)
        await talk.desk("say", text="no delay here")
        await talk.reads("no delay here", mei)
