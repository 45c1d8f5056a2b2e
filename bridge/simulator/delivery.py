"""What becomes of a push: written, lost, kept for the next socket, or repeated until receipted.

The guide of 2016 says nothing of pushes that nobody received, so by default they are lost. Later
revisions number them with `rsId`; the customer answers 120, and until then the server repeats.
Pure: the shell writes what these functions return.
"""

from __future__ import annotations

from dataclasses import replace

from bridge.simulator import pushes
from bridge.simulator.outgoing import Pending, Send
from bridge.simulator.state import CallCentre, Customer
from bridge.webchat.codes import FrameType

_NUMBERED = range(200, 300)
"""The pushes that R3 and R4 give an rsId; of R2 it is 210 alone."""


def outbound(centre: CallCentre, send: Send, now: float) -> Send | None:
    """The frame to write for `send` at once, or None when its customer has no socket.

    Args:
        centre: numbers the push, and remembers it where that is asked for.
        send: a reply or a push.
        now: seconds, monotonic.
    """
    customer = centre.customers[send.login]
    if not send.is_push:
        return send if customer.linked else None
    numbered = _number(centre, customer, send, now)
    if numbered is send and not customer.linked:
        missed(centre, send)
    return numbered if customer.linked else None


def worded(centre: CallCentre, send: Send) -> Send:
    """What goes over the wire: a reply without its type, where this server leaves it out."""
    if send.is_push or not centre.options.omit_types:
        return send
    return replace(send, frame={key: send.frame[key] for key in send.frame if key != "type"})


def missed(centre: CallCentre, send: Send) -> None:
    """Account for a push that no socket took."""
    customer = centre.customers[send.login]
    if not send.is_push or send.frame.get("rsId") in customer.pending:
        return
    if centre.options.missed_pushes == "kept":
        _remember(centre, customer, f"kept-{centre.number('push')}", Pending(send, 0))
    else:
        customer.history.lost_pushes += 1


def on_open(centre: CallCentre, customer: Customer, now: float) -> list[Send]:
    """What a fresh socket gets before anything else, the oldest first."""
    waiting = dict(customer.pending)
    resumed: list[Send] = []
    if centre.options.greets:
        resumed.append(pushes.init_config(centre, customer))
    if centre.options.resume_push and customer.session is not None:
        resumed.append(pushes.started(centre, customer.session, resumed=True))
    for key, pending in waiting.items():
        if key.startswith("kept-"):
            del customer.pending[key]
        pending.sent_at = now
    return [_number(centre, customer, send, now) for send in resumed] + [
        pending.send for pending in waiting.values()
    ]


def due_again(centre: CallCentre, customer: Customer, now: float) -> list[Send]:
    """The pushes whose receipt has been missing for `resend_seconds`."""
    options = centre.options
    repeats: list[Send] = []
    for pending in customer.pending.values():
        late = now - pending.sent_at >= options.resend_seconds
        if late and pending.resends < options.max_resends:
            pending.sent_at = now
            pending.resends += 1
            repeats.append(pending.send)
    return repeats


def _number(centre: CallCentre, customer: Customer, send: Send, now: float) -> Send:
    """The push with an rsId, if this server numbers pushes of its type; else as it is."""
    options, kind = centre.options, send.frame.get("type")
    only_messages = options.later and options.revision == "R2"
    has_one = kind == FrameType.MESSAGE_RECEIVED if only_messages else kind in _NUMBERED
    if not options.numbers_pushes or not has_one or "rsId" in send.frame:
        return send
    rs_id = f"rs-{centre.number('push')}"
    numbered = replace(send, frame={**send.frame, "rsId": rs_id})
    _remember(centre, customer, rs_id, Pending(numbered, now))
    return numbered


def _remember(centre: CallCentre, customer: Customer, key: str, pending: Pending) -> None:
    customer.pending[key] = pending
    while len(customer.pending) > centre.options.max_pending:
        oldest = next(iter(customer.pending))
        del customer.pending[oldest]
        customer.history.lost_pushes += 1
