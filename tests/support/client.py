"""What only tests ask of a customer's client and of the homeserver, beside what the demo does."""

from __future__ import annotations

from collections.abc import Callable

from bridge.demo.synapse import SynapseServer
from tests.support.matrix_user import Customer, Event, Json, content_of, in_room


async def room_call(
    customer: Customer, verb: str, room_id: str, content: Json | None = None
) -> Json:
    """`join`, `leave`, `invite`, `kick` and the like."""
    return await customer.call("POST", in_room(room_id, verb), content or {})


async def set_state(customer: Customer, room_id: str, kind: str, content: Json) -> str:
    """With an empty key."""
    reply = await customer.call("PUT", in_room(room_id, "state", kind, ""), content)
    return str(reply["event_id"])


def said(text: str, sender: str = "") -> Callable[[Event], bool]:
    """For `wait_for`: a message with this body."""
    return lambda event: (
        event.get("type") == "m.room.message"
        and content_of(event).get("body") == text
        and sender in {"", event.get("sender")}
    )


async def restart(server: SynapseServer) -> None:
    await server.stop()
    await server.start()
