"""What Element shows in its strictest setting, read from its own crypto engine: no shield at all.

The client gives keys only to cross-signed devices and shows only what such devices sent (MSC4153,
"exclude insecure devices").
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.demo.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.strict import strict_client
from tests.support.talk import JUN, MEI, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLEAN = {"found": True, "encrypted": True, "failed": False, "shield": "NONE", "reason": ""}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    options = StageOptions(simulator=UNLIMITED, config={"bridge": bridge_section()})
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def test_a_strict_client_reads_and_is_read(stage: Stage) -> None:
    async with strict_client(stage, "strict") as client:
        opened = await client.do("open", host=stage.bot, text="only signed devices, please")
        room = str(opened["room"])
        talk = Talk(stage, await stage.customer("nobody"), room)
        await talk.heard("only signed devices, please")
        await talk.queued()
        await talk.desk("accept", agent="A00001")
        seen = await client.do("see", room=room, text="Mei is here", sender=stage.bot)
        assert seen == CLEAN
        await talk.desk("say", text="from Mei's own device")
        assert await client.do("see", room=room, text="from Mei's own", sender=MEI) == CLEAN
        await client.do("say", room=room, text="understood")
        await talk.heard("understood")

        await stage.bridge.kill()
        await client.do("say", room=room, text="said to a dead bridge")
        await stage.bridge.start()
        await talk.heard("said to a dead bridge")
        await talk.desk("transfer", to="A00002")
        await talk.desk("say", text="from Jun's own device")
        assert await client.do("see", room=room, text="from Jun's own", sender=JUN) == CLEAN
