"""Messages of ours that can be answered by a reaction, a vote or a word. Pure, but for `ask_robot`.

A room remembers its newest cards (`OurCard`), so that a reaction to one of them is an order to us
and to nobody else. Whoever's client shows neither polls nor reactions writes the command that the
card names.

Cards: the question for a rating, the queue card, an answer of the knowledge base, the offer to be
called back, the robot's proposals.

- Ratings: the server's own table counts (200, `ratings`), else the operator's, else one to five
  stars: the protocol has no ids of its own (reference 1.3, traps T20 and T21).
- The knowledge base ("robot") is asked by command, or before (or in place of) a person, as the
  operator chose. Whether its answer helped is said by reaction (👍, 👎), by command (`solved`,
  `human`) or in plain words; whoever wants a person takes along what was asked.
- A rating can be given in words: a reply to the question that names one is a rating wherever and
  whenever it is written; without being a reply, in a direct room soon after the chat, a message
  that is nothing but a rating is.
- Thanks soon after a chat (`SOON`) ask for nobody: what is written outside a chat asks for an
  agent, and "Thank you!" a minute after the end would put its writer into the queue again. So a
  message that is one of a few exact thanks (`is_thanks`) is answered instead: it was not passed on,
  and 🔁 does pass it on, like any message that was reported. Nothing else is held back on its
  wording: what is no command, rating or thanks is carried.
- The queue card has a second line: the way so far, the expected wait, the time waited:

      ▲ up by 2 in 4 minutes · expected from here: 3–5 minutes (an estimate) · waiting for 6 minutes

  It is put together as the card is written, because the estimate changes all the time. A part of
  which nothing is known is left out, and so is the whole line in the first moments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
import structlog

from bridge.conversation.chat import ended_at
from bridge.conversation.model import (
    Args,
    AskRobot,
    CallBack,
    Cancel,
    Chatting,
    Consulted,
    CustomerText,
    Ended,
    FailureReason,
    Human,
    Idle,
    Input,
    Queued,
    QueuePlace,
    Rate,
    Requesting,
    Said,
    Silence,
    Solved,
)
from bridge.conversation.policy import RobotUse
from bridge.conversation.queue import callback_wanted
from bridge.conversation.robot import awaited
from bridge.conversation.turn import inviting
from bridge.ids import EventId
from bridge.media.plaintext import html_to_text
from bridge.rooms.effects import PutSigns, ShowAnswer
from bridge.rooms.inbox import PollAnswered, Reacted, RobotAnswered, Spoke
from bridge.rooms.ports import CallFailure
from bridge.rooms.record import CardKind, OurCard
from bridge.rooms.rules import Rules, narrow
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Visit
from bridge.rooms.waiting_times import Waits
from bridge.texts.durations import duration, waiting_range
from bridge.webchat.http import RobotAnswer

KEPT_CARDS = 20
"""Cards of a room that are remembered; the oldest go first."""
FRESH = 3_600_000
"""ms after a chat in which plain words may rate it; later they are about something else."""

_SKINS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f]")
"""Colours of hands, and marks that choose between two pictures of the same sign."""
_STAR_SIGNS = frozenset("⭐★🌟")
_CROSSES = frozenset("❌✖❎🚫")
_BELLS = frozenset("🔔👍☎📞📱")
_PERSON_SIGNS = frozenset("👎👤🙋🧑")
_ENOUGH_SIGNS = frozenset("👍✅✔")
_KEYCAP = "\u20e3"


def remember(visit: Visit, card: OurCard, signs: tuple[str, ...] = ()) -> None:
    """Remember a card that stands in the room: from now on taps on its signs are understood."""
    visit.set(cards=(*visit.record.cards, card)[-KEPT_CARDS:])
    if card.asked is not None and card.asked in visit.record.erasing:
        forget(visit, card.asked)
    if signs:
        visit.ask(PutSigns(card.event_id, signs))


def forget(visit: Visit, asked: EventId) -> None:
    """Forget a question to the robot whose message was taken back: it goes along to nobody."""
    visit.set(
        cards=tuple(
            msgspec.structs.replace(card, text="", asked=None) if card.asked == asked else card
            for card in visit.record.cards
        )
    )


def meant_by(visit: Visit, gesture: Reacted | PollAnswered) -> list[Input] | None:
    """Inputs that a reaction or a vote orders; None if it is about no card of ours."""
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
    if len(sign) == 1 and sign in _STAR_SIGNS and len(choices) > 1:
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
    return bool(sign) and set(sign) <= _STAR_SIGNS


def ask_which(visit: Visit, reply_to: EventId) -> None:
    """Ask which rating was meant by stars that do not say it."""
    rules = visit.rules
    language = rules.language_for(visit.record.settings)
    offered = choices(rules, language, visit.record.conversation.ratings)
    args: Args = {
        "options": shown(offered),
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
    """Leave the queue, by a cross on its card."""
    conversation = visit.record.conversation
    crossed = isinstance(gesture, Reacted) and _SKINS.sub("", gesture.key).strip() in _CROSSES
    waiting = isinstance(conversation.phase, Requesting | Queued)
    return [Cancel()] if crossed and waiting and card.number == conversation.number else []


def wants_person(visit: Visit, event_id: EventId) -> list[Input]:
    """Inputs of `human`: the robot's newest question since the last chat goes along."""
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
    if sign in _ENOUGH_SIGNS and card.about is not None:
        return [Solved(card.about)]
    if sign not in _PERSON_SIGNS:
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


