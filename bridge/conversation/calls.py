"""Calls to WebChat: choosing the next one, retries and failures.

Only `next_call` makes calls, one at a time per room: content is sent in the order typed, and no
later message is already under way when a refusal changes the phase (-11, -10, -15). Inputs only
change what is wanted.

Retries of a failed call (`call_failed`): if the outcome is unknown, under the same call id and
marked as a repeat; if it certainly did not arrive, as a new call; if an operator has to act first,
once the customer does something or the link is restored. Waiting for the login limit is no failure
(`queue.turn_awaited`). After an outage of `Policy.hold` the customer is told what was not delivered
(`give_up`).
"""

from __future__ import annotations

from msgspec.structs import replace

from bridge.conversation import model, queue
from bridge.conversation.chat import end_chat, is_for, rating_call
from bridge.conversation.turn import Policy, Turn, inviting
from bridge.ids import CallId, EventId
from bridge.media.places import Place, datum_of, to_datum
from bridge.webchat import frames
from bridge.webchat.codes import FailureReason, ResultCode, meaning
from bridge.webchat.words import escaped, guarded, is_unseen

_HOPELESS = frozenset({FailureReason.LOGIN_REFUSED, FailureReason.SIGN_REFUSED})
_UNKNOWN_FATE = frozenset({FailureReason.NO_ANSWER, FailureReason.SILENT})
_PASSES = frozenset({FailureReason.MEDIA_AWAY, FailureReason.INTERNAL})
_ABOUT_CONTENT = _PASSES | frozenset(
    {FailureReason.TOO_BIG, FailureReason.REFUSED, FailureReason.UPLOAD_FAILED}
    | {FailureReason.MEDIA_GONE, FailureReason.MEDIA_CHANGED}
)
_PASSING = frozenset({404, 408, 425, 429})
"""Transient HTTP statuses among the 4xx: the server is not ready (row 38)."""


def next_call(turn: Turn) -> None:
    if turn.state.held and turn.state.extensions:
        refuse_unwelcome(turn, turn.state.held)
    state = turn.state
    if state.outstanding is not None:
        return
    if state.retry_at is not None:
        if turn.now < state.retry_at:
            return
        turn.set(retry_at=None)
    phase = turn.state.phase
    match phase:
        case model.Chatting():
            _while_chatting(turn, phase)
        case model.Queued():
            _while_queued(turn, phase)
        case model.Requesting(session_id=None, adopt_at=None):
            _request_chat(turn, phase)  # later a push or a deadline moves it on
        case _:
            pass
    state, rating = turn.state, turn.state.rating
    if state.outstanding is not None:
        return
    if rating is not None:
        cause, beside = rating.event_id or rating.said_by, rating.besides_by
        _call(turn, rating_call(rating), cause=cause, beside=beside)
    elif isinstance(phase, model.Chatting) and phase.close:
        # Only once nothing else of this chat waits to be sent.
        _call(turn, frames.CloseSession(phase.session_id))
    else:
        # No call is wanted, so the trouble is over: the next failure starts a new count.
        if state.failures or state.told_trouble:
            turn.no_trouble()
        if state.turn_at is not None:
            turn.set(turn_at=None)


def _request_chat(turn: Turn, phase: model.Waiting) -> None:
    agent = "" if phase.any_agent else turn.policy.to_agent
    how = turn.policy
    _call(turn, frames.RequestChat(phase.queue_id, how.source, agent, how.tracks, how.brand))


