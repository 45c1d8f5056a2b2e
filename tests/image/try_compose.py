"""`make compose-check`: compose.demo.yaml and compose.yaml, each from nothing to a conversation.

Run as root, as /data must belong to the image's user. Needs docker with compose, the image (`make
image`), the images named in the files, and their ports. Not part of `make test`.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from tests.image.try_image import GHOST, OWNER, Engine, edit, expect, ready, say, step
from tests.support.client import said
from tests.support.matrix_user import Customer

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
BRIDGES = ("matrix-webchat", "matrix-webchat-2", "matrix-webchat-3")
BESIDE = """
services:
  synapse:
    image: matrixdotorg/synapse:v1.163.2
    environment: {UID: "1337", GID: "1337"}
    volumes: ["./synapse:/data", "./data/registration.yaml:/registration.yaml:ro"]
    ports: ["127.0.0.1:8008:8008"]
  simulator:
    image: matrix-webchat-bridge
    command: >
      simulate --host 0.0.0.0 --script accept --set login_limit=0
      --set public_origin=http://simulator:8980
    ports: ["127.0.0.1:8980:8980"]
    healthcheck: {disable: true}
"""
"""compose.override.yaml: a homeserver and a call centre in the network of compose.yaml."""


def docker(*arguments: str) -> str:
    return Engine("docker", "", ROOT).call(*arguments).stdout


class Chat:
    """A customer's room, and the agent in it."""

    def __init__(self, session: aiohttp.ClientSession, who: str) -> None:
        self._session, self._who = session, who
        self._customer = Customer(session, "http://127.0.0.1:8008", f"@{who}:localhost", "")
        self._room = self._login = ""

    async def begin(self, password: str) -> None:
        login = {"type": "m.login.password", "user": self._who, "password": password}
        answer = await self._customer.call("POST", "v3/login", {**login})
        self._customer._token = str(answer["access_token"])
        self._room = await self._customer.create_dm("@webchatbot:localhost", f"I am {self._who}")
        (self._login,) = await self._until(self._who_said(f"I am {self._who}"))

    async def both_ways(self, text: str) -> None:
        """Send the text both ways, and check that each arrives once."""
        await self._customer.say(self._room, f"{self._who}: {text}")
        # A call centre may lose texts while there is no socket.
        await self._until(lambda everybody: everybody[self._login]["linked"])
        await self.desk("do", op="say", login=self._login, text=text)
        await self._customer.wait_for(self._room, said(text), PATIENCE)
        heard = await self._until(self._who_said(f"{self._who}: {text}"))
        expect(heard, [self._login], f"who said {text!r}")
        expect(sum(map(said(text), self._customer.events(self._room))), 1, f"{text!r}, heard")

    async def has_picture(self) -> None:
        """Check that the agent's ghost has an avatar, which comes from the call centre."""
        profile = await self._customer.call("GET", f"v3/profile/{quote(GHOST)}")
        expect("avatar_url" in profile, True, "a picture")

    def _who_said(self, text: str) -> Callable[[Any], list[str]]:
        return lambda everybody: [
            login
            for login, one in everybody.items()
            for it in one["messages"]
            if it["text"] == text
        ]

    async def _until(self, found: Callable[[Any], Any]) -> Any:
        """Wait until `found` is truthy for the call centre's customers; returns its result."""
        async with asyncio.timeout(PATIENCE):
            while not (seen := found((await self.desk("state"))["customers"])):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return seen

    async def desk(self, path: str, **op: object) -> Any:
        method, url = "POST" if op else "GET", f"http://127.0.0.1:8980/_sim/{path}"
        async with self._session.request(method, url, json=op or None) as answer:
            return await answer.json()


async def demo(session: aiohttp.ClientSession) -> None:
    """docs/first-conversation.md, "With Docker"."""

    def compose(*arguments: str) -> str:
        return docker("compose", f"--file={ROOT}/compose.demo.yaml", "-p=webchat-try", *arguments)

    compose("down", "--volumes")  # leftovers of an interrupted run
    try:
        with step("compose.demo.yaml: up, and `welcome` says where to go"):
            compose("up", "--detach")
            compose("wait", "welcome")
            welcome = compose("logs", "--no-log-prefix", "welcome")
            (password,) = re.findall(r"log in as customer, password (\S+)", welcome)
        with step("Element Web is there, and knows the homeserver"):
            async with session.get("http://127.0.0.1:8080/config.json") as answer:
                expect("http://localhost:8008" in await answer.text(), True, "config.json")
        with step("a customer and an agent talk, also after a restart"):
            chat = Chat(session, "customer")
            await chat.begin(password)
            await chat.desk("do", op="accept")
            await chat.both_ways("hello")
            await chat.has_picture()
            compose("restart", "matrix-webchat")
            await chat.both_ways("again")
    finally:
        say(compose("logs", "--no-log-prefix", "matrix-webchat"))
        compose("down", "--volumes")


