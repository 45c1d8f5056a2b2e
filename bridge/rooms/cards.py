"""Cards: messages of ours that a reaction, a vote or a word can answer. Pure, but for `ask_robot`.

A room remembers its newest cards (`OurCard`: the question for a rating, the queue card, an answer
of the knowledge base, the offer to be called back, the robot's proposals): a reaction to one of
them is an order to us. Where a client shows neither polls nor reactions, each card names a command.

- Ratings: the server's own table counts (200, `ratings`), else the operator's, else one to five
  stars: the protocol has no ids of its own (reference 1.3, traps T20 and T21). They can be given in
  words: by a reply to the question, at any time, or in a direct room soon after the chat by a
  message that is nothing but a rating.
- The knowledge base ("robot") is asked by command, or before (or in place of) a person, as the
  operator chose. Whether its answer helped is said by reaction, by command (`solved`, `human`) or
  in plain words; whoever wants a person takes along what was asked.
- Thanks soon after a chat (`is_thanks`, `SOON`) are answered: they would put their writer into the
  queue again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

import structlog
from msgspec.structs import replace

from bridge.config.model import RatingOption
from bridge.conversation import model
from bridge.conversation.chat import ended_at, unhappy
from bridge.conversation.policy import RobotUse
from bridge.conversation.queue import callback_wanted
from bridge.conversation.robot import awaited
from bridge.conversation.turn import plain_text
from bridge.ids import EventId, QueueId, SessionId
from bridge.rooms.ports import CallFailure, Refused
from bridge.rooms.record import (
    CardKind,
    Meaning,
    OurCard,
    PollAnswered,
    Reacted,
    RobotAnswered,
    RoomRecord,
    Spoke,
)
from bridge.rooms.rules import Rules, bare_sign, bridge_state_of, narrow
from bridge.rooms.surroundings import Surroundings, Waits
from bridge.rooms.visit import PutSigns, ShowAnswer, Visit
from bridge.texts import WORDS, Texts
from bridge.texts.durations import duration, waiting_range
from bridge.texts.languages import fallbacks
from bridge.webchat.http import RobotAnswer
from bridge.webchat.words import frame_bytes

KEPT_CARDS = 20
"""Cards of a room that are remembered; the oldest go first."""
FRESH = 3_600_000
"""ms after a chat in which plain words may rate it; later they are about something else."""

_CROSSES = frozenset("❌✖❎🚫")
_BELLS = frozenset("🔔👍☎📞📱")
_PERSON_SIGNS = frozenset("👎👤🙋🧑")
_ENOUGH_SIGNS = frozenset("👍✅✔")
_KEYCAP = "\u20e3"


def remember(visit: Visit, card: OurCard, signs: tuple[str, ...] = ()) -> None:
    """Remember a card that stands in the room: from now on taps on its signs are understood."""
    others = tuple(one for one in visit.record.cards if one.event_id != card.event_id)
    former = [sign for one in visit.record.cards if one not in others for sign in one.signs]
    gone = tuple(sign for sign in former if sign not in signs)
    signs = tuple(sign for sign in signs if sign not in former)
    visit.set(cards=(*others, card)[-KEPT_CARDS:])
    if card.asked is not None and card.asked in visit.record.erasing:
        forget(visit, card.asked)
    if signs or gone:
        visit.ask(PutSigns(card.event_id, signs, gone))


def forget(visit: Visit, asked: EventId) -> None:
    """Forget a question to the robot whose message was taken back: it goes along to nobody."""
    visit.record = unasked(visit.record, (asked,))


def unasked(record: RoomRecord, events: Collection[EventId]) -> RoomRecord:
    """The record without the questions to the robot that these messages asked."""
    return replace(
        record,
        cards=tuple(
            replace(one, text="", asked=None) if one.asked in events else one
            for one in record.cards
        ),
    )


# --- reactions and votes --------------------------------------------------------------------------


def meant_by(visit: Visit, gesture: Reacted | PollAnswered) -> list[model.Input] | None:
    """Inputs that a reaction or a vote orders; None if it is about no card of ours."""
    conversation = visit.record.conversation
    card = next((one for one in visit.record.cards if one.event_id == gesture.target), None)
    if card is None:
        return None
    sign = bare_sign(gesture.key) if isinstance(gesture, Reacted) else ""
    match card.kind:
        case CardKind.RATING:
            return _rated(visit, card, gesture)
        case CardKind.QUEUE | CardKind.CALLBACK:
            return _about_request(visit, card, sign)
        case CardKind.ROBOT:  # a thumb up is thanks enough; one down, or a person, asks for one
            if sign in _ENOUGH_SIGNS and card.about is not None:
                return [model.Solved(card.about)]
            return _handed_over(visit, card, gesture.event_id) if sign in _PERSON_SIGNS else []
        case CardKind.QUEUES:
            return []  # a vote is `chosen_queue`
        case CardKind.CHOICES:  # a digit asks the robot that one, as long as it is there
            return _proposed(conversation.phase, card, gesture.event_id, _number(sign) or 0)


def chosen_queue(visit: Visit, meaning: Meaning) -> QueueId | None:
    """The queue that a vote chooses; None: it is no vote, or about something else."""
    if not isinstance(meaning, PollAnswered):
        return None
    for card in visit.record.cards:
        if card.event_id == meaning.target and card.kind is CardKind.QUEUES:
            number = _voted(card, meaning)
            return None if number is None else QueueId(number)
    return None


def _about_request(visit: Visit, card: OurCard, sign: str) -> list[model.Input]:
    """A cross leaves the queue, or ends what a bell asks for: to be called back."""
    conversation = visit.record.conversation
    offers = card.kind is CardKind.CALLBACK or conversation.callback is not None
    if sign in _BELLS and offers and not card.dropped:
        return [model.CallBack()]
    waiting = isinstance(conversation.phase, model.Waiting)
    own = waiting and card.number == conversation.number
    return [model.Cancel()] if sign in _CROSSES and (own or callback_wanted(conversation)) else []


def _proposed(
    phase: model.Phase, card: OurCard, event_id: EventId, number: int
) -> list[model.Input]:
    """Input of the card's proposal of that number: what would be typed for it, if it still stands.

    The machine makes the robot's own words of that, without a speaker's name.
    """
    if not isinstance(phase, model.Chatting) or not phase.robot:
        return []
    if not 0 < number <= len(card.options):
        return []
    word = card.options[number - 1]
    if word in phase.choices:
        word = str(phase.choices.index(word) + 1)
    return [model.Said(event_id, model.CustomerText(word))]


def _rated(visit: Visit, card: OurCard, gesture: Reacted | PollAnswered) -> list[model.Input]:
    if isinstance(gesture, Reacted):
        value = value_of(gesture.key, card.choices)
        if value is None and is_stars(gesture.key):
            _ask_which(visit, gesture.target)
    else:
        value = _voted(card, gesture)
    return [] if value is None else [rating(visit, card, value)]


def wants_person(visit: Visit, event_id: EventId) -> list[model.Input]:
    """Inputs of `human`: the robot's newest question since the last chat goes along."""
    number = visit.record.conversation.number
    for card in reversed(visit.record.cards):
        if card.kind is CardKind.ROBOT and card.text and card.number == number:
            return _handed_over(visit, card, event_id)
    return [model.Human()]


