"""Hostile homeserver: nonsense, endless answers, redirects. No call hangs, grows or crashes."""

from __future__ import annotations

import asyncio
import gzip
import io
import itertools
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from itertools import pairwise
from unittest.mock import Mock

import msgspec
import pytest
from aiohttp import web

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix import client
from bridge.matrix.adapter import MOST_PEOPLE
from bridge.matrix.client import OWNER, Homeserver
from bridge.matrix.crypto.wire import KeyServer
from bridge.rooms.blobs import Kept
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Entered, MatrixEvent, dump_input, load_input
from tests.unit.matrix.test_adapter import adapting
from tests.unit.matrix.test_transport import ALL, GHOST, USERS, Call, always, homeserver
from tests.unit.matrix.test_transport import request as plain_request

pytestmark = pytest.mark.asyncio
ROOM, EVENT = RoomId("!r:a"), EventId("$e")

VALUES: tuple[object, ...] = (None, True, -1, 1e400, "\ud83d", "x\0" * 99, [], [None, 1, [{}]], {})
"""Values that are tried in each field."""
FIELDS: Mapping[str, tuple[str, ...]] = {
    "check": ("user_id",),
    "register": ("user_id",),
    "devices": ("devices",),
    "account_data": ("appservice",),
    "set_account_data": (),
    "make_device": (),
    "set_profile": (),
    "join": ("room_id",),
    "invite": (),
    "leave": (),
    "send": ("event_id",),
    "state": ("content", "sender", "type", "event_id"),
    "set_state": ("event_id",),
    "members": ("chunk",),
    "page": ("chunk", "end"),
    "timeline": ("event", "end", "chunk"),
    "redact": ("event_id",),
    "show_typing": (),
    "mark_read": (),
    "upload_limit": ("m.upload.size",),
    "ping": ("duration_ms",),
    "keys: make_device": ("access_token",),
    "keys: devices": ("devices",),
    "keys: query": ("device_keys", "master_keys", "failures"),
    "keys: claim": ("one_time_keys", "failures"),
    "keys: upload_keys": ("one_time_key_counts",),
    "keys: upload_identity": (),
    "keys: upload_signatures": ("failures",),
    "keys: mark": ("mark",),
    "keys: sync": ("next_batch", "to_device", "device_one_time_keys_count"),
}
"""Fields that each call reads from its answer."""


async def listed(events: AsyncIterator[object]) -> list[object]:
    found = []
    async for event in events:  # an endless timeline would go on for ever
        found.append(event)
        if len(found) > 500:
            break
    return found


def call(made: Homeserver, name: str) -> Awaitable[object]:
    keys = KeyServer(made)
    calls: Mapping[str, Callable[[], Awaitable[object]]] = {
        "check": made.check,
        "register": lambda: made.register(GHOST),
        "devices": lambda: made.devices(GHOST),
        "account_data": lambda: made.account_data(GHOST, OWNER),
        "set_account_data": lambda: made.set_account_data(GHOST, OWNER, {}),
        "make_device": lambda: made.make_device(GHOST),
        "set_profile": lambda: made.set_profile(GHOST, "displayname", "Mei"),
        "join": lambda: made.join(GHOST, ROOM),
        "invite": lambda: made.invite(GHOST, ROOM, USERS.bot),
        "leave": lambda: made.leave(GHOST, ROOM),
        "send": lambda: made.send(GHOST, ROOM, "m.room.message", {}, "t"),
        "state": lambda: made.state(GHOST, ROOM, "m.room.topic"),
        "event": lambda: made.event(ROOM, GHOST, EVENT),
        "set_state": lambda: made.set_state(GHOST, ROOM, "m.room.topic", {}),
        "members": lambda: made.members(GHOST, ROOM),
        "page": lambda: made.page(GHOST, ROOM, 9),
        "timeline": lambda: listed(made.timeline(ROOM, GHOST, EVENT, GHOST, 0)),
        "redact": lambda: made.redact(ROOM, GHOST, EVENT, "t"),
        "show_typing": lambda: made.show_typing(ROOM, GHOST, 5),
        "mark_read": lambda: made.mark_read(ROOM, GHOST, EVENT),
        "upload_limit": made.upload_limit,
        "ping": lambda: made.ping("webchat"),
        "keys: make_device": lambda: keys.make_device(GHOST, "D"),
        "keys: devices": lambda: keys.devices(GHOST),
        "keys: query": lambda: keys.query(GHOST, [GHOST]),
        "keys: claim": lambda: keys.claim(GHOST, {}),
        "keys: upload_keys": lambda: keys.upload_keys(GHOST, {}),
        "keys: upload_identity": lambda: keys.upload_identity(GHOST, {}),
        "keys: upload_signatures": lambda: keys.upload_signatures(GHOST, {}),
        "keys: mark": lambda: keys.mark(GHOST),
        "keys: sync": lambda: keys.sync(GHOST, "s", wait=False),
    }
    return calls[name]()