# --- ratings --------------------------------------------------------------------------------------

_ONE_TO_FIVE = (5, 4, 3, 2, 1)


class Choice(msgspec.Struct, frozen=True):
    id: int
    label: str


def choices(rules: Rules, language: str, told: tuple[tuple[int, str], ...]) -> tuple[Choice, ...]:
    """The ratings, the best first.

    Args:
        rules: the operator's; there the order counts.
        language: of the room.
        told: (id, label) as the server listed them; there the highest id is the best, as in the
            vendor's own apps (1 satisfied, 0 not).
    """
    if told:
        best_first = sorted(dict(told).items(), reverse=True)
        return tuple(Choice(number, label.strip() or str(number)) for number, label in best_first)
    if rules.ratings:
        return tuple(Choice(one.id, one.label(language)) for one in rules.ratings)
    texts = rules.texts
    return tuple(Choice(n, texts.render(language, f"rating.stars_{n}", {})) for n in _ONE_TO_FIVE)


def shown(offered: tuple[Choice, ...]) -> str:
    """Choices as lines of a message."""
    return "\n".join(f"{choice.id} — {choice.label}" for choice in offered)


def name_of(rules: Rules, language: str, told: tuple[tuple[int, str], ...], value: int) -> str:
    """Label of a rating; its number if nobody said. As for `choices`."""
    labels = {one.id: one.label for one in choices(rules, language, told)}
    return labels.get(value, str(value))


# --- thanks ---------------------------------------------------------------------------------------

LONGEST_THANKS = 80
"""Characters; who writes more has more to say."""


def is_thanks(words: str) -> bool:
    """True for a thank-you and nothing else: one of `_THANKS`, word for word.

    Letter case, blanks, punctuation, emoji and wide letters (NFKC) do not count, but a question
    mark asks for something. One word more, and it is somebody's message.
    """
    return (
        len(words) <= LONGEST_THANKS
        and "?" not in (text := narrow(words))
        and _bare(text) in _THANKS
    )


