"""The appservice endpoint: what the homeserver calls (Matrix application service API, r0 and v1).

The one rule: 200 is answered only after every event of the transaction is stored. When the store is
down the answer is 503, and the homeserver keeps the transaction and everything after it.

Events are told apart by their own ids, never by the transaction's: Synapse starts to count those
anew, and delivers one event in several transactions (reference matrix.md §1.2). So the transaction
id in the path is not even looked at.

Echoes of our own users are dropped here, before anything else is done with them: they are as many
as the messages that we send. Each event is decoded by itself, so that one that cannot be read does
not hold back the others.

Of what is over in a moment (`ephemeral`) only typing means something to us; receipts and presence,
of which there are many more, are skipped without being decoded. None of it is ever repeated by the
homeserver, and so nothing that cannot be read there may cost a transaction.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from time import perf_counter

import msgspec
import structlog
from aiohttp import web

from bridge.ids import EventId, RoomId, UserId
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.store import StoreError
from bridge.rooms.surroundings import Observer

# --- what is over in a moment: who is typing ------------------------------------------------------

NOTHING = msgspec.Raw(b"[]")
_TYPING = b'"m.typing"'


class _Kind(msgspec.Struct):
    type: str


class _Typists(msgspec.Struct):
    user_ids: list[UserId]


class _Typing(msgspec.Struct):
    """`m.typing` (client-server API, "Typing notifications")."""

    room_id: RoomId
    content: _Typists


_list = msgspec.json.Decoder(list[msgspec.Raw])
_kind = msgspec.json.Decoder(_Kind)
_typing = msgspec.json.Decoder(_Typing)


def typing_in(ephemeral: msgspec.Raw) -> Iterator[tuple[RoomId, list[UserId]]]:
    """Users who are typing from now on, by room; an empty list: nobody any more."""
    if _TYPING not in bytes(ephemeral):
        return
    for raw in _entries(ephemeral):
        try:
            if _kind.decode(raw).type == "m.typing":
                told = _typing.decode(raw)
                yield told.room_id, told.content.user_ids
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue


def _entries(ephemeral: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _list.decode(ephemeral)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


# --- the endpoint ---------------------------------------------------------------------------------

RawEvent = dict[str, object]
Accept = Callable[[Sequence[tuple[RoomId, EventId, RawEvent]]], Awaitable[object]]
Vouch = Callable[[str], Awaitable[bool]]
Typing = Callable[[RoomId, Collection[UserId]], None]

COUNTED_TYPES = frozenset(
    {"m.room.message", "m.room.encrypted", "m.room.member", "m.sticker", "m.reaction"}
)
"""Types of events that the metrics tell apart: foreign ones must not make as many labels."""
_MAX_NESTING = 100
"""How deep an event may nest; honest ones stay below ten."""


class _Transaction(msgspec.Struct):
    """Body of a transaction. `to_device` is not decoded: keys are read by /sync."""

    events: list[msgspec.Raw] = []
    ephemeral: msgspec.Raw = NOTHING
    former: msgspec.Raw = msgspec.field(default=NOTHING, name="de.sorunome.msc2409.ephemeral")
    """What `ephemeral` was called before Matrix 1.13; newer servers send both, with the same."""


class _Gist(msgspec.Struct, omit_defaults=True):
    """First fields of an event; the rest is skipped, not decoded."""

    event_id: str
    room_id: str
    type: str
    sender: str
    state_key: str | None = None


class Endpoint:
    """The handlers of the homeserver's calls.

    Args:
        hs_token: what the homeserver shows us; a secret.
        is_ours: tells our own users.
        accept: stores events; returns when they are durable, raises StoreError.
        vouch: makes one of our users exist, and says whether it is one.
        max_body: bytes of the longest body that is read.
        typing: told who is typing in a room, whenever that changes.
        timing: for a type of event, takes the seconds until one was stored.
    """

    def __init__(
        self,
        *,
        hs_token: str,
        is_ours: Callable[[str], bool],
        accept: Accept,
        vouch: Vouch,
        max_body: int,
        typing: Typing | None = None,
        timing: Callable[[str], Observer] | None = None,
    ) -> None:
        self._token = hs_token.encode()
        self._is_ours = is_ours
        self._accept = accept
        self._vouch = vouch
        self._typing = typing
        self._timing = timing
        self._max_body = max_body
        self._decoder = msgspec.json.Decoder(_Transaction)
        self._gist = msgspec.json.Decoder(_Gist)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.matrix.endpoint")

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to a web application, present and legacy paths."""
        made: list[web.RouteDef] = []
        for prefix in ("/_matrix/app/v1", ""):
            made += [
                web.put(f"{prefix}/transactions/{{txn}}", self._transaction),
                web.get(f"{prefix}/users/{{user}}", self._user, allow_head=False),
                web.get(f"{prefix}/rooms/{{alias}}", self._unknown, allow_head=False),
            ]
        thirdparty = "/{any:.*}"
        return [
            *made,
            web.post("/_matrix/app/v1/ping", self._ping),
            web.get(f"/_matrix/app/v1/thirdparty{thirdparty}", self._unknown, allow_head=False),
            web.get(f"/_matrix/app/unstable/thirdparty{thirdparty}", self._unknown),
        ]

    async def _transaction(self, request: web.Request) -> web.Response:
        self._authorise(request)
        body = await self._read(request)
        told = self._split(body)
        events = [read for raw in told.events if (read := self._event(raw)) is not None]
        if events:
            began = perf_counter()
            try:
                await self._accept(events)
            except StoreError as error:
                self._log.warning("transaction not stored", events=len(events), why=str(error))
                raise _refusal(
                    web.HTTPServiceUnavailable, "M_UNKNOWN", "The events could not be stored."
                ) from error
            if self._timing is not None:
                took = perf_counter() - began
                for _, _, event in events:
                    kind = event.get("type")
                    self._timing(kind if kind in COUNTED_TYPES else "other").observe(took)
        skipped = len(told.events) - len(events)
        self._log.debug("transaction", events=len(events), skipped=skipped, size=len(body))
        self._tell_typing(told)
        return web.json_response({})

    def _tell_typing(self, told: _Transaction) -> None:
        if self._typing is not None:
            signs = told.former if told.ephemeral == NOTHING else told.ephemeral
            for room_id, users in typing_in(signs):
                self._typing(room_id, users)

    def _split(self, body: bytes) -> _Transaction:
        """The transaction's events, not decoded yet."""
        try:
            try:
                return self._decoder.decode(body)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:
                return _Transaction(_salvage(body))
        except (ValueError, RecursionError) as error:
            self._log.error("transaction is not readable", size=len(body), error=str(error))
            raise _refusal(
                web.HTTPBadRequest, "M_BAD_JSON", 'The body must be a JSON object with "events".'
            ) from error

    def _event(self, raw: msgspec.Raw) -> tuple[RoomId, EventId, RawEvent] | None:
        """Read one event, or None if it is an echo, or no event."""
        try:
            gist = self._gist.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._log.warning("event without identity skipped", error=str(error))
            return None
        if is_echo(self._is_ours, gist.type, gist.sender, gist.state_key):
            return None
        room_id, event_id = RoomId(gist.room_id), EventId(gist.event_id)
        text = bytes(raw)
        try:
            event = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # Its sender must still learn that it cannot be carried: keep it, without content.
            self._log.warning(
                "event's content dropped", event_id=event_id, error=type(error).__name__
            )
            event = {**msgspec.to_builtins(gist), "content": {}}
        return room_id, event_id, event

    async def _user(self, request: web.Request) -> web.Response:
        self._authorise(request)
        try:
            if await self._vouch(request.match_info["user"]):
                return web.json_response({})
        except (Unavailable, Refused) as error:
            raise _refusal(
                web.HTTPServiceUnavailable, "M_UNKNOWN", "The user could not be made."
            ) from error
        raise _refusal(web.HTTPNotFound, "M_NOT_FOUND", "No user of ours.")

    async def _unknown(self, request: web.Request) -> web.Response:
        self._authorise(request)
        raise _refusal(web.HTTPNotFound, "M_NOT_FOUND", "We have no such thing.")

    async def _ping(self, request: web.Request) -> web.Response:
        self._authorise(request)
        await self._read(request)
        return web.json_response({})

    def _authorise(self, request: web.Request) -> None:
        """Check the token in constant time; the query parameter is how older servers send it."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.query.get("access_token", "")
        if not token:
            raise _refusal(web.HTTPUnauthorized, "M_UNAUTHORIZED", "The hs_token is missing.")
        if not hmac.compare_digest(token.strip().encode("utf-8", "surrogateescape"), self._token):
            self._log.warning("call with a wrong hs_token", remote=request.remote)
            raise _refusal(web.HTTPForbidden, "M_FORBIDDEN", "The hs_token is wrong.")

    async def _read(self, request: web.Request) -> bytes:
        """Read the body within our own limit, whatever the application's is."""
        parts: list[bytes] = []
        size = request.content_length or 0
        if size <= self._max_body:
            size = 0
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > self._max_body:
                    break
                parts.append(chunk)
        if size > self._max_body:
            # The homeserver will offer the same transaction for ever: an operator must act.
            self._log.error("body exceeds appservice.max_body_size", limit=self._max_body)
            message = f"The body is longer than {self._max_body} bytes."
            response = {"errcode": "M_TOO_LARGE", "error": message}
            raise web.HTTPRequestEntityTooLarge(
                max_size=self._max_body,
                actual_size=size,
                text=msgspec.json.encode(response).decode(),
                content_type="application/json",
            )
        return b"".join(parts)


