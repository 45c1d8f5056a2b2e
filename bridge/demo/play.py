"""`matrix-webchat demo`: a complete conversation through real servers, printed as a transcript.

The room is encrypted, and the WebChat server follows the newest guide. The check plays it a second
time with a server of 2016, which knows fewer frames.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

from nio import DevicesResponse, JoinedRoomsResponse
from rich.console import Console

from bridge.demo.child_process import ServerError
from bridge.demo.phone import Phone, done, password_of
from bridge.demo.scene import Scene, Transcript, expect
from bridge.demo.script import ANSWER, QUESTION, play_first_chat, play_second_chat
from bridge.demo.stage import QUEUES, Stage, StageOptions, set_stage
from bridge.ops.logging import configure_logging
from bridge.simulator.options import RatingChoice, SimulatorOptions

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
