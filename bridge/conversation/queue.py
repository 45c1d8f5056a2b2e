"""Outside a chat: queue requests, the queue card, callbacks, and the knowledge base.

*A request* begins with `request_chat`, is queued once WebChat has taken it (`place_of`), and ends
in a chat (`chat.start_chat`), without one (`ended`) or by a cancel (`cancelled`). Content typed
meanwhile is kept. Times and durations are ms. No function here makes a call (see `calls`).

*The queue card* is one message, edited in place. A new position is shown at once; otherwise it is
refreshed once a minute, and after ten minutes every five, because each edit is an event in the
room. Finally it says how the request ended (`show_end`), after a long wait in a new message that
notifies the customer. While the card is near (`is_near`), a message that gets the same refusal
again is only counted on it.

*A callback* is offered if WebChat says "closed" (-3, status 6) or "no agent" (-5, status 5), or if
a request was given up because WebChat was away for too long (`calls.give_up`). If the customer
wants it, the bridge requests a chat by itself: when the queue opens, if the operator gave its
hours, else with growing back-off. It ends with a chat, with `cancel`, with a permanent refusal, or
at its limit, and the customer is told each time. A message from the customer still requests a chat
at once; the callback remains. The bridge's own request is `hidden` until it has been queued for a
moment or an agent is there.

*A refused request* may still be accepted by an agent (reference 2.3, status 2; `linger`). For a
while the link stays open and the request is remembered: any news but its end puts the customer back
in the queue (`revive`). Its pre-messages are sent again only after a 202, which does not name the
request.

*The knowledge base*, a robot, is asked over HTTP (guide part four), with a time-out: an unanswered
question goes to a person, and the customer is told why. Its pieces are in `held`, as without a
robot; `Conversation.questions` has the state of each question. If a person is wanted after all,
`hand_over` puts the robot's answer behind each question. A question that needs no person ends with
`Answered`.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from bridge.conversation import model
from bridge.conversation.turn import UNWATCHED, Policy, Turn, inviting, unique_events, without
from bridge.ids import EventId, QueueId
from bridge.webchat.codes import RESULTS, Progress, RequestStatus, RobotUse, Silence, progress
from bridge.webchat.frames import QueueStatus, RequestChat, SendPreMessage
from bridge.webchat.http import LONGEST_QUESTION

FREQUENT = 10 * 60_000
"""ms of waiting during which the card is refreshed every `CARD_EVERY`, then every `CARD_LATER`."""
CARD_EVERY, CARD_LATER = 60_000, 5 * 60_000
"""ms between refreshes of the queue card without news."""
CONFIRM_AFTER = 1_000
"""ms after which an unanswered `cancel` or `close` is confirmed: a cut link is noticed later."""
HOLD_IDLE = 24 * 3_600_000
"""ms that content waits outside a chat for the customer to act again."""
QUIET_WAIT = 10_000
"""ms that the bridge's own request must be queued before the customer sees it."""
CALLBACK_SPREAD = 60_000
"""ms over which callbacks are spread after a queue opens: not all in one second."""
LIMIT_WITH_HOURS = 14 * 86_400_000
"""Minimum ms for which a callback is tried if the opening hours are known: they lack holidays."""
ROBOT_WAIT = 60_000
"""Time-out (ms) of a question to the knowledge base, after which a person is requested."""
NOBODY_THERE = frozenset(
    {"trouble.given_up"}
    | {f"status.{RequestStatus.NO_AGENT_ONLINE}", f"status.{RequestStatus.OFF_HOUR}"}
    | {f"result.{code}" for code, row in RESULTS.items() if row.nobody}
)
"""Keys of the ends after which a callback is offered (reference 2.3 and 2.5)."""
_HOPELESS = frozenset(
    {"trouble.login_refused", "trouble.sign_refused"}
    | {f"result.{code}" for code, row in RESULTS.items() if row.hopeless}
)
"""Keys of permanent failures: a retry is useless until an operator acts."""
NEAR_FOR, NEAR_MESSAGES = 60 * 60_000, 5
"""Age in ms, and messages since, at which a card has scrolled out of the customer's view."""
MOST_ASKED = 5
"""Maximum number of messages, the newest, put to the knowledge base if no agent is available."""

