"""Voice messages on their way to the call centre."""

from __future__ import annotations

import asyncio
import base64

import msgspec
import pytest

from bridge.conversation.model import Policy
from bridge.ids import EventId
from bridge.webchat.frames import Content, File, SendMessage, Voice
from tests.fakes.clock import quiet
from tests.fakes.reading import ReadingWorld
from tests.support.sounds import codec_of, seconds_of, tone
from tests.unit.rooms.visits import RULES

pytestmark = pytest.mark.asyncio
VOICE = {"msgtype": "m.audio", "body": "Voice message.ogg", "org.matrix.msc3245.voice": {}}


async def sent(data: bytes | None, longest: int = 7_400) -> tuple[ReadingWorld, list[Content]]:
    """What the desk gets of a voice message."""
    rules = msgspec.structs.replace(RULES, policy=Policy(max_text_bytes=longest))
    world = ReadingWorld(rules)
    await world.chatting()
    if data is not None:
        world.reading.files["mxc://s/v"] = data
    async with world.running() as engine:
        event = world.message(
            "$1", **VOICE, url="mxc://s/v", info={"mimetype": "audio/ogg", "size": 1}
        )
        await engine.accept_events([event])
        async with asyncio.timeout(20):  # the work is done in a thread, in its own time
            while not await world.nothing_left():
                await world.counts.news.wait()
                world.counts.news.clear()
                await quiet()
    commands = [call.command for call in world.link.calls]
    return world, [one.content for one in commands if isinstance(one, SendMessage)]


@pytest.mark.parametrize("seconds", [0.3, 2, 5, 8])
async def test_a_voice_message_travels_in_its_frame(seconds: float) -> None:
    world, contents = await sent(tone(seconds))
    (voice,) = contents
    assert isinstance(voice, Voice)
    assert voice.seconds == max(1, round(seconds))
    assert len(voice.data) <= 7_400
    amr = base64.b64decode(voice.data, validate=True)
    assert codec_of(amr) == "amrnb"
    assert seconds_of(amr) == pytest.approx(seconds, rel=0.05)
    assert world.link.uploads == 0


@pytest.mark.parametrize("data", [tone(12), b"no sound at all"])
async def test_what_does_not_fit_or_is_no_sound_goes_as_a_file(data: bytes) -> None:
    world, contents = await sent(data)
    url = "https://crm.example.org/1"
    assert contents == [File("Voice message.ogg", url, len(data), "ogg")]
    assert world.link.uploads == 1


async def test_a_long_one_fits_into_a_large_frame() -> None:
    _, (voice,) = await sent(tone(12), longest=60_000)
    assert isinstance(voice, Voice)
    assert voice.seconds == 12


async def test_one_that_is_gone_is_reported() -> None:
    world, contents = await sent(None)
    assert contents == []
    assert [one.reply_to for one in world.reading.notices] == [EventId("$1")]
