"""What is written about a chat, and not in one: how it was, and thanks. Pure.

The question for a rating can be answered in words. A reply to it is an answer wherever and whenever
it is written; without being one, in a direct room soon after the chat, what is nothing but a rating
is. All else is an agent's to read, and so is a reply that names no rating while an agent is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bridge.conversation.chat import ended_at
from bridge.conversation.events import Args, Rate
from bridge.conversation.model import CustomerText, Ended, Idle
from bridge.conversation.turn import inviting
from bridge.ids import EventId
from bridge.rooms import ratings
from bridge.rooms.cards import FRESH, ask_which, is_stars, value_of
from bridge.rooms.commands import Parsed, Verb, narrow, parse
from bridge.rooms.farewells import is_farewell, reads_as_farewell
from bridge.rooms.inputs import Spoke
from bridge.rooms.record import CardKind, OurCard
from bridge.rooms.visit import Visit

_UNIT = r"(?:[ -]?(?:stars?|points?|分|つ?星|点|點))?"
_NUMBER = re.compile(
    rf"(?<![a-z0-9_/-])(?<![0-9][.,:])(?P<number>[0-9]{{1,6}}){_UNIT}(?: ?/ ?(?P<of>[0-9]{{1,6}}))?"
    r"(?![a-z0-9_/]|[.,:][0-9])",
    re.IGNORECASE,
)
_SIGN = re.compile("(?:[⭐★🌟]+|[👍👎]|[0-9]\ufe0f?\u20e3|🔟)[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*")
_THUMBS = frozenset("👍👎")
_FIGURES = re.compile("[0-9]{1,2}")
"""What is a rating that nobody offers; a longer number is somebody's order."""
_PAUSES = "\r\n\t,.;:!~、。·-–—"
_EDGES = f" {_PAUSES}"


def taken(visit: Visit, spoke: Spoke) -> bool:
    """True if this is about a chat: it has been dealt with, and goes to no agent.

    Args:
        visit: record in, record and effects out.
        spoke: words that are no order.
    """
    if not isinstance(spoke.content, CustomerText):
        return False
    card, question = _replied_to(visit, spoke.reply_to), _open_question(visit, spoke.plain)
    rate = _alone(visit, spoke.plain) if card is None else _reply(visit, card, spoke.plain)
    newest = visit.record.conversation.last_session
    over = card is not None and card.session_id == newest and _is_over(visit)
    unclear = _unclear(card or question, spoke.plain)
    if rate is not None:
        visit.step(rate)
    elif unclear and is_stars(unclear):
        ask_which(visit, spoke.event_id)
    elif is_farewell(visit, spoke.content, spoke.plain):
        key = inviting("undelivered.farewell", visit.rules.policy_for(visit.record))
        visit.report(spoke.event_id, key, {"prefix": visit.rules.prefix})
    elif unclear and (over or question is not None):
        args: Args = {"value": int(unclear), "options": ratings.shown(_offered(visit))}
        visit.say("rating.unknown", args, reply_to=spoke.event_id)
    elif over or (question is not None and _orders_rating(visit, spoke.plain)):
        # Words may be for an agent after all.
        options = ratings.shown(_offered(visit))
        visit.report(spoke.event_id, "undelivered.no_rating", {"options": options})
    else:
        return False
    return True


def _orders_rating(visit: Visit, words: str) -> bool:
    """True for `rate` and a number, whatever follows: there is no such rating."""
    parsed = parse(words, visit.rules.prefix, prefix_needed=False)
    return isinstance(parsed, Parsed) and parsed.verb is Verb.RATE


def _replied_to(visit: Visit, event_id: EventId | None) -> OurCard | None:
    """The question for a rating that this is a reply to."""
    for card in visit.record.cards:
        if card.event_id == event_id and card.kind is CardKind.RATING:
            return card
    return None


