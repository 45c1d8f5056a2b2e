"""The table of operations that can be called from outside.

`OPERATIONS` is the single source of routes, request validation, the OpenAPI document
(docs/openapi.json), the page docs/api.md, the provisioning API and the console's JSON. To add an
operation: its structs in `shapes`, its handler in `views` or `actions`, and a row here.

An operation has its handler's name; the first paragraph of the handler's docstring is its summary.
The types of the handler's last parameter and result are its request and answer. A handler with a
parameter of type Caller is given the caller.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import get_type_hints

from bridge.admin import actions, views
from bridge.admin.ports import Bridge, Caller
from bridge.admin.shapes import Answer, Asked

Handler = Callable[..., Awaitable[Answer]]
"""Called with the bridge, the caller if it has a parameter for it, and the request."""


class Who(StrEnum):
    """Kind of caller that an operation admits."""

    OPERATOR = "operator"
    """Only the operator."""
    ROOM_ADMIN = "room admin"
    """The operator, and admins of the room in the path."""


class Operation:
    """A row of the table."""

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        who: Who = Who.OPERATOR,
        *,
        status: int = 200,
    ) -> None:
        self.method, self.path, self._handler, self.who = method, path, handler, who
        self.status = status
        """HTTP status of success; 202 if it is carried out later and may be refused with 409."""
        self.name: str = getattr(handler, "__name__", "")
        self.summary = (inspect.getdoc(handler) or "").partition("\n\n")[0].replace("\n", " ")
        self.pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))
        """Matches a percent-encoded path; its groups are the path parameters."""
        self.in_path = tuple(self.pattern.groupindex)
        *given, asked, answer = get_type_hints(handler).values()
        self._told = Caller in given
        self.asked: type[Asked] = asked
        self.answer: type[Answer] = answer
        names = self.asked.__struct_encode_fields__
        self.beside = tuple(name for name in names if name not in self.in_path)
        """Names of the parameters that are not in the path."""
        self.audited = method != "GET"
        """True if it changes something, which is written to the audit trail."""
        self.has_body = method in {"POST", "PATCH"} and bool(self.beside)
        """True if the other parameters come from a JSON body instead of the query."""

    async def carry_out(self, bridge: Bridge, caller: Caller, asked: Asked) -> Answer:
        given = (bridge, caller) if self._told else (bridge,)
        return await self._handler(*given, asked)


_ROOM = Who.ROOM_ADMIN
OPERATIONS = (
    Operation("GET", "/health", views.get_health),
    Operation("GET", "/replicas", views.list_replicas),
    Operation("GET", "/links", views.list_links),
    Operation("GET", "/waits", views.list_waits),
    Operation("GET", "/enterprises", views.list_enterprises),
    Operation("GET", "/queues", views.list_queues, _ROOM),
    Operation("GET", "/rooms", views.list_rooms),
    Operation("GET", "/rooms/{room_id}", views.get_room, _ROOM),
    Operation("PATCH", "/rooms/{room_id}/settings", actions.set_room_settings, _ROOM, status=202),
    Operation("POST", "/rooms/{room_id}/orders", actions.order_room, _ROOM, status=202),
    Operation("GET", "/rooms/{room_id}/orders/{order}", views.get_order, _ROOM),
    Operation("GET", "/rooms/{room_id}/changes", views.list_room_changes, _ROOM),
    Operation("GET", "/rooms/{room_id}/chats", views.list_room_chats, _ROOM),
    Operation("GET", "/rooms/{room_id}/deliveries", views.list_deliveries),
    Operation("GET", "/changes", views.list_changes),
    Operation("GET", "/chats", views.list_chats),
    Operation("GET", "/accounts", views.list_accounts),
    Operation("DELETE", "/accounts/{room_id}", actions.forget_account),
    Operation("GET", "/deliveries/{event_id}", views.trace_event),
    Operation("GET", "/dead-letters", views.list_dead_letters),
    Operation("GET", "/dead-letters/{letter_id}", views.get_dead_letter),
    Operation("POST", "/dead-letters/{letter_id}/retry", actions.retry_dead_letter),
    Operation("DELETE", "/dead-letters/{letter_id}", actions.discard_dead_letter),
    Operation("POST", "/erase", actions.erase_data, status=202),
)
"""In the order of docs/api.md and docs/openapi.json."""
