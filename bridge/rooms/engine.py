"""The engine: rooms in memory, group commits over all of them, deadlines, and recovery.

Idle rooms cost a row and at most a cache entry, never a task. What all rooms have to write is
committed together, one group after the other, and acknowledged when it is durable. A start goes on
with whatever the last process left undone. Twice a minute the store is asked which rooms have work,
for an answer of the database may have got lost; and at once when a command line has written to it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from bridge.config.model import SERVED
from bridge.conversation import model
from bridge.ids import SHARDS, EventId, QueueId, RoomId, UserId, shard_of
from bridge.rooms import people
from bridge.rooms.commands import check_order
from bridge.rooms.erasure import begun_anew, commit_alone, has_ended, places_of
from bridge.rooms.ports import Others
from bridge.rooms.record import (
    TOMBSTONE,
    AgentInvited,
    Invited,
    MatrixEvent,
    Membership,
    Order,
    Raw,
    Stored,
    Undecryptable,
    Upgraded,
    dump_input,
    load_input,
)
from bridge.rooms.room import Enterprise, LaneRunner, Room
from bridge.rooms.rules import GONE, Rules
from bridge.rooms.store import (
    Answer,
    Commit,
    Committed,
    Lane,
    NewInput,
    NotOwned,
    PassedOn,
    StoreError,
    StorePort,
    Unstorable,
)
from bridge.rooms.surroundings import STORE_RETRY, Surroundings, Timetable
from bridge.rooms.visit import Came, Signal, Written, record_in, stored_as
from bridge.webchat.codes import NoticeType
from bridge.webchat.frames import AgentNotice, MessageReceived, Received

KEPT_ROOMS = 2_000
"""Rooms at rest without a chat that stay in memory, so that their next message needs no read."""
LINGER = 0.05
"""Seconds that an outcome waits for other writes with which it may be stored."""
MOST_LIVELY = 500
"""Rooms that are looked into after an outage of the homeserver's, the latest first."""
READERS = 16
"""Rooms that may be read at once: a start must not hold up what comes in meanwhile."""
SWEEP_EVERY = 30.0
"""Seconds between two looks for work that nobody has told us of."""
SWEEP_SHARED = 3.0
"""The same where other processes store work for our rooms: a notice of theirs may get lost."""
LISTEN_EVERY = 1.0
"""Seconds between two looks whether somebody beside us, a command line, has written at all."""
DRAIN_LOOK = 0.01
"""Seconds between two looks at rooms that are to be handed over, or come to their end."""


class Undone(NamedTuple):
    """Rooms that the last process left with work."""

    busy: Sequence[RoomId]
    """With inputs or effects that wait."""
    live: Sequence[RoomId]
    """Whose link is wanted."""
    deadlines: Sequence[tuple[RoomId, int]]


async def order_for(
    store: StorePort,
    room_id: RoomId,
    order: Order,
    rules: Callable[[str], Rules],
    now: int,
    *,
    number: str = "",
) -> NewInput:
    """The input that an order is; `room_id` is the room's in the store (`Upgrades.record_of`).

    `rules`: of an enterprise. `number`: of the order, drawn if none is given.
    Raises BadOrder: it cannot be carried out there, as the room stands.
    """
    record = record_in((await store.load(room_id)).room, room_id)
    check_order(record, rules(record.enterprise), order, now)
    return NewInput(room_id, dump_input(order), f"order:{number or secrets.token_hex(8)}")