def _reply(visit: Visit, card: OurCard, words: str) -> Rate | None:
    """A rating at the beginning of a reply to the question; the rest is a comment on it."""
    text = _plain(words)
    for choice in _offered(visit):
        label = _plain(choice.label)
        rest = text[len(label) :]
        named = text.casefold().startswith(label.casefold())
        if named and choice.id in card.choices and (not rest or rest[0] in _PAUSES):
            return Rate(choice.id, rest.strip(_EDGES), session_id=card.session_id)
    for pattern in (_SIGN, _NUMBER):
        found = pattern.match(text)
        value = None if found is None else _value(found, card)
        if found is not None and value is not None:
            return Rate(value, text[found.end() :].strip(_EDGES), session_id=card.session_id)
    return None


def _alone(visit: Visit, words: str) -> Rate | None:
    """What is nothing but a rating, with a polite word beside it, where one is asked for."""
    card, text = _open_question(visit, words), _plain(words)
    if card is None:
        return None
    for choice in _offered(visit):
        if choice.id in card.choices and _plain(choice.label).casefold() == text.casefold():
            return Rate(choice.id, session_id=card.session_id)
    for found in _said_alone(text):
        value = _value(found, card)
        if value is not None:
            beside = (text[: found.start()].strip(_EDGES), text[found.end() :].strip(_EDGES))
            return Rate(value, " ".join(filter(None, beside)), session_id=card.session_id)
    return None


def _said_alone(text: str) -> Iterator[re.Match[str]]:
    """A sign or a number with nothing beside it but a polite word; not even that by a thumb."""
    for pattern in (_SIGN, _NUMBER):
        found = pattern.search(text)
        if found is None:
            continue
        beside = (text[: found.start()].strip(_EDGES), text[found.end() :].strip(_EDGES))
        polite = found[0][0] not in _THUMBS and all(not x or reads_as_farewell(x) for x in beside)
        if polite or not any(beside):
            yield found


def _unclear(card: OurCard | None, words: str) -> str:
    """What rates, but names no rating of the card's: stars, or a number; empty if nothing does."""
    if card is None:
        return ""
    for found in _said_alone(_plain(words)):
        if _value(found, card) is not None:
            continue
        if is_stars(found[0]):
            return found[0]
        named = found.groupdict()
        if named.get("of") is None and _FIGURES.fullmatch(named.get("number") or ""):
            return str(named["number"])
    return ""


def _value(found: re.Match[str], card: OurCard) -> int | None:
    """Which of the card's ratings it is; "3/10" is none where ten is not the best."""
    named = found.groupdict()
    if named.get("of") is not None and int(named["of"]) != max(card.choices, default=0):
        return None
    return value_of(named.get("number") or found[0], card.choices)


def _open_question(visit: Visit, words: str) -> OurCard | None:
    """The question that a plain number answers.

    Only in a direct room, soon after the chat, and as long as it is not rated: else nobody could
    tell an agent a number. Stars rate and do nothing else, so they may change a rating as well.
    """
    state = visit.record.conversation
    ended, session = ended_at(state), state.last_session
    if isinstance(state.phase, Ended):
        session = state.phase.session_id
    if not visit.record.direct or not _is_over(visit) or ended is None:
        return None
    known = {one.session_id for one in (state.rating, state.rated) if one is not None}
    if is_stars(words) and not _is_settled(visit):
        known = set()
    if visit.now - ended >= FRESH or session is None or session in known:
        return None
    for card in reversed(visit.record.cards):
        if card.kind is CardKind.RATING and card.session_id == session:
            return card
    if state.poll != session:
        return None
    # It is on its way, and may be read before we hear that it was sent.
    choices = tuple(one.id for one in _offered(visit))
    return OurCard(EventId(""), CardKind.RATING, session_id=session, choices=choices)


def _is_settled(visit: Visit) -> bool:
    """True if the newest chat has a rating that can no longer be changed."""
    rated, change = visit.record.conversation.rated, visit.rules.policy.rating_change
    return rated is not None and visit.now - rated.at > change


def _is_over(visit: Visit) -> bool:
    """True if there is no chat, and none is asked for."""
    return isinstance(visit.record.conversation.phase, Idle | Ended)


def _offered(visit: Visit) -> tuple[ratings.Choice, ...]:
    language = visit.rules.language_for(visit.record.settings)
    return ratings.choices(visit.rules, language, visit.record.conversation.ratings)


def _plain(words: str) -> str:
    return narrow(words).strip().rstrip(_EDGES)
