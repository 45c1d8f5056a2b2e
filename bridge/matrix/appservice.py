"""HTTP endpoint for the homeserver (Matrix application service API, r0 and v1).

The rule: 200 only after every event of the transaction is stored. If the store is down, the reply
is 503, and the homeserver keeps the transaction and all after it.

Deduplication is by event id, never by transaction id: Synapse restarts its transaction counter and
delivers an event in several transactions (reference matrix.md §1.2). Echoes, one per message sent,
are dropped before their content is decoded. Each event is decoded separately, so that an unreadable
one does not block the others. Ephemeral events other than typing are skipped undecoded; as the
homeserver never repeats any, unreadable ones must not fail the transaction.
"""

from __future__ import annotations

import asyncio
import gc
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal
from urllib.parse import unquote

import msgspec
import structlog
from aiohttp import web

from bridge.ids import EventId, RoomId, UserId
from bridge.matrix.crypto import wire
from bridge.matrix.events import sent_at
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Refused, Unavailable
from bridge.rooms.record import Raw, age_of
from bridge.rooms.store import StoreError
from bridge.rooms.surroundings import Observer

Arrived = tuple[RoomId, EventId, Raw]
Page = Callable[[web.BaseRequest], Awaitable[web.Response]]

_LOG = "bridge.matrix.endpoint"
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_V1 = "/_matrix/app/v1"
_THIRDPARTY = (f"{_V1}/thirdparty/", "/_matrix/app/unstable/thirdparty/")
COUNTED_TYPES = frozenset(
    {"m.room.message", "m.room.encrypted", "m.room.member", "m.sticker", "m.reaction"}
)
"""Event types with a metrics label of their own: strangers must not be able to create labels."""
WARN_EVERY = 10.0
"""Minimum seconds between two log lines about wrong tokens, or about events without valid ids."""
_LONGEST_ID = 255
SLOWEST_BODY = 120.0
"""Maximum seconds to receive a body."""
LONG_BODY = 256 * 1024
"""Bytes above which `LONG_TURNS` limits concurrency: the body is in memory three times at once."""
LONG_TURNS = 2
_PART, _LEAST = 64 * 1024, 512
"""Maximum bytes of a long transaction that are decoded and stored at a time, so that other requests
get a turn: decoded, a dense event takes 20 times its size. An event counts as `_LEAST` or more."""
HELD = 2_000
"""Age in ms above which the homeserver must have queued an event before this attempt."""
BEHIND = 10_000
"""ms after which an event of another homeserver came late, so that earlier ones may be missing."""
_MAX_NESTING = 100
"""Maximum nesting depth of an event; honest ones stay below ten."""
_NONE = msgspec.Raw(b"[]")
_TYPING = b'"m.typing"'
_UNREADABLE = (ValueError, RecursionError)


class _Transaction(msgspec.Struct):
    """Body of a transaction. `to_device` is not decoded: keys come by /sync."""

    events: list[msgspec.Raw] = []
    ephemeral: msgspec.Raw = _NONE
    former: msgspec.Raw = msgspec.field(default=_NONE, name="de.sorunome.msc2409.ephemeral")
    """Name of `ephemeral` before Matrix 1.13; newer servers send both, with equal content."""


class _Gist(msgspec.Struct, omit_defaults=True):
    """Identity of an event; other fields are not decoded."""

    event_id: EventId
    room_id: RoomId
    type: str
    sender: str
    state_key: str | None = None


class _Typists(msgspec.Struct):
    user_ids: list[UserId]


class _Typing(msgspec.Struct):
    """`m.typing` (client-server API, "Typing notifications")."""

    type: Literal["m.typing"]
    room_id: RoomId
    content: _Typists


_read_transaction = msgspec.json.Decoder(_Transaction).decode
_read_gist = msgspec.json.Decoder(_Gist).decode
_read_event = msgspec.json.Decoder(Raw).decode
_read_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_typing = msgspec.json.Decoder(_Typing).decode


class Refusal(web.HTTPException):
    """HTTP reply with a Matrix error."""

    def __init__(self, status: int, errcode: str, message: str) -> None:
        self.status_code = status
        text = msgspec.json.encode({"errcode": errcode, "error": message}).decode()
        super().__init__(text=text, content_type="application/json")


