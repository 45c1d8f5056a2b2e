"""Cards: notices that a reaction, vote or word can answer. Pure, but for `ask_robot`.

A room's record keeps its newest cards (`OurCard`: rating question, queue card, answer of the
knowledge base, offer of a call-back, the robot's proposals); a reaction to one is an instruction to
the bridge. For clients without polls or reactions each card also names a command.

- Ratings: the server's table (200, `ratings`), else the operator's, else one to five stars: the
  protocol defines no ids (reference 1.3, traps T20 and T21). They can be given in words: in a reply
  to the question at any time, or in a direct room within `FRESH` by a message that is nothing else.
- The knowledge base ("robot") is asked by command, or before or instead of an agent, as configured.
  Reactions, commands (`solved`, `human`) or plain words say whether its answer helped; an agent who
  is asked for then gets the question.
- Thanks within `SOON` after a chat or a request (`is_thanks`) are answered by the bridge; they
  would otherwise put the customer into the queue again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import structlog
from msgspec.structs import replace

from bridge.config.model import RatingOption
from bridge.conversation import model
from bridge.conversation.chat import RATING_CHANGE, ended_at, names, unhappy
from bridge.conversation.queue import awaited, callback_wanted, unseen_callback, visible
from bridge.conversation.turn import cut, plain_text, unique_events
from bridge.ids import EventId, QueueId, SessionId
from bridge.rooms import ports
from bridge.rooms.effects import PutSigns, ShowAnswer
from bridge.rooms.record import CardKind, CardPosted, OurCard, RobotAnswered, RoomRecord
from bridge.rooms.rules import NUMERALS, Rules, bare_sign, folded, narrow
from bridge.rooms.surroundings import Surroundings, Waits
from bridge.rooms.visit import Call, Visit
from bridge.texts import WORDS, Texts, duration, fallbacks, waiting_range
from bridge.webchat.codes import FailureReason, RobotUse, Silence
from bridge.webchat.http import RobotAnswer
from bridge.webchat.words import frame_bytes

KEPT_CARDS = 20
"""Maximum cards in a room's record; the oldest are dropped first."""
FRESH = 3_600_000
"""ms after a chat during which plain words may rate it."""

HELPED, NOT_HELPED, PERSON, BELL, CROSS, AGAIN = "👍", "👎", "🙋", "🔔", "❌", "🔁"
UNANSWERED = frozenset({"robot.nothing", "robot.too_long", "robot.unreachable"})
"""Text keys of the knowledge base's answers that offer a person only."""
WAITING = (
    *("queue.position", "queue.waiting", "queue.place_said"),
    *("queue.position_paused", "queue.waiting_paused", "queue.place_said_paused"),
)
"""Text keys of the queue card while the customer waits."""
SIGNS = {
    **dict.fromkeys(("queue.turn", *WAITING, "callback.promised"), CROSS),
    "callback.offer": BELL,
    model.COUNTED: AGAIN,
    "queue.expired": AGAIN,
}
"""Text key of a notice about a queue request -> reaction put below it for customers to tap."""
FORMER = {
    "callback.cancelled_leaving": "callback.cancelled",
    "callback.goes_on": "callback.promised",
    "callback.offer_hours": "callback.offer",
    "callback.promised_hours": "callback.promised",
    "command.queues": "command.queue_offer",
    "outage.away": "trouble.unreachable",
    "queue.ended": "history.nobody",
    "room.upgraded_unsent": "room.closed_unsent",
    "undelivered.dropped": "undelivered.cancelled",
    "undelivered.farewell": "chat.thanked",
    "undelivered.farewell_command": "chat.thanked",
    "undelivered.no_rating": "undelivered.closed",
    "unreadable.blank": "undelivered.blank",
}
"""Text keys stored by earlier versions -> today's."""
CROSSES = frozenset("❌✖❎🚫")
_BELLS = frozenset("🔔👍☎📞📱")
_PERSON_SIGNS = frozenset("👎👤🙋🧑")
_ENOUGH_SIGNS = frozenset("👍✅✔")
_KEYCAP = "\u20e3"
MOST_SIGNS = 5
"""Maximum proposals of the robot for which the bridge adds reactions to tap."""


def remember(visit: Visit, card: OurCard, signs: tuple[str, ...] = ()) -> None:
    """Store a posted card; then put its reactions (`signs`) on it, as taps are understood now."""
    others = tuple(other for other in visit.record.cards if other.event_id != card.event_id)
    former = [sign for other in visit.record.cards if other not in others for sign in other.signs]
    gone = tuple(sign for sign in former if sign not in signs)
    signs = tuple(sign for sign in signs if sign not in former)
    visit.set(cards=(*others, card)[-KEPT_CARDS:])
    if card.asked is not None and card.asked in visit.record.erasing:
        visit.record = unasked(visit.record, (card.asked,))
    if signs or gone:
        visit.ask(PutSigns(card.event_id, signs, gone))
    for other in others:
        _remove_signs(visit, other)


