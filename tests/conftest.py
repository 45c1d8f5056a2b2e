"""For every test: when one fails, the ends of its processes' logs are part of the report."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.support.logs import LOGS, end_of


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
