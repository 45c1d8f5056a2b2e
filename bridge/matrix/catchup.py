"""Catch-up on events that the homeserver never pushed, by reading the rooms (/messages).

A killed homeserver may forget events that it still had to push: Synapse 1.163 keeps them in memory
between saving its own position and writing the transaction, and a transaction written while it took
the bridge for dead may wait until it does so again (both measured).

So after each start, each outage of the homeserver, and whenever it pushes queued events (it took
the bridge for dead, or the bridge had no database), the ends of the active rooms are read three
times, as it may still be pushing its queue. Forgotten events may lie between pushed ones, so a room
is read back to a known event from before the outage, but not beyond the host's join or `reach`. The
time when all was last well is stored (`_SINCE`): the bridge may be killed before it has looked. Of
several processes each reads its own rooms, and again when it takes over some.

When another homeserver could not reach this one for long, it sends only the latest event of a room
afterwards, and Synapse fetches and pushes no more than the ten before (measured). So a room in
which an event of another homeserver came late (`appservice.BEHIND`) is read back to before it.

A room to which a host is only invited cannot be read: open invitations come from /sync, also while
all is well. The /sync token is stored, to find invitations made while the bridge is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from bridge.rooms.record import Raw, age_of
from bridge.rooms.store import StoreError, StorePort
from bridge.rooms.surroundings import first_of, slept

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.catchup")

LOOKS = (3.0, 30.0, 120.0)
"""Delays in seconds before each look at the rooms; meanwhile the homeserver pushes its queue."""
PAGES = (30, *(100,) * 20)
"""Events asked for in each page of a room, as mostly the first suffices. Messages before the last
page are lost, or come late if the homeserver pushes them yet."""
WELL = 60.0
"""Seconds between updates of the `_SINCE` fact while all is well."""
CALM = 600.0
"""Seconds for which all must be well before `_SINCE` advances: a process that is still reading may
end, and its rooms fall to others, which have finished, or to the next start."""
_SINCE = "caught up"
"""Name of the fact that stores since when events may be missing, ms since the epoch."""
PRUNED = "pruned"
"""Name of the fact that stores up to when the journal was pruned: under a shorter `retention.rows`
than now, maybe, and events from before it would be taken for missed and delivered twice."""
PACE = 0.02
"""Seconds of pause per missed event of a page, as only 200 messages of a room may wait: about
half as fast as Synapse pushes its queue."""
SPREAD = 0.05
"""Seconds between two rooms."""
BEFORE = 10_000
"""ms before an outage, or a late event, during which the homeserver may already have lost some."""
RETRY = 2.0
"""Seconds between two attempts to reach the homeserver."""
QUIET = 3600.0
"""Seconds between two looks for invitations while all is well."""
SETTLING = 5.0
"""Seconds for which an invitation must stay open to count as never pushed."""


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
    users: OurUsers
    engine: Engine
    """Stores events, once each, and knows the active rooms."""
    store: StorePort
    """Its facts are `_SINCE`, `PRUNED`, and for each host the /sync token up to which invitations
    were read.
    """
    clock: Clock
    reach: Callable[[], int]
    """Returns the maximum age of events in ms: older ones may have been pruned from the journal."""

    async def run(self) -> None:
        since, took = await self._noted(), 0.0
        while True:
            since, took = await self._catch_up(since, took)
            since = await self._while_well(since)

    async def _catch_up(self, since: int, took: float) -> tuple[int, float]:
        """Look at the rooms `LOOKS` times, from the start again if the homeserver fails or lags.

        If a room cannot be read, the last look is repeated, until `CALM` is over.
        `took`: seconds of the last look. Returns the new `since` and `took`.
        """
        looks, entered = 0, 0
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
                began, late = self.clock.now(), await self._late_rooms()
                whole = await self._look(since, self.engine.recent_rooms(), late)
                took = min((self.clock.now() - began) / 1000, LOOKS[1])
                broken, looks = self.held.is_set() or self.outage.is_set(), looks + 1
                lasted = began - entered >= CALM * 1000
                if whole and lasted:  # some homeservers always push late
                    since, entered = await self._note(entered), began
                elif not (whole or lasted) and looks == len(LOOKS):
                    looks -= 1
            looks = 0 if broken else looks
        return since, took

    async def _while_well(self, since: int) -> int:
        """Note the time, and look for what may be missing, until an outage or queued events."""
        quiet = 0.0
        while not await self._is_broken_within(WELL):
            began, late = self.clock.now(), await self._late_rooms()
            quiet += WELL
            if quiet >= CALM:
                since = await self._note(began)
            if late or quiet % QUIET == 0:
                await self._look(since, (), late)
        return since

    async def _is_broken_within(self, seconds: float) -> bool:
        """Wait; True at once if the homeserver cannot be reached, or pushed queued events."""
        await first_of(self.clock.sleep(seconds), self.outage.wait(), self.held.wait())
        return self.outage.is_set() or self.held.is_set()

    async def _noted(self) -> int:
        """Return since when events may be missing, ms since the epoch; 0 if by another clock."""
        now = self.clock.now()
        with suppress(StoreError):
            noted = int(await self.store.fact(_SINCE) or await self._note(now))
            return 0 if noted > now else min(now - BEFORE, noted)
        return now - BEFORE

    async def _note(self, well: int) -> int:
        """Store that all was well at `well`, ms since the epoch; return the new `since`."""
        since = well - BEFORE
        with suppress(StoreError):
            await self.store.save_fact(_SINCE, str(since))
        return since

    async def _until_back(self) -> None:
        while True:
            self.outage.clear()
            with suppress(Unavailable, Refused):
                return await self.homeserver.check()
            await self.clock.sleep(RETRY)

    async def _late_rooms(self) -> list[tuple[RoomId, UserId, int]]:
        """Return the rooms in `behind` that are still served, and when to read from."""
        found = []
        with suppress(StoreError):
            for room_id, sent in [*self.behind.items()]:
                if (host := await self.engine.host_in(room_id)) is not None:
                    found.append((room_id, host, sent - BEFORE))
                else:
                    del self.behind[room_id]
        return found

    async def _look(
        self,
        since: int,
        rooms: Sequence[tuple[RoomId, UserId]],
        late: Sequence[tuple[RoomId, UserId, int]],
    ) -> bool:
        """Read all rooms and invitations once; False if some failed and need another look."""
        hosts = self.users.hosts
        looks: list[tuple[Mapping[str, str], Callable[[], Awaitable[object]]]] = [
            *(({"room": one[0]}, partial(self._look_behind, *one)) for one in late),
            *(({"room": one}, partial(self._look_into, one, host, since)) for one, host in rooms),
            *(({"user": host}, partial(self._look_for_invitations, host)) for host in hosts),
        ]
        whole = True
        for place, look in looks:
            outage = self.outage.is_set()
            try:
                await look()
            except (Unavailable, Refused, StoreError) as error:
                whole = False
                _log.info("missed events could not be read", **place, why=str(error))
                if isinstance(error, Unavailable) and not await self._is_there(outage=outage):
                    return False
            await self.clock.sleep(SPREAD)
        return whole

    async def _is_there(self, *, outage: bool) -> bool:
        """Check whether only one room failed; if so, restore `outage` as it was before the read."""
        if not outage:
            self.outage.clear()
        try:
            await self.homeserver.check()
        except (Unavailable, Refused) as error:
            _log.info("the homeserver does not answer", why=str(error))
            self.outage.set()
            return False
        return True

    async def _look_for_invitations(self, host: UserId) -> None:
        """Accept open invitations as events; the first look only stores the /sync token.

        If /sync is unavailable, the next look tries again.
        """
        name = f"invited {host}"
        since = await self.store.fact(name) or ""
        try:
            rooms, now = await self.homeserver.invitations(host, since)
            if rooms:  # perhaps pushed as well, and being joined
                await self.clock.sleep(SETTLING)
                open_still, _ = await self.homeserver.invitations(host, since, again=True)
                rooms = [one for one in rooms if one[0] in dict(open_still)]
        except Refused as error:  # the user is not registered, or the token is another server's
            _log.debug("the homeserver does not list invitations", user=host, why=error.code)
            rooms, now = [], ""
        except Unavailable as error:  # /sync can be slow after a long time
            _log.debug("the homeserver did not list invitations in time", user=host, why=str(error))
            return
        for room_id, state in rooms:
            found = next((one for one in state if is_membership(one, host, "invite")), None)
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
        await self.store.save_fact(name, now)

    async def _look_behind(self, room_id: RoomId, host: UserId, since: int) -> None:
        """Read a room with late events; again after an error, or until nothing is found.

        Synapse fetches 100 at a time.
        """
        since = min(since, self.behind.pop(room_id, since))
        try:
            found = await self._look_into(room_id, host, since)
        except (Unavailable, StoreError):
            self.behind.setdefault(room_id, since)
            raise
        if found:
            self.behind.setdefault(room_id, since)

    async def _look_into(self, room_id: RoomId, host: UserId, since: int) -> int:
        """Accept the room's unknown events, from a known one that was sent before `since` on.

        Pages are read back to it and then forwards, in the order in which the homeserver pushes.
        Those that the bridge has sent are known, also by users that are no longer its own.
        Returns how many there were.
        """
        oldest = self.clock.now() - self.reach()
        with suppress(StoreError):
            oldest = max(oldest, int(await self.store.fact(PRUNED) or 0) + BEFORE)
        page: list[Arrived] = []
        start, before, gap, missed = "", "", False, False
        for size in PAGES:
            start, page = before, []
            events, before = await self.homeserver.page(host, room_id, size, start)
            for event in events:
                if _is_joining(event, host) or sent_at(event) < oldest:
                    before = ""
                    break
                if (read := self._read(event, room_id)) is not None:
                    page.append(read)
            known = await self.store.known([event_id for _, event_id, _ in page])
            gap = page[-1][1] not in known if page else gap
            missed = missed or len(known) < len(page)
            if not before or any(one[1] in known and self._sent(one[2]) < since for one in page):
                break
        else:
            if gap:  # otherwise the oldest event read is known: the room is just busy
                _log.warning(
                    "too many missed events, older ones are not read", room=room_id, read=sum(PAGES)
                )
        new = fresh = await self._accept(page[::-1]) if missed else 0
        for _ in PAGES if missed else ():  # later ones the homeserver pushes by itself
            if not start:
                break
            await self.clock.sleep(fresh * PACE)
            events, start = await self.homeserver.page(host, room_id, PAGES[-1], start, "f")
            found = [one for event in events if (one := self._read(event, room_id)) is not None]
            new += (fresh := await self._accept(found))
        if new:
            _log.info("found events that the homeserver had not delivered", room=room_id, count=new)
        return new

    async def _accept(self, page: Sequence[Arrived]) -> int:
        """Accept the unknown events of a page; return how many there were."""
        known = await self.store.known([event_id for _, event_id, _ in page])
        unknown = [one for one in page if one[1] not in known]
        return await self.engine.accept_events(unknown) if unknown else 0

    def _sent(self, event: Raw) -> int:
        """Return when an event was sent, by the bridge's clock if the homeserver tells its age."""
        age = age_of(event)
        return self.clock.now() - int(age) if age else sent_at(event)

    def _read(self, event: Raw, room_id: RoomId) -> Arrived | None:
        """Return the event as a transaction delivers it; None if an echo, redacted or invalid."""
        event_id, sender, kind = (wire.text(event, key) for key in ("event_id", "sender", "type"))
        if not (is_id(event_id) and is_id(sender)) or "redacted_because" in wire.mapping(
            event, "unsigned"
        ):
            return None
        if is_echo(self.users.is_ours, kind, sender, event.get("state_key")):
            return None
        return room_id, EventId(event_id), event | {"room_id": room_id}


def _is_joining(event: Raw, host: UserId) -> bool:
    """True for the host's join: events before it were read when the host joined."""
    before = wire.mapping(event, "unsigned", "prev_content")
    return is_membership(event, host, "join") and before.get("membership") != "join"
