"""The table of operations that can be called from outside, and the dispatch of requests to them.

`OPERATIONS` is the single source of routes, request validation, the OpenAPI document
(`openapi.json`), the page docs/api.md, the provisioning API and the console's JSON. To add an
operation: its structs in `shapes`, its handler in `views`, and a row here; then run
`python -m tests.support.api_table`.

An operation has its handler's name; the first paragraph of the handler's docstring is its summary.
The types of the handler's last parameter and result are its request and answer. A handler with a
parameter of type Caller is given the caller.

Authentication and rate limits are up to the servers (`provisioning`, `pages`). Every request ends
in an `Outcome`.
"""

from __future__ import annotations

import asyncio
import re
from ast import literal_eval
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import unquote

import msgspec
import structlog
from cachetools import TTLCache

from bridge.admin import views
from bridge.admin.shapes import FORMS, Answer, Asked, Trouble
from bridge.admin.views import ApiError, Bridge, Busy, Caller
from bridge.rooms.store import StoreError

LONGEST_BODY = 65_536
"""Maximum size of a request body in bytes."""
AT_ONCE = 2
"""Maximum number of concurrent calls of an operation, so that they do not slow down the rooms.
Other operations do not wait for them: an erasure takes seconds, a hung database longer."""
BUSY_FOR = 2.0
"""Seconds for which the number of chats is cached: each open page asks every few seconds, and with
several processes the query reads all live rooms."""
_AT = re.compile(r"(.*) - at `(?:key` in `)?\$\.?([^`]*)`")
_PATTERN = re.compile(r"Expected `str` matching regex (.*)")
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.admin")

Handler = Callable[..., Awaitable[Answer]]
"""Called with the bridge, the caller if it has a parameter for it, and the request."""


class Operation:
    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        room_admins: bool = False,
        status: int = 200,
    ) -> None:
        self.method, self.path, self._handler = method, path, handler
        self.room_admins = room_admins
        """True if admins of the room in the path may call it too, not only the operator."""
        self.status = status
        """HTTP status of success; 202 if it is carried out later and may be refused with 409."""
        self.name: str = getattr(handler, "__name__", "")
        self.pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))
        """Matches a percent-encoded path; its groups are the path parameters."""
        self.in_path = tuple(self.pattern.groupindex)
        *given, asked, answer = get_type_hints(handler).values()
        self._takes_caller = Caller in given
        self.asked: type[Asked] = asked
        self.answer: type[Answer] = answer
        names = self.asked.__struct_encode_fields__
        self.beside = tuple(name for name in names if name not in self.in_path)
        """Names of the parameters that are not in the path."""
        self.has_body = method in {"POST", "PATCH"} and bool(self.beside)
        """True if the other parameters come from a JSON body instead of the query."""

    async def carry_out(self, bridge: Bridge, caller: Caller, asked: Asked) -> Answer:
        given = (bridge, caller) if self._takes_caller else (bridge,)
        return await self._handler(*given, asked)


OPERATIONS = (
    Operation("GET", "/health", views.get_health),
    Operation("GET", "/replicas", views.list_replicas),
    Operation("GET", "/links", views.list_links),
    Operation("GET", "/waits", views.list_waits),
    Operation("GET", "/enterprises", views.list_enterprises),
    Operation("GET", "/queues", views.list_queues, room_admins=True),
    Operation("GET", "/rooms", views.list_rooms),
    Operation("GET", "/rooms/{room_id}", views.get_room, room_admins=True),
    Operation(
        "PATCH", "/rooms/{room_id}/settings", views.set_room_settings, room_admins=True, status=202
    ),
    Operation("POST", "/rooms/{room_id}/orders", views.order_room, room_admins=True, status=202),
    Operation("GET", "/rooms/{room_id}/orders/{order}", views.get_order, room_admins=True),
    Operation("GET", "/rooms/{room_id}/changes", views.list_room_changes, room_admins=True),
    Operation("GET", "/rooms/{room_id}/chats", views.list_room_chats, room_admins=True),
    Operation("GET", "/rooms/{room_id}/deliveries", views.list_deliveries),
    Operation("GET", "/changes", views.list_changes),
    Operation("GET", "/chats", views.list_chats),
    Operation("GET", "/accounts", views.list_accounts),
    Operation("DELETE", "/accounts/{room_id}", views.forget_account),
    Operation("GET", "/deliveries/{event_id}", views.trace_event),
    Operation("GET", "/dead-letters", views.list_dead_letters),
    Operation("GET", "/dead-letters/{letter_id}", views.get_dead_letter),
    Operation("POST", "/dead-letters/{letter_id}/retry", views.retry_dead_letter),
    Operation("DELETE", "/dead-letters/{letter_id}", views.discard_dead_letter),
    Operation("POST", "/erase", views.erase_data, status=202),
)
"""In the order of docs/api.md and docs/openapi.json."""


# --- dispatch -------------------------------------------------------------------------------------


class Request(NamedTuple):
    method: str
    path: str
    """Path below the prefix of the server, still percent-encoded: `/rooms/!a%3Ab`."""
    query: Sequence[tuple[str, str]] = ()
    body: bytes = b""


class Outcome(NamedTuple):
    status: int
    body: bytes
    """JSON."""
    operation: str = ""
    """Name of the operation; empty if the path has none."""
    headers: Mapping[str, str] = {}


