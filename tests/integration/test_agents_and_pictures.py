"""Agents' names and avatars, and every form of a picture, on a real Synapse."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from bridge.matrix.ghosts import SERVICE_MEMBERS
from tests.support.matrix_user import Event, content_of, membership
from tests.support.stage import Stage
from tests.support.talk import JUN, MEI, Talk, chatting, wording

pytestmark = pytest.mark.asyncio(loop_scope="module")


def picture(width: int, height: int, colour: tuple[int, int, int] = (30, 120, 200)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


def profile(ghost: str, event: Event) -> dict[str, object]:
    """Return the content of the ghost's membership event; {} for any other event."""
    if event.get("type") != "m.room.member" or event.get("state_key") != ghost:
        return {}
    return dict(content_of(event))


def notices(talk: Talk) -> list[str]:
    return [wording(event) for event in talk.messages(talk.stage.bot)]


async def test_conference_rename_and_leave(stage: Stage) -> None:
    """Shown by membership events alone, without a notice; each agent speaks as their ghost."""
    talk = await chatting(stage, "conferee")
    await talk.desk("conference", to="A00002")
    await talk.sees(membership(JUN, "join"))
    for agent, ghost in (("A00001", MEI), ("A00002", JUN)):
        await talk.desk("say", text=f"it is {agent}", agent=agent)
        await talk.reads(f"it is {agent}", ghost)
    renamed = [{"id": "A00001", "name": "Mei Lin"}, {"id": "A00002", "name": "Jun"}]
    await talk.desk("agents", agents=renamed)
    await talk.sees(lambda event: profile(MEI, event).get("displayname") == "Mei Lin")
    await talk.desk("leave", agent="A00002")
    await talk.sees(membership(JUN, "leave"))
    await talk.desk("say", text="alone again")
    await talk.reads("alone again", MEI)
    told = [line for line in notices(talk) if not line.startswith(("⏳", "✅", "* ⏳", "* ✅"))]
    assert told == []
    assert not [line for line in notices(talk) if "team lead" in line], "that is for colleagues"
    await talk.desk("agents", agents=[{"id": "A00001", "name": "Mei"}])
    await talk.sees(lambda event: profile(MEI, event).get("displayname") == "Mei")


async def test_agents_do_not_count_in_a_direct_chat(stage: Stage) -> None:
    """Each becomes a service member once, before the invitation: Element does not count these."""
    talk = await chatting(stage, "counter")
    await talk.desk("transfer", to="A00002")
    await talk.sees(membership(JUN, "join"))
    await stage.bridge.kill()
    await stage.bridge.start()
    await talk.say("still there?")
    await talk.heard("still there?")
    await talk.desk("transfer", to="A00001")
    await talk.sees(membership(JUN, "leave"))
    events = (await talk.history())[::-1]
    written = [event for event in events if event["type"] == SERVICE_MEMBERS]
    assert [(event["sender"], content_of(event)) for event in written] == [
        (stage.bot, {"service_members": [MEI]}),
        (stage.bot, {"service_members": [MEI, JUN]}),
    ]
    for event, ghost in zip(written, (MEI, JUN), strict=True):
        came = next(one for one in events if membership(ghost, "invite")(one))
        assert events.index(event) < events.index(came)


async def test_agents_icons_become_avatars(stage: Stage) -> None:
    """A relative address is fetched by ngsIcon.do; the same bytes are uploaded once."""
    talk = await chatting(stage, "gallery")
    await talk.desk("image", name="face.png", data=base64.b64encode(picture(9, 9)).decode())
    await talk.sees(lambda event: content_of(event).get("msgtype") == "m.image")
    absolute = f"{stage.simulator.base_url}/icon/A00007.png"
    people: list[dict[str, object]] = [
        {"id": "A00001", "name": "Mei"},
        {"id": "A00007", "name": "Lin", "icon": absolute},
        {"id": "A00008", "name": "Tao", "icon": "headimg/猫 1.png"},
        {"id": "A00009", "name": "Kai", "icon": absolute},
    ]
    await talk.desk("agents", agents=people)
    faces: dict[str, str] = {}
    for number in ("7", "8", "9"):
        ghost = f"@webchat__a0000{number}:localhost"

        def shown(event: Event, ghost: str = ghost) -> bool:
            return str(profile(ghost, event).get("avatar_url", "")).startswith("mxc://")

        faces[number] = str(profile(ghost, await talk.sees(shown))["avatar_url"])
        assert (await talk.customer.download(faces[number])).startswith(b"\x89PNG")
    assert faces["7"] == faces["9"], "known by its hash"
    assert faces["7"] != faces["8"]


@pytest.mark.parametrize("form", ["base64", "data-uri", "object", "address", "rooted", "imageUri"])
async def test_a_picture_in_any_form_arrives_byte_for_byte(stage: Stage, form: str) -> None:
    """Trap T8."""
    talk = await chatting(stage, f"viewer-{form.lower()}")
    data = picture(96, 64, (len(form), 99, 9))
    encoded = base64.b64encode(data).decode()
    if form in {"base64", "data-uri", "object"}:
        await talk.desk("image", name="label.png", data=encoded, style=form)
    else:
        await talk.desk("file", name="label.png", data=encoded)
        await talk.sees(lambda one: content_of(one).get("body") == "label.png")
        frame = pushed_file(stage)
        rooted = frame["msg"]["content"]["url"]
        address = stage.simulator.base_url.removesuffix("/webchat") + rooted
        content: object = {"address": address, "rooted": rooted}.get(
            form, {"imageUri": rooted, "name": "label.png"}
        )
        msg = {"type": 2, "content": content}
        await talk.desk("push", frame={**frame, "msg": msg})
    event = await talk.sees(lambda one: content_of(one).get("msgtype") == "m.image")
    assert await talk.customer.download(str(content_of(event)["url"])) == data
    assert content_of(event)["info"] == {
        "mimetype": "image/png",
        "size": len(data),
        "w": 96,
        "h": 64,
    }


def pushed_file(stage: Stage) -> Any:
    """Return the newest frame with a file from an agent."""
    frames: list[Any] = [entry["frame"] for entry in stage.simulator.frames()]
    return [frame for frame in frames if frame["type"] == 210 and frame["msg"]["type"] == 3][-1]


async def test_a_sticker_a_caption_and_a_very_long_text(stage: Stage) -> None:
    """A sticker goes as a picture, a caption after its picture, a long text in several frames."""
    talk = await chatting(stage, "talkative")
    data, room = picture(20, 20), talk.room
    captioned = {"body": "this is what came", "filename": "parcel.png"}
    await talk.customer.send_file(room, data, "-", "image/png", "m.image", **captioned)
    sent = await talk.sees(lambda event: content_of(event).get("filename") == "parcel.png")
    sticker = {key: content_of(sent)[key] for key in ("url", "info")}
    await talk.customer.send(room, {"body": "a cat", **sticker}, "m.sticker")
    await talk.heard("this is what came")
    long = "客服你好，" * 4000
    await talk.say(long)
    person = await talk.at_desk(lambda one: "".join(one.texts).endswith(long), 60)
    kinds = [message.kind for message in person.messages]
    assert kinds[:4] == ["text", "image", "text", "image"]
    assert kinds.count("image") == 2
    assert set(kinds[4:]) == {"text"}
    assert len(kinds) > 6, "in several frames"
    assert not [message for message in person.messages if message.repeat]
