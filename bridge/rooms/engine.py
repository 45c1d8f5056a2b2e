"""The engine: rooms in memory, group commit over all rooms, deadlines, and recovery.

An idle room costs a database row and at most a cache entry, never a task. The writes of all rooms
are committed in groups, one at a time, and acknowledged once durable. A start resumes the work that
the last process left unfinished. The store is polled for rooms with work (`SWEEP_EVERY`), as an
answer of the database may get lost; and at once when a command line has written to it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec.structs import replace

from bridge.conversation import model
from bridge.ids import SHARDS, EventId, QueueId, RoomId, UserId, shard_of
from bridge.rooms import people, ports
from bridge.rooms.commands import check_order
from bridge.rooms.erasure import erase_room, has_ended, places_of
from bridge.rooms.record import MatrixEvent, Membership, Order, Raw, RoomInput, load_input
from bridge.rooms.room import LaneRunner, Room
from bridge.rooms.rules import GONE, Rules
from bridge.rooms.store import (
    Answer,
    Commit,
    Lane,
    NewInput,
    PassedOn,
    StoreError,
    StorePort,
    Unstorable,
)
from bridge.rooms.surroundings import STORE_RETRY, Surroundings, Timetable
from bridge.rooms.visit import Came, Written, record_in
from bridge.webchat.codes import NoticeType
from bridge.webchat.frames import AgentNotice, MessageReceived, Received

KEPT_ROOMS = 2_000
"""Maximum number of idle rooms without a chat kept in memory: their next message needs no read."""
LINGER = 0.05
"""Seconds that an outcome waits to share a commit with other writes."""
READERS = 16
"""Maximum number of rooms loaded at once: a start must not hold up incoming events."""
SWEEP_EVERY = 30.0
"""Seconds between polls of the store for work that was not announced."""
SWEEP_SHARED = 3.0
"""The same with several processes: one's notice of work it stored for another may get lost."""
LISTEN_EVERY = 1.0
"""Seconds between checks whether another connection (a command line) wrote to the database."""
LARGE_GROUP = 50
"""Rooms of a group above which the homeserver probably has more messages of the same rooms."""
DRAIN_LOOK = 0.01
"""Seconds between checks of rooms that are being drained for a handover or a stop."""


class Undone(NamedTuple):
    """Rooms in which the last process left work unfinished."""

    busy: Sequence[RoomId]
    """Rooms with waiting inputs or effects."""
    live: Sequence[RoomId]
    """Rooms whose link is wanted."""
    deadlines: Sequence[tuple[RoomId, int]]


class Served(NamedTuple):
    """A Matrix room that is served."""

    host: UserId
    live: bool
    """Whether a chat goes on there, or is requested."""


async def order_for(
    store: StorePort,
    room_id: RoomId,
    order: Order,
    rules: Callable[[str], Rules],
    now: int,
    *,
    number: str = "",
) -> NewInput:
    """Return an order as a storable input; `room_id` is the store's (`Upgrades.stored_id`).

    `rules` returns an enterprise's rules; `number` identifies the order, at random if empty.
    Raises BadOrder if the room's present state rules the order out.
    """
    record = record_in((await store.load(room_id)).room, room_id)
    check_order(record, rules(record.enterprise), order, now)
    return Came(order, f"order:{number or secrets.token_hex(8)}").new_input(room_id)


