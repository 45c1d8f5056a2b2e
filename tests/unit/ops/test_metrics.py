"""Metrics render under the names that dashboards know."""

from __future__ import annotations

import asyncio

import pytest

from bridge.ops.metrics import Metrics, watch_loop_lag


def test_two_bridges_have_metrics_of_their_own() -> None:
    one, two = Metrics(), Metrics()
    one.dead_letters.set(3)
    assert b"dead_letters 3.0" in one.render()
    assert b"dead_letters 0.0" in two.render()


def test_the_names() -> None:
    metrics = Metrics()
    metrics.matrix_event.labels("m.room.message").observe(0.01)
    metrics.matrix_api_calls.labels("PUT send").inc()
    metrics.matrix_api_calls_failed.labels("PUT send").inc()
    metrics.media_upload_time.labels("to_webchat").observe(1)
    metrics.connected.labels("database").set(1)
    metrics.sessions.labels("1", "chatting").set(2)
    metrics.queue_wait.labels("1").observe(12)
    metrics.first_reply.labels("1").observe(3)
    metrics.ratings.labels("5").inc()
    metrics.outbox_depth.labels("matrix").set(1)
    metrics.outbox_age.labels("matrix").set(1)
    metrics.delivery.labels("to_webchat", "delivered").observe(0.1)
    text = metrics.render().decode()
    for line in (
        'bridge_matrix_event_count{event_type="m.room.message"} 1.0',
        'bridge_matrix_api_calls_total{method="PUT send"} 1.0',
        'bridge_matrix_api_calls_failed_total{method="PUT send"} 1.0',
        'bridge_connected{peer="database"} 1.0',
        'webchat_sessions{queue="1",state="chatting"} 2.0',
        'webchat_queue_wait_seconds_count{queue="1"} 1.0',
        'webchat_first_reply_seconds_count{queue="1"} 1.0',
        'webchat_csat_total{score="5"} 1.0',
        'outbox_depth{lane="matrix"} 1.0',
        'delivery_seconds_count{direction="to_webchat",outcome="delivered"} 1.0',
        "inbox_depth 0.0",
        "inbox_age_seconds 0.0",
    ):
        assert line in text, line
    assert "process_resident_memory_bytes" in text


def test_links_count_themselves() -> None:
    metrics = Metrics()
    metrics.logged_in(1)
    metrics.logged_in(-20)
    metrics.logged_in(None)
    metrics.opened(again=False)
    metrics.opened(again=True)
    metrics.closed()
    metrics.open_failed()
    text = metrics.render().decode()
    for line in (
        'webchat_logins_total{result="1"} 1.0',
        'webchat_logins_total{result="-20"} 1.0',
        'webchat_logins_total{result="none"} 1.0',
        "bridge_logged_in 1.0",
        "webchat_ws_connects_total 1.0",
        "webchat_ws_reconnects_total 1.0",
        "webchat_ws_connection_failures_total 1.0",
    ):
        assert line in text, line


@pytest.mark.asyncio
async def test_the_loops_lateness_is_measured() -> None:
    metrics = Metrics()
    measured = asyncio.Event()
    observe = metrics.loop_lag.observe

    def observed(amount: float, exemplar: dict[str, str] | None = None) -> None:
        observe(amount, exemplar)
        measured.set()

    metrics.loop_lag.observe = observed  # type: ignore[method-assign]  # to know when it happened
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        watcher = group.create_task(watch_loop_lag(metrics, interval=0.001))
        await measured.wait()
        watcher.cancel()
    assert b"event_loop_lag_seconds_count 0.0" not in metrics.render()
