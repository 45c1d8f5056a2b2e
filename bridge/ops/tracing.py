"""OpenTelemetry traces, built from the ledger after messages are settled, so they cost no latency.

Each event from a room and each WebChat push is one trace. The root span lasts from receipt until
its journal row is settled; child spans are the step (`decide`) and each delivery, with an event
`attempted`. A later delivery, such as of a message that waited for an agent, has its own row, and
its span joins the trace: trace ids are derived from the message's id. Spans contain no contents.

The reader passes over rows in order up to a mark, `LAG` polls behind the journal's end, so that no
other process can still commit a row before the mark. (Timestamps cannot ensure that: each process
has its own clock.) The mark starts at the journal's end: rows from before a restart have no trace.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Protocol
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from bridge.ids import RoomId
from bridge.rooms.ports import Clock
from bridge.rooms.record import RoomRecord
from bridge.rooms.store import LedgerRow, Outcome, StoredRoom, StoreError
from bridge.rooms.visit import readable_record

EVERY = 5.0
"""Seconds between polls of the journal."""
LAG = 2
PAGE = 500
"""Rows read at a time, and unsettled rows read again per poll."""
MOST_OPEN = 10_000
"""Maximum unsettled rows remembered; beyond it, the oldest get no trace."""
TIMEOUT = 3.0
"""Timeout in seconds of a request to the collector; spans of a failed one are lost."""
NS = 1_000_000
"""Nanoseconds per millisecond."""
Attributes = dict[str, str | int | bool]
FAILED = frozenset({Outcome.DEAD, Outcome.FAILED, Outcome.REFUSED, Outcome.UNCERTAIN})


class Ledger(Protocol):
    """Reads of the journal. Raises StoreError."""

    async def newest(self) -> int:
        """Return the highest row number; 0 if there is none."""

    async def rows_after(self, seq: int, limit: int) -> list[tuple[RoomId, LedgerRow]]:
        """Return up to `limit` rows with a higher number than `seq`, in order."""

    async def rows_at(self, seqs: Sequence[int]) -> list[tuple[RoomId, LedgerRow]]:
        """Return the rows with these numbers, in order."""

    async def room(self, room_id: RoomId) -> StoredRoom | None: ...


class Tracing:
    """Exporter of settled rows, while `mine` says that this process is the one to export."""

    def __init__(
        self, endpoint: str, name: str, ledger: Ledger, clock: Clock, mine: Callable[[], bool]
    ) -> None:
        """`endpoint`: the collector ("": from OpenTelemetry's variables); `name`: service name."""
        if endpoint and urlsplit(endpoint).path in {"", "/"}:
            endpoint = f"{endpoint.rstrip('/')}/v1/traces"
        self._exporter = OTLPSpanExporter(endpoint or None, timeout=TIMEOUT)
        self._resource = Resource.create({"service.name": name})
        self._ledger, self._clock, self._mine = ledger, clock, mine
        self._mark: int | None = None
        self._ends: deque[int] = deque(maxlen=LAG + 1)
        """End of the journal (row number) at the last polls, oldest first."""
        self._open: dict[int, None] = {}
        """Unsettled rows before the mark, least recently read first."""
        self._log = structlog.get_logger("bridge.ops")

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self.look()
                except StoreError as error:
                    self._log.warning(
                        "no traces exported: the database did not answer", why=str(error)
                    )
                await self._clock.sleep(EVERY)
        finally:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    async def look(self) -> None:
        """Export the rows settled since the last call."""
        if not self._mine():
            self._mark = None
            self._ends.clear()
            self._open.clear()
            return
        self._ends.append(await self._ledger.newest())
        end = self._ends[0]
        if self._mark is None:
            self._mark = end
        settled = await self._settled_late()
        while True:
            rows = await self._ledger.rows_after(self._mark, PAGE)
            passed = [line for line in rows if line[1].seq <= end]
            for found in passed:
                self._mark = found[1].seq
                if found[1].settled is None:
                    self._open[self._mark] = None
                else:
                    settled.append(found)
            await self._export(settled)
            settled = []
            if len(passed) < PAGE:
                break
        for seq in list(islice(self._open, max(0, len(self._open) - MOST_OPEN))):
            del self._open[seq]

    async def _settled_late(self) -> list[tuple[RoomId, LedgerRow]]:
        asked = list(islice(self._open, PAGE))
        found = await self._ledger.rows_at(asked) if asked else []
        for seq in asked:
            del self._open[seq]
        # To the end of the queue.
        self._open |= {row.seq: None for _, row in found if row.settled is None}
        return [line for line in found if line[1].settled is not None]

    async def _export(self, settled: Sequence[tuple[RoomId, LedgerRow]]) -> None:
        spans: list[ReadableSpan] = []
        rooms: dict[RoomId, RoomRecord] = {}
        for room_id, row in settled:
            if room_id not in rooms:
                rooms[room_id] = readable_record(await self._ledger.room(room_id), room_id)
            spans += self._spans(rooms[room_id], row)
        if not spans:
            return
        result = await asyncio.to_thread(self._exporter.export, spans)
        if result is not SpanExportResult.SUCCESS:
            self._log.warning("the collector did not accept traces", spans=len(spans))

    def _spans(self, room: RoomRecord, row: LedgerRow) -> Iterator[ReadableSpan]:
        message = row.key or row.cause
        if not message or row.settled is None:
            return
        about: Attributes = {"room": room.room_id, "event_id": message}
        if room.enterprise:
            about["enterprise"] = room.enterprise
        if chats := [chat.number for chat in room.chats if chat.asked <= row.received]:
            about["chat"] = max(chats)
        whole = f"{room.room_id} {message}"
        ending: Attributes = {"outcome": row.outcome or "", "detail": row.detail}
        began, decided, ended = row.received, row.received, row.settled
        if row.key:
            name = "matrix event" if row.key.startswith("$") else "webchat push"
            yield self._span(whole, "", name, (began, ended), about | ending)
            if row.handled is not None:
                decided = row.handled
                yield self._span(whole, f"{row.seq} decide", "decide", (began, decided), about)
        if row.lane is not None:
            more = about | ending | {"lane": row.lane.value, "attempts": row.attempts}
            more |= {"possible_double": True} if row.repeat else {}
            more |= {"posted": row.event_id} if row.event_id else {}
            which, name = f"{row.seq} deliver", f"deliver to {row.lane.value}"
            yield self._span(whole, which, name, (decided, ended), more, attempted=row.attempted)

    def _span(
        self,
        message: str,
        which: str,
        name: str,
        lasted: tuple[int, int],
        about: Attributes,
        *,
        attempted: int | None = None,
    ) -> ReadableSpan:
        """Build a span of a message; `which`: "" for the root; `lasted`, `attempted`: ms."""
        began, ended = lasted
        failed = about.get("outcome") in FAILED
        return ReadableSpan(
            name,
            _context(message, which),
            parent=_context(message, "") if which else None,
            resource=self._resource,
            attributes=about,
            events=[] if attempted is None else [Event("attempted", {}, attempted * NS)],
            kind=SpanKind.INTERNAL if which else SpanKind.CONSUMER,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=began * NS,
            end_time=max(began, ended) * NS,
        )


def _number(text: str, size: int) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:size])


def _context(trace: str, span: str) -> SpanContext:
    ids = _number(f"trace {trace}", 16), _number(f"span {trace} {span}", 8)
    return SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
