"""Target `transactions`: what a homeserver may send, from the body of a call to what events mean.

An input is taken as a whole body, and as one event between two honest ones: whatever it is, the
other two must come through.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence

import msgspec
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from bridge.ids import EventId, QueueId, RoomId
from bridge.matrix.inbound import interpret
from bridge.matrix.transactions import Endpoint, RawEvent
from bridge.matrix.users import OurUsers
from bridge.rooms.inputs import MatrixEvent, Nothing, Spoke
from tests.fuzz.target import Target
from tests.support.event_examples import examples

OURS = OurUsers("example.org", "webchatbot", "webchat_{agent}", (QueueId(1),))
MAX_BODY = 1_000_000
_PATH = "/_matrix/app/v1/transactions/1"
_HEADERS = {"Authorization": "Bearer s3cret"}
_STORED = msgspec.json.Decoder(MatrixEvent)


def honest(number: int) -> RawEvent:
    return {
        "event_id": f"$honest{number}",
        "room_id": "!r:example.org",
        "type": "m.room.message",
        "sender": "@ada:example.org",
        "content": {"msgtype": "m.text", "body": f"said {number}"},
    }


BEFORE, AFTER = honest(1), honest(2)


class Homeserver:
    """Calls the endpoint without a socket; nothing in it has to wait for anything."""

    def __init__(self) -> None:
        self.taken: list[tuple[RoomId, EventId, RawEvent]] = []
        self._loop = asyncio.new_event_loop()
        endpoint = Endpoint(
            hs_token="s3cret",
            is_ours=OURS.is_ours,
            accept=self._accept,
            vouch=self._vouch,
            max_body=MAX_BODY,
        )
        self._handler = endpoint.routes()[0].handler

    def put(self, body: bytes) -> int:
        """Send one transaction; the status of the answer."""
        self.taken.clear()
        payload = StreamReader(BaseProtocol(self._loop), 2**16, loop=self._loop)
        payload.feed_data(body)
        payload.feed_eof()
        request = make_mocked_request("PUT", _PATH, headers=_HEADERS, payload=payload)
        try:
            return self._loop.run_until_complete(self._answer(request))
        except web.HTTPException as refusal:
            return refusal.status

    async def _answer(self, request: web.Request) -> int:
        response = await self._handler(request)
        assert isinstance(response, web.Response)
        return response.status

    def close(self) -> None:
        self._loop.close()

    async def _accept(self, events: Sequence[tuple[RoomId, EventId, RawEvent]]) -> None:
        self.taken += events

    async def _vouch(self, user: str) -> bool:
        return OURS.is_host(user)


def run(data: bytes) -> None:
    homeserver = Homeserver()
    try:
        _whole(homeserver, data)
        _between(homeserver, data)
    finally:
        homeserver.close()


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
    """One odd event does not hold back the others."""
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


def _stored(room_id: RoomId, event_id: EventId, raw: RawEvent) -> None:
    """What is stored is what came, and its meaning can be told."""
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
        *('"m.poll.start"', '"org.matrix.msc3381.poll.response"', '"m.sticker"', '"formatted_body":'),
        *("\\ud800", "\\u0000", "NaN", "1e999", "@ada:example.org", "@webchatbot:example.org"),
    ),
    modules=(
        "bridge.matrix.transactions",
        "bridge.matrix.inbound",
        "bridge.matrix.contents",
        "bridge.matrix.relations",
        "bridge.matrix.reactions",
    ),
)
