"""Stages: all tests of a file run in one of the processes that share them; bytecode is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import SHORT, TESTS, pytest_ignore_collect, pytest_runtest_protocol
from tests.stages import Stage, carried_out

LONG = [TESTS / "integration" / name for name in ("test_one.py", "test_two.py", "test_three.py")]


def process(part: str, folder: Path | None) -> Any:
    options = {"--part": part, "--shared": folder}
    return SimpleNamespace(getoption=options.__getitem__, stash=pytest.Stash())


def runs(config: Any, path: Path) -> bool:
    put_away: list[None] = []
    session = SimpleNamespace(_setupstate=SimpleNamespace(teardown_exact=put_away.append))
    item: Any = SimpleNamespace(config=config, path=path, session=session)
    runs = pytest_runtest_protocol(item, None) is None
    assert put_away == ([] if runs else [None])
    return runs


def test_all_of_a_long_file_runs_in_the_process_that_starts_it(tmp_path: Path) -> None:
    one, other = process("1/2", tmp_path), process("2/2", tmp_path)
    assert runs(one, LONG[0])
    assert not runs(other, LONG[0])
    assert runs(other, LONG[1])
    assert not runs(one, LONG[1])
    assert [runs(one, LONG[0]), runs(other, LONG[0]), runs(other, LONG[1])] == [True, False, True]
    assert runs(one, LONG[2])


def test_a_short_file_is_collected_and_run_by_one_process(tmp_path: Path) -> None:
    all_of_them = [process(f"{number}/3", tmp_path) for number in (1, 2, 3)]
    for path in SHORT:
        readers = [one for one in all_of_them if pytest_ignore_collect(path, one) is None]
        assert len(readers) == 1, path
        assert runs(readers[0], path)
        assert runs(readers[0], path)
    assert all(pytest_ignore_collect(path, all_of_them[0]) is None for path in LONG)


def test_a_process_alone_runs_everything() -> None:
    alone = process("1/1", None)
    for path in (*LONG, *SHORT):
        assert pytest_ignore_collect(path, alone) is None
        assert runs(alone, path)


def test_stages_write_bytecode_though_the_environment_forbids_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    stage = Stage("one", ("-c", "import sys; print(sys.dont_write_bytecode)"))
    assert carried_out(stage, tmp_path, {}).output == "False\n"