# --- a request begins and ends --------------------------------------------------------------------


def request_chat(
    turn: Turn, queue_id: QueueId | None = None, *, quiet: bool = False, message: bool = False
) -> None:
    """Request a chat, by default in the room's queue, with a new queue card.

    The old card goes on if a `message` (not a command) follows soon after a "no agent" or a
    permanent failure, and for a `quiet` request.
    """
    queue_id = turn.policy.queue_id if queue_id is None else queue_id
    turn.set(retry_at=None, turn_at=None)
    known = turn.state.vain is not None and turn.state.vain.key in NOBODY_THERE | _HOPELESS
    if not (quiet or (message and known and is_near(turn))):
        turn.set(number=turn.state.number + 1, vain=None)
    if not callback_wanted(turn.state):
        turn.set(callback=None)
    outstanding = turn.state.outstanding
    if outstanding is not None and isinstance(outstanding.what, RequestChat):
        # Pushes ended that request; its late reply must not be taken for the new one's.
        turn.set(outstanding=replace(outstanding, moot=True))
    turn.enter(model.Requesting(queue_id, turn.now, quiet=quiet))
    hand_over(turn)
    show_card(turn)


def resume_held(turn: Turn, *, ask: bool = True) -> None:
    """Outside a chat, request one for held content, if the room's policy allows (a pause does not).

    Without `ask` the content is only kept: it was for agents who have ended the chat.
    """
    if not turn.state.held or not isinstance(turn.state.phase, model.NoChat):
        return
    policy = turn.policy
    if not (policy.start_on_message or policy.paused):
        remind(turn)
    elif ask and not policy.paused:
        request_chat(turn, message=True)
    else:
        turn.say("queue.kept", {"count": kept(turn.state)})


def remind(turn: Turn) -> None:
    """Say how many messages are kept until a command requests an agent."""
    count = kept(turn.state)
    turn.say("start.needed_still" if count > 1 else "start.needed", {"count": count})


def _want_person(turn: Turn, key: str) -> None:
    """Hand over to a person, saying why; a paused room only keeps content."""
    if not turn.policy.paused:
        turn.say(key)
    resume_held(turn)
    hand_over(turn)  # also if only a command requests a chat here


def place_of(turn: Turn, phase: model.Waiting) -> model.Queued:
    if isinstance(phase, model.Queued):
        return phase
    return model.Queued(
        phase.queue_id,
        phase.since,
        cancel_by=turn.now + turn.policy.cancel_wait if phase.cancel else None,
        quiet_until=turn.now + QUIET_WAIT if phase.quiet else None,
        any_agent=phase.any_agent,
        shown_at=turn.now if phase.cancel else 0,
    )


def ended(turn: Turn, key: str, args: model.Args | None = None, *, words: str = "") -> None:
    """End the request without a chat; content is kept. `words`: the server's own for `key`.

    If the customer has cancelled it, they are told that it is cancelled, not how it ended.
    """
    phase, hopeless = turn.state.phase, key in _HOPELESS
    if isinstance(phase, model.Waiting) and phase.cancel:
        cancelled(turn)
        return
    queue_id = phase.queue_id if isinstance(phase, model.Waiting) else turn.policy.queue_id
    unseen = hidden(phase)
    unwatched = hopeless if unseen else turn.now - phase.since >= UNWATCHED
    # On a holiday: the card names the opening of the operator's hours at which this was asked.
    callback = turn.state.callback
    outdated = key in NOBODY_THERE and callback is not None and callback.tries == 0
    leave(turn)
    if unseen and not (hopeless or outdated):
        return
    if unseen and hopeless:
        turn.set(number=turn.state.number + 1, vain=None)
    wanted = callback_wanted(turn.state)
    if hopeless:
        turn.set(callback=None)
    elif not wanted and key in NOBODY_THERE and turn.policy.callback:
        turn.set(callback=model.Callback(queue_id))
    args = {"queue": queue_id, **(args or {})} | ({"text": words} if words else {})
    vain = turn.state.vain or model.Vain(key, {}, turn.now, kept(turn.state))
    turn.set(vain=replace(vain, key=key, args=args))
    show_end(turn, *(["callback.hopeless"] if wanted and hopeless else []), ping=unwatched)
    if key in NOBODY_THERE:
        ask_about_kept(turn)


