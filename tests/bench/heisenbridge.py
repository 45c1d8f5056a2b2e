"""H: heisenbridge, the Matrix bridge to IRC, with ngircd and four IRC clients behind it.

It is installed from PyPI into its own environment; ngircd is Debian's. Its pacing (a line per 1.5
seconds) is removed, its merging of lines of one speaker within 100 ms is not. It stores nothing,
and acknowledges a transaction before it delivers.

It keeps its state in the homeserver's account data, where the stub homeserver has it before the
start: one network, and one channel per room, all of one owner and so on one connection. The
speakers are in all channels, take turns and appear as ghosts; the first also records the owner's
messages.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from tests.bench.profile import installed
from tests.bench.stubs import Answer, Ledger, StubHomeserver, member
from tests.bench.subjects import AS_TOKEN, TOKEN, Subject, answering, client, program
from tests.support.ports import free_port

OWNER = "@customer:localhost"
BOT = "@heisenbridge:localhost"
SPEAKERS = ("mei", "jun", "lan", "kai")
NETWORK, CONTROL = "!9000001:localhost", "!9000002:localhost"
PATIENCE = 60.0

_UNPACED = """
import runpy
from irc.client_aio import AioConnection
from heisenbridge import irc

async def run(self):
    while True:
        _, line, _ = await self._queue.get()
        AioConnection.send_raw(self, line)
        self._queue.task_done()

irc.HeisenConnection._run = run
runpy.run_module("heisenbridge", run_name="__main__", alter_sys=True)
"""

_SERVER = """
[Global]
Name = irc.localhost
Info = bench
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = hello
[Limits]
ConnectRetry = 60
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxPenaltyTime = 0
PingTimeout = 600
[Options]
DNS = no
Ident = no
PAM = no
"""

_REGISTRATION = {
    "id": "heisenbridge",
    "as_token": AS_TOKEN,
    "hs_token": TOKEN,
    "sender_localpart": "heisenbridge",
    "rate_limited": False,
    "namespaces": {
        "users": [{"regex": "@irc_.*", "exclusive": True}],
        "rooms": [],
        "aliases": [],
    },
}


class HeisenbridgeMissing(RuntimeError):
    """ngircd or heisenbridge is not available; the text says which."""


def server_program() -> str:
    """Return the path of ngircd.

    Raises:
        HeisenbridgeMissing: it is not installed.
    """
    found = shutil.which("ngircd") or shutil.which("/usr/sbin/ngircd")
    if found is None:
        raise HeisenbridgeMissing("ngircd is not installed (apt-get install ngircd)")
    return found


@asynccontextmanager
async def heisenbridge(rooms: int, folder: Path) -> AsyncIterator[Subject]:
    """Run H with this number of channels."""
    programs = await installed("heisenbridge")
    homeserver, heard = StubHomeserver("irc_net_"), Ledger()
    memory = _Memory(rooms, port := free_port(), homeserver)
    log, listening = folder / "heisenbridge.log", free_port()
    (folder / "ngircd.conf").write_text(_SERVER.format(port=port), encoding="ascii")
    registration = _REGISTRATION | {"url": f"http://127.0.0.1:{listening}"}
    (folder / "registration.yaml").write_text(json.dumps(registration), encoding="ascii")
    server = [server_program(), "-n", "-f", str(folder / "ngircd.conf")]
    command = [str(programs / "python"), "-c", _UNPACED, "-c", str(folder / "registration.yaml")]
    command += ["-l", "127.0.0.1", "-p", str(listening), "-o", OWNER]
    async with (
        homeserver.running(memory.answer),
        client() as session,
        program(server, folder / "ngircd.log"),
        _speakers(port, rooms, heard) as speakers,
        program([*command, homeserver.address], log) as process,
    ):
        url = f"http://127.0.0.1:{listening}"
        await answering(session, url, process, log)
        await speakers.until_joined(rooms)
        yield Subject([url], [process.pid], session, homeserver, heard, speakers.say, OWNER)


# --- its homeserver -----------------------------------------------------------------------------


class _Memory:
    """Account data and members of rooms, as from an earlier run of heisenbridge."""

    def __init__(self, rooms: int, port: int, homeserver: StubHomeserver) -> None:
        self._homeserver = homeserver
        server = {"address": "127.0.0.1", "port": port, "tls": False}
        networks = {"net": {"servers": [server]}}
        of_room = {"user_id": OWNER, "max_lines": 0, "use_pastebin": False, "use_reacts": False}
        connected = {"connected": True, "nick": "owner", "username": "owner", "ircname": "owner"}
        self._rooms: dict[str, dict[str, object]] = {
            CONTROL: {"type": "ControlRoom", "user_id": OWNER},
            NETWORK: {"type": "NetworkRoom", "user_id": OWNER, "name": "net", **connected},
        }
        for room in range(rooms):
            channel = {"type": "ChannelRoom", "name": f"#{room}", "network_id": NETWORK}
            more = {"network": "net", "key": None, "member_sync": "half", "autocmd": None}
            self._rooms[f"!{room}:localhost"] = {**of_room, **channel, **more}
        self._config = {"networks": networks, "owner": OWNER, "namespace": "irc_"}

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer a request; unrelated ones as `StubHomeserver` does."""
        if "/send/" in path:
            return self._homeserver.answer(method, path, body)
        plain = unquote(path.partition("?")[0])
        room = plain.partition("/rooms/")[2].partition("/")[0]
        if "/join" in plain and method == "POST":
            return 200, json.dumps({"room_id": room or plain.rpartition("/")[2]}).encode()
        if method != "GET":
            return self._homeserver.answer(method, path, body)
        answer: object = {}
        if "/account_data/" in plain:
            answer = self._rooms[room] if room else self._config
        elif plain.endswith("/account/whoami"):
            answer = {"user_id": BOT}
        elif plain.endswith("/joined_rooms"):
            answer = {"joined_rooms": list(self._rooms)}
        elif plain.endswith("members"):
            answer = _members(room, plain.endswith("/joined_members"))
        elif "/state/m.room.join_rules" in plain:
            answer = {"join_rule": "invite"}
        elif "/state/m.room.power_levels" in plain:
            answer = {"users": {BOT: 100}, "users_default": 0, "events_default": 0}
        elif plain.endswith("/admin"):
            return 403, b'{"errcode": "M_FORBIDDEN", "error": "no"}'
        return 200, json.dumps(answer).encode()


