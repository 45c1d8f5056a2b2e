"""The bridge recognises its own events in a room by their marker."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

from bridge.ids import EffectSeq, EventId, RoomId, UserId
from bridge.matrix.adapter import KEPT, MOST_PAGES, MatrixAdapter
from bridge.matrix.client import Homeserver
from bridge.matrix.crypto.wire import MARKER, Json
from bridge.rooms.store import EffectRow, Lane
from bridge.rooms.to_matrix import Delivery
from tests.fakes.house import World
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.test_transport import USERS, Answer, homeserver

ROOM, BOT, EVE = RoomId("!r:h"), UserId("@bot:h"), "@eve:h"


def event(event_id: object, txn: object, sender: str = BOT, at: int = 1_000) -> Json:
    content = {MARKER: {"txn": txn}}
    return {
        "event_id": event_id,
        "sender": sender,
        "content": content,
        "origin_server_ts": at,
    }


def adapter_of(transport: Homeserver) -> MatrixAdapter:
    return MatrixAdapter(
        transport,
        users=USERS,
        profiles=MemoryStore(),
        conversions=ThreadPoolExecutor(1),
    )


async def sent_as(room: list[Json], *txns: str) -> list[EventId]:
    """Search a room, then send messages; "$new" is one that was not found there."""

    async def answer(request: web.Request) -> web.StreamResponse:
        found = {"chunk": room} if request.method == "GET" else {"event_id": "$new"}
        return web.json_response(found)

    async with homeserver(answer) as transport:
        adapter = adapter_of(transport)
        await adapter.find_markers(ROOM, BOT, 0)
        return [await adapter.send(ROOM, BOT, {"body": "x"}, txn) for txn in txns]


@pytest.mark.asyncio
async def test_event_is_found_by_sender_and_transaction() -> None:
    room = [event("$1", "t1"), event("$2", "t1", EVE), event("$3", "t3", EVE)]
    assert await sent_as(room, "t1", "t2", "t3") == ["$1", "$new", "$new"]


@pytest.mark.asyncio
async def test_events_without_a_valid_marker_are_ignored() -> None:
    strange: list[Json] = [
        {},
        {"event_id": "$1"},
        {"event_id": "$1", "sender": BOT, "content": "x"},
        {"event_id": "$1", "sender": BOT, "content": {MARKER: "t1"}},
        event("$1", 7),
        event(None, "t1"),
    ]
    for one in strange:
        assert await sent_as([one], "t1") == ["$new"]


@pytest.mark.asyncio
async def test_overlong_marker_is_not_kept() -> None:
    """2,000 markers of 64 KB took 120 MB."""
    long = "t" * 256
    assert await sent_as([event("$1", long), event("$2", long[1:])], long, long[1:]) == [
        "$new",
        "$2",
    ]


@pytest.mark.asyncio
async def test_number_of_kept_markers_is_limited() -> None:
    room = [event(f"${number}", f"t{number}") for number in range(KEPT + 1)]
    assert await sent_as(room, "t0", f"t{KEPT}") == ["$new", f"${KEPT}"]


def pages(*, at: Callable[[int], int]) -> tuple[list[str], Answer]:
    """An endless room with one event per page; `at` returns the time of each page's event."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "PUT":
            return web.json_response({"event_id": "$new"})
        asked.append(request.query.get("from", ""))
        number = len(asked)
        found = event(f"${number}", f"t{number}", at=at(number))
        return web.json_response({"chunk": [found], "end": f"p{number}"})

    return asked, answer


@pytest.mark.asyncio
async def test_room_is_searched_back_as_far_as_needed() -> None:
    hour = 3_600_000
    asked, answer = pages(at=lambda number: (10 - number) * hour)
    async with homeserver(answer) as transport:
        adapter = adapter_of(transport)
        await adapter.find_markers(ROOM, BOT, 8 * hour)
        assert asked == ["", "p1", "p2"]
        assert await adapter.send(ROOM, BOT, {"body": "x"}, "t2") == "$2"
        # Too old: perhaps from before the database was restored.
        assert await adapter.send(ROOM, BOT, {"body": "x"}, "t3") == "$new"


@pytest.mark.asyncio
async def test_a_new_row_of_a_restored_database_is_not_taken_for_an_old_one() -> None:
    """An old row that is still open causes a search of the room, back into the lost time."""
    hour, sent = 3_600_000, []
    world = World()
    room = world.engine()._room(ROOM)
    lost, again = (
        Delivery(room, EffectRow(EffectSeq(57), ROOM, Lane.MATRIX, b"", at)).txn_id(BOT)
        for at in (10 * hour, 12 * hour)
    )

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "PUT":
            sent.append(await request.json())
            return web.json_response({"event_id": "$new"})
        return web.json_response({"chunk": [event("$old", lost, at=10 * hour)]})

    async with homeserver(answer) as transport:
        adapter = adapter_of(transport)
        await adapter.find_markers(ROOM, BOT, 9 * hour)
        assert await adapter.send(ROOM, BOT, {"body": "anew"}, again) == "$new"
        # The same row again is recognised.
        assert await adapter.send(ROOM, BOT, {"body": "of the lost time"}, lost) == "$old"
    assert [content["body"] for content in sent] == ["anew"]


@pytest.mark.asyncio
async def test_room_is_searched_back_a_limited_number_of_pages() -> None:
    asked, answer = pages(at=lambda _: 9)
    async with homeserver(answer) as transport:
        await adapter_of(transport).find_markers(ROOM, BOT, 0)
    assert len(asked) == MOST_PAGES


@pytest.mark.asyncio
async def test_an_empty_room_is_searched_by_one_request() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({"chunk": []})

    async with homeserver(answer) as transport:
        await adapter_of(transport).find_markers(ROOM, BOT, 0)
    assert len(asked) == 1
