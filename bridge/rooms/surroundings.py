"""Dependencies shared by all rooms: store, homeserver, link, clock, rules, and the inviters' locks.

An invitation is decided under a lock, one for each inviter (`InvitationLock`): of two rooms to
which one person invites us at the same moment, the second has to count the first
(`limits.rooms_per_user`, `limits.new_rooms_per_hour`). The lock is held from the count until the
step is committed. Lock order: it is taken after everything else, a step holds one at most, and
there is no network I/O while it is held.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from hashlib import sha256
from types import TracebackType
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec
import structlog

from bridge.conversation.events import Args
from bridge.ids import RoomId, UserId
from bridge.rooms.ports import Clock, LinkPort, MatrixPort
from bridge.rooms.record import RoomRecord
from bridge.rooms.rules import Rules
from bridge.rooms.store import EffectRow, Lane, Stale, StoreError, StorePort
from bridge.rooms.waiting_times import Waits

Inviting = WeakValueDictionary[UserId, asyncio.Lock]
"""The locks of those who are inviting us; nothing is kept of anybody else."""
LATELY = 3_600_000
"""ms for which it is remembered that somebody brought us into a room."""


async def rooms_begun(store: StorePort, person: UserId, now: int) -> dict[RoomId, int]:
    """The rooms into which this person brought us lately, and when (ms), the oldest first.

    Leaving one does not take it out, nor does a restart: a fact of the store tells it, one for each
    who ever invited us, as long as an hour's rooms. To be read and written under one lock.

    Raises:
        StoreError: the database did not answer.
    """
    told = await store.fact(_fact(person))
    known = msgspec.json.decode(told, type=dict[RoomId, int]) if told else {}
    # Where the clock was set back since, a moment may lie ahead: it must not count for longer.
    lately = {room_id: min(at, now) for room_id, at in known.items() if now < at + LATELY}
    return dict(sorted(lately.items(), key=lambda one: one[1]))


async def note_room_begun(
    store: StorePort, person: UserId, known: dict[RoomId, int], room_id: RoomId, now: int
) -> None:
    """Remember that this person brings us into a room now; `known`: of `rooms_begun`.

    Of a room that is known the first moment counts: that we come back costs nobody a login.

    Raises:
        StoreError: the database did not answer.
    """
    rooms = {room_id: now} | known
    await store.save_fact(_fact(person), msgspec.json.encode(rooms).decode())


def _fact(person: UserId) -> str:
    # Whatever the id is, the database can take this.
    return f"begun {sha256(person.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


class InvitationLock:
    """Lock of a room's step on one inviter: entered with each step, and released at its end."""

    def __init__(self, inviting: Inviting) -> None:
        self._inviting = inviting
        self._taken: asyncio.Lock | None = None

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._taken is not None:
            self._taken.release()
            self._taken = None

    @property
    def taken(self) -> bool:
        """Another room may wait for this step: nothing more belongs into it."""
        return self._taken is not None

    async def take(self, person: UserId) -> None:
        """Wait until no other room decides on an invitation by that person."""
        if self._taken is None:
            turn = self._inviting.setdefault(person, asyncio.Lock())
            await turn.acquire()
            self._taken = turn


# --- dependencies ---------------------------------------------------------------------------------


STORE_RETRY = 1.0
"""Seconds between attempts while the database does not answer."""
LONGEST_WAIT = 60.0
"""Seconds between attempts at what our own code fails at."""


class Stopping(Exception):
    """The bridge is about to end: nothing new is begun."""


