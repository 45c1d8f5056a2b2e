"""Room: one room at work, with its record, its waiting inputs, and its running effects.

A `Room` exists while it has work, and a little longer. Whatever happens (an event, a push, a
deadline, the outcome of an effect) becomes a *step*: the reader and the machine make a new record
and effects of it, at once and in memory. The step goes into the room's *draft*; the engine commits
the drafts of all rooms together; only then are events acknowledged and effects carried out. While
one commit is being written, further steps are made on top of it, for the next.

An input whose step would have to wait (for a key that may still come, an answer of the homeserver,
the lookup of a message) is stored as a waiting input, which a task of the room handles later
(`_handle_waiting`). Inputs are handled in order, so later ones wait behind it, even a reply of the
call centre. Only outcomes of other effects, and deadlines, are handled in between.

Each lane carries out its effects one at a time, in a task that runs while the lane has any. An
outcome is a step as well, but need not be stored at once: if the process dies first, an effect that
was attempted and has no outcome is *uncertain*, and is settled so. An outcome that only says that a
message was accepted, as nearly all do, takes no step (`visit.plain_success`): the record is not
written, and the next load of the room derives it (`visit.recovered`).

When a commit fails, or its answer is lost, everything made on top of it is discarded: the room is
*behind*, and is reloaded. Signals such as deadlines are kept. Outcomes are stored before the load,
without their steps, and what follows from them becomes a waiting input. Inputs whose commit failed
are sent again by their senders. A commit is refused if the room has changed since it was loaded, or
if a row has ended: nothing is handled twice. An input whose step the database can never hold
becomes a dead letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, Literal, Protocol

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from bridge.conversation import model
from bridge.conversation.machine import deadline, no_deadline_but_retry, wants_link
from bridge.ids import AgentId, EffectSeq, EventId, InputSeq, RoomId, SessionId, UserId, server_of
from bridge.rooms import people, references, store
from bridge.rooms.effects import EnterRoom
from bridge.rooms.erasure import has_ended
from bridge.rooms.ports import Account, describe
from bridge.rooms.reader import Reader
from bridge.rooms.receipts import Receipts, Typist
from bridge.rooms.record import EntryFailed, MatrixEvent, RoomRecord, changed_chats, kept_chats
from bridge.rooms.rules import Rules, chosen, named
from bridge.rooms.surroundings import Loops, Shut, Stopping, Surroundings, Timetable
from bridge.rooms.visit import (
    Came,
    Done,
    Draft,
    Ended,
    Visit,
    Written,
    causes,
    entries_of,
    in_turn,
    log_fields,
    peek,
    plain_success,
    record_in,
    recovered,
    remembered,
    stored_as,
    unmark_calls,
)

AGAIN = 1_000
"""Minimum ms before a Tick that changed nothing is repeated."""
ANSWERED_LATELY = 30_000
"""ms since the call centre's last answer while a call is stored as attempted from the start."""
EARLY, LOOK = 10_000, 0.05
"""Maximum ms that an input about an unknown event waits in this process; seconds between checks."""
_WEBCHAT, _DELIVERED = store.Lane.WEBCHAT, store.Outcome.DELIVERED
FEDERATED = 3.0
"""Seconds before an invitation from another server is answered. A join or refusal that comes sooner
fails if that server has not stored the invitation yet; a joined host would miss messages, too."""
MOST_UNSENT, LEAST = 1_000_000, 5_000
"""Usual maximum bytes of effects that wait for the homeserver in a room, each counted as `LEAST`
more: these are in memory."""
ANSWERED_AT_ONCE, JOINED_AT_ONCE, DECLINED_AT_ONCE = 3, 5, 2
"""Maximum invitations of another homeserver that are being answered at a time; of all others that
are being accepted, and declined. Synapse carries out ten changes of membership of an application
service at a time: those that other servers delay must not hold up agents and other customers."""
UNSTORABLE = "it holds a value that the database cannot store"
EFFECT_TRIES = 5
"""Number of failures of the bridge's own code that make an effect a dead letter."""


