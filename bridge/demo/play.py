"""`matrix-webchat demo`: a complete conversation through real servers, printed as a transcript.

Its script has two chats of one customer, with robot, queue, agents, media, typing, rating,
conference and transfer, a broken connection and an expired token. The room is encrypted, and the
WebChat server follows the newest guide. The check plays it a second time with a server of 2016,
which knows fewer frames.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import logging
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import av
from nio import DevicesResponse, JoinedRoomsResponse
from rich.console import Console

from bridge.demo.child_process import ServerError
from bridge.demo.phone import Phone, done, password_of
from bridge.demo.stage import (
    POLL,
    QUEUES,
    Scene,
    Stage,
    StageOptions,
    Transcript,
    answers_of,
    expect,
    from_agent,
    kind_is,
    membership,
    set_stage,
    wording,
    words,
)
from bridge.ops.logging import configure_logging
from bridge.simulator.options import RatingChoice, SimulatorOptions
from bridge.simulator.samples import picture

Dialect = Literal["2016", "2019"]
VISITOR = "visitor"
DIRECTORY_SECONDS = 30
"""Maximum seconds until the bot is in the homeserver's user directory."""
ROBOT_KEY = "demo-key"
RATINGS = (
    RatingChoice(id=2, name="Very happy"),
    RatingChoice(id=1, name="Happy"),
    RatingChoice(id=0, name="Unhappy"),
)
"""Rating table of a server of 2019; one of 2016 leaves the scale to the bridge."""


def main(*, check: bool = False) -> int:
    """Play the demo, with `check` in both dialects and then stop; return 1 if a step failed."""
    configure_logging("WARNING", "text")
    # nio warns of events it cannot decrypt yet; one that it can never decrypt fails a step.
    logging.getLogger("nio").setLevel(logging.CRITICAL)
    console = Console(highlight=False, soft_wrap=True)
    with suppress(KeyboardInterrupt):
        return asyncio.run(_main(console, check=check))
    return 0


async def _main(console: Console, *, check: bool) -> int:
    transcript = Transcript(console)
    try:
        if check:
            for dialect in ("2019", "2016"):
                async with _played(transcript, dialect):
                    pass
            transcript.verdict()
        else:
            async with _played(transcript, "2019") as stage:
                transcript.verdict()
                await _stay_up(stage, console)
    except ServerError as error:
        console.print(f"[bold red]FAIL[/]  {error}")
        return 1
    return 1 if transcript.failed else 0


@asynccontextmanager
async def _played(transcript: Transcript, dialect: Dialect) -> AsyncIterator[Stage]:
    """Set a stage, play the conversation, and yield the running stage."""
    transcript.title(f"WebChat as the guide of {dialect} has it")
    with tempfile.TemporaryDirectory(prefix="webchat-demo-") as name:
        folder = Path(name)
        try:
            async with set_stage(folder, options(dialect), tell=transcript.note) as stage:
                transcript.note(f"Synapse {stage.synapse.address}, bridge {stage.bridge.url}")
                await _play(stage, transcript)
                yield stage
        except ServerError:
            # The error names logs that are deleted with the folder.
            for log in (folder / "synapse" / "homeserver.log", folder / "bridge.log"):
                transcript.end_of(log)
            raise


async def _play(stage: Stage, transcript: Transcript) -> None:
    async with stage.phone("alice") as alice, stage.phone("bob") as bob:
        scene = Scene(stage, transcript, alice)
        await play_first_chat(scene, Scene(stage, transcript, bob))
        await play_second_chat(scene)
    transcript.title("Your turn")
    async with transcript.step(f"a fresh account is ready for you: {VISITOR} has no device yet"):
        await _invite_visitor(stage)


async def _invite_visitor(stage: Stage) -> None:
    """Create the visitor's account and log out: Element warns of devices it cannot verify."""
    async with stage.phone(VISITOR) as visitor:
        devices = done(DevicesResponse, await visitor.nio.devices()).devices
        rooms = done(JoinedRoomsResponse, await visitor.nio.joined_rooms()).rooms
        found = await _finds_bot(visitor, stage.bot)
        await visitor.nio.logout()
    expect(len(devices) == 1, "no device but this one's")
    expect(rooms == [], "no rooms")
    expect(found, f"{stage.bot} is found by searching for webchat, with its picture")