def _while_queued(turn: Turn, phase: model.Queued) -> None:
    if phase.cancel and phase.request_id is not None:
        _call(turn, frames.CancelRequest(phase.request_id))
    elif phase.resync:
        turn.enter(
            phase,
            resync=False,
            request_id=None,
            former_id=phase.request_id or phase.former_id,
            accepted=False,
            shown_at=turn.now,  # the card may be outdated: its next refresh corrects it
        )
        _request_chat(turn, phase)
    elif turn.state.held and not phase.cancel:
        head = turn.state.held[0]
        # After acceptance 111 is refused with -10: wait for the session instead.
        request_id = None if phase.accepted or phase.pre_refused else phase.request_id
        if request_id is not None and isinstance(head.content, model.CustomerText):
            words = _worded(head.content.text, turn.policy)
            _call(turn, frames.SendPreMessage(request_id, words), head)
        else:
            _upload_first(turn)


def _while_chatting(turn: Turn, phase: model.Chatting) -> None:
    if phase.unwanted:
        return
    if turn.state.held and is_for(phase, head := turn.state.held[0]):
        content = _wire_content(head, turn.policy)
        if content is None:
            _upload_first(turn)
        else:
            _call(turn, frames.SendMessage(phase.session_id, content), head)
    elif phase.human:
        _call(turn, frames.TransferFromRobot(phase.session_id))


def refuse_unwelcome(turn: Turn, pieces: tuple[model.Held, ...]) -> bool:
    """Report files whose extension the server does not allow (200); return whether any are."""
    allowed = turn.state.extensions
    unwelcome = tuple(
        piece
        for piece in pieces
        if isinstance(piece.content, model.CustomerMedia)
        and not piece.ready
        and piece.content.kind != "voice"
        and (extension := _extension(piece.content.name))
        and extension not in allowed
    )
    if unwelcome:
        turn.report(unwelcome, "undelivered.extension", {"allowed": tuple(allowed)})
    return bool(unwelcome)


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def _upload_first(turn: Turn) -> None:
    """Upload the first file that is not on the WebChat server yet (row 18: also while queued)."""
    for piece in turn.state.held:
        if isinstance(piece.content, model.CustomerMedia) and not piece.ready:
            call_id = CallId(turn.state.next_call)
            asked = model.Outstanding(call_id, model.Upload(piece.content))
            turn.set(outstanding=asked, next_call=_following(call_id))
            turn.ask(model.UploadMedia(call_id, piece.content, piece.event_id))
            return


def _wire_content(piece: model.Held, policy: Policy) -> frames.Content | None:
    """Return the piece as the content of a 110; None while its file is not uploaded."""
    content = piece.content
    if isinstance(content, model.CustomerText):
        plain = not (policy.escape_html or policy.guard_json)
        return frames.Text(content.text if plain else _worded(content.text, policy))
    if isinstance(content, model.CustomerLocation):
        return _location(content, policy.map)
    if piece.clip is not None:
        return frames.Voice(piece.clip.seconds, piece.clip.data, piece.url)
    if not piece.url:
        return None
    if content.kind == "image":
        return frames.Image(content.name, piece.url)
    if content.kind == "video" and policy.videos:
        return frames.Video(content.name, piece.url, content.size or 0)
    return frames.File(content.name, piece.url, content.size or 0, _extension(content.name))


def _worded(text: str, policy: Policy) -> str:
    shown = escaped(text) if policy.escape_html else text
    return guarded(shown) if policy.guard_json else shown


def _location(where: model.CustomerLocation, map_name: str) -> frames.Location:
    """Convert the location to the datum of the desk's map, rounded to a decimetre."""
    place = to_datum(Place(where.latitude, where.longitude), datum_of(map_name))
    return frames.Location(round(place.latitude, 6), round(place.longitude, 6), where.poi, map_name)


def _call(
    turn: Turn,
    command: frames.Command,
    head: model.Held | None = None,
    *,
    cause: EventId | None = None,
    beside: EventId | None = None,
) -> None:
    """Send a command, with the held piece `head`; reuse its id if it may have arrived (row 33).

    `cause`: the customer's event with its words, if it carries no piece; `beside`: another one.
    """
    state, event_id, asked, held = turn.state, cause, None, turn.state.held
    if head is not None:
        event_id, asked, held = head.event_id, head.asked, held[1:]
    call_id = CallId(state.next_call) if asked is None else asked
    turn.state = replace(
        state,
        held=held,
        outstanding=model.Outstanding(call_id, command, head),
        next_call=_following(call_id) if asked is None else state.next_call,
    )
    call = model.CallWebChat(call_id, command, event_id, beside, repeat=asked is not None)
    turn.effects.append(call)


