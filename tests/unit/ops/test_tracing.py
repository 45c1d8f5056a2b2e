"""Traces of messages, as a collector gets them: of the real engine, and of rows of a ledger."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from bridge.config.document import ConfigInvalid
from bridge.ids import QueueId, RoomId
from bridge.ops import tracing
from bridge.ops.tracing import EVERY, LAG, Tracing
from bridge.rooms.record import Chat, RoomRecord, dump_record
from bridge.rooms.store import Lane, LedgerRow, StoredRoom, StoreError
from tests.bench.stubs import StubHomeserver
from tests.fakes.clock import ManualClock
from tests.shape.test_path import serving
from tests.unit.config.configs import SMALLEST, load

ROOM = RoomId("!room:example.org")


class Span(msgspec.Struct):
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    about: dict[str, object]
    began: int
    ended: int
    attempted: list[int]
    failed: bool


class Collector:
    """A collector of OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.bodies = b""
        self.status = 200
        self.came = asyncio.Condition()
        self.address = ""

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.path == "/v1/traces"
        body = await request.read()
        if self.status == 200:
            self.bodies += body
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.services |= {
                    one.value.string_value
                    for one in part.resource.attributes
                    if one.key == "service.name"
                }
                for scope in part.scope_spans:
                    self.spans += map(self._span, scope.spans)
        async with self.came:
            self.came.notify_all()
        return web.Response(status=self.status)

    def _span(self, one: object) -> Span:
        about = {}
        for field in one.attributes:  # type: ignore[attr-defined]
            kind = field.value.WhichOneof("value")
            about[field.key] = getattr(field.value, kind)
        return Span(
            one.name,  # type: ignore[attr-defined]
            one.trace_id,  # type: ignore[attr-defined]
            one.span_id,  # type: ignore[attr-defined]
            one.parent_span_id,  # type: ignore[attr-defined]
            about,
            one.start_time_unix_nano,  # type: ignore[attr-defined]
            one.end_time_unix_nano,  # type: ignore[attr-defined]
            [event.time_unix_nano for event in one.events],  # type: ignore[attr-defined]
            one.status.code == 2,  # type: ignore[attr-defined]
        )

    async def until(self, found: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.came:
            await self.came.wait_for(found)

    def tree(self, event_id: str) -> dict[str, Span]:
        spans = [one for one in self.spans if one.about["event_id"] == event_id]
        (root,) = (one for one in spans if not one.parent)
        assert {one.trace for one in spans} == {root.trace}
        assert all(one.parent == root.id for one in spans if one is not root)
        assert len({one.id for one in spans}) == len(spans)
        return {one.name: one for one in spans}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    runner = web.ServerRunner(web.Server(collector.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


@pytest.mark.asyncio
async def test_message_each_way_is_a_tree_of_spans_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "EVERY", 0.05)
    monkeypatch.setattr(tracing, "LAG", 0)
    async with collecting() as collector:
        environment = {
            "MATRIX_WEBCHAT_TRACING__ENABLED": "true",
            "MATRIX_WEBCHAT_TRACING__ENDPOINT": collector.address,
        }
        async with serving(tmp_path, StubHomeserver(), environment=environment) as served:
            sent: list[str] = []

            def question(event_id: str, text: str) -> dict[str, object]:
                event = partial(served.subject.text, 0)(event_id, text)
                sent.append(str(event["event_id"]))
                return event

            await served.asked(question)
            await served.answered()
            await served.at_rest()
            await collector.until(
                lambda: {*sent} <= {one.about["event_id"] for one in collector.spans}
            )
            await collector.until(lambda: any(one.about.get("posted") for one in collector.spans))
            pushes = [one for one in collector.spans if one.name == "deliver to matrix"]
    tree = collector.tree(sent[0])
    assert set(tree) == {"matrix event", "decide", "deliver to webchat"}
    root, decide, deliver = tree["matrix event"], tree["decide"], tree["deliver to webchat"]
    assert (
        root.began == decide.began <= decide.ended == deliver.began <= deliver.ended == root.ended
    )
    assert decide.ended <= deliver.attempted[0] <= deliver.ended
    assert deliver.about["outcome"] == "delivered"
    assert (deliver.about["lane"], deliver.about["attempts"]) == ("webchat", 1)
    assert deliver.about["detail"] == "1"
    assert root.about["chat"] == 1
    assert str(root.about["room"]).startswith("!")
    answer = collector.tree(str(pushes[-1].about["event_id"]))
    assert {"webchat push", "decide", "deliver to matrix"} == set(answer)
    assert collector.services == {"webchat"}
    assert b"question=" not in collector.bodies
    assert b"answer=" not in collector.bodies


# --- of rows --------------------------------------------------------------------------------------


class Rows:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.rows: dict[int, LedgerRow] = {}
        self.away = False
        self.queries = 0
        """Number of queries for rows that are read again."""

    def add(self, seq: int, received: int, **fields: object) -> None:
        empty = LedgerRow(
            seq, None, None, received, None, None, None, 0, False, None, None, "", None
        )
        self.rows[seq] = msgspec.structs.replace(empty, **fields)

    def change(self, seq: int, **fields: object) -> None:
        self.rows[seq] = msgspec.structs.replace(self.rows[seq], **fields)

    async def newest(self) -> int:
        return max(self.rows, default=0)

    async def rows_after(self, seq: int, limit: int) -> list[tuple[RoomId, LedgerRow]]:
        if self.away:
            raise StoreError("away")
        return [(ROOM, row) for at, row in sorted(self.rows.items()) if at > seq][:limit]

    async def rows_at(self, seqs: Sequence[int]) -> list[tuple[RoomId, LedgerRow]]:
        self.queries += 1
        if self.away:
            raise StoreError("away")
        return [(ROOM, self.rows[seq]) for seq in sorted(seqs) if seq in self.rows]

    async def room(self, room_id: RoomId) -> StoredRoom | None:
        later = ManualClock().now() + 1000
        chats = Chat(1, QueueId(1), 0), Chat(2, QueueId(1), later)
        record = RoomRecord(room_id, enterprise="north", chats=chats)
        return StoredRoom(room_id, dump_record(record), True, "Idle", None)


class Traced:
    def __init__(self, collector: Collector) -> None:
        self.clock, self.ledger, self.mine = ManualClock(), Rows(), True
        self.begun = self.clock.now()
        self.ledger.add(1, self.begun, key="$before", outcome="handled", settled=self.begun)
        self.tracing = Tracing(
            collector.address, "webchat", self.ledger, self.clock, lambda: self.mine
        )

    async def look(self, seconds: float = 0) -> None:
        await self.clock.turn(seconds)
        await self.tracing.look()

    async def pass_by(self) -> None:
        """Look until all present rows of the ledger are processed."""
        for _ in range(LAG + 1):
            await self.look(EVERY)


@pytest.mark.asyncio
async def test_later_delivery_joins_the_trace_of_its_message() -> None:
    async with collecting() as collector:
        traced = Traced(collector)
        await traced.look()
        at, ledger = traced.begun, traced.ledger
        ledger.add(2, at + 10, key="$e", handled=at + 12, outcome="handled", settled=at + 12)
        ledger.add(3, at + 2000, key="$other")  # under way
        await traced.look(2)
        assert collector.spans == [], "another process may yet commit one before it"
        await traced.pass_by()
        assert [one.name for one in collector.spans] == ["matrix event", "decide"]
        ledger.add(4, at + 50_000, cause="$e", lane=Lane.WEBCHAT, attempted=at + 50_001)
        ledger.add(5, at + 50_000, lane=Lane.ASIDE, outcome="delivered", settled=at + 50_000)
        await traced.pass_by()
        assert len(collector.spans) == 2
        ledger.change(4, outcome="refused", settled=at + 50_500, detail="-10", repeat=True)
        await traced.look(EVERY)
        tree = collector.tree("$e")
        late = tree["deliver to webchat"]
        assert late.failed
        assert not tree["matrix event"].failed
        assert late.about == {
            "room": ROOM, "event_id": "$e", "enterprise": "north", "chat": 2, "lane": "webchat",
            "attempts": 0, "outcome": "refused", "detail": "-10", "possible_double": True,
        }  # fmt: skip
        assert tree["matrix event"].about["chat"] == 1
        assert late.attempted == [(at + 50_001) * 10**6]
        await traced.pass_by()
        assert len(collector.spans) == 3, "each once"


@pytest.mark.asyncio
@pytest.mark.parametrize("ahead", [1500, 3_600_000])
async def test_a_row_of_a_process_whose_clock_is_fast_has_its_trace(ahead: int) -> None:
    async with collecting() as collector:
        traced = Traced(collector)
        await traced.look()
        for seq, at in ((2, traced.begun + ahead), (3, traced.begun)):
            traced.ledger.add(seq, at, key=f"${seq}", outcome="handled", settled=at)
        await traced.pass_by()
        assert [one.about["event_id"] for one in collector.spans] == ["$2", "$3"]


@pytest.mark.asyncio
async def test_rows_are_read_in_pages_and_the_oldest_open_ones_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "PAGE", 3)
    monkeypatch.setattr(tracing, "MOST_OPEN", 4)
    async with collecting() as collector:
        traced = Traced(collector)
        await traced.look()
        for seq in range(2, 12):
            traced.ledger.add(seq, traced.begun, key=f"${seq}")
        await traced.pass_by()
        assert list(traced.tracing._open) == [8, 9, 10, 11]
        for seq in range(2, 12):
            traced.ledger.change(seq, outcome="handled", settled=traced.begun)
        await traced.look(EVERY)
        await traced.look(EVERY)
        assert [one.about["event_id"] for one in collector.spans] == ["$8", "$9", "$10", "$11"]


@pytest.mark.asyncio
async def test_rows_under_way_are_read_again_together_and_kept_if_that_fails() -> None:
    async with collecting() as collector:
        traced = Traced(collector)
        await traced.look()
        for seq in range(2, 12):
            traced.ledger.add(seq, traced.begun, key=f"${seq}")
        await traced.pass_by()
        assert traced.ledger.queries == 0
        for seq in range(2, 11):
            traced.ledger.change(seq, outcome="handled", settled=traced.begun)
        traced.ledger.away = True
        with pytest.raises(StoreError):
            await traced.look(EVERY)
        traced.ledger.away = False
        await traced.look(EVERY)
        assert traced.ledger.queries == 2
        assert [one.about["event_id"] for one in collector.spans] == [f"${n}" for n in range(2, 11)]
        assert list(traced.tracing._open) == [11]


@pytest.mark.asyncio
async def test_only_one_process_traces() -> None:
    async with collecting() as collector:
        traced = Traced(collector)
        await traced.look()
        traced.mine = False
        traced.ledger.add(2, traced.begun, key="$e", outcome="handled", settled=traced.begun)
        await traced.pass_by()
        traced.mine = True
        await traced.pass_by()
        assert collector.spans == [], "it was another's to do, and has been done"


@pytest.mark.asyncio
async def test_outage_of_collector_or_database_only_loses_traces() -> None:
    async with collecting() as collector:
        traced = Traced(collector)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(traced.tracing.run())
            await traced.clock.turn(0)
            collector.status = 400
            for seq in (2, 3):
                at = traced.clock.now()
                traced.ledger.add(seq, at, key=f"${seq}", outcome="handled", settled=at)
                with capture_logs() as lines:
                    traced.ledger.away = seq == 3
                    async with asyncio.timeout(30):
                        while not any(line["log_level"] == "warning" for line in lines):
                            await traced.clock.turn(EVERY)
                            await asyncio.sleep(0.001)
                said = "database" if traced.ledger.away else "collector"
                assert any(said in line["event"] for line in lines)
            collector.status, traced.ledger.away = 200, False
            async with asyncio.timeout(30):
                while not collector.spans:
                    await traced.clock.turn(EVERY)
                    await asyncio.sleep(0.001)
            running.cancel()
        assert [one.about["event_id"] for one in collector.spans] == ["$3"]


# --- off ------------------------------------------------------------------------------------------


def test_tracing_is_not_imported_while_it_is_off() -> None:
    code = "import sys, bridge.app.serving; print({'opentelemetry', 'requests'} & {*sys.modules})"
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    assert ran.stdout == "set()\n"


def test_without_the_extra_the_config_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"MATRIX_WEBCHAT_TRACING__ENABLED": "true"}
    assert load(tmp_path, SMALLEST, environment).tracing.enabled
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(ConfigInvalid, match=r"tracing\.enabled: .*pip install"):
        load(tmp_path, SMALLEST, environment)
