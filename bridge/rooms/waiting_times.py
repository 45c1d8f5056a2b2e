"""Estimates of waiting times, learned per queue from those who have waited.

Waits are skewed: most are short, some very long. So the mean and variance of their logarithms are
kept, exponentially weighted, and the range of one standard deviation to either side is told, which
holds about two waits in three, and rounded outwards more. It is told only once enough waits are
known, not too old ones.

Two things are learned: the wait per place in the queue, and the whole wait, for queues that name no
places. Who gives up, or is sent away, has waited at least so long (a censored observation): such a
wait counts where it is longer than the mean, else the impatient would make the queue look short.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import msgspec
import structlog

from bridge.conversation.model import Chatting, Conversation, Idle, Queued, QueuePlace, Requesting
from bridge.ids import QueueId
from bridge.rooms.ports import Clock
from bridge.rooms.store import StoreError

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

    def with_wait(self, seconds: float) -> Trace:
        """The statistics with one wait more."""
        value = math.log(max(seconds, SHORTEST))
        weight = max(WEIGHT, 1 / (self.count + 1))
        off = value - self.mean
        variance = (1 - weight) * (self.variance + weight * off * off)
        return Trace(self.count + 1, self.mean + weight * off, variance)

    def range(self) -> tuple[float, float]:
        """From where to where a wait is to be expected, in seconds."""
        spread = max(math.sqrt(self.variance), LEAST_SPREAD)
        return math.exp(self.mean - spread), math.exp(self.mean + spread)


class Learnt(msgspec.Struct, frozen=True):
    """Statistics of one queue."""

    at: int = 0
    """When the last wait ended, ms."""
    whole: Trace = Trace()
    per_place: Trace = Trace()


class Expected(msgspec.Struct, frozen=True):
    """Seconds from now on; both 0: it should have been over by now."""

    low: float
    high: float


class FactStore(Protocol):
    """Store of the statistics; `StorePort` has these methods."""

    async def fact(self, name: str) -> str | None: ...

    async def save_fact(self, name: str, value: str) -> None: ...


class Waits:
    """The waits of all queues; lives in memory and is stored every now and then.

    A crash costs what was learned in the last half minute.
    """

    def __init__(self) -> None:
        self._learnt: dict[QueueId, Learnt] = {}
        self._unsaved: set[QueueId] = set()
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.waits")

    # --- learning ---------------------------------------------------------------------------

    def note(self, before: Conversation, after: Conversation, now: int) -> None:
        """Learn from a room's step, if a wait has ended by it."""
        old, new = before.phase, after.phase
        if not isinstance(old, Requesting | Queued) or isinstance(new, Requesting | Queued):
            return
        if old.cancel and isinstance(new, Chatting):
            return  # nobody waited for it any more
        if isinstance(new, Chatting) and not new.robot:
            self._learn(old, now, at_least=False)
        elif isinstance(new, Idle) and isinstance(old, Queued):
            self._learn(old, now, at_least=True)

    def _learn(self, waited: Requesting | Queued, now: int, *, at_least: bool) -> None:
        known = self._learnt.get(waited.queue_id, Learnt())
        whole = _with(known.whole, (now - waited.since) / 1000, at_least=at_least)
        per_place = known.per_place
        if isinstance(waited, Queued) and waited.first_position:
            seconds = (now - waited.first_at) / 1000 / waited.first_position
            per_place = _with(per_place, seconds, at_least=at_least)
        if (whole, per_place) != (known.whole, known.per_place):
            self._learnt[waited.queue_id] = Learnt(now, whole, per_place)
            self._unsaved.add(waited.queue_id)

    # --- telling ----------------------------------------------------------------------------

    def expected(self, place: QueuePlace) -> Expected | None:
        """Range of the rest of a wait, from this place; None: too little is known."""
        known = self._learnt.get(place.queue_id)
        if known is None or place.at - known.at > FRESH:
            return None
        if place.position:
            trace, times, since = known.per_place, place.position, place.moved_at
        else:
            trace, times, since = known.whole, 1, place.since
        if trace.count < KNOWN_FROM:
            return None
        low, high = trace.range()
        waited = (place.at - since) / 1000
        return Expected(max(low * times - waited, 0.0), max(high * times - waited, 0.0))

    # --- keeping ----------------------------------------------------------------------------

    async def load(self, facts: FactStore, queues: Iterable[QueueId]) -> None:
        """Read what an earlier process learned; what cannot be read is learned anew.

        Raises:
            StoreError: the database does not answer.
        """
        for queue_id in queues:
            stored = await facts.fact(_name(queue_id))
            if stored is None:
                continue
            try:
                self._learnt[queue_id] = msgspec.json.decode(stored, type=Learnt)
            except msgspec.MsgspecError as error:
                self._log.warning("waits cannot be read", queue=queue_id, why=str(error))

    async def save(self, facts: FactStore) -> None:
        """Store what is new.

        Raises:
            StoreError: not all of it was stored; it is tried again the next time.
        """
        for queue_id in sorted(self._unsaved):
            learnt = self._learnt[queue_id]
            await facts.save_fact(_name(queue_id), msgspec.json.encode(learnt).decode())
            if self._learnt[queue_id] is learnt:
                self._unsaved.discard(queue_id)

    async def keep(self, facts: FactStore, clock: Clock) -> None:
        """Save every half minute, for ever, and once more when cancelled."""
        try:
            while True:
                await clock.sleep(SAVE_EVERY)
                await self._save_or_say(facts)
        finally:
            await self._save_or_say(facts)

    async def _save_or_say(self, facts: FactStore) -> None:
        try:
            await self.save(facts)
        except StoreError as error:
            self._log.warning("the database did not answer", why=str(error))


def _with(trace: Trace, seconds: float, *, at_least: bool) -> Trace:
    if at_least and (trace.count == 0 or math.log(max(seconds, SHORTEST)) <= trace.mean):
        return trace
    return trace.with_wait(seconds)


def _name(queue_id: QueueId) -> str:
    return f"waits:{queue_id}"