def _members(room: str, joined: bool) -> dict[str, object]:
    people = [OWNER, BOT]
    if room not in (NETWORK, CONTROL):
        people += [f"@irc_net_{name}:localhost" for name in SPEAKERS]
    names = {user: user[1:].partition(":")[0].removeprefix("irc_net_") for user in people}
    if joined:
        return {"joined": {user: {"display_name": name} for user, name in names.items()}}
    return {"chunk": [member(user, name) for user, name in names.items()]}


# --- the other people in the channels -----------------------------------------------------------


class _Speakers:
    """IRC clients that play the agents."""

    def __init__(self, heard: Ledger) -> None:
        self._heard = heard
        self._writers: list[asyncio.StreamWriter] = []
        self._said: Counter[int] = Counter()
        self._joined = 0

    async def say(self, room: int, text: str) -> None:
        """Send a line as the next speaker: consecutive lines of one would become one event."""
        self._said[room] += 1
        writer = self._writers[self._said[room] % len(self._writers)]
        writer.write(f"PRIVMSG #{room} :{text}\r\n".encode())
        await writer.drain()

    async def until_joined(self, rooms: int) -> None:
        """Wait until heisenbridge is in all channels.

        Raises:
            HeisenbridgeMissing: it is not in all of them within a minute.
        """
        until = time.monotonic() + PATIENCE
        while self._joined < rooms:
            if time.monotonic() > until:
                raise HeisenbridgeMissing(f"heisenbridge is in {self._joined} of {rooms} channels")
            await asyncio.sleep(0.05)

    async def connect(self, name: str, port: int, rooms: int) -> asyncio.StreamReader:
        """Connect a client and join all channels; returns its reader."""
        for _ in range(200):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
            except ConnectionError:
                await asyncio.sleep(0.05)
            else:
                break
        else:
            raise HeisenbridgeMissing("ngircd does not listen")
        channels = ",".join(f"#{room}" for room in range(rooms))
        writer.write(f"NICK {name}\r\nUSER {name} 0 * :{name}\r\n".encode())
        while b" 001 " not in await reader.readline():
            pass
        writer.write(f"JOIN {channels}\r\n".encode())
        self._writers.append(writer)
        return reader

    async def listen(self, reader: asyncio.StreamReader, writer: int, *, first: bool) -> None:
        """Read and answer pings; the first client records the owner's messages and joins."""
        while line := await reader.readline():
            if line.startswith(b"PING"):
                self._writers[writer].write(b"PONG" + line[4:])
            elif first and line.startswith(b":owner!"):
                if found := _SAID.search(line):
                    self._heard.note(int(found[1]), found[2].decode())
                elif b" JOIN " in line:
                    self._joined += 1


_SAID = re.compile(rb" PRIVMSG #(\d+) :(.*)")


@asynccontextmanager
async def _speakers(port: int, rooms: int, heard: Ledger) -> AsyncIterator[_Speakers]:
    speakers = _Speakers(heard)
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number, name in enumerate(SPEAKERS):
            reader = await speakers.connect(name, port, rooms)
            tasks.append(group.create_task(speakers.listen(reader, number, first=number == 0)))
        try:
            yield speakers
        finally:
            for task in tasks:
                task.cancel()


async def available() -> str:
    """Return the version of the installed heisenbridge.

    Raises:
        HeisenbridgeMissing: ngircd is missing or heisenbridge cannot be installed.
    """
    server_program()
    try:
        programs = await installed("heisenbridge")
    except (RuntimeError, OSError) as error:
        raise HeisenbridgeMissing(f"heisenbridge cannot be installed: {error}") from error
    code = "import heisenbridge; print(heisenbridge.__version__)"
    process = await asyncio.create_subprocess_exec(
        str(programs / "python"), "-c", code, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return out.decode().strip() or "?"