def _following(call_id: CallId) -> int:
    """Return the next call id: a counter per room, below 2^31 (trap T11)."""
    return call_id % 0x7FFF_FFFE + 1


def call_failed(turn: Turn, failure: model.CallFailed) -> None:
    """Settle the outstanding call without a reply."""
    outstanding = turn.state.outstanding
    if outstanding is None or outstanding.call_id != failure.call_id:
        return
    turn.set(outstanding=None)
    if failure.reason == FailureReason.OVERTAKEN:
        if outstanding.held is not None:  # else a 101, which a newer one replaces
            take_back(turn, outstanding, outstanding.held)
        return
    mute = failure.reason is FailureReason.SILENT
    if failure.reason in _ABOUT_CONTENT and _blame_content(turn, outstanding, failure):
        return
    # A silent server with an open link has probably accepted it: retry once at most.
    repeats = min(turn.policy.max_repeats, 1) if mute else turn.policy.max_repeats
    _want_again(turn, outstanding, certain=failure.certain, repeats=repeats)
    if failure.reason in _HOPELESS:
        _hopeless(turn, failure.reason)
        return
    phase = turn.state.phase
    if failure.certain and isinstance(phase, model.Requesting) and (phase.cancel or phase.quiet):
        if phase.cancel:  # the request never reached WebChat: there is nothing to cancel there
            queue.cancelled(turn)
        else:  # a hidden request for a callback: retried later
            queue.leave(turn)
        return
    if failure.reason is FailureReason.NO_TURN:
        turn.set(retry_at=turn.now + turn.policy.backoff_first)
        return
    closing = isinstance(outstanding.what, frames.CloseSession) and not failure.certain
    if closing and isinstance(phase, model.Chatting) and _is_last_try(turn):
        turn.no_trouble()
        end_chat(turn, phase, "chat.ended_unheard", closed=False)
        return
    if mute and isinstance(outstanding.what, frames.RateSession) and turn.state.failures:
        _give_up_rating(turn)  # a retry has a new call id, and each silence costs a link
    first = failure.reason in _UNKNOWN_FATE and turn.state.failures == 0
    _count_failure(turn)
    if first:
        turn.set(retry_at=turn.now)  # the first retry, on the new link, is immediate (row 33)
    elif not mute or turn.state.held:
        _tell(turn, "trouble.unreachable")


def _is_last_try(turn: Turn) -> bool:
    return turn.state.failures + 1 >= turn.policy.max_tries


def try_again(turn: Turn, outstanding: model.Outstanding, code: int) -> bool:
    """Schedule a retry after a transient refusal (-100, or -15 twice); False if none is left."""
    void_token = code == ResultCode.INVALID_TOKEN
    if not void_token and _is_last_try(turn):
        return False
    turn.set(outstanding=None)
    _want_again(turn, outstanding, certain=True, repeats=turn.policy.max_repeats)
    _count_failure(turn)
    if void_token:
        _tell(turn, "trouble.unreachable")
    return True


def take_back(
    turn: Turn, asked: model.Outstanding, piece: model.Held, *, perhaps: bool = False
) -> None:
    """Return undelivered content to `held`, or drop it if the customer gave it up meanwhile.

    `perhaps`: this call may have delivered it all the same; `piece.asked`: an earlier call may.
    """
    known = queue.kept(turn.state)
    if not asked.moot:
        turn.put_back(piece)
    if not perhaps and piece.asked is None:
        turn.lapse(piece.event_id)
    if asked.moot:
        turn.drop((piece,))
        return
    if queue.kept(turn.state) == known:
        return  # the customer was told already, by the rest of the message
    if isinstance(turn.state.phase, model.Idle):
        queue.show_end(turn)
    else:
        queue.resume_held(turn, ask=False)


