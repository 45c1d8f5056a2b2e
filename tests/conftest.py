"""pytest hooks for all tests: log excerpts in failure reports, and sharing files among processes.

The report of a failed test includes the last lines of its processes' logs. hypothesis has no time
limits here, so that a busy machine fails no test. It tries the same examples each time, so that the
result depends on the change alone; more than usual (`EXAMPLES`) are new ones. Logged tracebacks are
rendered without local variables and colours: that would take a second each.

Several pytest processes share the test files; `--part=1/4 --shared=FOLDER` is the first of four.
The short files (of `tests/unit`) are dealt out by number, as each process need not read those of
the others; they are tested first. Each other file goes to the first process that claims it, those
of a few seconds last, so that all processes end at about the same time.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from bridge.demo import child_process
from tests.support import forked
from tests.support.certificates import trust_no_authority
from tests.support.logs import LOGS, end_of, logging_as_it_was
from tests.support.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]  # one server for all tests of a process

_EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
settings.register_profile(
    "timeless",
    deadline=None,
    max_examples=_EXAMPLES,
    derandomize=_EXAMPLES <= 100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("timeless")
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback

TESTS = Path(__file__).parent
UNIT = sorted((TESTS / "unit").rglob("test_*.py"))
WITH_SERVERS = {path for path in UNIT if path.parent.name in {"app", "link", "storage"}}
"""Test files that start servers: some seconds each."""
LONGEST = {
    path
    for path in WITH_SERVERS
    if path.stem in {"test_replica", "test_postgres_loss", "test_settings", "test_transfer"}
}
SHORT = {path: number for number, path in enumerate(sorted({*UNIT} - WITH_SERVERS))}
CLAIMED = pytest.StashKey[dict[Path, bool]]()
"""Test files seen so far, and whether this process claimed each."""


def pytest_configure() -> None:
    """Fork each Synapse and each bridge instead of importing them (see `forked`).

    Collect garbage rarely: a tenth of the time that reading the tests takes.
    """
    gc.set_threshold(50_000, 20, 100)
    trust_no_authority()
    pytest.MonkeyPatch().setattr(child_process, "spawn", forked.spawn)


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
    items.sort(key=lambda item: 0 if item.path in SHORT else 2 if item.path in last else 1)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through all modules and tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Skip a test whose file another process has claimed.

    Tear down the fixtures left by the test before: the next may be in another folder.
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


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    with logging_as_it_was():
        yield
