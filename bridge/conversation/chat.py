"""A chat: start, with people or with the robot; end; rating; the robot's messages.

A chat is rated once: the rating is requested once, given by whichever means is used first, and can
be changed for five minutes. Any session may be rated until the next one starts, also after its end
(traps T19, T20); every rating id of the server is legal, 0 included (T21). After a bad rating
without a comment the customer is asked for the reason: the next message is the comment (`unhappy`).

The robot inside a chat is an agent whose proposals are answered by number (reference 1.6).
"""

from __future__ import annotations

import html
import unicodedata

from msgspec.structs import replace

from bridge.conversation import model, queue
from bridge.conversation.turn import Turn, inviting
from bridge.ids import AgentId, EventId, SessionId
from bridge.media.plaintext import as_markup
from bridge.webchat.codes import ResultCode
from bridge.webchat.frames import Agent, AgentText, RateSession, Reply, RobotMessage

RATING_CHANGE = 5 * 60_000
"""ms for which a rating can be changed."""


def start_chat(
    turn: Turn, session_id: SessionId, agents: tuple[Agent, ...], *, robot: bool = False
) -> None:
    """Begin a chat: greet, or close the session at once if the customer has left the queue."""
    phase = turn.state.phase
    queue_id, close, unwanted, close_order = turn.policy.queue_id, False, False, None
    request_id = phase.request_id if isinstance(phase, model.Queued | model.Chatting) else None
    if isinstance(phase, model.Waiting):
        queue_id = phase.queue_id
        close = unwanted = phase.cancel
    elif isinstance(phase, model.Chatting):  # in another session
        queue_id, close, unwanted = phase.queue_id, phase.close, phase.unwanted
        close_order = phase.close_order
        if phase.seeking:
            turn.card("queue.over")
        staying = {agent.id for agent in agents}
        dismiss(turn, tuple(agent for agent in phase.agents if agent.id not in staying))
        turn.set(last_ended_at=turn.now)
        turn.lapse()
    elif isinstance(phase, model.Idle) and phase.refused is not None:
        queue_id = phase.refused.queue_id
    if isinstance(phase, model.Queued):
        turn.delivered(*phase.pre_sent)
        if phase.request_id is not None:
            turn.set(last_request=phase.request_id)
    queue.unhide(turn)
    if isinstance(phase, model.Chatting | model.Ended) or turn.state.number == 0:
        turn.set(number=turn.state.number + 1)  # no request preceded this chat: it needs a new card
    turn.set(last_session=session_id, last_closed=False, callback=None, vain=None)
    chat = model.Chatting(session_id, turn.now, queue_id, agents, robot, close, unwanted)
    turn.enter(chat, request_id=request_id, unanswered=not robot, close_order=close_order)
    queue.hand_over(turn)
    if unwanted:
        queue.show_cancelled(turn, "queue.cancelled")
    else:
        greet(turn, chat)


def greet(turn: Turn, phase: model.Chatting) -> None:
    """Have the chat's agents join; schedule the `ping`, or in a robot's chat offer a person."""
    _bring_in(turn, phase)
    if phase.robot:
        turn.ask(model.Offer("robot.person_offered"))
    else:
        turn.enter(turn.state.phase, ping_at=turn.now + turn.policy.ping_wait)


def show_again(turn: Turn) -> None:
    """Rewrite the card of a request or chat and have the chat's agents join."""
    phase = turn.state.phase
    queue.show_card(turn)
    queue.plan_callback(turn)
    if isinstance(phase, model.Chatting) and not phase.unwanted:
        _bring_in(turn, phase)


def _bring_in(turn: Turn, phase: model.Chatting) -> None:
    connected(turn, phase.agents)
    if phase.agents:
        turn.ask(model.AgentsCame(phase.agents, phase.queue_id))


def ping(turn: Turn, phase: model.Chatting) -> None:
    """Notify the customer that an agent is there who has not written yet, or confirm a `close`."""
    turn.enter(phase, ping_at=None)
    if phase.close and not (queue.away(turn.state) or turn.state.told_trouble):
        turn.say("close.pending")
    if phase.robot or phase.close:
        return
    present(turn, "chat.started", phase.agents, ping=True)


def present(turn: Turn, key: str, agents: tuple[Agent, ...], *, ping: bool) -> None:
    """Say who is there; if there are only ids, which tell nothing, that somebody is."""
    args = _named(turn, agents)
    turn.say(key if args else "chat.started_unnamed", args, ping=ping)


def connected(turn: Turn, agents: tuple[Agent, ...]) -> None:
    """Show the agents on the queue card, instead of the position."""
    args = _named(turn, agents)
    turn.card("queue.joined" if args else "queue.joined_unnamed", args)


def _named(turn: Turn, agents: tuple[Agent, ...]) -> model.Args:
    """Return the agents' names as arguments; empty if there are only ids."""
    known = introduced(turn, tuple(agent for agent in agents if agent.name))
    return {"names": known} if known else {}


