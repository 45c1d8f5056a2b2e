"""Prometheus metrics, and the HTTP listeners of all the bridge's ports (`listening`).

Metrics are in their own registry, so that two bridges can run in one process. The `bridge_…` family
is named as in mautrix bridges, so that existing dashboards work. `/metrics` has its own port, apart
from the one that the homeserver reaches.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, partial
from time import monotonic
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client import disable_created_metrics as disable_created
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.exposition import generate_latest

from bridge.ids import QueueId
from bridge.rooms.ports import describe
from bridge.rooms.record import Chat
from bridge.rooms.store import INBOX, Backlog, Depth, Lane, Outcome

LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.ops")
RECENT = 1000
"""Number of recent chats whose waiting times are kept for charts."""
LAG_EVERY = 1.0
STOOD_STILL = 5.0
"""Lag of the event loop in seconds from which it is logged: all rooms have waited that long."""
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DEAD = Outcome.DEAD.value
_HUMAN = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)


# Without the `_created` series: ten families that nobody reads.
cast(Callable[[], None], disable_created)()


class Metrics:
    """All metrics. Label `enterprise` is the call centre; empty if there is only one."""

    count: Callable[[], Mapping[tuple[str, str, QueueId], int]] = dict
    """Function that returns the chats of `sessions`, by its labels."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry, buckets=_FAST)
        whose, lane = ["enterprise"], ["enterprise", "lane"]
        # The homeserver, and all peers.
        taking_in = "Seconds to receive and store one event of the homeserver"
        self.matrix_event = histogram("bridge_matrix_event", taking_in, ["event_type"])
        answers = "1 while the peer (`database`, `homeserver`, `webchat`) answers"
        self.connected = gauge("bridge_connected", answers, ["peer", "enterprise"])
        # The call centre.
        self.links = gauge("bridge_logged_in", "WebChat links that are open", whose)
        logins = "Logins sent, by WebChat's result code (`none`: no answer)"
        self.logins = counter("webchat_logins", logins, ["enterprise", "result"])
        self.connections = counter("webchat_ws_connects", "Links that were opened", whose)
        self.reconnects = counter("webchat_ws_reconnects", "Links that were opened again", whose)
        not_opened = "Links that could not be opened"
        self.connection_failures = counter("webchat_ws_connection_failures", not_opened, whose)
        # Chats.
        active = "Rooms that are `Requesting`, `Queued` or `Chatting` here"
        self.sessions = gauge("webchat_sessions", active, ["enterprise", "phase", "queue"])
        self._counted: dict[tuple[str, str, QueueId], int] = {}
        phases = "Phases entered: `Requesting`, `Queued`, `Chatting`, `Ended`, `Idle`"
        self.phases = counter("webchat_phases", phases, ["enterprise", "phase"])
        self.recent: deque[tuple[str, Chat]] = deque(maxlen=RECENT)
        """Enterprise and chat of the latest chats whose wait has ended, oldest first."""
        by_people = partial(histogram, buckets=_HUMAN)
        waiting = "From the customer's request until an agent or the robot takes it"
        self.queue_wait = by_people("webchat_queue_wait_seconds", waiting, whose)
        replying = "From the customer's request to an agent's first message"
        first = "webchat_first_reply_seconds"
        self.first_reply = by_people(first, replying, ["enterprise", "queue"])
        ratings = "Ratings that WebChat accepted, by rating id; a changed one counts again"
        self.ratings = counter("webchat_ratings", ratings, ["enterprise", "queue", "rating"])
        # The engine.
        self.handling = histogram(
            "inbox_seconds", "From storing an input to having handled it", whose
        )
        by_retries = partial(histogram, buckets=(*_FAST, 30.0, 60.0, 300.0))
        settled = "From storing an effect to its outcome"
        self.delivery = by_retries("delivery_seconds", settled, [*lane, "outcome"])
        lag = "Event loop lag; above 0.1 the process is too busy"
        self.loop_lag = histogram("event_loop_lag_seconds", lag)
        shards = "Shards (of 256) that this process serves, if several processes share the rooms"
        self.shards = gauge("webchat_shards", shards)
        # Administration.
        calls = "Calls of the provisioning API, by operation (`none`: refused earlier) and status"
        self.api_calls = counter("webchat_api_calls", calls, ["operation", "status"])
        # What waits in the store.
        self.inbox_depth = gauge("inbox_depth", "Inputs not handled yet", whose)
        self.inbox_age = gauge("inbox_age_seconds", "Age of the oldest of these inputs", whose)
        unsent = "Effects not carried out yet (lanes `webchat`, `matrix`, `aside`: history, robot)"
        self.outbox_depth = gauge("outbox_depth", unsent, lane)
        self.outbox_age = gauge("outbox_age_seconds", "Age of the oldest of these effects", lane)
        given_up = "Inputs and effects that were given up and wait for the operator"
        self.dead_letters = gauge("dead_letters", given_up, whose)
        self._backlog: dict[tuple[str, str], Depth] = {}

    def backlog(self, backlog: Backlog, now: int) -> None:
        """Set the gauges of the store's backlog; `now`: ms since the epoch."""
        self._backlog = dict.fromkeys(self._backlog, Depth()) | dict(backlog)
        for labels, depth in self._backlog.items():
            enterprise, what = labels
            if what == _DEAD:
                self.dead_letters.labels(enterprise).set(depth.count)
            elif what == INBOX:
                self.inbox_depth.labels(enterprise).set(depth.count)
                self.inbox_age.labels(enterprise).set(_age(depth, now))
            else:
                self.outbox_depth.labels(*labels).set(depth.count)
                self.outbox_age.labels(*labels).set(_age(depth, now))

    def of(self, enterprise: str) -> Measured:
        kinds = (INBOX, *(lane.value for lane in Lane), _DEAD)
        self._backlog |= {(enterprise, what): Depth() for what in kinds}
        return Measured(self, enterprise)

    def render(self) -> bytes:
        """Return all metrics as text; chats are counted now, and 0 where there are none left."""
        self._counted = dict.fromkeys(self._counted, 0) | dict(self.count())
        for labels, number in self._counted.items():
            self.sessions.labels(*labels).set(number)
        return generate_latest(self._registry)


