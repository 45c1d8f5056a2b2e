"""Target `transactions`: transactions of a homeserver, from the request body to event meanings.

An input is used as a whole body, as an event between two valid ones, and as an ephemeral event
(typing) beside a valid event. The valid events must always be accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import cast

import msgspec
from aiohttp import web
from yarl import URL

from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.matrix.appservice import Arrived, Endpoint
from bridge.matrix.events import interpret
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Nothing, Spoke
from bridge.rooms.record import MatrixEvent, Raw
from tests.fuzz.target import Target
from tests.support.event_examples import examples

OURS = OurUsers("example.org", "webchatbot", "webchat_{agent}", (QueueId(1),))
MAX_BODY = 1_000_000
Handler = Callable[[web.Request], Coroutine[None, None, web.Response]]
_STORED = msgspec.json.Decoder(MatrixEvent)


def honest(number: int) -> Raw:
    return {
        "event_id": f"$honest{number}",
        "room_id": "!r:example.org",
        "type": "m.room.message",
        "sender": "@ada:example.org",
        "content": {"msgtype": "m.text", "body": f"said {number}"},
    }


BEFORE, AFTER = honest(1), honest(2)


class _Body:
    """A complete request body."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def is_eof(self) -> bool:
        return True

    def read_nowait(self) -> bytes:
        return self._data


class _Call:
    """The parts of a request that the endpoint uses. aiohttp's mock would take most of the time."""

    method = "PUT"
    rel_url = URL("/_matrix/app/v1/transactions/1")
    remote = "127.0.0.1"
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {"Authorization": "Bearer s3cret"}

    def __init__(self, body: bytes) -> None:
        self.content_length = len(body)
        self.content = _Body(body)


class Homeserver:
    """Caller of the endpoint without a socket or event loop, as the endpoint never waits."""

    def __init__(self) -> None:
        self.taken: list[Arrived] = []
        endpoint = Endpoint(
            hs_token="s3cret",
            users=OURS,
            accept=self._accept,
            answer_user_query=self._vouch,
            typing=self._types,
            max_body=MAX_BODY,
        )
        self._handler = cast("Handler", endpoint.handle)

    def put(self, body: bytes) -> int:
        """Send a transaction; return the status of the response."""
        self.taken.clear()
        answer = self._handler(cast("web.Request", _Call(body)))
        try:
            answer.send(None)
        except StopIteration as end:
            response: web.Response = end.value
            return response.status
        except web.HTTPException as refusal:
            return refusal.status
        raise AssertionError("the endpoint waits for something")

    async def _accept(self, events: Sequence[Arrived]) -> None:
        self.taken += events

    def _types(self, room_id: RoomId, users: Collection[UserId]) -> None:
        assert isinstance(room_id, str)
        assert all(isinstance(user, str) for user in users)

    async def _vouch(self, user: str) -> bool:
        return OURS.is_host(user)


def run(data: bytes) -> None:
    homeserver = Homeserver()
    _whole(homeserver, data)
    _between(homeserver, data)
    _beside(homeserver, data)


def _whole(homeserver: Homeserver, body: bytes) -> None:
    status = homeserver.put(body)
    if len(body) > MAX_BODY:
        assert status == 413
    else:
        assert status in {200, 400}, status
    assert status == 200 or not homeserver.taken, "what is refused is not stored"
    for event in homeserver.taken:
        _stored(*event)


def _between(homeserver: Homeserver, event: bytes) -> None:
    """Assert that an odd event does not affect the others."""
    parts = (msgspec.json.encode(BEFORE), event, msgspec.json.encode(AFTER))
    status = homeserver.put(b'{"events":[' + b",".join(parts) + b"]}")
    try:
        whole = json.loads(b'{"events":[' + event + b"]}")
        readable = len(whole) == 1 and len(whole["events"]) >= 1
    except (ValueError, RecursionError):
        readable = False
    if readable and len(event) < MAX_BODY // 2:
        assert status == 200, "readable JSON is taken"
    if status == 200 and readable:
        stored = [event_id for _, event_id, _ in homeserver.taken]
        assert stored[:1] == ["$honest1"]
        assert stored[-1:] == ["$honest2"]
        assert homeserver.taken[0][2] == BEFORE
        assert homeserver.taken[-1][2] == AFTER


