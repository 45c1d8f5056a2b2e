"""Dependencies shared by all rooms: the ports, the rules, inviters' locks, waiting-time estimates.

An invitation is decided under a lock per inviter (`Inviting`), held from counting the inviter's
rooms until the step is committed: of two simultaneous invitations the second must count the first
(`limits.rooms_per_user`, `limits.new_rooms_per_hour`). Lock order: it is taken last, a step holds
at most one, and there is no network I/O while it is held.

Waiting times (`Waits`) are estimated per queue. They are skewed (most short, some very long), so
the exponentially weighted mean and variance of their logarithms are kept. With enough recent waits
the range of one standard deviation to either side is shown (about two waits in three; more, as it
is rounded outwards): per place, or of the whole wait in queues that report no positions. A customer
who gives up is a censored observation, counted only if longer than the mean: otherwise impatient
customers would make the queue look short.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from hashlib import sha256
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

import aiohttp
import msgspec
import structlog
from cachetools import LRUCache

from bridge.conversation import model
from bridge.ids import QueueId, RoomId, UserId
from bridge.rooms.ports import Clock, LinkPort, MatrixPort, Refused, Unavailable
from bridge.rooms.record import Chat, Membership, RoomRecord
from bridge.rooms.rules import Rules, bridge_state_of
from bridge.rooms.store import EffectRow, Lane, Stale, StoreError, StorePort

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.waits")
Inviting = WeakValueDictionary[UserId, asyncio.Lock]
"""Lock per inviter, kept only while it is in use."""
BEGUN, IN_PLACE = "begun ", "in place "
"""Name prefixes of facts whose values name rooms: those that a person has begun (`begun_fact`),
and a `Replacement`; the new room's id follows."""
Found = TypeVar("Found")
ASK_TRIES = 3
"""Maximum number of requests for power levels or an event, a second or two apart."""
LATELY = 3_600_000
"""ms for which an accepted invitation counts towards `limits.new_rooms_per_hour`."""


async def lock_inviter(locks: ExitStack, inviting: Inviting, person: UserId) -> None:
    """Acquire the inviter's lock until the end of the step."""
    lock = inviting.setdefault(person, asyncio.Lock())
    await lock.acquire()
    locks.callback(lock.release)


async def rooms_begun(store: StorePort, person: UserId, now: int) -> dict[RoomId, int]:
    """Return the rooms into which this person invited the bridge lately, with times, oldest first.

    Rooms that were left count too. They are a fact in the store, one per person who ever invited
    the bridge; hold the inviter's lock from reading to writing it.
    """
    stored = await store.fact(begun_fact(person))
    known = msgspec.json.decode(stored, type=dict[RoomId, int]) if stored else {}
    # After the clock was set back a time may lie in the future: it must not count for longer.
    lately = {room_id: min(at, now) for room_id, at in known.items() if now < at + LATELY}
    return dict(sorted(lately.items(), key=lambda item: item[1]))


async def note_room_begun(store: StorePort, person: UserId, room_id: RoomId, now: int) -> None:
    """Store an accepted invitation, beside those that other processes have stored meanwhile.

    A known room keeps its first time: coming back to it costs no further login.
    """
    rooms = {room_id: now} | await rooms_begun(store, person, now)
    await store.save_fact(begun_fact(person), msgspec.json.encode(rooms).decode())


def begun_fact(person: UserId) -> str:
    """Return the name of the fact with a person's recent invitations."""
    # A hash, as a user id may contain characters that the database refuses.
    return f"{BEGUN}{sha256(person.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


# --- upgrades of rooms ----------------------------------------------------------------------------

MOST_MET = 20_000
"""Maximum entries of the cache of rooms that replace none."""
MOST_PENDING = 3
"""Maximum replacements that one room can name without an invitation into any of them."""


class Replacement(msgspec.Struct, frozen=True):
    """A Matrix room that replaces an upgraded one."""

    room_id: RoomId
    stored_id: RoomId = msgspec.field(name="record")
    """Room id under which the upgraded room is stored."""
    ours: bool = False
    """True once a member of the former room has invited the bridge; until then it has no effect."""


