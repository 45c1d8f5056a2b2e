"""Videos: no guide shows how a customer sends one, so they are sent as files unless configured.

Reference 1.5, type 6: defined as a constant, but used only by the vendor's phone clients.
"""

from __future__ import annotations

import pytest

from bridge.conversation.model import CustomerMedia
from bridge.conversation.turn import Policy
from bridge.ids import QueueId, SessionId
from bridge.webchat.frames import SendMessage, Video
from tests.support.scene import SESSION, Scene
from tests.unit.link.rig import rig, settings_for
from tests.unit.link.simulated import ADA, chat, commands, simulated

URL = "http://crm.example.org/webchat/clip.mp4"
FILM = CustomerMedia("video", "clip.mp4", "mxc://example.org/clip", "video/mp4", 9)


def kinds(scene: Scene) -> list[object]:
    """Return the types of the messages sent."""
    return [
        message["type"] for frame in scene.sent(110) if isinstance(message := frame["msg"], dict)
    ]


@pytest.mark.parametrize(("videos", "kind"), [(False, 3), (True, 6)])
def test_video_is_sent_as_a_file_unless_configured(*, videos: bool, kind: int) -> None:
    scene = Scene(Policy(queue_id=QueueId(7), videos=videos))
    scene.begin()
    event = scene.content(FILM)
    scene.uploaded(URL, 9)
    assert kinds(scene) == [kind]
    scene.reply()
    assert scene.delivered == [event]


@pytest.mark.parametrize("code", [-8, -12, -14, -19])
def test_refused_video_is_sent_as_a_file(code: int) -> None:
    """It is sent again as a file, in order and without another upload, else reported."""
    for last in (1, code):
        scene = Scene(Policy(queue_id=QueueId(7), videos=True))
        scene.begin()
        event = scene.content(FILM)
        scene.text("look")
        scene.uploaded(URL, 9)
        scene.reply(code)
        assert kinds(scene) == [6, 3]
        assert [getattr(call, "repeat", False) for call in scene.calls[-2:]] == [False, False]
        scene.reply(last)
        assert (event in scene.delivered) == (last == 1)
        assert (event in scene.reported) == (last != 1)
        assert kinds(scene) == [6, 3, 1]


def test_video_is_sent_again_as_a_video_in_a_new_session() -> None:
    scene = Scene(Policy(queue_id=QueueId(7), videos=True))
    scene.begin()
    scene.content(FILM)
    scene.uploaded(URL, 9)
    scene.reply(-11)
    scene.reply()
    scene.push(202, sessionId=SESSION + 1, agents=[{"id": "K00017", "name": "Mei"}])
    assert kinds(scene) == [6, 6]


@pytest.mark.parametrize("dialect", ["2016", "2019"])
@pytest.mark.parametrize(("videos", "result"), [(False, -12), (True, 1)])
@pytest.mark.asyncio
async def test_video_frame_over_the_socket(dialect: str, *, videos: bool, result: int) -> None:
    """`"msg": {"type": 6}`: answered by -12 unless the simulator's option `videos` is on."""
    async with simulated(dialect=dialect, videos=videos) as simulator:
        async with rig(settings_for(simulator.base_url)) as rigged:
            session = SessionId(await chat(rigged))
            film = Video("clip.mp4", f"{simulator.base_url}/up/1/clip.mp4", 9)
            assert (await rigged.call(ADA, 2, SendMessage(session, film))).result == result
        sent = commands(simulator, 110)[-1]["msg"]
        assert isinstance(sent, dict)
        assert sent["type"] == 6
