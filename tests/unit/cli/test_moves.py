"""`migrate-db`, `backup`, `restore` as an operator types them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from bridge.storage.sqlstore import open_store
from bridge.storage.transfer import move
from tests.support.postgres import PostgresServer
from tests.unit.cli.runs import Folder
from tests.unit.storage.conftest import FixedClock, impatient
from tests.unit.storage.contents import Silent, contents, fill, run
from tests.unit.storage.test_ping import full_disk
from tests.unit.storage.test_transfer import Stopped, Stops

__all__ = ["impatient"]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A configuration, and a database of two rooms."""
    folder = Folder(tmp_path)
    folder.write()
    asyncio.run(fill(url(folder), rooms=2, each=3))
    return folder


def url(folder: Folder, name: str = "bridge.db") -> str:
    return f"sqlite:///{folder.path / name}"


def all_of(url: str) -> object:
    return asyncio.run(contents(url))


def test_from_sqlite_to_postgres_and_back(folder: Folder, postgres_server: PostgresServer) -> None:
    server = postgres_server.new_schema()
    before = all_of(url(folder))
    result = folder.run_here("migrate-db", server)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["table", "rows", "sha256"]
    assert ["journal", "6"] in [line.split()[:2] for line in lines]
    assert "compared row by row" in result.stdout
    assert all_of(server) == before
    # FROM and TO; a relative file is beside config.yaml.
    result = folder.run_here("migrate-db", server, "sqlite:///back.db", "--json")
    assert result.exit_code == 0, result.output
    told = {one["table"]: one for one in json.loads(result.stdout)}
    assert (told["rooms"]["rows"], told["rooms"]["differ"]) == (2, 0)
    assert all_of(url(folder, "back.db")) == before


def test_moved_database_is_refused_until_it_is_taken_back(folder: Folder) -> None:
    to = url(folder, "new.db")
    assert folder.run_here("migrate-db", to).exit_code == 0
    away = ["migrate-db", url(folder, "third.db")]
    for command in (["trace", "$x"], ["migrate"], away):
        result = folder.run_here(*command)
        assert result.exit_code == 14
        assert f"was moved to {folder.path / 'new.db'}" in result.stderr
    result = folder.run_here("migrate-db", "--take-back")
    assert result.exit_code == 1  # nobody said yes
    result = folder.run_here("migrate-db", "--take-back", "--yes")
    assert result.exit_code == 0, result.output
    assert "The bridge can use" in result.stdout
    result = folder.run_here("migrate-db", "--take-back")
    assert result.exit_code == 1
    assert result.stderr.endswith("has not been moved\n")
    assert "Data written since" not in result.output
    assert folder.run_here("dead-letters", "list").exit_code == 0


def test_target_may_come_from_the_environment(folder: Folder) -> None:
    """So that no password is on a command line."""
    result = folder.run_here("migrate-db")
    assert result.exit_code == 2
    assert "MATRIX_WEBCHAT_MIGRATE_TO" in result.stderr
    folder.environment = {"MATRIX_WEBCHAT_MIGRATE_TO": url(folder, "one.db")}
    assert folder.run_here("migrate-db").exit_code == 0
    secret = folder.path / "secret"
    secret.write_text(url(folder, "two.db") + "\n")
    folder.environment = {
        "MATRIX_WEBCHAT_MIGRATE_TO": None,
        "MATRIX_WEBCHAT_MIGRATE_TO_FILE": str(secret),
        "MATRIX_WEBCHAT_DATABASE__URL": url(folder, "one.db"),
    }
    assert folder.run_here("migrate-db").exit_code == 0
    assert all_of(url(folder, "two.db")) == all_of(url(folder))
    secret.write_bytes(b"\xff\xfe")
    result = folder.run_here("migrate-db")
    assert (result.exit_code, "is not UTF-8 text" in result.stderr) == (2, True)


def test_wrong_command_lines(folder: Folder) -> None:
    for line, why in (
        (["mysql://x/y"], "must be sqlite:///file.db"),
        (["sqlite:///a", "sqlite:///b", "sqlite:///c"], "FROM and TO"),
        (["sqlite:///a", "--take-back"], "FROM and TO"),
    ):
        result = folder.run_here("migrate-db", *line)
        assert result.exit_code == 2
        assert why in result.stderr
    result = folder.run_here("migrate-db", "sqlite:///none.db", "sqlite:///new.db")
    assert result.exit_code == 14
    assert "there is no database at" in result.stderr
    assert not (folder.path / "none.db").exists()


@pytest.mark.usefixtures("impatient")
def test_running_bridge_prevents_a_move(folder: Folder) -> None:
    with closing(sqlite3.connect(folder.path / "bridge.db-owner")) as owner:
        owner.execute("BEGIN EXCLUSIVE")
        result = folder.run_here("migrate-db", url(folder, "new.db"))
        assert result.exit_code == 14
        assert "a bridge is using" in result.stderr
        # A backup works meanwhile.
        assert folder.run_here("backup", str(folder.path / "b")).exit_code == 0