class Upgrades:
    """Index from replacing Matrix rooms to the room ids under which they are stored."""

    def __init__(self) -> None:
        self._known: dict[RoomId, Replacement] = {}
        self.find = self._known.get
        self._met: LRUCache[RoomId, None] = LRUCache(MOST_MET)
        """LRU cache of rooms that are served under their own id, and so cannot replace another."""

    async def load(self, store: StorePort) -> None:
        for stored in await store.facts(IN_PLACE):
            known = msgspec.json.decode(stored, type=Replacement)
            self._known[known.room_id] = known

    def stored_id(self, room_id: RoomId) -> RoomId:
        """Return the room id under which a Matrix room is stored."""
        found = self._known.get(room_id)
        return found.stored_id if found is not None and found.ours else room_id

    def places(self, stored_id: RoomId) -> list[RoomId]:
        """Return the Matrix rooms that replace a stored room, with or without an invitation."""
        return [place.room_id for place in self._known.values() if place.stored_id == stored_id]

    def drop(self, stored_id: RoomId) -> None:
        """Remove the replacements of an erased room."""
        for place in self.places(stored_id):
            del self._known[place]

    async def look(self, store: StorePort, room_id: RoomId) -> None:
        """Read from the store what other processes noted of a room, before an event is stored.

        An event of the new room may arrive before the tombstone, and the replaced room may have
        been erased since; so a room is looked up each time, until it is known to replace none.
        """
        known = self.find(room_id)
        if known is None and room_id in self._met:
            return
        if (stored := await store.fact(IN_PLACE + room_id)) is not None:
            self._known[room_id] = msgspec.json.decode(stored, type=Replacement)
        elif known is not None:
            self._known.pop(room_id, None)
        elif (room := (await store.load(room_id)).room) is not None and room.customer:
            self._met[room_id] = None

    async def note(self, store: StorePort, room_id: RoomId, into: RoomId) -> None:
        """Store the replacement named by a tombstone; a known one is never changed."""
        stored_id, known = self.stored_id(room_id), self._known.values()
        pending = sum(place.stored_id == stored_id and not place.ours for place in known)
        if into not in self._known and pending < MOST_PENDING:
            await self.keep(store, Replacement(into, stored_id))

    async def keep(self, store: StorePort, found: Replacement) -> None:
        await store.save_fact(IN_PLACE + found.room_id, msgspec.json.encode(found).decode())
        self._known[found.room_id] = found


# --- waiting times --------------------------------------------------------------------------------


KNOWN_FROM = 5
"""Minimum number of waits for an estimate."""
WEIGHT = 0.1
"""Weight of the newest wait in the moving average; the first ten are weighted equally."""
FRESH = 7 * 86_400_000
"""ms after the last wait during which the estimate is used."""
LEAST_SPREAD = 0.1
"""Minimum standard deviation of log(wait), about 10 %."""
SHORTEST = 1.0
"""Minimum seconds of a wait; shorter ones count as this, for the logarithm."""
SAVE_EVERY = 30.0
"""Seconds between two saves of new statistics."""
LAST_SAVE = 3.0
"""Timeout in seconds of the save at a stop."""


