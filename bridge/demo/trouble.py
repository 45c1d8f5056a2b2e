"""The demo's second chat: other agents, other kinds of content, and a connection that breaks."""

from __future__ import annotations

from bridge.demo.customer import content_of, membership
from bridge.demo.scenes import Scene, msgtype_is, text_is
from bridge.demo.transcript import expect
from bridge.texts import Texts

VOICE_SECONDS = 2
ORIENTAL_PEARL = (31.2453, 121.5064)
"""A place in Shanghai, in Baidu's coordinates."""


def words(key: str, **args: str | int) -> str:
    """The bridge's own sentence, as the stage's language has it."""
    return Texts({}).render("en", key, {"prefix": "!wc", **args})


async def play_second_chat(scene: Scene) -> None:
    """Play it in the room of the first chat; the next word asks for a new one."""
    scene.transcript.title("A second chat: a voice, a place, two more agents")
    await _begin(scene)
    await _voice_and_place(scene)
    await _agents(scene)
    scene.transcript.title("The connection breaks")
    await _trouble(scene)


async def _begin(scene: Scene) -> None:
    async with scene.transcript.step("the next word asks for a new chat"):
        await scene.say("One more thing")
        await scene.agent_gets("pre-message: One more thing", text_is("One more thing"))
        await scene.desk("accept", agent="A00001")
        await scene.sees("a second connection", lambda event: "✅" in str(content_of(event)))


async def _voice_and_place(scene: Scene) -> None:
    async with scene.transcript.step("the agent's voice arrives as a voice message that plays"):
        await scene.desk("voice", seconds=VOICE_SECONDS)
        event = await scene.sees("a voice message", msgtype_is("m.audio", "@webchat_"))
        content = content_of(event)
        expect("org.matrix.msc3245.voice" in content, "it is not marked as a voice message")
        data = await scene.customer.download(str(content["url"]))
        expect(data.startswith(b"OggS"), "it is not Ogg")
    async with scene.transcript.step("the agent's location arrives as a place on the earth"):
        latitude, longitude = ORIENTAL_PEARL
        await scene.desk("location", latitude=latitude, longitude=longitude, poi="东方明珠")
        event = await scene.sees("a location", msgtype_is("m.location", "@webchat_"))
        uri = str(content_of(event).get("geo_uri"))
        expect(uri.startswith("geo:31.2"), f"an address near 31.2 was expected, not {uri}")


async def _agents(scene: Scene) -> None:
    domain = scene.stage.synapse.domain
    async with scene.transcript.step("a second agent joins, then takes over alone"):
        await scene.desk("conference", to="A00002")
        await scene.reads(words("chat.agent_joined", names="Jun"))
        await scene.desk("leave", agent="A00001")
        await scene.reads(words("chat.agent_left", names="Mei"))
        await scene.sees("Mei's leaving", membership(f"@webchat__a00001:{domain}", "leave"))
    async with scene.transcript.step("and hands the customer back"):
        await scene.desk("transfer", to="A00001")
        await scene.reads(words("chat.transferred", old="Jun", new="Mei"))


async def _trouble(scene: Scene) -> None:
    async with scene.transcript.step("the link is cut; what she writes arrives once all the same"):
        await scene.desk("kick", code=1006)
        await scene.say("Are you still there?")
        await scene.agent_gets("Are you still there?", text_is("Are you still there?"))
    async with scene.transcript.step("the login expires; the bridge logs in again, unnoticed"):
        await scene.desk("expire_token")
        await scene.desk("kick", code=1006)
        await scene.say("And now?")
        await scene.agent_gets("And now?", text_is("And now?"))
        await scene.desk("say", text="Still here.")
        await scene.reads("Still here.")
    async with scene.transcript.step("the customer ends the chat herself"):
        await scene.say("!wc close")
        await scene.reads("You have ended the chat")
