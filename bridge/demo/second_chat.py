"""The demo's second chat: voices and places, more agents, and a connection that breaks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from bridge.demo import samples
from bridge.demo.agents import kind_is, text_is
from bridge.demo.customer import Event, content_of, membership
from bridge.demo.first_chat import expect_readable
from bridge.demo.scene import Scene, msgtype_is, wording, words
from bridge.demo.transcript import expect

VOICE_SECONDS = 2
PEOPLES_SQUARE = "geo:31.230370,121.473700"
"""In Shanghai, as a phone's satellites say (WGS-84)."""
ON_BAIDU = (31.2344, 121.4847)
"""The same place on Baidu's map (BD-09), to a hundred metres."""
ORIENTAL_PEARL = (31.2453, 121.5064)
"""Another one, in Baidu's coordinates."""

WHILE_CUT = ("I said this while you were cut off.", "Your parcel is in Hamburg.")


class PlaceAtDesk(msgspec.Struct):
    """A location as the simulated desk received it."""

    latitude: float
    longitude: float


async def play_second_chat(scene: Scene) -> None:
    """Play it in the room of the first chat; the next word asks for a new one."""
    scene.transcript.title("A second chat: voices and places, more agents")
    await _begin(scene)
    await _voices(scene)
    await _places(scene)
    await _agents(scene)
    scene.transcript.title("The connection breaks")
    await _trouble(scene)
    await _end(scene)


async def _begin(scene: Scene) -> None:
    async with scene.transcript.step("the next word asks for a new chat"):
        await scene.say("One more thing")
        await scene.desk.gets("pre-message: One more thing", text_is("One more thing"))
        await scene.desk.do("accept", agent="A00001")
        await scene.sees("Mei's return", _since(scene, membership(scene.ghost("A00001"), "join")))


def _since(scene: Scene, wanted: Callable[[Event], bool]) -> Callable[[Event], bool]:
    """Such an event that has not been seen by now."""
    known = {event["event_id"] for event in scene.customer.events(scene.room)}
    return lambda event: event["event_id"] not in known and wanted(event)


async def _voices(scene: Scene) -> None:
    async with scene.transcript.step("her voice message reaches the agent as one (AMR)"):
        recording = samples.voice(VOICE_SECONDS)
        voice = {"org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": {"duration": 2000}}
        await scene.send_file(recording, "Voice message.ogg", "audio/ogg", "audio", **voice)
        await scene.desk.gets(f"voice, {VOICE_SECONDS} s", kind_is("voice"))
        digest = hashlib.sha256(recording).hexdigest()
        uploads = {one.sha256 for one in scene.desk.view.uploads}
        expect(digest not in uploads, "it was sent as a file")
    async with scene.transcript.step("the agent's voice message arrives as one that plays (Opus)"):
        await scene.desk.do("voice", seconds=VOICE_SECONDS)
        event = await scene.sees("a voice message", msgtype_is("m.audio", "@webchat_"))
        expect("org.matrix.msc3245.voice" in content_of(event), "it is not marked as voice")
        data = await scene.customer.read_file(event)
        expect(data.startswith(b"OggS"), "it is not Ogg")


async def _places(scene: Scene) -> None:
    async with scene.transcript.step("her place reaches the agent, in the coordinates of its map"):
        await scene.send(
            "[location] People's Square",
            msgtype="m.location",
            body="People's Square",
            geo_uri=PEOPLES_SQUARE,
        )
        message = await scene.desk.gets("location People's Square", kind_is("location"))
        place = msgspec.convert(message.content, PlaceAtDesk)
        off = max(abs(place.latitude - ON_BAIDU[0]), abs(place.longitude - ON_BAIDU[1]))
        expect(off < 0.001, f"{ON_BAIDU} was expected, not {place}")
    async with scene.transcript.step("the agent's place arrives as one on any map"):
        latitude, longitude = ORIENTAL_PEARL
        await scene.desk.do("location", latitude=latitude, longitude=longitude, poi="东方明珠")
        event = await scene.sees("a location", msgtype_is("m.location", "@webchat_"))
        uri = str(content_of(event).get("geo_uri"))
        expect(uri.startswith("geo:31.24"), f"an address near 31.24 was expected, not {uri}")


async def _agents(scene: Scene) -> None:
    async with scene.transcript.step("conference: a second agent joins, then talks on alone"):
        await scene.desk.do("conference", to="A00002")
        await scene.reads(words("chat.agent_joined", names="Jun"))
        await scene.sees("Jun's joining", membership(scene.ghost("A00002"), "join"))
        await scene.desk.do("leave", agent="A00001")
        await scene.reads(words("chat.agent_left", names="Mei"))
        await scene.sees("Mei's leaving", membership(scene.ghost("A00001"), "leave"))
    async with scene.transcript.step("transfer: he hands the customer back"):
        await scene.desk.do("transfer", to="A00001")
        await scene.reads(words("chat.transferred", old="Jun", new="Mei"))


async def _trouble(scene: Scene) -> None:
    async with scene.transcript.step("the link is cut; what she writes arrives once all the same"):
        await scene.desk.do("kick", code=1006)
        await scene.say("Are you still there?")
        await scene.desk.gets("Are you still there?", text_is("Are you still there?"))
    async with scene.transcript.step("the login expires; the bridge logs in again, unnoticed"):
        await scene.desk.do("expire_token")
        await scene.desk.do("kick", code=1006)
        await scene.say("And now?")
        await scene.desk.gets("And now?", text_is("And now?"))
        await scene.desk.do("say", text="Still here.")
        await scene.reads("Still here.")
    if scene.stage.simulator.options.numbers_pushes:
        await _missed(scene)


async def _missed(scene: Scene) -> None:
    """Servers of 2019 repeat what was not confirmed, or keep a history; one of 2016 forgets."""
    async with scene.transcript.step("what the agent says while the link is cut comes once, later"):
        await _say_while_cut(scene, WHILE_CUT[0])
        await scene.desk.until("all receipts", lambda desk: desk.pending_pushes == 0)
    async with scene.transcript.step("without receipts, the bridge finds it in the history"):
        await scene.stage.simulator.do({"op": "set", "options": {"receipts": False}})
        await _say_while_cut(scene, WHILE_CUT[1])


async def _say_while_cut(scene: Scene, text: str) -> None:
    await scene.desk.do("kick", code=1006)
    await scene.desk.do("say", text=text)
    await scene.reads(text)


async def _end(scene: Scene) -> None:
    async with scene.transcript.step("the customer ends the chat herself"):
        await scene.say("!wc close")
        await scene.reads("You have ended the chat")
        for text in ("Are you still there?", "And now?"):
            copies = [
                one for one in scene.desk.customer.messages if one.text == text and not one.repeat
            ]
            expect(len(copies) == 1, f"the agent got “{text}” {len(copies)} times")
        for text in WHILE_CUT:
            seen = [one for one in scene.customer.events(scene.room) if text in wording(one)]
            expect(len(seen) <= 1, f"she got “{text}” {len(seen)} times")
        expect_readable(scene)
