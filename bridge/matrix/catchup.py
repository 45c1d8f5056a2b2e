"""Catch-up on events that the homeserver never pushed, by reading the rooms (/messages).

A killed homeserver may forget events that it still had to push: Synapse 1.163 keeps them in memory
between saving its own position and writing the transaction. While it waits up to a minute for the
bridge's answer to one transaction, these are all that come, and even a normal stop forgets them. A
transaction written while it took the bridge for dead, or not answered when Synapse stopped, may
wait until it takes the bridge for dead again (all measured).

So after each start, each outage of the homeserver, whenever it pushes queued events (it took the
bridge for dead, or the bridge had no database), and once an hour, /sync tells in which rooms there
are new events and to which rooms a host is invited. The ends of these rooms are read; after trouble
three times, as the homeserver may still be pushing its queue. Forgotten events may lie between
pushed ones, so a room is read back to a known event from before the outage, but not beyond the
host's join or `reach`. Whether an event is that old is told by its row in the journal, not by a
clock. From where to search (`_Mark`) is stored, and moves on to where a look began once all has
been well for an hour after it: until then the process may end in the midst of a room. Of several
processes each reads its own rooms, and again when it takes over some.

A message of an agent or robot that the journal lacks is of a time that the database has lost, as it
was restored from a backup. They had what came before it, which is left alone, so that it calls no
agent again; but not if a chat is live, as its agent knows what is said twice.

When another homeserver could not reach this one for long, it sends only the latest event of a room
afterwards, and Synapse fetches and pushes no more than the ten before (measured). So a room in
which an event of another homeserver came late (`appservice.BEHIND`) is read back to before it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import structlog

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.appservice import Arrived, is_echo, is_id
from bridge.matrix.client import Homeserver
from bridge.matrix.crypto import wire
from bridge.matrix.events import is_membership, sent_at
from bridge.matrix.users import OurUsers
from bridge.rooms.engine import Engine
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.record import Raw
from bridge.rooms.store import StoreError, StorePort
from bridge.rooms.surroundings import first_of, slept

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.catchup")

LOOKS = (3.0, 30.0, 120.0)
"""Delays in seconds before each look at the rooms; meanwhile the homeserver pushes its queue."""
FIRST, PAGE = 30, 100
"""Events asked for in the first page of a room, which mostly suffices, and in later ones."""
AT_ONCE = 4
"""Maximum rooms read at a time: a page may take 6 MB."""
AGAIN = (1.0, 4.0, 10.0)
"""Seconds before each further attempt to read a page, or longer if the homeserver says so."""
LONGEST_PAUSE = 60.0
"""Maximum seconds that the homeserver may ask for; after that, a later look reads the room."""
WELL = 60.0
"""Seconds between looks for rooms with late events while all is well."""
CALM = 600.0
"""Seconds after which the mark moves on although looks never end, as the homeserver always pushes
late; and for which a room that cannot be read is tried again."""
_ANY = sys.maxsize
"""Row, or ms since the epoch, that ends no reading before another criterion does."""
_INVALID = ("M_UNKNOWN", "M_INVALID_PARAM")
"""Error codes of a /sync token that the homeserver cannot read; Synapse (1.163) has the first."""
_MESSAGES = ("m.room.message", "m.room.encrypted")
"""Types of the events that show an agent's words."""
_UP_TO = "caught up to"
"""Name of the fact that stores the row of the mark."""
PRUNED = "pruned"
"""Name of the fact that stores up to when the journal was pruned: under a shorter `retention.rows`
than now, maybe, and events from before it would be taken for missed and delivered twice."""
PACE = 0.02
"""Seconds of pause per missed event of a page, as only 200 messages of a room may wait: about
half as fast as Synapse pushes its queue."""
SPREAD = 0.05
"""Seconds after each room."""
BEFORE = 10_000
"""ms before a late event during which others may be missing."""
RETRY = 2.0
"""Seconds between two attempts to reach the homeserver."""
QUIET = 3600.0
"""Seconds between two looks while all is well."""
SETTLING = 5.0
"""Seconds for which an invitation must stay open to count as never pushed."""


@dataclass(frozen=True)
class _Mark:
    """A place up to which no event is missing, once all has been well for long enough after it."""

    row: int
    """Newest row of the journal."""
    tokens: dict[UserId, str]
    """The hosts' /sync tokens."""


