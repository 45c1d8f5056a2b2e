"""Dependencies shared by all rooms: the ports, the rules, inviters' locks, waiting-time estimates.

An invitation is decided under a lock, one for each inviter (`Inviting`): of two rooms to
which one person invites us at the same moment, the second has to count the first
(`limits.rooms_per_user`, `limits.new_rooms_per_hour`). The lock is held from the count until the
step is committed. Lock order: it is taken after everything else, a step holds one at most, and
there is no network I/O while it is held.

Waiting times (`Waits`) are learned per queue. Waits are skewed: most are short, some very long. So
the mean and variance of their logarithms are kept, exponentially weighted, and the range of one
standard deviation to either side is told (about two waits in three, rounded outwards more) once
enough waits are known, not too old ones: per place, and whole for queues that name no places. Who
gives up has waited at least so long (a censored observation): that counts where it is longer than
the mean, else the impatient would make the queue look short.
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
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog
from cachetools import LRUCache

from bridge.conversation import model
from bridge.ids import QueueId, RoomId, UserId
from bridge.rooms.ports import Clock, LinkPort, MatrixPort
from bridge.rooms.record import Chat, RoomRecord
from bridge.rooms.rules import Rules
from bridge.rooms.store import EffectRow, Lane, Stale, StoreError, StorePort

_log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.waits")
Inviting = WeakValueDictionary[UserId, asyncio.Lock]
"""The locks of those who are inviting us; nothing is kept of anybody else."""
LATELY = 3_600_000
"""ms for which it is remembered that somebody brought us into a room."""


async def take_turn(step: ExitStack, inviting: Inviting, person: UserId) -> None:
    """Hold until the step's end the lock of who invites us: no other room decides meanwhile."""
    lock = inviting.setdefault(person, asyncio.Lock())
    await lock.acquire()
    step.callback(lock.release)


async def rooms_begun(store: StorePort, person: UserId, now: int) -> dict[RoomId, int]:
    """The rooms into which this person brought us lately, and when (ms), the oldest first.

    Leaving one does not take it out, nor does a restart: a fact of the store tells it, one for each
    who ever invited us, as long as an hour's rooms. To be read and written under one lock.
    """
    told = await store.fact(begun_fact(person))
    known = msgspec.json.decode(told, type=dict[RoomId, int]) if told else {}
    # Where the clock was set back since, a moment may lie ahead: it must not count for longer.
    lately = {room_id: min(at, now) for room_id, at in known.items() if now < at + LATELY}
    return dict(sorted(lately.items(), key=lambda one: one[1]))


async def note_room_begun(
    store: StorePort, person: UserId, known: dict[RoomId, int], room_id: RoomId, now: int
) -> None:
    """Remember that this person brings us into a room now; `known`: of `rooms_begun`.

    Of a room that is known the first moment counts: that we come back costs nobody a login.
    """
    rooms = {room_id: now} | known
    await store.save_fact(begun_fact(person), msgspec.json.encode(rooms).decode())


def begun_fact(person: UserId) -> str:
    """Name of the fact that tells which rooms a person brought us into."""
    # Whatever the id is, the database can take this.
    return f"begun {sha256(person.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


# --- upgrades of rooms ----------------------------------------------------------------------------

_IN_PLACE = "in place "
"""With the id of the new room, name of the fact that is a `Replacement`."""
MOST_MET = 20_000
"""Rooms of which it is remembered that they replace none."""
MOST_PENDING = 3
"""Rooms that one may name in its place before we are invited into any of them."""


class Replacement(msgspec.Struct, frozen=True):
    """A room on Matrix that replaces one that was upgraded."""

    room_id: RoomId
    record: RoomId
    """The room of the store that it is."""
    ours: bool = False
    """Somebody who was in the former one has invited us. Until then it is a room like any other."""


