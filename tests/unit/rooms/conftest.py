"""Fixtures for the tests of rooms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.rooms import engine


@pytest.fixture(scope="module")
def no_other_writer() -> Iterator[None]:
    """Poll the database less often for another program's writes: virtual days pass sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "LISTEN_EVERY", engine.SWEEP_EVERY)
        yield