async def _finds_bot(visitor: Phone, bot: str) -> bool:
    """Search the user directory as Element does; Synapse adds users with a delay."""
    path, asked = "/_matrix/client/v3/user_directory/search", '{"search_term": "webchat"}'
    headers = {"Authorization": f"Bearer {visitor.nio.access_token}"}
    for _ in range(DIRECTORY_SECONDS):
        async with await visitor.nio.send("POST", path, asked, headers) as found:
            users: list[dict[str, str]] = (await found.json())["results"]
        if any(user["user_id"] == bot and user["avatar_url"] for user in users):
            return True
        await asyncio.sleep(1)
    return False


def options(dialect: Dialect) -> StageOptions:
    """Return options for a robot and for WebChat in this dialect, which the bridge detects."""
    simulator = SimulatorOptions(
        dialect=dialect,
        login_limit=0,  # the bridge's address is whitelisted, as an operator's should be
        queue_names={str(queue["id"]): str(queue["name"]) for queue in QUEUES},
        ratings=RATINGS,
        resend_seconds=1.0,
        robot_key=ROBOT_KEY,
        robot_answers={QUESTION: ANSWER},
    )
    robot = {"enabled": True, "mode": "command", "public_key": ROBOT_KEY}
    synapse = {
        # Anybody may register, with Element's "Create account".
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "presence": {"enabled": True},  # or everybody would be offline
    }
    return StageOptions(simulator=simulator, webchat={"robot": robot}, synapse=synapse)


def _how_to_visit(stage: Stage) -> str:
    sales, service = (f"@webchat_queue_{number}:{stage.synapse.domain}" for number in (1, 2))
    return f"""
Still running; press Ctrl-C to stop. Now you, in Element (the app, or a browser on this machine):

  Homeserver   {stage.synapse.address}   (Sign in, then Edit beside the homeserver)
  Sign in      {VISITOR}, password {password_of(VISITOR)}   (fresh; "Create account" works too)
  Write        Start chat, search for webchat, choose WebChat ({stage.bot}), type: Hello!
  You see      An encrypted chat, in which a card tells your place in the queue
  Agent        {stage.simulator.desk_url}   (in the browser: Accept, and answer; one tab per agent)
  You see      "✅ Connected: Mei" on the card, and her own messages, with her name
  Then         End the chat at the desk, and rate it with a tap on the poll

  More to type ask {QUESTION}   (the knowledge base)
               lang 中文   (WebChat speaks Chinese; also 日本語, English), help   (all the rest)
  Queues       {sales} (Sales), {service} (Service): write to them likewise
  Chat above   alice, password {password_of("alice")}   (Element warns: her devices are the demo's)
  WebChat      of 2019; make demo CHECK=1 plays one of 2016 as well
  Scripts      curl -d '{{"op": "say", "text": "Hi"}}' {stage.simulator.control_url}/do
  Logs         {stage.bridge.log_file}, {stage.synapse.log_file}"""


