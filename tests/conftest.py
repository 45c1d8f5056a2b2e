"""For every test: when one fails, the ends of its processes' logs are part of the report.

And no property fails because the machine was busy: hypothesis has limits of time of its own.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.logs import LOGS, end_of

settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for node in item.listchain():
            for path in node.stash.get(LOGS, []):
                report.sections.append((f"end of {path.name}", end_of(path)))
    return report