def _remove_signs(visit: Visit, card: OurCard) -> None:
    """Remove the reactions that no longer mean anything from a card about an earlier request."""
    own = (sign for sign in card.signs if sign in CROSSES | _BELLS)
    gone = tuple(sign for sign in own if not _about_request(visit, card, sign))
    if gone:
        known = replace(card, signs=tuple(sign for sign in card.signs if sign not in gone))
        visit.set(cards=tuple(known if other == card else other for other in visit.record.cards))
        visit.ask(PutSigns(card.event_id, (), gone))


def unasked(record: RoomRecord, events: Collection[EventId]) -> RoomRecord:
    """Return the record without the robot questions of redacted messages: no agent gets them.

    A redacted card goes on in a new message.
    """
    known = (
        replace(card, text="", asked=None) if card.asked in events else card
        for card in record.cards
    )
    known = (replace(card, removed=True) if card.event_id in events else card for card in known)
    return replace(record, cards=tuple(known))


# --- cards of notices -----------------------------------------------------------------------------


def card_of(
    offer: ShowAnswer | model.Offer | model.CallbackCard, event_id: EventId, number: int
) -> CardPosted:
    """Return the card of a notice that a reaction answers; `number` is the chat's."""
    if isinstance(offer, model.CallbackCard):
        return request_card(offer, event_id, CardKind.CALLBACK)
    if isinstance(offer, model.Offer):
        return CardPosted(OurCard(event_id, CardKind.ROBOT, number=number), (PERSON,))
    card = OurCard(event_id, CardKind.ROBOT, number=number)
    if offer.first:
        card = replace(card, about=offer.event_id)
    else:
        card = replace(card, text=offer.question, asked=offer.event_id)
    signs = (PERSON,) if offer.key in UNANSWERED else (HELPED, NOT_HELPED)
    return CardPosted(card, () if offer.key.startswith("robot.no_person.") else signs)


def request_card(
    card: model.Card | model.CallbackCard, event_id: EventId, kind: CardKind
) -> CardPosted:
    """Return the card of a notice about a queue request, with the reactions to put below it."""
    keys = (card.key, *card.more, *card.below) if isinstance(card, model.Card) else (card.key,)
    signs = tuple(SIGNS[key] for name in keys if (key := FORMER.get(name, name)) in SIGNS)
    entry = OurCard(event_id, kind, number=card.number, dropped=card.dropped, signs=signs)
    return CardPosted(entry, signs)


def proposals_card(relay: model.Relay, event_id: EventId) -> CardPosted:
    numbers = range(1, len(relay.choices) + 1) if len(relay.choices) <= MOST_SIGNS else ()
    card = OurCard(event_id, CardKind.CHOICES, options=relay.choices)
    return CardPosted(card, tuple(f"{number}\ufe0f{_KEYCAP}" for number in numbers))


# --- reactions and votes --------------------------------------------------------------------------


def meant_by(visit: Visit, gesture: ports.Reacted | ports.PollAnswered) -> list[model.Input] | None:
    """Return the inputs of a reaction or vote on a card; None if it is on no card."""
    conversation = visit.record.conversation
    card = next((card for card in visit.record.cards if card.event_id == gesture.target), None)
    if card is None:
        return None
    sign = bare_sign(gesture.key) if isinstance(gesture, ports.Reacted) else ""
    match card.kind:
        case CardKind.RATING:
            return _rating_by_gesture(visit, card, gesture)
        case CardKind.QUEUE | CardKind.CALLBACK:
            kept = conversation.vain and conversation.held and card.number == conversation.number
            crossed = kept and sign in CROSSES
            return [model.Cancel()] if crossed else _about_request(visit, card, sign)
        case CardKind.ROBOT:  # 👍: solved; 👎 or a person's emoji: asks for an agent
            if sign in _ENOUGH_SIGNS:
                return [solved(visit) if card.about is None else model.Solved(card.about)]
            return _handed_over(visit, card, gesture.event_id) if sign in _PERSON_SIGNS else []
        case CardKind.QUEUES:
            return []  # see `chosen_queue`
        case CardKind.CHOICES:  # a digit picks a proposal
            return _proposed(conversation.phase, card, gesture.event_id, _number(sign) or 0)


