"""The queue: a request for a chat, from the customer's wish to its end; and calling back after it.

A request begins with `request_chat`, stands once WebChat has taken it (`place_of`), and ends in a
chat (`chat.start_chat`), in vain (`ended`) or by the customer's will (`cancelled`). What was typed
meanwhile is kept. Moments and durations are ms. No function makes a call (see `calls`).

*The queue card* is one message, edited in place. A new place is written at once; if nothing moves
it is refreshed once a minute, and after ten minutes every five, because each edit is an event in
the room. At last it says how the request ended (`show_end`). Words that only earn the same verdict
again are counted on it, as long as it is near (`is_near`).

*Calling back* is offered where WebChat says "closed" (-3, status 6) or "nobody there" (-5, status
5). If it is wished, we ask for a chat again on our own: when the queue opens, where the operator
gave its hours, else at growing distances. The wish ends with a chat, with `cancel`, with a refusal
that no repetition can mend, or at its limit, and the customer is told of each. A message of theirs
asks at once as always; the wish goes on beneath it. Nothing is shown of a request of our own
(`hidden`) until it has stood for a moment, or an agent is there.

*A refused request* may still be taken up by an agent (reference 2.3, status 2; `linger`). For a
while the link stays, and the place in the queue is remembered: news of it that is no end puts the
customer back there (`revive`). What had gone to WebChat with it is sent again only after a 202,
which does not name its request.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from bridge.conversation import model, robot
from bridge.conversation.policy import Policy
from bridge.conversation.turn import Turn, inviting, unique_events
from bridge.ids import QueueId
from bridge.webchat.codes import RESULTS, Progress, RequestStatus, progress
from bridge.webchat.frames import QueueStatus, RequestChat, SendPreMessage

FREQUENT = 10 * 60_000
"""ms of waiting during which the card is brought up to date at `Policy.card_every`."""
NOBODY_THERE = frozenset(
    {f"status.{RequestStatus.NO_AGENT_ONLINE}", f"status.{RequestStatus.OFF_HOUR}"}
    | {f"result.{code}" for code, row in RESULTS.items() if row.nobody}
)
"""Sentences of the ends after which calling back is offered (reference 2.3 and 2.5)."""
_HOPELESS = frozenset(
    {"trouble.login_refused", "trouble.sign_refused"}
    | {f"result.{code}" for code, row in RESULTS.items() if row.hopeless}
)
"""Ends after which asking again changes nothing until an operator acts."""
NEAR_FOR, NEAR_MESSAGES = 60 * 60_000, 5
"""ms, and messages, after which a card no longer stands where the customer looks."""

# --- a request begins and ends --------------------------------------------------------------------


def request_chat(
    turn: Turn, queue_id: QueueId | None = None, *, quiet: bool = False, said: bool = False
) -> None:
    """Ask for a chat, in the room's queue unless another is named; a new queue card begins.

    Not if words were `said` (not a command) soon after a verdict that they will hardly change.
    """
    queue_id = turn.policy.queue_id if queue_id is None else queue_id
    turn.set(retry_at=None, turn_at=None)
    known = turn.state.vain is not None and turn.state.vain.key in NOBODY_THERE | _HOPELESS
    if not (quiet or (said and known and is_near(turn))):
        turn.set(number=turn.state.number + 1, vain=None)
    if not callback_wanted(turn.state):
        turn.set(callback=None)
    outstanding = turn.state.outstanding
    if outstanding is not None and isinstance(outstanding.what, RequestChat):
        # Its request lived and died by pushes; what it brings must not pass for this one's answer.
        turn.set(outstanding=replace(outstanding, moot=True))
    turn.enter(model.Requesting(queue_id, turn.now, quiet=quiet))
    robot.hand_over(turn)
    show_card(turn)


def resume_held(turn: Turn, *, ask: bool = True) -> None:
    """Outside a chat, ask for one for content that still waits, as the room's rules allow.

    In a paused room nothing is. Not `ask`: it was for agents who have ended the chat meanwhile, and
    nobody wished for others.
    """
    if not turn.state.held or not isinstance(turn.state.phase, model.NoChat):
        return
    policy = turn.policy
    if not (policy.start_on_message or policy.paused):
        turn.say("start.needed")
    elif ask and not policy.paused:
        request_chat(turn, said=True)
    else:
        turn.say("queue.kept", {"count": kept(turn.state)})


def want_person(turn: Turn, key: str | None) -> None:
    """Hand over from the knowledge base to a person: say why, and ask for a chat; None: do not.

    In a room that was paused meanwhile the messages wait, and only that is said.
    """
    if key is not None:
        if not turn.policy.paused:
            turn.say(key)
        resume_held(turn)
        robot.hand_over(turn)  # also where the room asks for nobody without a command


def place_of(turn: Turn, phase: model.Waiting) -> model.Queued:
    if isinstance(phase, model.Queued):
        return phase
    return model.Queued(
        phase.queue_id,
        phase.since,
        cancel=phase.cancel,
        cancel_by=turn.now + turn.policy.cancel_wait if phase.cancel else None,
        quiet_until=turn.now + turn.policy.quiet_wait if phase.quiet else None,
        any_agent=phase.any_agent,
    )


def ended(turn: Turn, key: str, args: model.Args | None = None, *, words: str = "") -> None:
    """End the request in vain (`key` says why; `words`: the server's own); what was typed stays.

    Who has cancelled it reads that it is, whatever became of it.
    """
    phase, hopeless = turn.state.phase, key in _HOPELESS
    if isinstance(phase, model.Waiting) and phase.cancel:
        cancelled(turn)
        return
    queue_id = phase.queue_id if isinstance(phase, model.Waiting) else turn.policy.queue_id
    leave(turn)
    if hidden(phase):
        if not hopeless:
            return
        turn.set(number=turn.state.number + 1, vain=None)
    wanted = callback_wanted(turn.state)
    if wanted and hopeless:
        turn.set(callback=None)
    elif not wanted and key in NOBODY_THERE and turn.policy.callback:
        turn.set(callback=model.Callback(queue_id))
    args = {"queue": queue_id, **(args or {})} | ({"text": words} if words else {})
    vain = turn.state.vain or model.Vain(key, {}, turn.now, kept(turn.state))
    turn.set(vain=replace(vain, key=key, args=args))
    show_end(turn, *(["callback.hopeless"] if wanted and hopeless else []))
    if key in NOBODY_THERE:
        robot.ask_about_kept(turn)


def show_end(turn: Turn, *below: str) -> None:
    """Write on its card how the newest request ended: why, what is kept, and what comes now."""
    vain, count, policy = turn.state.vain, kept(turn.state), turn.policy
    if vain is None:
        turn.say("queue.kept", {"count": count})
        return
    nobody, key = vain.key in NOBODY_THERE, inviting(vain.key, policy)
    args: model.Args = {**vain.args, "count": count}
    opening = policy.hours.get(QueueId(args["queue"])) if isinstance(args["queue"], int) else None
    if nobody and opening is not None and not opening.is_open(turn.now):
        key, args["opens"] = "queue.closed", opening.opens(turn.now)
    if turn.state.callback is not None:
        below += ("callback.promised" if callback_wanted(turn.state) else "callback.offer",)
    elif nobody:
        below += ("queue.later",)
    below += ("trouble.server_says",) if "text" in args else ()
    more = ("queue.kept",) if count else ()
    turn.ask(model.Card(turn.state.number, key, args, more=more, below=below))


def kept(state: model.Conversation) -> int:
    return len(unique_events(state.held))


def is_near(turn: Turn) -> bool:
    """True while the card of the request that ended in vain is where the customer looks."""
    vain = turn.state.vain
    if vain is None or turn.now - vain.since >= NEAR_FOR:
        return False
    return kept(turn.state) - vain.kept < NEAR_MESSAGES


def cancelled(turn: Turn) -> None:
    """End the request as the customer wished; what they wrote since asks anew."""
    phase = turn.state.phase
    if isinstance(phase, model.Queued):
        turn.enter(phase, cancel=True)
        asked = turn.state.outstanding
        given_up = asked is not None and asked.moot and isinstance(asked.what, SendPreMessage)
        # Whatever becomes of a call for the queue, nobody reads it there any more.
        going = (asked.held,) if asked is not None and asked.held is not None and given_up else ()
        turn.drop((*phase.pre_sent, *going))
        turn.enter(phase, pre_sent=())
    leave(turn)
    if is_near(turn) or not hidden(phase):
        show_cancelled(turn, "queue.cancelled")
    elif turn.state.vain is not None:
        turn.card("callback.cancelled")  # far up, it goes on promising one
    resume_held(turn)


def show_cancelled(turn: Turn, *keys: str) -> None:
    """Write on the card what the customer has ended, and how many messages with it."""
    dropped, args = turn.state.dropped, model.Args(count=len(turn.state.dropped))
    key, *more = (*keys, model.COUNTED) if dropped else keys
    turn.ask(model.Card(turn.state.number, key, args, more=tuple(more), dropped=dropped))
    turn.set(vain=None, dropped=())


def tell_dropped(turn: Turn) -> None:
    """Say how many messages were given up, unless the card is to say so."""
    phase, dropped = turn.state.phase, turn.state.dropped
    if not (isinstance(phase, model.Waiting) and phase.cancel):
        args: model.Args = {"count": len(dropped)}
        turn.ask(model.CallbackCard(turn.state.number, model.COUNTED, args, dropped))
        turn.set(dropped=())


def leave(turn: Turn) -> None:
    """Go back to Idle; pre-messages that no agent will read are held again."""
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
    """The sentence for a request status, and the number if no sentence knows it."""
    known = status in set(RequestStatus)
    return (f"status.{status}", {}) if known else ("status.other", {"code": status})


def result_key(code: int) -> tuple[str, model.Args]:
    return (f"result.{code}", {}) if code in RESULTS else ("result.other", {"code": code})


# --- the card -------------------------------------------------------------------------------------


def show_card(turn: Turn) -> None:
    """Write the card of a customer who waits, unless nothing may be shown yet."""
    phase = turn.state.phase
    if isinstance(phase, model.Requesting) and not phase.quiet and turn.state.vain is None:
        turn.card("queue.asking", {"queue": phase.queue_id})
    if not isinstance(phase, model.Queued) or phase.cancel or phase.accepted or hidden(phase):
        return
    turn.enter(phase, shown_at=turn.now)
    args: model.Args = {"queue": phase.queue_id}
    if phase.position:
        args["position"] = phase.position
    key = "queue.position" if phase.position else "queue.waiting"
    if phase.words:
        key, args["text"] = "queue.place_said", phase.words.rstrip(".。")
    turn.card(key, args)


def show_leaving(turn: Turn) -> None:
    """Write on the card that the customer is leaving the queue, and that WebChat is away if so."""
    if hidden(turn.state.phase):
        return
    turn.set(told_away=away(turn.state))
    turn.card("queue.leaving_away" if turn.state.told_away else "queue.leaving")


def away(state: model.Conversation) -> bool:
    """True while WebChat cannot be reached, as far as we know."""
    return state.trouble_since is not None or state.told_away


def place_named(turn: Turn, position: int | None, words: str = "") -> None:
    """Note the place in the queue that WebChat named, perhaps in words; a new one is shown (T4)."""
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
    # The card may still say how the request before this one ended.
    outdated = turn.state.vain is not None and not phase.shown_at
    if reworded or outdated or (moved and ahead):
        show_card(turn)
    if next_now:
        turn.say("queue.next", ping=True)


def card_due(state: model.Conversation, policy: Policy) -> int | None:
    phase = state.phase
    if not isinstance(phase, model.Queued) or phase.cancel:
        return None
    if phase.quiet_until is not None or phase.accepted:
        return phase.quiet_until
    shown = phase.shown_at or phase.since
    frequent = shown - phase.since < FREQUENT
    return shown + (policy.card_every if frequent else policy.card_later)


def refresh_card(turn: Turn) -> None:
    """Write the card although nothing has moved, or show a quiet request that stands."""
    unhide(turn)
    show_card(turn)


def ask_after(turn: Turn, **changes: Any) -> None:
    """Ask with 101 whether a request still stands, noting changes in it."""
    if isinstance(turn.state.phase, model.Queued):
        turn.enter(turn.state.phase, resync=True, **changes)


def turn_awaited(turn: Turn, seconds: int) -> None:
    """Tell who waits of the login limit: once, or on the card, anew once its moment has passed."""
    state, phase, expected = turn.state, turn.state.phase, turn.state.turn_at
    if isinstance(phase, model.Requesting):
        if hidden(phase) or phase.cancel or (expected is not None and turn.now < expected):
            return
        turn.card("queue.turn", {"wait": seconds})
    else:
        asked = state.outstanding
        waits = state.held or (asked is not None and asked.held is not None)
        if expected is not None or state.told_trouble or not waits:
            return
        turn.say("trouble.turn")
    turn.set(turn_at=turn.now + 1000 * seconds)


def turn_came(turn: Turn) -> None:
    """Correct the card after `turn_awaited`: WebChat has answered."""
    phase = turn.state.phase
    turn.set(turn_at=None)
    if isinstance(phase, model.Waiting) and not phase.cancel:
        show_card(turn)


# --- quiet requests -------------------------------------------------------------------------------


def hidden(phase: model.Phase) -> bool:
    """True while nothing is shown of this request."""
    if isinstance(phase, model.Queued):
        return phase.quiet_until is not None
    return isinstance(phase, model.Requesting) and phase.quiet


def unhide(turn: Turn) -> bool:
    """Make a quiet request one that the customer knows of; False if it was one already."""
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


# --- calling back ---------------------------------------------------------------------------------


def callback_wanted(state: model.Conversation) -> bool:
    return state.callback is not None and state.callback.wanted is not None


def unseen_callback(state: model.Conversation) -> model.Callback | None:
    """Return the callback that is wanted, if the customer sees nothing else going on."""
    idle = isinstance(state.phase, model.NoChat) or hidden(state.phase)
    return state.callback if idle and callback_wanted(state) else None


def wish_callback(turn: Turn, queue_id: QueueId) -> None:
    turn.set(callback=_scheduled(turn, model.Callback(queue_id, wanted=turn.now)))


def promise_callback(turn: Turn, callback: model.Callback) -> None:
    """Promise what was offered, on the card that offers it; once more, or far from it, anew."""
    offered = callback.wanted is None
    if offered:
        wish_callback(turn, callback.queue_id)
    if offered and is_near(turn):
        show_end(turn)
    else:
        turn.ask(model.CallbackCard(turn.state.number, "callback.promised"))


def callback_due(state: model.Conversation, policy: Policy) -> int | None:
    """Return when a callback is tried next, or given up (in a paused room)."""
    callback = state.callback
    if callback is None or callback.wanted is None or not isinstance(state.phase, model.NoChat):
        return None
    if any(not question.aside for question in state.questions):
        return None  # a request would take to a person what the robot is being asked
    if policy.paused:
        return callback.wanted + _callback_limit(policy, callback.queue_id)
    return callback.next_at


def retry_callback(turn: Turn) -> None:
    """Ask again for a callback, or give it up at its limit and say so."""
    callback = turn.state.callback or model.Callback(turn.policy.queue_id)
    limit = _callback_limit(turn.policy, callback.queue_id)
    if turn.now < (callback.wanted or 0) + limit:
        request_chat(turn, callback.queue_id, quiet=True)
    else:
        end_callback(turn, "callback.given_up")
        turn.report(turn.state.held, "undelivered.expired")


def end_callback(turn: Turn, key: str) -> None:
    """Say that nobody is asked for any more, and write it on the card, far up, that promises it."""
    turn.set(callback=None)
    if turn.state.vain is not None:
        turn.card(key)
    turn.say(key)


def _callback_limit(policy: Policy, queue_id: QueueId) -> int:
    known = policy.callback_limit_hours if queue_id in policy.hours else 0
    return max(policy.callback_limit, known)


def _scheduled(turn: Turn, callback: model.Callback) -> model.Callback:
    """Return the callback with its next attempt: at the opening, else (or if open) ever later."""
    policy, now = turn.policy, turn.now
    wait = min(policy.callback_first << min(callback.tries, 20), policy.callback_last)
    at, tries = now + wait, callback.tries + 1
    opening = policy.hours.get(callback.queue_id)
    if opening is not None:
        opens = opening.opens(now if not opening.is_open(now) else at)
        if opens > at or not opening.is_open(now):
            spread = (callback.wanted or 0) % policy.callback_spread
            at, tries = opens + spread, 0
    return replace(callback, next_at=at, tries=tries)


# --- a refused request that is taken up after all -------------------------------------------------


def linger(turn: Turn, place: model.Queued) -> None:
    """Keep the link and remember the request for a while: an agent who refused may still accept."""
    until, pre_sent = turn.now + turn.policy.linger, tuple(one.order for one in place.pre_sent)
    turn.enter(model.Idle(turn.now, until, replace(place, pre_sent=()), pre_sent))


def revive(turn: Turn, news: QueueStatus) -> bool:
    """Restore a refused request that this is news of; False if none was refused lately."""
    phase = turn.state.phase
    if not isinstance(phase, model.Idle) or phase.refused is None or news.request_id is None:
        return False
    place = phase.refused
    if news.request_id != place.request_id or progress(news.status) is Progress.OVER:
        return False
    sent = tuple(piece for piece in turn.state.held if piece.order in phase.pre_sent)
    rest = tuple(piece for piece in turn.state.held if piece.order not in phase.pre_sent)
    turn.set(held=rest, last_request=None)
    until = None if place.quiet_until is None else turn.now + turn.policy.quiet_wait
    place = replace(place, position=None, words="", quiet_until=until)
    turn.enter(place, accepted=False, resync=False, pre_sent=sent)
    robot.hand_over(turn)
    return True