def show_end(turn: Turn, *below: str, ping: bool = False) -> None:
    """Show on the card why the newest request ended, what is kept, and what happens next."""
    vain, count, policy = turn.state.vain, kept(turn.state), turn.policy
    if vain is None:
        turn.say("queue.kept", {"count": count})
        return
    nobody, key = vain.key in NOBODY_THERE, inviting(vain.key, policy)
    args: model.Args = {**vain.args, "count": count}
    opens = opens_at(turn.state, policy, turn.now)
    if nobody and opens is not None:
        key, args["opens"] = "queue.closed", opens
    if turn.state.callback is not None:
        below += ("callback.promised" if callback_wanted(turn.state) else "callback.offer",)
    elif nobody:
        below += ("queue.later",)
    below += ("trouble.server_says",) if "text" in args else ()
    more = ("queue.kept",) if count else ()
    turn.ask(model.Card(turn.state.number, key, args, more=more, below=below, ping=ping))


def kept(state: model.Conversation) -> int:
    return len(unique_events(state.held))


def is_near(turn: Turn) -> bool:
    """Return whether the card of the failed request is still in the customer's view."""
    vain = turn.state.vain
    if vain is None or turn.now - vain.since >= NEAR_FOR:
        return False
    return kept(turn.state) - vain.kept < NEAR_MESSAGES


def cancelled(turn: Turn) -> None:
    """End the request as the customer wished; content typed since then requests a new one."""
    phase = turn.state.phase
    called_off = isinstance(phase, model.Waiting) and phase.cancel and callback_wanted(turn.state)
    if called_off:
        turn.set(callback=None)
    if isinstance(phase, model.Queued):
        turn.enter(phase, cancel_by=turn.now)
        asked, going = turn.state.outstanding, None
        if asked is not None and isinstance(asked.what, SendPreMessage):
            going = asked.held  # no agent will read it, even if WebChat takes it
        turn.drop(phase.pre_sent if going is None else (*phase.pre_sent, going))
    leave(turn)
    if is_near(turn) or not hidden(phase):
        left = () if called_off and hidden(phase) else ("queue.cancelled",)
        show_cancelled(turn, *left, *(("callback.cancelled",) if called_off else ()))
    elif turn.state.vain is not None:
        turn.card("callback.cancelled")  # else the old card would still promise a callback
    resume_held(turn)


def show_cancelled(turn: Turn, *keys: str) -> None:
    """Show on the card what the customer has cancelled, and how many messages were given up."""
    dropped, args = turn.state.dropped, model.Args(count=len(turn.state.dropped))
    key, *more = (*keys, model.COUNTED) if dropped else keys
    turn.ask(model.Card(turn.state.number, key, args, more=tuple(more), dropped=dropped))
    turn.set(vain=None, dropped=())


def tell_dropped(turn: Turn, key: str = model.COUNTED) -> None:
    """Say how many messages were given up, unless the card will say so."""
    phase, dropped = turn.state.phase, turn.state.dropped
    if dropped and not (isinstance(phase, model.Waiting) and phase.cancel):
        args: model.Args = {"count": len(dropped)}
        turn.ask(model.CallbackCard(turn.state.number, key, args, dropped))
        turn.set(dropped=())


def expire(turn: Turn, pieces: tuple[model.Held, ...]) -> None:
    """Drop content that waited too long: one event with a reply, several with one sentence."""
    messages = unique_events(piece for piece in pieces if not piece.is_note)
    turn.report(pieces, "undelivered.expired" if len(messages) == 1 else model.COUNTED)
    tell_dropped(turn, "queue.expired" if len(turn.state.dropped) > 1 else model.COUNTED)


def opens_at(state: model.Conversation, policy: Policy, at: int) -> int | None:
    """Return when the queue of the failed request opens, if it is known to be closed at `at`."""
    number = None if state.vain is None else state.vain.args.get("queue")
    hours = policy.hours.get(QueueId(number)) if isinstance(number, int) else None
    return None if hours is None or hours.is_open(at) else hours.opens(at)


