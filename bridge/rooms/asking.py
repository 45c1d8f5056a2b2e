"""Asking customers: for a rating, whether the robot's answer helped, which proposal they mean.

Each question is a sentence that every client shows, with the command that answers it, and what is
quicker where a client has it: a poll, or signs that stand under the sentence and want only a tap.
Whichever is used first counts (`cards`).
"""

from __future__ import annotations

import structlog

from bridge.conversation.events import Args, AskRating, CallbackCard, EndPoll, Offer, Relay
from bridge.conversation.queue import CALLBACK_OFFERS
from bridge.ids import EventId
from bridge.rooms.done import Done, told
from bridge.rooms.effects import PutSigns, ShowAnswer
from bridge.rooms.inputs import CardPosted
from bridge.rooms.ports import NoticeText, Refused
from bridge.rooms.ratings import choices, shown
from bridge.rooms.record import CardKind, OurCard
from bridge.rooms.store import Outcome
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.tapping import Poll
from bridge.rooms.worker import Worker

HELPED, NOT_HELPED, PERSON, BELL = "👍", "👎", "🙋", "🔔"
KEYCAP = "\ufe0f\u20e3"
MOST_SIGNS = 5
"""Proposals of the robot's; more of them are answered in writing, or by whoever has the sign."""


class Asking:
    """The Matrix lane's part that asks."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.asking")

    async def rating(self, worker: Worker, effect: AskRating | EndPoll, txn_id: str) -> Done:
        """Ask for a rating, or close the poll that asked.

        Raises:
            StoreError, Unavailable, Refused: nothing is done twice.
        """
        anchor = f"poll:{effect.session_id}"
        if isinstance(effect, AskRating):
            event_id, cards = await self.ask(worker, effect, txn_id)
            known = anchor if any(one.card.poll for one in cards) else None
            return Done(event_id, anchor=known, inputs=told(worker.room_id, cards))
        poll = await self._around.store.anchor(worker.room_id, anchor)
        if poll is None:
            return Done(outcome=Outcome.DISCARDED, detail="there is no poll")
        return Done(await self._end(worker, poll, txn_id))

    async def ask(
        self, worker: Worker, ask: AskRating, txn_id: str
    ) -> tuple[EventId, tuple[CardPosted, ...]]:
        """Ask; returns the poll's event, or the sentence's, and what the room has to remember.

        Both messages have a transaction id of their own, so a repeat sends only what is missing.

        Raises:
            Unavailable, Refused: of the homeserver, for the sentence. A poll that it refuses is
                done without.
        """
        rules, record, matrix = self._around.rules, worker.record, self._around.matrix
        language = rules.language_for(record.settings)
        offered = choices(rules, language, ask.ratings)
        args: Args = {
            "prefix": rules.prefix,
            "options": shown(offered),
            "best": offered[0].id,
        }
        notice = NoticeText(rules.texts.render(language, "rating.ask", args))
        events = [await matrix.say(worker.room_id, record.host, notice, txn_id)]
        poll = Poll(
            rules.texts.render(language, "rating.question", {}),
            tuple((str(choice.id), choice.label) for choice in offered),
        )
        try:
            events.append(await matrix.poll(worker.room_id, record.host, poll, f"{txn_id}.poll"))
        except Refused as error:
            self._log.info("no poll", room=worker.room_id, why=error.code)
        ids = tuple(choice.id for choice in offered)
        session_id = ask.session_id
        return events[-1], tuple(
            CardPosted(OurCard(one, CardKind.RATING, session_id, choices=ids, poll=number > 0))
            for number, one in enumerate(events)
        )

    async def _end(self, worker: Worker, poll: EventId, txn_id: str) -> EventId:
        rules, record = self._around.rules, worker.record
        text = rules.texts.render(rules.language_for(record.settings), "rating.closed", {})
        return await self._around.matrix.end_poll(worker.room_id, record.host, poll, text, txn_id)

    async def sign(self, worker: Worker, wish: PutSigns, txn_id: str) -> None:
        """React to our own message. Whoever sees no reactions has the words.

        Raises:
            Unavailable: of the homeserver; a repeat adds only what is missing.
        """
        for number, sign in enumerate(wish.signs):
            try:
                await self._around.matrix.react(
                    worker.room_id, worker.record.host, wish.event_id, sign, f"{txn_id}.{number}"
                )
            except Refused as error:
                self._log.info("no sign", room=worker.room_id, why=error.code)


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
