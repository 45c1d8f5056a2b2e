"""For every test: when one fails, the ends of its processes' logs are part of the report.

No property fails because the machine was busy: hypothesis has limits of time of its own. With
`--part=1/2` only every second file is collected, so that two processes can share the work. A logged
traceback is printed without the frames' values and colours, which would take a second.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.logs import LOGS, end_of

settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback


FILES = sorted(Path(__file__).parent.rglob("test_*.py"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", default="1/1", help="which files: 2/3 is the second third of them")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    part, _, parts = str(config.getoption("--part")).partition("/")
    if collection_path not in FILES:
        return None
    return FILES.index(collection_path) % int(parts) != int(part) - 1 or None


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
