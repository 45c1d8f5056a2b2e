"""The reader of a room: opens an input, finds out what it means, and lets it happen to a visit.

Most inputs need nothing but the room's record (`now`); some have to wait for a key, the homeserver
or the store (`handle`). A poisonous input (one that makes our own code fail) goes to the dead
letters, its sender is told, and the rest goes on: it never blocks what comes after it.
"""

from __future__ import annotations

import msgspec
import structlog

from bridge.config.model import Permission
from bridge.ids import EventId, RoomId, UserId
from bridge.rooms import cards, commands, people, recalling, references, surroundings
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.recalling import original, recall
from bridge.rooms.reception import (
    Facts,
    Standing,
    brings_config,
    entered,
    entry_failed,
    needs_standing,
    read_command,
    receive,
)
from bridge.rooms.record import (
    CardPosted,
    Entered,
    EntryFailed,
    Invited,
    LoginTried,
    LookedUp,
    MatrixEvent,
    Meaning,
    Membership,
    PartPosted,
    RobotAnswered,
    Stored,
    Undecryptable,
    Unreadable,
    Withdrew,
    load_input,
)
from bridge.rooms.references import Earlier, refers_to
from bridge.rooms.store import InputRow, StoreError, Unstorable
from bridge.rooms.surroundings import InvitationLock, Surroundings
from bridge.rooms.visit import Came, Visit

ADMIN_LEVEL = 50
"""Power level from which on a person may configure the room (contract)."""
STANDING_TRIES = 3
"""How often the homeserver is asked for a level, a second or two apart."""


