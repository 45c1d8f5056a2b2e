"""Homeservers without device management by application services (MSC4190), and registrations that
do not ask for it.

A present Synapse creates devices for the bridge with or without that line of the registration. A
proxy in front of it answers as an older one would; only the login, which gives each bridge user a
device and a token of its own, is the real one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from bridge.matrix.users import load_registration
from tests.support.client import restart
from tests.support.encrypted import Phones, both_ways, keys_of
from tests.support.operator import crypto_reset, failures
from tests.support.ports import free_port
from tests.support.proxy import Proxy, running
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import MEI

pytestmark = pytest.mark.asyncio(loop_scope="module")

AS_A_DEVICE = ("device_id", "org.matrix.msc3202.device_id")
ASK_FOR_IT = "io.element.msc4190: true"


class OlderHomeserver(Proxy):
    """Proxy that makes Synapse look like one of 2024 while `older` is set."""

    older = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if not self.older:
            return await super().handle(request)
        if "/devices/" in request.path and request.method == "PUT":
            body = {"errcode": "M_NOT_FOUND", "error": "No device found"}
            return web.json_response(body, status=404)
        if "/devices/" in request.path and request.method == "DELETE":
            # It wants the user's password; bridge users have none.
            flows = {"flows": [{"stages": ["m.login.password"]}], "session": "x", "params": {}}
            return web.json_response(flows, status=401)
        return await super().handle(request)

    def target(self, request: web.Request) -> str:
        if not self.older:
            return super().target(request)
        # An older homeserver ignores unknown parameters.
        return str(request.rel_url.without_query_params(*AS_A_DEVICE))


@pytest.fixture(scope="module")
def synapse_port() -> int:
    return free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(synapse_port: int) -> AsyncIterator[OlderHomeserver]:
    async with running(synapse_port, OlderHomeserver) as proxy:
        assert isinstance(proxy, OlderHomeserver)
        yield proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    proxy: OlderHomeserver,
    synapse_port: int,
) -> AsyncIterator[Stage]:
    """A stage whose registration does not ask for device management."""
    options = StageOptions(
        ports=(synapse_port, free_port()),
        simulator=UNLIMITED,
        config={
            "homeserver": {"address": proxy.address, "domain": "localhost"},
            "bridge": bridge_section(),
        },
    )
    async with staged(request, tmp_path_factory, options) as stage:
        await stage.bridge.stop()
        path = stage.folder / "registration.yaml"
        asked = path.read_text(encoding="utf-8")
        assert ASK_FOR_IT in asked
        path.write_text(asked.replace(ASK_FOR_IT, "io.element.msc4190: false"), encoding="utf-8")
        assert not load_registration(path).device_management
        await restart(stage.synapse)
        await stage.bridge.start()
        yield stage


async def test_a_registration_that_does_not_ask_for_devices(stage: Stage, phones: Phones) -> None:
    talk, phone = await phones.chatting("unasked")
    await both_ways(talk, "without asking")
    assert phone.unreadable(talk.room) == []
    assert await failures(stage) == {}


async def test_a_homeserver_that_gives_devices_by_login_only(
    stage: Stage, phones: Phones, proxy: OlderHomeserver
) -> None:
    """Also after a kill of the bridge, with keys that came while it was down."""
    await stage.bridge.stop()
    await crypto_reset(stage)
    proxy.older = True
    await stage.bridge.start()
    talk, phone = await phones.chatting("older")
    await both_ways(talk, "by login")
    await stage.bridge.kill()
    await talk.say("said to a dead bridge")
    await stage.bridge.start()
    await talk.heard("said to a dead bridge")
    await both_ways(talk, "by the same token")
    assert phone.unreadable(talk.room) == []
    for user, keys in (await keys_of(phone, [stage.bot, MEI])).items():
        assert keys.signed, f"{user} has a cross-signed device"
    assert await failures(stage) == {}
    log = stage.bridge.log_file.read_text(encoding="utf-8")
    assert "syt_" not in log, "the tokens of the devices are secrets"