class Measured:
    """Metrics of one enterprise: `rooms.surroundings.Measures`, `link.settings.LinkMetrics`."""

    def __init__(self, metrics: Metrics, enterprise: str) -> None:
        self._metrics = metrics
        self._name = enterprise
        self.handling = metrics.handling.labels(enterprise)
        # Cached, as the look-up takes longer than the use.
        self.delivery = cache(partial(metrics.delivery.labels, enterprise))
        # Created at 0 at the start, or Prometheus would see no increase with the first one.
        for counted in (metrics.connections, metrics.reconnects, metrics.connection_failures):
            counted.labels(enterprise)
        for measured in (metrics.links, metrics.queue_wait):
            measured.labels(enterprise)

    # --- Measures -----------------------------------------------------------------------------

    def phase_entered(self, phase: str) -> None:
        self._metrics.phases.labels(self._name, phase).inc()

    def chat_went_on(self, before: Chat | None, after: Chat) -> None:
        """Record newly known wait, reply time and rating; a chat nobody requested has no wait."""
        before = before or Chat(after.number, after.queue_id, after.asked, after.started)
        if before.started is None and after.started is not None:
            wait = self._metrics.queue_wait.labels(self._name)
            # Not below 0, if the clock was set back: a sum that falls is taken for a restart.
            wait.observe(max(0, after.started - after.asked) / 1000)
            self._metrics.recent.append((self._name, after))
        elif before.ended is None and after.ended is not None and after.started is None:
            self._metrics.recent.append((self._name, after))
        if before.answered is None and after.answered is not None:
            reply = self._metrics.first_reply.labels(self._name, after.queue_id)
            reply.observe(max(0, after.answered - after.asked) / 1000)
        if after.rating is not None and after.rating != before.rating:
            self._metrics.ratings.labels(self._name, after.queue_id, after.rating).inc()

    # --- LinkMetrics, which says what each means ------------------------------------------------

    def logged_in(self, result: int | None) -> None:
        label = "none" if result is None else str(result)
        self._metrics.logins.labels(self._name, label).inc()

    def opened(self, *, again: bool) -> None:
        self._metrics.links.labels(self._name).inc()
        opened = self._metrics.reconnects if again else self._metrics.connections
        opened.labels(self._name).inc()

    def closed(self) -> None:
        self._metrics.links.labels(self._name).dec()

    def open_failed(self) -> None:
        self._metrics.connection_failures.labels(self._name).inc()


def _age(depth: Depth, now: int) -> float:
    return 0.0 if depth.oldest is None else max(0, now - depth.oldest) / 1000


async def watch_loop_lag(metrics: Metrics) -> None:
    """Measure the event loop's lag every `LAG_EVERY` seconds, and log it from `STOOD_STILL` on.

    Not by the loop's own clock: uvloop reads that once per iteration, and so may miss time spent in
    the same iteration.
    """
    while True:
        due = monotonic() + LAG_EVERY
        await asyncio.sleep(LAG_EVERY)
        late = max(0.0, monotonic() - due)
        metrics.loop_lag.observe(late)
        if late >= STOOD_STILL:
            LOG.warning("the event loop stood still", seconds=round(late, 1))


# --- listening -----------------------------------------------------------------------------------


IDLE = 150.0
"""Idle timeout in seconds of a connection without a complete request (aiohttp `keepalive_timeout`).

Longer than Synapse's 120 for unused connections, so that the bridge never closes one that Synapse
is about to use; short enough to free the descriptors of half-open connections of strangers.
"""
LAST_REQUESTS = 1.0
"""Seconds that a stop waits for running requests; the homeserver repeats one that is cut off."""


MOST_CONNECTIONS = 1000
"""Maximum connections of one port; at most 1/8 of the process's file descriptors."""
BACKLOG = 1024
"""Maximum connections that the kernel queues until they are accepted."""
UNREAD = 60.0
"""Seconds after which a connection is reset whose peer does not read (TCP_USER_TIMEOUT)."""
SAID_EVERY = 60.0
"""Minimum seconds between log lines about too many connections."""