@dataclass(kw_only=True, eq=False)
class Endpoint:
    """Request handler for aiohttp's low-level server.

    The router of an aiohttp application would cost 25 % more CPU per one-event transaction.
    """

    hs_token: str = field(repr=False)
    users: OurUsers
    accept: Callable[[Sequence[Arrived]], Awaitable[object]]
    """Stores events, returning when they are durable; raises StoreError."""
    answer_user_query: Callable[[str], Awaitable[bool]]
    """Registers a bot or queue user; False for any other user id."""
    max_body: int
    """Maximum bytes of a transaction."""
    typing: Callable[[RoomId, Collection[UserId]], None] = lambda _room, _users: None
    """Called with all users typing in a room, whenever that changes."""
    pages: Mapping[str, Page] = field(default_factory=dict)
    """Handlers of further paths on this port, open to anyone without a token."""
    folders: Mapping[str, Page] = field(default_factory=dict)
    """Handlers by path prefix, which authenticate requests themselves."""
    on_held: Callable[[], None] = lambda: None
    """Called when an event of a user of `home` arrives that is older than `HELD`."""
    home: str = ""
    """The homeserver's name. The age of other servers' events is whatever those claim."""
    behind: dict[RoomId, int] = field(default_factory=dict)
    """Rooms with events of other servers older than `BEHIND`, and when the oldest was sent."""
    timing: Callable[[str], Observer] | None = None
    """Returns the histogram of seconds to store an event, by event type."""

    def __post_init__(self) -> None:
        self._token = self.hs_token.encode()
        self.heard = 0.0
        """`perf_counter` of the homeserver's last call."""
        self._quiet_until: dict[str, float] = {}
        self._long = asyncio.Semaphore(LONG_TURNS)
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger(_LOG)
        # For structlog, dropping a log line takes as long as the endpoint needs for an event.
        self._wants_debug = logging.getLogger(_LOG).isEnabledFor
        self._calls: dict[str, tuple[Page, tuple[str, ...]]] = {
            "/transactions/": (self._transaction, ("PUT",)),
            "/users/": (self._user, ("GET",)),
            "/rooms/": (self._unknown, ("GET",)),
            f"{_V1}/ping": (self._ping, ("POST",)),
            **{path: (page, ("GET", "HEAD")) for path, page in self.pages.items()},
        }

    async def handle(self, request: web.BaseRequest) -> web.Response:
        path = request.rel_url.raw_path
        folder, slash, _ = path.removeprefix(_V1).rpartition("/")
        call = self._calls.get(folder + slash) or self._calls.get(path)
        if call is None and path.startswith(_THIRDPARTY):
            call = self._calls["/rooms/"]
        if call is None:
            for folder, page in self.folders.items():
                if path.startswith(folder):
                    return await page(request)
            raise web.HTTPNotFound
        answer, methods = call
        if request.method not in methods:
            raise web.HTTPMethodNotAllowed(request.method, methods)
        return await answer(request)

    async def _transaction(self, request: web.BaseRequest) -> web.Response:
        self._authorise(request)
        length = request.content_length
        if length is not None and length <= LONG_BODY:
            return await self._take(request)
        async with self._long:
            return await self._take(request)

    async def _take(self, request: web.BaseRequest) -> web.Response:
        body = await self._read(request)
        txn = self._split(body)
        kinds: list[object] = []
        late, began = False, perf_counter()
        for part in _parts(txn.events) if len(body) > LONG_BODY else (txn.events,):
            events = [read for raw in part if (read := self._event(raw)) is not None]
            if events:
                await self._store(events)
                kinds += [event.get("type") for _, _, event in events]
                late = self._note_late(events) or late
            elif len(body) > LONG_BODY:
                await asyncio.sleep(0)
        if late:
            self.on_held()
        if self.timing is not None:
            took = perf_counter() - began
            for kind in kinds:
                self.timing(str(kind) if kind in COUNTED_TYPES else "other").observe(took)
        if self._wants_debug(logging.DEBUG):
            skipped = len(txn.events) - len(kinds)
            self._log.debug("transaction", events=len(kinds), skipped=skipped, size=len(body))
        if _TYPING in body:
            signs = bytes(txn.ephemeral)
            for room_id, users in _typing_in(bytes(txn.former) if signs == b"[]" else signs):
                self.typing(room_id, users)
        return _done()

    async def _store(self, events: Sequence[Arrived]) -> None:
        try:
            await self.accept(events)
        except StoreError as error:
            self._log.warning("transaction not stored", events=len(events), why=str(error))
            raise Refusal(503, "M_UNKNOWN", "The events could not be stored.") from error

    def _note_late(self, events: Sequence[Arrived]) -> bool:
        """Note late events of other servers in `behind`; return whether one of `home` is late."""
        late, now = False, time.time_ns() // 1_000_000
        for room_id, _, event in events:
            if str(event.get("sender")).endswith(f":{self.home}"):
                late = late or age_of(event) > HELD
            elif now - (sent := sent_at(event)) > BEHIND:
                self.behind[room_id] = min(sent, self.behind.get(room_id, sent))
        return late

    def _split(self, body: bytes) -> _Transaction:
        """Split a body into undecoded events. Raises Refusal if it is not a transaction."""
        try:
            try:
                return _read_transaction(body)
            except msgspec.ValidationError:
                raise
            except _UNREADABLE:
                return _Transaction(_salvage(body))
        except _UNREADABLE as error:
            self._log.error("transaction is not readable", size=len(body), error=str(error))
            why = 'The body must be a JSON object with "events".'
            raise Refusal(400, "M_BAD_JSON", why) from error

    def _event(self, raw: msgspec.Raw) -> Arrived | None:
        """Decode one event; None if it is an echo or lacks valid ids."""
        try:
            gist = _read_gist(raw)
            if not all(map(is_id, (gist.event_id, gist.room_id, gist.sender))):
                raise msgspec.ValidationError("an invalid id")
        except _UNREADABLE as error:
            self._warn("event without valid ids skipped", error=str(error))
            return None
        if gist.type != "m.room.member" and self.users.is_ours(gist.sender):
            return None  # an echo for sure, not worth decoding
        try:
            text = bytes(raw)
            event = _read_event(text)
            if text.count(b"{") + text.count(b"[") > _MAX_NESTING and _too_deep(event):
                # It would overflow the stack of later code.
                raise RecursionError("nested too deeply")
        except _UNREADABLE as error:
            # Keep it without content, so that its sender is told that it cannot be delivered.
            why = str(error)
            self._log.warning("event's content dropped", event_id=gist.event_id, error=why)
            event = {**msgspec.to_builtins(gist), "content": {}}
        if gist.type == "m.room.member" and is_echo(self.users, event):
            return None
        return gist.room_id, gist.event_id, event

    async def _user(self, request: web.BaseRequest) -> web.Response:
        self._authorise(request)
        try:
            if await self.answer_user_query(unquote(request.rel_url.raw_name)):
                return _done()
        except (Unavailable, Refused) as error:
            raise Refusal(503, "M_UNKNOWN", "The user could not be registered.") from error
        raise Refusal(404, "M_NOT_FOUND", "Not a user of this bridge.")

    async def _unknown(self, request: web.BaseRequest) -> web.Response:
        self._authorise(request)
        raise Refusal(404, "M_NOT_FOUND", "This bridge has no such room alias.")

    async def _ping(self, request: web.BaseRequest) -> web.Response:
        self._authorise(request)
        await self._read(request)
        return _done()

    def _authorise(self, request: web.BaseRequest) -> None:
        """Check the hs_token in constant time; older homeservers send it as a query parameter."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.query.get("access_token", "")
        if not token:
            raise Refusal(401, "M_UNAUTHORIZED", "The hs_token is missing.")
        given = token.strip().encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._token):
            self._warn("call with a wrong hs_token", remote=request.remote)
            raise Refusal(403, "M_FORBIDDEN", "The hs_token is wrong.")
        self.heard = perf_counter()

    def _warn(self, what: str, **about: object) -> None:
        """Log what anybody who reaches the port, or whose server federates, can cause: each kind
        once in `WARN_EVERY`.
        """
        if (now := perf_counter()) >= self._quiet_until.get(what, 0.0):
            self._quiet_until[what] = now + WARN_EVERY
            self._log.warning(what, **about)

    async def _read(self, request: web.BaseRequest) -> bytes:
        """Read the body. Raises Refusal if it exceeds `max_body` or `SLOWEST_BODY`."""
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        parts: list[bytes] = []
        size = request.content_length or 0
        if size <= self.max_body and request.content.is_eof():  # as nearly always
            parts.append(request.content.read_nowait())
            size = len(parts[0])
        elif size <= self.max_body:
            try:
                async with asyncio.timeout(SLOWEST_BODY):
                    size = 0
                    while size <= self.max_body and (chunk := await request.content.readany()):
                        size += len(chunk)
                        parts.append(chunk)
            except TimeoutError:
                self._log.warning("request body timed out", seconds=SLOWEST_BODY)
                why = f"The body took longer than {SLOWEST_BODY:g} s."
                raise Refusal(408, "M_UNKNOWN", why) from None
        if size > self.max_body:
            # The homeserver will retry the same transaction for ever: an operator must act.
            self._log.error("body exceeds appservice.max_body_size", limit=self.max_body)
            raise Refusal(413, "M_TOO_LARGE", f"The body is longer than {self.max_body} bytes.")
        return b"".join(parts)


def is_echo(users: OurUsers, event: Raw) -> bool:
    """True for an event sent by a bridge user, unless it changes another user's membership.

    Nor is it an echo that a host leaves unmarked: the homeserver lets it do so if an administrator
    deletes the room, or deactivates the host.
    """
    if not users.is_ours(sender := wire.text(event, "sender")):
        return False
    who = event.get("state_key")
    if event.get("type") != "m.room.member" or not isinstance(who, str):
        return True
    if not users.is_ours(who):
        return False
    content = wire.mapping(event, "content")
    leaves = content.get("membership") == "leave" and wire.MARKER not in content
    return not (leaves and who == sender and users.is_open_to_all(who))


def is_id(text: str) -> bool:
    """Whether a text has the length of a Matrix id and no NUL, which databases reject."""
    return 0 < len(text) <= _LONGEST_ID and "\0" not in text


def _done() -> web.Response:
    return web.Response(body=b"{}", headers=_JSON)


def _typing_in(ephemeral: bytes) -> Iterator[tuple[RoomId, list[UserId]]]:
    """Yield the users now typing, by room; an empty list means nobody."""
    with suppress(*_UNREADABLE):
        for raw in _read_entries(ephemeral):
            with suppress(*_UNREADABLE):
                if _TYPING in bytes(raw):
                    event = _read_typing(raw)
                    yield event.room_id, event.content.user_ids


def _parts(events: Sequence[msgspec.Raw]) -> Iterator[Sequence[msgspec.Raw]]:
    """Split a long transaction; see `_PART`."""
    first = size = 0
    for at, raw in enumerate(events):
        length = max(_LEAST, memoryview(raw).nbytes)
        if size + length > _PART:
            yield events[first:at]
            first, size = at, 0
        size += length
    yield events[first:]


def _too_deep(event: Raw) -> bool:
    level: list[Raw | list[object]] = [event]
    for _ in range(_MAX_NESTING):
        inner: list[Raw | list[object]] = []
        for value in filter(None, level):
            children = value.values() if isinstance(value, dict) else value
            inner += [child for child in children if isinstance(child, (dict, list))]
        level = inner
    return bool(level)


def _salvage(body: bytes) -> list[msgspec.Raw]:
    """Decode a transaction with Python's json, which accepts lone surrogates and NaN.

    An event with lone surrogates must not block the others for ever: it loses its content, or is
    dropped if they are in its ids. Raises ValueError (msgspec's included) or RecursionError if the
    body is not a transaction.
    """
    gc.disable()  # it would look through the growing transaction again and again
    try:
        transaction = json.loads(wire.shallow(body), parse_int=wire.whole_number)
    finally:
        gc.enable()
    events = transaction.get("events", []) if isinstance(transaction, dict) else None
    salvaged: list[msgspec.Raw] = []
    for event in msgspec.convert(events, list[object]):
        try:
            salvaged.append(msgspec.Raw(msgspec.json.encode(event)))
        except (UnicodeEncodeError, RecursionError):
            fields = wire.mapping(event)
            known = {key: fields[key] for key in _Gist.__struct_fields__ if key in fields}
            with suppress(UnicodeEncodeError, RecursionError):
                salvaged.append(msgspec.Raw(msgspec.json.encode(known | {"content": {}})))
    return salvaged