def refuse(turn: Turn, asked: model.Outstanding, piece: model.Held, code: int) -> None:
    if asked.moot:
        take_back(turn, asked, piece)
    elif code == ResultCode.EMPTY_MESSAGE and blank(piece):
        turn.report((piece,), "undelivered.blank")
    else:
        key, words = meaning(code).undelivered, isinstance(piece.content, model.CustomerText)
        if words and code == ResultCode.INVALID_MESSAGE_TYPE:  # "please send text" helps nobody
            key = "undelivered.not_understood"
        args: model.Args = {"code": code} if key == "undelivered.refused" else {}
        turn.report((piece,), inviting(key, turn.policy), args)


def blank(piece: model.Held) -> bool:
    """Return whether a text has no visible characters, so that EMPTY_MESSAGE (-17) is right."""
    return isinstance(piece.content, model.CustomerText) and is_unseen(piece.content.text)


def _count_failure(turn: Turn) -> None:
    state = turn.state
    turn.set(
        failures=state.failures + 1,
        trouble_since=turn.now if state.trouble_since is None else state.trouble_since,
        retry_at=turn.now + _backoff(turn.policy, state.failures),
    )


def _backoff(policy: Policy, doublings: int) -> int:
    return min(policy.backoff_first << min(doublings, 20), policy.backoff_last)


def _tell(turn: Turn, key: str) -> None:
    """Tell the customer of trouble, once, if anything of theirs waits; not of a hidden request."""
    state, phase = turn.state, turn.state.phase
    if queue.hidden(phase) or state.told_trouble:
        return
    if not state.held:
        match phase:
            case model.Requesting(cancel=True) | model.Queued(cancel=True):
                if not state.told_away:
                    queue.show_leaving(turn)
                return
            case model.Idle() | model.Ended() if state.rating is None:
                return
            case model.Chatting(unwanted=True):
                return
            case model.Chatting(close=True) if key == "trouble.unreachable":
                key = "close.away"
            case _:
                pass
    turn.set(told_trouble=True)
    leaving = isinstance(phase, model.Waiting) and phase.cancel  # of which only the card tells
    if key != "trouble.unreachable" or leaving or not state.told_away:
        turn.say(key)


def _want_again(turn: Turn, outstanding: model.Outstanding, *, certain: bool, repeats: int) -> None:
    """Queue the failed call's content again, at most `repeats` times if it may have arrived."""
    held = outstanding.held
    if isinstance(outstanding.what, frames.RequestChat) and not outstanding.moot:
        queue.ask_after(turn)
        if isinstance(turn.state.phase, model.Requesting) and not certain:
            turn.enter(turn.state.phase, unsure=True)
    if held is None:
        return
    if certain or outstanding.moot:
        take_back(turn, outstanding, held, perhaps=not certain)
    elif held.repeats >= repeats:
        turn.report((held,), "undelivered.uncertain")
    else:
        again = replace(held, asked=outstanding.call_id, repeats=held.repeats + 1)
        take_back(turn, outstanding, again, perhaps=True)