class Engine:
    """Owner of the rooms, their tasks and their commits. Implements `ports.LinkEvents`.

    Events and pushes are stored before they are acknowledged, once each; who is typing is not.
    `linger`: seconds that what nobody waits for waits for other writes. `others`: the processes
    that serve the other rooms; None: all are ours. With them, none is until a shard is gained.
    """

    def __init__(
        self,
        around: Surroundings,
        runners: Mapping[Lane, LaneRunner],
        linger: float = LINGER,
        others: Others | None = None,
        enterprises: Mapping[str, Enterprise] | None = None,
    ) -> None:
        self._around = around
        only = Enterprise(around, runners)
        self._enterprises = {"": only} if enterprises is None else enterprises
        self._others = others
        self.shards = set(range(SHARDS)) if others is None else set()
        """Those whose rooms are served here."""
        self._linger = linger
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms")
        self.reading = asyncio.Semaphore(READERS)
        """Held while a room is read."""
        self._rooms: OrderedDict[RoomId, Room] = OrderedDict()
        self._resting: OrderedDict[RoomId, None] = OrderedDict()
        """Those that may be dropped, the longest unused first."""
        self._timetable = Timetable(
            around.clock, lambda room_id: self._signal(room_id, model.Tick())
        )
        self._dirty: dict[RoomId, Room] = {}
        self._under_way: list[Room] = []
        """Rooms whose commit is on its way."""
        self._going_on = 0
        """Commits that are durable, and whose effects are yet to begin."""
        self._writing = False
        """Commits are made: while the engine runs."""
        self._urgent = False
        """A commit is to be made as soon as none is under way."""
        self._lingering: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._owned: dict[asyncio.Task[None], Room | None] = {}
        self._erasing: set[RoomId] = set()
        self._stopping = False
        self._stopped = asyncio.Event()

    # --- life -------------------------------------------------------------------------------

    async def undone(self) -> Undone:
        """Look for unfinished work, for `run`, and for what belongs to which room.

        StoreError ends a start that cannot read it.
        """
        store = self._around.store
        await self._around.upgrades.load(store)
        await store.written_beside()  # from here on it is told
        return Undone(await store.busy_rooms(), await store.live_rooms(), await store.deadlines())

    async def run(self, undone: Undone, ready: asyncio.Event) -> None:
        """Go on with unfinished work, set `ready`, and work until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks, self._writing = tasks, True
            loops = [tasks.create_task(one()) for one in (self._timetable.run, self._sweep)]
            self._urgent = False
            self._hurry()  # for what came before
            try:
                self._recover(undone, self.shards)  # each room reads what it needs
                ready.set()
                await self._stopped.wait()
            finally:
                self._writing = False
                # Nobody is to wait for a commit that does not come any more.
                for room in dict.fromkeys((*self._dirty.values(), *self._under_way)):
                    room.stop()
                    room.failed(StoreError("the engine was stopped"))
            for loop in loops:
                loop.cancel()

    def _recover(self, undone: Undone, shards: Collection[int]) -> None:
        """Go on with unfinished work of those of the shards that are ours (still)."""
        ours = self.shards.intersection(shards)

        def wanted(room_id: RoomId) -> bool:
            return shard_of(room_id) in ours

        for room_id in filter(wanted, undone.busy):
            self._room(room_id).look()
        for room_id in filter(wanted, undone.live):
            self._room(room_id).signal(model.Resumed())
        for room_id, moment in undone.deadlines:
            if wanted(room_id):
                self.due(room_id, moment)

    async def _sweep(self) -> None:
        store, waited, told = self._around.store, 0.0, False
        every = SWEEP_EVERY if self._others is None else SWEEP_SHARED
        while True:
            await self._around.clock.sleep(LISTEN_EVERY)
            waited += LISTEN_EVERY
            with suppress(StoreError):
                told |= await store.written_beside()
            if not told and waited < every:
                continue
            waited = 0.0
            try:
                busy = await store.busy_rooms()
            except StoreError as error:
                self._log.warning("the database did not answer", why=str(error))
                continue
            for room_id in filter(self._is_ours, busy):
                room = self._rooms.get(room_id)
                if told or room is None or room.idle:
                    self._room(room_id).look()
            told = False

    async def stop(self, patience: float) -> None:
        """Take no new work, let what is under way end, at most for `patience` seconds."""
        self._stopping = True
        for room in self._rooms.values():
            room.stop()
        self._hurry()
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while self._has_work:
            if loop.time() >= end:
                self._log.warning("stopped with work under way; it goes on after the next start")
                break
            await asyncio.sleep(DRAIN_LOOK)
        for task in self._owned:
            task.cancel()
        self._stopped.set()

    @property
    def _has_work(self) -> bool:
        """True while something is under way, or is to be written."""
        ours = self._owned or self._dirty or self._under_way or self._going_on
        return bool(ours) or any(room.at_work for room in self._rooms.values())

    # --- other processes ----------------------------------------------------------------------

    def _is_ours(self, room_id: RoomId) -> bool:
        """True for a room that is served here; one that is being handed over is, while it lives."""
        return room_id in self._rooms or shard_of(room_id) in self.shards

    def _has_shard_of(self, one: str) -> bool:
        """True for a room (by its id on Matrix) or a user whose shard is served here."""
        return shard_of(self._around.upgrades.record_of(RoomId(one))) in self.shards

    async def gain(self, shards: Collection[int]) -> None:
        """Serve the rooms of these shards, and go on with what their last owner left undone.

        Raises:
            StoreError: that cannot be read; they are not served.
        """
        self._abandon(self._rooms_of(shards))  # stopped: they could not be handed over
        # From now on, not from when it was read: what comes meanwhile is told to nobody else.
        self.shards.update(shards)
        try:
            undone = await self.undone()
        except StoreError:
            self.lose(shards)
            raise
        await self._around.matrix.limit_to(self._has_shard_of)
        self._recover(undone, shards)

    async def hand_over(self, shard: int, patience: float) -> None:
        """Let the rooms of a shard go, each once it has finished what is under way.

        What is not finished after `patience` seconds is left to the next owner as it is.
        """
        self.shards.discard(shard)
        rooms = self._rooms_of([shard])
        for room in rooms:
            room.stop()
        self._hurry()
        left, loop = [room.room_id for room in rooms], asyncio.get_running_loop()
        end = loop.time() + patience
        while rooms:
            ended = [room for room in rooms if room.finish() or loop.time() >= end]
            self._abandon(ended)
            rooms = [room for room in rooms if room not in ended]
            if rooms:
                await asyncio.sleep(DRAIN_LOOK)
        await self._leave_links(left)
        await self._around.matrix.limit_to(self._has_shard_of)

    def lose(self, shards: Collection[int]) -> None:
        """Leave the rooms of these shards at once: they are, or may be, another process's."""
        self.shards.difference_update(shards)
        rooms = self._rooms_of(shards)
        self._abandon(rooms)
        if self._tasks is not None:
            self.spawn(self._around.matrix.limit_to(self._has_shard_of))
            if rooms:
                self.spawn(self._leave_links([room.room_id for room in rooms]))

    def look_again(self, shards: Collection[int]) -> None:
        """Read the rooms of these shards again: for a moment they may have been another's."""
        for room in self._rooms_of(shards):
            room.look()

    def stored_elsewhere(self, told: PassedOn) -> None:
        """Another process has stored inputs for a room, perhaps one of ours."""
        if self._is_ours(told.room):
            for row in told.inputs:
                if b'"state_key"' in row.body:
                    self._hear(row.body)
            self._room(told.room).stored_elsewhere(told)

    def _hear(self, body: bytes) -> None:
        """Tell encryption at once who has left, for its room may handle that in a while only."""
        with suppress(msgspec.DecodeError):
            stored = load_input(body)
            if isinstance(stored, MatrixEvent):
                self._around.matrix.heard(stored.raw)

    def _rooms_of(self, shards: Collection[int]) -> list[Room]:
        return [room for room_id, room in self._rooms.items() if shard_of(room_id) in shards]

    def _abandon(self, left: Sequence[Room]) -> None:
        """Forget rooms, and end their tasks."""
        rooms = frozenset(left)
        for room in rooms:
            room.abandon()
            self._rooms.pop(room.room_id, None)
            self._resting.pop(room.room_id, None)
            self._dirty.pop(room.room_id, None)
        for task, whose in list(self._owned.items()):
            if whose in rooms:
                task.cancel()

    # --- the homeserver -----------------------------------------------------------------------

    async def accept_events(self, events: Sequence[tuple[RoomId, EventId, Raw]]) -> int:
        """Let events happen, once each; returns how many were new, when they are durable.

        Where rooms had to try again, some that are known count twice: it may say too few.
        An event that the database can never hold is logged and dropped, for the homeserver would
        send it for ever, and nothing after it. StoreError: not all was stored; the homeserver has
        to keep the transaction.
        """
        by_room: dict[RoomId, list[Came]] = {}
        # To open what is not encrypted takes no time, and tells encryption at once who has left.
        first = sorted(events, key=lambda event: event[2].get("type") == "m.room.encrypted")
        opened = {event_id: await self._opened(room_id, raw) for room_id, event_id, raw in first}
        upgrades = self._around.upgrades
        for room_id, event_id, raw in events:
            if self._others is not None:
                await upgrades.look(self._around.store, room_id)
            if raw.get("type") == TOMBSTONE or upgrades.find(room_id) is not None:
                room_id = await self._record_of(room_id, raw)  # noqa: PLW2901
            came = Came(MatrixEvent(raw), event_id, opened[event_id])
            by_room.setdefault(room_id, []).append(came)
        return max(0, len(events) - await self._take(by_room))

    async def _record_of(self, room_id: RoomId, raw: Raw) -> RoomId:
        """The room under whose id an event is stored (`Upgrades`).

        Anybody's room may name any other as the one that replaces it: whoever invites us there has
        to have been here, and it must not be one that we serve already.
        """
        upgrades, store = self._around.upgrades, self._around.store
        found = upgrades.find(room_id)
        if found is not None and found.ours and raw.get("type") != TOMBSTONE:
            return found.record
        try:
            meaning = self._around.matrix.interpret(raw)
            if isinstance(meaning, Upgraded) and meaning.into is not None:
                await upgrades.note(store, room_id, meaning.into)
            elif isinstance(meaning, Invited | AgentInvited) and found is not None:
                former, new = (await store.load(found.record)).room, await store.load(room_id)
                record = record_in(former, found.record)
                may = self.rules(record.enterprise).permission(meaning.by) in SERVED
                served = new.effects or (new.room is not None and new.room.customer)
                if people.was_there(record, meaning.by) and may and not served:
                    await upgrades.keep(store, replace(found, ours=True))
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - logged whole; it must not hold up what comes after it
            self._log.exception("an upgrade could not be noted", room=room_id)
        return upgrades.record_of(room_id)

    async def _take(self, by_room: Mapping[RoomId, Sequence[Came]]) -> int:
        """Let inputs happen; returns how many were known, when all are durable, or StoreError."""
        known = 0
        failed: dict[RoomId, StoreError] = {}
        taken: dict[RoomId, Written] = {}
        elsewhere: list[NewInput] = []
        if not self._writing:  # links close after us, and bring what they have read
            failed = dict.fromkeys(by_room, StoreError("the engine was stopped"))
        else:
            for room_id, came in by_room.items():
                if room_id in self._erasing:
                    failed[room_id] = StoreError("it waits until the room is erased")
                elif self._is_ours(room_id):
                    taken[room_id] = self._room(room_id).take(came)
                else:
                    elsewhere += [one.new_input(room_id) for one in came]
            if elsewhere and self._others is not None:
                try:
                    new = await self._others.pass_on(elsewhere, self._around.clock.now())
                    known = len(elsewhere) - new
                except StoreError as why:  # what cannot be stored together goes the longer way
                    failed.update((one.room_id, why) for one in elsewhere)
            for room_id, written in taken.items():
                if isinstance(answer := await written, StoreError):
                    failed[room_id] = answer
                else:
                    known += answer
        for room_id, error in failed.items():
            self._log.debug("not at once", room=room_id, why=str(error))
            known += await self._store_first(room_id, by_room[room_id])
        return known

    async def _opened(self, room_id: RoomId, raw: Raw) -> Raw | Undecryptable | None:
        """Plaintext of an event whose key is there; a transaction does not wait for one.

        Those of other processes' rooms are theirs to open, for that is noted (replay detection).
        """
        sealed = raw.get("type") == "m.room.encrypted"
        if sealed and not self._is_ours(self._around.upgrades.record_of(room_id)):
            return None
        try:
            return await self._around.matrix.open(raw, ask=False)
        except Exception:  # noqa: BLE001 - logged whole; its room tries again, and may bury it
            self._log.exception("an event could not be opened, going the longer way")
            return None

    async def _store_first(self, room_id: RoomId, came: Sequence[Came]) -> int:
        """Store inputs that could not be stored with what they led to; returns how many are known.

        Perhaps they were, and only the answer was lost: then nothing is stored, and the room looks.
        """
        known = 0
        for one in came:
            new = one.new_input(room_id)
            answer = await self._stored(new)
            if isinstance(answer, Unstorable) and isinstance(one.happened, model.Pushed):
                # The server's own id is in the key; any text that is as unique will do.
                key = (one.key or "").encode("utf-8", "surrogatepass")
                new = replace(new, key=f"wc:{sha256(key).hexdigest()}")
                answer = await self._stored(new)
            if isinstance(answer, Unstorable):
                self._log.error(
                    "an event cannot be stored and is dropped",
                    event_id=one.key,
                    room=room_id,
                    why=str(answer),
                )
                known += 1
            elif isinstance(answer, StoreError):
                raise answer
            else:
                known += not answer
        if self._is_ours(room_id):
            self._room(room_id).look()
        return known

    async def _stored(self, new: NewInput) -> int | StoreError:
        """Store an input to be handled later, here or elsewhere; 0 if it is known.

        Raises:
            StoreError: the database does not answer.
        """
        now, others = self._around.clock.now(), self._others
        if others is None or self._is_ours(new.room_id):
            (answer,) = await self._around.store.commit([Commit(new.room_id, now, waiting=[new])])
            if isinstance(answer, Committed):
                return len(answer.waiting)
            if others is None or not isinstance(answer, NotOwned):
                return answer
        try:
            return await others.pass_on([new], now)
        except Unstorable as error:
            return error

    async def order(self, room_id: RoomId, order: Order, number: str = "") -> str:
        """Have a command from outside carried out in a room, by its owner, as soon as it can be.

        One of a number that is known is not given again. Returns its key, once it is stored.
        Raises BadOrder: it cannot be carried out; StoreError.
        """
        store, upgrades = self._around.store, self._around.upgrades
        await upgrades.look(store, room_id)
        room_id, now = upgrades.record_of(room_id), self._around.clock.now()
        new = await order_for(store, room_id, order, self.rules, now, number=number)
        key = new.key or ""
        await self.tell(new.room_id, order, key)
        return key

    def look_at(self, room_id: RoomId) -> None:
        """Take up work that an operator has put back, if the room is served here.

        Another process finds it by its own looks.
        """
        if self._writing and self._is_ours(room_id):
            self._room(room_id).look()

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        """Take over who is typing in a room, or tell its owner."""
        room_id = self._around.upgrades.record_of(room_id)
        if self._others is not None and not self._is_ours(room_id):
            self._others.typing(room_id, users)
        else:
            self.heard_typing(room_id, users)

    def heard_typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        """Take over who is typing in a room; of rooms not in memory nobody needs to know."""
        room = self._rooms.get(room_id)
        if room is not None:
            room.typist.people_type(users)

    def key_came(self, room_id: RoomId | None) -> None:
        """Have a room try again what could not be read; None: all rooms."""
        if room_id is None:
            for room in [*self._rooms.values()]:
                room.key_came()
        elif self._is_ours(record := self._around.upgrades.record_of(room_id)):
            self._room(record).key_came()

    # --- the call centre ----------------------------------------------------------------------

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        """Let a push of WebChat's happen, once; StoreError: it was not stored, nor acknowledged."""
        match received.push:
            case MessageReceived(content=AgentNotice(notice_type=NoticeType.TYPING)) as sign:
                if self._is_ours(room_id):
                    self._room(room_id).agent_types(sign.session_id, sign.agent_id)
            case push:
                numbered, now = bool(received.rs_id), self._around.clock.now()
                happened = model.Pushed(push, now, numbered=numbered)
                await self._take({room_id: [Came(happened, key)]})

    async def fared(self, room_id: RoomId, how: Signal) -> None:
        self._signal(room_id, how)

    def _signal(self, room_id: RoomId, happened: Signal) -> None:
        """Signal a room, unless it is served elsewhere by now."""
        if self._is_ours(room_id):
            self._room(room_id).signal(happened)

    # --- commits ------------------------------------------------------------------------------

    def commit_soon(self, room: Room, *, urgent: bool) -> None:
        """Have what a room has to write committed: at once, or with the next that is urgent."""
        self._dirty[room.room_id] = room
        if self._urgent:
            return
        if urgent or self._stopping or not self._linger:
            self._hurry()
        elif self._lingering is None:
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(self._linger, self._hurry)

    def _hurry(self) -> None:
        """Commit soon: after what happens in this turn of the event loop, and one at a time."""
        if not self._urgent:
            self._urgent = True
            if not self._under_way:
                asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        """Have written what rooms have to write; what comes meanwhile is the next commit."""
        if self._under_way or not self._writing:
            return
        self._urgent = False
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        commits: list[Commit] = []
        dirty, self._dirty = self._dirty, {}
        for room in dirty.values():
            try:
                commit = room.draft_commit()
            except Exception as error:  # noqa: BLE001 - logged whole; the room finds out whose fault
                self._log.exception("a commit could not be made", room=room.room_id)
                room.failed(Unstorable(type(error).__name__))
                continue
            if commit is not None:
                commits.append(commit)
                self._under_way.append(room)
        if commits:
            self._around.store.submit(commits, self._committed)
        else:
            self._committed([])

    def _committed(self, answers: list[Answer]) -> None:
        if not self._writing:  # nobody waits any more
            return
        written, self._under_way = self._under_way, []
        for room, answer in zip(written, answers, strict=True):
            try:
                if isinstance(answer, StoreError):
                    room.failed(answer)
                else:
                    room.committed(answer)
            except Exception:  # noqa: BLE001 - logged whole; the others are not to suffer for it
                self._log.exception("unexpected error after a commit", room=room.room_id)
                room.look()
        loop = asyncio.get_running_loop()
        if self._urgent:
            loop.call_soon(self._commit)
        # Behind those who waited: they write their answers first, and their peers go on meanwhile.
        self._going_on += 1
        loop.call_soon(self._go_on, written)

    def _go_on(self, rooms: Sequence[Room]) -> None:
        """Carry out the effects that have become durable."""
        self._going_on -= 1
        for room in rooms:
            try:
                room.go_on()
            except Exception:  # noqa: BLE001 - as above
                self._log.exception("unexpected error after a commit", room=room.room_id)
                room.look()

    # --- rooms --------------------------------------------------------------------------------

    def _room(self, room_id: RoomId) -> Room:
        """The one object of a room; a new one reads the room before it does anything."""
        room = self._rooms.get(room_id)
        if room is None:
            room = Room(room_id, self)
            if self._stopping or room_id in self._erasing:  # then it is read when that has ended
                room.stop()
            self._rooms[room_id] = room
        else:
            self._rooms.move_to_end(room_id)
            self._resting.pop(room_id, None)
        return room

    def enterprise(self, name: str) -> Enterprise:
        """The call centre of that id; one that is configured no more has a place as well."""
        found = self._enterprises.get(name)
        return self._enterprises.get(GONE, self._enterprises[""]) if found is None else found

    def rules(self, enterprise: str) -> Rules:
        return self.enterprise(enterprise).around.rules

    async def _leave_links(self, rooms: Collection[RoomId]) -> None:
        every = {id(one.around): one.around.link for one in self._enterprises.values()}
        await asyncio.gather(*(link.leave(rooms) for link in every.values()))

    # --- erasure ------------------------------------------------------------------------------

    async def tell(self, room_id: RoomId, happened: Stored, key: str) -> None:
        """Let an input happen to a room, whoever serves it; StoreError: it was not stored."""
        await self._take({room_id: [Came(happened, key)]})

    def erase(self, room: Room) -> None:
        """Erase all of a room that has come to its end (`rooms.erasure`)."""
        if room.room_id not in self._erasing and self._tasks is not None:
            self._erasing.add(room.room_id)
            self.spawn(self._erase(room))

    async def _erase(self, room: Room) -> None:
        room_id, around = room.room_id, self.enterprise(room.record.enterprise).around
        store, now = around.store, around.clock.now()
        try:
            await around.link.leave([room_id])  # what was read from it is stored first
            waiting = (await store.load(room_id)).inputs
            if self._rooms.get(room_id) is not room:
                return  # it is another process's, or read anew
            if not has_ended(room.record, now, idle=not waiting):
                return  # another process has stored what it has not heard of: that comes first
            record, left = room.record, begun_anew(room.record)
            places = places_of(record, around.upgrades)
            self._abandon([room])
            around.matrix.forget(places)
            if left is None:
                around.upgrades.drop(room_id)
            known = max((row.seq for row in waiting), default=0)
            erase = store.eraser.erase_room
            await erase(room_id, places, now, record=left is None, known=known)
            if left is not None:
                stored = (await store.load(room_id)).room  # others count what they store there
                revision = room.revision if stored is None else stored.revision
                row = stored_as(left, revision, people.due(left))
                await commit_alone(store, Commit(room_id, now, row))
            self._log.info("a room is erased", room=room_id, served=left is not None)
        except StoreError as error:
            self._log.warning("a room is not erased yet", room=room_id, why=str(error))
            await around.clock.sleep(STORE_RETRY)
        finally:
            self._erasing.discard(room_id)
            woken = self._rooms.get(room_id)
            self._abandon([woken] if woken not in {None, room} else [])
            if self._is_ours(room_id):
                self._room(room_id).look()

    def lively(self) -> list[tuple[RoomId, UserId]]:
        """The rooms that are in memory because people talk in them, and our user in each."""
        served = (
            (room.record.matrix_id, room.record.host)
            for room in reversed(self._rooms.values())
            if room.record.membership is Membership.JOINED
        )
        return list(islice(served, MOST_LIVELY))

    def chats(self) -> Counter[tuple[str, str, QueueId]]:
        """How many requests and chats of the rooms served here are in which phase and queue.

        The key: enterprise, phase, queue.
        """
        return Counter(
            (one.around.rules.enterprise, type(phase).__name__, phase.queue_id)
            for one in self._rooms.values()
            if isinstance(phase := one.durable.conversation.phase, model.Waiting | model.Chatting)
        )

    def spawn(self, loop: Coroutine[Any, Any, None], room: Room | None = None) -> None:
        if self._tasks is None:
            loop.close()
            raise RuntimeError("the engine does not run")
        try:
            task = self._tasks.create_task(loop)
        except RuntimeError:
            # The group is ending, and what is left to do is in the store. An error here would take
            # the place of the cancellation on its way through the caller.
            loop.close()
            return
        self._owned[task] = room
        task.add_done_callback(self._owned.pop)

    def rested(self, room: Room) -> None:
        """Drop the longest unused rooms beyond what may be kept."""
        self._resting[room.room_id] = None
        while len(self._resting) > KEPT_ROOMS:
            room_id, _ = self._resting.popitem(last=False)
            if self._rooms[room_id].idle:
                del self._rooms[room_id]

    def due(self, room_id: RoomId, moment: int) -> None:
        """Signal a Tick to the room at that moment (ms). An outdated one does no harm."""
        self._timetable.add(room_id, moment)