class Trace(msgspec.Struct, frozen=True):
    """Exponentially weighted mean and variance of log(seconds)."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def with_wait(self, seconds: float, *, at_least: bool = False) -> Trace:
        """Return the statistics with one more wait; `at_least`: the customer gave up (censored)."""
        value = math.log(max(seconds, SHORTEST))
        if at_least and (self.count == 0 or value <= self.mean):
            return self
        weight = max(WEIGHT, 1 / (self.count + 1))
        off = value - self.mean
        variance = (1 - weight) * (self.variance + weight * off * off)
        return Trace(self.count + 1, self.mean + weight * off, variance)

    def range(self) -> tuple[float, float]:
        """Return the expected range of a wait, in seconds."""
        spread = max(math.sqrt(self.variance), LEAST_SPREAD)
        return math.exp(self.mean - spread), math.exp(self.mean + spread)


class Learnt(msgspec.Struct, frozen=True):
    at: int = 0
    """When the last wait ended, ms since the epoch."""
    whole: Trace = Trace()
    per_place: Trace = Trace()


class Waits(msgspec.Struct, eq=False):
    """Waiting-time statistics of all queues; a crash loses at most those of `SAVE_EVERY`."""

    _enterprise: str = ""
    """Part of the fact names, as each enterprise has its own queues."""
    _learnt: dict[QueueId, Learnt] = {}
    _unsaved: set[QueueId] = set()

    def note(self, before: model.Conversation, after: model.Conversation, now: int) -> None:
        """Update the statistics if a room's step ended a wait."""
        old, new = before.phase, after.phase
        if isinstance(old, model.Waiting) and isinstance(new, model.Chatting):
            if not (new.robot or old.cancel):  # else not a wait for an agent
                self._learn(old, now, at_least=False)
        elif isinstance(old, model.Queued) and isinstance(new, model.Idle):
            self._learn(old, now, at_least=True)

    def _learn(self, waited: model.Waiting, now: int, *, at_least: bool) -> None:
        known = self._learnt.get(waited.queue_id, Learnt())
        whole = known.whole.with_wait((now - waited.since) / 1000, at_least=at_least)
        per_place = known.per_place
        if isinstance(waited, model.Queued) and waited.first_position:
            seconds = (now - waited.first_at) / 1000 / waited.first_position
            per_place = per_place.with_wait(seconds, at_least=at_least)
        if (whole, per_place) != (known.whole, known.per_place):
            self._learnt[waited.queue_id] = Learnt(now, whole, per_place)
            self._unsaved.add(waited.queue_id)

    def expected(self, place: model.Queued, now: int) -> tuple[float, float] | None:
        """Return the range of the remaining wait in seconds; (0, 0) if overdue, None if unknown."""
        known = self._learnt.get(place.queue_id)
        if known is None or now - known.at > FRESH:
            return None
        if place.position:
            trace, times, since = known.per_place, place.position, place.moved_at
        else:
            trace, times, since = known.whole, 1, place.since
        if trace.count < KNOWN_FROM:
            return None
        low, high = trace.range()
        waited = (now - since) / 1000
        return max(low * times - waited, 0.0), max(high * times - waited, 0.0)

    async def load(self, facts: StorePort, queues: Iterable[int]) -> None:
        """Load stored statistics; ignore unreadable ones. Raises StoreError."""
        for queue_id in map(QueueId, queues):
            stored = await facts.fact(self._name(queue_id))
            if stored is None:
                continue
            try:
                self._learnt[queue_id] = msgspec.json.decode(stored, type=Learnt)
            except ValueError as error:
                _log.warning("stored waiting times cannot be read", queue=queue_id, why=str(error))

    async def save(self, facts: StorePort) -> None:
        """Store changed statistics. Raises StoreError; those not stored stay marked as changed."""
        for queue_id in sorted(self._unsaved):
            learnt = self._learnt[queue_id]
            await facts.save_fact(self._name(queue_id), msgspec.json.encode(learnt).decode())
            if self._learnt[queue_id] is learnt:
                self._unsaved.discard(queue_id)

    async def keep(self, around: Surroundings, mine: Callable[[], bool] = lambda: True) -> None:
        """Save every `SAVE_EVERY` seconds, for ever, and once more when cancelled.

        Of several processes only the one where `mine()` is True saves, as its rooms are a sample of
        all; the others load its statistics.
        """
        try:
            while True:
                await around.clock.sleep(SAVE_EVERY)
                await self._exchange(around, mine=mine())
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SAVE):  # a hung database must not delay a stop
                    if mine():
                        await self._exchange(around, mine=True)

    async def _exchange(self, around: Surroundings, *, mine: bool) -> None:
        try:
            if mine:
                await self.save(around.store)
            else:
                self._unsaved.clear()
                await self.load(around.store, [queue.id for queue in around.rules.queues])
        except StoreError as error:
            _log.warning("the database did not answer", why=str(error))

    def _name(self, queue_id: QueueId) -> str:
        return ":".join(filter(None, ("waits", self._enterprise, str(queue_id))))


# --- deadlines ------------------------------------------------------------------------------------


LONGEST_SLEEP = 60.0
"""Maximum seconds of one sleep: the wall clock may have been set, or a computer woken up."""
FEW_DEADLINES = 64
"""Number of stale entries up to which the timetable's heap is never rebuilt."""


