"""What customers say, put on record: their history for scripts, the transcript for the desk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from bridge.simulator.checks import Accepted
from bridge.simulator.outgoing import Wire
from bridge.simulator.state import CallCentre, Customer, QueueRequest, Session
from bridge.webchat import frames

_HOSTED = re.compile(r"/up/(\d+)/([^/?#]+)$")
_NAMES: Mapping[type[frames.Content], str] = {
    frames.Text: "text",
    frames.Image: "image",
    frames.File: "file",
    frames.Location: "location",
    frames.Voice: "voice",
    frames.Video: "video",
}


def hear(
    centre: CallCentre,
    customer: Customer,
    call: Accepted,
    content: frames.Content,
    *,
    session: Session | None = None,
    request: QueueRequest | None = None,
) -> None:
    """Record one 110 or 111. Every copy is kept: a script that looks for doubles must see them.

    Args:
        centre: where it happens.
        customer: who says it.
        call: the frame.
        content: what it says.
        session: the open session of a 110.
        request: the queue request of a 111.
    """
    history = customer.history
    repeat = call.call_id in history.call_ids
    history.call_ids[call.call_id] = None
    while len(history.call_ids) > centre.options.keep_records:
        del history.call_ids[next(iter(history.call_ids))]
    msg = call.body.get("msg")
    record: Wire = {
        "n": centre.number("message"),
        "type": int(call.type),
        "messageId": call.call_id,
        "sessionId": session.id if session else None,
        "requestId": request.id if request else None,
        "kind": _NAMES[type(content)],
        "text": content.text if isinstance(content, frames.Text) else "",
        "content": msg["content"] if isinstance(msg, dict) else call.body.get("content"),
        "time": centre.wall_ms(),
        "repeat": repeat,
    }
    centre.keep(customer, history.messages, record)
    customer.typed_at, customer.preview = None, ""
    centre.transcript.add(
        customer.login,
        "customer",
        _NAMES[type(content)],
        session=record["sessionId"],
        request=record["requestId"],
        repeat=repeat,
        **_shown(centre, content),
    )


def _shown(centre: CallCentre, content: frames.Content) -> Wire:
    """The entry's fields for a content."""
    match content:
        case frames.Text(text):
            return {"text": text}
        case frames.Image(name, uri):
            return {"name": name, **_place(centre, uri)}
        case frames.File() | frames.Video():
            size = {"size": content.size} if content.size else {}
            return {"name": content.name, **size, **_place(centre, content.url)}
        case frames.Location():
            return {
                "latitude": content.latitude,
                "longitude": content.longitude,
                "map": content.map,
                "text": content.poi,
            }
        case frames.Voice(seconds, data):
            return {"seconds": float(seconds), "audio": data}


def _place(centre: CallCentre, address: str) -> Wire:
    """Where the desk finds a file: with us, if the address says so, else where it says."""
    found = _HOSTED.search(address)
    if found and urlsplit(address).netloc == urlsplit(centre.base_url).netloc:
        return {"file": f"{found[1]}/{unquote(found[2])}", "url": address}
    return {"url": address}
