"""`MatrixAdapter`: messages, ghosts' names, verification, bridge state events and upload limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web
from cachetools import TTLCache

from bridge.config.model import Bot
from bridge.conversation.model import Reported
from bridge.ids import AgentId, EventId, RoomId, UserId
from bridge.matrix.adapter import BRIDGE, MatrixAdapter
from bridge.matrix.crypto.wire import MARKER
from bridge.matrix.ghosts import KNOWN_SECONDS
from bridge.rooms.ports import (
    Blob,
    BrokenOff,
    EditableNotice,
    NoticeText,
    NotStored,
    Part,
    Poll,
    Refused,
    RelayedMedia,
    TooBig,
    Unavailable,
)
from bridge.webchat.frames import Agent, AgentText
from tests.fakes.memory import MemoryStore
from tests.support.sounds import png
from tests.unit.matrix.test_transport import USERS, Answer, homeserver

ROOM, HOST = RoomId("!r:a"), UserId("@webchatbot:a")


@asynccontextmanager
async def adapting(answer: Answer) -> AsyncIterator[MatrixAdapter]:
    async with homeserver(answer) as transport:
        yield MatrixAdapter(
            transport, users=USERS, profiles=MemoryStore(), conversions=ThreadPoolExecutor(1)
        )


@pytest.mark.asyncio
async def test_every_message_carries_its_transaction_id_as_marker() -> None:
    marked: list[object] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/send/" in request.path:
            content = await request.json()
            marked.append(content[MARKER]["txn"])
            assert MARKER not in content.get("m.new_content", {})
        return web.json_response({"event_id": "$e", "content_uri": "mxc://a/f"})

    async with adapting(answer) as adapter:
        agent, long = Agent(AgentId("a1"), "Mei"), AgentText("x" * 30_000)
        await adapter.say(ROOM, HOST, NoticeText("hi"), "t1")
        await adapter.say(ROOM, HOST, EditableNotice("hi", edits=EventId("$x")), "t2")
        await adapter.say(ROOM, HOST, Poll("?", (("1", "Bad"),), "?"), "t3")
        await adapter.send_file(ROOM, HOST, Blob.of(b"x", "text/plain", "x.txt"), "t4")
        await adapter.relay(ROOM, HOST, agent, long, "t5")
    assert marked == ["t1", "t2", "t3", "t4", "t5", "t5.2"]


@pytest.mark.asyncio
async def test_ghost_is_set_up_only_for_a_new_agent_or_a_new_name() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path.split("/")
        asked.append("send" if "send" in path else path[-1])
        return web.json_response({"event_id": "$e"})

    async with adapting(answer) as adapter:
        for name in ("Mei", "Mei", "", "Mei Lin"):
            asked.append(f"<{name}>")
            agent = Agent(AgentId("a1"), name)
            (part,) = await adapter.relay(ROOM, HOST, agent, AgentText("hello"), f"t{len(asked)}")
            assert (part.event_id, part.text) == ("$e", "hello")
    assert asked == [
        *("<Mei>", "register", "WEBCHAT", "displayname", "invite", "join", "send"),
        *("<Mei>", "send"),
        *("<>", "send"),
        *("<Mei Lin>", "displayname", "send"),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("let_in", [False, True])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("code", ["M_FORBIDDEN", "M_UNKNOWN"])  # as spam checkers answer, too
async def test_retry_sends_nothing_twice_when_a_ghost_gains_or_loses_access(
    code: str, *, let_in: bool, cut: bool
) -> None:
    inside, away, sent = not let_in, True, list[tuple[str, str]]()

    async def answer(request: web.Request) -> web.StreamResponse:
        kind = request.path.split("/")[-1]
        ghost = request.query.get("user_id") != HOST
        refused = ghost and not inside and (kind == "join" or "/send/" in request.path)
        if refused or (kind == "invite" and not inside):
            return web.json_response({"errcode": code}, status=403)
        if "/send/" in request.path:
            txn = (await request.json())[MARKER]["txn"]
            if away and txn == "t.2":
                return web.json_response({"errcode": "M_UNKNOWN"}, status=500)
            sent.append((txn, "ghost" if ghost else "host"))
        return web.json_response({"event_id": f"$e{len(sent)}"})

    async with adapting(answer) as adapter:
        agent = Agent(AgentId("a1"), "Mei")

        async def say() -> list[Part]:  # as the lane does
            given = {"t": "x" * 30_000} if cut else {"t": "look:", "t.2": "nice?"}
            said = [await adapter.relay(ROOM, HOST, agent, AgentText(given[t]), t) for t in given]
            return [part for parts in said for part in parts]

        with pytest.raises(Unavailable):
            await say()
        adapter.ghosts.forget(ROOM, adapter.ghost_of(agent))
        inside, away = let_in, False
        parts = await say()
    before, after = ("host", "ghost") if let_in else ("ghost", "host")
    assert sent == [("t", before), ("t.2", after)]
    assert [part.event_id for part in parts] == ["$e1", "$e2"]


@pytest.mark.asyncio
async def test_name_written_by_another_process_is_corrected_after_the_cache_expires() -> None:
    """The other process saw another name of the agent for a while; this one did not."""
    named: list[str] = []
    now = 0.0

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/displayname"):
            named.append((await request.json())["displayname"])
        return web.json_response({"event_id": "$e"})

    async with adapting(answer) as adapter:
        for owner, cache in ((adapter, "_dressed_as"), (adapter.ghosts, "_rows")):
            setattr(owner, cache, TTLCache(10, KNOWN_SECONDS, timer=lambda: now))
        for number in range(5):
            now = number * KNOWN_SECONDS / 2
            agent = Agent(AgentId("a1"), "Mei")
            await adapter.relay(ROOM, HOST, agent, AgentText("hello"), f"t{number}")
            await adapter.icon_known(agent, "")
            if number == 1:
                row = await adapter.ghosts._profiles.ghost(adapter.ghost_of(agent))
                assert row is not None
                other = msgspec.structs.replace(row, displayname="Mei Lin")
                await adapter.ghosts._profiles.save_ghost(other)
    assert named == ["Mei", "Mei"]


@pytest.mark.asyncio
async def test_agent_named_like_the_bot_or_a_user_id_gets_its_localpart_added() -> None:
    named: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/displayname"):
            named.append((await request.json())["displayname"])
        return web.json_response({"event_id": "$e"})

    async with adapting(answer) as adapter:
        await adapter.ghosts.prepare([], Bot(displayname="WebChat\uff01"))
        named.clear()
        alike = ("webchat!", "Web\u200cChat!", "@alice:a", "\uff20alice\uff1aa")
        for name in (*alike, "Mei: sales", "WebChat! Mei"):
            agent = Agent(AgentId("a1"), name)
            await adapter.relay(ROOM, HOST, agent, AgentText("hello"), f"t{name}")
    own = "(webchat_a1)"
    assert named == [*(f"{name} {own}" for name in alike), "Mei: sales", "WebChat! Mei"]


@pytest.mark.asyncio
async def test_verification_is_not_cancelled_for_an_unregistered_ghost() -> None:
    """A stranger's request may name any ghost: one that does not exist must not get keys."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path.split("/")[-2])
        return web.json_response({"event_id": "$e"})

    async with adapting(answer) as adapter:
        ghost = adapter.ghost_of(Agent(AgentId("a1")))
        told = Reported(EventId("$r"), "unreadable.verification")
        with pytest.raises(Refused, match="M_FORBIDDEN"):
            await adapter.decline(ROOM, ghost, told, "t1")
        assert asked == []
        await adapter.ghosts.ensure(ghost, "")
        await adapter.decline(ROOM, ghost, told, "t1")
        assert asked[-1] == "m.key.verification.cancel"
        await adapter.decline(ROOM, ghost, Reported(EventId("$c"), "unreadable.call"), "t2")
        assert asked[-1] == "m.key.verification.cancel", "a call that does not ring"