@dataclass(frozen=True)
class _Place:
    """A room to be read back to a known event."""

    host: UserId
    row: int
    """Highest row of that event in the journal."""
    live: bool
    """Whether a chat is live there."""


@dataclass(frozen=True)
class CatchUp:
    """Search for events that the homeserver did not push."""

    outage: asyncio.Event
    """Set when the homeserver could not be reached, or rooms were taken over from another process,
    which may have been reading them; cleared here."""
    held: asyncio.Event
    """Set when it pushed events that it had queued for a while; cleared here."""
    behind: dict[RoomId, int]
    """Rooms with late events of other homeservers, and when the oldest was sent; emptied here."""
    homeserver: Homeserver
    """Its failures do not set `outage`."""
    users: OurUsers
    engine: Engine
    """Stores events, once each, and knows the host of each room."""
    store: StorePort
    """Its facts are `_UP_TO`, `PRUNED`, and for each host the /sync token of the mark."""
    clock: Clock
    reach: Callable[[], int]
    """Returns the maximum age of events in ms: older ones may have been pruned from the journal."""

    async def run(self) -> None:
        with suppress(StoreError):  # before the homeserver pushes anything
            if await self.store.fact(_UP_TO) is None:
                await self.store.save_fact(_UP_TO, str(await self.store.newest()))
        while True:
            await self._while_well(await self._catch_up())

    async def _catch_up(self) -> _Mark | None:
        """Look at the rooms `LOOKS` times, from the start again if the homeserver fails or lags.

        If a room cannot be read, the last look is repeated, until `CALM` is over. Returns where the
        first look began, None if nothing could be looked at.
        """
        looks, entered, took = 0, 0, 0.0
        first: _Mark | None = None
        while looks < len(LOOKS):
            if looks == 0:
                await self._until_back()
                entered = entered or self.clock.now()
                self.held.clear()
                # Limit the share of time spent on looks if they never end.
                await slept(self.clock, max(LOOKS[0], 2 * took), self.outage)
                broken = self.outage.is_set()
            else:
                broken = await self._is_broken_within(LOOKS[looks])
            if not broken:
                began = self.clock.now()
                whole, seen = await self._look()
                first, took = first or seen, min((self.clock.now() - began) / 1000, LOOKS[1])
                broken, looks = self.held.is_set() or self.outage.is_set(), looks + 1
                lasted = began - entered >= CALM * 1000
                if whole and lasted:  # some homeservers always push late
                    await self._note(first)
                    first, entered = seen, began
                elif not (whole or lasted) and looks == len(LOOKS):
                    looks -= 1
            looks = 0 if broken else looks
        return first

    async def _while_well(self, first: _Mark | None) -> None:
        """Look for what may be missing, until an outage or queued events; `first`: the last look's
        beginning.
        """
        quiet = 0.0
        while not await self._is_broken_within(WELL):
            quiet += WELL
            if quiet % QUIET:
                await self._read_rooms(await self._late_rooms(_ANY))
                continue
            whole, seen = await self._look()
            if whole:
                await self._note(first)
                first = seen

    async def _is_broken_within(self, seconds: float) -> bool:
        """Wait; True at once if the homeserver cannot be reached, or pushed queued events."""
        await first_of(self.clock.sleep(seconds), self.outage.wait(), self.held.wait())
        return self.outage.is_set() or self.held.is_set()

    async def _note(self, mark: _Mark | None) -> None:
        if mark is not None and not self.behind:  # late events are remembered only in memory
            with suppress(StoreError):
                await self.store.save_fact(_UP_TO, str(mark.row))
                for host, token in mark.tokens.items():
                    if token:  # else /sync was refused then, and a later look has stored one
                        await self.store.save_fact(_invited(host), token)

    async def _until_back(self) -> None:
        while True:
            self.outage.clear()
            with suppress(Unavailable, Refused):
                return await self.homeserver.check()
            await self.clock.sleep(RETRY)

    async def _late_rooms(self, row: int) -> dict[RoomId, _Place]:
        """Return the rooms in `behind` that are still served."""
        found = {}
        with suppress(StoreError):
            for room_id in [*self.behind]:
                if (served := await self.engine.served_in(room_id)) is not None:
                    found[room_id] = _Place(served.host, row, served.live)
                else:
                    del self.behind[room_id]
        return found

    async def _look(self) -> tuple[bool, _Mark | None]:
        """Read what is new. False if some of it failed and needs another look; and the beginning of
        this look, None if it is not known.
        """
        rooms: dict[RoomId, _Place] = {}
        tokens: dict[UserId, str] = {}
        try:
            row, noted = await self.store.newest(), int(await self.store.fact(_UP_TO) or 0)
        except StoreError as error:
            _log.info("missed events could not be looked for", why=str(error))
            return False, None

        async def ask(host: UserId) -> None:
            found, tokens[host] = await self._look_for_news(host)
            for room_id in found:
                served = self.engine.serves(room_id) and await self.engine.served_in(room_id)
                if served and served.host == host:
                    rooms[room_id] = _Place(host, noted, served.live)

        hosts = self.users.hosts
        whole = await self._all([({"user": host}, partial(ask, host)) for host in hosts])
        rooms |= await self._late_rooms(noted)
        whole = await self._read_rooms(rooms) and whole
        return whole, _Mark(row, tokens) if len(tokens) == len(hosts) else None

    async def _read_rooms(self, rooms: Mapping[RoomId, _Place]) -> bool:
        looks = [({"room": room}, partial(self._read_room, room, rooms[room])) for room in rooms]
        return await self._all(looks)

    async def _all(
        self, looks: Sequence[tuple[Mapping[str, str], Callable[[], Awaitable[object]]]]
    ) -> bool:
        """Look at several places, `AT_ONCE` at a time; False if some failed.

        If the homeserver does not answer, the others are left out, and `outage` is set.
        """
        turns, whole, gone = asyncio.Semaphore(AT_ONCE), True, False

        async def take(place: Mapping[str, str], look: Callable[[], Awaitable[object]]) -> None:
            nonlocal whole, gone
            async with turns:
                if gone:
                    return
                try:
                    await look()
                except (Unavailable, Refused, StoreError) as error:
                    whole = False
                    _log.info("missed events could not be read", **place, why=str(error))
                    gone = isinstance(error, Unavailable) and not await self._is_there()
                await self.clock.sleep(SPREAD)

        async with asyncio.TaskGroup() as tasks:
            for look in looks:
                tasks.create_task(take(*look))
        return whole

    async def _is_there(self) -> bool:
        """Check whether only one room failed."""
        try:
            await self.homeserver.check()
        except (Unavailable, Refused) as error:
            _log.info("the homeserver does not answer", why=str(error))
            self.outage.set()
            return False
        return True

    async def _look_for_news(self, host: UserId) -> tuple[Sequence[RoomId], str]:
        """Accept open invitations as events; return the rooms with new events, and a /sync token.

        The first look only stores a token.
        """
        name = _invited(host)
        since = await self.store.fact(name) or ""
        try:
            rooms, news, now = await self.homeserver.news(host, since)
            if rooms:  # perhaps pushed as well, and being joined
                await self.clock.sleep(SETTLING)
                open_still, _, _ = await self.homeserver.news(host, since)
                rooms = [room for room in rooms if room[0] in dict(open_still)]
        except Refused as error:  # the user is not registered yet, or the token is invalid
            if since and error.code not in _INVALID:
                raise
            _log.debug("the homeserver does not tell news", user=host, why=error.code)
            await self.store.save_fact(name, "")
            return (), ""
        for room_id, state in rooms:
            found = next((event for event in state if is_membership(event, host, "invite")), None)
            if found is None or not (is_id(room_id) and is_id(wire.text(found, "sender"))):
                continue
            digest = sha256(f"{room_id} {host} {since}".encode()).hexdigest()
            event_id = EventId(f"$invited.{digest}")
            dated = {"event_id": event_id, "room_id": room_id, "origin_server_ts": self.clock.now()}
            if await self.engine.accept_events([(room_id, event_id, found | dated)]):
                _log.info(
                    "found an invitation that the homeserver had not delivered",
                    room=room_id,
                    user=host,
                )
        if not since:
            await self.store.save_fact(name, now)
        return news, now

    async def _read_room(self, room_id: RoomId, place: _Place) -> None:
        """Read a room; if with late events, again after an error, or until nothing is found.

        Synapse fetches 100 at a time.
        """
        late = self.behind.pop(room_id, _ANY)
        again = late < _ANY
        try:
            again = await self._read_back(room_id, place, late - BEFORE) > 0 and again
        except Refused:
            again = False
            raise
        finally:
            if again:
                self.behind[room_id] = min(late, self.behind.get(room_id, _ANY))

    async def _read_back(self, room_id: RoomId, place: _Place, sent_by: int) -> int:
        """Accept the room's unknown events from a known one on that is old enough, and was sent
        before `sent_by`, ms since the epoch.

        Pages are read back to it and then forwards, in the order in which the homeserver pushes.
        Those that the bridge has sent are known, also by users that are no longer its own.
        Returns how many there were.
        """
        oldest = self.clock.now() - self.reach()
        with suppress(StoreError):
            oldest = max(oldest, int(await self.store.fact(PRUNED) or 0) + BEFORE)
        page: list[Arrived] = []
        start, before, missed, pages, ended = "", "", False, 0, False
        while not ended:
            start, page = before, []
            events, before = await self._page(place.host, room_id, PAGE if pages else FIRST, start)
            pages += 1
            ids = [EventId(wire.text(event, "event_id")) for event in events]
            known = await self.store.known([event_id for event_id in ids if is_id(event_id)])
            for event in events:
                if (
                    _is_joining(event, place.host)
                    or sent_at(event) < oldest
                    or (not place.live and self._is_of_lost_time(event, known))
                ):
                    before = ""
                    break
                if (read := self._read(event, room_id)) is not None:
                    page.append(read)
            missed = missed or any(event_id not in known for _, event_id, _ in page)
            ended = not before or any(
                known.get(came[1], _ANY) <= place.row and sent_at(came[2]) < sent_by
                for came in page
            )
        new = fresh = await self._accept(page[::-1]) if missed else 0
        for _ in range(pages if missed else 0):  # later ones the homeserver pushes by itself
            if not start:
                break
            await self.clock.sleep(fresh * PACE)
            events, start = await self._page(place.host, room_id, PAGE, start, "f")
            found = [came for event in events if (came := self._read(event, room_id)) is not None]
            new += (fresh := await self._accept(found))
        if new:
            _log.info("found events that the homeserver had not delivered", room=room_id, count=new)
        return new

    async def _page(
        self, host: UserId, room_id: RoomId, size: int, start: str, way: str = "b"
    ) -> tuple[Sequence[Raw], str]:
        """Read a page; again if that fails though the homeserver answers."""
        for pause in AGAIN:
            try:
                return await self.homeserver.page(host, room_id, size, start, way)
            except Unavailable as error:
                if (error.retry_after or 0.0) > LONGEST_PAUSE:
                    raise
                await self.clock.sleep(max(pause, error.retry_after or 0.0))
            await self.homeserver.check()
        return await self.homeserver.page(host, room_id, size, start, way)

    async def _accept(self, page: Sequence[Arrived]) -> int:
        """Accept the unknown events of a page; return how many there were."""
        known = await self.store.known([event_id for _, event_id, _ in page])
        unknown = [came for came in page if came[1] not in known]
        return await self.engine.accept_events(unknown) if unknown else 0

    def _is_of_lost_time(self, event: Raw, known: Collection[EventId]) -> bool:
        """True for an agent's message of which the database knows nothing.

        Hosts' do not count: who was waiting would be forgotten, and not all are in the journal.
        """
        event_id, sender, kind = (wire.text(event, key) for key in ("event_id", "sender", "type"))
        is_agents = self.users.is_ours(sender) and not self.users.is_open_to_all(sender)
        return kind in _MESSAGES and is_agents and event_id not in known

    def _read(self, event: Raw, room_id: RoomId) -> Arrived | None:
        """Return the event as a transaction delivers it; None if an echo, redacted or invalid."""
        event_id, sender = wire.text(event, "event_id"), wire.text(event, "sender")
        if not (is_id(event_id) and is_id(sender)) or "redacted_because" in wire.mapping(
            event, "unsigned"
        ):
            return None
        if is_echo(self.users, event):
            return None
        return room_id, EventId(event_id), event | {"room_id": room_id}


def _is_joining(event: Raw, host: UserId) -> bool:
    """True for the host's join: events before it were read when the host joined."""
    before = wire.mapping(event, "unsigned", "prev_content")
    return is_membership(event, host, "join") and before.get("membership") != "join"


def _invited(host: UserId) -> str:
    """Return the name of the fact that stores a host's /sync token."""
    return f"invited {host}"