@pytest.mark.parametrize("name", FIELDS)
async def test_nonsense_in_every_field_of_every_answer(name: str) -> None:
    """Each call gives a value of its type, or one of the two errors that all callers expect."""
    saying: list[tuple[int, object]] = [(200, value) for value in VALUES]
    for field in FIELDS[name]:
        saying += [(200, {field: value}) for value in VALUES]
    saying += [(status, {"errcode": value}) for value in VALUES[::3] for status in (404, 500)]
    said: tuple[int, object] = (200, None)

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(said[1], status=said[0])

    async with homeserver(answer) as transport, asyncio.timeout(20):
        for said in saying:
            try:
                found = await call(transport, name)
            except (Unavailable, Refused):
                continue
            assert len(str(found)) < 10_000, said


async def test_a_page_of_dense_events_is_decoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event with a number that only Python's decoder takes delays no other."""
    event: dict[str, object] = {"content": {"x": [[]] * 20_000}}
    sent = [event | {"event_id": f"${number}"} for number in range(30)]
    sent[8]["content"] = {"x": [[]] * 200_000}  # longer than an event may be
    text = json.dumps({"chunk": sent, "end": "t"}).replace("$7", '$7","n":1e999,"o":"')
    decode = Mock(side_effect=msgspec.json.decode)
    monkeypatch.setattr(msgspec.json, "decode", decode)
    async with homeserver(always(200, text)) as transport, asyncio.TaskGroup() as group:
        reading = group.create_task(transport.page(GHOST, ROOM, 30))
        turns = [0]
        while not reading.done():
            turns.append(decode.call_count)
            await asyncio.sleep(0)
    found, after = reading.result()
    assert [one["event_id"] for one in found] == [one["event_id"] for one in sent]
    assert (found[6] == sent[6], found[7]["n"], found[8]["content"]) == (True, math.inf, None)
    assert after == "t"
    assert max(len(bytes(call.args[0])) for call in decode.call_args_list) < 100_000
    assert max(new - old for old, new in pairwise(turns)) <= 3


