"""Which call comes next.

Theory of operation: at most one call to WebChat is outstanding per room, and `next_call` alone
makes calls. Nothing else has to think about what may be in flight at the same time, content goes
out in the order in which it was typed, and a refusal that changes the phase (-11, -10, -15) finds
no later message already on its way. Inputs only change what is wanted; this function turns what is
wanted into a call, or leaves it until `retry_at`.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from bridge.conversation.effects import CallWebChat, UploadMedia
from bridge.conversation.model import (
    Chatting,
    CustomerLocation,
    CustomerMedia,
    CustomerText,
    Ended,
    Held,
    Idle,
    Outstanding,
    Queued,
    Requesting,
    Upload,
)
from bridge.conversation.policy import Policy
from bridge.conversation.turn import Turn
from bridge.ids import CallId
from bridge.media.places import Place, datum_of, to_datum
from bridge.webchat.frames import (
    CancelRequest,
    CloseSession,
    Command,
    Content,
    File,
    Image,
    Location,
    RateSession,
    RequestChat,
    SendMessage,
    SendPreMessage,
    Text,
    TransferFromRobot,
    Video,
    Voice,
)
from bridge.webchat.words import escaped, guarded


def next_call(turn: Turn) -> None:
    """Make the next call that is wanted, if none is outstanding and none has to wait."""
    state = turn.state
    if state.outstanding is not None:
        return
    if state.retry_at is not None and turn.now < state.retry_at:
        return
    turn.set(retry_at=None)
    _refuse_unwelcome(turn)
    if not (_for_the_phase(turn) or _rating(turn) or _closing(turn)):
        # Nothing is wanted of WebChat, so nothing fails: the next trouble is a new one.
        turn.set(failures=0, trouble_since=None, told_trouble=False, turn_at=None)


def _for_the_phase(turn: Turn) -> bool:
    phase = turn.state.phase
    match phase:
        case Idle() | Ended():
            return False
        case Requesting():
            return _while_requesting(turn, phase)
        case Queued():
            return _while_queued(turn, phase)
        case Chatting():
            return _while_chatting(turn, phase)
        case _:
            assert_never(phase)


def _rating(turn: Turn) -> bool:
    rating = turn.state.rating
    if rating is None:
        return False
    _call(turn, RateSession(rating.session_id, rating.value, rating.comment))
    return True


def _closing(turn: Turn) -> bool:
    """After everything else that the customer wanted of this chat."""
    phase = turn.state.phase
    if not isinstance(phase, Chatting) or not phase.close:
        return False
    _call(turn, CloseSession(phase.session_id))
    return True


def _while_requesting(turn: Turn, phase: Requesting) -> bool:
    if phase.session_id is not None or phase.adopt_at is not None:
        return False  # answered: what is awaited now is a push or a deadline
    _request_chat(turn, phase)
    return True


def _request_chat(turn: Turn, phase: Requesting | Queued) -> None:
    agent = "" if phase.any_agent else turn.policy.to_agent
    _call(turn, RequestChat(phase.queue_id, turn.policy.source, agent))


def _while_queued(turn: Turn, phase: Queued) -> bool:
    if phase.cancel and phase.request_id is not None:
        _call(turn, CancelRequest(phase.request_id))
        return True
    if phase.resync:
        former = phase.request_id or phase.former_id
        turn.enter(
            msgspec.structs.replace(
                phase,
                resync=False,
                request_id=None,
                former_id=former,
                accepted=False,
                shown_at=turn.now,  # what the card says may be no longer true: say it anew, later
            )
        )
        _request_chat(turn, phase)
        return True
    if phase.cancel:
        return False
    head = turn.state.held[0] if turn.state.held else None
    # Once the request is said to be accepted, 111 only earns -10: wait for the session.
    request_id = None if phase.accepted or phase.pre_refused else phase.request_id
    if request_id is not None and head is not None and isinstance(head.content, CustomerText):
        text = _worded(head.content.text, turn.policy)
        _carry(turn, SendPreMessage(request_id, text), head)
        return True
    return _upload_first(turn)


def _while_chatting(turn: Turn, phase: Chatting) -> bool:
    if phase.unwanted:
        return False
    if not turn.state.held:
        return _ask_for_person(turn, phase)
    head = turn.state.held[0]
    content = _wire_content(head, turn.policy)
    if content is None:
        return _upload_first(turn)
    _carry(turn, SendMessage(phase.session_id, content), head)
    return True


def _ask_for_person(turn: Turn, phase: Chatting) -> bool:
    if not phase.human:
        return False
    _call(turn, TransferFromRobot(phase.session_id))
    return True


def _refuse_unwelcome(turn: Turn) -> None:
    """Files that the server would refuse are not carried there to learn it (200)."""
    allowed = turn.state.extensions
    if not allowed:
        return
    unwelcome = tuple(
        piece
        for piece in turn.state.held
        if isinstance(piece.content, CustomerMedia)
        and not piece.ready
        and piece.content.kind != "voice"
        and (extension := _extension(piece.content.name))
        and extension not in allowed
    )
    turn.report(unwelcome, "undelivered.extension", {"allowed": tuple(allowed)})


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def _upload_first(turn: Turn) -> bool:
    """Carry the first file that is not on the WebChat server yet (row 18: while queued, too)."""
    for piece in turn.state.held:
        if isinstance(piece.content, CustomerMedia) and not piece.ready:
            call_id = _new_call_id(turn)
            turn.set(outstanding=Outstanding(call_id, Upload(piece.content), None))
            turn.ask(UploadMedia(call_id, piece.content, piece.event_id))
            return True
    return False


def _wire_content(piece: Held, policy: Policy) -> Content | None:
    """What the 110 of this piece carries; None while its file is not uploaded."""
    content = piece.content
    if isinstance(content, CustomerText):
        return Text(_worded(content.text, policy))
    if isinstance(content, CustomerLocation):
        return _location(content, policy.map)
    if piece.clip is not None:
        return Voice(piece.clip.seconds, piece.clip.data)
    if not piece.url:
        return None
    if content.kind == "image":
        return Image(content.name, piece.url)
    if content.kind == "video" and policy.videos:
        return Video(content.name, piece.url, content.size or 0)
    return File(content.name, piece.url, content.size or 0, _extension(content.name))


def _worded(text: str, policy: Policy) -> str:
    """The text as this call centre's server and desks leave it alone."""
    shown = escaped(text) if policy.escape_html else text
    return guarded(shown) if policy.guard_json else shown


def _location(where: CustomerLocation, map_name: str) -> Location:
    """The place as the desk's map counts; rounded to a decimetre, as maps give it."""
    place = to_datum(Place(where.latitude, where.longitude), datum_of(map_name))
    return Location(round(place.latitude, 6), round(place.longitude, 6), where.poi, map_name)


def _carry(turn: Turn, command: Command, head: Held) -> None:
    """Send the head of what is held; one that may have arrived goes under its old id (row 33)."""
    call_id = head.asked if head.asked is not None else _new_call_id(turn)
    turn.set(held=turn.state.held[1:], outstanding=Outstanding(call_id, command, head))
    turn.ask(CallWebChat(call_id, command, head.event_id, repeat=head.asked is not None))


def _call(turn: Turn, command: Command) -> None:
    call_id = _new_call_id(turn)
    turn.set(outstanding=Outstanding(call_id, command))
    turn.ask(CallWebChat(call_id, command))


def _new_call_id(turn: Turn) -> CallId:
    """Counts up per room, below 2^31 (trap T11)."""
    call_id = turn.state.next_call
    turn.set(next_call=call_id % 0x7FFF_FFFE + 1)
    return CallId(call_id)