async def _stay_up(stage: Stage, console: Console) -> None:
    """Print how to use the running stage, and wait for Ctrl-C."""
    console.print(_how_to_visit(stage), markup=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def recorded_voice(seconds: int) -> bytes:
    """Return a tone of growing volume as Ogg/Opus, the format that Element records."""
    out = io.BytesIO()
    tone = f"sine=440:sample_rate=48000:duration={seconds},volume=5*t/{seconds}:eval=frame"
    with av.open(tone, format="lavfi") as source, av.open(out, "w", format="ogg") as target:
        encoder = target.add_stream("libopus", rate=48_000, layout="mono")
        for frame in source.decode(audio=0):
            target.mux(encoder.encode(frame))
        target.mux(encoder.encode(None))
    return out.getvalue()


# --- the first chat ------------------------------------------------------------------------------

QUESTION = "When do you open?"
ANSWER = "We are open from <b>nine to six</b>, Monday to Friday."
"""An entry of the simulated knowledge base."""


async def play_first_chat(scene: Scene, bystander: Scene) -> None:
    """Play the first chat in a new direct room, with the bystander ahead of her in the queue."""
    scene.transcript.title("A customer asks the robot, then for a person")
    await _wait(scene, bystander)
    scene.transcript.title("The agent answers")
    await _talk(scene)
    if scene.stage.simulator.options.later:
        await _type(scene)
    await _exchange_files(scene)
    scene.transcript.title("The end, and a rating")
    await _end_first_chat(scene)


async def _wait(scene: Scene, bystander: Scene) -> None:
    async with scene.step("somebody else is in the queue already"):
        await bystander.open_dm("I was here first", encrypted=False)
        await bystander.reads("number 1")
    async with scene.step("she opens an encrypted direct chat with the bot"):
        await scene.open_dm(f"ask {QUESTION}")
        await scene.sees("the bot", membership(scene.stage.bot, "join"))
        expect(scene.customer.room(scene.room).encrypted, "the room is not encrypted")
    async with scene.step("the call centre's knowledge base answers what she asks"):
        await scene.reads("nine to six", scene.stage.bot)
    async with scene.step("it does not help: 👎 asks for a person, who learns what she asked"):
        await scene.react(await scene.reads("nine to six", scene.stage.bot), "👎")
        await scene.reads("number 2")
        await scene.desk.gets(
            f"pre-message: {QUESTION}", lambda message: QUESTION in str(message["text"])
        )
    async with scene.step("her place in the queue changes in place when the other gives up"):
        await bystander.say("!wc cancel")
        await scene.reads("number 1")
    async with scene.step("what she writes while waiting is kept for the agent"):
        await scene.tell("It is about order 4711", "pre-message: ")


async def _talk(scene: Scene) -> None:
    ghost = scene.ghost("A00001")
    async with scene.step("an agent accepts and joins the room as herself"):
        await scene.desk.do("accept", agent="A00001")
        await scene.sees("the agent's arrival", membership(ghost, "join"))
        await scene.reads(words("queue.joined", names="Mei"))
        texts = [str(message["text"]) for message in scene.desk.customer.messages]
        expect(
            len(texts) >= 2 and QUESTION in texts[0] and texts[-1] == "It is about order 4711",
            f"the agent should have what she asked and what she wrote, in order; she has {texts}",
        )
        expect(len(texts) == len(set(texts)), f"the agent has something twice: {texts}")
    async with scene.step("the agent's text arrives, formatted and with emoji, and rings"):
        await scene.desk.do(
            "say", text='Hello /::) see <a href="https://example.org/faq">our FAQ</a>'
        )
        event = await scene.reads("Hello 🙂 see our FAQ", ghost)
        html = event["content"].get("formatted_body", "")
        expect('href="https://example.org/faq"' in html, f"the link is missing in {html}")
        expect(event["content"].get("m.mentions") != {}, "her phone does not ring")
    async with scene.step("her text reaches the agent; a read receipt tells her so"):
        sent = await scene.tell("Thanks, I read it. 谢谢！")
        read = scene.customer.room(scene.room).read_receipts
        await scene.notices(
            "the read receipt", lambda: ghost in read and read[ghost].event_id == sent
        )
        scene.transcript.show("Mei", "✓ has read it")


async def _type(scene: Scene) -> None:
    """Expect typing to be shown on both sides; servers of 2016 have no frame for it."""
    nio, ghost = scene.customer.nio, scene.ghost("A00001")
    async with scene.step("each sees that the other is typing"):
        await scene.desk.do("typing")
        room = scene.customer.room(scene.room)
        await scene.notices("the agent's typing", lambda: ghost in room.typing_users)
        scene.transcript.show("Mei", "… types")
        await nio.room_typing(scene.room)
        await scene.desk.until("her typing", lambda who: bool(who.signals))
        scene.transcript.show("desk", "← she types …")
        await nio.room_typing(scene.room, typing_state=False)


async def _exchange_files(scene: Scene) -> None:
    document = b"terms and conditions, \xe7\xac\xac 1 page\n" * 50
    for kind, data, name, mime in (
        ("image", picture("parcel", 96, 64), "parcel.png", "image/png"),
        ("file", document, "receipt.txt", "text/plain"),
    ):
        async with scene.step(f"the customer's {kind} reaches the agent, byte for byte"):
            await scene.send_file(data, name, mime, kind)
            await scene.desk.gets(f"{kind} {name}", kind_is(kind))
            expect(hashlib.sha256(data).hexdigest() in scene.desk.uploads, "the bytes differ")
    back = picture("label", 96, 64)
    for kind, data, name in (("image", back, "label.png"), ("file", document, "terms.txt")):
        async with scene.step(f"the agent's {kind} arrives, byte for byte"):
            await scene.desk.do(kind, name=name, data=base64.b64encode(data).decode())
            event = await scene.sees(f"the {kind}", from_agent(f"m.{kind}"))
            expect(await scene.customer.read_file(event) == data, "the bytes differ")


async def _end_first_chat(scene: Scene) -> None:
    async with scene.step("the agent closes the chat and leaves the room"):
        await scene.desk.do("close")
        await scene.reads("The agent has ended the chat")
        await scene.sees("the agent's leaving", membership(scene.ghost("A00001"), "leave"))
    async with scene.step("the customer rates with a tap on the poll"):
        poll = await scene.sees("a poll", lambda event: event["type"] == POLL)
        answer, label = answers_of(poll)[0]
        await scene.vote(poll, answer)
        scene.transcript.show("alice", f"votes “{label}”")
        await scene.reads(f"Thank you for your rating: {label}.")
        given = [rating["rating"] for rating in scene.desk.customer.ratings]
        expect(given == [int(answer)], f"WebChat should have {answer}, it has {given}")
    async with scene.step("nothing was sent twice, and nothing was unreadable"):
        repeats = [message for message in scene.desk.customer.messages if message["repeat"]]
        expect(not repeats, f"{len(repeats)} messages were repeated")
        expect_readable(scene)


def expect_readable(scene: Scene) -> None:
    """Fail the step if the customer's client could not decrypt an event."""
    unread = scene.customer.unreadable(scene.room)
    expect(not unread, f"{len(unread)} messages could not be decrypted")


# --- the second chat -----------------------------------------------------------------------------

VOICE_SECONDS = 2
PEOPLES_SQUARE = "geo:31.230370,121.473700"
"""A place in Shanghai, in GPS coordinates (WGS-84)."""
ON_BAIDU = (31.2344, 121.4847)
"""The same place in Baidu's coordinates (BD-09), to a hundred metres."""
ORIENTAL_PEARL = (31.2453, 121.5064)
"""Another place, in Baidu's coordinates (BD-09)."""

WHILE_CUT = ("I said this while you were cut off.", "Your parcel is in Hamburg.")


async def play_second_chat(scene: Scene) -> None:
    """Play the second chat in the same room; the customer's next message asks for it."""
    scene.transcript.title("A second chat: voices and places, more agents")
    async with scene.step("the next word asks for a new chat"):
        await scene.tell("One more thing", "pre-message: ")
        known = {event["event_id"] for event in scene.events}
        joined = membership(scene.ghost("A00001"), "join")
        await scene.desk.do("accept", agent="A00001")
        await scene.sees("Mei's return", lambda it: it["event_id"] not in known and joined(it))
    await _voices_and_places(scene)
    await _agents(scene)
    scene.transcript.title("The connection breaks")
    await _trouble(scene)
    await _end_second_chat(scene)


async def _voices_and_places(scene: Scene) -> None:
    async with scene.step("her voice message reaches the agent as one (AMR)"):
        recording = recorded_voice(VOICE_SECONDS)
        voice = {"org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": {"duration": 2000}}
        await scene.send_file(recording, "Voice message.ogg", "audio/ogg", "audio", **voice)
        await scene.desk.gets(f"voice, {VOICE_SECONDS} s", kind_is("voice"))
        digest = hashlib.sha256(recording).hexdigest()
        expect(digest not in scene.desk.uploads, "it was sent as a file")
    async with scene.step("the agent's voice message arrives as one that plays (Opus)"):
        await scene.desk.do("voice", seconds=VOICE_SECONDS)
        event = await scene.sees("a voice message", from_agent("m.audio"))
        expect("org.matrix.msc3245.voice" in event["content"], "it is not marked as voice")
        data = await scene.customer.read_file(event)
        expect(data.startswith(b"OggS"), "it is not Ogg")
    async with scene.step("her place reaches the agent, in the coordinates of its map"):
        place = {"body": "People's Square", "geo_uri": PEOPLES_SQUARE}
        await scene.send("[location] People's Square", msgtype="m.location", **place)
        message = await scene.desk.gets("location People's Square", kind_is("location"))
        got: Any = message["content"]
        off = max(abs(got["latitude"] - ON_BAIDU[0]), abs(got["longitude"] - ON_BAIDU[1]))
        expect(off < 0.001, f"{ON_BAIDU} was expected, not {got}")
    async with scene.step("the agent's place arrives as one on any map"):
        latitude, longitude = ORIENTAL_PEARL
        await scene.desk.do("location", latitude=latitude, longitude=longitude, poi="东方明珠")
        event = await scene.sees("a location", from_agent("m.location"))
        uri = event["content"].get("geo_uri", "")
        expect(uri.startswith("geo:31.24"), f"an address near 31.24 was expected, not {uri}")


async def _agents(scene: Scene) -> None:
    async with scene.step("conference: a second agent joins, then talks on alone"):
        await scene.desk.do("conference", to="A00002")
        await scene.sees("Jun's joining", membership(scene.ghost("A00002"), "join"))
        await scene.desk.do("leave", agent="A00001")
        await scene.sees("Mei's leaving", membership(scene.ghost("A00001"), "leave"))
    async with scene.step("transfer: he hands the customer back"):
        await scene.desk.do("transfer", to="A00001")
        await scene.reads(words("chat.transferred", old="Jun", new="Mei"))


async def _trouble(scene: Scene) -> None:
    async with scene.step("the link is cut; what she writes arrives once all the same"):
        await scene.desk.do("kick", code=1006)
        await scene.tell("Are you still there?")
    async with scene.step("the login expires; the bridge logs in again, unnoticed"):
        await scene.desk.do("expire_token")
        await scene.desk.do("kick", code=1006)
        await scene.tell("And now?")
        await scene.desk.do("say", text="Still here.")
        await scene.reads("Still here.")
    if not scene.stage.simulator.options.has("receipts"):
        return
    # Servers of 2019 resend pushes without a receipt, or keep a history; one of 2016 loses them.
    async with scene.step("what the agent says while the link is cut comes once, later"):
        await _say_while_cut(scene, WHILE_CUT[0])
        await scene.desk.until("all receipts", lambda who: not who.pending)
    async with scene.step("without receipts, the bridge finds it in the history"):
        await scene.stage.simulator.do({"op": "set", "options": {"receipts": False}})
        await _say_while_cut(scene, WHILE_CUT[1])


async def _say_while_cut(scene: Scene, text: str) -> None:
    await scene.desk.do("kick", code=1006)
    await scene.desk.do("say", text=text)
    await scene.reads(text)


async def _end_second_chat(scene: Scene) -> None:
    async with scene.step("the customer ends the chat herself"):
        await scene.say("!wc close")
        await scene.reads("You have ended the chat")
        texts = [line["text"] for line in scene.desk.customer.messages if not line["repeat"]]
        for text in ("Are you still there?", "And now?"):
            copies = texts.count(text)
            expect(copies == 1, f"the agent got “{text}” {copies} times")
        for text in WHILE_CUT:
            seen = [event for event in scene.events if text in wording(event)]
            expect(len(seen) <= 1, f"she got “{text}” {len(seen)} times")
        expect_readable(scene)