def end_chat(
    turn: Turn, phase: model.Chatting, key: str, *, closed: bool = True, ask: bool = True
) -> None:
    """End the chat; `key` says by whom. `closed` is False if WebChat may not know yet.

    Content that still waits requests a new chat, or without `ask` waits until the customer acts.
    """
    _leave(turn, phase, closed=closed)
    turn.enter(model.Ended(phase.session_id, since=turn.now))
    turn.lapse()
    if not phase.unwanted:  # else the customer never saw this chat, only the end of the queue
        turn.say(inviting(key, turn.policy), {"queue": phase.queue_id})  # the room may have another
        if closed:
            ask_rating(turn, phase.session_id)
    else:
        turn.set(poll=phase.session_id)  # nor does a late 205 ask for a rating
    queue.resume_held(turn, ask=ask)


def _leave(turn: Turn, phase: model.Chatting, *, closed: bool) -> None:
    if phase.seeking:
        turn.card("queue.over")
    dismiss(turn, phase.agents)
    turn.set(last_session=phase.session_id, last_closed=closed, last_ended_at=turn.now)


def ended_at(state: model.Conversation) -> int | None:
    phase = state.phase
    if isinstance(phase, model.Ended):
        return phase.since  # rows of earlier versions lack `last_ended_at`
    return None if isinstance(phase, model.Chatting) else state.last_ended_at


def is_for(phase: model.Chatting, piece: model.Held) -> bool:
    """Return whether content belongs to this chat: not if it was typed after `close`."""
    if not phase.close or phase.close_order is None or piece.amends is not None:
        return True
    return piece.order < phase.close_order


def session_lost(turn: Turn, session_id: SessionId) -> None:
    """Replace a session that WebChat no longer knows (-11): request a new chat, keep content."""
    phase = turn.state.phase
    if not isinstance(phase, model.Chatting) or phase.session_id != session_id:
        return
    turn.lapse()
    if phase.close and not phase.unwanted:
        mine = tuple(piece for piece in turn.state.held if is_for(phase, piece))
        turn.report(mine, "undelivered.closed")
    may_ask = turn.policy.start_on_message and not turn.policy.paused
    if phase.close or not may_ask or not turn.state.held:
        end_chat(turn, phase, "chat.ended")
        return
    _leave(turn, phase, closed=True)
    turn.say("chat.lost")
    queue.request_chat(turn, phase.queue_id)
    turn.enter(turn.state.phase, lost_session=session_id)


def dismiss(turn: Turn, agents: tuple[Agent, ...]) -> None:
    if agents:
        turn.ask(model.AgentsLeft(tuple(agent.id for agent in agents)))


def names(agents: tuple[Agent, ...]) -> tuple[str, ...]:
    return tuple(agent.name or agent.id for agent in agents)


def introduced(turn: Turn, agents: tuple[Agent, ...]) -> tuple[str, ...]:
    """Return the agents' names, with the call centre's notes if `show_comments` is set (T39)."""
    if not turn.policy.show_comments:
        return names(agents)
    notes = [" ".join(agent.comments.split()) for agent in agents]
    named = zip(names(agents), notes, strict=True)
    return tuple(f"{name} ({note})" if note else name for name, note in named)


def ask_rating(turn: Turn, session_id: SessionId) -> None:
    """Request a rating, once per session, unless it is rated already (rows 28 and 29)."""
    state = turn.state
    known = {state.poll, *(rating.session_id for rating in (state.rating, state.rated) if rating)}
    if session_id not in known and not turn.policy.leaving:
        turn.set(poll=session_id)
        turn.ask(model.AskRating(session_id, state.ratings))


def rate(turn: Turn, wish: model.Rate) -> None:
    """Store a rating to be sent; it keeps the comment of an unsent rating that it replaces."""
    pending, session_id = turn.state.rating, turn.state.last_session
    rated = None if session_id is None else _rated(turn.state, session_id)
    if session_id is None:
        before = turn.state.last_ended_at is not None  # with another enterprise
        turn.say("rating.too_late" if before else "rating.nothing")
    elif wish.session_id not in {None, session_id}:
        turn.say("rating.too_late")
    elif rated is not None and turn.now - rated.at > RATING_CHANGE:
        turn.say("rating.settled")
    else:
        given = model.Rating(
            session_id, wish.value, wish.comment, wish.event_id, said_by=wish.said_by
        )
        if pending is not None and pending.session_id != session_id:
            turn.say("rating.failed")
        elif pending is not None and (pending.event_id is not None or not wish.comment):
            given = replace(pending, value=wish.value)
            if wish.comment:
                given = replace(given, besides=wish.comment, besides_by=wish.said_by)
        turn.set(rating=replace(given, more=wish.more and not given.comment))