class LaneRunner(Protocol):
    @property
    def begin(self) -> Callable[[Room, store.EffectRow, Callable[[Done], None]], bool] | None:
        """Function that starts a marked effect, and calls back; if None or False, use `run`."""

    async def run(self, room: Room, row: store.EffectRow) -> Done:
        """Carry out one effect to its end.

        Raises StoreError if data could not be read: retry; Stopping: retry after the next start;
        Shut: retry in the room that replaces this one.
        """


class EnginePort(Protocol):
    """The `Engine`, as its rooms see it."""

    lanes: Mapping[store.Lane, LaneRunner]
    reading: asyncio.Semaphore
    shared: bool
    timetable: Timetable

    def enterprise(self, name: str) -> Surroundings: ...
    def spawn(self, work: Coroutine[Any, Any, None], room: Room | None = None) -> None: ...
    def commit_soon(self, room: Room, *, urgent: bool) -> None: ...
    def room_idle(self, room: Room) -> None: ...
    def erase(self, room: Room) -> None: ...


class Room:
    """One room in memory; the engine creates and drops it. See the module.

    `record` is the current state, `durable` the stored one. `behind`: to be reloaded. More than 30
    attributes would take 1 KB more for each room.
    """

    def __init__(self, room_id: RoomId, engine: EnginePort) -> None:
        self.room_id = room_id
        self.record = self.durable = RoomRecord(room_id)
        self.behind = True
        self.around = engine.enterprise("")
        self._engine = engine
        self._reader = Reader(room_id, self.around)
        self.served_since = self.around.clock.now()
        self.revision = 0
        self._draft = Draft()
        self._committing: Draft | None = None
        """The draft that is being written; later steps go into the next one."""
        self._signals: list[model.Signal] = []
        self._inputs: dict[InputSeq, store.InputRow] = {}
        """Waiting inputs, oldest first."""
        self._notices: list[store.PassedOn] = []
        """Notices that came while the room was read."""
        self._rows: dict[store.Lane, dict[EffectSeq, store.EffectRow]] = {
            lane: {} for lane in store.Lane
        }
        """Durable effects that are pending or being carried out."""
        self._outcomes: dict[EffectSeq, Ended] = {}
        """Outcomes that the store may not have yet."""
        self._unsent: tuple[tuple[int | None, bool], ...] = ()
        """Calls (id, whether a repeat) of failed commits: they were certainly not sent."""
        self._lately: tuple[str, ...] = ()
        """Keys of the latest inputs that were handled at once."""
        self._busy: Literal["", "loading", "stepping"] = ""
        """Work during which nothing else may change the record: reading the room (outcomes are
        processed after that), or a step of a waiting input or signals; empty if there is none."""
        self._deadline: int | None = None
        """Deadline of the newest record stored or being written, ms since the epoch."""
        self._linked: Account | UnsetType | None = UNSET
        """Last order to the link: the account for which it is wanted, or None; UNSET before any."""
        self._poisonous: InputSeq | None = None
        """The input whose step is unstorable, to be made a dead letter."""
        self._answered = 0
        """When the call centre last accepted a call, ms since the epoch."""
        self._shut: RoomId | None = None
        """Matrix room that refuses the bridge's events while it is being replaced."""
        spawn, sleep = partial(engine.spawn, room=self), self.around.clock.sleep
        self._loops = Loops(spawn, sleep, self.go_on, self._reader.log)
        self._receipts = Receipts(self)
        self.typist = Typist(self, self._loops.start)

    # --- what happens to it -------------------------------------------------------------------

    def take(self, came: Sequence[Came]) -> Written:
        """Process inputs in order, each at once if possible; the future ends with the commit."""
        written: Written = asyncio.get_running_loop().create_future()
        self._draft.waiters += (written,)
        if self._engine.shared and any(isinstance(item.happened, MatrixEvent) for item in came):
            self._draft.exact = True
        handled = 0
        if came and self._free and not (self._loops.stopping or self._waits):
            handled = self._handle_now(came)
        if handled < len(came):
            self._draft.waiting += tuple(item.new_input(self.room_id) for item in came[handled:])
        self._engine.commit_soon(self, urgent=True)
        return written

    def signal(self, happened: model.Signal) -> None:
        self._signals = remembered(self._signals, happened)
        self.go_on()

    def look(self) -> None:
        """Reload the room: the store may hold work for it that was not announced."""
        self.behind = True
        self.go_on()

    def stored_elsewhere(self, notice: store.PassedOn) -> None:
        """Take over inputs that another process has stored, or reload if others may be missing.

        Events that arrived here and are still to be written may be later ones: reload then, too.
        """
        if self._busy == "loading":  # perhaps it is read with these
            self._notices.append(notice)
            return
        new = notice.revision // store.PASSED - self.revision // store.PASSED
        if new == 1 and notice.inputs and not (self.behind or self._draft.exact):
            self.revision += store.PASSED
            self._inputs = in_turn(self._inputs, notice.inputs)
            self.go_on()
        elif new > 0:
            self.look()

    def key_arrived(self) -> None:
        """Retry the decryption of sealed events: a key has arrived."""
        if self.behind or self.record.sealed:
            self.signal(model.Tick())

    def agent_types(self, session_id: SessionId, agent_id: AgentId) -> None:
        """Show an agent as typing; a room that has to load first shows only the next notice."""
        if self.behind:
            self.look()
        else:
            self.typist.agent_types(session_id, agent_id)

    def stop(self) -> None:
        self._loops.stop()

    @property
    def at_work(self) -> bool:
        """True while work is running, in a loop or without one."""
        return bool(self._loops.running)

    def finish(self) -> bool:
        """True once a stopped room has nothing running and nothing to write.

        A stopped room that is behind is not read again: its outcomes are stored alone.
        """
        if self.behind and self._committing is None and self._outcomes:
            self._loops.start("outcomes", self._store_outcomes)
        under_way = self._loops.running or self._committing or self._outcomes
        return not under_way and self._draft.empty

    def abandon(self) -> None:
        """Drop the room at once; who waits for its commits gets NotOwned."""
        self._loops.abandon()
        drafts, self._draft, self._committing = self._drafts, Draft(), None
        for draft in drafts:
            draft.tell(store.NotOwned("the room is now served by another process"))

    # --- what the lanes ask of it -------------------------------------------------------------

    @property
    def account(self) -> Account:
        record, phase = self.record, self.record.conversation.phase
        name = record.displayname or record.customer
        running = isinstance(phase, model.Queued | model.Chatting)
        return Account(self.room_id, record.customer, name, record.login, record.key, running)

    def rows(self, lane: store.Lane) -> Iterable[store.EffectRow]:
        """Return the unfinished effects of a lane, oldest first."""
        return self._rows[lane].values()

    async def anchor(self, name: str) -> EventId | None:
        """Return the Matrix event that an effect anchored under a name; raises StoreError."""
        for ended in reversed(self._outcomes.values()):
            if ended.settlement.anchor == name and ended.settlement.event_id is not None:
                return ended.settlement.event_id
        return await self.around.store.anchor(self.room_id, name)

    async def written(self) -> None:
        """Wait until everything so far is durable; raises the StoreError if that fails."""
        if isinstance(answer := await self.take(()), store.StoreError):
            raise answer

    async def pause(self, seconds: float) -> None:
        await self._loops.pause(seconds)

    @asynccontextmanager
    async def answering(
        self, inviter: UserId, invited: UserId, *, joins: bool = False
    ) -> AsyncIterator[None]:
        """Context in which an invitation is answered: once the inviter's homeserver has stored it
        (`FEDERATED`), and few at a time of other homeservers, which may be slow on purpose.
        """
        server = server_of(inviter)
        if server == server_of(invited):
            yield
            return
        await self.pause(FEDERATED)
        kind, most = ("to join", JOINED_AT_ONCE) if joins else ("to decline", DECLINED_AT_ONCE)
        async with self.around.places(server, ANSWERED_AT_ONCE), self.around.places(kind, most):
            yield

    @property
    def backlog(self) -> float:
        """Effects that wait for the homeserver, in parts of `MOST_UNSENT`."""
        waiting = self._rows[store.Lane.MATRIX]
        return sum(len(row.effect) + LEAST for row in waiting.values()) / MOST_UNSENT

    @property
    def idle(self) -> bool:
        return not (
            self._loops.running
            or self._waits
            or self._signals
            or self._committing
            or any(self._rows.values())
            or not self._draft.empty
        )

    # --- steps ----------------------------------------------------------------------------------

    @property
    def _free(self) -> bool:
        return not (self.behind or self._busy)

    @property
    def _drafts(self) -> list[Draft]:
        """Drafts that are not durable yet, oldest first."""
        return [self._draft] if self._committing is None else [self._committing, self._draft]

    @property
    def _under_way(self) -> bool:
        """True while any effect is unfinished, stored or not."""
        drafts = (entry.effect for draft in self._drafts for entry in draft.entries)
        return any(self._rows.values()) or any(effect is not None for effect in drafts)

    @property
    def _waits(self) -> bool:
        """True if inputs are waiting: new ones wait behind them."""
        coming = self._committing
        return bool(self._inputs or self._draft.waiting or (coming and coming.waiting))

    def _move_to(self, enterprise: str) -> None:
        """Switch to this enterprise, and close the link to the former one."""
        former, self.around = self.around, self._engine.enterprise(enterprise)
        if self.around is not former:
            if self._linked is not UNSET:
                self._engine.spawn(former.link.leave([self.room_id]))
            self._linked, self._reader.around = UNSET, self.around

    def _visit(self) -> Visit:
        record, rules, now = self.record, self.around.rules, self.around.clock.now()
        under_way = bool(rules.enterprise) and self._under_way
        if record.settings.enterprise is not None and not under_way:
            record, rules = chosen(record, rules, now)
        return Visit(record, rules, now, under_way=under_way)

    def _handle_now(self, came: Sequence[Came]) -> int:
        """Process inputs at once, up to the first that cannot be; return their number."""
        visit, handled = self._visit(), 0
        made: list[store.Entry] = []
        for item in came:
            mark = visit.mark()
            # A recent duplicate is left to the store, which drops it by its key.
            if item.key in self._lately or not self._reader.handle_now(visit, item):
                visit.undo(mark)
                break
            made += entries_of(visit.effects[mark[1] :], item.new_input(self.room_id))
            self.around.measures.handling.observe(0)
            self._lately = (*self._lately[-7:], item.key or "")
            handled += 1
        if handled:
            self._adopt(visit, made)
        return handled

    def _adopt(self, visit: Visit, entries: Iterable[store.Entry]) -> None:
        """Make the result of a visit the state of the room, and part of the next commit."""
        old, record, draft = self.record, visit.record, self._draft
        if record.enterprise is not old.enterprise:
            self._move_to(record.enterprise)
        if record.chats is not old.chats:
            draft.chats += tuple(changed_chats(old.chats, record.chats))
            if len(record.chats) > 1:
                record = replace(record, chats=kept_chats(record.chats))
        if type(old.conversation.phase) is not type(record.conversation.phase):
            draft.phases += ((old, record, visit.now),)
        self.record = draft.record = record
        draft.changes += tuple(visit.changes)
        draft.save = True
        draft.entries += tuple(entries)

    # --- inputs that waited -------------------------------------------------------------------

    async def _handle_waiting(self) -> bool:
        """Load the room if needed, else make one step; False if there is nothing to do."""
        if self.behind:
            await self._load()
        elif self._signals:
            signals, self._signals = self._signals, []
            stored = False
            try:
                stored = await self._step(None, signals)
            finally:
                self._signals[:0] = [] if stored else signals
        elif not self._inputs:
            return False
        else:
            row = next(iter(self._inputs.values()))
            if await self._is_early(row):
                await self.pause(LOOK)
            elif self._free:  # still
                await self._step(row)
        return True

    async def _step(self, row: store.InputRow | None, signals: Sequence[model.Signal] = ()) -> bool:
        """Make a step of an input, or of signals, and store it; False if it was discarded."""
        self._busy = "stepping"
        with ExitStack() as locks:
            try:
                visit = self._visit()
                visit.locks = locks
                if row is None:
                    await self._apply_signals(visit, signals)
                elif row.seq == self._poisonous:
                    self._reader.bury(visit, row, UNSTORABLE)
                else:
                    await self._reader.handle(visit, row)
            finally:
                self._busy = ""
            if self.behind:  # the visit was perhaps made from a commit that failed
                return False
            if row is not None and self._reader.is_redacted(visit, row, self._inputs.values()):
                visit = self._visit()  # what was made of it is dropped; the redaction follows
            if not self._adopt_waiting(visit, row):
                return True
            # Under the inviter's lock, so that the next invitation counts this one.
            try:
                await self.written()
            except store.Unstorable:
                if row is None:
                    error = "the result of a deadline cannot be stored; it is skipped"
                    self._reader.log.error(error)
                else:
                    self._reader.log.error("the result of an input cannot be stored", seq=row.seq)
                    self._poisonous = row.seq
        return True

    async def _is_early(self, row: store.InputRow) -> bool:
        """True if an input may be about an event being sent, which is not in the journal yet."""
        sent = bool(self._rows[store.Lane.MATRIX] or self._outcomes)
        waited = self.around.clock.now() - max(row.received, self.served_since)
        early = sent and abs(waited) < EARLY  # clocks go back too
        return early and await references.is_about_unknown(self.around, self.record, row.body)

    async def _apply_signals(self, visit: Visit, signals: Sequence[model.Signal]) -> None:
        for signal in signals:
            visit.step(signal)
        people.passed(visit)
        if self.record.sealed:
            await self._reader.try_again(visit)
        under_way = (row for lane in store.Lane for row in self.rows(lane))
        await references.erase_more(self.around, visit, causes(under_way, self._drafts))

    def _adopt_waiting(self, visit: Visit, row: store.InputRow | None) -> bool:
        """Adopt the result of a waiting input or of signals; False if nothing changed."""
        if row is None and not visit.effects and visit.record == self.record:
            self._announce(next_moment(self.durable, self.around.rules), visit.now + AGAIN)
            return False
        self._adopt(visit, entries_of(visit.effects))
        self._draft.buried += tuple(visit.buried)
        if row is not None:
            self._draft.handled += () if visit.buried else (row.seq,)
            self._inputs.pop(row.seq, None)
            self.around.measures.handling.observe(max(0, visit.now - row.received) / 1000)
        return True

    # --- effects ----------------------------------------------------------------------------

    async def _carry_out(self, lane: store.Lane) -> bool:
        """Carry out the lane's first effect; False if there is no other.

        An effect at which the bridge's code keeps failing becomes a dead letter, so as not to block
        the rest. One that raises StoreError or Stopping has no outcome yet.
        """
        row = self._first(lane)
        if row is None or not self._may_begin(row):
            return False
        try:
            done = await self._engine.lanes[lane].run(self, row)
        except (store.StoreError, Stopping):
            raise
        except Shut:
            self._shut = self.record.matrix_id
            return self._first(lane) is not None
        except Exception as error:
            if self._loops.failures.get(lane, 0) + 1 < EFFECT_TRIES:
                raise
            why, about = describe(error), log_fields(self.record, row)
            if isinstance(peek(row), EnterRoom):  # the room waits for its outcome
                self._reader.log.exception("a room cannot be entered", **about)
                failed = Came(EntryFailed(why))
                done = Done(came=(failed,), outcome=store.Outcome.REFUSED, detail=why)
            else:
                self._reader.log.exception("an effect is a dead letter now", **about)
                done = Done(outcome=store.Outcome.DEAD, detail=why)
        self._effect_ended(row, done)
        return bool(self._rows[lane])

    def _first(self, lane: store.Lane) -> store.EffectRow | None:
        """Return a lane's next effect; the Matrix lane only enters rooms during an upgrade."""
        upgrade, rows = self.record.upgrade, iter(self._rows[lane].values())
        shut = upgrade is not None and (upgrade.into or self._shut == self.record.matrix_id)
        if shut and lane is store.Lane.MATRIX:
            rows = (row for row in rows if isinstance(peek(row), EnterRoom))
        return next(rows, None)

    def _begin(self, row: store.EffectRow) -> bool:
        """Start an effect without a task; False if it needs one."""
        begin = self._engine.lanes[row.lane].begin
        if begin is None:
            return False
        self._loops.running.add(row.lane)
        try:
            if begin(self, row, partial(self._on_done, row)):
                return True
        except Exception:  # `run` handles the failure
            self._reader.log.exception(
                "unexpected error, taking the slow path", **log_fields(self.record, row)
            )
        self._loops.running.discard(row.lane)
        return False

    def _on_done(self, row: store.EffectRow, done: Done) -> None:
        """Callback with the outcome of an effect that was started without a task."""
        self._loops.running.discard(row.lane)
        if self._loops.abandoned:
            return
        try:
            self._effect_ended(row, done)
        except Exception:  # the outcome is kept
            self._reader.log.exception(
                "an outcome could not be handled", **log_fields(self.record, row)
            )
            self.behind = True
        if self.behind or self._rows[row.lane]:  # else nothing can go on before the commit
            self.go_on()

    def _effect_ended(self, row: store.EffectRow, done: Done) -> None:
        """Keep an outcome until it is stored, and process it; after the load, if one is due."""
        now, lane = self.around.clock.now(), row.lane
        replied = done.came and isinstance(done.came[0].happened, model.Replied)
        if replied and done.outcome is _DELIVERED:
            self._answered = now
        settlement = store.Settlement(
            row.seq, done.outcome, now, done.detail, done.event_id, done.anchor
        )
        self._rows[lane].pop(row.seq, None)
        ended = self._outcomes[row.seq] = Ended(row, settlement, done.came)
        if not (self.behind or self._busy == "loading"):
            self._process_outcome(ended)

    def _process_outcome(self, ended: Ended) -> None:
        """Process an outcome, or store its inputs as waiting ones."""
        draft = self._draft
        draft.ended += (ended,)
        if self._free and (after := plain_success(self.record, self.around.rules, ended.came)):
            self.record = draft.record = after
        elif ended.came:
            overtakes = ended.row.lane is _WEBCHAT and self._waits  # a reply would overtake a push
            visit, at_once = self._visit(), self._free and not overtakes
            for item in ended.came:
                # Only the store knows whether an input with a key is new.
                at_once = at_once and item.key is None and self._reader.handle_now(visit, item)
            if at_once:
                self._adopt(visit, entries_of(visit.effects))
            else:
                draft.waiting += tuple(item.new_input(self.room_id) for item in ended.came)
        self._engine.commit_soon(self, urgent=bool(draft.entries or draft.waiting))

    def _may_begin(self, row: store.EffectRow) -> bool:
        """False for a new effect while outcomes cannot be stored; a marked one must go out."""
        unread = self.behind or self._busy == "loading"
        return row.marked or not (self._loops.stopping or (unread and self._outcomes))

    # --- commits ----------------------------------------------------------------------------

    def draft_commit(self) -> store.Commit | None:
        """Return the next commit, None if it is empty; `committed` or `failed` must follow."""
        draft, room = self._draft, None
        # A room that is read stores events that arrived here once it knows those before them.
        loading = self._busy == "loading"
        if self._committing is not None or draft.empty or (draft.exact and loading):
            return None
        self._draft, self._committing = Draft(), draft
        if draft.exact and not self.behind:
            draft.record, draft.save = self.record, True
        if (record := draft.record) is not None and draft.save:
            self._deadline = next_moment(record, self.around.rules)
            room = stored_as(record, self.revision, self._deadline)
        now = self.around.clock.now()
        if draft.entries:
            lately = now - self._answered <= ANSWERED_LATELY
            free = not (self._loops.stopping or self._rows[_WEBCHAT])
            draft.entries = tuple(unmark_calls(draft.entries, at_once=lately and free))
        return store.Commit(
            self.room_id,
            now,
            room,
            draft.entries,
            draft.waiting,
            draft.handled,
            draft.buried,
            [ended.settlement for ended in draft.ended],
            draft.chat_rows() if draft.chats else [],
            draft.changes,
            clear=not self.record.encrypted,
            exact=draft.exact,
        )

    def committed(self, answer: store.Committed) -> None:
        """Callback of a durable commit; `go_on` must follow."""
        draft, self._committing = self._committing or Draft(), None  # none if abandoned meanwhile
        if draft.record is not None:
            self.revision += draft.save
            self.durable = draft.record
        for row in answer.effects:
            self._rows[row.lane][row.seq] = row
            if self._unsent:
                sent = row.call_id, row.repeat
                self._unsent = tuple(other for other in self._unsent if other != sent)
        if answer.waiting:
            self._inputs = in_turn(self._inputs, answer.waiting)
        for ended in draft.ended:
            self._outcome_stored(ended)
        known = len(draft.waiting) - len(answer.waiting)
        if known:
            # Known already; or stored by an attempt whose answer was lost, and not loaded yet.
            waiting = {row.key for row in self._inputs.values()}
            self.behind = self.behind or any(row.key not in waiting for row in draft.waiting)
        draft.tell(known)
        for was, chat in draft.chats:
            self.around.measures.chat_went_on(was, chat)
        for before, after, now in draft.phases:
            self._note_phase(before, after, now)
        if draft.save:  # else as before: deadline and link
            self._announce(self._deadline)

    def _note_phase(self, before: RoomRecord, after: RoomRecord, now: int) -> None:
        """Log a conversation's new phase, count it and update the waiting times."""
        old, new = (type(record.conversation.phase).__name__ for record in (before, after))
        self.around.waits.note(before.conversation, after.conversation, now)
        self._reader.log.info("phase", before=old, after=new, **log_fields(after))
        self.around.measures.phase_entered(new)

    def failed(self, error: store.StoreError) -> None:
        """Callback of a failed commit: discard it, and everything made on top of it."""
        drafts, self._draft, self._committing = self._drafts, Draft(), None
        self.behind = True
        for draft in drafts:
            effects = [entry.effect for entry in draft.entries if entry.effect is not None]
            self._unsent += tuple((call.call_id, call.repeat) for call in effects if call.marked)
            draft.tell(error)
        self.go_on()

    def _outcome_stored(self, ended: Ended) -> None:
        row, settlement = ended.row, ended.settlement
        self._outcomes.pop(row.seq, None)
        age = max(0, settlement.now - row.created) / 1000  # the clock may have been set back
        self.around.measures.delivery(row.lane, settlement.outcome).observe(age)

    async def _load(self) -> None:
        """Load the room, once nothing made before is still to be written.

        If that fails (StoreError, or ValueError for the record), the room is still behind.
        """
        while self._committing is not None or self._draft.record is not None or self._draft.ended:
            with suppress(store.StoreError):
                await self.written()
        # From here on, new inputs wait, and so do outcomes until the room is loaded.
        self._busy, self.behind, self._inputs = "loading", False, {}
        try:
            await self._store_outcomes()
            async with self._engine.reading:
                loaded = await self.around.store.load(self.room_id)
            # Without a row, perhaps since an erasure while the database was away, it starts anew.
            self.revision = 0 if loaded.room is None else loaded.room.revision
            stored = record_in(loaded.room, self.room_id)
            self._move_to(stored.enterprise)
            stored = named(stored, self.around.rules)
            self.record = self.durable = recovered(stored, loaded)
            found = {row.seq: row for row in loaded.inputs} | self._inputs
            self._inputs = in_turn({}, found.values())
            rows = [row for row in loaded.effects if row.seq not in self._outcomes]
            for lane in store.Lane:
                self._rows[lane] = {
                    row.seq: self._as_unattempted(row) for row in rows if row.lane is lane
                }
        except BaseException:
            self.behind = True
            raise
        finally:
            self._busy = ""
            if self._draft.exact:
                self._engine.commit_soon(self, urgent=True)
        if not self.behind:
            for ended in [*self._outcomes.values()]:
                self._process_outcome(ended)
        notices, self._notices = self._notices, []
        for notice in notices:
            self.stored_elsewhere(notice)
        self._announce(next_moment(self.durable, self.around.rules))

    def _as_unattempted(self, row: store.EffectRow) -> store.EffectRow:
        """Return the row as not attempted, if its call was certainly not sent."""
        if row.attempts != 1 or (row.call_id, row.repeat) not in self._unsent:
            return row
        return replace(row, attempted=None, attempts=0, marked=True)

    async def _store_outcomes(self) -> bool:
        """Store the outcomes of discarded commits without a step, their inputs as waiting ones.

        An effect with an unstorable one becomes a dead letter, and only its inputs without a key
        stay. One that is stale was stored by an attempt whose answer got lost.
        """
        write, now = self.around.store.commit, self.around.clock.now()
        for ended in [*self._outcomes.values()]:
            came = [item.new_input(self.room_id) for item in ended.came]
            commit = store.Commit(self.room_id, now, waiting=came, settled=[ended.settlement])
            with suppress(store.Stale):
                try:
                    await write(commit)
                except store.Unstorable:
                    seq, then = ended.row.seq, ended.settlement.now
                    self._reader.log.error("an outcome cannot be stored as it is", seq=seq)
                    came = [item for item in came if item.key is None]
                    bare = store.Settlement(seq, store.Outcome.DEAD, then, UNSTORABLE)
                    await write(replace(commit, waiting=came, settled=[bare]))
            self._outcome_stored(ended)
        return False

    def _announce(self, due: int | None, not_before: int = 0) -> None:
        """Schedule the next deadline; keep or release the link, if that or its account changed."""
        account = self.account if wants_link(self.durable.conversation) else None
        if account != self._linked:
            if account is not None:
                self.around.link.keep(account)
            else:
                self.around.link.release(self.room_id)
            self._linked = account
        if due is not None:
            self._engine.timetable.add(self.room_id, max(due, not_before))

    # --- loops: each repeats one thing while there is something to do ---------------------------

    def go_on(self) -> None:
        """Start every loop that has work and is not running; rest if the room is idle."""
        if self._loops.abandoned:
            return
        running, stopping = self._loops.running, self._loops.stopping
        if not stopping:
            if self.behind or self._signals or self._inputs:
                self._loops.start("inputs", self._handle_waiting)
            if "receipts" not in running and self._receipts.due:
                self._loops.start("receipts", self._receipts.once)
        for lane, rows in self._rows.items():
            if rows and lane not in running and (row := self._first(lane)) is not None:
                # A stop waits for tasks, and for effects that were started before it.
                at_once = row.marked and not stopping
                if self._may_begin(row) and not (at_once and self._begin(row)):
                    self._loops.start(lane, partial(self._carry_out, lane))
        idle = not wants_link(self.record.conversation) and self.idle
        if idle:
            self._engine.room_idle(self)  # a room with a chat is never evicted
        if self.record.gone_at is not None and not self.behind:
            now, since = self.around.clock.now(), self.served_since
            leaving = bool(self._rows[store.Lane.MATRIX])
            if has_ended(self.durable, now, idle=idle, leaving=leaving, since=since):
                self._engine.erase(self)


def next_moment(record: RoomRecord, rules: Rules) -> int | None:
    """Return the next deadline of a room, when it needs a Tick; ms since the epoch."""
    state = record.conversation
    first = state.retry_at
    if not no_deadline_but_retry(state):
        first = deadline(state, rules.policy_for(record))
    timed = record.empty_since is not None or record.greet_at is not None or record.upgrade
    if not (record.sealed or record.erasing or timed or record.gone_at is not None):
        return first
    others = references.sealed_due(record), references.erasing_due(record), people.due(record)
    return min((moment for moment in (first, *others) if moment is not None), default=None)
