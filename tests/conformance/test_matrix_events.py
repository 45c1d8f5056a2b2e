"""docs/matrix-events.md agrees with the code."""

from __future__ import annotations

import pytest

from tests.support.event_table import TARGET, table


@pytest.mark.asyncio
async def test_the_table_of_events_is_up_to_date() -> None:
    written = TARGET.read_text(encoding="utf-8")
    assert written == await table(), "run: python -m tests.support.event_table"
