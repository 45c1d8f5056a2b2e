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

from bridge.conversation.effects import (
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
from bridge.rooms.asking import Asking, choices_of, offered
from bridge.rooms.cards import Sentences, name_of, second_line
from bridge.rooms.doors import Doors
from bridge.rooms.effects import EnterRoom, LeaveRoom, PutSigns, ShowAnswer
from bridge.rooms.fates import can_be_sent_again
from bridge.rooms.inbox import CardPosted, EntryFailed, PartPosted
from bridge.rooms.ports import EditableNotice, NoticeText, Refused, Unavailable
from bridge.rooms.reader import Came
from bridge.rooms.record import CardKind, Membership, OurCard, RoomRecord, thread_in_use
from bridge.rooms.relaying import Relaying
from bridge.rooms.room import Done, Room
from bridge.rooms.rules import hides
from bridge.rooms.serial import StoredEffect, load_effect
from bridge.rooms.store import (
    EffectRow,
    Outcome,
)
from bridge.rooms.surroundings import Surroundings
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
    """Implements `room.LaneRunner`.

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

    async def run(self, room: Room, row: EffectRow) -> Done:
        """Carry out one row, however often it takes.

        Raises:
            StoreError: something that it needs could not be read; a repeat posts nothing twice.
            Stopping: it waits for the next start.
        """
        effect = load_effect(row.effect)
        return await self._until_done(room, row, effect)

    async def _until_done(self, room: Room, row: EffectRow, effect: StoredEffect) -> Done:
        wait = FIRST_WAIT
        while True:
            try:
                await self._look_back(room, row)
                return await self._perform(room, row, effect)
            except Unavailable as error:
                waiting_since = max(row.created, row.revived or 0)
                if self._around.clock.now() - waiting_since >= GIVE_UP_AFTER:
                    return self._give_up(room, effect, str(error))
                asked = error.retry_after
                pause = wait if asked is None else min(asked, MOST_ASKED)
                self._log.info(
                    "the homeserver did not take it yet",
                    room=room.room_id,
                    what=type(effect).__name__,
                    wait=pause,
                    why=str(error),
                )
                await room.pause(pause)
                wait = min(wait * 2, LAST_WAIT)
            except Refused as error:
                if isinstance(effect, Relay) and room.record.membership is not Membership.LEFT:
                    with suppress(Refused, Unavailable):  # the customer should know
                        await self._describe(room, row, effect)
                return self._give_up(room, effect, error.code)

    async def _look_back(self, room: Room, row: EffectRow) -> None:
        """Before a row is repeated whose transaction id may be forgotten: is it in the room?"""
        if self._around.clock.now() - row.created < REMEMBERED:
            return
        try:
            await self._around.matrix.look_back(room.room_id, room.record.host, row.created)
        except Refused as error:
            self._log.info("a room cannot be read", room=room.room_id, why=error.code)

    def _give_up(self, room: Room, effect: StoredEffect, why: str) -> Done:
        if isinstance(effect, EnterRoom):
            failed = Came(EntryFailed(why))
            return Done(came=(failed,), outcome=Outcome.REFUSED, detail=why)
        left = room.record.membership is Membership.LEFT
        if left or isinstance(effect, LeaveRoom | AgentsLeft):
            return Done(outcome=Outcome.DISCARDED, detail=why)
        self._log.error(
            "an effect is a dead letter now; see `dead-letters list`",
            room=room.room_id,
            what=type(effect).__name__,
            why=why,
        )
        return Done(outcome=Outcome.DEAD, detail=why)

    async def _perform(self, room: Room, row: EffectRow, effect: StoredEffect) -> Done:
        match effect:
            case Say():
                return await self._say(room, row, effect)
            case Reported():
                say = Say(effect.key, effect.args, reply_to=effect.event_id)
                also = "again.hint" if can_be_sent_again(effect.key) else ""
                return await self._say(room, row, say, also)
            case Card():
                return await self._card(room, row, effect)
            case AskRating() | EndPoll():
                txn_id = self._transaction_id(row, room.record.host)
                return await self._asking.rating(room, effect, txn_id)
            case ShowAnswer() | Offer() | CallbackCard():
                return await self._offer(room, row, effect)
            case PutSigns():
                txn_id = self._transaction_id(row, room.record.host)
                await self._asking.sign(room, effect, txn_id)
                return Done()
            case Relay():
                return await self._relay(room, row, effect)
            case AgentsCame():
                return await self._agents_came(room, row, effect)
            case AgentsLeft():
                ghost_of = self._around.matrix.ghost_of
                ghosts = tuple(ghost_of(Agent(agent_id)) for agent_id in effect.agents)
                return await self._doors.leave(room, LeaveRoom(ghosts))
            case EnterRoom():
                return await self._doors.enter(room, effect)
            case LeaveRoom():
                return await self._doors.leave(room, effect)
            case _:
                raise TypeError(f"{type(effect).__name__} is no effect of this lane")

    # --- our own sentences ------------------------------------------------------------------

    async def _say(self, room: Room, row: EffectRow, say: Say, also: str = "") -> Done:
        """Say a sentence, and below it the one of the key `also`."""
        sentences = [self._sentence(room, say.key, say.args)]
        if also:
            sentences.append(self._sentence(room, also, {}))
        thread = thread_in_use(room.record, self._around.clock.now())
        host = room.record.host
        inside = thread is not None and thread.latest == say.reply_to
        notice = NoticeText(
            "\n".join(sentences),
            reply_to=say.reply_to,
            thread=thread.root if thread is not None and inside else None,
            ping=say.ping,
            # Once an agent is in the room there are three, and clients ring for a mention only.
            mentions=_waiting(room.record) if say.ping else (),
        )
        return Done(
            await self._around.matrix.say(
                room.room_id, host, notice, self._transaction_id(row, host)
            )
        )

    async def _card(self, room: Room, row: EffectRow, card: Card) -> Done:
        """Edit this chat's card; a newer version that waits already makes this one pointless."""
        for later in room.later_rows(row):
            other = load_effect(later.effect)
            if isinstance(other, Card) and other.number == card.number:
                return Done(outcome=Outcome.DISCARDED, detail="a newer card follows")
        anchor = f"card:{card.number}"
        earlier = await room.anchor(anchor)
        notice = EditableNotice(self._shown(room, card), edits=earlier)
        host = room.record.host
        event_id = await self._around.matrix.say(
            room.room_id, host, notice, self._transaction_id(row, host)
        )
        if earlier is not None:
            return Done(event_id)
        posted = CardPosted(OurCard(event_id, CardKind.QUEUE, number=card.number))
        return Done(event_id, anchor, (Came(posted),))

    async def _offer(
        self, room: Room, row: EffectRow, offer: ShowAnswer | Offer | CallbackCard
    ) -> Done:
        """Say what can be answered by a reaction."""
        about = offer.event_id if isinstance(offer, ShowAnswer) else None
        done = await self._say(room, row, Say(offer.key, offer.args, reply_to=about))
        if done.event_id is not None:
            posted = offered(offer, done.event_id, room.record.conversation.number)
            done.came = (Came(posted),)
        return done

    def _shown(self, room: Room, card: Card) -> str:
        """The card's sentence and, while somebody waits, what is known of the wait."""
        lines = [self._sentence(room, card.key, card.args)]
        if card.place is not None:
            language = self._around.rules.language_for(room.record.settings)
            waits = self._around.waits
            lines.append(second_line(self._sentences, language, card.place, waits))
        return "\n".join(filter(None, lines))

    def _sentence(self, room: Room, key: str, args: Args) -> str:
        rules = self._around.rules
        # What waits since an earlier version does not say which rating it is about.
        known = {"prefix": rules.prefix, "rating": "…", **args}
        language = rules.language_for(room.record.settings)
        queue, opens, rating = known.get("queue"), known.get("opens"), known.get("rating")
        if isinstance(wait := known.get("wait"), int):
            known["wait"] = waiting_range(language, 0, wait)
        if isinstance(rating, int):
            told = room.record.conversation.ratings
            known["rating"] = name_of(rules, language, told, rating)
        if isinstance(queue, int):
            known["queue"] = rules.queue_name(queue)
            if isinstance(opens, int):
                now, zone = self._around.clock.now(), rules.zone_of(queue)
                known["opens"] = clock_time(language, opens, zone, now_ms=now)
        return self._sentences.render(language, key, known)

    # --- agents -----------------------------------------------------------------------------

    async def _agents_came(self, room: Room, row: EffectRow, came: AgentsCame) -> Done:
        """Bring the ghosts in; of those that the room does not let in, say that we speak for them.

        Each of their messages tries again (`MatrixPort.relay`).
        """
        if room.record.direct:
            # Before they come in: no client is to count three members even for a moment.
            matrix = self._around.matrix
            ghosts = tuple(matrix.ghost_of(agent) for agent in came.agents)
            await matrix.name_service_members(room.room_id, room.record.host, ghosts)
        outside: list[str] = []
        for agent in came.agents:
            try:
                await self._relaying.welcome(room, agent, came.queue_id)
            except Refused as error:
                if not error.shut_out:
                    raise
                outside.append(agent.name or agent.id)
        if not outside:
            return Done()
        anchor = f"outside:{room.record.conversation.number}:{', '.join(outside)}"
        done = Done()
        if await room.anchor(anchor) is None:  # once a chat
            done = await self._say(room, row, Say("agents.outside", {"names": tuple(outside)}))
            done.anchor = anchor
        done.detail = "the room does not let them in"
        return done

    async def _relay(self, room: Room, row: EffectRow, relay: Relay) -> Done:
        if hides(self._around.rules, room.record):
            name = relay.agent.name or relay.agent.id
            done = await self._say(room, row, Say("encrypting.not_shown", {"name": name}))
            done.detail = "the room is not encrypted"
            return done
        ghost = self._around.matrix.ghost_of(relay.agent)
        parts = await self._relaying.relay(room, relay, self._transaction_id(row, ghost))
        room.typist.agent_spoke(ghost)
        if parts:
            event_id = parts[0].event_id
            later = tuple(Came(PartPosted(part.text), key=part.event_id) for part in parts[1:])
            choices = map(Came, choices_of(relay, event_id))
            return Done(event_id, came=(*later, *choices))
        done = await self._describe(room, row, relay)
        done.detail = "shown as a notice"
        return done

    async def _describe(self, room: Room, row: EffectRow, relay: Relay) -> Done:
        """Say that there is a message which is not shown."""
        key = "chat.media_failed" if self._relaying.is_media(relay) else "chat.unknown"
        return await self._say(room, row, Say(key, self._relaying.describe(relay)))

    def _transaction_id(self, row: EffectRow, sender: UserId) -> str:
        moment = f".{row.created:x}" if row.created >= self._dated else ""
        who = sha256(sender.encode()).hexdigest()[:12]
        return f"{self._instance}.{row.seq}{moment}.{who}"


def _waiting(record: RoomRecord) -> tuple[UserId, ...]:
    """Whose phones ring: who invited us, and who wrote last, if that is somebody else."""
    return tuple(filter(None, dict.fromkeys((record.customer, record.speaker))))
