"""Catch-up on events that the homeserver never handed over, by reading the rooms (/messages).

A homeserver that dies may forget which events an application service still was to get: Synapse
1.163 keeps them in memory between noting its own position and writing the transaction down, and a
transaction that it wrote while it took us for dead may wait until it does so again (both measured).

So after each of our starts, each absence of the homeserver, and whenever it hands over what it has
kept (it took us for dead, or we had no database), we look at the ends of the rooms in which people
talk, three times, the later ones for what it is still about to hand over. What it forgot may stand
amid what it did hand over. So we look back to an event that we know from before that time, and no
further than to our own joining, or by `reach`. From which time on something may be missing is kept
in the database: we may be killed before we have looked, or be down while a homeserver dies.

Into a room to which we are invited we cannot look: such invitations are asked of /sync, in quiet
times too. The place from which is kept in the database, for those that come while we are down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import structlog

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.appservice import Arrived, age_of, is_echo, is_id
from bridge.matrix.client import Homeserver
from bridge.matrix.crypto.wire import mapping, text
from bridge.matrix.events import is_membership, sent_at
from bridge.rooms.ports import Clock, Refused, Unavailable
from bridge.rooms.record import Raw
from bridge.rooms.store import Facts, StoreError
from bridge.rooms.surroundings import first_of, slept

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.catchup")

LOOKS = (3.0, 30.0, 120.0)
"""Seconds before each look at the rooms; in between the homeserver hands over what it has."""
PAGE = 30
MOST_PAGES = 5
"""Of one room. Who wrote more than that in an outage is asked for the rest by the agent."""
WELL = 60.0
"""Seconds after which we note that nothing is missing, while all is well."""
_SINCE = "caught up"
"""Name of the fact that says so: ms since the epoch."""
SPREAD = 0.05
"""Seconds between two rooms."""
BEFORE = 10_000
"""ms before we heard of it in which the homeserver may have forgotten something."""
RETRY = 2.0
"""Seconds between two tries to reach the homeserver."""
QUIET = 3600.0
"""Seconds between two looks for invitations while all is well."""
SETTLING = 5.0
"""Seconds for which an invitation has to stay open to be one that nobody handed over."""


@dataclass(frozen=True)
class CatchUp:
    """Search for events that the homeserver did not hand over."""

    outage: asyncio.Event
    """Set when the homeserver could not be reached; cleared here."""
    held: asyncio.Event
    """Set when it handed over what it had kept for a while; cleared here."""
    homeserver: Homeserver
    is_ours: Callable[[str], bool]
    known: Callable[[Collection[EventId]], Awaitable[Collection[EventId]]]
    """Those of them that are stored."""
    accept: Callable[[Sequence[Arrived]], Awaitable[int]]
    """Stores events, once each; returns how many were new. Raises StoreError."""
    rooms: Callable[[], Sequence[tuple[RoomId, UserId]]]
    """Those in which people talk, with our user in each, the liveliest first."""
    hosts: Callable[[], Sequence[UserId]]
    """Our users that people invite."""
    facts: Facts
    """Keeps for each up to where it was looked for invitations (a token of /sync), and `_SINCE`."""
    clock: Clock
    reach: Callable[[], int]
    """ms; what is older is left alone, for its line in the ledger may have been erased."""

    async def run(self) -> None:
        since, took = await self._noted(), 0.0
        while True:
            await self._until_back()
            looks = 0
            while looks < len(LOOKS) and not self.outage.is_set():
                if looks == 0:
                    self.held.clear()
                    # Some homeservers are always late: looking is not to be most of what we do.
                    await slept(self.clock, max(LOOKS[0], 2 * took), self.outage)
                else:
                    pause = self.clock.sleep(LOOKS[looks])
                    await first_of(pause, self.outage.wait(), self.held.wait())
                    if self.held.is_set():
                        looks = 0
                        continue
                if not self.outage.is_set():
                    began = self.clock.now()
                    whole = await self._look(since, self.rooms())
                    took = min((self.clock.now() - began) / 1000, LOOKS[1])
                    again = self.held.is_set() or self.outage.is_set()
                    looks = 0 if again else looks + 1
                    if whole or looks == len(LOOKS):
                        since = await self._note(began)
            quiet = 0.0
            while not (self.outage.is_set() or self.held.is_set()):
                await first_of(self.clock.sleep(WELL), self.outage.wait(), self.held.wait())
                if not (self.outage.is_set() or self.held.is_set()):
                    since = await self._note(self.clock.now())
                    quiet += WELL
                    if quiet % QUIET == 0:
                        await self._look(since, rooms=())

    async def _noted(self) -> int:
        """The time since which something may be missing, ms."""
        noted = None
        with suppress(StoreError):
            noted = await self.facts.fact(_SINCE)
        since = self.clock.now() - BEFORE
        return min(since, int(noted)) if noted else since

    async def _note(self, well: int) -> int:
        """Note that nothing is missing from before a moment, ms; returns the new `since`."""
        since = well - BEFORE
        with suppress(StoreError):
            await self.facts.save_fact(_SINCE, str(since))
        return since

    async def _until_back(self) -> None:
        while True:
            self.outage.clear()
            with suppress(Unavailable, Refused):
                return await self.homeserver.check()
            await self.clock.sleep(RETRY)

    async def _look(self, since: int, rooms: Sequence[tuple[RoomId, UserId]]) -> bool:
        """Look everywhere once; what cannot be had now (False) is the next look's."""
        looks: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            *((room, partial(self._look_into, room, host, since)) for room, host in rooms),
            *((host, partial(self._look_for_invitations, host)) for host in self.hosts()),
        ]
        whole = True
        for place, look in looks:
            outage = self.outage.is_set()
            try:
                await look()
            except (Unavailable, Refused, StoreError) as error:
                whole = False
                _log.info("a room could not be looked into", room=place, why=str(error))
                if isinstance(error, Unavailable) and not await self._is_there(outage=outage):
                    return False
            await self.clock.sleep(SPREAD)
        return whole

    async def _is_there(self, *, outage: bool) -> bool:
        """See whether only one room cannot be had; then `outage` is again what it was before."""
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
        """Take in invitations that are open, as events; the first look only notes from where.

        What is not told now is the next look's.
        """
        name = f"invited {host}"
        since = await self.facts.fact(name) or ""
        try:
            rooms, now = await self.homeserver.invitations(host, since)
            if rooms:  # into which we may be on our way
                await self.clock.sleep(SETTLING)
                open_still = dict((await self.homeserver.invitations(host, since))[0])
                rooms = [one for one in rooms if one[0] in open_still]
        except Refused as error:  # nobody has made the user yet; or the place is another server's
            _log.debug("invitations are not told", user=host, why=error.code)
            rooms, now = [], ""
        except Unavailable as error:  # after a long time it may be much that /sync goes through
            _log.debug("invitations are not told in time", user=host, why=str(error))
            return
        for room_id, state in rooms:
            found = next((one for one in state if is_membership(one, host, "invite")), None)
            if found is None or not (is_id(room_id) and is_id(text(found, "sender"))):
                continue
            event_id = EventId(
                f"$invited.{sha256(f'{room_id} {host} {since}'.encode()).hexdigest()}"
            )
            dated = {"event_id": event_id, "room_id": room_id, "origin_server_ts": self.clock.now()}
            if await self.accept([(room_id, event_id, found | dated)]):
                _log.info("an invitation that was not handed over yet", room=room_id, user=host)
        await self.facts.save_fact(name, now)

    async def _look_into(self, room_id: RoomId, host: UserId, since: int) -> None:
        """Take in what is not known, back to an event that is and that was sent before `since`."""
        oldest = self.clock.now() - self.reach()
        found: list[Arrived] = []
        before, gap = "", False
        for _ in range(MOST_PAGES):
            events, before = await self.homeserver.page(host, room_id, PAGE, before)
            page: list[Arrived] = []
            for event in events:
                if _is_joining(event, host) or sent_at(event) < oldest:
                    before = ""
                    break
                if (read := self._read(event, room_id)) is not None:
                    page.append(read)
            known = await self.known([event_id for _, event_id, _ in page]) if page else ()
            found += [one for one in page if one[1] not in known]
            gap = page[-1][1] not in known if page else gap
            if not before or any(one[1] in known and self._sent(one[2]) < since for one in page):
                break
        else:
            if gap:  # else they have been talking there all the while
                most = MOST_PAGES * PAGE
                _log.warning("older events are not looked for", room=room_id, read=most)
        new = await self.accept(found[::-1]) if found else 0
        if new:
            _log.info("events that were not handed over yet", room=room_id, count=new)

    def _sent(self, event: Raw) -> int:
        """When an event was sent, by our clock if the homeserver says how long ago."""
        age = age_of(event)
        return self.clock.now() - int(age) if age else sent_at(event)

    def _read(self, event: Raw, room_id: RoomId) -> Arrived | None:
        """The event as a transaction brings it; None for an echo, and for what was taken back."""
        event_id, sender, kind = (text(event, key) for key in ("event_id", "sender", "type"))
        if not (is_id(event_id) and is_id(sender)) or "redacted_because" in mapping(
            event, "unsigned"
        ):
            return None
        if is_echo(self.is_ours, kind, sender, event.get("state_key")):
            return None
        return room_id, EventId(event_id), event | {"room_id": room_id}


def _is_joining(event: Raw, host: UserId) -> bool:
    """True for our own join; earlier events were read when we joined."""
    before = mapping(mapping(event, "unsigned"), "prev_content")
    return is_membership(event, host, "join") and before.get("membership") != "join"
