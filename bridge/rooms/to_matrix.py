"""The lane to Matrix: one effect at a time, repeated until the homeserver has it.

A repeat posts nothing twice: the transaction id is made from the number of the effect's row and
the sender (Synapse's cache forgets whose an id was), and is prefixed with an id of this database,
so that a fresh database never meets the transaction ids of an older one. Nor does a restored one
meet those of the time that it has lost: it counts its rows again, but at other moments, and the
moment when a row was stored is in its id too.

Agents are ghosts. An agent's picture is an ornament, and no reason to wait. A file goes through us
from one server to the other; of one that cannot be had the customer is told. Two servers may refuse
then: a refusal that comes once the file is open is the homeserver's.

Some sentences can be answered by a reaction or a vote (a rating, a choice, the bell): what was
posted is told to the room, which remembers it as a card.
"""

from __future__ import annotations

import base64
import binascii
import html
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

import msgspec
import structlog

from bridge.conversation.model import (
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
from bridge.conversation.queue import CALLBACK_OFFERS
from bridge.ids import EventId, QueueId, UserId
from bridge.media.plaintext import as_markup
from bridge.rooms.cards import Sentences, choices, name_of, second_line, shown
from bridge.rooms.commits import Done
from bridge.rooms.effects import (
    EnterRoom,
    LeaveRoom,
    PutSigns,
    ShowAnswer,
    StoredEffect,
    load_effect,
)
from bridge.rooms.inbox import CardPosted, Entered, EntryFailed, MatrixEvent, PartPosted
from bridge.rooms.ports import (
    Blob,
    EditableNotice,
    NoticeText,
    Part,
    Poll,
    Refused,
    Relayed,
    RelayedMedia,
    RelayedText,
    TooBig,
    Unavailable,
)
from bridge.rooms.reader import Came
from bridge.rooms.record import CardKind, Membership, OurCard, RoomRecord, thread_in_use
from bridge.rooms.room import Room
from bridge.rooms.rules import hides
from bridge.rooms.store import (
    EffectRow,
    Outcome,
)
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import can_be_sent_again
from bridge.texts.durations import clock_time, waiting_range
from bridge.webchat.frames import (
    Agent,
    AgentLocation,
    AgentMedia,
    AgentNotice,
    AgentText,
    UnknownContent,
)
from bridge.webchat.words import decode_emoji

HELPED, NOT_HELPED, PERSON, BELL = "👍", "👎", "🙋", "🔔"
KEYCAP = "\ufe0f\u20e3"
MOST_SIGNS = 5
"""Proposals of the robot's; more of them are answered in writing, or by whoever has the sign."""


class Asking:
    """The Matrix lane's part that asks."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.asking")

    async def rating(self, room: Room, effect: AskRating | EndPoll, txn_id: str) -> Done:
        """Ask for a rating, or close the poll that asked.

        Raises:
            StoreError, Unavailable, Refused: nothing is done twice.
        """
        anchor = f"poll:{effect.session_id}"
        if isinstance(effect, AskRating):
            event_id, cards = await self.ask(room, effect, txn_id)
            known = anchor if any(one.card.poll for one in cards) else None
            return Done(event_id, known, tuple(map(Came, cards)))
        poll = await room.anchor(anchor)
        if poll is None:
            return Done(outcome=Outcome.DISCARDED, detail="there is no poll")
        return Done(await self._end(room, poll, txn_id))

    async def ask(
        self, room: Room, ask: AskRating, txn_id: str
    ) -> tuple[EventId, tuple[CardPosted, ...]]:
        """Ask; returns the poll's event, or the sentence's, and what the room has to remember.

        Both messages have a transaction id of their own, so a repeat sends only what is missing.

        Raises:
            Unavailable, Refused: of the homeserver, for the sentence. A poll that it refuses is
                done without.
        """
        rules, record, matrix = self._around.rules, room.record, self._around.matrix
        language = rules.language_for(record.settings)
        offered = choices(rules, language, ask.ratings)
        args: Args = {
            "prefix": rules.prefix,
            "options": shown(offered),
            "best": offered[0].id,
        }
        notice = NoticeText(rules.texts.render(language, "rating.ask", args))
        events = [await matrix.say(room.room_id, record.host, notice, txn_id)]
        poll = Poll(
            rules.texts.render(language, "rating.question", {}),
            tuple((str(choice.id), choice.label) for choice in offered),
        )
        try:
            events.append(await matrix.poll(room.room_id, record.host, poll, f"{txn_id}.poll"))
        except Refused as error:
            self._log.info("no poll", room=room.room_id, why=error.code)
        ids = tuple(choice.id for choice in offered)
        session_id = ask.session_id
        return events[-1], tuple(
            CardPosted(OurCard(one, CardKind.RATING, session_id, choices=ids, poll=number > 0))
            for number, one in enumerate(events)
        )

    async def _end(self, room: Room, poll: EventId, txn_id: str) -> EventId:
        rules, record = self._around.rules, room.record
        text = rules.texts.render(rules.language_for(record.settings), "rating.closed", {})
        return await self._around.matrix.end_poll(room.room_id, record.host, poll, text, txn_id)

    async def sign(self, room: Room, wish: PutSigns, txn_id: str) -> None:
        """React to our own message. Whoever sees no reactions has the words.

        Raises:
            Unavailable: of the homeserver; a repeat adds only what is missing.
        """
        for number, sign in enumerate(wish.signs):
            try:
                await self._around.matrix.react(
                    room.room_id, room.record.host, wish.event_id, sign, f"{txn_id}.{number}"
                )
            except Refused as error:
                self._log.info("no sign", room=room.room_id, why=error.code)


def offered(offer: ShowAnswer | Offer | CallbackCard, event_id: EventId, number: int) -> CardPosted:
    """What has to be remembered of a sentence that a reaction answers; `number`: of the chat."""
    if isinstance(offer, CallbackCard):
        card = OurCard(event_id, CardKind.CALLBACK, number=offer.number)
        return CardPosted(card, (BELL,) if offer.key in CALLBACK_OFFERS else ())
    if isinstance(offer, Offer):
        return CardPosted(OurCard(event_id, CardKind.ROBOT, number=number), (PERSON,))
    about = offer.event_id if offer.first else None
    text = "" if offer.first else offer.question
    asked = None if offer.first else offer.event_id
    card = OurCard(event_id, CardKind.ROBOT, number=number, text=text, about=about, asked=asked)
    return CardPosted(card, (HELPED, NOT_HELPED))


def choices_of(relay: Relay, event_id: EventId) -> tuple[CardPosted, ...]:
    """What has to be remembered of a message of the robot's, if it proposes something."""
    if not relay.choices:
        return ()
    numbers = range(1, len(relay.choices) + 1) if len(relay.choices) <= MOST_SIGNS else ()
    card = OurCard(event_id, CardKind.CHOICES, options=relay.choices)
    return (CardPosted(card, tuple(f"{number}{KEYCAP}" for number in numbers)),)


class Doors:
    """The Matrix lane's part that enters and leaves."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.doors")

    async def enter(self, room: Room, effect: EnterRoom) -> Done:
        """Go in; what was found there is told to the room.

        Raises:
            Unavailable, Refused: of the homeserver.
        """
        room_id = room.room_id
        entry = await self._around.matrix.enter(
            room_id, effect.host, effect.inviter, encrypt=effect.encrypt
        )
        earlier: list[Came] = []
        order: list[EventId] = []
        for raw in entry.earlier:
            event_id = raw.get("event_id")
            if isinstance(event_id, str):
                order.append(EventId(event_id))
                earlier.append(Came(MatrixEvent(raw), event_id))
        entered = Entered(
            tuple(order),
            entry.direct,
            entry.encrypted,
            entry.displayname,
            entry.config,
            entry.people,
            entry.encrypted_by_us,
            entry.configured_by,
        )
        return Done(came=(*earlier, Came(entered)))

    async def leave(self, room: Room, order: LeaveRoom) -> Done:
        """Leave; who is not in the room (any more) has left.

        Raises:
            Unavailable: of the homeserver.
        """
        if order.why:
            self._log.info(
                "invitation refused", room=room.room_id, inviter=order.inviter, why=order.why
            )
        for user in order.users:
            try:
                await self._around.matrix.leave(room.room_id, user, order.reason)
            except Refused as error:
                self._log.debug("nothing to leave", room=room.room_id, why=error.code)
        return Done()


FETCH_TRIES = 4
"""Attempts to fetch an agent's file before the customer is told that it is missing."""
ICON_LIMIT = 2 * 1024 * 1024
"""Bytes of an agent's picture."""


class Relaying:
    """The agents' side of the Matrix lane."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.relaying")

    # --- ghosts -----------------------------------------------------------------------------

    async def welcome(self, room: Room, agent: Agent, queue_id: QueueId | None) -> None:
        """Bring the ghost in. A picture that cannot be had is no reason to wait (reference 3.9)."""
        matrix, host = self._around.matrix, room.record.host
        source = self._around.link.icon_url(agent.icon, queue_id) if agent.icon else ""
        if source and not await matrix.icon_known(agent, source):
            opened = False
            try:
                async with self._around.link.fetch(source, ICON_LIMIT) as icon:
                    opened = True
                    await matrix.welcome_agent(room.room_id, host, agent, icon, source)
                    return
            except (TooBig, Unavailable) as error:
                self._log.info("no picture for an agent", agent=agent.id, why=str(error))
            except Refused as error:
                if opened:
                    raise  # the homeserver's refusal, not the file server's
                self._log.info("no picture for an agent", agent=agent.id, why=error.code)
        await matrix.welcome_agent(room.room_id, host, agent, None, "")

    # --- messages ---------------------------------------------------------------------------

    async def relay(self, room: Room, relay: Relay, txn_id: str) -> tuple[Part, ...]:
        """Send one message as the agent's ghost; nothing if it can only be described.

        Raises:
            Unavailable, Refused: of the homeserver.
        """
        content = relay.content
        match content:
            case AgentText():
                return await self._text(room, relay, content, txn_id)
            case AgentLocation():
                return await self._send(room, relay, self._placed(content), txn_id)
            case AgentMedia():
                return await self._media(room, relay, content, txn_id)
            case AgentNotice() | UnknownContent():
                return ()

    async def _text(
        self, room: Room, relay: Relay, text: AgentText, txn_id: str
    ) -> tuple[Part, ...]:
        """Send a text and the pictures in it, in order; the first event stands for all of them.

        Each piece has a transaction id of its own, so a repeat sends only what is missing.
        """
        parts: list[Part] = []
        fragment, absolute = self._dated(room, relay, text.html), self._around.link.absolute
        for number, piece in enumerate(self._around.matrix.pieces(fragment, absolute)):
            piece_id = f"{txn_id}.p{number}" if number else txn_id
            if isinstance(piece, AgentMedia):
                parts += await self._picture(room, relay, piece, piece_id)
            else:
                parts += await self._send(room, relay, piece, piece_id)
        return tuple(parts)

    def _dated(self, room: Room, relay: Relay, fragment: str) -> str:
        """A message that comes late says when it was said."""
        if relay.posted is None:
            return fragment
        rules = self._around.rules
        language = rules.language_for(room.record.settings)
        if relay.posted:
            now = self._around.clock.now()
            time = clock_time(language, relay.posted, rules.timezone, now_ms=now)
            said = rules.texts.render(language, "outage.late", {"time": time})
        else:
            said = rules.texts.render(language, "outage.late_some_time", {})
        # Decoded before the eye falls on what looks like markup: eleven codes of the desk's do.
        shown = as_markup(decode_emoji(fragment))
        return f"{html.escape(said, quote=False)}<br>{shown}"

    async def _picture(
        self, room: Room, relay: Relay, picture: AgentMedia, txn_id: str
    ) -> tuple[Part, ...]:
        parts = await self._media(room, relay, picture, txn_id)
        return parts or await self._send(room, relay, _link_to(picture), txn_id)

    def _placed(self, location: AgentLocation) -> AgentLocation:
        """A place that says of whose map it is."""
        if location.map.strip():
            return location
        return msgspec.structs.replace(location, map=self._around.rules.policy.map)

    async def _media(
        self, room: Room, relay: Relay, media: AgentMedia, txn_id: str
    ) -> tuple[Part, ...]:
        """The file; nothing if it cannot be had, or is more than the homeserver takes."""
        try:
            if media.data:
                return await self._inline(room, relay, media, txn_id)
            return await self._linked(room, relay, media, txn_id)
        except Refused as error:
            if error.code != "M_TOO_LARGE":
                raise
            self._log.warning("an agent's file is too large for the homeserver", why=str(error))
            return ()

    async def _send(self, room: Room, relay: Relay, what: Relayed, txn_id: str) -> tuple[Part, ...]:
        record = room.record
        thread = thread_in_use(record, self._around.clock.now())
        return await self._around.matrix.relay(
            room.room_id, record.host, relay.agent, what, txn_id, thread=thread
        )

    async def _inline(
        self, room: Room, relay: Relay, media: AgentMedia, txn_id: str
    ) -> tuple[Part, ...]:
        try:
            data = base64.b64decode(media.data, validate=False)
        except (binascii.Error, ValueError):
            return ()
        if not data or len(data) > self._around.rules.file_limit:
            return ()
        what = RelayedMedia(media.kind, Blob.of(data, name=media.name), media.seconds)
        return await self._send(room, relay, what, txn_id)

    async def _linked(
        self, room: Room, relay: Relay, media: AgentMedia, txn_id: str
    ) -> tuple[Part, ...]:
        limit = self._around.rules.file_limit
        for attempt in range(FETCH_TRIES):
            opened = False
            try:
                async with self._around.link.fetch(media.url, limit) as blob:
                    opened = True
                    named = Blob(blob.chunks, blob.size, blob.mime, media.name or blob.name)
                    what = RelayedMedia(media.kind, named, media.seconds)
                    return await self._send(room, relay, what, txn_id)
            except TooBig:
                return ()
            except Refused as error:
                if opened:
                    raise  # the homeserver's refusal, not the file server's
                self._log.info("an agent's file cannot be had", why=error.code)
                return ()
            except Unavailable:
                if opened:
                    raise
                if attempt + 1 < FETCH_TRIES:
                    await room.pause(2**attempt)
        return ()

    # --- words for what could not be sent ---------------------------------------------------

    def is_media(self, relay: Relay) -> bool:
        """True for a file, False for content that nobody documents."""
        return isinstance(relay.content, AgentMedia)

    def describe(self, relay: Relay) -> Args:
        """Arguments for the sentence that stands in for the message."""
        who = relay.agent.name or relay.agent.id
        content = relay.content
        if isinstance(content, AgentMedia):
            return {"name": content.name or content.kind, "agent": who}
        if isinstance(content, UnknownContent):
            kind = content.message_type
            return {"agent": who, "type": "?" if kind is None else kind}
        return {"agent": who, "type": "?"}


def _link_to(picture: AgentMedia) -> RelayedText:
    """What is shown of a picture inside a text that could not be had."""
    shown = html.escape(f"🖼 {picture.name}".strip())
    if not picture.url.lower().startswith(("http://", "https://")):
        return RelayedText(shown)
    return RelayedText(f'<a href="{html.escape(picture.url)}">{shown}</a>')


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

    def begin(self, room: Room, row: EffectRow, done: Callable[[Done], None]) -> bool:
        """Every effect of this lane has to wait for the homeserver."""
        del room, row, done
        return False

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