class Upgrades:
    """Index from rooms on Matrix to those of the store, for rooms that replace others."""

    def __init__(self) -> None:
        self._known: dict[RoomId, Replacement] = {}
        self.find = self._known.get
        self._met: LRUCache[RoomId, None] = LRUCache(MOST_MET)
        """Rooms that are served as what they are, and can replace no other any more."""

    async def load(self, store: StorePort) -> None:
        for stored in await store.facts(_IN_PLACE):
            known = msgspec.json.decode(stored, type=Replacement)
            self._known[known.room_id] = known

    def record_of(self, room_id: RoomId) -> RoomId:
        """The room under whose id it is stored what happens there."""
        found = self._known.get(room_id)
        return found.record if found is not None and found.ours else room_id

    def places(self, record: RoomId) -> list[RoomId]:
        """The rooms on Matrix that have replaced a room of the store, or were to."""
        return [one.room_id for one in self._known.values() if one.record == record]

    def drop(self, record: RoomId) -> None:
        """Forget what replaced a room that is erased."""
        for place in self.places(record):
            del self._known[place]

    async def look(self, store: StorePort, room_id: RoomId) -> None:
        """Take over what another process has noted of a room, before what came in there is stored.

        It has noted that before the homeserver went on; but an event of the new room may have come
        before the tombstone, and what was replaced may have been erased since. So a room is looked
        up each time, until it is known to replace none.
        """
        known = self.find(room_id)
        if known is None and room_id in self._met:
            return
        if (stored := await store.fact(_IN_PLACE + room_id)) is not None:
            self._known[room_id] = msgspec.json.decode(stored, type=Replacement)
        elif known is not None:
            self._known.pop(room_id, None)
        elif (room := (await store.load(room_id)).room) is not None and room.customer:
            self._met[room_id] = None

    async def note(self, store: StorePort, room_id: RoomId, into: RoomId) -> None:
        """Note a tombstone. Which room a room replaces is never changed again."""
        record, known = self.record_of(room_id), self._known.values()
        pending = sum(one.record == record and not one.ours for one in known)
        if into not in self._known and pending < MOST_PENDING:
            await self.keep(store, Replacement(into, record))

    async def keep(self, store: StorePort, found: Replacement) -> None:
        await store.save_fact(_IN_PLACE + found.room_id, msgspec.json.encode(found).decode())
        self._known[found.room_id] = found


# --- waiting times --------------------------------------------------------------------------------


KNOWN_FROM = 5
"""Waits from which on a range is told."""
WEIGHT = 0.1
"""Of the newest wait, once ten are known; before, each counts the same."""
FRESH = 7 * 86_400_000
"""ms after the last wait that a range is still told."""
LEAST_SPREAD = 0.1
"""Minimum standard deviation of log(wait): no queue is more regular than a tenth."""
SHORTEST = 1.0
"""Seconds that a wait counts at least."""
SAVE_EVERY = 30.0
"""Seconds between two looks for what has been learned and not stored."""


class Trace(msgspec.Struct, frozen=True):
    """Mean and variance of the logarithm of seconds, weighted."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def with_wait(self, seconds: float, *, at_least: bool = False) -> Trace:
        """The statistics with one wait more; `at_least`: it was given up after so long."""
        value = math.log(max(seconds, SHORTEST))
        if at_least and (self.count == 0 or value <= self.mean):
            return self
        weight = max(WEIGHT, 1 / (self.count + 1))
        off = value - self.mean
        variance = (1 - weight) * (self.variance + weight * off * off)
        return Trace(self.count + 1, self.mean + weight * off, variance)

    def range(self) -> tuple[float, float]:
        """From where to where a wait is to be expected, in seconds."""
        spread = max(math.sqrt(self.variance), LEAST_SPREAD)
        return math.exp(self.mean - spread), math.exp(self.mean + spread)


class Learnt(msgspec.Struct, frozen=True):
    at: int = 0
    """When the last wait ended, ms."""
    whole: Trace = Trace()
    per_place: Trace = Trace()


class Waits(msgspec.Struct, eq=False):
    """The waits of all queues; a crash costs what was learned in the last half minute."""

    _enterprise: str = ""
    """Sets its facts apart from others'."""
    _learnt: dict[QueueId, Learnt] = {}
    _unsaved: set[QueueId] = set()

    def note(self, before: model.Conversation, after: model.Conversation, now: int) -> None:
        """Learn from a room's step, if a wait has ended by it."""
        old, new = before.phase, after.phase
        if isinstance(old, model.Waiting) and isinstance(new, model.Chatting):
            if not (new.robot or old.cancel):  # else nobody waited for a person (any more)
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
        """Range of the rest of a wait, in seconds; both 0: it is overdue; None: nobody knows."""
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
        """Read what an earlier process learned (or raise StoreError); else it is learned anew."""
        for queue_id in map(QueueId, queues):
            stored = await facts.fact(self._name(queue_id))
            if stored is None:
                continue
            try:
                self._learnt[queue_id] = msgspec.json.decode(stored, type=Learnt)
            except ValueError as error:
                _log.warning("waits cannot be read", queue=queue_id, why=str(error))

    async def save(self, facts: StorePort) -> None:
        """Store what is new (or raise StoreError: what is left is new the next time as well)."""
        for queue_id in sorted(self._unsaved):
            learnt = self._learnt[queue_id]
            await facts.save_fact(self._name(queue_id), msgspec.json.encode(learnt).decode())
            if self._learnt[queue_id] is learnt:
                self._unsaved.discard(queue_id)

    async def keep(self, around: Surroundings, mine: Callable[[], bool] = lambda: True) -> None:
        """Save every half minute, for ever, and once more when cancelled.

        Of several processes only one saves what its rooms teach it, which are as good a sample as
        all of them (`mine`); the others read that.
        """
        try:
            while True:
                await around.clock.sleep(SAVE_EVERY)
                await self._exchange(around, mine=mine())
        finally:
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