class Engine:
    """Owner of the rooms, their tasks and their commits; implements `ports.LinkEvents`.

    Events and pushes are stored once each before they are acknowledged; typing is never stored.
    `enterprises`: the call centres by name, the main one first; "" for the rooms that name none.
    `linger`: seconds that a write which is not urgent waits for others. `others`: the processes
    that serve the other rooms (none served here before `gain`); None if all are served here.
    """

    def __init__(
        self,
        enterprises: Mapping[str, Surroundings],
        lanes: Mapping[Lane, LaneRunner],
        linger: float = LINGER,
        others: ports.Others | None = None,
    ) -> None:
        self._enterprises = enterprises
        self.lanes = lanes
        self._around = around = next(iter(enterprises.values()))
        self._others = others
        self.shared = others is not None
        """True if other processes may store inputs for the rooms served here."""
        self.shards = set(range(SHARDS)) if others is None else set()
        """Shards whose rooms this process serves."""
        self._linger = linger
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms")
        self.reading = asyncio.Semaphore(READERS)
        """Semaphore held while a room is loaded."""
        self._rooms: OrderedDict[RoomId, Room] = OrderedDict()
        self._resting: OrderedDict[RoomId, None] = OrderedDict()
        """Idle rooms that may be evicted, the least recently used first."""
        self.timetable = Timetable(around.clock, lambda room_id: self.signal(room_id, model.Tick()))
        self._dirty: dict[RoomId, Room] = {}
        self._group: list[Room] = []
        """Rooms whose commits are being written together, or whose effects have yet to start."""
        self._running = False
        """True while commits are made."""
        self._due = False
        """True if the next commit is to be made as soon as no group is being written."""
        self._lingering: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._owned: dict[asyncio.Task[None], Room | None] = {}
        self._erasing: set[RoomId] = set()
        self._stopping = False
        self._stopped = asyncio.Event()

    # --- life -------------------------------------------------------------------------------

    async def undone(self) -> Undone:
        """Read the unfinished work, for `run`, and the room upgrades; raises StoreError."""
        store = self._around.store
        await self._around.upgrades.load(store)
        await store.written_beside()  # later calls report writes since this one
        return Undone(await store.busy_rooms(), await store.live_rooms(), await store.deadlines())

    async def run(self, undone: Undone, ready: asyncio.Event) -> None:
        """Resume unfinished work, set `ready`, and serve until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks, self._running = tasks, True
            loops = [tasks.create_task(loop()) for loop in (self.timetable.run, self._sweep)]
            self._due = False
            self._schedule_commit()  # commit what arrived before
            try:
                self._recover(undone, self.shards)  # each room loads itself
                ready.set()
                await self._stopped.wait()
            finally:
                self._running = False
                # Release the waiters: there are no more commits.
                for room in dict.fromkeys((*self._dirty.values(), *self._group)):
                    room.stop()
                    room.failed(StoreError("the engine was stopped"))
            for loop in loops:
                loop.cancel()

    def _recover(self, undone: Undone, shards: Collection[int]) -> None:
        """Resume unfinished work of those of the shards that are (still) served here."""
        ours = self.shards.intersection(shards)

        def wanted(room_id: RoomId) -> bool:
            return shard_of(room_id) in ours

        for room_id in filter(wanted, undone.busy):
            self._room(room_id).look()
        for room_id in filter(wanted, undone.live):
            self._room(room_id).signal(model.Resumed())
        for room_id, moment in undone.deadlines:
            if wanted(room_id):
                self.timetable.add(room_id, moment)

    async def _sweep(self) -> None:
        store, waited, notified = self._around.store, 0.0, False
        every = SWEEP_EVERY if self._others is None else SWEEP_SHARED
        while True:
            await self._around.clock.sleep(LISTEN_EVERY)
            waited += LISTEN_EVERY
            with suppress(StoreError):
                notified |= await store.written_beside()
            if not notified and waited < every:
                continue
            waited = 0.0
            try:
                busy = await store.busy_rooms()
            except StoreError as error:
                self._log.debug("the database did not answer", why=str(error))
                continue
            for room_id in filter(self._is_ours, busy):
                room = self._rooms.get(room_id)
                if notified or room is None or room.idle:
                    self._room(room_id).look()
            notified = False

    async def stop(self, patience: float) -> None:
        """Stop accepting work and wait up to `patience` seconds for running work to finish."""
        self._stopping = True
        for room in self._rooms.values():
            room.stop()
        self._schedule_commit()
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
        ours = self._owned or self._dirty or self._group
        return bool(ours) or any(room.at_work for room in self._rooms.values())

    # --- other processes ----------------------------------------------------------------------

    def _is_ours(self, room_id: RoomId) -> bool:
        """True for a room served here; during a handover, until the room is dropped."""
        return room_id in self._rooms or shard_of(room_id) in self.shards

    def serves(self, room_id: str) -> bool:
        """True if the shard of a room (by its id on Matrix) or of a user is served here."""
        return shard_of(self._around.upgrades.stored_id(RoomId(room_id))) in self.shards

    async def gain(self, shards: Collection[int]) -> None:
        """Serve the rooms of these shards, and resume what their last owner left unfinished.

        Raises StoreError if the unfinished work cannot be read; the shards are not served then.
        """
        self._abandon(self._rooms_of(shards))  # left stopped by a handover that failed
        # Before the read: notices of inputs that arrive during it go to no other process.
        self.shards.update(shards)
        try:
            undone = await self.undone()
        except StoreError:
            self.lose(shards)
            raise
        await self._around.matrix.limit_to(self.serves)
        self._recover(undone, shards)

    async def hand_over(self, shard: int, patience: float) -> None:
        """Give up a shard, dropping each of its rooms once the room's running work has finished.

        Work unfinished after `patience` seconds is left to the next owner.
        """
        self.shards.discard(shard)
        rooms = self._rooms_of([shard])
        for room in rooms:
            room.stop()
        self._schedule_commit()
        left, loop = [room.room_id for room in rooms], asyncio.get_running_loop()
        end = loop.time() + patience
        while rooms:
            ready = [room for room in rooms if room not in self._group and room.finish()]
            ended = rooms if loop.time() >= end else ready
            self._abandon(ended)
            rooms = [room for room in rooms if room not in ended]
            if rooms:
                await asyncio.sleep(DRAIN_LOOK)
        await self._leave_links(left)
        await self._around.matrix.limit_to(self.serves)

    def lose(self, shards: Collection[int]) -> None:
        """Drop the rooms of these shards at once: another process owns them, or may."""
        self.shards.difference_update(shards)
        rooms = self._rooms_of(shards)
        self._abandon(rooms)
        if self._tasks is not None:
            self.spawn(self._around.matrix.limit_to(self.serves))
            if rooms:
                self.spawn(self._leave_links([room.room_id for room in rooms]))

    def reload_shards(self, shards: Collection[int]) -> None:
        """Reload the rooms of these shards: another process may have written to them."""
        for room in self._rooms_of(shards):
            room.look()

    def stored_elsewhere(self, notice: PassedOn) -> None:
        """Handle another process's notice that it stored inputs for a room."""
        if self._is_ours(notice.room):
            for row in notice.inputs:
                if b'"state_key"' in row.body:
                    self._invalidate(row.body)
            self._room(notice.room).stored_elsewhere(notice)

    def _invalidate(self, body: bytes) -> None:
        """Tell encryption of a membership change at once: its room may handle it much later."""
        with suppress(msgspec.DecodeError):
            stored = load_input(body)
            if isinstance(stored, MatrixEvent):
                self._around.matrix.invalidate(stored.raw)

    def _rooms_of(self, shards: Collection[int]) -> list[Room]:
        return [room for room_id, room in self._rooms.items() if shard_of(room_id) in shards]

    def _abandon(self, left: Sequence[Room]) -> None:
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
        """Process events, once each; return the number of new ones when all are durable.

        The number may be too low: a retry may subtract a known event twice. An event that the
        database can never hold is logged and dropped, else the homeserver would resend it for ever.
        Raises StoreError if not all were stored: the homeserver must keep the transaction.
        """
        by_room: dict[RoomId, list[Came]] = {}
        # Unencrypted events open at once, and tell encryption who has left: they go first.
        first = sorted(events, key=lambda event: event[2].get("type") == "m.room.encrypted")
        opened = {event_id: await self._open(room_id, raw) for room_id, event_id, raw in first}
        upgrades = self._around.upgrades
        for room_id, event_id, raw in events:
            if self._others is not None:
                await upgrades.look(self._around.store, room_id)
            if raw.get("type") == ports.TOMBSTONE or upgrades.find(room_id) is not None:
                room_id = await self._stored_id(room_id, raw)  # noqa: PLW2901
            came = Came(MatrixEvent(raw), event_id, opened[event_id])
            by_room.setdefault(room_id, []).append(came)
        return max(0, len(events) - await self._take(by_room))

    async def _stored_id(self, room_id: RoomId, raw: Raw) -> RoomId:
        """Return the room id under which an event is stored (`Upgrades`).

        Any room may name any other as its replacement. So the inviter to the new room must be a
        customer who was in the old one, and the new room must not be served already.
        """
        upgrades, store = self._around.upgrades, self._around.store
        found = upgrades.find(room_id)
        if found is not None and found.ours and raw.get("type") != ports.TOMBSTONE:
            return found.stored_id
        try:
            meaning = self._around.matrix.interpret(raw)
            if isinstance(meaning, ports.Upgraded) and meaning.into is not None:
                await upgrades.note(store, room_id, meaning.into)
            elif isinstance(meaning, ports.Invited | ports.AgentInvited) and found is not None:
                former, new = (await store.load(found.stored_id)).room, await store.load(room_id)
                record = record_in(former, found.stored_id)
                may = self.rules(record.enterprise).serves(meaning.by)
                served = new.effects or (new.room is not None and new.room.customer)
                if people.was_member(record, meaning.by) and may and not served:
                    await upgrades.keep(store, replace(found, ours=True))
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - logged; it must not block later events
            self._log.exception("a room upgrade could not be recorded", room=room_id)
        return upgrades.stored_id(room_id)

    async def _take(self, by_room: Mapping[RoomId, Sequence[Came]]) -> int:
        """Process inputs; return how many were known, when all are durable. Raises StoreError."""
        known = 0
        failed: dict[RoomId, StoreError] = {}
        taken: dict[RoomId, Written] = {}
        elsewhere: list[NewInput] = []
        if not self._running:  # links close after the engine, and still deliver pushes
            failed = dict.fromkeys(by_room, StoreError("the engine was stopped"))
        else:
            for room_id, came in by_room.items():
                if room_id in self._erasing:
                    failed[room_id] = StoreError("the room is being erased")
                elif self._is_ours(room_id):
                    taken[room_id] = self._room(room_id).take(came)
                else:
                    elsewhere += [item.new_input(room_id) for item in came]
            if elsewhere and self._others is not None:
                try:
                    new = await self._others.pass_on(elsewhere, self._around.clock.now())
                    known = len(elsewhere) - new
                except StoreError as why:  # `_store_for_later` tries them one by one
                    failed.update((item.room_id, why) for item in elsewhere)
            for room_id, written in taken.items():
                if isinstance(answer := await written, StoreError):
                    failed[room_id] = answer
                else:
                    known += answer
        for room_id, error in failed.items():
            self._log.debug(
                "inputs not handled at once, storing them", room=room_id, why=str(error)
            )
            known += await self._store_for_later(room_id, by_room[room_id])
        return known

    async def _open(self, room_id: RoomId, raw: Raw) -> Raw | ports.Undecryptable | None:
        """Decrypt an event if its key is known: a transaction does not wait for keys.

        An event of another process's room is left to that process, for its replay detection.
        """
        sealed = raw.get("type") == "m.room.encrypted"
        if sealed and not self._is_ours(self._around.upgrades.stored_id(room_id)):
            return None
        try:
            return await self._around.matrix.open(raw, ask=False)
        except Exception:  # noqa: BLE001 - logged; its room retries, and may bury it
            self._log.exception("an event could not be decrypted at once, trying again later")
            return None

    async def _store_for_later(self, room_id: RoomId, came: Sequence[Came]) -> int:
        """Store inputs that were not handled at once, one by one; return how many are known.

        The commit may have succeeded and only its answer got lost, so the room is reloaded.
        """
        known = 0
        for item in came:
            new = item.new_input(room_id)
            answer = await self._store_one(new)
            if isinstance(answer, Unstorable) and isinstance(item.happened, model.Pushed):
                # The key holds the server's id, which may be unstorable: its hash is as unique.
                key = (item.key or "").encode("utf-8", "surrogatepass")
                new = replace(new, key=f"wc:{sha256(key).hexdigest()}")
                answer = await self._store_one(new)
            if isinstance(answer, Unstorable):
                self._log.error(
                    "an event cannot be stored and is dropped",
                    event_id=item.key,
                    room=room_id,
                    why=str(answer),
                )
                known += 1
            else:
                known += not answer
        if self._is_ours(room_id):
            self._room(room_id).look()
        return known

    async def _store_one(self, new: NewInput) -> int | Unstorable:
        """Store an input for later, for its room's owner; return 0 if it is known, or its error.

        Raises StoreError if it may be storable later.
        """
        now = self._around.clock.now()
        try:
            if self._others is not None:  # whoever owns the room at that moment
                return await self._others.pass_on([new], now)
            commit = Commit(new.room_id, now, waiting=[new])
            return len((await self._around.store.commit(commit)).waiting)
        except Unstorable as error:
            return error

    async def order(self, room_id: RoomId, order: Order, number: str = "") -> str:
        """Store a command from outside as an input, for the room's owner; return the input's key.

        An order whose number is known is not stored again.
        Raises BadOrder if it cannot be carried out, and StoreError.
        """
        store, upgrades = self._around.store, self._around.upgrades
        await upgrades.look(store, room_id)
        room_id, now = upgrades.stored_id(room_id), self._around.clock.now()
        new = await order_for(store, room_id, order, self.rules, now, number=number)
        key = new.key or ""
        await self.tell(new.room_id, order, key)
        return key

    async def tell(self, room_id: RoomId, happened: RoomInput, key: str) -> None:
        """Store an input for a room, whichever process serves it; raises StoreError."""
        await self._take({room_id: [Came(happened, key)]})

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        """Handle a typing notification, or pass it on to the room's owner."""
        room_id = self._around.upgrades.stored_id(room_id)
        if self._others is not None and not self._is_ours(room_id):
            self._others.typing(room_id, users)
        else:
            self.heard_typing(room_id, users)

    def heard_typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        """Handle a typing notification; ignore it if the room is not in memory."""
        room = self._rooms.get(room_id)
        if room is not None:
            room.typist.people_type(users)

    def key_arrived(self, room_id: RoomId | None) -> None:
        """Retry decryption in a room, or in all rooms in memory (None): a key has arrived."""
        if room_id is None:
            for room in [*self._rooms.values()]:
                room.key_arrived()
        elif self._is_ours(stored_id := self._around.upgrades.stored_id(room_id)):
            self._room(stored_id).key_arrived()

    # --- the call centre ----------------------------------------------------------------------

    async def pushed(self, room_id: RoomId, key: str, received: Received) -> None:
        """Process a push, once; StoreError means not stored, so it must not be acknowledged."""
        match received.push:
            case MessageReceived(content=AgentNotice(notice_type=NoticeType.TYPING)) as sign:
                if self._is_ours(room_id):
                    self._room(room_id).agent_types(sign.session_id, sign.agent_id)
            case push:
                numbered, now = bool(received.rs_id), self._around.clock.now()
                happened = model.Pushed(push, now, numbered=numbered)
                await self._take({room_id: [Came(happened, key)]})

    def backlog(self, room_id: RoomId) -> float:
        room = self._rooms.get(room_id)
        return 0.0 if room is None else room.backlog

    def signal(self, room_id: RoomId, happened: model.Signal) -> None:
        """Signal a room, if it is still served here."""
        if self._is_ours(room_id):
            self._room(room_id).signal(happened)

    # --- commits ------------------------------------------------------------------------------

    def commit_soon(self, room: Room, *, urgent: bool) -> None:
        """Schedule a commit of a room's draft: at once, or within `linger` seconds."""
        self._dirty[room.room_id] = room
        if self._due:
            return
        if urgent or self._stopping or not self._linger:
            self._schedule_commit()
        elif self._lingering is None:
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(self._linger, self._schedule_commit)

    def _schedule_commit(self) -> None:
        """Schedule a commit for after this turn of the event loop; one is written at a time."""
        if not self._due:
            self._due = True
            if not self._group:
                asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        """Submit the drafts of all rooms as one group; later drafts go into the next."""
        if self._group or not self._running:
            return
        self._due = False
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        commits: list[Commit] = []
        dirty, self._dirty = self._dirty, {}
        for room in dirty.values():
            try:
                commit = room.draft_commit()
            except Exception as error:  # noqa: BLE001 - logged; the room isolates the culprit
                self._log.exception("a commit could not be made", room=room.room_id)
                room.failed(Unstorable(ports.describe(error)))
                continue
            if commit is not None:
                commits.append(commit)
                self._group.append(room)
        if commits:
            self._around.store.submit(commits, self._committed)
        else:
            self._go_on()

    def _committed(self, answers: list[Answer]) -> None:
        """Tell the rooms of a group, then start the effects that have become durable.

        The waiters get their answers first, so that the homeserver prepares its next transaction
        meanwhile; but a single room's calls are written before, as nothing else waits. Nor in a
        backlog, where that transaction has messages of the same rooms, which would be held for the
        replies, at the cost of a second step: a large group is a sign of it.
        """
        if not self._running:  # `run` has failed all waiters
            return
        for room, answer in zip(self._group, answers, strict=True):
            try:
                if isinstance(answer, StoreError):
                    room.failed(answer)
                else:
                    room.committed(answer)
            except Exception:  # noqa: BLE001 - logged; the other rooms must not suffer
                self._log.exception("unexpected error after a commit", room=room.room_id)
                room.look()
        if len(self._group) == 1 or len(self._group) > LARGE_GROUP:
            self._go_on()
        else:  # in the turn after the waiters'
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._go_on)

    def _go_on(self) -> None:
        """Start the effects of the group just written, then the next commit if it is due."""
        written, self._group = self._group, []
        for room in written:
            try:
                room.go_on()
            except Exception:  # noqa: BLE001 - as above
                self._log.exception("unexpected error after a commit", room=room.room_id)
                room.look()
        if self._due:
            asyncio.get_running_loop().call_soon(self._commit)

    # --- rooms --------------------------------------------------------------------------------

    def _room(self, room_id: RoomId) -> Room:
        """Return the room's only object; a new one loads the room before it does anything."""
        room = self._rooms.get(room_id)
        if room is None:
            room = Room(room_id, self)
            if self._stopping or room_id in self._erasing:  # it is loaded after that
                room.stop()
            self._rooms[room_id] = room
        else:
            self._rooms.move_to_end(room_id)
            self._resting.pop(room_id, None)
        return room

    def enterprise(self, name: str) -> Surroundings:
        """Return the call centre of that id; `GONE` stands in for one no longer configured."""
        found = self._enterprises.get(name)
        return self._enterprises.get(GONE, self._enterprises[""]) if found is None else found

    def rules(self, enterprise: str) -> Rules:
        return self.enterprise(enterprise).rules

    async def _leave_links(self, rooms: Collection[RoomId]) -> None:
        every = {id(around): around.link for around in self._enterprises.values()}
        await asyncio.gather(*(link.leave(rooms) for link in every.values()))

    # --- erasure ------------------------------------------------------------------------------

    def erase(self, room: Room) -> None:
        """Start the erasure of a room whose chat has ended (`rooms.erasure`)."""
        if room.room_id not in self._erasing and self._tasks is not None:
            self._erasing.add(room.room_id)
            self.spawn(self._erase(room))

    async def _erase(self, room: Room) -> None:
        room_id, around = room.room_id, self.enterprise(room.record.enterprise)
        store, now = around.store, around.clock.now()
        try:
            await around.link.leave([room_id])  # pushes read from it are stored first
            waiting = (await store.load(room_id)).inputs
            if self._rooms.get(room_id) is not room:
                return  # handed over, or a new object
            if not has_ended(room.record, now, idle=not waiting):
                return  # another process stored inputs meanwhile: they come first
            record, places = room.record, places_of(room.record, around.upgrades)
            self._abandon([room])
            around.matrix.forget(places)
            known = max((row.seq for row in waiting), default=0)
            served = await erase_room(store, record, places, now, known)
            if not served:
                around.upgrades.drop(room_id)
            self._log.info("a room is erased", room=room_id, served=served)
        except StoreError as error:
            self._log.warning("a room is not erased yet", room=room_id, why=str(error))
            await around.clock.sleep(STORE_RETRY)
        finally:
            self._erasing.discard(room_id)
            woken = self._rooms.get(room_id)
            self._abandon([woken] if woken not in {None, room} else [])
            if self._is_ours(room_id):
                self._room(room_id).look()

    async def served_in(self, room_id: RoomId) -> Served | None:
        """Return who serves a Matrix room, in whichever process; None if it is not served."""
        stored_id = self._around.upgrades.stored_id(room_id)
        stored = (await self._around.store.load(stored_id)).room
        record = record_in(stored, stored_id)
        if stored is None or record.membership is not Membership.JOINED:
            return None
        return Served(record.host, stored.live) if record.matrix_id == room_id else None

    def chats(self) -> Counter[tuple[str, str, QueueId]]:
        """Count the requests and chats of the rooms served here, like `StorePort.busy`."""
        return Counter(
            (room.durable.enterprise, type(phase).__name__, phase.queue_id)
            for room in self._rooms.values()
            if isinstance(phase := room.durable.conversation.phase, model.Waiting | model.Chatting)
        )

    def spawn(self, work: Coroutine[Any, Any, None], room: Room | None = None) -> None:
        if self._tasks is None:
            work.close()
            raise RuntimeError("the engine is not running")
        contained = self._contained(work)
        try:
            task = self._tasks.create_task(contained)
        except RuntimeError:
            # The task group is ending, and the work left is in the store. An error raised here
            # would replace the cancellation that is propagating through the caller.
            contained.close()
            work.close()
            return

        def ended(task: asyncio.Task[None]) -> None:
            del self._owned[task]
            work.close()  # if the task was cancelled before it began

        self._owned[task] = room
        task.add_done_callback(ended)

    async def _contained(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - logged; the group would cancel the work of all rooms
            self._log.exception("unexpected error, a task has ended")

    def room_idle(self, room: Room) -> None:
        """Mark a room as idle; evict the least recently used beyond `KEPT_ROOMS`."""
        self._resting[room.room_id] = None
        while len(self._resting) > KEPT_ROOMS:
            room_id, _ = self._resting.popitem(last=False)
            if self._rooms[room_id].idle:
                del self._rooms[room_id]
