"""Matrix client calls that only tests need, and a homeserver restart."""

from __future__ import annotations

from collections.abc import Callable

from bridge.demo.child_process import SynapseServer
from tests.support.matrix_user import Customer, Event, Json, content_of, in_room


async def room_call(
    customer: Customer, verb: str, room_id: str, content: Json | None = None
) -> Json:
    """Call `join`, `leave`, `invite`, `kick` etc. on a room."""
    return await customer.call("POST", in_room(room_id, verb), content or {})


async def set_state(customer: Customer, room_id: str, kind: str, content: Json) -> str:
    """Set room state with an empty state key; return the event id."""
    reply = await customer.call("PUT", in_room(room_id, "state", kind, ""), content)
    return str(reply["event_id"])


def said(text: str, sender: str = "") -> Callable[[Event], bool]:
    """Return a predicate for `wait_for`: a message with this body."""
    return lambda event: (
        event.get("type") == "m.room.message"
        and content_of(event).get("body") == text
        and sender in {"", event.get("sender")}
    )


async def restart(server: SynapseServer) -> None:
    await server.stop()
    await server.start()
