"""Messages of ours that can be answered by a reaction or a vote: which is which, and what is meant.

A room remembers its newest cards (`OurCard`), so that a reaction to one of them is an order to us
and to nobody else. Whoever's client shows neither polls nor reactions writes the command that the
card names. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bridge.conversation.inputs import Cancel, Human, Input, Rate, Said
from bridge.conversation.model import CustomerText, Ended, Idle, Queued, Requesting
from bridge.ids import EventId
from bridge.rooms.inputs import PollAnswered, Reacted
from bridge.rooms.record import CardKind, OurCard
from bridge.rooms.visit import Visit

KEPT_CARDS = 20
"""Cards of a room that are remembered; the oldest go first."""

_SKINS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f]")
"""Colours of hands, and marks that choose between two pictures of the same sign."""
_STARS = frozenset("⭐★🌟")
_CROSSES = frozenset("❌✖❎🚫")
_PEOPLE = frozenset("👎👤🙋🧑")
_KEYCAP = "\u20e3"


def remember(visit: Visit, card: OurCard) -> None:
    """An event of ours stands in the room."""
    visit.set(cards=(*visit.record.cards, card)[-KEPT_CARDS:])


def meant_by(visit: Visit, gesture: Reacted | PollAnswered) -> list[Input] | None:
    """What a reaction or a vote orders; None if it is about no card of ours."""
    card = _find(visit, gesture.target)
    if card is None:
        return None
    match card.kind:
        case CardKind.RATING:
            return _rated(card, gesture)
        case CardKind.QUEUE:
            return _left(visit, card, gesture)
        case CardKind.ROBOT:
            return _helped(visit, card, gesture)


def value_of(key: str, choices: Sequence[int]) -> int | None:
    """The rating that an emoji stands for; None if it stands for none.

    Args:
        key: the reaction.
        choices: the ids that there are, the best first. Digits name an id, as the card shows it;
            stars and thumbs know only more and less.
    """
    sign = _SKINS.sub("", key).strip()
    best_last = list(reversed(choices))
    if sign and set(sign) <= _STARS:
        return best_last[len(sign) - 1] if len(sign) <= len(best_last) else None
    if sign in {"👍", "👎"} and best_last:
        return best_last[-1] if sign == "👍" else best_last[0]
    number = 10 if sign == "🔟" else _digits(sign.replace(_KEYCAP, ""))
    return number if number in choices else None


def _digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def _find(visit: Visit, event_id: EventId) -> OurCard | None:
    return next((card for card in visit.record.cards if card.event_id == event_id), None)


def _left(visit: Visit, card: OurCard, gesture: Reacted | PollAnswered) -> list[Input]:
    """The queue is left by a cross on the card, as long as it is this card's queue."""
    conversation = visit.record.conversation
    crossed = isinstance(gesture, Reacted) and _SKINS.sub("", gesture.key).strip() in _CROSSES
    waiting = isinstance(conversation.phase, Requesting | Queued)
    return [Cancel()] if crossed and waiting and card.number == conversation.number else []


def wants_person(visit: Visit, event_id: EventId) -> list[Input]:
    """What `human` means here: what the robot was asked since the last chat goes along."""
    number = visit.record.conversation.number
    for card in reversed(visit.record.cards):
        if card.kind is CardKind.ROBOT and card.number == number:
            return _handed_over(visit, card, event_id)
    return [Human()]


def _handed_over(visit: Visit, card: OurCard, event_id: EventId) -> list[Input]:
    if not isinstance(visit.record.conversation.phase, Idle | Ended):
        return [Human()]
    asked = CustomerText(visit.word("agent.asked_robot", {"text": card.text}))
    return [Human(), Said(event_id, asked)]


def _helped(visit: Visit, card: OurCard, gesture: Reacted | PollAnswered) -> list[Input]:
    """A thumb down, or a person as sign, asks for one; anything else is thanks enough."""
    sign = _SKINS.sub("", gesture.key).strip() if isinstance(gesture, Reacted) else ""
    if sign not in _PEOPLE:
        return []
    if card.number != visit.record.conversation.number:
        return [Human()]
    return _handed_over(visit, card, gesture.event_id)


def _rated(card: OurCard, gesture: Reacted | PollAnswered) -> list[Input]:
    if isinstance(gesture, Reacted):
        value = value_of(gesture.key, card.choices)
    else:
        value = _digits(gesture.answer)
    if value is None or value not in card.choices:
        return []
    return [Rate(value, session_id=card.session_id)]