class Reader:
    """Lets inputs happen to a visit; whoever made the visit commits it.

    Attributes:
        turn: to be entered with each slow step; taken by an invitation.
    """

    def __init__(self, room_id: RoomId, around: Surroundings) -> None:
        self._room_id = room_id
        self._around = around
        self.turn = InvitationLock(around.inviting)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms").bind(
            room=room_id
        )

    def now(self, visit: Visit, came: Came) -> bool:
        """Let one input happen, if nothing has to be waited for.

        Returns:
            False if something has to be, or our own code failed: the visit is worth nothing then,
            unless the caller undoes what was added.
        """
        try:
            return self._happens_now(visit, came)
        except Exception:  # noqa: BLE001 - logged whole; `handle` finds out whose fault it is
            self._log.exception("unexpected error, going the longer way")
            return False

    def _happens_now(self, visit: Visit, came: Came) -> bool:
        self._put_out(visit)
        match came.happened:
            case MatrixEvent(raw=raw):
                return self._event_now(visit, raw, came.opened)
            case Entered():
                return False
            case happened:
                self._simple(visit, happened)
                return True

    def _event_now(
        self,
        visit: Visit,
        raw: dict[str, object],
        opened: dict[str, object] | Undecryptable | None,
    ) -> bool:
        """Let an event happen that is open and about nothing else."""
        if visit.record.membership is not Membership.JOINED:
            opened = raw  # as it came: it is parked if we are entering, else none of our business
        if opened is None or isinstance(opened, Undecryptable):
            return False
        meaning = self._around.matrix.interpret(opened)
        if isinstance(meaning, (Invited, Withdrew)):
            return False
        command = read_command(visit, meaning)
        if needs_standing(visit, meaning, command) is not None:
            return False
        if refers_to(visit.record, meaning):
            return False
        facts = Facts(encrypted=opened is not raw)
        receive(visit, meaning, opened, visit.now, facts, command=command)
        return not visit.take_again()

    async def handle(self, visit: Visit, row: InputRow, *, may_wait: bool = True) -> bool:
        """Let one input that is stored happen.

        Args:
            visit: what happened so far, and what this adds.
            row: the input.
            may_wait: False if what happened so far must not wait for this.

        Returns:
            False if it would have to wait and may not: nothing happened.

        Raises:
            StoreError: the database did not answer; the visit is worth nothing then.
        """
        mark = visit.mark()
        try:
            return await self._let_happen(visit, load_input(row.body), row, may_wait=may_wait)
        except Unstorable as error:  # something in it that no database can even be asked about
            self._log.error("an input could not be handled", seq=row.seq, why=str(error))
            visit.undo(mark)
            self.bury(visit, row, type(error).__name__)
            return True
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - logged whole and kept as a dead letter
            self._log.exception("an input could not be handled", seq=row.seq)
            visit.undo(mark)
            self.bury(visit, row, type(error).__name__)
            return True

    async def _let_happen(
        self, visit: Visit, stored: Stored, row: InputRow, *, may_wait: bool
    ) -> bool:
        """As `handle`, of an input that is read, and whose failures are the caller's."""
        self._put_out(visit)
        match stored:
            case MatrixEvent():
                return await self._event(visit, stored.raw, row.received, may_wait=may_wait)
            case Entered():
                await self._entered(visit, stored, row)
            case _:
                self._simple(visit, stored)
        return True

    def _put_out(self, visit: Visit) -> None:
        """Leave a room whose host account is somebody else's: they read it and speak in it."""
        joined = visit.record.membership is Membership.JOINED
        if joined and not self._around.matrix.serves(visit.record.host):
            people.put_out(visit)

    @staticmethod
    def _simple(visit: Visit, stored: Stored) -> None:
        """Let something happen that needs nothing but the record."""
        match stored:
            case EntryFailed():
                entry_failed(visit, stored)
            case CardPosted():
                cards.remember(visit, stored.card, stored.signs)
            case PartPosted():
                pass  # the ledger has it
            case RobotAnswered():
                cards.robot_answered(visit, stored)
            case LookedUp():
                visit.say(stored.key, stored.args, reply_to=stored.event_id)
            case LoginTried():
                commands.login_tried(visit, stored)
            case MatrixEvent() | Entered():
                raise TypeError(f"{type(stored).__name__} is not simple")
            case _:
                visit.step(stored)

    def bury(self, visit: Visit, row: InputRow, why: str) -> None:
        """Make a dead letter of an input, and tell its sender."""
        visit.buried.append((row.seq, why))
        self._tell(visit, row.key)

    async def try_again(self, visit: Visit) -> None:
        """Look whether events that could not be read can be now.

        Raises:
            StoreError: the database did not answer.
        """
        opened = []
        for event in visit.record.sealed:
            raw = await self._around.matrix.open(event.raw)
            if not isinstance(raw, Undecryptable):
                opened.append(event)
                await self._contained(visit, raw, visit.now, encrypted=True)
        references.sort_out_sealed(visit, opened)

    async def _entered(self, visit: Visit, entry: Entered, row: InputRow) -> None:
        """What was said before we came in is handled now, each event by itself."""
        facts = Facts()
        if brings_config(visit, entry):
            facts = Facts(standing=await self._standing(visit, entry.configured_by))
        for raw in entered(visit, entry, facts):
            await self._contained(visit, raw, row.received)

    async def _contained(
        self, visit: Visit, raw: dict[str, object], received: int, *, encrypted: bool = False
    ) -> None:
        """Let an event happen that is no row of its own."""
        mark = visit.mark()
        try:
            await self._event(visit, raw, received, may_wait=True, encrypted=encrypted)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - logged whole, and its sender is told
            event_id = raw.get("event_id")
            self._log.exception("an event could not be handled", event_id=event_id)
            visit.undo(mark)
            self._tell(visit, event_id if isinstance(event_id, str) else None)

    @staticmethod
    def _tell(visit: Visit, key: str | None) -> None:
        if key is not None and key.startswith("$"):
            visit.report(EventId(key), "undelivered.internal")

    async def _event(
        self,
        visit: Visit,
        raw: dict[str, object],
        received: int,
        *,
        may_wait: bool,
        encrypted: bool = False,
    ) -> bool:
        """Open an event and let it happen; False if it would have to wait, and may not.

        `encrypted`: it was, and is open already.
        """
        # A transaction of the homeserver may wait for this, and with it all other rooms.
        opened = await self._around.matrix.open(raw, ask=False)
        if visit.record.membership is not Membership.JOINED:
            # As it came: it is parked if we are entering, and else none of our business.
            opened = raw
        elif isinstance(opened, Undecryptable) and opened.later:
            if not may_wait:
                return False
            patience = references.key_patience(received, self._around.clock.now())
            opened = await self._around.matrix.open(raw, patience)
            visit.now = self._around.clock.now()
        if isinstance(opened, Undecryptable):
            self._sealed(visit, raw, opened, received)
            return True
        encrypted = encrypted or opened is not raw
        return await self._readable(visit, opened, received, may_wait=may_wait, encrypted=encrypted)

    def _sealed(
        self, visit: Visit, raw: dict[str, object], why: Undecryptable, received: int
    ) -> None:
        """Tell its sender that an event cannot be read, and keep it if its key may still come."""
        meaning = self._around.matrix.interpret(raw)
        if not isinstance(meaning, Unreadable):
            return
        meaning = Unreadable(meaning.event_id, meaning.sender, why.key)
        receive(visit, meaning, raw, received, Facts(), command=None)
        if why.later:
            references.keep_sealed(visit, raw)

    async def _readable(
        self,
        visit: Visit,
        raw: dict[str, object],
        received: int,
        *,
        may_wait: bool,
        encrypted: bool,
    ) -> bool:
        """Let an open event happen; False if something has to be waited for, and may not be."""
        meaning = self._around.matrix.interpret(raw)
        facts = Facts(encrypted=encrypted)
        command = read_command(visit, meaning)
        person = needs_standing(visit, meaning, command)
        if person is not None:
            if not may_wait:
                return False
            standing = await self._standing(visit, person)
            facts = msgspec.structs.replace(facts, standing=standing)
        if isinstance(meaning, Invited):
            if not may_wait:
                return False
            await self._invited(visit, meaning, raw, received)
            return True
        facts = msgspec.structs.replace(facts, earlier=await self._earlier(visit, meaning))
        before = visit.record
        receive(visit, meaning, raw, received, facts, command=command)
        wanted = visit.take_again()
        for event_id in wanted:
            await self._send_again(visit, event_id, last=event_id == wanted[-1])
        if isinstance(meaning, Withdrew):
            await recalling.erase(self._around, visit, before, meaning.target)
        return True

    async def _invited(
        self, visit: Visit, invited: Invited, raw: dict[str, object], received: int
    ) -> None:
        """Let an invitation happen; those by one person take turns, and count each other."""
        store, before = self._around.store, visit.record
        await self.turn.take(invited.by)
        rooms = await store.rooms_of(invited.by)
        begun = await surroundings.rooms_begun(store, invited.by, visit.now)
        others = () if self._room_id in begun else tuple(begun.values())
        facts = Facts(rooms_of_inviter=rooms, rooms_begun=others)
        receive(visit, invited, raw, received, facts, command=None)
        after = visit.record
        if after != before and after.membership is Membership.ENTERING and not after.refusal:
            await surroundings.note_room_begun(store, invited.by, begun, self._room_id, visit.now)

    async def _send_again(self, visit: Visit, event_id: EventId, *, last: bool) -> None:
        found, earlier = await original(self._around, self._room_id, event_id), None
        if found is not None and not isinstance(found, Undecryptable):
            earlier = await self._earlier(visit, found)
        references.resend(visit, event_id, found, earlier, last=last)

    async def _earlier(self, visit: Visit, meaning: Meaning) -> Earlier | None:
        """The message that this one is about; None if nobody knows it, or it was taken back."""
        about = refers_to(visit.record, meaning)
        if about is None or about in visit.record.erasing:
            return None
        return await recall(self._around, self._room_id, about)

    async def _standing(self, visit: Visit, person: UserId) -> Standing:
        """May this person configure the room? Asked anew each time: it is rare, and may change."""
        if self._around.rules.permission(person) >= Permission.ADMIN:
            return Standing.ADMIN
        for attempt in range(STANDING_TRIES):
            try:
                level = await self._around.matrix.power_level(
                    self._room_id, visit.record.host, person
                )
            except Unavailable:
                await self._around.clock.sleep(attempt + 1)
            except Refused:
                return Standing.UNKNOWN
            else:
                return Standing.ADMIN if level >= ADMIN_LEVEL else Standing.ORDINARY
        return Standing.UNKNOWN