def chosen_queue(visit: Visit, meaning: ports.Meaning) -> QueueId | None:
    """Return the queue chosen by a vote in the poll of queues, or a digit as a reaction to it."""
    if not isinstance(meaning, ports.PollAnswered | ports.Reacted):
        return None
    for card in visit.record.cards:
        if card.event_id == meaning.target and card.kind is CardKind.QUEUES:
            if isinstance(meaning, ports.PollAnswered):
                number = _voted(card, meaning)
            else:
                number = _number(bare_sign(meaning.key))
            return next((QueueId(choice) for choice in card.choices if choice == number), None)
    return None


def _about_request(visit: Visit, card: OurCard, sign: str) -> list[model.Input]:
    """A cross cancels the queue request or the call-back; a bell asks for a call-back."""
    conversation = visit.record.conversation
    offers = card.kind is CardKind.CALLBACK or conversation.callback is not None
    if sign in _BELLS and offers and not card.dropped:
        return [model.CallBack()]
    own = isinstance(conversation.phase, model.Waiting) and card.number == conversation.number
    return [model.Cancel()] if sign in CROSSES and (own or callback_wanted(conversation)) else []


def _proposed(
    phase: model.Phase, card: OurCard, event_id: EventId, number: int
) -> list[model.Input]:
    """Return the input for a proposal of the robot: its number if still on offer, else its text.

    The machine turns it into the robot's own words, without a speaker's name.
    """
    if not isinstance(phase, model.Chatting) or not phase.robot:
        return []
    if not 0 < number <= len(card.options):
        return []
    word = card.options[number - 1]
    if word in phase.choices:
        word = str(phase.choices.index(word) + 1)
    return [model.Said(event_id, model.CustomerText(word))]


def _rating_by_gesture(
    visit: Visit, card: OurCard, gesture: ports.Reacted | ports.PollAnswered
) -> list[model.Input]:
    if isinstance(gesture, ports.Reacted):
        value, number = rating_of_sign(gesture.key, card.choices), _number(bare_sign(gesture.key))
        if value is None and is_stars(gesture.key):
            _ask_which(visit, gesture.target)
        elif value is None and number is not None:
            _tell_unknown(visit, number, gesture.target)
    else:
        value = _voted(card, gesture)
    return [] if value is None else [make_rating(visit, card, value)]


def want_person(visit: Visit, call: Call) -> None:
    """Carry out `human`, with the newest question to the robot since the last chat."""
    cards = [card for card in visit.record.cards if card.kind is CardKind.ROBOT and card.text]
    asked = [card for card in cards if card.number == visit.record.conversation.number]
    for happened in _handed_over(visit, asked[-1], call.event_id) if asked else [model.Human()]:
        visit.step(happened, call.event_id)


def solved(visit: Visit) -> model.Solved:
    return model.Solved(aside=_answered_aside(visit))


def can_be_solved(visit: Visit) -> bool:
    """True if a question to the robot is open, or was the last thing asked, with `ask`."""
    consulted = any(piece.consulted for piece in visit.record.conversation.held)
    return consulted or _answered_aside(visit)


def _answered_aside(visit: Visit) -> bool:
    """True if the newest card is the answer to an `ask` and no chat came since."""
    conversation, card = visit.record.conversation, next(reversed(visit.record.cards), None)
    if card is None or not isinstance(conversation.phase, model.NoChat):
        return False
    return card.kind is CardKind.ROBOT and bool(card.text) and card.number == conversation.number


def _handed_over(visit: Visit, card: OurCard, event_id: EventId) -> list[model.Input]:
    """Return the inputs that ask for an agent, with the card's question if no chat came since."""
    conversation = visit.record.conversation
    idle = isinstance(conversation.phase, model.NoChat)
    fresh = idle and card.number == conversation.number
    if fresh and card.about is not None:
        # `Human` takes the question along, unless it was solved a moment ago.
        latest = dict(visit.record.corrections).get(card.about, card.about)
        if {card.about, latest}.isdisjoint(unique_events(conversation.held)):
            visit.again.append(latest)
    if not (fresh and card.text):
        return [model.Human()]
    asked = model.CustomerText(visit.for_agent("agent.asked_robot", {"text": card.text}))
    quotes = () if card.asked is None else (card.asked,)
    return [model.Human(), model.Said(event_id, asked, quotes=quotes)]