def leave(turn: Turn) -> None:
    """Return to Idle; pre-messages are held again."""
    phase = turn.state.phase
    turn.enter(model.Idle(turn.now))
    callback = turn.state.callback
    if callback is not None and callback.wanted is not None:
        turn.set(callback=_scheduled(turn, callback))
    if isinstance(phase, model.Queued):
        turn.put_back(*phase.pre_sent)
        if phase.request_id is not None:
            turn.set(last_request=phase.request_id)
    turn.lapse()


def status_key(status: int) -> tuple[str, model.Args]:
    """Return the key and arguments of the sentence for a request status."""
    known = status in set(RequestStatus)
    return (f"status.{status}", {}) if known else ("status.other", {"code": status})


def result_key(code: int) -> tuple[str, model.Args]:
    return (f"result.{code}", {}) if code in RESULTS else ("result.other", {"code": code})


# --- the card -------------------------------------------------------------------------------------


def show_card(turn: Turn) -> None:
    """Write the queue card of a waiting or leaving customer, unless the request is hidden."""
    phase = turn.state.phase
    if isinstance(phase, model.Waiting) and phase.cancel:
        show_leaving(turn)
        return
    if isinstance(phase, model.Requesting) and not phase.quiet and turn.state.vain is None:
        turn.card("queue.asking", {"queue": phase.queue_id})
    if not isinstance(phase, model.Queued) or phase.accepted or hidden(phase):
        return
    turn.enter(phase, shown_at=turn.now)
    args: model.Args = {"queue": phase.queue_id}
    if phase.position:
        args["position"] = phase.position
    key = "queue.position" if phase.position else "queue.waiting"
    if phase.words:
        key, args["text"] = "queue.place_said", phase.words.rstrip(".。")
    turn.card(inviting(key, turn.policy), args)


def show_leaving(turn: Turn) -> None:
    """Show on the card that the customer is leaving the queue, and whether WebChat is away."""
    phase = turn.state.phase
    if isinstance(phase, model.Queued):
        turn.enter(phase, shown_at=turn.now)
    if hidden(phase):
        return
    turn.set(told_away=away(turn.state))
    turn.card("queue.leaving_away" if turn.state.told_away else "queue.leaving")


def away(state: model.Conversation) -> bool:
    """Return whether WebChat is known to be unreachable."""
    return state.trouble_since is not None or state.told_away


def place_named(turn: Turn, position: int | None, words: str = "") -> None:
    """Store the position that WebChat named, perhaps in words, and show a new one (trap T4)."""
    phase = turn.state.phase
    if not isinstance(phase, model.Queued) or phase.cancel:
        return
    moved, ahead = position not in {None, phase.position}, max(position or 0, 0)
    reworded = words not in {"", phase.words}
    known = phase.next_told or phase.accepted or hidden(phase)
    next_now = ahead == 1 and (phase.position or 0) > 1 and not known
    if moved:
        turn.enter(
            phase,
            position=position,
            first_position=phase.first_position or ahead or None,
            first_at=turn.now if phase.first_position is None else phase.first_at,
            moved_at=turn.now,
            words=words,
            next_told=phase.next_told or next_now,
        )
    elif reworded:
        turn.enter(phase, words=words)
    # The card may still show the end of the previous request.
    outdated = turn.state.vain is not None and not phase.shown_at
    if reworded or outdated or (moved and ahead):
        show_card(turn)
    if next_now:
        turn.say("queue.next", ping=True)


def card_due(state: model.Conversation, policy: Policy) -> int | None:
    phase = state.phase
    if not isinstance(phase, model.Queued):
        return None
    if (by := phase.cancel_by) is not None:
        confirmed = phase.shown_at or hidden(phase)
        return None if confirmed else by - policy.cancel_wait + CONFIRM_AFTER
    if phase.quiet_until is not None or phase.accepted:
        return phase.quiet_until
    shown = phase.shown_at or phase.since
    frequent = shown - phase.since < FREQUENT
    return shown + (CARD_EVERY if frequent else CARD_LATER)


