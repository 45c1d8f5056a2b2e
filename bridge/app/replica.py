"""Replica: this process among those that share the rooms of one database (`storage.shards`).

Every `BEAT` seconds it writes a heartbeat over the PostgreSQL session that holds its shards' locks,
reads the list of members, and rebalances:

- Shards are distributed evenly. A replica with too many hands some over, each once its rooms have
  finished running work; one with too few takes free shards in random order. A released shard is
  announced to all; shards of a process that died are found at the next heartbeat.
- A replica with a new session takes no further shards for `DEAF` seconds: after a restart of
  PostgreSQL all replicas reconnect within moments, and each can take its former shards again.
- If a replica is silent for `SILENT` seconds while its session still exists (its host, network or
  process hangs), the others terminate the session, which frees its shards. Each measures that time
  itself: the server's clock may be set, and after a long time without an answer, in which nobody
  may have been heard, a replica begins again.
- A replica that cannot reach the homeserver or the call centre says that it is leaving, and takes
  no further shards. If others can after `CUT_OFF` seconds, it hands its own over to them.
- A replica without an answer over its own session for `DEAF` seconds may have lost it: it leaves
  its rooms, closes their links and ends the session, whose next one locks what is free by then. If
  it knows of no other replica, it waits `STORE_AWAY` instead, as a link does: another may have been
  started meanwhile.

None of this prevents two processes from doing the same work: the locks do.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import structlog

from bridge.ids import SHARDS, RoomId, UserId
from bridge.link.link import STORE_AWAY
from bridge.rooms.engine import Engine
from bridge.rooms.store import Member, NewInput, StoreError
from bridge.storage.shards import Shards

BEAT = 2.0
SILENT = 8.0
DEAF = 5.0
LOOK = 0.5
"""Seconds between checks of the own session (`DEAF`)."""
GATHER = 0.02
"""Seconds to collect further notices before acting on them."""
CUT_OFF = 60.0
"""Seconds without a peer after which its shards are handed over; others may notice 25 s later."""
AT_ONCE = 16
"""Maximum shards handed over per heartbeat to restore the balance."""
PATIENCE = 5.0
"""Seconds that the rooms of a shard get to finish running work before it is handed over."""
ANSWERED = 2.0
"""Timeout in seconds for each answer of the database while the replica leaves."""
ONE_ROLE = (
    "use the same role in database.url for all replicas; or, as a superuser, run"
    " `GRANT pg_signal_backend TO <role>` for each replica's role"
)

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.replica")


def share_of(own: str, alive: Collection[str]) -> int:
    """Return the number of shards for replica `own`; the first by id share the remainder."""
    number, more = divmod(SHARDS, len(alive))
    return number + (sorted(alive).index(own) < more)


@dataclass(eq=False)
class Replica:
    """One process among several; implements `ports.Others`. See the module docstring."""

    _shards: Shards
    name: str
    """Display name, for people."""
    _held: Callable[[], None]
    """Called when the homeserver delivers held-back events to any replica (`CatchUp.held`)."""
    _gained: Callable[[], None]
    """Called when this replica has taken over shards (`CatchUp.outage`)."""
    _keys: Callable[[str | None], None] = lambda _: None
    """Called with notices about keys (`Crypto.on_notice`); None if some may have got lost."""
    _engine: Engine = field(init=False)
    served: set[int] = field(default_factory=set)
    """Shards whose rooms are served here: the engine's own set."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _alive: int = 1
    _leaving: bool = False
    _handing: set[int] = field(default_factory=set)
    """Shards that are being handed over."""
    _answered: float = 0.0
    """Loop time of the last answer over this replica's session."""
    _patient_until: float = 0.0
    """Loop time until which no further shards are taken."""
    _seen: dict[tuple[str, int], float] = field(default_factory=dict)
    """Loop time at which the last heartbeat of each replica was read first."""
    _silenced: bool = False
    """Whether the last heartbeat failed."""
    _out_of_reach: set[str] = field(default_factory=set)
    """Silent replicas whose session could not be ended, as is logged once."""
    _report: Callable[[], str] = str
    _cut_off: Callable[[], float] = float
    _left: bool = False
    """Whether all shards are left to others, as this replica is cut off."""
    _tasks: asyncio.TaskGroup | None = None
    """None unless `run` is running."""

    @property
    def first(self) -> bool:
        """True in the one process that does the work needed once for all processes."""
        return 0 in self.served

    @property
    def alone(self) -> bool:
        """True while no other process shares the rooms."""
        return self._alive == 1 and len(self.served) == SHARDS

    # --- ports.Others -------------------------------------------------------------------------

    async def pass_on(self, inputs: Collection[NewInput], now: int) -> int:
        return await self._shards.pass_on(list(inputs), now)

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        self._notify(f"typing {msgspec.json.encode((room_id, tuple(users))).decode()}")

    def tell_held(self) -> None:
        """Notify all replicas that the homeserver has delivered events that it had held back."""
        self._notify("held")

    def _notify(self, notice: str) -> None:
        async def send() -> None:
            with suppress(StoreError):
                await self._shards.notify(notice)

        if self._tasks is not None:
            self._tasks.create_task(send())

    # --- life -----------------------------------------------------------------------------------

    async def run(
        self,
        engine: Engine,
        on_alive: Callable[[int], None],
        report: Callable[[], str] = str,
        cut_off: Callable[[], float] = float,
    ) -> None:
        """Take part as a replica until cancelled; then call `leave`.

        `on_alive` is called with the number of replicas at each heartbeat; `report` returns
        the state that other replicas may show of this one, `cut_off` the seconds for which the
        homeserver or the call centre has been out of reach.
        """
        self._report, self._cut_off = report, cut_off
        self._engine, self.served = engine, engine.shards
        self._shards.heard = self._heard
        self._shards.changed = self._session_changed
        self._answered = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._watch_own_session())
            tasks.create_task(self._keep_listening())
            try:
                while True:
                    self._wake.clear()
                    await self._beat_once()
                    on_alive(self._alive)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(BEAT):
                            await self._wake.wait()
                            await asyncio.sleep(GATHER)
            finally:
                self._tasks = None

    async def leave(self, patience: float) -> None:
        """Hand over all shards if there are other replicas, then sign off."""
        self._leaving = True
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(ANSWERED):
                alive = await self._beat()
            if len(alive) > 1:
                held = list(self._shards.held)  # also those being handed over already
                LOG.info("handing over before the stop", shards=len(held))
                async with asyncio.timeout(patience + ANSWERED):
                    await asyncio.gather(*(self._hand_over(shard, patience) for shard in held))
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(ANSWERED):
                await self._shards.forget([self._shards.id])

    async def _beat_once(self) -> None:
        try:
            await self._balance(await self._beat())
        except StoreError as error:
            say = LOG.debug if self._silenced else LOG.warning
            say("the database did not answer, trying again", why=str(error))
            self._silenced = True
        else:
            self._silenced = False

    async def _beat(self) -> list[Member]:
        """Write a heartbeat, terminate sessions of silent replicas; return the live members."""
        report = self._report() if self._alive > 1 else ""
        leaving = self._leaving or self._cut_off() > 0
        members = await self._shards.beat(self.name, leaving=leaving, report=report)
        now = asyncio.get_running_loop().time()
        before = {} if now - self._answered > DEAF else self._seen
        self._answered = now
        self._seen = {beat: before.get(beat, now) for beat in ((m.id, m.seen) for m in members)}
        silent = [peer for peer in members if now - self._seen[peer.id, peer.seen] >= SILENT]
        alive = [peer for peer in members if peer.present and peer not in silent]
        for peer in silent:
            if peer.present and await self._shards.end(peer):
                LOG.warning("ended the database session of a silent replica", replica=peer.name)
                self._wake.set()
            elif peer.present and peer.id not in self._out_of_reach:
                self._out_of_reach.add(peer.id)
                LOG.error(
                    "no permission to end the database session of a silent replica",
                    replica=peer.name,
                    fix=ONE_ROLE,
                )
        if gone := [peer.id for peer in silent if not peer.present]:
            await self._shards.forget(gone)
        if self._alive != len(alive):
            LOG.info("replicas", alive=len(alive), names=sorted(peer.name for peer in alive))
        self._alive = len(alive)
        return alive

    # --- balance --------------------------------------------------------------------------------

    async def _balance(self, alive: list[Member]) -> None:
        held = self._shards.held  # the live set: it may shrink at each await
        own, cut_off = self._shards.id, self._cut_off()
        others = {peer.id for peer in alive if not peer.leaving and peer.id != own}
        want = share_of(own, others | {own})
        if others and cut_off:
            want = min(want, len(held)) if cut_off < CUT_OFF else 0
        if (left := bool(held) and not want) and not self._left:
            LOG.warning("a peer is out of reach: leaving the rooms to other replicas")
        self._left = left
        if len(held) < want and asyncio.get_running_loop().time() >= self._patient_until:
            taken = {shard for peer in alive for shard in peer.shards}
            free = list(set(range(SHARDS)) - taken - held)
            random.shuffle(free)
            await self._shards.take(free[: want - len(held)])
        assert self._tasks is not None  # noqa: S101 - set while `run` runs
        if missing := held - self.served - self._handing:
            self._tasks.create_task(self._gain(missing))
        excess = min(len(held - self._handing) - want, AT_ONCE, len(self.served))
        if excess > 0:  # `served` may be empty: rooms that were left are not gained again yet
            for shard in random.sample(sorted(self.served), excess):
                self._tasks.create_task(self._hand_over(shard, PATIENCE))

    async def _gain(self, shards: Collection[int]) -> None:
        """Serve shards, in a task so as not to delay heartbeats: a slow database takes its time to
        tell what is undone. If it does not, the next heartbeat finds them not served.
        """
        with suppress(StoreError):
            await self._engine.gain(shards)
            self._gained()
            LOG.info("serving shards", gained=len(shards), shards=len(self._shards.held))

    async def _hand_over(self, shard: int, patience: float) -> None:
        self._handing.add(shard)
        try:
            await self._engine.hand_over(shard, patience)
            await self._shards.give(shard)
        except StoreError:
            pass  # the session is lost, and the lock with it
        except Exception:
            LOG.exception("a shard could not be handed over", shard=shard)
        finally:
            self._handing.discard(shard)
            self._wake.set()  # there may be more shards to hand over

    def _session_changed(self, lost: Collection[int], kept: Collection[int]) -> None:
        """Handle a new session of the writer: leave the rooms of lost shards."""
        self._patient_until = asyncio.get_running_loop().time() + DEAF
        if lost:
            LOG.warning("shards were taken over by another replica", lost=len(lost), kept=len(kept))
        self._engine.lose(lost)
        self._engine.reload_shards(kept)
        self._wake.set()

    async def _watch_own_session(self) -> None:
        """Leave all rooms if the own session gives no answer for too long."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            limit = DEAF if self._alive > 1 else STORE_AWAY
            if self.served and loop.time() - self._answered > limit:
                LOG.warning("no answer from the database: leaving the rooms to other replicas")
                self._engine.lose(list(self.served))
                # Answers that are merely late would keep the locks, and the others waiting.
                self._shards.drop()

    async def _keep_listening(self) -> None:
        """Keep the connection for notices open, in its own task so as not to delay heartbeats."""
        while True:
            with suppress(StoreError):
                await self._shards.listen()
            await asyncio.sleep(BEAT)

    # --- notices --------------------------------------------------------------------------------

    def _heard(self, notice: str) -> None:
        kind, _, about = notice.partition(" ")
        if kind == "free":
            self._wake.set()
        elif kind == "held":
            self._held()
        elif kind == "rooms":
            with suppress(msgspec.MsgspecError):
                for stored in self._shards.read(about):
                    self._engine.stored_elsewhere(stored)
        elif kind == "keys":
            self._keys(about)
        elif kind == "connected":
            self._keys(None)
            # Notices may have got lost; the engine's sweep finds their inputs only in idle rooms.
            self._engine.reload_shards(self.served)
        elif kind == "typing":
            with suppress(msgspec.MsgspecError):
                typing = msgspec.json.decode(about, type=tuple[RoomId, tuple[UserId, ...]])
                self._engine.heard_typing(*typing)