def make_rating(visit: Visit, card: OurCard, value: int, comment: str = "") -> model.Rate:
    """Return a rating; in a direct room one of the worse half makes the bridge ask why."""
    worse = card.choices[(len(card.choices) + 1) // 2 :]
    more = value in worse and visit.record.direct and not visit.record.settings.paused
    return model.Rate(value, comment, session_id=card.session_id, more=more)


def rating_card(visit: Visit, session: SessionId | None = None) -> OurCard:
    """Return the rating card of a session (None: the newest), posted or not."""
    return OurCard(EventId(""), CardKind.RATING, session, tuple(offered_ratings(visit)))


def rating_of_sign(key: str, choices: Sequence[int]) -> int | None:
    """Return the rating id (of `choices`, best first) that a reaction means; None if unclear.

    A digit is an id as shown on the card, a thumb a rank. Five stars are the best. Fewer count only
    if five ratings or more are offered, as they may be meant out of five or out of these. One star
    is all that a tap gives, whatever was meant: it counts only if there is one choice.
    """
    sign, best_last = bare_sign(key), choices[::-1]
    if is_stars(sign):
        if len(sign) == 5 > len(choices) > 0:
            return best_last[-1]
        unclear = len(sign) > len(choices) or (
            len(choices) > 1 and (len(sign) == 1 or len(choices) < 5)
        )
        return None if unclear else best_last[len(sign) - 1]
    if sign in {"👍", "👎"} and best_last:
        return best_last[-1] if sign == "👍" else best_last[0]
    number = _number(sign)
    return number if number in choices else None


def is_stars(key: str) -> bool:
    return re.fullmatch("[⭐★🌟]+", bare_sign(key)) is not None


def _voted(card: OurCard, vote: ports.PollAnswered) -> int | None:
    """Return the choice that a poll answer names; ids may be of any length, or negative."""
    return next((choice for choice in card.choices if str(choice) == vote.answer), None)


def _number(sign: str) -> int | None:
    text = "10" if sign == "🔟" else sign.replace(_KEYCAP, "").translate(NUMERALS)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


# --- ratings --------------------------------------------------------------------------------------

_ONE_TO_FIVE = (5, 4, 3, 2, 1)


def rating_options(
    rules: Rules, language: str, rows: tuple[tuple[int, str], ...]
) -> dict[int, str]:
    """Return the ratings (id -> label), best first: the server's by id, or the operator's in order.

    `rows`: (id, label) pairs from the server, where the highest id is the best, as in the vendor's
    apps (1 satisfied, 0 not). Chinese labels that the operator's ratings or the catalogue have too
    are shown in the customer's language.
    """
    stars = {n: rules.texts.render(language, f"rating.stars_{n}", {}) for n in _ONE_TO_FIVE}
    if not rows:
        return {rating.id: _label(rating, language) for rating in rules.ratings} or stars
    chinese = {rules.texts.render("zh-CN", f"rating.stars_{n}", {}): stars[n] for n in _ONE_TO_FIVE}
    chinese |= {_label(rating, "zh-CN"): _label(rating, language) for rating in rules.ratings}
    best_first = ((number, label.strip()) for number, label in sorted(dict(rows).items())[::-1])
    return {number: chinese.get(label, label) or str(number) for number, label in best_first}


def _label(rating: RatingOption, language: str) -> str:
    """Return the operator's label of a rating in the nearest language that has one."""
    named: dict[str, str] = dict(rating.labels.items())
    return next(named[code] for code in (*fallbacks(language), *named) if code in named)


def offered_ratings(visit: Visit) -> dict[int, str]:
    """Return the ratings offered in this room, best first."""
    language = visit.rules.language_for(visit.record)
    return rating_options(visit.rules, language, visit.record.conversation.ratings)


def option_lines(choices: dict[int, str]) -> str:
    return "\n".join(f"{number} — {label}" for number, label in choices.items())


def rating_label(rules: Rules, language: str, rows: tuple[tuple[int, str], ...], value: int) -> str:
    """Return the label of a rating, or its number; parameters as for `rating_options`."""
    return rating_options(rules, language, rows).get(value, str(value))


def _ask_which(visit: Visit, reply_to: EventId) -> None:
    known = offered_ratings(visit)
    args: model.Args = {"options": option_lines(known), "best": next(iter(known))}
    visit.say("rating.which", args, reply_to=reply_to)


def _tell_unknown(visit: Visit, value: int, reply_to: EventId) -> None:
    args: model.Args = {"value": value, "options": option_lines(offered_ratings(visit))}
    visit.say("rating.unknown", args, reply_to=reply_to)


def rate(visit: Visit, call: Call) -> None:
    """Rate the newest chat with an offered id; also 0 if neither server nor operator lists any."""
    value, known = int(call.words[0]), offered_ratings(visit)
    conversation = visit.record.conversation
    unsaid = not conversation.ratings and not visit.rules.ratings
    if conversation.last_session is None or value in known or (unsaid and value == 0):
        wish = make_rating(visit, rating_card(visit), value, " ".join(call.words[1:]))
        visit.step(replace(wish, said_by=call.event_id) if wish.comment else wish, call.event_id)
    else:
        _tell_unknown(visit, value, call.event_id)


def reads_as_rating(visit: Visit, words: Sequence[str]) -> bool:
    """True if "rate 5 …" without prefix is a rating; with a comment, only within `FRESH`."""
    conversation = visit.record.conversation
    if conversation.last_session is None:
        return False
    known = int(words[0]) in offered_ratings(visit)
    if len(words) == 1 or is_thanks(" ".join(words[1:])):
        # For an unknown id the answer lists the ratings; a long number may be an order's.
        return known or _number(words[0]) is not None
    ended = ended_at(conversation)
    return known and ended is not None and visit.now - ended < FRESH


# --- after a chat: thanks, ratings in words -------------------------------------------------------

LONGEST_PHRASE = 80
"""Maximum characters of a message that may be mere thanks, or only ask for a person."""


def is_thanks(
    words: str, beside: frozenset[str] = frozenset(), names: Collection[str] = ()
) -> bool:
    """True for a thank-you and nothing else: entries of `_THANKS`, word for word, or of `_SIGNS`.

    Punctuation may join several, `_GOODBYES` ("thanks, bye") or `beside`; one of the `names` may
    stand at either end of each. Case, spaces, emoji and full-width letters (NFKC) are ignored; a
    question mark or any other word makes a message.
    """
    if len(words) > LONGEST_PHRASE:
        return False
    text, known, parts = narrow(words), _THANKS | _GOODBYES | beside, set[str]()
    if (signs := set("".join(bare_sign(text).split()))) and signs <= _SIGNS:
        return True
    for part in map(_bare, re.split("[,.!;~\n。、·-]", text)):
        bare = part
        for name in names if part not in known else ():
            bare = bare.removeprefix(name).removesuffix(name)
        parts |= {bare} - {""}
    joined = parts <= known and not parts.isdisjoint(_THANKS)
    return "?" not in text and (joined or _bare(text) in _THANKS)


def _agents(visit: Visit) -> list[str]:
    """Return the bare names of the latest chats' agents, each whole and in words, and titled."""
    names = [agent.name for chat in visit.record.chats for agent in chat.agents]
    parts = [_bare(narrow(part)) for name in names for part in (name, *name.split())]
    return [part + title for title in _TITLES for part in parts]


def _bare(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


_TITLES = ("さん", "様", "さま", "小姐", "女士", "先生", "")
"""Titles that may follow a name; none is the last to be tried."""
_THANKS, _GOODBYES = (
    frozenset(_bare(narrow(word)) for word in WORDS[kind]) for kind in ("thanks", "goodbyes")
)
_SIGNS = frozenset(WORDS["signs"])


SOON = 600_000
"""ms after a chat, or the end of a request, during which thanks belong to it."""

_POINTS = "分(?![钟鐘])|[つ颗顆]?星"
_UNIT = rf"(?:[ -]?(?:stars?|points?|{_POINTS}|つ|点|點|[⭐★🌟]\ufe0f?))?"
_NUMERAL = rf"[一二三四五](?={_POINTS})|(?<=星)[一二三四五](?=つ)"
_NUMBER = re.compile(
    rf"(?<![a-z0-9_/-])(?<![0-9][.,:])(?:我?[打给給])?星?(?P<number>[0-9]{{1,6}}|{_NUMERAL})"
    rf"{_UNIT}(?:(?: ?/ ?| out of )(?P<of>[0-9]{{1,6}}))?(?:です)?(?![a-z0-9_/分]|[.,:][0-9])",
    re.IGNORECASE,
)
_BEFORE = re.compile("^(?:rate|rating|评价|评分|評價|評分|評価)[ :]*", re.IGNORECASE)
_COUNTS = ("one", "two", "three", "four", "five")
_STARS_IN_WORDS = re.compile(rf"\b({'|'.join(_COUNTS)})(?=[ -]stars?\b)", re.IGNORECASE)
_SIGN = re.compile(
    "(?:(?:[⭐★🌟][\ufe0e\ufe0f]?)+|[👍👎]|[0-9]\ufe0f?\u20e3|🔟)[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]*"
)
_THUMBS = frozenset("👍👎")
_SCALES = frozenset({"5", "10", "100"})
"""Usual ends of a scale: a date such as "12/12" is for an agent."""
_FIGURES = re.compile("[0-9]{1,2}")
"""A number taken for a rating even if not offered; a longer one may be an order number."""
LONGEST_RATING = 1_000
"""Maximum characters of a rating in words with its thanks; a longer reply begins with a rating."""
_PAUSES = "\r\n\t,.;:!~、。·-–—"
_EDGES = f" {_PAUSES}"


def about_chat(visit: Visit, spoke: ports.Spoke, *, answers: bool) -> bool:
    """Handle a text about the last chat (a rating, thanks, a comment); False if it is none.

    Such a text goes to no agent. Thanks count from the customer's `close` on, even before WebChat
    confirms it, and after a request without a chat ("we are closed"); other texts then are for the
    next chat. `answers`: it replies to a known message.
    """
    if not isinstance(spoke.content, model.CustomerText):
        return False
    conversation, words = visit.record.conversation, spoke.plain
    phase = conversation.phase
    is_over = isinstance(phase, model.NoChat)
    closing = isinstance(phase, model.Chatting) and phase.close and not phase.unwanted
    soon = closing or (isinstance(phase, model.NoChat) and visit.now - phase.since < SOON)
    questions = [shown for shown in visit.record.cards if shown.kind is CardKind.RATING]
    card = next((shown for shown in questions if shown.event_id == spoke.reply_to), None)
    if card is None and not (is_over or closing):
        return False
    question = _open_question(visit, words) if is_over else None
    rate, unclear, asked = None, "", card or question
    if asked is not None and (card is not None or len(words) <= LONGEST_RATING):
        rate = _read_rating(visit, asked, words, reply=card is not None)
        unclear = _unclear_rating(asked, words, reply=card is not None)
    of_newest = card is not None and card.session_id == conversation.last_session
    if rate is not None:
        visit.step(replace(rate, said_by=spoke.event_id) if rate.comment else rate)
    elif unclear and is_stars(unclear):
        _ask_which(visit, spoke.event_id)
    elif soon and is_thanks(words, names=_agents(visit)):
        visit.say("chat.thanked", reply_to=spoke.event_id)
    elif not answers and is_over and _added_to_rating(visit, spoke):
        pass
    elif unclear and is_over and ((question is not None and visit.record.direct) or of_newest):
        _tell_unknown(visit, int(unclear), spoke.event_id)
    else:
        return False
    return True


def _added_to_rating(visit: Visit, spoke: ports.Spoke) -> bool:
    """Send a text as the comment of a bad rating, and tell its sender; False if not applicable.

    It is reported as undelivered, so that the sender can resend it if it was meant for an agent.
    """
    conversation, policy = visit.record.conversation, visit.rules.policy_for(visit.record)
    rated = unhappy(conversation, visit.now)
    if rated is None or rated.asked is None or not visit.record.direct:
        return False  # in a shared room anybody may have written it
    if frame_bytes(spoke.plain) > policy.max_text_bytes:
        return False
    visit.report(spoke.event_id, "undelivered.with_rating")
    visit.step(model.Rate(rated.asked, spoke.plain, rated.session_id, spoke.event_id))
    return True


def _read_rating(visit: Visit, card: OurCard, words: str, *, reply: bool) -> model.Rate | None:
    """Parse a rating with at most thanks beside it; in a reply, a comment may follow."""
    text = _trimmed(words)
    for number, name in offered_ratings(visit).items():
        label = _trimmed(name)
        begins = label and text.casefold().startswith(label.casefold())
        rest = text[len(label) :].removeprefix("です")
        beside, comment = rest.strip(_EDGES), reply and rest[:1] in _PAUSES
        thanked = not rest[:1].isalnum() and (not beside or is_thanks(beside))
        if number in card.choices and begins and (comment or thanked):
            return make_rating(visit, card, number, beside)
    for found, beside in _marks(text, reply=reply):
        value = _rating_in(found, card)
        if value is not None:
            return make_rating(visit, card, value, beside)
    return None


def _marks(text: str, *, reply: bool) -> Iterator[tuple[re.Match[str], str]]:
    """Yield an emoji or number and the text beside it: at most thanks, for a thumb nothing.

    In a reply the emoji or number comes first, and any comment may follow.
    """
    for pattern in (_SIGN, _NUMBER):
        found = pattern.match(text) if reply else pattern.search(text)
        if found is None:
            continue
        beside = (text[: found.start()].strip(_EDGES), text[found.end() :].strip(_EDGES))
        thanked = found[0][0] not in _THUMBS and all(not x or is_thanks(x) for x in beside)
        if reply or thanked or not any(beside):
            yield found, " ".join(filter(None, beside))


def _unclear_rating(card: OurCard, words: str, *, reply: bool) -> str:
    """Return the stars or number in a text that are no rating of the card; empty if none."""
    for found, _ in _marks(_trimmed(words), reply=reply):
        if _rating_in(found, card) is not None:
            continue
        if is_stars(found[0]):
            return found[0]
        named = found.groupdict()
        number = (named.get("number") or "").translate(NUMERALS)
        scaled = named.get("of") in (_SCALES if reply else ())  # else it may be a date
        if (named.get("of") is None or scaled) and _FIGURES.fullmatch(number):
            return number
    return ""


def _rating_in(found: re.Match[str], card: OurCard) -> int | None:
    """Return the card's rating for a match; None if none, or for "3/10" if 10 is not the best.

    Full marks ("10/10") are the best rating on any scale.
    """
    named = found.groupdict()
    if named.get("of") is not None and int(named["of"]) != max(card.choices, default=0):
        full = named["of"] in _SCALES and named["number"] == named["of"]
        return next(iter(card.choices), None) if full else None
    return rating_of_sign(named.get("number") or found[0], card.choices)


def _open_question(visit: Visit, words: str) -> OurCard | None:
    """Return the rating card that a plain number answers, while there is no chat.

    Only within `FRESH`, among several people `SOON`, and once the chat is rated only while that may
    be changed (the customer was told so): later a number is for an agent. A thumb then answers the
    thanks.
    """
    state = visit.record.conversation
    ended, session, rated = ended_at(state), state.last_session or SessionId(0), state.rated
    if isinstance(state.phase, model.Ended):
        session = state.phase.session_id
    if ended is None or visit.now - ended >= (FRESH if visit.record.direct else SOON):
        return None
    settled = rated is not None and visit.now - rated.at > RATING_CHANGE
    known = {rating.session_id for rating in (state.rating, rated) if rating is not None}
    if session in known and (settled or bare_sign(words) in _THUMBS):
        return None
    for card in reversed(visit.record.cards):
        if card.kind is CardKind.RATING and card.session_id == session:
            return card
    # The customer may see the card before the bridge has the homeserver's answer.
    return rating_card(visit, session) if state.poll == session else None


def _trimmed(words: str) -> str:
    """Return a text in which a rating may be, without what people put around one."""
    text = narrow(words[:LONGEST_RATING]) + words[LONGEST_RATING:]  # one letter may become eighteen
    text = _BEFORE.sub("", text.strip())
    text = _STARS_IN_WORDS.sub(lambda word: str(_COUNTS.index(word[0].lower()) + 1), text)
    return text.rstrip(_EDGES)


# --- answers of the knowledge base ----------------------------------------------------------------

MOST_FOUND = 3
LONGEST_PREVIEW, LONGEST_SHORT = 300, 80
"""Maximum characters of an answer: preview in the room, short form to an agent."""

_ENOUGH_WORDS = frozenset(WORDS["enough"])
_ENOUGH = frozenset(_bare(narrow(word)) for word in _ENOUGH_WORDS)
_ENDINGS = " .!。~"


def ask(visit: Visit, call: Call) -> None:
    """Carry out `ask`."""
    if visit.rules.robot:
        visit.ask(model.AskRobot(call.event_id, call.words[0]))
    else:
        visit.say(_offering(visit, "robot.off"), reply_to=call.event_id)


async def ask_robot(around: Surroundings, ask: model.AskRobot) -> RobotAnswered:
    """Ask the knowledge base; a failure is returned as an answer too."""
    # A message that waits for the answer is held, and redacted, in the conversation.
    question = "" if ask.first else ask.question
    answered = RobotAnswered(ask.event_id, question, "robot.nothing", first=ask.first)
    try:
        found = (await around.link.ask_robot(ask.question))[:MOST_FOUND]
    except ports.CallFailure as failure:
        if failure.reason is FailureReason.TOO_BIG:
            return replace(answered, key="robot.too_long")
        log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.rooms.robot")
        log.warning("the knowledge base did not answer", why=failure.reason, code=failure.code)
        return replace(answered, key="robot.unreachable", unreachable=True)
    if not found:
        return answered
    answers = "\n\n".join(_answer_lines(hit, around.rules.km_base_url) for hit in found)
    short = tuple(cut(_answer_title(hit) or _one_line(hit.preview), LONGEST_SHORT) for hit in found)
    return replace(answered, key="robot.answers", args={"answers": answers}, short=short)


def _answer_lines(found: RobotAnswer, base: str) -> str:
    link = f"{base.rstrip('/')}/{found.path.lstrip('/')}" if base and found.path else ""
    preview = cut(_one_line(found.preview), LONGEST_PREVIEW)
    return "\n".join(filter(None, (f"▪ {_answer_title(found) or '…'}", preview, link)))


def _answer_title(found: RobotAnswer) -> str:
    return _one_line(found.title) or _one_line(found.question)


def _one_line(fragment: str) -> str:
    return " ".join(plain_text(fragment).split())


def robot_answered(visit: Visit, answer: RobotAnswered) -> None:
    """Show the answer of the knowledge base, unless an agent was asked for meanwhile."""
    if not answer.first:
        key = _offering(visit, answer.key)
        visit.ask(ShowAnswer(answer.event_id, answer.question, key, answer.args))
        return
    question = awaited(visit.record.conversation, answer.event_id)
    if question is None:
        return
    note = ""
    if answer.short:
        key = "robot.answers_kept" if question.aside else "robot.answers_first"
        visit.ask(ShowAnswer(answer.event_id, answer.question, key, answer.args, first=True))
        note = visit.for_agent("agent.robot_answered", {"answers": " / ".join(answer.short)})
    silence = Silence.UNREACHABLE if answer.unreachable else Silence.NOTHING
    visit.step(model.Consulted(answer.event_id, note, silence))


def _offering(visit: Visit, key: str) -> str:
    """Return the key of an answer, which names `human` only if that leads to a person.

    That is so if there is none yet, and the room is not paused.
    """
    phase = visible(visit.record.conversation.phase)
    alone = phase is None or (isinstance(phase, model.Chatting) and phase.robot)
    if alone and not visit.record.settings.paused:
        return key
    return f"robot.no_person.{key.removeprefix('robot.')}"


def _words(*kinds: str) -> re.Pattern[str]:
    """Return a pattern for any of these words; Chinese and Japanese have no blanks between them."""
    known = sorted((narrow(word) for kind in kinds for word in WORDS[kind]), key=len, reverse=True)
    return re.compile("|".join(rf"\b{word}\b" if word.isascii() else word for word in known))


_PERSON, _ASKING = _words("person"), _words("person", "asking")


def wants_person(words: str) -> bool:
    """True for a text that does nothing but ask for a person, with whatever politeness."""
    if len(words) > LONGEST_PHRASE:
        return False
    text = narrow(words).casefold().replace("’", "'")
    return _PERSON.search(text) is not None and not _bare(_ASKING.sub(" ", text))


def robot_wish(visit: Visit, words: str) -> model.Input | None:
    """Return the input for plain words such as "human" or thanks while the robot answers, if any.

    Customers know no commands, and thanks for an answer are no new question.
    """
    conversation, use = visit.record.conversation, visit.rules.policy.robot
    phase = conversation.phase
    word = folded(" ".join(words.split())).strip(_ENDINGS)
    if isinstance(phase, model.Chatting):
        return model.Human() if phase.robot and wants_person(words) else None
    if use is RobotUse.OFF or not isinstance(phase, model.NoChat):
        return None
    if wants_person(words) and (use is RobotUse.FIRST or conversation.questions):
        return model.Human()
    enough = word in _ENOUGH_WORDS or is_thanks(words, _ENOUGH)
    answered = any(question.note for question in conversation.questions) or _answered_aside(visit)
    return solved(visit) if enough and answered else None


# --- state of a request or chat in words ----------------------------------------------------------


def status_sentence(visit: Visit) -> tuple[str, model.Args]:
    """Return text key and arguments of the status sentence, regardless of `paused`."""
    conversation = visit.record.conversation
    phase, wished = conversation.phase, unseen_callback(conversation)
    args: model.Args = {}
    key, queue = "command.status_idle", visit.rules.queue_for(visit.record)
    if wished is not None:
        key, queue = "command.status_callback", wished.queue_id
    elif isinstance(phase, model.Chatting):
        key = "robot.transferring" if phase.seeking else "command.status_chatting"
        if phase.close:
            key = "close.away" if conversation.trouble_since is not None else "start.ending"
        return key, {"names": names(phase.agents) or "?"}
    elif isinstance(phase, model.Waiting):
        key, queue = "command.status_requesting", phase.queue_id
        if phase.cancel:
            away = conversation.trouble_since is not None
            key = "command.status_leaving_away" if away else "command.status_leaving"
        elif isinstance(phase, model.Queued) and phase.position:
            key, args["position"] = "command.status_queued", phase.position
        elif isinstance(phase, model.Queued):
            key = "command.status_waiting"
    return key, args | {"queue": visit.rules.queue_name(queue)}


# --- the queue card's second line -----------------------------------------------------------------

WORTH_SAYING = 60_000
"""Minimum ms of waiting before the card shows the time waited."""


def second_line(texts: Texts, language: str, place: model.Queued, waits: Waits, now: int) -> str:
    """Return the expected and elapsed waiting time in words; empty if nothing is known."""
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
