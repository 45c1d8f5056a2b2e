"""The tests of the link run in virtual time, so that a busy machine makes nothing late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from tests.fakes.clock import HurriedLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"hurried": HurriedLoop}
