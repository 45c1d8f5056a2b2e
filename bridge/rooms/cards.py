"""Messages of ours that can be answered by a reaction or a vote: which is which, and what is meant.

A room remembers its newest cards (`OurCard`), so that a reaction to one of them is an order to us
and to nobody else. Whoever's client shows neither polls nor reactions writes the command that the
card names. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from bridge.conversation.events import Args, CallBack, Cancel, Human, Input, Rate, Said, Solved
from bridge.conversation.model import Chatting, CustomerText, Ended, Idle, Queued, Requesting
from bridge.conversation.queue import callback_wanted
from bridge.ids import EventId
from bridge.rooms import ratings
from bridge.rooms.effects import PutSigns
from bridge.rooms.inputs import PollAnswered, Reacted
from bridge.rooms.record import CardKind, OurCard
from bridge.rooms.visit import Visit

KEPT_CARDS = 20
"""Cards of a room that are remembered; the oldest go first."""
FRESH = 3_600_000
"""ms after a chat in which plain words may rate it; later they are about something else."""

_SKINS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f]")
"""Colours of hands, and marks that choose between two pictures of the same sign."""
_STARS = frozenset("⭐★🌟")
_CROSSES = frozenset("❌✖❎🚫")
_BELLS = frozenset("🔔👍☎📞📱")
_PEOPLE = frozenset("👎👤🙋🧑")
_ENOUGH = frozenset("👍✅✔")
_KEYCAP = "\u20e3"


def remember(visit: Visit, card: OurCard, signs: tuple[str, ...] = ()) -> None:
    """An event of ours stands in the room. From now on a tap on one of its signs is understood."""
    visit.set(cards=(*visit.record.cards, card)[-KEPT_CARDS:])
    if card.asked is not None and card.asked in visit.record.erasing:
        forget(visit, card.asked)
    if signs:
        visit.ask(PutSigns(card.event_id, signs))


def forget(visit: Visit, asked: EventId) -> None:
    """What the robot was asked by that message was taken back, and goes along to nobody."""
    visit.set(
        cards=tuple(
            msgspec.structs.replace(card, text="", asked=None) if card.asked == asked else card
            for card in visit.record.cards
        )
    )


def meant_by(visit: Visit, gesture: Reacted | PollAnswered) -> list[Input] | None:
    """What a reaction or a vote orders; None if it is about no card of ours."""
    card = _find(visit, gesture.target)
    if card is None:
        return None
    match card.kind:
        case CardKind.RATING:
            return _rated(visit, card, gesture)
        case CardKind.QUEUE:
            return _left(visit, card, gesture)
        case CardKind.ROBOT:
            return _helped(visit, card, gesture)
        case CardKind.CALLBACK:
            return _about_calling_back(visit, gesture)
        case CardKind.CHOICES:
            return _chosen(visit, card, gesture)


def value_of(key: str, choices: Sequence[int]) -> int | None:
    """The rating that an emoji stands for; None if it stands for none.

    Args:
        key: the reaction.
        choices: the ids that there are, the best first. Digits name an id, as the card shows it;
            stars and thumbs know only more and less. One star is what a tap gives, whatever was
            meant by it: it stands for a rating only where there is no other.
    """
    sign = _SKINS.sub("", key).strip()
    best_last = list(reversed(choices))
    if len(sign) == 1 and sign in _STARS and len(choices) > 1:
        return None
    if is_stars(sign):
        return best_last[len(sign) - 1] if len(sign) <= len(best_last) else None
    if sign in {"👍", "👎"} and best_last:
        return best_last[-1] if sign == "👍" else best_last[0]
    number = _number(sign)
    return number if number in choices else None


def is_stars(key: str) -> bool:
    """True if there is nothing in it but stars."""
    sign = _SKINS.sub("", key).strip()
    return bool(sign) and set(sign) <= _STARS


def ask_which(visit: Visit, reply_to: EventId) -> None:
    """Ask which rating was meant by stars that do not say it."""
    rules = visit.rules
    language = rules.language_for(visit.record.settings)
    offered = ratings.choices(rules, language, visit.record.conversation.ratings)
    args: Args = {
        "options": ratings.shown(offered),
        "prefix": rules.prefix,
        "best": offered[0].id,
    }
    visit.say("rating.which", args, reply_to=reply_to)


def _number(sign: str) -> int | None:
    return 10 if sign == "🔟" else _digits(sign.replace(_KEYCAP, ""))


def _digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def _find(visit: Visit, event_id: EventId) -> OurCard | None:
    return next((card for card in visit.record.cards if card.event_id == event_id), None)


def _about_calling_back(visit: Visit, gesture: Reacted | PollAnswered) -> list[Input]:
    """A bell asks for it, a cross for the opposite; any card about it will do."""
    sign = _SKINS.sub("", gesture.key).strip() if isinstance(gesture, Reacted) else ""
    if sign in _BELLS:
        return [CallBack()]
    return [Cancel()] if sign in _CROSSES and callback_wanted(visit.record.conversation) else []


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
        if card.kind is CardKind.ROBOT and card.text and card.number == number:
            return _handed_over(visit, card, event_id)
    return [Human()]


def _handed_over(visit: Visit, card: OurCard, event_id: EventId) -> list[Input]:
    if not isinstance(visit.record.conversation.phase, Idle | Ended):
        return [Human()]
    asked = CustomerText(visit.word("agent.asked_robot", {"text": card.text}))
    quotes = () if card.asked is None else (card.asked,)
    return [Human(), Said(event_id, asked, quotes=quotes)]


def _helped(visit: Visit, card: OurCard, gesture: Reacted | PollAnswered) -> list[Input]:
    """A thumb down, or a person as sign, asks for one; a thumb up is thanks enough."""
    sign = _SKINS.sub("", gesture.key).strip() if isinstance(gesture, Reacted) else ""
    if sign in _ENOUGH and card.about is not None:
        return [Solved(card.about)]
    if sign not in _PEOPLE:
        return []
    if not card.text or card.number != visit.record.conversation.number:
        return [Human()]
    return _handed_over(visit, card, gesture.event_id)


def _chosen(visit: Visit, card: OurCard, gesture: Reacted | PollAnswered) -> list[Input]:
    """A digit on the robot's proposals asks it that one, as long as the robot is there."""
    phase = visit.record.conversation.phase
    if not isinstance(gesture, Reacted) or not isinstance(phase, Chatting) or not phase.robot:
        return []
    number = _number(_SKINS.sub("", gesture.key).strip())
    if number is None or not 0 < number <= len(card.options):
        return []
    return [Said(gesture.event_id, CustomerText(card.options[number - 1]))]


def _rated(visit: Visit, card: OurCard, gesture: Reacted | PollAnswered) -> list[Input]:
    if isinstance(gesture, Reacted):
        value = value_of(gesture.key, card.choices)
        if value is None and is_stars(gesture.key):
            ask_which(visit, gesture.target)
    else:
        value = _digits(gesture.answer)
    if value is None or value not in card.choices:
        return []
    vote = isinstance(gesture, PollAnswered)
    return [Rate(value, session_id=card.session_id, vote=vote)]
