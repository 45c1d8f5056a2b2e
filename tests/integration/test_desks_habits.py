"""Settings for differences between desks (videos, emoji, HTML, JSON), on a real Synapse."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from tests.support.sounds import film
from tests.support.stage import Stage, StageOptions
from tests.support.staging import UNLIMITED, bridge_section, staged
from tests.support.talk import Talk, chatting

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    options = StageOptions(
        simulator=msgspec.structs.replace(UNLIMITED, videos=True),
        config={"bridge": bridge_section()},
        webchat={
            "videos": True,
            "emoji_mode": "qq",
            "escape_outgoing": True,
            "jsonlib_guard": True,
        },
    )
    async with staged(request, tmp_path_factory, options) as stage:
        yield stage


async def test_a_video_is_sent_as_a_file_once_the_desk_refuses_videos(stage: Stage) -> None:
    talk = await chatting(stage, "director")
    data = film()
    await talk.customer.send_file(talk.room, data, "clip.mp4", "video/mp4", "m.video")
    sent = (await talk.got("video")).content
    assert isinstance(sent, dict)
    assert (sent["name"], sent["size"]) == ("clip.mp4", len(data))
    uploads = stage.simulator.state()["uploads"]
    assert isinstance(uploads, list)
    (upload,) = [one for one in uploads if one["address"] == sent["url"]]
    assert upload["sha256"] == hashlib.sha256(data).hexdigest()

    await stage.simulator.do({"op": "set", "options": {"videos": False}})
    await talk.customer.send_file(talk.room, data, "again.mp4", "video/mp4", "m.video")
    file = (await talk.got("file")).content
    assert isinstance(file, dict)
    assert file["name"] == "again.mp4"
    person = talk.person
    assert person is not None
    assert [message.kind for message in person.messages] == ["text", "video", "file"]
    frames: list[Any] = [
        entry["frame"] for entry in stage.simulator.frames() if entry["direction"] == "in"
    ]
    sent_as = [one["msg"]["type"] for one in frames if one.get("type") == 110]
    assert sent_as == [6, 6, 3], "tried once as a film"


async def test_texts_are_escaped_for_the_desk_as_configured(stage: Stage) -> None:
    talk = await Talk.open(stage, await stage.customer("mathematician"), "1 < 2 🙂")
    await talk.heard("1 &lt; 2 /::)")
    await talk.accept()
    await talk.say("[1, 2]")
    await talk.heard("\u200b[1, 2]")
    assert talk.person is not None
    assert len(talk.person.texts) == 2