def _bare(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


_THANKS = frozenset(
    _bare(narrow(words))
    for words in (
        *("thanks", "thank you", "thank u", "thx", "ty", "many thanks", "thanks a lot"),
        *("thanks so much", "thank you so much", "thanks very much", "thank you very much"),
        *("ok thanks", "ok thank you", "no thanks", "no thank you"),
        *("谢谢", "谢谢你", "谢谢您", "谢谢你们", "谢谢了", "谢谢啦"),
        *("多谢", "多谢了", "感谢", "感谢您", "非常感谢", "太谢谢了", "好的谢谢", "好的谢谢您"),
        *("謝謝", "謝謝你", "謝謝您", "謝謝你們", "謝謝了", "謝謝喔"),
        *("多謝", "多謝了", "感謝", "感謝您", "非常感謝", "太謝謝了", "好的謝謝", "好的謝謝您"),
        *("ありがとう", "ありがとうございます", "ありがとうございました", "どうもありがとう"),
        *("どうもありがとうございます", "どうもありがとうございました", "感謝します"),
        *("有難うございます", "有難うございました", "サンキュー"),
    )
)
"""Thanks in the languages of the bridge, as `_bare` leaves them."""


# --- after a chat: ratings in words, thanks -------------------------------------------------------

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


def about_chat(visit: Visit, spoke: Spoke) -> bool:
    """True if a text is a rating, or thanks, for a chat that is over: it goes to no agent.

    Args:
        visit: record in, record and effects out.
        spoke: words that are no command.
    """
    if not isinstance(spoke.content, CustomerText):
        return False
    card, is_over = _replied_to(visit, spoke.reply_to), _is_over(visit)
    if card is None and not is_over:
        return False
    words = spoke.plain
    question = _open_question(visit, words) if is_over else None
    rate = _alone(visit, question, words) if card is None else _reply(visit, card, words)
    unclear = _unclear(card or question, words)
    newest = visit.record.conversation.last_session
    is_asked = question is not None or (card is not None and card.session_id == newest and is_over)
    if rate is not None:
        visit.step(rate)
    elif unclear and is_stars(unclear):
        ask_which(visit, spoke.event_id)
    elif is_over and _is_soon(visit) and is_thanks(words):
        key = inviting("undelivered.farewell", visit.rules.policy_for(visit.record))
        visit.report(spoke.event_id, key, {"prefix": visit.rules.prefix})
    elif unclear and is_asked:
        args: Args = {"value": int(unclear), "options": shown(_offered(visit))}
        visit.say("rating.unknown", args, reply_to=spoke.event_id)
    else:
        return False
    return True


def _is_soon(visit: Visit) -> bool:
    """True if a chat has ended a short while ago."""
    ended = ended_at(visit.record.conversation)
    return ended is not None and visit.now - ended < SOON


def _replied_to(visit: Visit, event_id: EventId | None) -> OurCard | None:
    """The question for a rating that this is a reply to."""
    for card in visit.record.cards:
        if card.event_id == event_id and card.kind is CardKind.RATING:
            return card
    return None


def _reply(visit: Visit, card: OurCard, words: str) -> Rate | None:
    """A rating at the beginning of a reply to the question; the rest is a comment on it."""
    text = _trimmed(words)
    for choice in _offered(visit):
        label = _trimmed(choice.label)
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


def _alone(visit: Visit, card: OurCard | None, words: str) -> Rate | None:
    """A rating with nothing beside it but thanks; None if there is no question (`card`) for it."""
    text = _trimmed(words)
    if card is None:
        return None
    for choice in _offered(visit):
        if choice.id in card.choices and _trimmed(choice.label).casefold() == text.casefold():
            return Rate(choice.id, session_id=card.session_id)
    for found in _said_alone(text):
        value = _value(found, card)
        if value is not None:
            beside = (text[: found.start()].strip(_EDGES), text[found.end() :].strip(_EDGES))
            return Rate(value, " ".join(filter(None, beside)), session_id=card.session_id)
    return None


def _said_alone(text: str) -> Iterator[re.Match[str]]:
    """A sign or a number with nothing beside it but thanks; not even that by a thumb."""
    for pattern in (_SIGN, _NUMBER):
        found = pattern.search(text)
        if found is None:
            continue
        beside = (text[: found.start()].strip(_EDGES), text[found.end() :].strip(_EDGES))
        thanked = found[0][0] not in _THUMBS and all(not x or is_thanks(x) for x in beside)
        if thanked or not any(beside):
            yield found


def _unclear(card: OurCard | None, words: str) -> str:
    """Stars or a number that name no rating of the card's; empty if there are none."""
    if card is None:
        return ""
    for found in _said_alone(_trimmed(words)):
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


def _offered(visit: Visit) -> tuple[Choice, ...]:
    language = visit.rules.language_for(visit.record.settings)
    return choices(visit.rules, language, visit.record.conversation.ratings)


def _trimmed(words: str) -> str:
    return narrow(words).strip().rstrip(_EDGES)


# --- answers of the knowledge base ----------------------------------------------------------------

MOST_ANSWERS = 3
LONGEST_PREVIEW = 300
"""Characters."""
LONGEST_SHORT = 80
"""Characters of an answer that an agent is told of."""

_PERSON_WORDS = frozenset(
    [
        "human",
        "person",
        "agent",
        "operator",
        "人工",
        "转人工",
        "人工客服",
        "转人工客服",
        "真人",
        "轉人工",
        "真人客服",
        "轉真人",
        "オペレーター",
        "担当者",
        "有人対応",
    ]
)
_ENOUGH_WORDS = frozenset(
    [
        "solved",
        "ok",
        "已解决",
        "解决了",
        "好的",
        "已解決",
        "解決了",
        "解決しました",
    ]
)
_ENDINGS = " \t\r\n.!。！~～"


async def ask_robot(around: Surroundings, ask: AskRobot) -> RobotAnswered:
    """Ask the knowledge base; a failure is an answer as well."""
    # A message that waits for the answer is kept, and may be taken back, in its own place.
    question = "" if ask.first else ask.question

    def nothing(key: str, *, unreachable: bool = False) -> RobotAnswered:
        return RobotAnswered(ask.event_id, question, key, first=ask.first, unreachable=unreachable)

    try:
        reply = await around.link.ask_robot(ask.question)
    except CallFailure as failure:
        if failure.reason is FailureReason.TOO_BIG:
            return nothing("robot.too_long")
        log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.robot")
        log.warning("the knowledge base did not answer", why=failure.reason, code=failure.code)
        return nothing("robot.unreachable", unreachable=True)
    if not reply.answers:
        return nothing("robot.nothing")
    base = around.rules.km_base_url
    found = reply.answers[:MOST_ANSWERS]
    return RobotAnswered(
        ask.event_id,
        question,
        "robot.answers",
        {"answers": "\n\n".join(_card(one, base) for one in found)},
        first=ask.first,
        short=tuple(_cut(_title(one) or _words(one.preview), LONGEST_SHORT) for one in found),
    )


def robot_answered(visit: Visit, came: RobotAnswered) -> None:
    """Show the answer of the knowledge base, and let the conversation go on.

    What came too late, because a person was asked for meanwhile, is not shown.
    """
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
    silence = Silence.UNREACHABLE if came.unreachable else Silence.NOTHING
    visit.step(Consulted(came.event_id, note, silence))


def robot_wish(visit: Visit, words: str) -> Input | None:
    """Input that a few plain words stand for while the robot answers; None: they are words.

    Nobody who waits for an answer reads a manual: "human" asks for a person, and thanks for an
    answer are no new question.
    """
    conversation, use = visit.record.conversation, visit.rules.policy.robot
    phase = conversation.phase
    if isinstance(phase, Chatting):
        if not phase.robot:
            return None
    elif use is RobotUse.OFF or not isinstance(phase, Idle | Ended):
        return None
    word = " ".join(words.split()).strip(_ENDINGS).casefold()
    if isinstance(phase, Chatting):
        return Human() if word in _PERSON_WORDS else None
    if word in _PERSON_WORDS and (use is RobotUse.FIRST or conversation.questions):
        return Human()
    enough = word in _ENOUGH_WORDS or is_thanks(words)
    if enough and any(one.note for one in conversation.questions):
        return Solved()
    return None


def _card(found: RobotAnswer, base: str) -> str:
    lines = [f"▪ {_title(found) or '…'}", _cut(_words(found.preview), LONGEST_PREVIEW)]
    if base and found.path:
        lines.append(f"{base.rstrip('/')}/{found.path.lstrip('/')}")
    return "\n".join(filter(None, lines))


def _title(found: RobotAnswer) -> str:
    return _words(found.title) or _words(found.question)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _words(fragment: str) -> str:
    """The text of an HTML fragment, on one line."""
    text = html_to_text(fragment)
    return " ".join((fragment if text is None else text).split())


# --- the queue card's second line -----------------------------------------------------------------

WORTH_SAYING = 60_000
"""ms from which on a standstill, or the time waited, is told."""
_JOINT = " · "


class Sentences(Protocol):
    """Our sentences in every language, as `texts.Texts` has them."""

    def render(self, language: str, key: str, args: Args) -> str:
        """The sentence of that key."""
        ...


def second_line(sentences: Sentences, language: str, place: QueuePlace, waits: Waits) -> str:
    """Trend, estimate and length of a wait, in words; empty if nothing is known."""
    parts = [*_trend(place), *_expected(language, place, waits), *_waited(place)]
    return _JOINT.join(
        sentences.render(language, key, _spoken(language, args)) for key, args in parts
    )


Part = tuple[str, Args]
"""A key of the texts with its args; `ms` is a length of time, to be said as `time`."""


def _trend(place: QueuePlace) -> Iterator[Part]:
    if not place.position or not place.first_position:
        return
    moved = place.first_position - place.position
    if moved:
        key = "queue.up" if moved > 0 else "queue.down"
        yield key, {"places": abs(moved), "ms": place.moved_at - place.first_at}
    elif place.at - place.moved_at >= WORTH_SAYING:
        yield "queue.unchanged", {"ms": place.at - place.moved_at}


def _expected(language: str, place: QueuePlace, waits: Waits) -> Iterator[Part]:
    expected = waits.expected(place)
    if expected is None:
        return
    if expected.high <= 0:
        yield "queue.longer", {}
    else:
        yield "queue.expected", {"wait": waiting_range(language, expected.low, expected.high)}


def _waited(place: QueuePlace) -> Iterator[Part]:
    waited = place.at - place.since
    if waited >= WORTH_SAYING:
        yield "queue.waited", {"ms": waited}


def _spoken(language: str, args: Args) -> Args:
    ms = args.get("ms")
    if not isinstance(ms, int):
        return args
    return {**args, "time": duration(language, max(ms / 1000, 1))}