def rating_call(rating: model.Rating) -> RateSession:
    comment = "\n".join(filter(None, (rating.comment, rating.besides)))
    return RateSession(rating.session_id, rating.value, comment)


def rating_taken(turn: Turn, command: RateSession, reply: Reply) -> None:
    """Settle the reply to 104: thank the customer once, confirm a later rating as a change."""
    rating = turn.state.rating
    if rating is None or command != rating_call(rating):
        return  # the customer has changed it meanwhile: the newer rating is sent next
    turn.set(rating=None)
    if reply.ok:
        rated = _rated(turn.state, rating.session_id)
        # In a chat, or while content waits for one, the next message is for an agent.
        more = rating.more and isinstance(turn.state.phase, model.Ended) and not turn.state.held
        at = turn.now if rated is None else rated.at
        along = rating.event_id or (None if rated is None else rated.event_id)
        asked = rating.value if more else None
        turn.set(rated=model.Rated(rating.session_id, at, asked, along))
        key = "rating.thanks" if rated is None else "rating.changed"
        went_along = rating.event_id is not None and not rating.besides
        if not went_along or rated is None or rated.asked != rating.value:
            turn.say("rating.more" if more else key, {"rating": rating.value})
    elif reply.result == ResultCode.INVALID_CHAT_SESSION_ID:
        turn.say("rating.too_late")
    else:
        turn.refused("rating.refused", reply)


def uncomment(turn: Turn, events: set[EventId]) -> None:
    """Remove redacted comments from the unsent rating; a value not sent yet is still sent."""
    rating = turn.state.rating
    if rating is None:
        return
    left = rating
    if left.besides_by in events:
        left = replace(left, besides="", besides_by=None)
    if left.event_id in events or left.said_by in events:
        left = replace(left, comment=left.besides, said_by=left.besides_by)
        left = replace(left, event_id=None, besides="", besides_by=None)
    if left != rating:
        rated = _rated(turn.state, rating.session_id)
        taken = rated is not None and rated.asked == rating.value
        turn.set(rating=left if left.comment or not taken else None)


def unhappy(state: model.Conversation, now: int) -> model.Rated | None:
    """Return the rating that the customer's next message comments on; None if there is none."""
    phase = state.phase
    rated = _rated(state, phase.session_id) if isinstance(phase, model.Ended) else None
    if rated is None or rated.asked is None or now - rated.at > RATING_CHANGE:
        return None
    return None if state.held or state.rating is not None else rated


def _rated(state: model.Conversation, session_id: SessionId) -> model.Rated | None:
    rated = state.rated
    return rated if rated is not None and rated.session_id == session_id else None


# --- the robot inside a chat ---------------------------------------------------------------------

_BEHIND = ".,)。、\ufe0f\u20e3"
NAMELESS = Agent(AgentId("robot"))
"""Agent for a robot that no frame has named."""


def chosen(phase: model.Chatting, event: model.Said) -> model.Said:
    """Replace a number with the text of the robot's proposal, since the robot expects words."""
    if not isinstance(event.content, model.CustomerText):
        return event
    words = (event.words or event.content.text).strip()
    # With an input method's digits, the mark behind a number of a list, or as an emoji.
    word = unicodedata.normalize("NFKC", words).strip(_BEHIND) if len(words) <= 4 else ""
    number = int(word) if word.isascii() and word.isdigit() else 0
    if not 0 < number <= len(phase.choices):
        return event
    return model.Said(event.event_id, model.CustomerText(phase.choices[number - 1]))


def spoke(turn: Turn, push: RobotMessage, session_id: SessionId) -> None:
    """Show the robot's message (301), its proposals and its offer of a person."""
    text = _shown(push)
    phase = turn.state.phase
    agents = phase.agents if isinstance(phase, model.Chatting) else ()
    robots = phase.robots if isinstance(phase, model.Chatting) and not phase.robot else agents
    agent = robots[0] if robots else NAMELESS
    if text:
        turn.ask(model.Relay(agent, AgentText(text), session_id, push.suggestions))
    if not isinstance(phase, model.Chatting) or not phase.robot:
        if text and all(other.id != agent.id for other in agents):  # late: joins only to say this
            turn.ask(model.AgentsLeft((agent.id,)))
        return
    present = robots or ((agent,) if text else ())
    turn.enter(phase, agents=present, choices=push.suggestions)
    if push.transfer and not (push.sought or phase.human or phase.seeking):
        turn.ask(model.Offer("robot.person_offered"))


def _shown(push: RobotMessage) -> str:
    """Return the message as an HTML fragment, the proposals as a numbered list."""
    text = push.text.strip()
    if not push.suggestions:
        return text
    # `as_markup` keeps the line breaks of a fragment that has elements.
    text = as_markup(text).replace("\r\n", "<br>").replace("\n", "<br>")
    items = "".join(f"<li>{html.escape(words, quote=False)}</li>" for words in push.suggestions)
    return f"{text}<ol>{items}</ol>"
