"""The lane to Matrix: one effect at a time, repeated until the homeserver has it.

A repeat posts nothing twice: the transaction id is made from the outbox row and the sender
(Synapse's cache forgets whose an id was), and is prefixed with an id of this database, so that a
fresh database never meets the transaction ids of an older one. Nor does a restored one meet those
of the time that it has lost: it counts its rows again, but at other moments, and the moment when a
row was stored is in its id too.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

import structlog

from bridge.conversation.events import (
    AgentsCame,
    AgentsLeft,
    Args,
    AskRating,
    CallbackCard,
    Card,
    EndPoll,
    Offer,
    Relay,
    Reported,
    Say,
)
from bridge.ids import UserId
from bridge.rooms import encrypting
from bridge.rooms.asking import Asking, choices_of, offered
from bridge.rooms.done import Done, told
from bridge.rooms.doors import Doors
from bridge.rooms.effects import EnterRoom, LeaveRoom, PutSigns, ShowAnswer
from bridge.rooms.fates import can_be_sent_again
from bridge.rooms.inputs import CardPosted, EntryFailed, PartPosted
from bridge.rooms.ports import EditableNotice, NoticeText, Refused, Unavailable
from bridge.rooms.queuecard import Sentences, second_line
from bridge.rooms.ratings import name_of
from bridge.rooms.record import CardKind, Membership, OurCard, RoomRecord, thread_in_use
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
from bridge.texts.durations import clock_time, waiting_range
from bridge.webchat.frames import Agent

GIVE_UP_AFTER = 24 * 3_600_000
"""ms that an effect waits for a homeserver that is away; then it is a dead letter."""
FIRST_WAIT, LAST_WAIT = 0.5, 60.0
"""Seconds between attempts."""
REMEMBERED = 25 * 60_000
"""ms that any homeserver remembers transaction ids; most do longer (reference matrix.md §5)."""
MOST_ASKED = 3600.0
"""The longest wait, in seconds, that a homeserver may ask for."""


class MatrixLane:
    """Implements `worker.LaneRunner`.

    Args:
        around: what everything in a room works with.
        sentences: what the bridge says.
        instance: a word that tells this database from every other.
        dated: rows stored before this moment (ms since the epoch) may have been sent by a version
            of the bridge whose transaction ids did not tell when a row was stored.
    """

    def __init__(
        self, around: Surroundings, sentences: Sentences, instance: str, dated: int = 0
    ) -> None:
        self._around = around
        self._sentences = sentences
        self._instance = instance
        self._dated = dated
        self._relaying = Relaying(around)
        self._asking = Asking(around)
        self._doors = Doors(around)
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
                await self._look_back(worker, row)
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
                if isinstance(effect, Relay) and worker.record.membership is not Membership.LEFT:
                    with suppress(Refused, Unavailable):  # the customer should know
                        await self._describe(worker, row, effect)
                return self._give_up(worker, effect, error.code)

    async def _look_back(self, worker: Worker, row: OutboxRow) -> None:
        """Before a row is repeated whose transaction id may be forgotten: is it in the room?"""
        if self._around.clock.now() - row.created < REMEMBERED:
            return
        try:
            await self._around.matrix.look_back(worker.room_id, worker.record.host, row.created)
        except Refused as error:
            self._log.info("a room cannot be read", room=worker.room_id, why=error.code)

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
                also = "again.hint" if can_be_sent_again(effect.key) else ""
                return await self._say(worker, row, say, also)
            case Card():
                return await self._card(worker, row, effect)
            case AskRating() | EndPoll():
                txn_id = self._transaction_id(row, worker.record.host)
                return await self._asking.rating(worker, effect, txn_id)
            case ShowAnswer() | Offer() | CallbackCard():
                return await self._offer(worker, row, effect)
            case PutSigns():
                txn_id = self._transaction_id(row, worker.record.host)
                await self._asking.sign(worker, effect, txn_id)
                return Done()
            case Relay():
                return await self._relay(worker, row, effect)
            case AgentsCame():
                return await self._agents_came(worker, row, effect)
            case AgentsLeft():
                ghost_of = self._around.matrix.ghost_of
                ghosts = tuple(ghost_of(Agent(agent_id)) for agent_id in effect.agents)
                return await self._doors.leave(worker, LeaveRoom(ghosts))
            case EnterRoom():
                return await self._doors.enter(worker, effect)
            case LeaveRoom():
                return await self._doors.leave(worker, effect)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of this lane")

    # --- our own sentences ------------------------------------------------------------------

    async def _say(self, worker: Worker, row: OutboxRow, say: Say, also: str = "") -> Done:
        """Say a sentence, and below it the one of the key `also`."""
        sentences = [self._sentence(worker, say.key, say.args)]
        if also:
            sentences.append(self._sentence(worker, also, {}))
        thread = thread_in_use(worker.record, self._around.clock.now())
        host = worker.record.host
        inside = thread is not None and thread.latest == say.reply_to
        notice = NoticeText(
            "\n".join(sentences),
            reply_to=say.reply_to,
            thread=thread.root if thread is not None and inside else None,
            ping=say.ping,
            # Once an agent is in the room there are three, and clients ring for a mention only.
            mentions=_waiting(worker.record) if say.ping else (),
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
        notice = EditableNotice(self._shown(worker, card), edits=earlier)
        host = worker.record.host
        event_id = await self._around.matrix.say(
            worker.room_id, host, notice, self._transaction_id(row, host)
        )
        if earlier is not None:
            return Done(event_id)
        posted = CardPosted(OurCard(event_id, CardKind.QUEUE, number=card.number))
        return Done(event_id, anchor=anchor, inputs=told(worker.room_id, (posted,)))

    async def _offer(
        self, worker: Worker, row: OutboxRow, offer: ShowAnswer | Offer | CallbackCard
    ) -> Done:
        """Say what can be answered by a reaction."""
        about = offer.event_id if isinstance(offer, ShowAnswer) else None
        done = await self._say(worker, row, Say(offer.key, offer.args, reply_to=about))
        if done.event_id is not None:
            posted = offered(offer, done.event_id, worker.record.conversation.number)
            done.inputs = told(worker.room_id, (posted,))
        return done

    def _shown(self, worker: Worker, card: Card) -> str:
        """The card's sentence and, while somebody waits, what is known of the wait."""
        lines = [self._sentence(worker, card.key, card.args)]
        if card.place is not None:
            language = self._around.rules.language_for(worker.record.settings)
            waits = self._around.waits
            lines.append(second_line(self._sentences, language, card.place, waits))
        return "\n".join(filter(None, lines))

    def _sentence(self, worker: Worker, key: str, args: Args) -> str:
        rules = self._around.rules
        # What waits since an earlier version does not say which rating it is about.
        known = {"prefix": rules.prefix, "rating": "…", **args}
        language = rules.language_for(worker.record.settings)
        queue, opens, rating = known.get("queue"), known.get("opens"), known.get("rating")
        if isinstance(wait := known.get("wait"), int):
            known["wait"] = waiting_range(language, 0, wait)
        if isinstance(rating, int):
            told = worker.record.conversation.ratings
            known["rating"] = name_of(rules, language, told, rating)
        if isinstance(queue, int):
            known["queue"] = rules.queue_name(queue)
            if isinstance(opens, int):
                now, zone = self._around.clock.now(), rules.zone_of(queue)
                known["opens"] = clock_time(language, opens, zone, now_ms=now)
        return self._sentences.render(language, key, known)

    # --- agents -----------------------------------------------------------------------------

    async def _agents_came(self, worker: Worker, row: OutboxRow, came: AgentsCame) -> Done:
        """Bring the ghosts in; of those that the room does not let in, say that we speak for them.

        Each of their messages tries again (`MatrixPort.relay`).
        """
        if worker.record.direct:
            # Before they come in: no client is to count three members even for a moment.
            matrix = self._around.matrix
            ghosts = tuple(matrix.ghost_of(agent) for agent in came.agents)
            await matrix.name_service_members(worker.room_id, worker.record.host, ghosts)
        outside: list[str] = []
        for agent in came.agents:
            try:
                await self._relaying.welcome(worker, agent, came.queue_id)
            except Refused as error:
                if not error.shut_out:
                    raise
                outside.append(agent.name or agent.id)
        if not outside:
            return Done()
        anchor = f"outside:{worker.record.conversation.number}:{', '.join(outside)}"
        done = Done()
        if await self._around.store.anchor(worker.room_id, anchor) is None:  # once a chat
            done = await self._say(worker, row, Say("agents.outside", {"names": tuple(outside)}))
            done.anchor = anchor
        done.detail = "the room does not let them in"
        return done

    async def _relay(self, worker: Worker, row: OutboxRow, relay: Relay) -> Done:
        if encrypting.hides(self._around.rules, worker.record):
            name = relay.agent.name or relay.agent.id
            done = await self._say(worker, row, Say("encrypting.not_shown", {"name": name}))
            done.detail = "the room is not encrypted"
            return done
        ghost = self._around.matrix.ghost_of(relay.agent)
        parts = await self._relaying.relay(worker, relay, self._transaction_id(row, ghost))
        worker.typist.agent_spoke(ghost)
        if parts:
            event_id = parts[0].event_id
            later = tuple(
                NewInput(worker.room_id, dump_input(PartPosted(part.text)), key=part.event_id)
                for part in parts[1:]
            )
            choices = told(worker.room_id, choices_of(relay, event_id))
            return Done(event_id, inputs=(*later, *choices))
        done = await self._describe(worker, row, relay)
        done.detail = "shown as a notice"
        return done

    async def _describe(self, worker: Worker, row: OutboxRow, relay: Relay) -> Done:
        """Say that there is a message which is not shown."""
        key = "chat.media_failed" if self._relaying.is_media(relay) else "chat.unknown"
        return await self._say(worker, row, Say(key, self._relaying.describe(relay)))

    def _transaction_id(self, row: OutboxRow, sender: UserId) -> str:
        moment = f".{row.created:x}" if row.created >= self._dated else ""
        who = sha256(sender.encode()).hexdigest()[:12]
        return f"{self._instance}.{row.seq}{moment}.{who}"


def _waiting(record: RoomRecord) -> tuple[UserId, ...]:
    """Whose phones ring: who invited us, and who wrote last, if that is somebody else."""
    return tuple(filter(None, dict.fromkeys((record.customer, record.speaker))))
