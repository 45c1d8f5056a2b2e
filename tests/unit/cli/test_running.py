"""`check`, and the errors that prevent `run`."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bridge.app.serving import DATED
from bridge.config.loading import load_config
from bridge.rooms.surroundings import IN_PLACE
from bridge.storage.migrate import MOVED
from bridge.texts import CATALOGUE
from tests.support.ports import free_port
from tests.unit.cli.runs import Folder
from tests.unit.config.configs import SMALLEST, edited
from tests.unit.storage.conftest import impatient

__all__ = ["impatient"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)


def test_a_valid_configuration(folder: Folder) -> None:
    folder.write(SMALLEST + "appservice: {as_token: aaaaaaaaaa, hs_token: bbbbbbbbbb}\n")
    result = folder.run_here("check")
    assert (result.exit_code, result.output) == (0, f"{folder.config}: valid\n")


def test_missing_tokens_are_mentioned_but_valid(folder: Folder) -> None:
    folder.write()
    result = folder.run_here("check")
    assert result.exit_code == 0
    assert "run `matrix-webchat register` to fill them" in result.output


def test_a_password_that_is_missing_is_mentioned(folder: Folder) -> None:
    """A server may take an empty one, so it is no error."""
    for more, missing in (("", True), (', password: "x"', False)):
        login = f"webchat:\n  login: {{type: password{more}}}\n"
        folder.write(SMALLEST.replace("webchat:\n", login))
        result = folder.run_here("check")
        assert result.exit_code == 0
        assert (
            "webchat.login.type is password, but no password is set" in result.output
        ) is missing


def test_accounts_that_rooms_would_share_are_mentioned_but_valid(folder: Folder) -> None:
    login = "  login: {type: password}\n  accounts:"
    wrong = f'{login} {{"@ada:example.org": {{name: ada}}, "@*": {{name: "a-{{room_key}}"}}}}\n'
    folder.write(SMALLEST.replace("webchat:\n", f"webchat:\n{wrong}"))
    result = folder.run_here("check")
    assert result.exit_code == 0
    assert 'webchat.accounts."@ada:example.org": several rooms' in result.output
    assert '"@*"' not in result.output


def test_certificates_that_are_not_checked_are_mentioned(folder: Folder) -> None:
    folder.write(edited("webchat:\n", "webchat:\n  verify_ssl: false\n"))
    assert "can read and change everything" in folder.run_here("check").output


@pytest.fixture
def open_folder() -> Iterator[Folder]:
    """A folder that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Folder(Path(path).resolve())


def test_files_that_everybody_can_read_are_named(
    open_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder
    folder.write()
    folder.registration.touch()
    database = folder.path / "bridge.db"
    database.touch()
    for mode, bare in ((0o644, [folder.config, database]), (0o640, [])):
        folder.config.chmod(mode)
        database.chmod(mode)
        folder.registration.chmod(0o640)
        named = f"`chmod o= {' '.join(map(str, bare))}`" if bare else ""
        result = folder.run_here("check", "-r", str(folder.registration))
        assert (named or "valid") in result.output
        assert ("chmod" in result.output) is bool(bare)
        result = folder.run_here("doctor", "-r", str(folder.registration))
        assert ("FAIL  secrets " in result.output) is bool(bare)
    # The registration is the one that `register` writes: in the working directory.
    folder.registration.chmod(0o644)
    for place, told in ((folder.path, True), (tmp_path, False)):
        monkeypatch.chdir(place)
        assert (f"`chmod o= {folder.registration}`" in folder.run_here("check").output) is told
    folder.config.chmod(0o644)
    folder.path.chmod(0o700)
    assert "chmod" not in folder.run_here("check").output, "nobody else gets there"


def test_a_volume_of_kubernetes_is_not_open_to_everybody(open_folder: Folder) -> None:
    """Only one pod reaches it; its files are links into `..data`, of whatever mode."""
    folder = open_folder
    folder.write()
    folder.config.chmod(0o644)
    (folder.path / "..2026_11_27").mkdir()
    folder.config.rename(folder.path / "..2026_11_27" / folder.config.name)
    for way, told in (("..2026_11_27", True), ("..data", False)):
        if way == "..data":
            (folder.path / way).symlink_to("..2026_11_27")
        folder.config.unlink(missing_ok=True)
        folder.config.symlink_to(Path(way, folder.config.name))
        result = folder.run_here("check", "-r", str(folder.registration))
        assert ("chmod" in result.output) is told


def test_json_output_of_check(folder: Folder) -> None:
    folder.write()
    result = folder.run_here("check", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["valid"], told["problems"]) == (0, True, [])
    assert told["warnings"] == ["no tokens yet: run `matrix-webchat register` to fill them"]
    folder.write(edited("domain", "domian"))
    result = folder.run_here("check", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["valid"]) == (11, False)
    places = {one["key"]: one["where"] for one in told["problems"]}
    assert places == {
        "homeserver.domain": "config.yaml line 1",
        "homeserver.domian": "config.yaml line 3",
    }
    folder.config.unlink()
    result = folder.run_here("check", "--json")
    (problem,) = json.loads(result.stdout)["problems"]
    assert (result.exit_code, problem["key"], problem["where"]) == (10, "", "")
    assert problem["message"].endswith("No such file or directory")


@pytest.mark.parametrize(
    ("command", "code"), [("check", 11), ("run", 11), ("register", 11), ("doctor", 1)]
)
def test_permissions_that_serve_no_user_of_the_homeserver_are_refused(
    folder: Folder, command: str, code: int
) -> None:
    folder.write(edited('"*": customer', '"exmaple.org": customer'))
    result = folder.run_here(command)
    assert result.exit_code == code
    assert "bridge.permissions: serves no user of homeserver.domain (example.org)" in result.output
    assert not folder.registration.exists()


@pytest.mark.parametrize("command", ["check", "run", "register", "migrate"])
def test_a_missing_file_is_10(folder: Folder, command: str) -> None:
    result = folder.run_here(command)
    assert result.exit_code == 10
    assert result.stderr == (
        f"{folder.config}: No such file or directory: name another with -c, or run:"
        " matrix-webchat example-config > config.yaml\n"
    )


def test_the_doctor_says_that_the_missing_file_may_be_elsewhere(folder: Folder) -> None:
    result = folder.run_here("doctor")
    assert result.exit_code == 1
    assert "fix: name another with -c, or run `matrix-webchat example-config" in result.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            edited("domain", "domian"),
            'line 3: homeserver.domian: unknown key; did you mean "domain',
        ),
        (
            SMALLEST + "texts: {result.-3: {en: 'at {when}'}}\n",
            'line 11: texts."result.-3".en: has the unknown placeholder {when}; it may use: none',
        ),
        (
            SMALLEST + "texts: {result.-93: {en: x}}\n",
            'line 11: texts."result.-93": no sentence has this key; the nearest is "result.-9"',
        ),
        (SMALLEST + "texts: {result.-3: {fr: x}}\n", "must be one of zh-CN, zh-TW, en, ja"),
        (
            edited("bridge:\n", 'bridge:\n  username_template: "web{agent}"\n'),
            "line 10: bridge.username_template: would give an agent the name",
        ),
    ],
)
def test_invalid_configuration_is_11_with_the_line(folder: Folder, text: str, said: str) -> None:
    folder.write(text)
    for command in ("check", "run", "register"):
        result = folder.run_here(command)
        assert result.exit_code == 11
        assert said in result.stderr
        assert result.stderr.startswith("config.yaml line ")