OURS = (
    ("domain: example.org", "domain: localhost"),
    ("address: http://matrix-webchat:29340", "address: http://balancer:29340"),
    ("https://crm.example.org/webchat", "http://simulator:8980/webchat"),
    ("count: 8  # Maximum number within the window.", "count: 60"),
    ('"example.org": customer', '"localhost": customer'),
)
"""Replacements in config.yaml."""


def first_starts(folder: Path, compose: Callable[..., str]) -> None:
    """docs/install.md, "With compose", and docs/scaling.md."""
    (folder / "docs").mkdir()
    for file in ("compose.yaml", "docs/balancer.conf.template"):
        shutil.copyfile(ROOT / file, folder / file)
    (folder / "compose.override.yaml").write_text(BESIDE)
    (folder / ".env").write_text("POSTGRES_PASSWORD=p@ss/w:rd\nCOMPOSE_PROFILES=replicas\n")
    for name in ("data", "synapse"):
        (folder / name).mkdir()
        shutil.chown(folder / name, OWNER, OWNER)
    compose("down", "--volumes")
    with step("compose.yaml: the first run writes config.yaml, the second registration.yaml"):
        compose("run", "--rm", "matrix-webchat")
        edit(folder / "data/config.yaml", *OURS)
        compose("run", "--rm", "matrix-webchat")
    with step("the homeserver has it"):
        given = ("-e=SYNAPSE_SERVER_NAME=localhost", "-e=SYNAPSE_REPORT_STATS=no")
        compose("run", "--rm", *given, "synapse", "generate")
        with (folder / "synapse/homeserver.yaml").open("a") as config:
            config.write("\napp_service_config_files: [/registration.yaml]\n")
            config.write("rc_login: {address: {per_second: 99, burst_count: 99}}\n")


async def replicas(session: aiohttp.ClientSession, folder: Path) -> None:
    def compose(*arguments: str) -> str:
        return docker("compose", f"--project-directory={folder}", "-p=webchat-try", *arguments)

    chats = [Chat(session, f"customer{number}") for number in range(6)]

    async def all_talk(text: str) -> None:
        await asyncio.gather(*(chat.both_ways(text) for chat in chats))

    try:
        await asyncio.to_thread(first_starts, folder, compose)
        with step("three bridges, a balancer and PostgreSQL are up; six chats, both ways"):
            compose("up", "--detach")
            await ready(29341)
            for number, chat in enumerate(chats):
                who = f"-u=customer{number} -p=secret --no-admin -c=/data/homeserver.yaml".split()
                compose("exec", "synapse", "register_new_matrix_user", *who)
                await chat.begin("secret")
            await all_talk("hello")
        with step("one after the other is renewed, and they go on"):
            for name in BRIDGES:
                compose("up", "--detach", "--no-deps", "--force-recreate", name)
                await all_talk(f"after {name}")
        with step("one is killed, and they go on"):
            compose("kill", BRIDGES[0])
            await all_talk("after the kill")
        with step("each has the image's user and rights, and its health check passes"):
            compose("up", "--detach", "--no-deps", "--wait", *BRIDGES)
            for name in BRIDGES:
                expect(compose("exec", name, "id", "-u").strip(), str(OWNER), "user")
                compose("exec", name, "sh", "-c", "! touch /here && touch /data/here /tmp/here")
        with step("stop: all bridges end with 0"):
            compose("stop", *BRIDGES)
            numbers = compose("ps", "--all", "-q", *BRIDGES).split()
            codes = docker("inspect", "--format={{.State.ExitCode}}", *numbers).split()
            expect(codes, ["0"] * len(BRIDGES), "exit codes")
    finally:
        say(compose("logs", "--no-color", *BRIDGES, "balancer"))
        compose("down", "--volumes")


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="webchat-compose-") as folder:
        async with aiohttp.ClientSession() as session:
            await demo(session)
            await replicas(session, Path(folder))


if __name__ == "__main__":
    asyncio.run(main())