def test_backup_and_restore(folder: Folder) -> None:
    file = folder.path / "bridge.backup"
    before = all_of(url(folder))
    result = folder.run_here("backup", str(file))
    assert result.exit_code == 0, result.output
    assert f"{file.stat().st_size} bytes, and verified it" in result.stdout
    result = folder.run_here("backup", str(file))
    assert result.exit_code == 1
    assert "already exists" in result.stderr
    result = folder.run_here("restore", str(file), "--dry-run")
    assert result.exit_code == 0
    assert "is complete and intact" in result.stdout
    result = folder.run_here("restore", str(file))
    assert result.exit_code == 14
    assert "--replace" in result.stderr
    (folder.path / "bridge.db").unlink()
    result = folder.run_here("restore", str(file))
    assert result.exit_code == 0, result.output
    assert all_of(url(folder)) == before
    assert folder.run_here("restore", str(file), "--replace", "--json").exit_code == 0


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_backup_to_a_full_disk(
    folder: Folder, postgres_server: PostgresServer, engine: str
) -> None:
    """The backup's disk is named, not the database's; no file is left; exit code 1."""
    where = url(folder)
    if engine == "postgres":
        where = postgres_server.new_schema()
        folder.environment = {"MATRIX_WEBCHAT_DATABASE__URL": where}
        asyncio.run(fill(where, rooms=1, each=1))
    noise = random.Random(1).randbytes(400_000)  # noqa: S311 - it cannot be compressed
    asyncio.run(run(where, "UPDATE journal SET body = $1", noise))
    file = folder.path / "bridge.backup"
    with full_disk(200_000):
        result = folder.run_here("backup", str(file))
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith(f"{file}: no backup was written: ")
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in folder.path.iterdir() if "backup" in path.name] == []
    assert folder.run_here("backup", str(file)).exit_code == 0


_ENDED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from bridge.__main__ import main
from bridge.cli.database import _Shown

def end(*_):
    print(*(path.name for path in Path(sys.argv[2]).parent.glob("*.part")))
    os.kill(os.getpid(), signal.SIGTERM)

_Shown.advances = end
main()
"""


def test_a_backup_ended_by_sigterm_leaves_no_copy_of_the_database(folder: Folder) -> None:
    file, config = folder.path / "x.backup", folder.path / "config.yaml"
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _ENDED_WHILE_WRITING, "backup", file, "-c", config],
        env=os.environ | {"MATRIX_WEBCHAT_DATABASE__URL": url(folder)},
        stdout=subprocess.PIPE,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (143, b"x.backup.part\n")
    assert [*folder.path.glob("x.backup*")] == []


def test_files_that_are_no_backup(folder: Folder) -> None:
    for content in (b"", b"PK\3\4", b"\x1f\x8b\x08\0"):
        file = folder.path / "odd"
        file.write_bytes(content)
        result = folder.run_here("restore", str(file))
        assert result.exit_code == 18, result.output
        assert result.stderr.startswith(f"{file} is ")
    result = folder.run_here("restore", str(folder.path / "none"))
    assert result.exit_code == 1
    assert "none: No such file" in result.stderr


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_backup_into_a_missing_folder(
    folder: Folder, postgres_server: PostgresServer, engine: str
) -> None:
    if engine == "postgres":
        where = postgres_server.new_schema()
        folder.environment = {"MATRIX_WEBCHAT_DATABASE__URL": where}
        asyncio.run(fill(where, rooms=1, each=1))
    file = folder.path / "no" / "where"
    result = folder.run_here("backup", str(file))
    said = f"{file}: no backup was written: No such file or directory\n"
    assert (result.exit_code, result.stderr) == (1, said)


def test_incomplete_database_is_refused(folder: Folder) -> None:
    to = url(folder, "half.db")
    with pytest.raises(Stopped):
        asyncio.run(move(url(folder), to, FixedClock(), Stops(page=3)))
    folder.environment = {"MATRIX_WEBCHAT_DATABASE__URL": to}
    for command in ("migrate", "dead-letters list", "backup x"):
        result = folder.run_here(*command.split())
        assert result.exit_code == 14
        assert f"copying from {folder.path / 'bridge.db'}" in result.stderr


def test_progress_is_shown_on_a_terminal_after_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.cli import database

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    for quiet, shown in ((3600.0, False), (-1.0, True)):
        monkeypatch.setattr(database, "_QUIET_SECONDS", quiet)
        progress = database._Shown()
        progress.begins("copying", 100)
        progress.advances(40)
        progress.advances(60)
        progress.close()
        assert ("100/100" in capsys.readouterr().err) is shown


def test_no_bridge_can_start_during_a_move(folder: Folder) -> None:
    """Both databases are claimed until the end."""

    class Tries(Silent):
        def begins(self, what: str, rows: int) -> None:
            super().begins(what, rows)
            for name in ("bridge.db", "new.db"):
                with (
                    closing(sqlite3.connect(folder.path / f"{name}-owner", timeout=0)) as owner,
                    pytest.raises(sqlite3.OperationalError, match="locked"),
                ):
                    owner.execute("BEGIN EXCLUSIVE")

    asyncio.run(move(url(folder), url(folder, "new.db"), FixedClock(), tries := Tries()))
    assert tries.stages == ["copying", "comparing"]

    async def starts() -> None:
        async with open_store(url(folder, "new.db"), FixedClock(), sole=True):
            pass

    asyncio.run(starts())