@ALL
@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_without_end_is_given_up(
    call: Call, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LONGEST_ANSWER", 100_000)
    piece = b'{"a":"' + b" " * 65_536
    zipped, given = gzip.compress(bytes(2**24), 1), 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal given
        await request.read()
        head = {"Content-Type": "application/json"}
        response = web.StreamResponse(
            headers=head | ({"Content-Encoding": "gzip"} if packed else {})
        )
        await response.prepare(request)
        while True:  # until the connection is closed
            await response.write(zipped if packed else piece)
            given += 1
            assert given < 1000

    async with homeserver(answer) as transport, asyncio.timeout(30):
        with pytest.raises(Unavailable, match="100000 bytes") as caught:
            await call(transport, {})
    assert len(caught.value.begun) == 65_536


async def test_an_answer_at_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_ANSWER", 100_000)
    body = json.dumps({"a": "x" * (100_000 - len('{"a": ""}'))})
    chunked = True

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.Response(text=body, content_type="application/json")
        if chunked:
            response.enable_chunked_encoding()
        return response

    async with homeserver(answer) as transport:
        assert len(str((await plain_request(transport, {}))["a"])) > 99_000
        chunked = False
        assert len(str((await plain_request(transport, {}))["a"])) > 99_000
        body += " "
        with pytest.raises(Unavailable):
            await plain_request(transport, {})


@ALL
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_target_gets_neither_token_nor_message(call: Call, status: int) -> None:
    """Neither the token nor a message goes to an address that the homeserver names."""
    told: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        told.append(await request.text())
        return web.json_response({"event_id": "$e"})

    async with homeserver(elsewhere) as other:
        leads = {"Location": f"{other._address}/x"}
        async with homeserver(always(status, "{}", leads)) as transport:
            with pytest.raises(Unavailable, match=r"homeserver\.address"):
                await call(transport, {})
    assert told == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirected_download_does_not_send_the_token(status: int) -> None:
    told: list[web.BaseRequest] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        told.append(request)
        return web.Response(body=b"file", content_type="image/png")

    async with homeserver(elsewhere) as other:
        leads = {"Location": f"{other._address}/kept/1?signed=x"}
        async with (
            homeserver(always(status, "", leads)) as transport,
            transport.download("mxc://a/b", 1000) as found,
        ):
            assert b"".join([chunk async for chunk in found.chunks]) == b"file"
    (request,) = told
    assert request.path_qs == "/kept/1?signed=x"
    assert "Authorization" not in request.headers
    for leads in ({}, {"Location": "/round"}):
        async with homeserver(always(status, "", leads)) as transport:
            with pytest.raises(Unavailable):
                async with transport.download("mxc://a/b", 1000):
                    pass


async def test_slow_file_transfer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FILE_TIMEOUT", 0.3)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if request.method == "POST":
            await asyncio.sleep(5)  # the upload is not answered
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(0.05)
        return response

    async with homeserver(answer) as transport, asyncio.timeout(30):
        with pytest.raises(Unavailable, match="interrupted"):
            async with transport.download("mxc://a/b", 1000) as found:
                _ = [chunk async for chunk in found.chunks]
        with pytest.raises(Unavailable, match="upload"):
            await transport.upload(Kept(io.BytesIO(b"x"), 1), "text/plain", "x", GHOST)
        with pytest.raises(TimeoutError):  # raised by the reader itself
            async with transport.download("mxc://a/b", 1000):
                raise TimeoutError


async def test_a_file_whose_headers_drip_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte restarts a limit on silence: the room would wait for hours."""
    monkeypatch.setattr(client, "FILE_TIMEOUT", 0.3)

    async def answer(request: web.Request) -> web.StreamResponse:
        for letter in f"HTTP/1.1 200 OK\r\nX: {'x' * 200}":
            if request.transport is None:
                break
            request.transport.write(letter.encode())
            await asyncio.sleep(0.02)
        return web.Response()

    async with homeserver(answer) as transport, asyncio.timeout(3):
        with pytest.raises(Unavailable, match="no answer in time"):
            async with transport.download("mxc://a/b", 1000):
                pytest.fail("there is no file")


async def test_nonsense_in_every_field_of_a_joined_room() -> None:
    """Everything that is read from a room can be stored, whoever wrote it."""
    field, value = "", object()

    def event(**more: object) -> dict[str, object]:
        honest: dict[str, object] = {
            "type": "m.room.member",
            "state_key": "@ada:a",
            "sender": "@ada:a",
            "event_id": "$e",
            "content": {"membership": "join", "displayname": "Ada"},
            "origin_server_ts": 1,
        }
        told = honest | more
        if field in told:
            told[field] = value
        content = told["content"]
        if isinstance(content, dict) and field in content:
            told["content"] = content | {field: value}
        return told

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/state/" in request.path:
            content = {"algorithm": "m.x", "join_rule": "invite", "queue": 1}
            told = event(type="x", content=content, state_key="")
        else:
            kind = "m.room.message" if request.path.endswith("/messages") else "m.room.member"
            told = {"chunk": [event(type=kind), 1, None], "end": "e", "event_id": "$e"}
            if field in told:
                told[field] = value
        return web.Response(text=json.dumps(told), content_type="application/json")

    names = ("state_key", "sender", "content", "event_id", "type", "origin_server_ts", "chunk")
    async with adapting(answer) as adapter, asyncio.timeout(30):
        fields = (*names, "membership", "displayname", "queue", "join_rule", "end")
        for field, value in itertools.product(fields, (None, -1, "\ud83d", [[]])):  # noqa: B007
            entry = await adapter.enter(ROOM, USERS.bot, UserId("@ada:a"), encrypt=True)
            stored = load_input(dump_input(entry.found))
            assert isinstance(stored, Entered)
            assert len(stored.people) == len(entry.found.people)
            for raw in entry.earlier:
                dump_input(MatrixEvent(raw))
                adapter.interpret(raw)
            await adapter.power_levels(ROOM, USERS.bot, (USERS.bot,))
            await adapter.is_replaced(ROOM, USERS.bot)


@pytest.mark.parametrize(
    ("shown", "joined", "hidden"),
    [(True, None, False), (False, "join", True), (False, "leave", False)],
)
async def test_an_event_that_a_member_is_not_shown_is_hidden(
    shown: bool, joined: str | None, hidden: bool
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "/state/" in request.path:
            return web.json_response({"content": {"membership": joined}})
        code = (
            {} if shown else {"errcode": "M_NOT_FOUND"}
        )  # as Synapse answers for soft-failed ones
        return web.json_response(code, status=200 if shown else 404)

    async with adapting(answer) as adapter:
        assert await adapter.is_hidden(ROOM, USERS.bot, EVENT) == hidden


async def test_names_read_when_joining_a_room_are_cut() -> None:
    """Members from other homeservers put names of 60 KB each into the room's record."""

    def member(number: int) -> dict[str, object]:
        name = "\u202e" + f"{number}\n" * 100
        return {
            "type": "m.room.member",
            "state_key": f"@p{number}:b",
            "content": {"membership": "join", "displayname": name},
        }

    async def answer(request: web.Request) -> web.StreamResponse:
        told: dict[str, object] = {"chunk": []}
        if request.path.endswith("/members"):
            told["chunk"] = [member(number) for number in range(MOST_PEOPLE + 100)]
        return web.json_response(told)

    async with adapting(answer) as adapter, asyncio.timeout(30):
        found = (await adapter.enter(ROOM, USERS.bot, UserId("@p7:b"))).found
    assert len(found.people) == MOST_PEOPLE
    assert found.people[-1].user == "@p7:b"
    assert found.displayname == found.people[-1].name == f"{'7 ' * 28}7…"
