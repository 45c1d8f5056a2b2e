"""The tests with a homeserver's sockets run in virtual time, as those of the link do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.fakes.clock import HurriedLoop

WITH_SOCKETS = {"test_hostile_homeserver", "test_outages", "test_transactions", "test_transport"}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.stem in WITH_SOCKETS:
        return {"hurried": HurriedLoop}
    return {"usual": asyncio.new_event_loop}