@pytest.mark.asyncio
async def test_an_invited_ghost_steps_in_if_the_bridge_has_made_it() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path.split("/")
        if path[-1] != "members":
            asked.append("send" if "send" in path else path[-1])
        return web.json_response({"event_id": "$e", "chunk": there})

    there = [{"content": {"membership": one}} for one in ("join", "join", "ban")]
    async with adapting(answer) as adapter:
        ghost, notice = adapter.ghost_of(Agent(AgentId("a1"))), NoticeText("write to the bot")
        with pytest.raises(Refused):
            await adapter.step_in(ROOM, ghost, notice, "t0")
        assert asked == []
        await adapter.ghosts.ensure(ghost, "Mei")
        asked.clear()
        for txn in ("t1", "t2"):  # invited again at once, perhaps by a program
            await adapter.step_in(ROOM, ghost, notice, txn)
            await adapter.leave(ROOM, ghost)
        await adapter.step_in(RoomId("!other:a"), ghost, notice, "t3")
        there.append({"content": {"membership": "invite"}})
        await adapter.step_in(RoomId("!group:a"), ghost, notice, "t4")
    assert asked == ["join", "send", ghost, ghost, "join", "send", "join"]


@pytest.mark.asyncio
async def test_an_invited_ghost_that_may_not_speak_does_not_come_again_at_once() -> None:
    """Else a program that always invites it again made it join and leave without end."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if "send" in request.path.split("/"):
            return web.json_response({"errcode": "M_FORBIDDEN", "error": "muted"}, status=403)
        asked.append(request.path.rpartition("/")[2])
        there = [{"content": {"membership": "join"}}] * 2
        return web.json_response({"event_id": "$e", "chunk": there})

    async with adapting(answer) as adapter:
        ghost = adapter.ghost_of(Agent(AgentId("a1")))
        await adapter.ghosts.ensure(ghost, "Mei")
        asked.clear()
        for txn in ("t1", "t2"):
            await adapter.step_in(ROOM, ghost, NoticeText("write to the bot"), txn)
            await adapter.leave(ROOM, ghost)
    assert asked == ["join", "members", ghost, ghost]


@pytest.mark.asyncio
async def test_bridge_state_event_is_written_under_both_types_if_it_differs() -> None:
    asked: list[str] = []
    state: dict[str, object] = {}
    refuse = False

    async def answer(request: web.Request) -> web.StreamResponse:
        kind, _, key = request.path.partition("/state/")[2].partition("/")
        asked.append(f"{request.method} {kind} {key}")
        if request.method == "PUT":
            if refuse:
                return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
            state[kind] = await request.json()
            return web.json_response({"event_id": "$e"})
        if kind not in state:
            return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)
        return web.json_response({"content": state[kind]})

    content: dict[str, object] = {"bridgebot": "@b:a"}
    key, other = "x://webchat/@b:a", RoomId("!other:a")
    read, written = f"GET m.bridge {key}", [f"PUT {one} {key}" for one in BRIDGE]
    async with adapting(answer) as adapter:
        for _ in range(2):
            await adapter.show_bridge(ROOM, HOST, key, content)
        assert asked == [read, *written]
        assert state == dict.fromkeys(BRIDGE, content)
        await adapter.show_bridge(other, HOST, key, content)
        assert asked[3:] == [read], "somebody wrote it already, such as we before a restart"
        await adapter.show_bridge(ROOM, HOST, key, content | {"creator": "@ada:a"})
        assert asked[4:] == [read, *written]
        state.clear()
        asked.clear()
        refuse, third = True, RoomId("!third:a")
        with pytest.raises(Refused):
            await adapter.show_bridge(third, HOST, key, content)
        await adapter.show_bridge(third, HOST, key, content)
        assert asked == [read, written[0]], "a refusal is not asked for again at each chat"


@pytest.mark.asyncio
async def test_a_changed_upload_limit_of_the_homeserver_is_respected() -> None:
    """An operator may change the limit while the bridge runs."""
    limit = 10

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/media/config"):
            return web.json_response({"m.upload.size": limit})
        return web.json_response({"event_id": "$e", "content_uri": "mxc://a/f"})

    async with adapting(answer) as adapter:
        for limit, fits in ((10, True), (5, False), (10, True)):
            file = Blob.of(b"123456", "text/plain", "x.txt")
            if fits:
                assert await adapter.send_file(ROOM, HOST, file, f"t{limit}") == "$e"
                continue
            with pytest.raises(Refused, match="M_TOO_LARGE 6 bytes, 5 allowed"):
                await adapter.send_file(ROOM, HOST, file, "t5")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "name", "mime", "body", "sent"),
    [
        ("image", "x.png", "text/html; charset=utf-8", b"<html>Please log in</html>", False),
        ("voice", "x.amr", "application/json", b'{"result": 0}', False),
        ("image", "x.png", "text/html", png(2), True),
        ("image", "x.png", "image/heic", b"no picture that clients show", True),
        ("file", "x.pdf", "text/html", b"<html>Please log in</html>", False),
        ("file", "x.docx", "application/json", b'{"result": -100}', False),
        ("file", "x.pdf", "text/html", b"%PDF-1.7\n\0", True),
        ("file", "x.html", "text/html", b"<html>terms</html>", True),
        ("file", "x.kml", "text/html", b"<kml/>", True),
        ("file", "x", "application/json", b"{}", True),
    ],
)
async def test_a_page_instead_of_a_file(
    kind: str, name: str, mime: str, body: bytes, *, sent: bool
) -> None:
    """A server answers so for its login, or for a file that it lost; it is asked again later."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"event_id": "$e", "content_uri": "mxc://a/f"})

    async with adapting(answer) as adapter:
        media = RelayedMedia(kind, Blob.of(body, mime, name))
        relaying = adapter.relay(ROOM, HOST, Agent(AgentId("a1"), "Mei"), media, "t")
        if sent:
            assert await relaying
        else:
            with pytest.raises(BrokenOff, match=f"{mime.partition(';')[0]} instead of the {kind}"):
                await relaying


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/media/config", "/upload"])
async def test_media_repository_that_is_away_is_told_from_a_homeserver(path: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith(path):
            return web.Response(status=502)
        return web.json_response({"event_id": "$e", "content_uri": "mxc://a/f"})

    async with adapting(answer) as adapter:
        media = RelayedMedia("file", Blob.of(b"x", "text/plain", "x.txt"))
        with pytest.raises(NotStored, match="502"):
            await adapter.relay(ROOM, HOST, Agent(AgentId("a1"), "Mei"), media, "t")


@pytest.mark.asyncio
@pytest.mark.parametrize("code", ["M_USER_LIMIT_EXCEEDED", "M_RESOURCE_LIMIT_EXCEEDED"])
async def test_a_file_over_an_upload_quota_is_told_from_a_closed_homeserver(code: str) -> None:
    """The words behind such a file must not wait, as for a homeserver that is over its limit."""
    refused = "/upload"

    async def answer(request: web.Request) -> web.StreamResponse:
        if refused in request.path:
            return web.json_response({"errcode": code, "error": "Exceeded"}, status=403)
        return web.json_response({"event_id": "$e", "content_uri": "mxc://a/f"})

    async with adapting(answer) as adapter:
        media = RelayedMedia("file", Blob.of(b"x", "text/plain", "x.txt"))
        with pytest.raises(TooBig, match=f"{code} Exceeded"):
            await adapter.relay(ROOM, HOST, Agent(AgentId("a1"), "Mei"), media, "t")
        refused = "/send/"
        media = RelayedMedia("file", Blob.of(b"x", "text/plain", "x.txt"))
        with pytest.raises(Refused, match=code):
            await adapter.relay(ROOM, HOST, Agent(AgentId("a1"), "Mei"), media, "t")
