"""A homeserver that does not push all events, and a bridge that catches up on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import cast

from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.matrix.appservice import Arrived
from bridge.matrix.catchup import LOOKS, PAGE, CatchUp
from bridge.matrix.client import Homeserver
from bridge.matrix.users import OurUsers
from bridge.rooms.engine import Engine, Served
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Raw
from bridge.rooms.store import StoreError, StorePort
from tests.fakes.clock import ManualClock, quiet

OURS = OurUsers("a", "webchatbot", "webchat_{agent}", (QueueId(1),))
ROOM, OTHER = RoomId("!r:a"), RoomId("!s:a")
REACH = 3_600_000
FIRST_LOOK, ALL_LOOKS = LOOKS[0] + 1, sum(LOOKS) + 10


class House:
    """Two rooms on a homeserver, and a bridge that has stored some of their events."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.outage, self.held = asyncio.Event(), asyncio.Event()
        self.behind: dict[RoomId, int] = {}
        self.hosts = {ROOM: OURS.bot}
        self.rooms: dict[RoomId, list[Raw]] = {ROOM: [], OTHER: []}
        self.taken: list[str] = []
        self.of: list[RoomId] = []
        """Rooms of the invitations in `taken`."""
        self.trouble: list[Exception] = []
        self.away = self.busy = False
        """Whether it cannot be reached; whether somebody writes during each read."""
        self.full = False
        """True while no event can be stored."""
        self.pushed = self.pushes = 0
        """Events that the homeserver has pushed, the oldest first, and pushes during each read."""
        self.faults: list[Exception] = []
        """Errors of the next pages."""
        self.sick: set[RoomId] = set()
        """Rooms whose pages the homeserver answers with errors."""
        self.checks = self.asked = 0
        self.stream: list[tuple[RoomId, UserId | None]] = []
        """Rooms of all events, and whom an invitation invites; a /sync token is their number."""
        self.open: set[RoomId] = set()
        self.noted = {f"invited {host}": "0" for host in OURS.hosts}
        self.refusal: Refused | None = None
        self.slow = False
        self.mute = False
        """True while facts can be neither read nor stored."""
        self.looked_into = [(ROOM, OURS.bot), (OTHER, OURS.bot)]
        """Rooms of this process."""
        self.live = {ROOM}
        self._events = 0

    def event(self, room: RoomId = ROOM, **more: object) -> str:
        """Add a message to a room; return its event id."""
        self._events += 1
        event: Raw = {
            "event_id": f"${self._events}",
            "sender": "@ann:a",
            "type": "m.room.message",
            "origin_server_ts": self.clock.now(),
        }
        self.rooms[room].append(event | more)
        self.stream.append((room, None))
        return f"${self._events}"

    async def page(
        self, who: UserId, room_id: RoomId, limit: int, start: str = "", way: str = "b"
    ) -> tuple[Sequence[Raw], str]:
        """Return a page of a room; a token is the number of older events."""
        assert OURS.is_host(who)
        self.asked += 1
        if self.away or room_id in self.sick:
            raise Unavailable("away")
        if self.faults:
            raise self.faults.pop()
        if self.busy:
            self.event(room=room_id)
        events = self.rooms[room_id]
        pushed = [str(one["event_id"]) for one in events[self.pushed :][: self.pushes]]
        self.taken += [one for one in pushed if one not in self.taken]
        self.pushed += self.pushes
        place = int(start or len(events))
        end = min(place + limit, len(events)) if way == "f" else max(place - limit, 0)
        page = events[place:end] if way == "f" else events[end:place][::-1]
        last = end == 0 or (end == len(events) and not self.busy)
        return page, "" if last else str(end)

    def invite(self, room: RoomId, whom: UserId = OURS.bot) -> None:
        self.stream.append((room, whom))
        self.open.add(room)

    async def news(
        self, user: UserId, since: str
    ) -> tuple[list[tuple[RoomId, list[Raw]]], list[RoomId], str]:
        if self.away or self.slow:
            raise Unavailable("no answer in time")
        if self.refusal is not None:
            raise self.refusal
        member: Raw = {"type": "m.room.member", "sender": "@ann:a", "state_key": user}
        shown: list[Raw] = [{"type": "m.room.name"}, member | {"content": {"membership": "invite"}}]
        later = self.stream[int(since) :] if since else []
        there = [(room, shown) for room, whom in later if whom == user and room in self.open]
        joined = [room for room in dict.fromkeys(room for room, _ in later) if room in self.rooms]
        return there, joined, str(len(self.stream))

    async def fact(self, name: str) -> str | None:
        if self.mute:
            raise StoreError("no answer")
        return self.noted.get(name)

    async def save_fact(self, name: str, value: str) -> None:
        if self.mute:
            raise StoreError("no answer")
        self.noted[name] = value

    async def check(self) -> None:
        self.checks += 1
        if self.away:
            raise Unavailable("away")

    async def known(self, events: Collection[EventId]) -> dict[EventId, int]:
        return {one: self.taken.index(one) + 1 for one in events if one in self.taken}

    async def newest(self) -> int:
        return len(self.taken)

    def serves(self, room_id: RoomId) -> bool:
        return room_id in dict(self.looked_into)

    async def served_in(self, room_id: RoomId) -> Served | None:
        if self.trouble and room_id in self.behind:
            raise self.trouble.pop()
        host = dict(self.looked_into).get(room_id) or self.hosts.get(room_id)
        return Served(host, live=room_id in self.live) if host else None

    async def accept_events(self, events: Sequence[Arrived]) -> int:
        if self.trouble:
            raise self.trouble.pop()
        if self.full:
            raise StoreError("full")
        assert events, "live rooms are not disturbed"
        assert len(events) <= PAGE
        new = [event_id for _, event_id, _ in events if event_id not in self.taken]
        assert all(raw["room_id"] == room for room, _, raw in events)
        self.taken += new
        self.of += [room for room, _, raw in events if raw["type"] == "m.room.member"]
        return len(new)

    @asynccontextmanager
    async def looked_after(self) -> AsyncIterator[None]:
        catching = CatchUp(
            self.outage,
            self.held,
            self.behind,
            cast(Homeserver, self),
            OURS,
            cast(Engine, self),
            cast(StorePort, self),
            clock=self.clock,
            reach=lambda: REACH,
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(catching.run())
            await quiet()
            yield
            running.cancel()