class Dispatcher:
    def __init__(self, bridge: Bridge) -> None:
        self._bridge = msgspec.structs.replace(bridge, busy=self._busy)
        self._count = bridge.busy
        self._counted: TTLCache[None, Busy] = TTLCache(1, BUSY_FOR)
        self._counting = asyncio.Lock()
        self._places = {op.name: asyncio.Semaphore(AT_ONCE) for op in OPERATIONS}

    async def carry_out(self, request: Request, caller: Caller) -> Outcome:
        """Find the operation, check permission and parameters, carry it out. Raises nothing."""
        name = ""
        try:
            operation, values = _find(request)
            name = operation.name
            _authorise(operation, caller, values)
            asked = _asked(operation, values, request)
            async with self._places[name]:
                answer = await operation.carry_out(self._bridge, caller, asked)
        except ApiError as error:
            return refused(error, name)
        except StoreError as error:
            _LOG.warning("an operation failed", operation=name, why=str(error))
            sentence = "The database did not answer; try again in a moment."
            return refused(ApiError(503, "M_UNKNOWN", sentence), name)
        except Exception:  # noqa: BLE001 - logged with its traceback
            _LOG.exception("an operation failed", operation=name)
            sentence = "Internal error; see the bridge's log."
            return refused(ApiError(500, "M_UNKNOWN", sentence), name)
        return Outcome(operation.status, msgspec.json.encode(answer), name)

    async def _busy(self) -> Busy:
        async with self._counting:
            if (counted := self._counted.get(None)) is None:
                counted = self._counted[None] = await self._count()
            return counted


def refused(error: ApiError, operation: str = "") -> Outcome:
    wait = error.retry_after_ms
    trouble = Trouble(errcode=error.errcode, error=str(error), retry_after_ms=wait)
    headers = {"Retry-After": str(wait // 1000 + 1) if wait else "", "Allow": error.allow}
    filled = {name: value for name, value in headers.items() if value}
    return Outcome(error.status, msgspec.json.encode(trouble), operation, filled)


def _find(request: Request) -> tuple[Operation, dict[str, str]]:
    found = {op.method: (op, at) for op in OPERATIONS if (at := op.pattern.fullmatch(request.path))}
    if found and request.method not in found:
        sentence = f"Use {' or '.join(sorted(found))} here."
        raise ApiError(405, "M_UNRECOGNIZED", sentence, allow=", ".join(sorted(found)))
    try:
        op, at = found[request.method]
        return op, {key: unquote(part, errors="strict") for key, part in at.groupdict().items()}
    except (KeyError, UnicodeDecodeError):
        sentence = "Unknown path; docs/api.md lists all operations."
        raise ApiError(404, "M_UNRECOGNIZED", sentence) from None


def _authorise(operation: Operation, caller: Caller, values: Mapping[str, str]) -> None:
    if caller.room is None:
        return
    if not operation.room_admins or values.get("room_id", caller.room) != caller.room:
        raise ApiError(403, "M_FORBIDDEN", "Only the operator may do this; ask them.")


def _asked(operation: Operation, values: dict[str, str], request: Request) -> Any:
    in_body = operation.has_body
    beside: dict[str, Any] = dict(request.query)
    if len(beside) < len(request.query):
        raise ApiError(400, "M_INVALID_PARAM", "Each query parameter may be given only once.")
    _know(() if in_body else operation.beside, beside, "M_INVALID_PARAM")
    if in_body:
        beside = _body(request.body)
        _know(operation.beside, beside, "M_BAD_JSON")
    try:
        return msgspec.convert({**beside, **values}, operation.asked, strict=in_body)
    except msgspec.ValidationError as error:
        errcode = "M_BAD_JSON" if in_body else "M_INVALID_PARAM"
        raise _wrong(str(error), errcode, operation.asked) from None


def _know(known: Sequence[str], given: Iterable[str], errcode: str) -> None:
    for name in given:
        if name not in known:
            allowed = f"the parameters are {', '.join(known)}" if known else "there are none here"
            raise ApiError(400, errcode, f"Unknown parameter {name[:60]!r}; {allowed}.")


def _body(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "M_NOT_JSON", "The body must be JSON.") from None
    if not isinstance(decoded, dict):
        raise ApiError(400, "M_BAD_JSON", "The body must be a JSON object.")
    return decoded


def _wrong(why: str, errcode: str, asked: type) -> ApiError:
    """Return the error for an invalid value, from msgspec's message, with the key in front."""
    found = _AT.fullmatch(why)
    problem, key = (found[1], found[2]) if found is not None else (why, "")
    if pattern := _PATTERN.fullmatch(problem):
        problem = f"must be {FORMS[literal_eval(pattern[1])]}"
    elif problem.startswith("Invalid enum value"):
        problem += f"; it may be {', '.join(_choices(get_type_hints(asked)[key]))}"
    return ApiError(400, errcode, f"{key}: {problem}." if key else f"{problem}.")


def _choices(hint: Any) -> Iterator[str]:
    """Yield the values that a literal, or a union with one, allows."""
    for part in (hint, *get_args(hint)):
        if get_origin(part) is Literal:
            yield from get_args(part)