LONGEST_SLEEP = 3600.0
"""Seconds after which the clock is looked at again for deadlines, should somebody have set it."""
FEW_DEADLINES = 64
"""Entries of the timetable for which it is not worth while to drop those without meaning."""


class Timetable(msgspec.Struct, eq=False):
    """A heap of deadlines: one moment a room, the soonest that it has asked for.

    Wakes each room at its moment, while `run` runs. A room whose deadline has moved back is woken
    at the old moment and names the new one. One that asks for a sooner moment leaves its former
    entry behind; the heap is built anew before that makes it more than twice as long.
    """

    _clock: Clock
    _wake: Callable[[RoomId], None]
    _moments: dict[RoomId, int] = {}
    _heap: list[tuple[int, RoomId]] = []
    _sooner: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    def add(self, room_id: RoomId, moment: int) -> None:
        """Wake the room at that moment (ms since the epoch), unless it is woken before anyway."""
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
            await self._wait()

    async def _wait(self) -> None:
        """Until the first moment, or until a sooner one is added."""
        if not self._heap:
            await self._sooner.wait()
            return
        seconds = (self._heap[0][0] - self._clock.now()) / 1000
        await slept(self._clock, min(seconds, LONGEST_SLEEP), self._sooner)


# --- dependencies ---------------------------------------------------------------------------------


STORE_RETRY = 1.0
"""Seconds between attempts while the database does not answer."""
LONGEST_WAIT = 60.0
"""Seconds between attempts at what our own code fails at."""
_NONE: frozenset[Any] = frozenset()
"""One for all rooms: each empty set that Python makes takes 216 bytes."""


class Stopping(Exception):
    """The bridge is stopping: nothing new is begun."""


class Shut(Exception):
    """A room that was upgraded lets nothing in: the effect waits until we are in the new one."""