def is_echo(is_ours: Callable[[str], bool], kind: str, sender: str, state_key: object) -> bool:
    """True for an event of our own users, unless it changes somebody else's membership."""
    if not is_ours(sender):
        return False
    return kind != "m.room.member" or not isinstance(state_key, str) or is_ours(state_key)


def _refusal(kind: type[web.HTTPError], errcode: str, message: str) -> web.HTTPError:
    text = msgspec.json.encode({"errcode": errcode, "error": message}).decode()
    return kind(text=text, content_type="application/json")


def _decode(text: bytes) -> RawEvent:
    """Decode one event; RecursionError also for what would be too deep for those who come later."""
    event: RawEvent = msgspec.json.decode(text, type=dict)
    if text.count(b"{") + text.count(b"[") > _MAX_NESTING and _too_deep(event):
        raise RecursionError
    return event


def _too_deep(event: RawEvent) -> bool:
    level: list[object] = [event]
    for _ in range(_MAX_NESTING):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else _items(parent))
        ]
        if not level:
            return False
    return True


def _items(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()


def _salvage(body: bytes) -> list[msgspec.Raw]:
    """Decode with Python's own decoder, which takes lone surrogates and NaN.

    One such event must not hold back the others for ever, so it alone loses its content, or is
    left out if half characters are in what tells whose it is.

    Raises:
        ValueError (msgspec's included), RecursionError: this is no transaction.
    """
    transaction = json.loads(body)
    events = transaction.get("events", []) if isinstance(transaction, dict) else None
    salvaged: list[msgspec.Raw] = []
    for event in msgspec.convert(events, list[object]):
        try:
            salvaged.append(msgspec.Raw(msgspec.json.encode(event)))
        except (UnicodeEncodeError, RecursionError):
            fields = event if isinstance(event, dict) else {}
            known = {key: fields[key] for key in _Gist.__struct_fields__ if key in fields}
            with suppress(UnicodeEncodeError, RecursionError):
                salvaged.append(msgspec.Raw(msgspec.json.encode(known | {"content": {}})))
    return salvaged