def refresh_card(turn: Turn) -> None:
    """Refresh the card although nothing has moved, show a cancel, or reveal a hidden request."""
    unhide(turn)
    show_card(turn)


def ask_after(turn: Turn, **changes: Any) -> None:
    """Schedule a 101 to learn whether the queue request still exists; also apply `changes`."""
    if isinstance(turn.state.phase, model.Queued):
        turn.enter(turn.state.phase, resync=True, **changes)


def turn_awaited(turn: Turn, seconds: int) -> None:
    """Tell a waiting customer of the login limit: once, or on the card again when time is up."""
    state, phase, expected = turn.state, turn.state.phase, turn.state.turn_at
    if isinstance(phase, model.Requesting):
        if hidden(phase) or phase.cancel or (expected is not None and turn.now < expected):
            return
        turn.card("queue.turn", {"wait": seconds})
    else:
        asked = state.outstanding
        waits = state.held or (asked is not None and asked.held is not None)
        informed = expected is not None or state.told_trouble or state.told_away
        if informed or not waits:
            return
        turn.say("trouble.turn")
    turn.set(turn_at=turn.now + 1000 * seconds)


def turn_came(turn: Turn) -> None:
    """Correct the card after `turn_awaited`, as WebChat has answered."""
    phase = turn.state.phase
    turn.set(turn_at=None)
    if isinstance(phase, model.Waiting) and not phase.cancel:
        show_card(turn)


# --- hidden requests ------------------------------------------------------------------------------


def hidden(phase: model.Phase) -> bool:
    """Return whether this request is hidden from the customer."""
    if isinstance(phase, model.Queued):
        return phase.quiet_until is not None
    return isinstance(phase, model.Requesting) and phase.quiet


def visible(phase: model.Phase) -> model.Waiting | model.Chatting | None:
    """Return the phase if it is a request or a chat, and the customer knows of it; else None."""
    return None if isinstance(phase, model.NoChat) or hidden(phase) else phase


def unhide(turn: Turn) -> bool:
    """Reveal a hidden request, with a new card; return whether it was hidden."""
    phase = turn.state.phase
    if not hidden(phase):
        return False
    turn.set(number=turn.state.number + 1, vain=None)
    shown = {"quiet": False} if isinstance(phase, model.Requesting) else {"quiet_until": None}
    turn.enter(phase, **shown)
    return True


def surface(turn: Turn) -> None:
    if unhide(turn):
        show_card(turn)


# --- callbacks ------------------------------------------------------------------------------------


def callback_wanted(state: model.Conversation) -> bool:
    return state.callback is not None and state.callback.wanted is not None


def unseen_callback(state: model.Conversation) -> model.Callback | None:
    """Return the wanted callback if the customer sees no request or chat going on."""
    return state.callback if visible(state.phase) is None and callback_wanted(state) else None


def wish_callback(turn: Turn, queue_id: QueueId) -> None:
    turn.set(callback=_scheduled(turn, model.Callback(queue_id, wanted=turn.now)))


def plan_callback(turn: Turn) -> None:
    """Plan the next attempt of a callback anew, as the opening hours may have changed."""
    callback = turn.state.callback
    if callback is not None and callback.wanted is not None:
        turn.set(callback=_scheduled(turn, replace(callback, tries=0)))
        if isinstance(turn.state.phase, model.NoChat) and is_near(turn):
            show_end(turn)


def promise_callback(turn: Turn, callback: model.Callback) -> None:
    """Promise a callback: on the near card that offers it, else in a new notice."""
    offered = callback.wanted is None
    if offered:
        wish_callback(turn, callback.queue_id)
    if offered and is_near(turn):
        show_end(turn)
    else:
        turn.ask(model.CallbackCard(turn.state.number, "callback.promised"))


def callback_due(state: model.Conversation, policy: Policy) -> int | None:
    """Return when a callback is tried next, or in a paused room given up; None without one."""
    callback = state.callback
    if callback is None or callback.wanted is None or not isinstance(state.phase, model.NoChat):
        return None
    if any(not question.aside for question in state.questions):
        return None  # a request would hand the robot's open questions to a person
    if policy.paused:
        return callback.wanted + _callback_limit(policy, callback.queue_id)
    return callback.next_at


