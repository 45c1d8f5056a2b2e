"""For every test: when one fails, the ends of its processes' logs are part of the report.

No property fails because the machine was busy: hypothesis has limits of time of its own. A logged
traceback is printed without the frames' values and colours, which would take a second.

Several processes share the files, `--part=1/4 --shared=FOLDER` being one of four: the many short
ones in the folders of `tests/unit` by their number, as to read those of others would take longer;
of the rest whoever is free takes the next, the long ones first and those of a few seconds at the
end, so that all end at the same time.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.logs import LOGS, end_of

settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback

TESTS = Path(__file__).parent
UNIT = sorted((TESTS / "unit").glob("*/**/test_*.py"))
WITH_SERVERS = {path for path in UNIT if path.parent.name in {"app", "link", "storage"}}
"""They take some seconds each."""
LONGEST = {path for path in WITH_SERVERS if path.stem in {"test_transfer", "test_socket"}}
SHORT = {path: number for number, path in enumerate(sorted({*UNIT} - WITH_SERVERS))}
CLAIMED = pytest.StashKey[dict[Path, bool]]()
"""Of each file that came up, whether this process has it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", default="1/1", help="which short files: 2/3 is the second third")
    parser.addoption("--shared", type=Path, help="the folder by which the others are shared")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    part, _, parts = str(config.getoption("--part")).partition("/")
    if collection_path not in SHORT:
        return None
    return SHORT[collection_path] % int(parts) != int(part) - 1 or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    last = WITH_SERVERS - LONGEST
    items.sort(key=lambda item: 1 if item.path in SHORT else 2 if item.path in last else 0)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through all modules and tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Pass over a test whose file another process has.

    What the test before left for this one is put away, as after a test: the next may stand in
    another folder.
    """
    folder: Path | None = item.config.getoption("--shared")
    if folder is None or item.path in SHORT:
        return None
    claimed = item.config.stash.setdefault(CLAIMED, {})
    if item.path not in claimed:
        mark = folder / "+".join(item.path.relative_to(TESTS).parts)
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            claimed[item.path] = False
        else:
            claimed[item.path] = True
    if claimed[item.path]:
        return None
    item.session._setupstate.teardown_exact(nextitem)
    return True


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