class Guard:
    """Connection limit of a port, protecting it from floods and from connections that never end.

    Connections that have sent a request and those that have not ("silent") are each sure of half of
    the places. Above the limit, the silent ones lose their oldest if they hold more than half, else
    the others lose their least recently used. So a flood of silent, idle or slow connections never
    displaces those of the other kind. A peer that does not read is reset, as its socket would
    otherwise stay open until everything is sent.
    """

    def __init__(self, runner: web.BaseRunner, section: str) -> None:
        server = runner.server
        assert server is not None  # noqa: S101 - it is set up
        self._section = section
        self._most = min(MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
        self._silent: dict[web.RequestHandler, asyncio.Transport] = {}
        """Connections without a request yet, oldest first."""
        self._heard: dict[web.RequestHandler, asyncio.Transport] = {}
        """Connections that have sent a request, least recently used first."""
        self._quiet_until = 0.0
        self._made, self._lost = server.connection_made, server.connection_lost
        self._handle = server.request_handler
        # aiohttp calls these methods per connection and request, and offers no other hook.
        server.connection_made = self._connected  # type: ignore[method-assign]
        server.connection_lost = self._gone  # type: ignore[method-assign]
        server.request_handler = self._served

    def _connected(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self._made(handler, transport)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux only
            made: socket.socket = transport.get_extra_info("socket")
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNREAD * 1000))
        self._silent[handler] = transport
        if len(self._silent) + len(self._heard) > self._most:
            crowd = self._silent if len(self._silent) > self._most // 2 else self._heard
            crowd.pop(next(iter(crowd))).abort()
            if (now := monotonic()) >= self._quiet_until:
                self._quiet_until = now + SAID_EVERY
                LOG.warning("too many connections", port=self._section, most=self._most)

    def _gone(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        for kind in (self._silent, self._heard):
            kind.pop(handler, None)
        self._lost(handler, exc)

    async def _served(self, request: web.BaseRequest) -> web.StreamResponse:
        self._used(request.protocol)
        try:
            return await self._handle(request)
        except web.RequestPayloadError:
            answer: web.HTTPException = web.HTTPBadRequest()
        except ConnectionError:
            if request.transport is not None and not request.transport.is_closing():
                raise
            answer = web.HTTPBadRequest()  # the peer is gone; aiohttp would log a traceback
        except web.HTTPException as error:
            answer = error
        finally:
            self._used(request.protocol)
        # Without the frames that raised it, which hold the body: aiohttp makes a cycle of them too.
        answer.__cause__ = answer.__context__ = None
        raise answer.with_traceback(None)

    def _used(self, handler: web.RequestHandler) -> None:
        found = self._silent.pop(handler, None) or self._heard.pop(handler, None)
        if found is not None:
            self._heard[handler] = found


_feed = web.RequestHandler.data_received


def _data_received(handler: web.RequestHandler, data: bytes) -> None:
    """Wrapper of aiohttp's method that frees the data of a malformed request.

    The error's traceback keeps the frame with the data, and the frame keeps the error: a cycle that
    waits for the garbage collector, which runs rarely (`app.process`). Anyone can send requests.
    """
    _feed(handler, data)
    waiting = getattr(handler, "_messages", ())  # not public: aiohttp offers no hook
    if waiting and (error := getattr(waiting[-1][0], "exc", None)) is not None:
        error.__traceback__ = error.__context__ = None


web.RequestHandler.data_received = _data_received  # type: ignore[assignment, method-assign]


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Drop aiohttp's log record of a malformed request: anyone can send one, and it is quoted."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


class CannotListen(OSError):
    """A configured address cannot be bound; the text names its config keys."""


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Request handler without an application's router."""


@asynccontextmanager
async def listening(
    what: web.Application | Handler, section: str, hostname: str, port: int
) -> AsyncIterator[int]:
    """Serve on a config section's address, limited by `Guard`; yield the port (for port 0).

    Raises CannotListen.
    """
    usual: dict[str, Any] = {
        "access_log": None,
        "auto_decompress": False,  # a small body could become huge
        "keepalive_timeout": IDLE,
    }
    runner: web.BaseRunner
    if isinstance(what, web.Application):
        runner = web.AppRunner(what, shutdown_timeout=LAST_REQUESTS, **usual)
    else:
        runner = web.ServerRunner(web.Server(what, **usual), shutdown_timeout=LAST_REQUESTS)
    await runner.setup()
    try:
        Guard(runner, section)
        logging.getLogger("aiohttp.server").addFilter(_is_our_fault)
        try:
            await web.TCPSite(runner, hostname, port, backlog=BACKLOG).start()
        except (OSError, UnicodeError) as error:  # UnicodeError: an invalid host name
            why = describe(error) if isinstance(error, OSError) else str(error)
            where = f"{section}.hostname {hostname}, {section}.port {port}"
            raise CannotListen(f"{where}: {why}") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def metrics_server(metrics: Metrics, hostname: str, port: int) -> AbstractAsyncContextManager[int]:
    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    application = web.Application()
    application.add_routes([web.get("/metrics", scrape)])
    return listening(application, "metrics", hostname, port)
