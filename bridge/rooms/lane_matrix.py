"""The lane to Matrix: one effect at a time, repeated until the homeserver has it.

A repeat posts nothing twice: the transaction id is made from the outbox row and the sender
(Synapse's cache forgets whose an id was), and is prefixed with an id of this database, so that a
fresh database never meets the transaction ids of an older one.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Protocol

import structlog

from bridge.conversation.effects import (
    AgentsCame,
    AgentsLeft,
    Args,
    AskRating,
    Card,
    Relay,
    Reported,
    Say,
)
from bridge.ids import EventId, UserId
from bridge.rooms.asking import Asking
from bridge.rooms.effects import EnterRoom, LeaveRoom, ShowAnswer
from bridge.rooms.inputs import CardPosted, Entered, EntryFailed, MatrixEvent
from bridge.rooms.ports import NoticeText, Refused, Unavailable
from bridge.rooms.record import CardKind, Membership, OurCard
from bridge.rooms.relaying import Relaying
from bridge.rooms.serial import StoredEffect, dump_input, load_effect
from bridge.rooms.store import (
    NewInput,
    OutboxRow,
    Outcome,
    Settlement,
)
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import Worker
from bridge.webchat.frames import Agent

GIVE_UP_AFTER = 24 * 3_600_000
"""ms that an effect waits for a homeserver that is away; then it is a dead letter."""
FIRST_WAIT, LAST_WAIT = 0.5, 60.0
"""Seconds between attempts."""
MOST_ASKED = 3600.0
"""The longest wait, in seconds, that a homeserver may ask for."""


class Sentences(Protocol):
    """The catalogue of what we say: `texts.Texts` (the rooms ring needs no more of it)."""

    def render(self, language: str, key: str, args: Args) -> str:
        """The sentence of that key."""
        ...


class Done:
    """What carrying out an effect brought.

    Attributes:
        event_id: the Matrix event that it became.
        anchor: a name to remember that event by.
        inputs: what has to be told to the room.
        outcome: DELIVERED unless said otherwise.
        detail: for the ledger.
    """

    def __init__(
        self,
        event_id: EventId | None = None,
        *,
        anchor: str | None = None,
        inputs: tuple[NewInput, ...] = (),
        outcome: Outcome = Outcome.DELIVERED,
        detail: str = "",
    ) -> None:
        self.event_id = event_id
        self.anchor = anchor
        self.inputs = inputs
        self.outcome = outcome
        self.detail = detail


class MatrixLane:
    """Implements `worker.LaneRunner`."""

    def __init__(self, around: Surroundings, sentences: Sentences, instance: str) -> None:
        self._around = around
        self._sentences = sentences
        self._instance = instance
        self._relaying = Relaying(around)
        self._asking = Asking(around)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.matrix")

    async def run(self, worker: Worker, row: OutboxRow) -> Settlement:
        """Carry out one row, however often it takes.

        Raises:
            StoreError: something that it needs could not be read; a repeat posts nothing twice.
            Stopping: it waits for the next start.
        """
        effect = load_effect(row.effect)
        done = await self._until_done(worker, row, effect)
        return Settlement(
            row.seq,
            done.outcome,
            self._around.clock.now(),
            done.detail,
            event_id=done.event_id,
            anchor=done.anchor,
            inputs=done.inputs,
        )

    async def _until_done(self, worker: Worker, row: OutboxRow, effect: StoredEffect) -> Done:
        wait = FIRST_WAIT
        while True:
            try:
                return await self._perform(worker, row, effect)
            except Unavailable as error:
                waiting_since = max(row.created, row.revived or 0)
                if self._around.clock.now() - waiting_since >= GIVE_UP_AFTER:
                    return self._give_up(worker, effect, str(error))
                asked = error.retry_after
                pause = wait if asked is None else min(asked, MOST_ASKED)
                self._log.info(
                    "the homeserver did not take it yet",
                    room=worker.room_id,
                    what=type(effect).__name__,
                    wait=pause,
                    why=str(error),
                )
                await worker.pause(pause)
                wait = min(wait * 2, LAST_WAIT)
            except Refused as error:
                return self._give_up(worker, effect, error.code)

    def _give_up(self, worker: Worker, effect: StoredEffect, why: str) -> Done:
        if isinstance(effect, EnterRoom):
            failed = NewInput(worker.room_id, dump_input(EntryFailed(why)))
            return Done(inputs=(failed,), outcome=Outcome.REFUSED, detail=why)
        left = worker.record.membership is Membership.LEFT
        if left or isinstance(effect, LeaveRoom | AgentsLeft):
            return Done(outcome=Outcome.DISCARDED, detail=why)
        self._log.error(
            "an effect is a dead letter now; see `dead-letters list`",
            room=worker.room_id,
            what=type(effect).__name__,
            why=why,
        )
        return Done(outcome=Outcome.DEAD, detail=why)

    async def _perform(self, worker: Worker, row: OutboxRow, effect: StoredEffect) -> Done:
        match effect:
            case Say():
                return await self._say(worker, row, effect)
            case Reported():
                say = Say(effect.key, effect.args, reply_to=effect.event_id)
                return await self._say(worker, row, say)
            case Card():
                return await self._card(worker, row, effect)
            case AskRating():
                txn_id = self._transaction_id(row, worker.record.host)
                event_id, cards = await self._asking.rating(worker, effect, txn_id)
                return Done(event_id, inputs=self._inputs(worker, cards))
            case ShowAnswer():
                return await self._show_answer(worker, row, effect)
            case Relay():
                return await self._relay(worker, row, effect)
            case AgentsCame():
                for agent in effect.agents:
                    await self._relaying.welcome(worker, agent, effect.queue_id)
                return Done()
            case AgentsLeft():
                for agent_id in effect.agents:
                    ghost = self._around.matrix.ghost_of(Agent(agent_id))
                    await self._leave(worker, ghost)
                return Done()
            case EnterRoom():
                return await self._enter(worker, effect)
            case LeaveRoom():
                for user in effect.users:
                    await self._leave(worker, user)
                return Done()
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of this lane")

    # --- our own sentences ------------------------------------------------------------------

    async def _say(self, worker: Worker, row: OutboxRow, say: Say) -> Done:
        thread, host = worker.record.thread, worker.record.host
        inside = thread is not None and thread.latest == say.reply_to
        notice = NoticeText(
            self._sentence(worker, say.key, say.args),
            reply_to=say.reply_to,
            thread=thread.root if thread is not None and inside else None,
            ping=say.ping,
        )
        return Done(
            await self._around.matrix.say(
                worker.room_id, host, notice, self._transaction_id(row, host)
            )
        )

    async def _card(self, worker: Worker, row: OutboxRow, card: Card) -> Done:
        """Edit this chat's card; a newer version that waits already makes this one pointless."""
        for later in worker.later_rows(row):
            other = load_effect(later.effect)
            if isinstance(other, Card) and other.number == card.number:
                return Done(outcome=Outcome.DISCARDED, detail="a newer card follows")
        anchor = f"card:{card.number}"
        earlier = await self._around.store.anchor(worker.room_id, anchor)
        notice = NoticeText(self._sentence(worker, card.key, card.args), edits=earlier)
        host = worker.record.host
        event_id = await self._around.matrix.say(
            worker.room_id, host, notice, self._transaction_id(row, host)
        )
        if earlier is not None:
            return Done(event_id)
        posted = CardPosted(OurCard(event_id, CardKind.QUEUE, number=card.number))
        return Done(event_id, anchor=anchor, inputs=self._inputs(worker, (posted,)))

    async def _show_answer(self, worker: Worker, row: OutboxRow, answer: ShowAnswer) -> Done:
        done = await self._say(worker, row, Say(answer.key, answer.args, reply_to=answer.event_id))
        if done.event_id is not None:
            number = worker.record.conversation.number
            card = OurCard(done.event_id, CardKind.ROBOT, number=number, text=answer.question)
            done.inputs = self._inputs(worker, (CardPosted(card),))
        return done

    @staticmethod
    def _inputs(worker: Worker, entries: tuple[CardPosted, ...]) -> tuple[NewInput, ...]:
        return tuple(NewInput(worker.room_id, dump_input(entry)) for entry in entries)

    def _sentence(self, worker: Worker, key: str, args: Args) -> str:
        rules = self._around.rules
        known = {"prefix": rules.prefix, **args}
        queue = known.get("queue")
        if isinstance(queue, int):
            known["queue"] = rules.queue_name(queue)
        return self._sentences.render(rules.language_for(worker.record.settings), key, known)

    # --- agents -----------------------------------------------------------------------------

    async def _relay(self, worker: Worker, row: OutboxRow, relay: Relay) -> Done:
        ghost = self._around.matrix.ghost_of(relay.agent)
        event_id = await self._relaying.relay(worker, relay, self._transaction_id(row, ghost))
        if event_id is not None:
            return Done(event_id)
        key = "chat.media_failed" if self._relaying.is_media(relay) else "chat.unknown"
        done = await self._say(worker, row, Say(key, self._relaying.describe(relay)))
        done.detail = "shown as a notice"
        return done

    # --- rooms ------------------------------------------------------------------------------

    async def _enter(self, worker: Worker, effect: EnterRoom) -> Done:
        room_id = worker.room_id
        entry = await self._around.matrix.enter(room_id, effect.host, effect.inviter)
        earlier: list[NewInput] = []
        order: list[EventId] = []
        for raw in entry.earlier:
            event_id = raw.get("event_id")
            if isinstance(event_id, str):
                order.append(EventId(event_id))
                earlier.append(NewInput(room_id, dump_input(MatrixEvent(raw)), key=event_id))
        entered = Entered(
            tuple(order),
            entry.direct,
            entry.encrypted,
            entry.displayname,
            entry.config,
            entry.people,
        )
        return Done(inputs=(*earlier, NewInput(room_id, dump_input(entered))))

    async def _leave(self, worker: Worker, user: UserId) -> None:
        """Leave; who is not in the room (any more) has left."""
        try:
            await self._around.matrix.leave(worker.room_id, user)
        except Refused as error:
            self._log.debug("nothing to leave", room=worker.room_id, why=error.code)

    def _transaction_id(self, row: OutboxRow, sender: UserId) -> str:
        who = sha256(sender.encode()).hexdigest()[:12]
        return f"{self._instance}.{row.seq}.{who}"