class Timetable(msgspec.Struct, eq=False):
    """A heap of deadlines: per room the earliest that it has asked for.

    `run` wakes each room at its deadline. A room whose deadline was postponed is woken at the old
    one and names the new one. An earlier deadline leaves the former entry in the heap as stale;
    the heap is rebuilt before stale entries make up most of it.
    """

    _clock: Clock
    _wake: Callable[[RoomId], None]
    _moments: dict[RoomId, int] = {}
    _heap: list[tuple[int, RoomId]] = []
    _sooner: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def add(self, room_id: RoomId, moment: int) -> None:
        """Add a deadline (ms since the epoch), unless the room has an earlier one."""
        if moment >= self._moments.get(room_id, moment + 1):
            return
        self._moments[room_id] = moment
        heapq.heappush(self._heap, (moment, room_id))
        if len(self._heap) > FEW_DEADLINES + 2 * len(self._moments):
            self._heap = [(due, room) for room, due in self._moments.items()]
            heapq.heapify(self._heap)
        if self._heap[0] == (moment, room_id):
            self._sooner.set()

    async def run(self) -> None:
        while True:
            self._sooner.clear()
            while self._heap and self._heap[0][0] <= self._clock.now():
                moment, room_id = heapq.heappop(self._heap)
                if self._moments.get(room_id) == moment:
                    del self._moments[room_id]
                    self._wake(room_id)
            # Sleep until the first deadline, or until an earlier one is added.
            ahead = (self._heap[0][0] - self._clock.now()) / 1000 if self._heap else LONGEST_SLEEP
            await slept(self._clock, min(ahead, LONGEST_SLEEP), self._sooner)


# --- dependencies ---------------------------------------------------------------------------------


STORE_RETRY = 1.0
"""Seconds between retries while the database does not answer."""
LONGEST_WAIT = 60.0
"""Maximum back-off in seconds between retries after an error of our own code."""
_NONE: frozenset[Any] = frozenset()
"""Shared by all rooms, as an empty set takes 216 bytes."""


class Stopping(Exception):
    """The bridge is stopping and starts no new work."""


class Shut(Exception):
    """The upgraded room refuses events; the effect waits until the bridge is in the new room."""


