"""Customers of another homeserver, which federates with the bridge's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import pytest_asyncio

from bridge.demo.child_process import SynapseServer
from tests.support.client import room_call
from tests.support.encrypted import Phones
from tests.support.federation import federating
from tests.support.logs import show_on_failure
from tests.support.matrix_user import Customer, Event, content_of, membership
from tests.support.ports import free_port
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.synapse import SYNAPSE_KEYS, lay_out
from tests.support.talk import Talk, announced

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SynapseServer]:
    """The homeserver of the customers."""
    folder, port = tmp_path_factory.mktemp("other"), free_port()
    await lay_out(folder / "synapse")
    show_on_failure(request, folder / "synapse" / "homeserver.log")
    keys = federating(folder, port)
    async with SynapseServer(folder / "synapse", port=port, extra=SYNAPSE_KEYS | keys) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, other: SynapseServer
) -> AsyncIterator[Stage]:
    port = free_port()
    keys = federating(tmp_path_factory.mktemp("near"), port)
    permissions = {other.domain: "customer", f"@mallory:{other.domain}": "none"}
    permissions[str(keys["server_name"])] = "none"
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


async def test_a_stranger_of_another_server(stage: Stage, other: SynapseServer) -> None:
    """The invitation is declined with the reason; the bot never joins."""
    talk = await Talk.open(stage, await Customer.sign_up(stage.session, other, "mallory"), "hi")
    declined = content_of(await talk.sees(membership(stage.bot, "leave")))
    assert "@mallory:" in str(declined["reason"])
    assert "may not use this service" in str(declined["reason"])
    assert not talk.messages(stage.bot)
