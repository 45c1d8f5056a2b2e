"""Unusable files and folders: every command reports them in a sentence.

Permission bits do not bind root, so those faults are tried by `without_rights`, in a process of an
unprivileged user; the others bind everybody.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import Result

from bridge.cli.console import errors_become_exits
from tests.support.ports import free_port
from tests.unit.cli.runs import Folder
from tests.unit.cli.without_rights import COMMANDS, CONFIG, WITHOUT_DATABASE

CODES = {"config": 10, "database": 14, "registration": 20}
"""Exit code for a fault of each file; that of the doctor is 1."""

Fault = Callable[[Path], Path]


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file" / "x"


def a_folder(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def too_long(folder: Path) -> Path:
    return folder / ("x" * 300)


def a_loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def in_no_folder(folder: Path) -> Path:
    return folder / "nowhere" / "x"


FAULTS: list[Fault] = [below_a_file, a_folder, too_long, a_loop, in_no_folder]


def says_it(result: Result, code: int) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "Errno" not in result.output
    told = result.stderr.splitlines() or [
        line for line in result.stdout.splitlines() if line.startswith("FAIL")
    ]
    assert told, result.output


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", COMMANDS)
def test_faults_of_the_configuration_file(tmp_path: Path, name: str, fault: Fault) -> None:
    path = fault(tmp_path)
    result = Folder(tmp_path).run(*COMMANDS[name], "-c", str(path))
    says_it(result, 1 if name == "doctor" else CODES["config"])
    assert path.name in result.output


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", COMMANDS.keys() - WITHOUT_DATABASE)
def test_faults_of_the_database_file(tmp_path: Path, name: str, fault: Fault) -> None:
    folder = Folder(tmp_path)
    path = fault(tmp_path)
    text = CONFIG.format(port=free_port(), metrics=free_port(), database=path)
    folder.config.write_text(text, encoding="utf-8")
    result = folder.run_here(*COMMANDS[name])
    says_it(result, 1 if name == "doctor" else CODES["database"])
    assert str(path) in result.output or f"cannot create files in {path.parent}" in result.output


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_registration_file(tmp_path: Path, fault: Fault) -> None:
    folder = Folder(tmp_path)
    folder.write()
    path = fault(tmp_path)
    for command in ("register", "doctor"):
        result = folder.run_here(command, "-r", str(path))
        says_it(result, CODES["registration"] if command == "register" else 1)


@pytest.mark.parametrize("fault", [below_a_file, a_folder, too_long, a_loop])
def test_faults_of_a_secret_file(tmp_path: Path, fault: Fault) -> None:
    folder = Folder(tmp_path)
    folder.write()
    folder.environment["MATRIX_WEBCHAT_APPSERVICE__AS_TOKEN_FILE"] = str(fault(tmp_path))
    result = folder.run_here("check")
    says_it(result, 11)
    assert "MATRIX_WEBCHAT_APPSERVICE__AS_TOKEN_FILE: appservice.as_token: cannot read" in (
        result.stderr
    )


@pytest.mark.parametrize("fault", [below_a_file, too_long, a_loop])
def test_faults_of_the_containers_folder(tmp_path: Path, fault: Fault) -> None:
    result = Folder(tmp_path).run("container", "--folder", str(fault(tmp_path)))
    says_it(result, 10)


def test_missing_file_permissions() -> None:
    """A folder may not be entered or not be written to, or one of its files not be read."""
    with TemporaryDirectory() as folder:  # pytest's may be closed to others
        script = [sys.executable, "-m", "tests.unit.cli.without_rights", folder]
        done = subprocess.run(  # noqa: S603 - our own program
            script, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(seen) == 2 * len(COMMANDS) + len(COMMANDS) - len(WITHOUT_DATABASE) + 3 + 2 + 1
    for one in seen:
        assert not one["traceback"], one
        kind = one["fault"].removeprefix("locked ").replace("folder", "config")
        assert one["code"] == (1 if one["command"] == "doctor" else CODES[kind]), one
        assert "Permission denied" in one["output"] or "cannot create files in" in one["output"]
        assert "example-config" not in one["output"], "advice to overwrite what is there"


@pytest.mark.parametrize("line", ["example-config", "example-config --texts", "simulate --port 0"])
def test_output_to_a_full_disk(line: str) -> None:
    """As `> config.yaml` on a full disk; the simulator does not take it for a port in use."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "bridge", *line.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "No space left on device\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (FileNotFoundError(2, "No usable temporary directory"), "No usable temporary directory"),
    ],
)
def test_unexpected_os_error_is_one_line(
    error: OSError, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, errors_become_exits():
        raise error
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize("error", [TimeoutError(), BrokenPipeError(32, "Broken pipe")])
def test_os_error_of_another_kind_is_passed_on(error: OSError) -> None:
    with pytest.raises(type(error)), errors_become_exits():
        raise error