def _handed_over(visit: Visit, card: OurCard, event_id: EventId) -> list[model.Input]:
    """Inputs that ask for a person, who gets the card's question if no chat has come since."""
    conversation = visit.record.conversation
    idle = isinstance(conversation.phase, model.NoChat)
    if not idle or not card.text or card.number != conversation.number:
        return [model.Human()]
    asked = model.CustomerText(visit.word("agent.asked_robot", {"text": card.text}))
    quotes = () if card.asked is None else (card.asked,)
    return [model.Human(), model.Said(event_id, asked, quotes=quotes)]


def rating(visit: Visit, card: OurCard, value: int, comment: str = "") -> model.Rate:
    """A rating; one of the worse half is unhappy, and of one person alone it is asked why."""
    worse = card.choices[(len(card.choices) + 1) // 2 :]
    more = value in worse and visit.record.direct and not visit.record.settings.paused
    return model.Rate(value, comment, session_id=card.session_id, more=more)


def question(visit: Visit, session: SessionId | None = None) -> OurCard:
    """The question for a rating of a chat, the newest (None), as it stands or is on its way."""
    return OurCard(EventId(""), CardKind.RATING, session, tuple(offered(visit)))


def value_of(key: str, choices: Sequence[int]) -> int | None:
    """The rating (of `choices`, ids, the best first) that a reaction means; None if it means none.

    Digits name an id, as the card shows it; stars and thumbs know only more and less. One star is
    what a tap gives, whatever was meant by it: it is a rating only where there is no other.
    """
    sign, best_last = bare_sign(key), choices[::-1]
    if is_stars(sign):
        unclear = len(sign) > len(choices) or (len(sign) == 1 and len(choices) > 1)
        return None if unclear else best_last[len(sign) - 1]
    if sign in {"👍", "👎"} and best_last:
        return best_last[-1] if sign == "👍" else best_last[0]
    number = _number(sign)
    return number if number in choices else None


def is_stars(key: str) -> bool:
    return re.fullmatch("[⭐★🌟]+", bare_sign(key)) is not None


def _voted(card: OurCard, vote: PollAnswered) -> int | None:
    """The choice of a poll's answer, which names it; ids may have any length, or a minus."""
    return next((one for one in card.choices if str(one) == vote.answer), None)


def _number(sign: str) -> int | None:
    text = "10" if sign == "🔟" else sign.replace(_KEYCAP, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


# --- ratings --------------------------------------------------------------------------------------

_ONE_TO_FIVE = (5, 4, 3, 2, 1)


def choices(rules: Rules, language: str, told: tuple[tuple[int, str], ...]) -> dict[int, str]:
    """The ratings (id -> label), the best first: in the operator's order, or by the server's ids.

    `told` are (id, label) as the server listed them; there the highest id is the best, as in the
    vendor's own apps (1 satisfied, 0 not).
    """
    if told:
        best_first = sorted(dict(told).items(), reverse=True)
        return {number: label.strip() or str(number) for number, label in best_first}
    if rules.ratings:
        return {one.id: _label(one, language) for one in rules.ratings}
    return {n: rules.texts.render(language, f"rating.stars_{n}", {}) for n in _ONE_TO_FIVE}


def _label(rating: RatingOption, language: str) -> str:
    """What the operator calls a rating, in the nearest language that has a name for it."""
    named: dict[str, str] = dict(rating.labels.items())
    return next(named[one] for one in (*fallbacks(language), *named) if one in named)


def offered(visit: Visit) -> dict[int, str]:
    """The ratings that this room has, the best first."""
    language = visit.rules.language_for(visit.record)
    return choices(visit.rules, language, visit.record.conversation.ratings)


def shown(choices: dict[int, str]) -> str:
    return "\n".join(f"{number} — {label}" for number, label in choices.items())


def name_of(rules: Rules, language: str, told: tuple[tuple[int, str], ...], value: int) -> str:
    """Label of a rating; its number if nobody said. As for `choices`."""
    return choices(rules, language, told).get(value, str(value))


def _ask_which(visit: Visit, reply_to: EventId) -> None:
    known = offered(visit)
    args: model.Args = {"options": shown(known), "best": next(iter(known))}
    visit.say("rating.which", args, reply_to=reply_to)


def rate(visit: Visit, words: Sequence[str], event_id: EventId) -> None:
    """Rate the newest chat by a number that is offered, or by 0 if nobody says what is."""
    value, known = int(words[0]), offered(visit)
    conversation = visit.record.conversation
    unsaid = not conversation.ratings and not visit.rules.ratings
    if conversation.last_session is None or value in known or (unsaid and value == 0):
        wish = rating(visit, question(visit), value, " ".join(words[1:]))
        visit.step(replace(wish, said_by=event_id) if wish.comment else wish, event_id)
    else:
        visit.say("rating.unknown", {"value": value, "options": shown(known)}, reply_to=event_id)


def rates(visit: Visit, words: Sequence[str]) -> bool:
    """True if "rate 5 …" is a rating: with more than thanks behind it, only soon after a chat."""
    conversation = visit.record.conversation
    if conversation.last_session is None:
        return False
    known = int(words[0]) in offered(visit)
    if len(words) == 1 or is_thanks(" ".join(words[1:])):
        # If there is no such rating, it is said which there are; a long number is an order's.
        return known or _number(words[0]) is not None
    ended = ended_at(conversation)
    return known and ended is not None and visit.now - ended < FRESH


# --- after a chat: thanks, ratings in words -------------------------------------------------------

LONGEST_THANKS = 80
"""Characters; who writes more has more to say."""


def is_thanks(words: str) -> bool:
    """True for a thank-you and nothing else: one of `_THANKS`, word for word.

    A mark may join it to others, or to `_GOODBYES` ("thanks, bye"). Letter case, blanks, emoji and
    wide letters (NFKC) do not count, but a question mark asks for something. One word more, and it
    is somebody's message.
    """
    if len(words) > LONGEST_THANKS:
        return False
    text = narrow(words)
    parts = set(filter(None, map(_bare, re.split("[,.!;~\n。、·-]", text))))
    joined = parts <= _THANKS | _GOODBYES and not parts.isdisjoint(_THANKS)
    return "?" not in text and (joined or _bare(text) in _THANKS)


def _bare(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


_THANKS, _GOODBYES = (
    frozenset(_bare(narrow(one)) for one in WORDS[kind]) for kind in ("thanks", "goodbyes")
)


SOON = 600_000
"""ms after a chat in which thanks belong to it."""

_UNIT = r"(?:[ -]?(?:stars?|points?|分|つ?星|点|點))?"
_NUMBER = re.compile(
    rf"(?<![a-z0-9_/-])(?<![0-9][.,:])(?P<number>[0-9]{{1,6}}){_UNIT}(?: ?/ ?(?P<of>[0-9]{{1,6}}))?"
    r"(?![a-z0-9_/]|[.,:][0-9])",
    re.IGNORECASE,
)
_SIGN = re.compile("(?:[⭐★🌟]+|[👍👎]|[0-9]\ufe0f?\u20e3|🔟)[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*")
_THUMBS = frozenset("👍👎")
_FIGURES = re.compile("[0-9]{1,2}")
"""A number that rates, offered or not; a longer one is the number of somebody's order."""
_PAUSES = "\r\n\t,.;:!~、。·-–—"
_EDGES = f" {_PAUSES}"


def about_chat(visit: Visit, spoke: Spoke, *, answers: bool) -> bool:
    """True if a text is about a chat that is over: a rating, thanks, or words for a rating.

    It goes to no agent then. Thanks count from the customer's `close` on, whenever that arrives:
    other words are for the next chat then. `answers`: it replies to a message of somebody's.
    """
    if not isinstance(spoke.content, model.CustomerText):
        return False
    conversation, words = visit.record.conversation, spoke.plain
    ended = ended_at(conversation)
    phase = conversation.phase
    is_over = isinstance(phase, model.NoChat)
    closing = isinstance(phase, model.Chatting) and phase.close and not phase.unwanted
    soon = closing or (is_over and ended is not None and visit.now - ended < SOON)
    questions = [one for one in visit.record.cards if one.kind is CardKind.RATING]
    card = next((one for one in questions if one.event_id == spoke.reply_to), None)
    if card is None and not (is_over or closing):
        return False
    question = _open_question(visit, words) if is_over else None
    rate, unclear, asked = None, "", card or question
    if asked is not None:
        rate = _rate(visit, asked, words, reply=card is not None)
        unclear = _unclear(asked, words)
    of_newest = card is not None and card.session_id == conversation.last_session
    if rate is not None:
        visit.step(replace(rate, said_by=spoke.event_id) if rate.comment else rate)
    elif unclear and is_stars(unclear):
        _ask_which(visit, spoke.event_id)
    elif soon and is_thanks(words):
        visit.say("chat.thanked", reply_to=spoke.event_id)
    elif not answers and is_over and _goes_along(visit, spoke):
        pass
    elif unclear and is_over and (question is not None or of_newest):
        args: model.Args = {"value": int(unclear), "options": shown(offered(visit))}
        visit.say("rating.unknown", args, reply_to=spoke.event_id)
    else:
        return False
    return True


def _goes_along(visit: Visit, spoke: Spoke) -> bool:
    """Send a text along with an unhappy rating, and tell its sender; False: it does not go along.

    It may be meant for an agent all the same: then it can be sent again, as what is reported can.
    """
    conversation, policy = visit.record.conversation, visit.rules.policy_for(visit.record)
    rated = unhappy(conversation, visit.now, policy)
    if rated is None or rated.asked is None or not visit.record.direct:
        return False  # in company the next words may be anybody's
    if frame_bytes(spoke.plain) > policy.max_text_bytes:
        return False
    visit.report(spoke.event_id, "undelivered.with_rating")
    visit.step(model.Rate(rated.asked, spoke.plain, rated.session_id, spoke.event_id))
    return True


def _rate(visit: Visit, card: OurCard, words: str, *, reply: bool) -> model.Rate | None:
    """A rating with nothing beside it but thanks; a reply only has to begin with it."""
    text = _trimmed(words)
    for number, name in offered(visit).items():
        label = _trimmed(name)
        whole = text.casefold() == label.casefold()
        rest = "" if whole else text[len(label) :]
        begins = text.casefold().startswith(label.casefold()) and (not rest or rest[0] in _PAUSES)
        if number in card.choices and (whole or (reply and begins)):
            return rating(visit, card, number, rest.strip(_EDGES))
    for found, beside in _marks(text, reply=reply):
        value = _value(found, card)
        if value is not None:
            return rating(visit, card, value, beside)
    return None


def _marks(text: str, *, reply: bool) -> Iterator[tuple[re.Match[str], str]]:
    """A sign or a number, and what is beside it: thanks, or nothing; of a thumb only nothing.

    In a reply they come first, and whatever follows is a comment.
    """
    for pattern in (_SIGN, _NUMBER):
        found = pattern.match(text) if reply else pattern.search(text)
        if found is None:
            continue
        beside = (text[: found.start()].strip(_EDGES), text[found.end() :].strip(_EDGES))
        thanked = found[0][0] not in _THUMBS and all(not x or is_thanks(x) for x in beside)
        if reply or thanked or not any(beside):
            yield found, " ".join(filter(None, beside))


def _unclear(card: OurCard, words: str) -> str:
    """Stars or a number that name no rating of the card's; empty if there are none."""
    for found, _ in _marks(_trimmed(words), reply=False):
        if _value(found, card) is not None:
            continue
        if is_stars(found[0]):
            return found[0]
        named = found.groupdict()
        if named.get("of") is None and _FIGURES.fullmatch(named.get("number") or ""):
            return str(named["number"])
    return ""


def _value(found: re.Match[str], card: OurCard) -> int | None:
    """Rating of the card that is meant; None for "3/10" where ten is not the best."""
    named = found.groupdict()
    if named.get("of") is not None and int(named["of"]) != max(card.choices, default=0):
        return None
    return value_of(named.get("number") or found[0], card.choices)


def _open_question(visit: Visit, words: str) -> OurCard | None:
    """The question that a plain number answers, while there is no chat.

    Only in a direct room, soon after the chat, and as long as it is not rated: else nobody could
    tell an agent a number. Stars rate and do nothing else, so they may change a rating as well, as
    long as the server takes another.
    """
    state = visit.record.conversation
    ended, session, rated = ended_at(state), state.last_session, state.rated
    if isinstance(state.phase, model.Ended):
        session = state.phase.session_id
    if not visit.record.direct or session is None or ended is None or visit.now - ended >= FRESH:
        return None
    settled = rated is not None and visit.now - rated.at > visit.rules.policy.rating_change
    known = {one.session_id for one in (state.rating, rated) if one is not None}
    if session in known and (settled or not is_stars(words)):
        return None
    for card in reversed(visit.record.cards):
        if card.kind is CardKind.RATING and card.session_id == session:
            return card
    # It may be on its way, and be read before we hear that it was sent.
    return question(visit, session) if state.poll == session else None


def _trimmed(words: str) -> str:
    return narrow(words).strip().rstrip(_EDGES)


async def show_bridge(around: Surroundings, record: RoomRecord) -> None:
    """Write the room's `m.bridge`, as it is by now, unless it says so already, or it may not be."""
    with suppress(Refused):
        state = bridge_state_of(around.rules, record)
        await around.matrix.show_bridge(record.matrix_id, record.host, *state)


# --- answers of the knowledge base ----------------------------------------------------------------

MOST_ANSWERS = 3
LONGEST_PREVIEW, LONGEST_SHORT = 300, 80
"""Characters of an answer, in the room and to an agent."""

_PERSON_WORDS, _ENOUGH_WORDS = frozenset(WORDS["person"]), frozenset(WORDS["enough"])
_ENDINGS = " \t\r\n.!。！~～"


async def ask_robot(around: Surroundings, ask: model.AskRobot) -> RobotAnswered:
    """Ask the knowledge base; a failure is an answer as well."""
    # A message that waits for the answer is kept, and may be taken back, in its own place.
    question = "" if ask.first else ask.question
    answered = RobotAnswered(ask.event_id, question, "robot.nothing", first=ask.first)
    try:
        reply = await around.link.ask_robot(ask.question)
    except CallFailure as failure:
        if failure.reason is model.FailureReason.TOO_BIG:
            return replace(answered, key="robot.too_long")
        log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.robot")
        log.warning("the knowledge base did not answer", why=failure.reason, code=failure.code)
        return replace(answered, key="robot.unreachable", unreachable=True)
    if not reply.answers:
        return answered
    found = reply.answers[:MOST_ANSWERS]
    answers = "\n\n".join(_card(one, around.rules.km_base_url) for one in found)
    short = tuple(_cut(_title(one) or _words(one.preview), LONGEST_SHORT) for one in found)
    return replace(answered, key="robot.answers", args={"answers": answers}, short=short)


def _card(found: RobotAnswer, base: str) -> str:
    link = f"{base.rstrip('/')}/{found.path.lstrip('/')}" if base and found.path else ""
    preview = _cut(_words(found.preview), LONGEST_PREVIEW)
    return "\n".join(filter(None, (f"▪ {_title(found) or '…'}", preview, link)))


def _title(found: RobotAnswer) -> str:
    return _words(found.title) or _words(found.question)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _words(fragment: str) -> str:
    """The text of an HTML fragment, on one line."""
    return " ".join(plain_text(fragment).split())


def robot_answered(visit: Visit, came: RobotAnswered) -> None:
    """Show the answer of the knowledge base, unless a person was asked for meanwhile."""
    if not came.first:
        visit.ask(ShowAnswer(came.event_id, came.question, came.key, came.args))
        return
    question = awaited(visit.record.conversation, came.event_id)
    if question is None:
        return
    note = ""
    if came.short:
        key = "robot.answers_kept" if question.aside else "robot.answers_first"
        visit.ask(ShowAnswer(came.event_id, came.question, key, came.args, first=True))
        note = visit.word("agent.robot_answered", {"answers": "; ".join(came.short)})
    silence = model.Silence.UNREACHABLE if came.unreachable else model.Silence.NOTHING
    visit.step(model.Consulted(came.event_id, note, silence))


def robot_wish(visit: Visit, words: str) -> model.Input | None:
    """Input that a few plain words stand for while the robot answers; None: they are words.

    Nobody who waits for an answer reads a manual: "human" asks for a person, and thanks for an
    answer are no new question.
    """
    conversation, use = visit.record.conversation, visit.rules.policy.robot
    phase, word = conversation.phase, " ".join(words.split()).strip(_ENDINGS).casefold()
    if isinstance(phase, model.Chatting):
        return model.Human() if phase.robot and word in _PERSON_WORDS else None
    if use is RobotUse.OFF or not isinstance(phase, model.NoChat):
        return None
    if word in _PERSON_WORDS and (use is RobotUse.FIRST or conversation.questions):
        return model.Human()
    enough = word in _ENOUGH_WORDS or is_thanks(words)
    return model.Solved() if enough and any(one.note for one in conversation.questions) else None


# --- the queue card's second line -----------------------------------------------------------------

WORTH_SAYING = 60_000
"""ms from which on the time waited is told."""


def second_line(texts: Texts, language: str, place: model.Queued, waits: Waits, now: int) -> str:
    """Estimate and length of a wait, in words; empty if nothing is known."""
    parts: list[tuple[str, model.Args]] = []
    expected = waits.expected(place, now)
    if expected is not None and expected[1] <= 0:
        parts.append(("queue.longer", {}))
    elif expected is not None:
        parts.append(("queue.expected", {"wait": waiting_range(language, *expected)}))
    if now - place.since >= WORTH_SAYING:
        waited = duration(language, (now - place.since) / 1000)
        parts.append(("queue.waited", {"time": waited}))
    return " · ".join(texts.render(language, key, args) for key, args in parts)
