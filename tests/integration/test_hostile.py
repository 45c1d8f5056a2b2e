"""Attacks on a running bridge, one after the other, while another room's chat goes on.

`-s` prints each attack's peak memory and the longest delay of the other room's messages;
docs/security.md has those of a run with `HOSTILE=4`, which makes the floods four times as long.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import resource
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from bridge.demo import child_process
from bridge.ops.metrics import MOST_CONNECTIONS
from bridge.simulator.web import CUT
from tests.support.encrypted import both_ways
from tests.support.forked import as_people_do
from tests.support.ledger import database_of, everything_settled
from tests.support.matrix_user import Json
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.sounds import film_of, many_packets, png, silence, vast_index
from tests.support.stage import Stage, StageOptions, pid_of
from tests.support.staging import PATIENT_LIMITS, UNLIMITED, bridge_section, staged
from tests.support.talk import DeskPerson, Talk, chatting

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCALE = int(os.environ.get("HOSTILE", "1"))
MOST_MEMORY = 512 * 1024
"""Maximum peak memory of the bridge in KiB: a body of 60 MiB is read whole and decoded once."""
MOST_OF_FRAMES = 300 * 1024
"""The same with eleven links of 15 MiB each."""
LONGEST_DELAY = 15.0
"""Maximum seconds for a message and its answer in the other room, on a busy machine."""
PATIENCE = 240.0 * SCALE
DEEP = 100_000
ODD: tuple[object, ...] = (
    *(None, True, -1, 1.5, 10**30, float("inf"), "", "\0", "\ud83d", "x" * 60_000, [], {}, [[]]),
    *({"": None}, ["\ud83d", {"a": [1]}], "@:", "!", "mxc://", "geo:a", "\u202e"),
    # Too long for an index even compressed; a NUL; beyond 64 bits.
    *(Random(1).randbytes(4_000).hex(), "!a\0:b", 2**63, -(2**63) - 1),  # noqa: S311
)
"""Values that an attacker may put into any field of an event."""
IDENTITY = ("event_id", "room_id", "state_key", "sender", "origin_server_ts", "type")


@cache
def metrics_port() -> int:
    return free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
) -> AsyncIterator[Stage]:
    """A bridge with the default message limit, on PostgreSQL (or HOSTILE_DATABASE=sqlite)."""
    limits = PATIENT_LIMITS | {"messages_per_minute": 60}
    sqlite = os.environ.get("HOSTILE_DATABASE") == "sqlite"
    options = StageOptions(
        database="" if sqlite else postgres_server.new_database(),
        simulator=UNLIMITED,
        config={
            "bridge": bridge_section(limits=limits),
            "metrics": {"enabled": True, "hostname": "127.0.0.1", "port": metrics_port()},
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_process, "spawn", as_people_do)
        async with staged(request, tmp_path_factory, options) as stage:
            yield stage


class Scene:
    """The attacked bridge, the attacker's room (mallory), and another room (alice)."""

    def __init__(self, stage: Stage, mallory: Talk, alice: Talk) -> None:
        self.stage, self.mallory, self.alice = stage, mallory, alice
        self.count = 0
        self.spoke = deque[float](maxlen=56)
        """When Alice sent her last messages: 60 a minute are allowed."""
        self.transactions = 0
        self.port = urlsplit(stage.bridge.url).port or 0
        assert mallory.person is not None
        assert mallory.person.session is not None
        self.session = mallory.person.session["id"]

    async def may_speak(self) -> None:
        """Wait until another message of Alice's is within the limit."""
        if len(self.spoke) == self.spoke.maxlen:
            await asyncio.sleep(max(0.0, self.spoke[0] + 60 - time.monotonic()))
        self.spoke.append(time.monotonic())

    @asynccontextmanager
    async def goes_on(self, name: str) -> AsyncIterator[None]:
        """Chat in the other room during the block; print and check memory and delay."""
        worst, over = 0.0, asyncio.Event()

        async def talk() -> None:
            nonlocal worst
            while not over.is_set():
                await self.may_speak()
                began = time.monotonic()
                self.count += 1
                await self.alice.say(f"alice {self.count}")
                await self.alice.heard(f"alice {self.count}")
                await self.alice.desk("say", text=f"agent {self.count}")
                await self.alice.reads_exactly(f"agent {self.count}", "")
                worst = max(worst, time.monotonic() - began)
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), 1.1)

        process = Path(f"/proc/{pid_of(self.stage.bridge)}")
        (process / "clear_refs").write_text("5")  # reset the peak memory
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            talking = group.create_task(talk())
            await asyncio.sleep(0.05)
            yield
            # Wait until the bridge has handled the whole attack.
            await self.said(f"after {name}")
            await self.mallory.reads(f"after {name}", patience=PATIENCE)
            took = time.monotonic() - began
            over.set()
            await talking
        high = next(
            int(line.split()[1])
            for line in (process / "status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        print(  # noqa: T201 - a figure
            f"{name}: {took:.1f} s, memory at most {high // 1024} MiB,"
            f" the other room's words there and back in {worst:.2f} s at most"
        )
        assert high < (MOST_OF_FRAMES if "frames on" in name else MOST_MEMORY)
        assert worst < LONGEST_DELAY

    async def transaction(self, body: bytes, token: str = "demo-hs-token") -> int:  # noqa: S107
        """Send a transaction as the homeserver; returns the status, or 0 if cut off."""
        self.transactions += 1
        path = f"{self.stage.bridge.url}/_matrix/app/v1/transactions/h{self.transactions}"
        head = {"Authorization": f"Bearer {token}"}
        with suppress(ConnectionError):
            async with self.stage.session.put(path, data=io.BytesIO(body), headers=head) as answer:
                return answer.status
        return 0  # closed before it was all written

    async def events(self, *events: object) -> None:
        text = json.dumps({"events": events})
        assert await self.transaction(text.encode()) == 200

    def event(self, number: int, content: Json, kind: str = "m.room.message") -> Json:
        return {
            "event_id": f"$h{kind}{number}",
            "type": kind,
            "room_id": self.mallory.room,
            "sender": self.mallory.customer.user_id,
            "origin_server_ts": 1_800_000_000_000,
            "content": {"msgtype": "m.text", "body": f"flood {number}"} | content,
        }

    async def push(self, kind: object, **frame: object) -> None:
        """Push a frame to the attacked room's link."""
        whole = {"type": kind, "sessionId": self.session, "agentId": "A00001", **frame}
        await self.mallory.desk("push", frame=whole)

    async def said(self, content: object, number: int = 1) -> None:
        """Push a message of the agent with this wire type."""
        await self.push(210, msg={"type": number, "content": content})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(stage: Stage) -> Scene:
    return Scene(stage, await chatting(stage, "mallory"), await chatting(stage, "alice"))


# --- the attacks ----------------------------------------------------------------------------------


def odd_events(scene: Scene) -> Iterator[Json]:
    """Yield events of each kind with each odd value in each field."""
    about: Json = {"rel_type": "m.annotation", "event_id": "$x", "key": "👍"}
    media: Json = {"msgtype": "m.file", "url": "mxc://a/b", "info": {"size": 1}, "filename": "a"}
    kinds: Mapping[str, Json] = {
        "m.room.message": media | {"m.relates_to": about, "formatted_body": "<b>", "format": "x"},
        "m.reaction": {"m.relates_to": about},
        "m.room.member": {"membership": "join", "displayname": "M", "is_direct": True},
        "m.room.encrypted": {"algorithm": "a", "session_id": "s", "ciphertext": "c"},
        "m.room.redaction": {"redacts": "$x"},
        "m.room.tombstone": {"replacement_room": "!x:y"},
        "m.room.encryption": {"algorithm": "x"},
        "m.poll.response": {"answers": ["1"], "m.relates_to": about},
        "org.matrix_webchat.room": {"queue": 1, "paused": False},
    }
    number = 0
    for kind, content in kinds.items():
        for value in ODD:
            for field in (*content, *IDENTITY):
                number += 1
                event = scene.event(number, content, kind)
                changed = content | {field: value} if field in content else content
                event |= {"content": changed} if field in content else {field: value}
                # The bridge answers each event of the attacked room, and only reads others.
                mine = number % 40 == 0 or field == "room_id"
                yield event if mine else event | {"room_id": "!odd:localhost"}
            yield scene.event(number, content, kind) | {"content": value}


async def malformed(scene: Scene) -> None:
    odd = list(odd_events(scene))
    for start in range(0, len(odd), 200):
        await scene.events(*odd[start : start + 200])
    for body in (b"", b"[]", b"{", b"\xff", b'{"events":1}', b'{"events":' + b"[" * DEEP):
        assert await scene.transaction(body) == 400
    deep = b'{"events":[' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"]}"
    assert await scene.transaction(deep) in {200, 400}


async def huge_bodies(scene: Scene) -> None:
    assert await scene.transaction(b" " * (65 << 20)) == 413
    assert await scene.transaction(b"x" * (65 << 20), token="wrong") in {0, 403}
    longest = b'{"events":[{"a":"' + b"a" * (60 << 20) + b'"}]}'
    assert await asyncio.gather(*(scene.transaction(longest) for _ in range(6))) == [200] * 6


async def nested_html(scene: Scene) -> None:
    for number, depth in enumerate((400, 5_000, DEEP)):
        for tag in ("b", "blockquote", "ul><li", "table><tr><td"):
            html = f"<{tag}>" * depth + "x"
            content: Json = {"format": "org.matrix.custom.html", "formatted_body": html}
            await scene.events(scene.event(depth + number, content | {"body": tag}))
            if depth <= 5_000:
                await scene.said(html)


async def one_user(scene: Scene) -> None:
    """Exceed the rate limits with messages, reactions, edits, redactions, commands, typing."""
    for start in range(1, 30 * SCALE, 30):
        numbers = range(start, start + 30)
        new: Json = {"m.new_content": {"msgtype": "m.text", "body": "x"}}
        await scene.events(*(scene.event(10_000 + n, {}) for n in numbers))
        await scene.events(*(scene.event(n, related(n), "m.reaction") for n in numbers))
        edits = (scene.event(20_000 + n, new | related(n, "m.replace")) for n in numbers)
        await scene.events(*edits)
        await scene.events(*(scene.event(n, taken_back(n), "m.room.redaction") for n in numbers))
        await scene.events(*(scene.event(30_000 + n, {"body": "!wc status"}) for n in numbers))
        for number in numbers:
            users = [scene.mallory.customer.user_id] if number % 2 else []
            typing = {"type": "m.typing", "room_id": scene.mallory.room}
            signs = [
                typing | {"content": {"user_ids": users}},
                {"type": "m.receipt", "content": {}},
            ]
            body = json.dumps({"events": [], "ephemeral": signs * 20})
            assert await scene.transaction(body.encode()) == 200


def taken_back(number: int) -> Json:
    return {"redacts": f"$hm.room.message{10_000 + number}"}


async def many_rooms(scene: Scene) -> None:
    """Request an agent in many rooms as one customer, and write in all of them."""
    customer, stage = scene.mallory.customer, scene.stage
    talks = [await Talk.open(stage, customer, "flood") for _ in range(3 * SCALE)]
    for first, talk in enumerate(talks):
        numbers = range(100_000 + 100 * first, 100_040 + 100 * first)
        await scene.events(*(scene.event(n, {}) | {"room_id": talk.room} for n in numbers))
    for talk in talks:
        await talk.say("!wc cancel")


def related(number: int, kind: str = "m.annotation") -> Json:
    target = f"$hm.room.message{10_000 + number}"
    return {"m.relates_to": {"rel_type": kind, "event_id": target, "key": "👍"}}


async def one_agent(scene: Scene) -> None:
    for number in range(40 * SCALE):
        await scene.said(f"spam {number}")
    many = [{"id": f"Z{number}", "name": "\u202eWebChat"} for number in range(2 * SCALE)]
    await scene.push(204, agents=many)


async def nonsense_frames(scene: Scene) -> None:
    values = [one for one in ODD if "\\ud83d" not in json.dumps(one)]  # no frame can hold it
    for _ in range(SCALE):
        for value in values:
            for kind in (0, 110, 200, 201, 203, 204, 206, 301, 302, 999, value):
                odd: Json = {"msg": value, "rsId": value, "users": value, "agents": value}
                await scene.push(kind, **odd, requestId=value, requestStatus=value)
        for number in range(0, 100, 5):
            await scene.said(values[number % len(values)], number)
    await scene.said("x" * (17 << 20))  # ends the link, which is opened again
    await scene.mallory.at_desk(lambda person: not person.linked)
    await scene.mallory.at_desk(lambda person: person.linked)


async def media_bombs(scene: Scene) -> None:
    mallory, bomb = scene.mallory, await asyncio.to_thread(png, 9_000)
    film = await asyncio.to_thread(film_of, bomb, 9_000)
    voice: Json = {"org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": {"duration": 1}}
    for data, name, mime, more in (
        (bomb, "a.png", "image/png", {}),
        (silence(10), "a.flac", "audio/flac", voice),
        (silence(1), "b.flac", "audio/ogg", voice),
        (vast_index(60_000_000), "c.m4a", "audio/mp4", voice),
        (many_packets(1_000_000), "d.mka", "audio/x-matroska", voice),
        (film, "a.avi", "video/mp4", {"msgtype": "m.video"}),
    ):
        found = await mallory.customer.upload(data, name, mime)
        kind = {"image": "m.image", "audio": "m.audio"}.get(mime.partition("/")[0], "m.video")
        content = {"msgtype": kind, "body": name, "info": {"mimetype": mime, "size": len(data)}}
        await mallory.customer.send(mallory.room, content | found | more)
    for data, number in ((bomb, 2), (silence(60), 5), (film, 6)):
        text = base64.b64encode(data).decode()
        await scene.said(text, number)


async def addresses(scene: Scene) -> None:
    """Push file addresses on the bridge's own host: none is fetched."""
    hits: list[object] = []

    async def canary(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hits.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(canary, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for host in ("127.0.0.1", "localhost", "0.0.0.0", "2130706433", "[::ffff:127.0.0.1]"):  # noqa: S104
            url = f"http://{host}:{port}/a.png"
            file = {"imgUrl": url, "url": url, "name": "a.png", "size": 1}
            for number in (2, 3):
                await scene.said(file, number)
            await scene.said(f"<img src='{url}'>")
        await scene.said("after the files")
        await scene.mallory.reads("after the files", patience=PATIENCE)
    assert hits == []


PUT = (
    b"PUT /_matrix/app/v1/transactions/1 HTTP/1.1\r\nHost: a\r\n"
    b"Authorization: Bearer demo-hs-token\r\n"
)
"""The head of a transaction request without its end."""


@asynccontextmanager
async def hold_connections(scene: Scene, count: int, *sent: bytes) -> AsyncIterator[None]:
    """Hold `count` connections to each port, each with one of `sent` written and nothing read."""
    simulator = urlsplit(scene.stage.simulator.base_url).port or 0
    opened, (_, most) = [], resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for number in range(count):
        for port in (scene.port, metrics_port(), simulator):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
                writer.write(sent[number % len(sent)])
                opened.append(writer)
    try:
        await asyncio.sleep(1)
        yield
        for url in (
            f"http://127.0.0.1:{metrics_port()}/metrics",
            f"{scene.stage.bridge.url}/_matrix/mau/live",
        ):
            async with scene.stage.session.get(url) as answer:
                assert answer.status == 200
    finally:
        for writer in opened:
            writer.transport.abort()


async def half_open(scene: Scene) -> None:
    """Open connections without a complete request: idle, half a head, half a body."""
    long = PUT + b"Content-Length: 60000000\r\n\r\n{"
    async with hold_connections(scene, 400 * SCALE, b"", PUT + b"X: ", long):
        files = await asyncio.to_thread(os.listdir, f"/proc/{pid_of(scene.stage.bridge)}/fd")
        print(f"{len(files)} descriptors")  # noqa: T201 - a figure
        assert len(files) < 2 * MOST_CONNECTIONS + 500


async def unread(scene: Scene) -> None:
    """Send many requests on each connection and read no answer."""
    event = json.dumps({"events": [scene.event(1, {"body": "again"})]}).encode()
    transaction = PUT + b"Content-Length: %d\r\n\r\n" % len(event) + event
    asked = (b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", transaction)
    async with hold_connections(scene, 20 * SCALE, *(one * 500 for one in asked)):
        pass


async def endless_frames(scene: Scene) -> None:
    """Begin messages of 16 MiB on many links, in one frame or in fragments, and never end them."""
    names = (f"link{number}" for number in range(10))
    talks = [scene.mallory, *await asyncio.gather(*(chatting(scene.stage, one) for one in names))]
    lines, longest, piece = scene.stage.simulator._board._lines, 16 << 20, bytes(1 << 20)
    for fragmented in (False, True):
        for number in range(15):
            size, kind = (1 << 20, min(number, 1) ^ 1) if fragmented else (longest, 1)
            head = bytes([kind, 127]) + size.to_bytes(8, "big")
            for talk in talks:
                line = lines.get(talk.login)
                if line is not None and line._transport is not None:
                    line._transport.write((head if fragmented or not number else b"") + piece)
            await asyncio.sleep(0.1)
        for talk in talks:
            if (line := lines.get(talk.login)) is not None:
                line.end(CUT)

            def back(person: DeskPerson, login: str = talk.login, old: object = line) -> bool:
                return person.linked and lines.get(login) is not old

            await talk.at_desk(back, PATIENCE)
    await asyncio.gather(*(both_ways(talk, "after the frames") for talk in talks))


async def without_a_token(scene: Scene) -> None:
    """Guess the homeserver's token: each try gets 403."""
    for number in range(200 * SCALE):
        assert await scene.transaction(b"{}", token=f"guess{number}") == 403


ATTACKS: Mapping[str, Callable[[Scene], Awaitable[None]]] = {
    "malformed events": malformed,
    "bodies of 65 MiB": huge_bodies,
    "nested HTML": nested_html,
    "flood of one user": one_user,
    "flood of one person in many rooms": many_rooms,
    "flood of one agent": one_agent,
    "nonsense frames": nonsense_frames,
    "pictures, voices and films": media_bombs,
    "addresses within": addresses,
    "half-open connections": half_open,
    "answers that nobody reads": unread,
    "endless frames on all links": endless_frames,
    "wrong tokens": without_a_token,
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_does_not_affect_another_room(scene: Scene, name: str) -> None:
    async with scene.goes_on(name), asyncio.timeout(2 * PATIENCE):
        await ATTACKS[name](scene)
    await scene.may_speak()
    await both_ways(scene.alice, name)


async def test_after_all_attacks_every_message_is_settled(scene: Scene) -> None:
    stage, alice = scene.stage, scene.alice
    await both_ways(await chatting(stage, "newcomer"), "a new chat")
    await everything_settled(database_of(stage), 60)
    person = alice.person
    assert person is not None
    ours = [text for text in person.texts if text.startswith("alice ")]
    assert ours == [f"alice {number}" for number in range(1, scene.count + 1)]
    log = stage.bridge.log_file.read_text(encoding="utf-8")
    assert "Traceback" not in log
    assert "flood" not in log
    print(f"the log has {log.count(chr(10))} lines")  # noqa: T201 - a figure