class Loops(msgspec.Struct, eq=False):
    """The tasks of one room: each repeats one kind of work while there is any.

    No error ends a loop, as its work would be stranded: it is logged and retried after a pause.
    `_after` is called after each repetition and when a loop ends. `running` holds the names of
    running loops, and of work that is under way without a task.
    """

    _spawn: Callable[[Coroutine[Any, Any, None]], None]
    _sleep: Callable[[float], Awaitable[None]]
    _after: Callable[[], None]
    _log: structlog.stdlib.BoundLogger
    running: set[str] = set()
    stopping: bool = False
    abandoned: bool = False
    _pausing: frozenset[asyncio.Task[Any] | None] = _NONE
    failures: dict[str, int] = {}
    """Consecutive errors of our own code by failing loop; 0 if only the database failed."""

    def start(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        """Start calling `once` until it returns False, unless a loop of that name is running."""
        if name not in self.running:
            self.running.add(name)
            self._spawn(self._loop(name, once))

    def abandon(self) -> None:
        """Stop because another process serves the room; results of running work are ignored."""
        self.abandoned = True
        self.stop()

    def stop(self) -> None:
        """Start no new work: running work goes on, pauses are cancelled."""
        self.stopping = True
        for task in self._pausing:
            if task is not None:
                task.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait before a retry; raises Stopping if the loops have been stopped."""
        if self.stopping:
            raise Stopping
        task = asyncio.current_task()
        self._pausing |= {task}
        try:
            await self._sleep(seconds)
        finally:
            self._pausing = self._pausing - {task} or _NONE

    async def _loop(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        # Run at least once: an effect that is marked as attempted must be sent.
        try:
            while await self._attempt(name, once) and not self.stopping:
                self._after()
        finally:
            self.running.discard(name)
        self._after()

    async def _attempt(self, name: str, once: Callable[[], Awaitable[bool]]) -> bool:
        """Run one repetition; False if the loop must end."""
        wait = STORE_RETRY
        try:
            went_on = await once()
        except Stopping:
            return False
        except Stale as error:
            # With several processes this is usual: another has just stored an input for the room.
            self._log.debug("the room in memory is outdated, loading it again", why=str(error))
            return True
        except StoreError as error:
            # A warning only the first time: every room retries each second.
            say = self._log.debug if name in self.failures else self._log.warning
            say("the database did not answer, trying again", why=str(error))
            self.failures.setdefault(name, 0)
        except Exception:  # noqa: BLE001 - logged with its traceback
            self._log.exception("unexpected error, trying again", loop=name)
            failures = self.failures.get(name, 0)
            wait, self.failures[name] = min(2.0**failures, LONGEST_WAIT), failures + 1
        else:
            # 0: the database failed. It may still be read while its disk is full, so a success in
            # between does not count: else each failed write after it would be a warning.
            if self.failures.get(name) or not went_on:
                self.failures.pop(name, None)
            return went_on
        with suppress(Stopping):
            await self.pause(wait)
        return True


class RoomView(Protocol):
    """The interface of `Room` for its smaller parts."""

    @property
    def room_id(self) -> RoomId: ...
    @property
    def durable(self) -> RoomRecord: ...
    @property
    def around(self) -> Surroundings: ...
    def rows(self, lane: Lane) -> Iterable[EffectRow]: ...
    async def pause(self, seconds: float) -> None: ...


class Connector(aiohttp.TCPConnector):
    """Connection pool that drops a connection on which an answer came that nobody waits for.

    aiohttp (3.14.5) takes it as the answer to the next request, which it then does not even send.
    """

    async def _get(
        self, key: aiohttp.client_reqrep.ConnectionKey, traces: list[aiohttp.tracing.Trace]
    ) -> aiohttp.connector.Connection | None:
        while (found := await super()._get(key, traces)) is not None:
            if found.protocol is None or not found.protocol.should_close:
                return found
            found.close()
        return None


class SystemClock:
    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def first_of(*work: Coroutine[Any, Any, object]) -> None:
    """Wait until one coroutine has ended, and cancel the others."""
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(part) for part in work]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def slept(clock: Clock, seconds: float, event: asyncio.Event) -> bool:
    """Sleep; return False at once if the event is set meanwhile."""
    await first_of(clock.sleep(seconds), event.wait())
    return not event.is_set()


async def asked(ask: Callable[[], Awaitable[Found]], clock: Clock) -> Found | None:
    """Return the homeserver's answer; None if it cannot tell."""
    with suppress(Refused):
        for attempt in range(ASK_TRIES):
            with suppress(Unavailable):
                return await ask()
            await clock.sleep(attempt + 1)
    return None


class Observer(Protocol):
    """A histogram of prometheus_client, or one of its children."""

    def observe(self, amount: float) -> None: ...


class Measures(Protocol):
    @property
    def handling(self) -> Observer:
        """Seconds from storing an input to the end of handling it."""

    def delivery(self, lane: str, outcome: str, /) -> Observer:
        """Seconds from storing an effect to its outcome."""

    def phase_entered(self, phase: str) -> None:
        """Count a conversation's entry into a phase."""

    def chat_went_on(self, before: Chat | None, after: Chat) -> None:
        """Record a chat's begin (`before` is None) or change."""


class Surroundings(msgspec.Struct):
    """Dependencies handed by the composition root to all rooms, readers and lanes of an enterprise.

    Only `rules` ever changes, replaced as a whole by a reload of the configuration: read it once
    for each operation.
    """

    store: StorePort
    matrix: MatrixPort
    link: LinkPort
    clock: Clock
    rules: Rules
    measures: Measures
    conversions: Executor
    """Small thread pool for converting and inspecting media, drawing charts and splitting long
    texts, apart from the one for file I/O: many voice messages at once must not block that."""
    waits: Waits = msgspec.field(default_factory=Waits)
    upgrades: Upgrades = msgspec.field(default_factory=Upgrades)
    """Room replacements; shared by all enterprises."""
    inviting: Inviting = msgspec.field(default_factory=Inviting)
    """Inviters' locks; shared by all enterprises."""
    taken: WeakValueDictionary[str, asyncio.Semaphore] = msgspec.field(
        default_factory=WeakValueDictionary
    )
    """Semaphores in use, see `places`."""
    instance: str = ""
    """Unique id of this database, part of transaction ids."""
    dated: int = 0
    """Since when (ms) stored rows have transaction ids that contain their time."""

    def places(self, name: str, most: int) -> asyncio.Semaphore:
        """Return the semaphore that lets `most` at a time do this, in all rooms of an enterprise.

        Its name is that of an activity (with a space), or of the homeserver that is asked.
        """
        return self.taken.setdefault(name, asyncio.Semaphore(most))

    async def is_muted(self, record: RoomRecord) -> bool | None:
        """True if the room lets the host write nothing; None if that is not known."""
        if record.membership is not Membership.JOINED or record.upgrade is not None:
            return False
        where, host = record.matrix_id, record.host
        try:
            return await self.matrix.is_muted(where, host, encrypted=record.encrypted)
        except Unavailable:
            return None
        except Refused:
            return False

    async def show_bridge(self, record: RoomRecord) -> None:
        """Write the room's `m.bridge` state if it has changed and the host may write it."""
        with suppress(Refused):
            state = bridge_state_of(self.rules, record)
            await self.matrix.show_bridge(record.matrix_id, record.host, *state)
