"""The reload at SIGHUP, and what surrounds a process."""

from __future__ import annotations

import asyncio
import gc
import platform
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import uvloop
from structlog.testing import capture_logs
from structlog.typing import EventDict

from bridge.app import process
from bridge.app.process import (
    LEAST_FILES,
    MOST_FILES,
    Load,
    raise_file_limit,
    reload,
    reload_whenever,
    tell_systemd,
    unless_abandoned_lookup,
)
from bridge.app.serving import Serving
from bridge.config.document import ConfigUnreadable, Problem
from bridge.config.model import Config
from tests.unit.config.configs import SMALLEST, edited, load

pytestmark = pytest.mark.asyncio


class Operator:
    """An operator who edits the configuration."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.text = SMALLEST
        self.applied: list[Config] = []
        self.config = self.load()

    def load(self) -> Config:
        return load(self._folder, self.text)

    def apply_config(self, config: Config) -> None:
        self.applied.append(config)
        self.config = config

    async def reloads(self, read: Load | None = None) -> None:
        await reload(cast(Serving, self), read or self.load)

    async def edits(self, old: str, new: str) -> list[EventDict]:
        """Change the file and reload; return the log lines."""
        self.text = edited(old, new)
        with capture_logs() as logs:
            await self.reloads()
        return logs


async def test_live_keys_are_applied(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    logs = await operator.edits("bridge:\n", "bridge:\n  language: en\n")
    assert [config.bridge.language for config in operator.applied] == ["en"]
    assert logs[0]["change"] == "bridge.language: zh-CN -> en"
    assert (logs[-1]["changed"], logs[-1]["need_restart"]) == (1, 0)
    assert (await operator.edits("bridge:\n", "bridge:\n  language: en\n"))[-1]["changed"] == 0


async def test_keys_that_need_a_restart_are_logged_every_time(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    for _ in range(2):
        logs = await operator.edits("domain: example.org", "domain: example.com")
        assert logs[0]["log_level"] == "warning"
        assert logs[0]["change"] == "homeserver.domain: example.org -> example.com"
        assert operator.applied[-1].homeserver.domain == "example.org"


async def test_invalid_file_changes_nothing(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    logs = await operator.edits('"*": customer', '"*": nobody')
    assert logs[0]["why"].startswith('config.yaml line 10: bridge.permissions."*": must be')
    assert operator.applied == []


async def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    operator = Operator(tmp_path)

    def gone() -> Config:
        raise ConfigUnreadable("config.yaml: No such file or directory")

    with capture_logs() as logs:
        await operator.reloads(gone)
    assert [one["log_level"] for one in logs] == ["error", "error"]
    assert operator.applied == []


async def test_unexpected_error_changes_nothing(tmp_path: Path) -> None:
    """It is logged with its trace, and a later reload applies the change."""
    troubles: list[Exception] = [LookupError("in reading"), ZeroDivisionError("in applying")]

    def load_it() -> Config:
        if len(troubles) == 2:
            raise troubles.pop(0)
        return operator.load()

    class Troubled(Operator):
        def apply_config(self, config: Config) -> None:
            if troubles:
                raise troubles.pop(0)
            super().apply_config(config)

    operator = Troubled(tmp_path)
    operator.text = edited("bridge:\n", "bridge:\n  language: en\n")
    with capture_logs() as logs:
        for _ in range(3):
            await operator.reloads(load_it)
    assert [one.get("exc_info") for one in logs if one["log_level"] == "error"] == [True, True]
    assert [one["changed"] for one in logs if one["event"] == "config reloaded"] == [1]
    assert [config.bridge.language for config in operator.applied] == ["en"]


async def test_added_queue_leaves_the_queues_as_they_are(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    logs = await operator.edits(
        "Sales}\ndefault_queue: 1", "Sales}\n  - {id: 2, name: Two}\ndefault_queue: 2"
    )
    assert {one["log_level"] for one in logs[:-1]} == {"warning"}
    assert operator.applied[-1].default_queue == 1


async def test_a_mixture_that_breaks_a_rule_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live keys of the new file and the rest of the old one may be invalid together."""
    problem = Problem(("retention",), "does not fit")
    monkeypatch.setattr(process, "RULES", (lambda _: [problem],))
    operator = Operator(tmp_path)
    logs = await operator.edits("bridge:\n", "bridge:\n  language: en\n")
    assert logs[0]["why"] == "retention: does not fit"
    assert operator.applied == []


async def test_concurrent_requests_cause_one_reload(tmp_path: Path) -> None:
    wanted, applied = asyncio.Event(), asyncio.Event()

    class Watched(Operator):
        def apply_config(self, config: Config) -> None:
            super().apply_config(config)
            applied.set()

    operator = Watched(tmp_path)
    wanted.set()
    wanted.set()
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
        work = reload_whenever(wanted, cast(Serving, operator), operator.load)
        running = tasks.create_task(work)
        await applied.wait()
        running.cancel()
    assert len(operator.applied) == 1


async def test_limit_of_open_files_is_raised_as_far_as_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        for _ in range(2):
            raise_file_limit()
            raised, unchanged = resource.getrlimit(resource.RLIMIT_NOFILE)
            assert raised == MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
            assert unchanged == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_start_with_too_few_open_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (LEAST_FILES - 1,) * 2)
    with pytest.raises(OSError, match="only 63 open files are allowed: increase `ulimit -n`"):
        raise_file_limit()


@pytest.mark.parametrize("place", ["", "@", "bridge@1/"])
async def test_systemd_notices(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_systemd("nobody asked")
    (tmp_path / "bridge@1").mkdir()
    address = f"@{tmp_path}/socket" if place == "@" else f"{tmp_path}/{place}socket"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    if place != "@":
        with capture_logs() as logs:
            tell_systemd("a container has the variable, and perhaps no socket")
        assert [one["log_level"] for one in logs] == ["warning"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{address[1:]}" if place == "@" else address)
        tell_systemd("READY=1")
        assert manager.recv(100, socket.MSG_DONTWAIT) == b"READY=1"


FREED = """
from pathlib import Path
from bridge.app.process import return_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

{tuning}
before = resident()
for size in (12, 10):  # at the first, glibc learns that there are such blocks
    block = b"x" * (size << 20)
    del block
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize(("tuning", "kept"), [("", True), ("return_memory()", False)])
async def test_memory_of_long_frames_is_returned(tuning: str, kept: bool) -> None:
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FREED.format(tuning=tuning), stdout=subprocess.PIPE
    )
    out, _ = await made.communicate()
    assert (int(out) > 8) is kept


async def test_lookup_that_outlasts_its_connection_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As when name servers answer nothing. Any other error that nobody awaits is logged."""

    async def abandon() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(unless_abandoned_lookup)
        connecting = loop.create_task(loop.create_connection(asyncio.Protocol, "x.invalid", 1))
        await asyncio.sleep(0)
        connecting.cancel()
        for one in (connecting, loop.create_task(loop.getaddrinfo("x.invalid", 1))):
            with pytest.raises((asyncio.CancelledError, socket.gaierror)):
                await one
        loop.create_future().set_exception(OSError("other"))
        gc.collect()

    await asyncio.to_thread(uvloop.run, abandon())
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["other"]