def _blame_content(turn: Turn, outstanding: model.Outstanding, failure: model.CallFailed) -> bool:
    """Report content that caused the failure; False if the call carried none."""
    piece = outstanding.held
    if isinstance(outstanding.what, model.Upload):
        piece = _take_uploading(turn, outstanding.what, failure)
        if piece is None:
            return True
    if piece is None:
        rate, rating, too_big = outstanding.what, turn.state.rating, FailureReason.TOO_BIG
        if failure.reason != too_big or not isinstance(rate, frames.RateSession):
            return False
        if rating is not None and rate == rating_call(rating):  # else a newer one follows
            _give_up_rating(turn, "rating.too_long")
        return True
    if failure.reason == FailureReason.REFUSED or outstanding.moot:
        refuse(turn, outstanding, piece, failure.code or 0)
    elif failure.reason == FailureReason.UPLOAD_FAILED:
        if failure.code is None or failure.code < 300:  # a 2xx status explains nothing
            turn.report((piece,), "undelivered.upload_unclear")
        else:
            turn.report((piece,), "undelivered.upload_status", {"status": failure.code})
    elif failure.limit is not None:
        size, unit = (20, "MB") if failure.limit >= 1024**2 else (10, "KB")
        limit = f"{failure.limit >> size} {unit}"
        turn.report((piece,), "undelivered.too_big_limit", {"limit": limit})
    else:
        turn.report((piece,), f"undelivered.{failure.reason}")
    return True


def _take_uploading(
    turn: Turn, upload: model.Upload, failure: model.CallFailed
) -> model.Held | None:
    """Remove the file of a failed upload; None if it will be retried or was given up before."""
    held = turn.state.held
    piece = next(
        (piece for piece in held if piece.content == upload.media and not piece.ready), None
    )
    if piece is None:
        return None
    turn.set(held=tuple(other for other in held if other is not piece))
    tries, code = piece.repeats + 1, failure.code or 0
    passing = code == ResultCode.INTERNAL_ERROR or failure.reason in _PASSES
    if failure.reason == FailureReason.UPLOAD_FAILED:
        passing = not 300 <= code < 500 or code in _PASSING
    most = turn.policy.upload_tries if passing else 1
    once_more = code == ResultCode.UPLOAD_FILE_FAILED  # one retry, without back-off
    if tries >= (2 if once_more else most):
        return piece
    turn.put_back(replace(piece, repeats=tries))
    if not once_more:
        turn.set(retry_at=turn.now + _backoff(turn.policy, 2 * (tries - 1)))
    return None


def person_acts(turn: Turn) -> None:
    """End the long pause that `_hopeless` set, because the customer acted."""
    retry_at = turn.state.retry_at
    if retry_at is not None and retry_at > turn.now + turn.policy.backoff_last:
        turn.set(retry_at=None)


def _hopeless(turn: Turn, reason: FailureReason) -> None:
    """Pause retries of a login that an operator must mend (row 3), for `hold` or `person_acts`."""
    key = f"trouble.{reason}"
    if isinstance(turn.state.phase, model.Requesting):
        turn.no_trouble()
        queue.ended(turn, key)
        return
    _count_failure(turn)
    turn.set(retry_at=turn.now + turn.policy.hold)
    _tell(turn, key)


def give_up(turn: Turn) -> None:
    """Give up all waiting work: the service has been away for `Policy.hold`.

    Content for a queue is kept, as after a request for which nobody was there. A customer in a chat
    is notified that theirs was not delivered.
    """
    turn.no_trouble()
    phase, lost = turn.state.phase, any(not piece.is_note for piece in turn.state.held)
    doubtful = tuple(piece for piece in turn.state.held if piece.asked is not None)
    turn.report(doubtful, "undelivered.uncertain")
    if isinstance(phase, model.Waiting):
        if phase.cancel:
            queue.expire(turn, turn.state.held)  # `queue.cancelled` drops the rest
        queue.ended(turn, "trouble.given_up")
    elif isinstance(phase, model.Chatting):
        turn.report(turn.state.held, model.COUNTED)
        if lost:
            turn.say("trouble.given_up", ping=True)
    if turn.state.rating is not None:
        _give_up_rating(turn)
    if isinstance(phase, model.Chatting) and phase.close:
        end_chat(turn, phase, "chat.ended_unheard", closed=False)


def _give_up_rating(turn: Turn, key: str = "rating.failed") -> None:
    turn.set(rating=None)
    turn.say(key)