class Loops:
    """The tasks of one room: each repeats one thing for as long as there is something to do.

    No error ends a loop, for its work would be stranded: it is logged, and after a pause tried
    again.

    Args:
        spawn: owns a task.
        sleep: of the clock.
        after: called whenever something may have changed, and when a loop has ended.
        log: bound to the room.

    Attributes:
        running: names of the loops that run, and of what is under way without a task.
        stopping: nothing new is begun.
    """

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        sleep: Callable[[float], Awaitable[None]],
        after: Callable[[], None],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.running: set[str] = set()
        self.stopping = False
        self._spawn = spawn
        self._sleep = sleep
        self._after = after
        self._log = log
        self._begun: set[str] = set()
        """Names of what is under way without a task."""
        self._none_begun: asyncio.Event | None = None
        self._pausing: set[asyncio.Task[Any] | None] = set()
        self._failures: Counter[str] = Counter()
        self._unanswered: set[str] = set()
        """Loops that the database did not answer the last time."""

    def start(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        """Have `once` called until it returns False, unless the loop of that name runs already."""
        if name not in self.running:
            self.running.add(name)
            self._spawn(self._loop(name, once))

    def begin(self, name: str) -> None:
        """Something is under way without a task, in place of the loop of that name."""
        self.running.add(name)
        self._begun.add(name)

    def end(self, name: str) -> None:
        """What was begun has ended."""
        self.running.discard(name)
        self._begun.discard(name)
        if self._none_begun is not None and not self._begun:
            self._none_begun.set()

    async def until_ended(self) -> None:
        """Return when all that was begun has ended; a stop waits for tasks only."""
        if self._begun:
            self._none_begun = asyncio.Event()
            await self._none_begun.wait()

    def stop(self) -> None:
        """Begin nothing new; what is under way goes on, what only waits for its time ends."""
        self.stopping = True
        for task in self._pausing:
            if task is not None:
                task.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt at something.

        Raises:
            Stopping: there will be none.
        """
        if self.stopping:
            raise Stopping
        task = asyncio.current_task()
        self._pausing.add(task)
        try:
            await self._sleep(seconds)
        finally:
            self._pausing.discard(task)

    async def _loop(self, name: str, once: Callable[[], Awaitable[bool]]) -> None:
        # It is begun once in any case: an effect that is marked as attempted has to go out.
        try:
            while await self._attempt(name, once) and not self.stopping:
                self._after()
        finally:
            self.running.discard(name)
        self._after()

    async def _attempt(self, name: str, once: Callable[[], Awaitable[bool]]) -> bool:
        """Do one thing of a loop; False if the loop is to end.

        No error ends a loop, for its work would be stranded: it is logged, and tried again.
        """
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
            say = self._log.debug if name in self._unanswered else self._log.warning
            say("the database did not answer, trying again", why=str(error))
            self._unanswered.add(name)
        except Exception:  # noqa: BLE001 - logged whole
            self._log.exception("unexpected error, trying again", loop=name)
            wait = min(2.0 ** self._failures[name], LONGEST_WAIT)
            self._failures[name] += 1
        else:
            del self._failures[name]
            self._unanswered.discard(name)
            return went_on
        with suppress(Stopping):
            await self.pause(wait)
        return True


class RoomView(Protocol):
    """What the smaller parts of a room see of it."""

    @property
    def room_id(self) -> RoomId: ...

    @property
    def durable(self) -> RoomRecord:
        """The room as it is stored."""
        ...

    def rows(self, lane: Lane) -> Iterable[EffectRow]:
        """The effects of a lane that are to be carried out, oldest first."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt at something; raises Stopping if there will be none."""
        ...


class SystemClock:
    """The real clock: implements `ports.Clock`."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Observer(Protocol):
    """A histogram, or one of its children, as prometheus_client has them."""

    def observe(self, amount: float) -> None: ...


class Labelled(Protocol):
    """A histogram with labels."""

    def labels(self, *values: str) -> Observer: ...


class Measures(Protocol):
    """Metrics of the engine."""

    @property
    def handling(self) -> Observer:
        """Seconds from storing an input to having handled it."""
        ...

    @property
    def delivery(self) -> Labelled:
        """Seconds from storing an effect to its outcome; by lane and outcome."""
        ...

    def phase_entered(self, phase: str, waited: int | None) -> None:
        """A conversation changed its phase; `waited`: ms in the queue, if an agent came."""
        ...


class Surroundings(msgspec.Struct):
    """Handed from the composition root to every room, reader and lane.

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
    """How long customers wait; shared by all rooms."""
    inviting: Inviting = msgspec.field(default_factory=Inviting)
    """Who is inviting us just now; shared by all rooms."""

    def render(self, language: str, key: str, args: Args) -> str:
        """The sentence of that key, as the rules of the moment have it."""
        return self.rules.texts.render(language, key, args)
