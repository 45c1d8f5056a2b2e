"""The bridge recognises its own events in a room by their marker."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from aiohttp import web

from bridge.ids import EffectSeq, EventId, RoomId, UserId
from bridge.matrix.adapter import KEPT, MOST_PAGES, Markers, MatrixAdapter
from bridge.matrix.client import Homeserver
from bridge.matrix.crypto.wire import MARKER, Json
from bridge.rooms.store import EffectRow, Lane
from bridge.rooms.to_matrix import Delivery
from tests.fakes.house import World
from tests.fakes.memory import MemoryStore
from tests.unit.matrix.test_transport import USERS, Answer, homeserver

ROOM, BOT, EVE = RoomId("!r:h"), UserId("@bot:h"), "@eve:h"
NOBODY = cast(Homeserver, None)
"""For tests that send no request."""


def event(event_id: object, txn: object, sender: str = BOT, at: int = 1_000) -> Json:
    content = {MARKER: {"txn": txn}}
    return {
        "event_id": event_id,
        "sender": sender,
        "content": content,
        "origin_server_ts": at,
    }


def test_event_is_found_by_sender_and_transaction() -> None:
    markers = Markers(NOBODY)
    markers.note(event("$1", "t1"))
    markers.note(event("$2", "t1", EVE))
    assert markers.find(BOT, "t1") == "$1"
    assert markers.find(BOT, "t2") is None


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"event_id": "$1"},
        {"event_id": "$1", "sender": BOT, "content": "x"},
        {"event_id": "$1", "sender": BOT, "content": {MARKER: "t1"}},
        event("$1", 7),
        event(None, "t1"),
    ],
)
def test_events_without_a_valid_marker_are_ignored(strange: Json) -> None:
    markers = Markers(NOBODY)
    markers.note(strange)
    assert markers.find(BOT, "t1") is None


def test_overlong_marker_is_not_kept() -> None:
    """2,000 markers of 64 KB took 120 MB."""
    markers, long = Markers(NOBODY), "t" * 256
    markers.note(event("$1", long))
    markers.note(event("$2", long[1:]))
    assert (markers.find(BOT, long), markers.find(BOT, long[1:])) == (None, "$2")


def test_number_of_kept_markers_is_limited() -> None:
    markers = Markers(NOBODY)
    for number in range(KEPT + 1):
        markers.note(event(f"${number}", f"t{number}"))
    assert markers.find(BOT, "t0") is None
    assert markers.find(BOT, f"t{KEPT}") == EventId(f"${KEPT}")


def pages(*, at: Callable[[int], int]) -> tuple[list[str], Answer]:
    """An endless room with one event per page; `at` returns the time of each page's event."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
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
        ours = Markers(transport)
        await ours.find_markers(ROOM, BOT, 8 * hour)
    assert asked == ["", "p1", "p2"]
    assert ours.find(BOT, "t2") == "$2"
    # Too old: perhaps from before the database was restored.
    assert ours.find(BOT, "t3") is None


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
        adapter = MatrixAdapter(
            transport,
            users=USERS,
            profiles=MemoryStore(),
            conversions=ThreadPoolExecutor(1),
        )
        await adapter.find_markers(ROOM, BOT, 9 * hour)
        assert await adapter.send(ROOM, BOT, {"body": "anew"}, again) == "$new"
        # The same row again is recognised.
        assert await adapter.send(ROOM, BOT, {"body": "of the lost time"}, lost) == "$old"
    assert [content["body"] for content in sent] == ["anew"]


@pytest.mark.asyncio
async def test_room_is_searched_back_a_limited_number_of_pages() -> None:
    asked, answer = pages(at=lambda _: 9)
    async with homeserver(answer) as transport:
        await Markers(transport).find_markers(ROOM, BOT, 0)
    assert len(asked) == MOST_PAGES


@pytest.mark.asyncio
async def test_an_empty_room_is_searched_by_one_request() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({"chunk": []})

    async with homeserver(answer) as transport:
        await Markers(transport).find_markers(ROOM, BOT, 0)
    assert len(asked) == 1