class Loops(msgspec.Struct, eq=False):
    """The tasks of one room: each repeats one thing for as long as there is something to do.

    No error ends a loop, for its work would be stranded: it is logged, and after a pause tried
    again. `_after` is called whenever something may have changed, and when a loop has ended. In
    `running` are the names of the loops, and those in whose place work is under way without a task.
    """

    _spawn: Callable[[Coroutine[Any, Any, None]], None]
    _sleep: Callable[[float], Awaitable[None]]
    _after: Callable[[], None]
    _log: structlog.stdlib.BoundLogger
    running: set[str] = set()
    stopping: bool = False
    abandoned: bool = False
    _pausing: frozenset[asyncio.Task[Any] | None] = _NONE
    _failures: dict[str, int] = {}
    """Loops that failed the last time, and how often our own code did; 0: the database alone."""

    def start(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        """Have `once` called until it returns False, unless the loop of that name runs already."""
        if name not in self.running:
            self.running.add(name)
            self._spawn(self._loop(name, once))

    def abandon(self) -> None:
        """Stop, for the room is another process's: what still comes of it has no effect here."""
        self.abandoned = True
        self.stop()

    def stop(self) -> None:
        """Begin nothing new; what is under way goes on, what only waits for its time ends."""
        self.stopping = True
        for task in self._pausing:
            if task is not None:
                task.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt at something; raises Stopping if there will be none."""
        if self.stopping:
            raise Stopping
        task = asyncio.current_task()
        self._pausing |= {task}
        try:
            await self._sleep(seconds)
        finally:
            self._pausing = self._pausing - {task} or _NONE

    async def _loop(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        # It is begun once in any case: an effect that is marked as attempted has to go out.
        try:
            while await self._attempt(name, once) and not self.stopping:
                self._after()
        finally:
            self.running.discard(name)
        self._after()

    async def _attempt(self, name: str, once: Callable[[], Awaitable[bool]]) -> bool:
        """Do one thing of a loop; False if the loop is to end."""
        wait = STORE_RETRY
        try:
            went_on = await once()
        except Stopping:
            return False
        except Stale as error:
            self._log.warning("the store knows better, reading the room again", why=str(error))
            return True
        except StoreError as error:
            # Every room says it each second that it lasts.
            say = self._log.debug if name in self._failures else self._log.warning
            say("the database did not answer, trying again", why=str(error))
            self._failures.setdefault(name, 0)
        except Exception:  # noqa: BLE001 - logged whole
            self._log.exception("unexpected error, trying again", loop=name)
            failures = self._failures.get(name, 0)
            wait, self._failures[name] = min(2.0**failures, LONGEST_WAIT), failures + 1
        else:
            self._failures.pop(name, None)
            return went_on
        with suppress(Stopping):
            await self.pause(wait)
        return True


class RoomView(Protocol):
    """A `Room`, as its smaller parts see it."""

    @property
    def room_id(self) -> RoomId: ...
    @property
    def durable(self) -> RoomRecord: ...
    @property
    def around(self) -> Surroundings: ...
    def rows(self, lane: Lane) -> Iterable[EffectRow]: ...
    async def pause(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def first_of(*work: Coroutine[Any, Any, object]) -> None:
    """Return once one of these has ended; the others are cancelled."""
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(one) for one in work]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def slept(clock: Clock, seconds: float, event: asyncio.Event) -> bool:
    """Sleep so long; False, and at once, if the event is set meanwhile."""
    await first_of(clock.sleep(seconds), event.wait())
    return not event.is_set()


class Observer(Protocol):
    """A histogram, or one of its children, as prometheus_client has them."""

    def observe(self, amount: float) -> None: ...


class Measures(Protocol):
    @property
    def handling(self) -> Observer:
        """Seconds from storing an input to having handled it."""

    def delivery(self, lane: str, outcome: str, /) -> Observer:
        """Seconds from storing an effect to its outcome."""

    def phase_entered(self, phase: str) -> None:
        """A conversation changed its phase."""

    def chat_went_on(self, before: Chat | None, after: Chat) -> None:
        """A chat began (None: it was not there), or something of it has changed."""


class Surroundings(msgspec.Struct):
    """Dependencies handed by the composition root to all rooms, readers and lanes of an enterprise.

    All of it stays as it is but `rules`, which a reload of the configuration replaces as a whole:
    read them anew for each thing that is done, and do one thing by one set of rules.
    """

    store: StorePort
    matrix: MatrixPort
    link: LinkPort
    clock: Clock
    rules: Rules
    measures: Measures
    conversions: Executor
    """Threads in which sounds and videos are converted and looked at: a few, so that many voice
    messages at once take turns, and none of those in which files are read and written."""
    waits: Waits = msgspec.field(default_factory=Waits)
    upgrades: Upgrades = msgspec.field(default_factory=Upgrades)
    """Which rooms have replaced others; shared by all rooms."""
    inviting: Inviting = msgspec.field(default_factory=Inviting)
    """Who is inviting us just now; shared by all rooms."""

    def note_phase(
        self,
        log: structlog.stdlib.BoundLogger,
        before: model.Conversation,
        after: model.Conversation,
        now: int,
    ) -> None:
        """Tell log, metrics and waiting times of a conversation's new phase."""
        name = type(after.phase).__name__
        self.waits.note(before, after, now)
        told = {"enterprise": self.rules.enterprise} if self.rules.enterprise else {}
        log.info("phase", before=type(before.phase).__name__, after=name, chat=after.number, **told)
        self.measures.phase_entered(name)