def _beside(homeserver: Homeserver, sign: bytes) -> None:
    """Assert that an odd ephemeral event does not affect events."""
    body = b'{"ephemeral":[%b],"events":[%b]}' % (sign, msgspec.json.encode(BEFORE))
    status = homeserver.put(body)
    if _is_json(b"[" + sign + b"]") and len(sign) < MAX_BODY // 2:
        assert status == 200, "readable JSON is taken"
        assert [event_id for _, event_id, _ in homeserver.taken] == ["$honest1"]


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _stored(room_id: RoomId, event_id: EventId, raw: Raw) -> None:
    """Assert that an event is stored unchanged, and can be interpreted."""
    assert raw["event_id"] == event_id
    assert raw["room_id"] == room_id
    entry = MatrixEvent(raw)
    assert _STORED.decode(msgspec.json.encode(entry)) == entry, "it survives the store"
    meaning = interpret(raw, OURS)
    assert interpret(raw, OURS) == meaning, "the same event means the same"
    told = msgspec.to_builtins(meaning)
    assert len(msgspec.json.encode(told)) <= 20 * len(msgspec.json.encode(raw)) + 2_000
    content = raw.get("content")
    sender = raw.get("sender")
    if (
        raw.get("type") == "m.room.message"
        and "state_key" not in raw
        and isinstance(content, dict)
        and content
        and content.get("msgtype") != "m.key.verification.request"  # maybe for someone else
        and sender
        and event_id
    ):
        assert not isinstance(meaning, Nothing), "what a person said is carried or answered"
    if isinstance(meaning, Spoke):
        assert "\0" not in meaning.plain


def seeds() -> Iterable[bytes]:
    events = [
        {"room_id": "!r:example.org", **example.raw, "event_id": f"$e{number}"}
        for number, example in enumerate(examples())
    ]
    for event in events:
        yield msgspec.json.encode({"events": [event]})
        yield msgspec.json.encode(event)
    yield msgspec.json.encode({"events": events[:3], "ephemeral": [], "to_device": []})
    yield b'{"events":[{"event_id":"$x","room_id":"!r","type":"m","sender":"@a:b","x":NaN}]}'
    yield b'{"events":[{"event_id":"\\ud800","room_id":"!r","type":"m","sender":"@a:b"}]}'
    typing = {"type": "m.typing", "room_id": "!r:example.org", "content": {"user_ids": ["@a:b"]}}
    yield msgspec.json.encode(typing)
    yield msgspec.json.encode({"events": [], "de.sorunome.msc2409.ephemeral": [typing]})
    yield b"{}"


TARGET = Target(
    "transactions",
    run,
    seeds,
    words=(
        *('"events":', '"event_id":', '"room_id":', '"type":', '"sender":', '"content":'),
        *('"state_key":', '"unsigned":', '"m.relates_to":', '"rel_type":', '"m.replace"'),
        *('"m.new_content":', '"m.in_reply_to":', '"m.annotation"', '"m.thread"', '"msgtype":'),
        *('"m.text"', '"m.image"', '"m.location"', '"geo_uri":', '"body":', '"url":', '"file":'),
        *('"m.room.message"', '"m.room.member"', '"m.reaction"', '"m.room.redaction"'),
        *('"ephemeral":', '"m.typing"', '"user_ids":', '"m.receipt"'),
        *(
            '"m.poll.start"',
            '"org.matrix.msc3381.poll.response"',
            '"m.sticker"',
            '"formatted_body":',
        ),
        *("\\ud800", "\\u0000", "NaN", "1e999", "@ada:example.org", "@webchatbot:example.org"),
    ),
    modules=(
        "bridge.matrix.appservice",
        "bridge.matrix.events",
    ),
)