def retry_callback(turn: Turn) -> None:
    """Request a chat for a callback, or give it up at its limit and say so."""
    callback = turn.state.callback or model.Callback(turn.policy.queue_id)
    limit = _callback_limit(turn.policy, callback.queue_id)
    if turn.now < (callback.wanted or 0) + limit:
        request_chat(turn, callback.queue_id, quiet=True)
    else:
        end_callback(turn, "callback.given_up")
        expire(turn, turn.state.held)


def end_callback(turn: Turn, key: str) -> None:
    """Say that the callback has ended, and correct the card that promises it."""
    turn.set(callback=None)
    if turn.state.vain is not None:
        turn.card(key)
    turn.say(key, ping=key == "callback.given_up")


def _callback_limit(policy: Policy, queue_id: QueueId) -> int:
    known = LIMIT_WITH_HOURS if queue_id in policy.hours else 0
    return max(policy.callback_limit, known)


def _scheduled(turn: Turn, callback: model.Callback) -> model.Callback:
    """Return the callback with its next attempt, at the opening or after the back-off."""
    policy, now = turn.policy, turn.now
    wait = min(policy.callback_first << min(callback.tries, 20), policy.callback_last)
    at, tries = now + wait, callback.tries + 1
    opening = policy.hours.get(callback.queue_id)
    if opening is not None:
        opens = opening.opens(now if not opening.is_open(now) else at)
        if opens > at or not opening.is_open(now):
            spread = (callback.wanted or 0) % CALLBACK_SPREAD
            at, tries = opens + spread, 0
    return replace(callback, next_at=at, tries=tries)


# --- a refused request that is accepted after all ------------------------------------------------


def linger(turn: Turn, place: model.Queued) -> None:
    """Keep the link and the refused request for a while, as an agent may still accept it."""
    until, pre_sent = turn.now + turn.policy.linger, tuple(piece.order for piece in place.pre_sent)
    turn.enter(model.Idle(turn.now, until, replace(place, pre_sent=()), pre_sent))


def revive(turn: Turn, news: QueueStatus) -> bool:
    """Restore the refused request that the news is about; False if there is no such request."""
    phase = turn.state.phase
    if not isinstance(phase, model.Idle) or phase.refused is None or news.request_id is None:
        return False
    place = phase.refused
    if news.request_id != place.request_id or progress(news.status) is Progress.OVER:
        return False
    sent = tuple(piece for piece in turn.state.held if piece.order in phase.pre_sent)
    rest = tuple(piece for piece in turn.state.held if piece.order not in phase.pre_sent)
    turn.set(held=rest, last_request=None)
    until = None if place.quiet_until is None else turn.now + QUIET_WAIT
    place = replace(place, position=None, words="", quiet_until=until)
    turn.enter(place, accepted=False, resync=False, pre_sent=sent)
    hand_over(turn)
    return True


# --- the knowledge base -------------------------------------------------------------------------


def answers_first(turn: Turn) -> bool:
    """Return whether messages go to the knowledge base first: not while one waits for a person."""
    state = turn.state
    if turn.policy.robot is not RobotUse.FIRST or not isinstance(state.phase, model.NoChat):
        return False
    return not without(state.held, tuple(ask.event_id for ask in state.questions))


def consult(turn: Turn, event: model.Said) -> None:
    """Put a new message to the knowledge base, or to a person if it is unfit for that."""
    if not isinstance(event.content, model.CustomerText):
        _want_person(turn, "robot.person_file")
    elif len(words := event.words or event.content.text) > LONGEST_QUESTION:
        _want_person(turn, "robot.person_long")
    else:
        _ask(turn, event.event_id, words)


def consulted(turn: Turn, answer: model.Consulted) -> None:
    """Store the knowledge base's answer; if it has none, the message goes to a person."""
    question = awaited(turn.state, answer.event_id)
    if question is None:
        return
    if not (answer.note or question.aside):
        _want_person(turn, f"robot.person_{answer.silence}")
        return
    known = (replace(question, note=answer.note),) if answer.note else ()
    at, questions = turn.state.questions.index(question), turn.state.questions
    turn.set(questions=(*questions[:at], *known, *questions[at + 1 :]))


