"""The endpoint over a loopback socket: status codes, tokens, limits, echoes, hostile bodies."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType

import msgspec
import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import RawTestServer, TestClient
from aiohttp.web import BaseRequest, Response, ServerRunner
from structlog.testing import capture_logs

from bridge.ids import EventId, QueueId, RoomId, UserId
from bridge.matrix import appservice
from bridge.matrix.appservice import (
    BEHIND,
    HELD,
    LONG_BODY,
    LONG_TURNS,
    Arrived,
    Endpoint,
    Page,
)
from bridge.matrix.crypto.wire import MARKER
from bridge.matrix.users import OurUsers
from bridge.rooms.ports import Unavailable
from bridge.rooms.record import Raw, age_of
from bridge.rooms.store import StoreError
from tests.unit.link.rig import eventually

OURS = OurUsers("a", "webchatbot", "webchat_{agent}", (QueueId(1),))
PATH = "/_matrix/app/v1/transactions/1"
HEADERS = {"Authorization": "Bearer s3cret"}


class Intake:
    def __init__(self) -> None:
        self.down = False
        self.open = asyncio.Event()
        """Nothing is stored before it is set."""
        self.open.set()
        self.came, self.typed, self.held = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.behind: dict[RoomId, int] = {}
        self.taken: list[Arrived] = []
        self.calls = 0
        self.typists: list[tuple[RoomId, list[UserId]]] = []

    def typing(self, room_id: RoomId, users: Collection[UserId]) -> None:
        self.typists.append((room_id, list(users)))
        self.typed.set()

    async def accept(self, events: Sequence[Arrived]) -> None:
        self.calls += 1
        self.came.set()
        if self.down:
            raise StoreError("SQLite: database or disk is full")
        await self.open.wait()
        self.taken += events


class Rig:
    def __init__(self, client: TestClient[BaseRequest, None], intake: Intake) -> None:
        self.client = client
        self.intake = intake

    async def put(self, body: object, path: str = PATH) -> ClientResponse:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.put(path, data=data, headers=HEADERS)


async def answer_user_query(user: str) -> bool:
    if user == "@trouble:a":
        raise Unavailable("homeserver away")
    return OURS.is_host(user)


@asynccontextmanager
async def running(
    max_body: int = 100_000, pages: Mapping[str, Page] = MappingProxyType({})
) -> AsyncIterator[Rig]:
    intake = Intake()
    endpoint = Endpoint(
        hs_token="s3cret",
        users=OURS,
        accept=intake.accept,
        answer_user_query=answer_user_query,
        typing=intake.typing,
        on_held=intake.held.set,
        behind=intake.behind,
        home="a",
        max_body=max_body,
        pages=pages,
    )
    client: TestClient[BaseRequest, None]
    async with TestClient(RawTestServer(endpoint.handle)) as client:
        runner = client.server.runner
        assert isinstance(runner, ServerRunner)
        assert runner.server is not None
        runner.server.handler_cancellation = False  # as in `app.serving`
        yield Rig(client, intake)


def event(number: int = 1, **more: object) -> Raw:
    base: Raw = {
        "event_id": f"${number}",
        "room_id": "!r",
        "type": "m.room.message",
        "sender": "@ann:a",
        "content": {"msgtype": "m.text", "body": "x"},
    }
    return base | more


def typing(*users: str, room: str = "!r") -> Raw:
    return {"type": "m.typing", "room_id": room, "content": {"user_ids": list(users)}}


RECEIPT: Raw = {
    "type": "m.receipt",
    "content": {"$1": {"m.read": {"@ann:a": {"ts": 1, "thread_id": "main"}}}},
    "room_id": "!r",
}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("more", "held"),
    [
        ({"unsigned": {"age": HELD + 1}}, True),
        ({"unsigned": {"age": HELD + 1}, "sender": "@eve:not.a"}, False),
        ({"unsigned": {"age": HELD}}, False),
        ({"unsigned": {"age": "x"}}, False),
        ({"unsigned": None}, False),
    ],
)
async def test_events_that_the_homeserver_had_queued_are_noticed(more: Raw, held: bool) -> None:
    """Old events of another server do not count: they are late, or meant to cause work."""
    async with running() as rig:
        assert (await rig.put({"events": [event(1), event(2, **more)]})).status == 200
        assert rig.intake.held.is_set() == held


@pytest.mark.asyncio
async def test_late_events_of_another_server_are_noted_with_their_rooms() -> None:
    now = time.time_ns() // 1_000_000
    times = [now - 2 * BEHIND, now - 3 * BEHIND, now - 2 * BEHIND, now]
    late = [event(n, sender="@eve:b", origin_server_ts=at) for n, at in enumerate(times)]
    prompt = event(9, sender="@eve:b", origin_server_ts=now, room_id="!s")
    ours = event(10, origin_server_ts=0, room_id="!t")
    async with running() as rig:
        assert (await rig.put({"events": [*late, prompt, ours]})).status == 200
        assert rig.intake.behind == {RoomId("!r"): now - 3 * BEHIND}


@pytest.mark.asyncio
@pytest.mark.parametrize("names", [("ephemeral",), ("de.sorunome.msc2409.ephemeral",), (0, 1)])
async def test_typing_is_passed_on_once(names: tuple[str | int, ...]) -> None:
    both = ("ephemeral", "de.sorunome.msc2409.ephemeral")
    told = [RECEIPT, typing("@ann:a", "@webchat_1:a"), typing(room="!s")]
    body = {both[name] if isinstance(name, int) else name: told for name in names}
    async with running() as rig:
        assert (await rig.put({"events": [], **body})).status == 200
        assert rig.intake.typists == [
            (RoomId("!r"), [UserId("@ann:a"), UserId("@webchat_1:a")]),
            (RoomId("!s"), []),
        ]
        assert rig.intake.calls == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "told",
    [
        {"m.typing": 1},
        "m.typing",
        ["m.typing", 7, None, {"m.typing": {}}],
        [{"type": "m.typing"}],
        [typing() | {"content": {"user_ids": "@ann:a"}}],
        [typing() | {"room_id": ["m.typing"]}],
        [RECEIPT] * 100,
    ],
    ids=["object", "text", "no objects", "bare", "one user", "no room", "receipts"],
)
async def test_malformed_ephemeral_events_are_ignored(told: object) -> None:
    async with running() as rig:
        assert (await rig.put({"events": [event(1)], "ephemeral": told})).status == 200
        assert [found for _, found, _ in rig.intake.taken] == ["$1"]
        assert rig.intake.typists == []


@pytest.mark.asyncio
async def test_typing_in_a_refused_transaction_is_dropped() -> None:
    async with running() as rig:
        rig.intake.down = True
        assert (
            await rig.put({"events": [event(1)], "ephemeral": [typing("@ann:a")]})
        ).status == 503
        assert rig.intake.typists == []


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [PATH, "/transactions/1", "/_matrix/app/v1/transactions/%2F%00"])
async def test_events_are_stored_then_acknowledged(path: str) -> None:
    async with running() as rig:
        response = await rig.put({"events": [event(1), event(2)], "extra": [1]}, path)
        assert (response.status, await response.json()) == (200, {})
        assert rig.intake.taken == [
            (RoomId("!r"), EventId("$1"), event(1)),
            (RoomId("!r"), EventId("$2"), event(2)),
        ]


@pytest.mark.asyncio
async def test_store_down_is_503_and_the_next_try_is_taken() -> None:
    async with running() as rig:
        rig.intake.down = True
        response = await rig.put({"events": [event()]})
        assert response.status == 503
        rig.intake.down = False
        assert (await rig.put({"events": [event()]})).status == 200
        # The same transaction id with other events is not a duplicate: Synapse counts anew.
        assert (await rig.put({"events": [event(2)]})).status == 200
        assert [event_id for _, event_id, _ in rig.intake.taken] == ["$1", "$2"]


@pytest.mark.asyncio
async def test_failure_to_store_is_logged_with_its_reason() -> None:
    async with running() as rig:
        rig.intake.down = True
        with capture_logs() as logs:
            await rig.put({"events": [event(1), event(2)]})
    (line,) = logs
    assert line["log_level"] == "warning"
    assert (line["event"], line["events"]) == ("transaction not stored", 2)
    assert line["why"] == "SQLite: database or disk is full"


@pytest.mark.asyncio
async def test_debug_counts_each_transaction_and_shows_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running() as rig:
        body = msgspec.json.encode({"events": [event(1), event(2, sender="@webchatbot:a")]})
        with capture_logs() as logs:
            await rig.put(body)
    assert logs == [
        {
            "event": "transaction",
            "log_level": "debug",
            "events": 1,
            "skipped": 1,
            "size": len(body),
        }
    ]


@pytest.mark.asyncio
async def test_token() -> None:
    async with running() as rig:
        ping = "/_matrix/app/v1/ping"
        for headers, query, status in (
            ({"Authorization": "Bearer s3cret"}, "", 200),
            ({"Authorization": "bearer s3cret"}, "", 200),
            ({}, "?access_token=s3cret", 200),
            ({}, "", 401),
            ({"Authorization": "Basic s3cret"}, "", 401),
            ({"Authorization": "Bearer"}, "?access_token=s3cret", 401),
            ({"Authorization": "Bearer wrong"}, "?access_token=s3cret", 403),
            ({"Authorization": "Bearer s3cret2"}, "", 403),
            ({}, "?access_token=wr%C3%B6ng", 403),
        ):
            response = await rig.client.post(ping + query, data=b"{}", headers=headers)
            assert response.status == status, (headers, query)
            if status != 200:
                assert (await response.json())["errcode"] in {"M_UNAUTHORIZED", "M_FORBIDDEN"}
        response = await rig.client.put(PATH, data=b'{"events":[]}')
        assert response.status == 401


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"null", b"5", b"{", b'{"events": {}}', b'{"events": 1}', b"\xff\xfe"),
        b'{"events":' + b"[" * 100_000,
        b'{"x":NaN,"events":5}',
    ],
)
async def test_body_that_is_no_transaction_is_400(body: bytes) -> None:
    async with running(max_body=1_000_000) as rig:
        response = await rig.put(body)
        assert response.status == 400
        assert (await response.json()) == {
            "errcode": "M_BAD_JSON",
            "error": 'The body must be a JSON object with "events".',
        }
        assert rig.intake.calls == 0


@pytest.mark.asyncio
async def test_guessed_tokens_do_not_flood_the_log() -> None:
    async with running() as rig:
        with capture_logs() as logs:
            for number in range(20):
                head = {"Authorization": f"Bearer guess{number}"}
                async with rig.client.put(PATH, json={"events": []}, headers=head) as response:
                    assert response.status == 403
    assert [line["event"] for line in logs] == ["call with a wrong hs_token"]


@pytest.mark.asyncio
async def test_events_without_valid_ids_do_not_flood_the_log() -> None:
    """In a room of version 1 a federated server may send any number of them, in any transaction."""
    async with running() as rig:
        with capture_logs() as logs:
            for number in range(20):
                assert (await rig.put({"events": [event(event_id=f"$\0{number}")]})).status == 200
    assert [line["event"] for line in logs] == ["event without valid ids skipped"]


@pytest.mark.asyncio
async def test_body_limit() -> None:
    async with running(max_body=2_000) as rig:
        assert (await rig.put({"events": [event(content="x" * 1_000)]})).status == 200
        response = await rig.put({"events": [event(content="x" * 2_000)]})
        assert (response.status, (await response.json())["errcode"]) == (413, "M_TOO_LARGE")

        async def stream() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"x" * 1_000

        response = await rig.client.put(PATH, data=stream(), headers=HEADERS)
        assert response.status == 413
        assert len(rig.intake.taken) == 1


@pytest.mark.asyncio
async def test_echoes_are_dropped_before_anything_else() -> None:
    ghost, bot = "@webchat_a1:a", "@webchatbot:a"
    member = {"type": "m.room.member", "content": {"membership": "leave"}}
    joined = member | {"content": {"membership": "join"}}
    marked = member | {"content": {"membership": "leave", MARKER: {}}}
    async with running() as rig:
        await rig.put(
            {
                "events": [
                    event(1, sender=ghost),
                    event(2, sender=bot, state_key=bot, **joined),
                    event(10, sender=bot, state_key=bot, **marked),
                    event(8, sender=ghost, state_key=ghost, **member),
                    event(3, sender=bot, state_key=ghost, **member),
                    event(4, sender=bot, state_key="", type="m.room.topic"),
                ]
            }
        )
        assert rig.intake.calls == 0
        kept = [
            event(5, sender=bot, state_key="@ann:a", **member),
            event(6, sender="@ann:a", state_key=ghost, **marked),
            event(7, sender="@webchat_a1:elsewhere"),
            event(9, sender=bot, state_key=bot, **member),
        ]
        await rig.put({"events": kept})
        assert [raw for _, _, raw in rig.intake.taken] == kept


@pytest.mark.asyncio
async def test_event_without_identity_does_not_hold_back_the_others() -> None:
    broken: list[object] = [
        5,
        None,
        [],
        {},
        event(event_id=7),
        event(room_id=None),
        event(sender=1),
    ]
    async with running() as rig:
        response = await rig.put({"events": [*broken, event(9)]})
        assert response.status == 200
        assert [event_id for _, event_id, _ in rig.intake.taken] == ["$9"]


@pytest.mark.asyncio
async def test_content_that_cannot_be_taken_is_dropped_but_not_its_event() -> None:
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    surrogate = b'{"body":"\\ud800"}'
    huge = b'{"n":1e999}'
    half = b'{"n":[NaN],"s":"\\udc00"}'
    async with running() as rig:
        for number, content in enumerate((deep, surrogate, huge, half)):
            identity = f'{{"event_id":"${number}","room_id":"!r","type":"m.room.message",'
            body = (
                b'{"events":[' + identity.encode() + b'"sender":"@ann:a","content":%b}]}' % content
            )
            assert (await rig.put(body)).status == 200
        for _, _, raw in rig.intake.taken:
            assert (raw["type"], raw["sender"], raw["content"]) == ("m.room.message", "@ann:a", {})
        assert len(rig.intake.taken) == 4


@pytest.mark.asyncio
async def test_content_too_deep_for_this_process_does_not_block_other_events() -> None:
    """A homeserver on Python 3.13 decodes 10,000 levels."""
    deep = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    first, second = msgspec.json.encode(event(1)), msgspec.json.encode(event(2))
    odd = msgspec.json.encode(event(7) | {"content": 7}).replace(
        b'"content":7', b'"content":' + deep
    )
    async with running() as rig:
        body = b'{"events":[%b,%b,%b],"to_device":[%b]}' % (first, odd, second, deep)
        assert (await rig.put(body)).status == 200
        taken = [(event_id, raw["content"]) for _, event_id, raw in rig.intake.taken]
    assert [event_id for event_id, _ in taken] == ["$1", "$7", "$2"]
    assert taken[1] == ("$7", {})


@pytest.mark.asyncio
@pytest.mark.parametrize("key", ["event_id", "room_id", "sender", "type"])
async def test_lone_surrogate_in_one_event_does_not_block_the_others(key: str) -> None:
    odd = msgspec.json.encode(event(7) | {key: "x"}).replace(b'"x"', b'"\\ud83d"', 1)
    events = msgspec.json.encode(event(1)), odd, msgspec.json.encode(event(2))
    async with running() as rig:
        assert (await rig.put(b'{"events":[' + b",".join(events) + b"]}")).status == 200
        assert [event_id for _, event_id, _ in rig.intake.taken] == ["$1", "$2"]


@pytest.mark.asyncio
async def test_huge_number_and_lone_surrogate_do_not_block_other_events() -> None:
    plain, number, text = b'"x"', b"9" * 5_000, b'"\\ud83d"'
    long = msgspec.json.encode(event(7)).replace(plain, number)
    half = msgspec.json.encode(event(8)).replace(plain, text)
    events = msgspec.json.encode(event(1)), long, half, msgspec.json.encode(event(2))
    async with running() as rig:
        assert (await rig.put(b'{"events":[' + b",".join(events) + b"]}")).status == 200
        assert [event_id for _, event_id, _ in rig.intake.taken] == ["$1", "$7", "$8", "$2"]


def test_the_garbage_collector_rests_while_a_dense_transaction_is_read_again() -> None:
    """It would look through all containers again and again, for most of a second."""
    dense = msgspec.json.encode(event(1) | {"content": {"n": [[]] * 100_000}})
    half = msgspec.json.encode(event(2)).replace(b'"x"', b'"\\ud83d"')
    collected: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        collected.append(phase)

    gc.callbacks.append(note)
    try:
        events = appservice._salvage(b'{"events":[' + dense + b"," + half + b"]}")
    finally:
        gc.callbacks.remove(note)
    assert len(events) == 2
    assert collected.count("start") <= 1  # afterwards
    assert gc.isenabled()


@pytest.mark.asyncio
async def test_many_brackets_in_a_text_are_no_nesting() -> None:
    text = "{[" * 50 + "]}" * 50 + "()" * 200 + "{}" * 300
    async with running() as rig:
        await rig.put({"events": [event(content={"body": text, "list": [{}] * 200})]})
        assert rig.intake.taken[0][2]["content"] == {"body": text, "list": [{}] * 200}


@pytest.mark.asyncio
@pytest.mark.parametrize(("size", "parts"), [(1, 1), (100_000, 5)])
async def test_a_long_transaction_is_decoded_in_parts(size: int, parts: int) -> None:
    """100 events that any homeserver may send blocked the event loop for 1.5 s."""
    echoes = [event(number, sender="@webchatbot:a") for number in range(1_500)]
    kept = [event(number, body="x" * size) for number in range(5)]
    async with running(max_body=2_000_000) as rig:
        assert (await rig.put({"events": [*echoes, *kept, *echoes]})).status == 200
        assert [event_id for _, event_id, _ in rig.intake.taken] == [f"${one}" for one in range(5)]
        assert rig.intake.calls == parts
        rig.intake.down = True
        assert (await rig.put({"events": kept})).status == 503


@pytest.mark.asyncio
async def test_queries() -> None:
    async with running() as rig:
        for method, path, status in (
            ("GET", "/_matrix/app/v1/users/@webchatbot:a", 200),
            ("GET", "/users/%40webchat_queue_1%3Aa", 200),
            ("GET", "/_matrix/app/v1/users/@webchat_queue_2:a", 404),
            ("GET", "/_matrix/app/v1/users/@webchat_a1:a", 404),
            ("GET", "/_matrix/app/v1/users/@trouble:a", 503),
            ("GET", "/_matrix/app/v1/rooms/%23x:a", 404),
            ("GET", "/rooms/%23x:a", 404),
            ("GET", "/_matrix/app/v1/thirdparty/protocol/webchat", 404),
            ("GET", "/_matrix/app/v1/thirdparty/user?userid=@x:a", 404),
            ("POST", "/_matrix/app/v1/ping", 200),
        ):
            response = await rig.client.request(method, path, headers=HEADERS)
            assert response.status == status, path
            if status == 404:
                assert (await response.json())["errcode"] == "M_NOT_FOUND"
            assert (await rig.client.request(method, path)).status == 401


async def live(_request: BaseRequest) -> Response:
    return Response(text="yes")


@pytest.mark.asyncio
async def test_unknown_paths_and_methods_are_rejected() -> None:
    async with running(pages={"/live": live}) as rig:
        for method, path, status in (
            ("GET", "/", 404),
            ("GET", "/live/", 404),
            ("GET", "/live/more", 404),
            ("GET", "/_matrix/app/v1/live/more", 404),
            ("PUT", "/transactions", 404),
            ("PUT", "/_matrix/app/v1/transactions", 404),
            ("GET", "/users", 404),
            ("GET", "/_matrix/app/v1/transaction/1", 404),
            ("PUT", "/_matrix/app/v1/more/transactions/1", 404),
            ("GET", PATH, 405),
            ("PUT", "/_matrix/app/v1/users/@webchatbot:a", 405),
            ("GET", "/_matrix/app/v1/ping", 405),
        ):
            assert (await rig.client.request(method, path, headers=HEADERS)).status == status, path


@pytest.mark.asyncio
async def test_request_that_expects_100_continue_is_served() -> None:
    async with running() as rig:
        headers = HEADERS | {"Expect": "100-continue"}
        body = msgspec.json.encode({"events": [event(1)]})
        async with asyncio.timeout(30):
            response = await rig.client.put(PATH, data=body, headers=headers, expect100=True)
            assert (response.status, await response.read()) == (200, b"{}")
        assert [event_id for _, event_id, _ in rig.intake.taken] == ["$1"]


@pytest.mark.asyncio
async def test_disconnect_during_a_transaction_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = msgspec.json.encode({"events": [event(1)], "ephemeral": [typing("@ann:a")]})
    head = f"PUT {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: {HEADERS['Authorization']}\r\n"
    async with running() as rig, asyncio.timeout(30):
        rig.intake.open.clear()
        _, writer = await asyncio.open_connection(rig.client.host, rig.client.port)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await rig.intake.came.wait()
        writer.transport.abort()
        await asyncio.sleep(0.1)
        rig.intake.open.set()
        await rig.intake.typed.wait()
        await asyncio.sleep(0.1)
        assert [event_id for _, event_id, _ in rig.intake.taken] == ["$1"]
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


@pytest.mark.asyncio
async def test_slow_request_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appservice, "SLOWEST_BODY", 0.3)

    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    async with running() as rig, asyncio.timeout(30):
        with capture_logs() as logs:
            response = await rig.client.put(PATH, data=drips(), headers=HEADERS)
            assert response.status == 408
            assert (await response.json())["errcode"] == "M_UNKNOWN"
    assert [one["event"] for one in logs] == ["request body timed out"]


@pytest.mark.asyncio
@pytest.mark.parametrize("field", ["event_id", "room_id", "sender"])
@pytest.mark.parametrize("value", ["", "!a\0:b", "$" + "x" * 255])
async def test_event_with_an_unstorable_id_is_dropped(field: str, value: str) -> None:
    """Otherwise the homeserver would resend it for ever, and nothing after it."""
    async with running() as rig:
        response = await rig.put({"events": [event(1) | {field: value}, event(2)]})
        assert response.status == 200
        assert [event_id for _, event_id, _ in rig.intake.taken] == ["$2"]


@pytest.mark.asyncio
@pytest.mark.parametrize("length", ["known", "unknown"])
async def test_long_transactions_are_processed_two_at_a_time(length: str) -> None:
    """Short transactions overtake them."""
    text = "x" * LONG_BODY
    bodies = [msgspec.json.encode({"events": [event(one, body=text)]}) for one in range(5)]

    async def unknown(body: bytes) -> AsyncIterator[bytes]:
        yield body

    async with running(max_body=10**6) as rig, asyncio.timeout(30):
        rig.intake.open.clear()

        async def put(body: bytes) -> int:
            data = body if length == "known" else unknown(body)
            return (await rig.client.put(PATH, data=data, headers=HEADERS)).status

        async with asyncio.TaskGroup() as tasks:
            long = [tasks.create_task(put(body)) for body in bodies]
            await eventually(lambda: rig.intake.calls == LONG_TURNS)
            await asyncio.sleep(0.2)  # the others arrive
            assert rig.intake.calls == LONG_TURNS
            short = tasks.create_task(rig.put({"events": [event(9)]}))
            await eventually(lambda: rig.intake.calls == LONG_TURNS + 1)
            rig.intake.open.set()
        assert [one.result() for one in long] == [200] * 5
        assert short.result().status == 200
    assert len(rig.intake.taken) == 6


@pytest.mark.asyncio
async def test_pages_need_no_token() -> None:
    async with running(pages={"/live": live}) as rig:
        for method, status, text in (("GET", 200, "yes"), ("HEAD", 200, ""), ("PUT", 405, None)):
            response = await rig.client.request(method, "/live")
            assert response.status == status
            assert text is None or await response.text() == text


@pytest.mark.parametrize("age", [None, "5", -1, float("nan"), float("inf"), 10**400])
def test_invalid_age_counts_as_zero(age: object) -> None:
    assert age_of({"unsigned": {"age": age}}) == 0
    assert age_of({"unsigned": {"age": 5}}) == 5
