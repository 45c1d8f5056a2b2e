"""Asking for a rating: a sentence that every client shows, and a poll for those that have polls.

Either can be answered (`cards`); the first answer counts, whichever it is.
"""

from __future__ import annotations

import structlog

from bridge.conversation.effects import AskRating
from bridge.ids import EventId
from bridge.rooms.inputs import CardPosted
from bridge.rooms.ports import NoticeText, Poll, Refused
from bridge.rooms.ratings import choices, shown
from bridge.rooms.record import CardKind, OurCard
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.worker import Worker


class Asking:
    """The Matrix lane's part that asks."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.asking")

    async def rating(
        self, worker: Worker, ask: AskRating, txn_id: str
    ) -> tuple[EventId, tuple[CardPosted, ...]]:
        """Ask; returns the sentence's event, and what the room has to remember.

        Both messages have a transaction id of their own, so a repeat sends only what is missing.

        Raises:
            Unavailable, Refused: of the homeserver, for the sentence. A poll that it refuses is
                done without.
        """
        rules, record, matrix = self._around.rules, worker.record, self._around.matrix
        language = rules.language_for(record.settings)
        offered = choices(rules, language, ask.ratings)
        args: dict[str, str | int] = {
            "prefix": rules.prefix,
            "options": shown(offered),
            "best": offered[0].id,
        }
        notice = NoticeText(rules.texts.render(language, "rating.ask", args))
        sentence = await matrix.say(worker.room_id, record.host, notice, txn_id)
        events = [sentence]
        poll = Poll(
            rules.texts.render(language, "rating.question", {}),
            tuple((str(choice.id), choice.label) for choice in offered),
        )
        try:
            events.append(await matrix.poll(worker.room_id, record.host, poll, f"{txn_id}.poll"))
        except Refused as error:
            self._log.info("no poll", room=worker.room_id, why=error.code)
        ids = tuple(choice.id for choice in offered)
        return sentence, tuple(
            CardPosted(OurCard(event_id, CardKind.RATING, session_id=ask.session_id, choices=ids))
            for event_id in events
        )
