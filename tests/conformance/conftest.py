"""The link runs in virtual time, as in its unit tests; the simulator alone in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.fakes.clock import HurriedLoop


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.stem.startswith(("test_link", "test_one_customer", "test_uploads")):
        return {"hurried": HurriedLoop}
    return {"usual": asyncio.new_event_loop}