def solved(turn: Turn, wish: model.Solved) -> None:
    """Settle questions whose answer was enough; too late once in a queue or chat."""
    idle = isinstance(turn.state.phase, model.NoChat)
    asked = unique_events(piece for piece in turn.state.held if piece.consulted)
    events = (event for event in asked if idle and wish.event_id in {None, event})
    if settle(turn, *events) or wish.aside:
        turn.say("robot.solved")
    elif wish.event_id is None:
        turn.say("robot.none_open")


def question_due(state: model.Conversation, _policy: Policy) -> int | None:
    return min(filter(None, map(_due_at, state.questions)), default=None)


def end_questions(turn: Turn) -> None:
    """End questions that are overdue: unanswered ones go to a person."""
    for question in turn.state.questions:
        moment = _due_at(question)
        if question not in turn.state.questions or moment is None or moment > turn.now:
            continue
        if question.note is None:
            consulted(turn, model.Consulted(question.event_id, silence=Silence.UNREACHABLE))
        else:
            settle(turn, question.event_id)


def _ask(turn: Turn, event_id: EventId, words: str, *, aside: bool = False) -> None:
    held = tuple(
        replace(piece, consulted=True) if piece.event_id == event_id else piece
        for piece in turn.state.held
    )
    question = model.Question(event_id, turn.now, aside=aside)
    turn.set(held=held, questions=(*turn.state.questions, question))
    turn.ask(model.AskRobot(event_id, words, first=True))


def ask_about_kept(turn: Turn) -> None:
    """Put messages that wait for a person to the knowledge base; they go on waiting."""
    if turn.policy.robot is not RobotUse.WHEN_NO_AGENT:
        return
    pieces = tuple(piece for piece in turn.state.held if not piece.consulted)
    for event_id in unique_events(pieces)[-MOST_ASKED:]:
        words = _words_of(tuple(piece for piece in pieces if piece.event_id == event_id))
        if 0 < len(words) <= LONGEST_QUESTION:
            _ask(turn, event_id, words, aside=True)


def _words_of(pieces: tuple[model.Held, ...]) -> str:
    """Return the words of a message; empty if it is not only text."""
    texts = [one.content.text for one in pieces if isinstance(one.content, model.CustomerText)]
    whole = pieces[0].words or "\n".join(texts)
    return whole if len(texts) == len(pieces) else ""


def awaited(state: model.Conversation, event_id: EventId) -> model.Question | None:
    found = (ask for ask in state.questions if ask.event_id == event_id and ask.note is None)
    return next(found, None)


def hand_over(turn: Turn) -> None:
    """Turn questions into messages for a person, each followed by the robot's answer, if any."""
    notes = {ask.event_id: ask.note for ask in turn.state.questions if ask.note}
    held: list[model.Held] = []
    for piece in turn.state.held:
        note = notes.get(piece.event_id) if piece.last else None
        if note is None:
            held.append(piece)
        else:
            after, text = piece.order + 1, model.CustomerText(note)  # `said` reserved the order
            answer = model.Held(
                piece.event_id, text, turn.now, order=after, consulted=True, sender=piece.sender
            )
            held += [replace(piece, last=False), answer]
    turn.set(held=tuple(held), questions=())


def settle(turn: Turn, *events: EventId) -> bool:
    """Drop messages that the robot has answered; False if all are sent or being sent."""
    outstanding = turn.state.outstanding
    going = None if outstanding is None or outstanding.held is None else outstanding.held.event_id
    held = unique_events(turn.state.held)
    events = tuple(event for event in events if event in held and event != going)
    for event_id in events:
        turn.ask(model.Answered(event_id))
    turn.set(held=without(turn.state.held, events))
    tidy_questions(turn)
    return bool(events)


def tidy_questions(turn: Turn) -> None:
    held = {piece.event_id for piece in turn.state.held}
    turn.set(questions=tuple(ask for ask in turn.state.questions if ask.event_id in held))


def _due_at(question: model.Question) -> int | None:
    if question.note is None:
        return question.at + ROBOT_WAIT
    return None if question.aside else question.at + HOLD_IDLE