def test_printed_texts_are_a_valid_configuration(folder: Folder) -> None:
    printed = folder.run("example-config", "--texts").stdout
    assert "  result.-3:\n" in printed
    folder.write(SMALLEST + printed)
    assert folder.run_here("check").exit_code == 0
    texts = load_config(folder.config, {}).texts
    assert texts == {key: dict(sentence) for key, sentence in CATALOGUE.items()}


@pytest.mark.parametrize("section", ["appservice", "metrics"])
def test_unusable_address_is_reported_with_its_key(folder: Folder, section: str) -> None:
    port = free_port()
    folder.environment = {
        f"MATRIX_WEBCHAT_{section.upper()}__HOSTNAME": "not a host",
        f"MATRIX_WEBCHAT_{section.upper()}__PORT": str(port),
        "MATRIX_WEBCHAT_HOMESERVER__ADDRESS": f"http://127.0.0.1:{free_port()}",
    }
    if section == "metrics":
        folder.environment["MATRIX_WEBCHAT_APPSERVICE__PORT"] = str(free_port())
    folder.write(SMALLEST + "appservice: {as_token: aaaaaaaaaa, hs_token: bbbbbbbbbb}\n")
    result = folder.run_here("run")
    assert result.exit_code == 1
    said = f"cannot listen: {section}.hostname not a host, {section}.port {port}: "
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1


def test_running_without_tokens_is_16_with_the_remedy(folder: Folder) -> None:
    folder.write()
    result = folder.run_here("run")
    assert result.exit_code == 16
    assert "run: matrix-webchat register -c" in result.stderr


@pytest.mark.usefixtures("impatient")
def test_a_second_bridge_on_one_database_is_14(folder: Folder) -> None:
    folder.write(SMALLEST + "appservice: {as_token: aaaaaaaaaa, hs_token: bbbbbbbbbb}\n")
    with closing(sqlite3.connect(folder.path / "bridge.db-owner")) as first:
        first.execute("BEGIN EXCLUSIVE")
        result = folder.run_here("run")
        assert result.exit_code == 14
        assert "another bridge is using this database" in result.stderr
        assert folder.run_here("dead-letters", "list").exit_code == 0


@pytest.mark.parametrize("fact", [MOVED, DATED, f"{IN_PLACE}!new:example.org"])
def test_a_stored_value_that_cannot_be_read_is_18(folder: Folder, fact: str) -> None:
    folder.environment = {"MATRIX_WEBCHAT_APPSERVICE__PORT": str(free_port())}
    folder.write(SMALLEST + "appservice: {as_token: aaaaaaaaaa, hs_token: bbbbbbbbbb}\n")
    folder.run_here("migrate")
    with closing(sqlite3.connect(folder.path / "bridge.db")) as database, database:
        database.execute("INSERT INTO facts (name, value) VALUES (?, '{')", (fact,))
    result = folder.run_here("run")
    assert result.exit_code == 18, result.output
    assert result.stderr.startswith("database: a stored value cannot be read")
