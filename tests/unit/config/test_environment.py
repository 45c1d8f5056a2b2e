"""Values from the environment, and secrets written to the file."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.config.document import ConfigUnreadable, KeyPath, fill_secrets
from bridge.config.known_keys import example_config
from bridge.config.loading import PICKLE_KEY, set_by, variable_of
from bridge.config.model import Permission
from tests.unit.config.configs import SMALLEST, edited, load, problems

P = "MATRIX_WEBCHAT_"


def test_a_variable_wins_over_the_file_and_has_the_type_of_its_key(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        SMALLEST,
        {
            P + "HOMESERVER__DOMAIN": "matrix.test",
            P + "HOMESERVER__VERIFY_SSL": "false",
            P + "APPSERVICE__PORT": "4000",
            P + "APPSERVICE__MAX_BODY_SIZE": "1MiB",
            P + "RETENTION__ROWS": "14d",
            P + "WEBCHAT__LOGIN_RATE__COUNT": "3",
        },
    )
    assert config.homeserver.domain == "matrix.test"
    assert config.homeserver.verify_ssl is False
    assert config.appservice.port == 4000
    assert config.appservice.max_body_size == 1024**2
    assert config.retention.rows == 14 * 86_400_000
    assert config.webchat.login_rate.count == 3


def test_texts_stay_texts(tmp_path: Path) -> None:
    """What YAML would read as a number or a truth value is a word here."""
    config = load(
        tmp_path,
        SMALLEST,
        {P + "WEBCHAT__ENTERPRISE_ID": "00123", P + "APPSERVICE__AS_TOKEN": "true"},
    )
    assert config.webchat.enterprise_id == "00123"
    assert config.appservice.as_token.get_secret_value() == "true"


def test_lists_and_mappings_are_given_whole(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        SMALLEST,
        {
            P + "QUEUES": '[{"id": 7, "name": "A"}, {"id": 8, "name": "B"}]',
            P + "QUEUES__1__NAME": "Second",
            P + "DEFAULT_QUEUE": "8",
            P + "BRIDGE__PERMISSIONS": '{"@a:example.org": admin}',
            P + "WEBCHAT__ALLOWED_MEDIA_HOSTS": "[cdn.test, 10.0.0.0/8]",
        },
    )
    assert [(queue.id, queue.name) for queue in config.queues] == [(7, "A"), (8, "Second")]
    assert dict(config.bridge.permissions) == {"@a:example.org": Permission.ADMIN}
    assert config.webchat.allowed_media_hosts == ("cdn.test", "10.0.0.0/8")


@pytest.mark.parametrize("name", ["WEBCHAT__BASE_URL", "WEBCHAT__0__BASE_URL"])
@pytest.mark.parametrize("listed", [False, True])
def test_the_single_server_needs_no_position(tmp_path: Path, name: str, *, listed: bool) -> None:
    text = edited("webchat:\n  base_url", "webchat:\n  - base_url") if listed else SMALLEST
    config = load(tmp_path, text, {P + name: "https://other.test/wc"})
    assert config.webchat.base_url == "https://other.test/wc"


def test_a_list_may_be_given_entry_by_entry(tmp_path: Path) -> None:
    """Also one of more than ten entries, whose variables do not stand in order."""
    given = {
        P + f"QUEUES__{number}__{key}": f"{value}{number}"
        for number in range(12)
        for key, value in (("ID", "1"), ("NAME", "Q"))
    }
    queues = load(tmp_path, SMALLEST, {**given, P + "DEFAULT_QUEUE": "10"}).queues
    assert [queue.name for queue in queues] == [f"Q{number}" for number in range(12)]


def test_a_section_that_the_file_lacks(tmp_path: Path) -> None:
    text = edited("webchat:\n  base_url: https://crm.example.org/webchat\n", "")
    config = load(tmp_path, text, {P + "WEBCHAT__BASE_URL": "https://other.test/wc"})
    assert config.webchat.base_url == "https://other.test/wc"


def test_secrets_come_from_files_without_blanks_around_them(tmp_path: Path) -> None:
    """As `echo "$SECRET " > file` and editors write them: a blank would make the login fail."""
    secret = tmp_path / "secret"
    secret.write_text(" s3 cret \r\n\n")
    config = load(tmp_path, SMALLEST, {P + "WEBCHAT__SIGN_KEY_FILE": str(secret)})
    assert config.webchat.sign_key.get_secret_value() == "s3 cret"


def test_a_key_that_is_called_file_is_no_file(tmp_path: Path) -> None:
    config = load(tmp_path, SMALLEST, {P + "BRIDGE__LIMITS__FILE": "1MiB"})
    assert config.bridge.limits.file == 1024**2
    size = tmp_path / "size"
    size.write_text("2MiB")
    config = load(tmp_path, SMALLEST, {P + "BRIDGE__LIMITS__FILE_FILE": str(size)})
    assert config.bridge.limits.file == 2 * 1024**2


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    """Compose files write `NAME: ${OTHER:-}` and the like."""
    empty = {
        P + "HOMESERVER__DOMAIN": "",
        P + "APPSERVICE__PORT": "",
        P + "APPSERVICE__AS_TOKEN_FILE": "",
    }
    assert load(tmp_path, SMALLEST, empty) == load(tmp_path, SMALLEST)


def test_nothing_is_written_back(tmp_path: Path) -> None:
    load(tmp_path, SMALLEST, {P + "HOMESERVER__DOMAIN": "matrix.test"})
    assert (tmp_path / "config.yaml").read_text() == SMALLEST


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {P + "HOMESERVER__ADRESS": "http://x"},
            (
                f"{P}HOMESERVER__ADRESS: is not the variable of any key; the nearest is"
                f" {P}HOMESERVER__ADDRESS"
            ),
        ),
        (
            {P + "APPSERVICE__PORT": "many"},
            f"environment {P}APPSERVICE__PORT: appservice.port: must be a whole number",
        ),
        (
            {P + "WEBCHAT__DIALECT": "2020"},
            (
                f"environment {P}WEBCHAT__DIALECT: webchat.dialect: must be 'auto', '2016-11',"
                " '2016', '2019' or 'dual'"
            ),
        ),
        (
            {P + "METRICS__PORT": "29340"},
            f"environment {P}METRICS__PORT: metrics.port: must differ from appservice.port",
        ),
        (
            {P + "APPSERVICE__AS_TOKEN": "a", P + "APPSERVICE__AS_TOKEN_FILE": "/dev/null"},
            (
                f"{P}APPSERVICE__AS_TOKEN_FILE: appservice.as_token: is also set by"
                f" {P}APPSERVICE__AS_TOKEN; unset one of them"
            ),
        ),
        (
            {P + "APPSERVICE__AS_TOKEN_FILE": "/nowhere/at/all"},
            (
                f"{P}APPSERVICE__AS_TOKEN_FILE: appservice.as_token: cannot read /nowhere/at/all:"
                " No such file or directory"
            ),
        ),
        ({P + "QUEUES": "[1"}, f"{P}QUEUES: queues: must be YAML or JSON"),
        ({P + "QUEUES": "[2026-13-01]"}, f"{P}QUEUES: queues: must be YAML or JSON"),
        (
            {P + "QUEUES__5__NAME": "x"},
            (
                f"{P}QUEUES__5__NAME: queues[5].name: cannot be set: a key above it is no section,"
                " or an earlier list position is missing"
            ),
        ),
        (
            {P + "BRIDGE__PERMISSIONS__X": "admin"},
            (
                f"{P}BRIDGE__PERMISSIONS__X: is not the variable of any key; the nearest is"
                f" {P}BRIDGE__PERMISSIONS"
            ),
        ),
        ({P + "ZZZ": "x"}, f"{P}ZZZ: is not the variable of any key"),
        *(
            (
                {P + given: "x"},
                f"{P}{given}: is not the variable of any key; the nearest is {P}QUEUES__0__NAME",
            )
            for given in ("QUEUES__NAME", "QUEUES__0__NAM")
        ),
    ],
)
def test_mistakes_name_the_variable(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    assert said in problems(tmp_path, SMALLEST, environment)


def test_no_secret_is_repeated_in_a_complaint(tmp_path: Path) -> None:
    said = problems(
        tmp_path,
        SMALLEST,
        {P + "DATABASE__URL": "mysql://user:hunter2@host/db", P + "APPSERVICE__PORT": "hunter2"},
    )
    assert len(said) == 2
    assert "hunter2" not in "".join(said)


def test_kubernetes_service_variables_are_ignored(tmp_path: Path) -> None:
    """A Service named matrix-webchat puts such variables into every pod of its namespace."""
    noise = {
        P + "SERVICE_HOST": "10.0.0.1",
        P + "SERVICE_PORT": "29340",
        P + "SERVICE_PORT_HTTP": "29340",
        P + "PORT": "tcp://10.0.0.1:29340",
        P + "PORT_29340_TCP": "tcp://10.0.0.1:29340",
        P + "PORT_29340_TCP_ADDR": "10.0.0.1",
        "HOME": "/root",
    }
    assert load(tmp_path, SMALLEST, noise) == load(tmp_path, SMALLEST)


def test_the_name_of_a_keys_variable() -> None:
    assert variable_of(("webchat", "login", "name")) == P + "WEBCHAT__LOGIN__NAME"


TEXT = """\
# My bridge.
appservice:
  port: 29340   # as on the firewall
  as_token: ""  # filled
  bot: {username: 'bot', displayname: "B"}   # quotes of both kinds
queues:
- {id: 1, name: 售前}
- id: 2

  name: Two  # after an empty line
"""


def fill_tokens(path: Path, tokens: Mapping[str, str]) -> None:
    fill_secrets(path, {("appservice", name): token for name, token in tokens.items()})


def test_only_the_tokens_change(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT, encoding="utf-8")
    fill_tokens(path, {"as_token": "AAA"})
    assert path.read_text(encoding="utf-8") == TEXT.replace('""  #', '"AAA" #')


def test_the_example_keeps_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(example_config(), encoding="utf-8")
    fill_tokens(path, {"as_token": "AAA", "hs_token": "BBB"})
    before = example_config().splitlines()
    after = path.read_text(encoding="utf-8").splitlines()
    changed = [line for old, line in zip(before, after, strict=True) if old != line]
    assert [line.split("#")[0].strip() for line in changed] == [
        'as_token: "AAA"',
        'hs_token: "BBB"',
    ]
    assert all("Filled by" in line for line in changed)


def test_a_missing_section_is_added(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("homeserver: {}\n")
    fill_tokens(path, {"as_token": "AAA"})
    assert path.read_text() == "homeserver: {}\nappservice:\n  as_token: AAA\n"


def test_the_file_becomes_private_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text(TEXT)
    real.chmod(0o644)
    link = tmp_path / "config.yaml"
    link.symlink_to(real)
    fill_tokens(link, {"as_token": "AAA"})
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert "AAA" in real.read_text()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.yaml", "real.yaml"]


@pytest.mark.parametrize("text", ["- a\n", "appservice: 3\n", "a: [\n", "a: 2026-13-01\n", ""])
def test_invalid_file_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigUnreadable):
        fill_tokens(path, {"as_token": "AAA"})
    assert path.read_text() == text


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigUnreadable, match="No such file"):
        fill_tokens(tmp_path / "config.yaml", {"as_token": "AAA"})


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        (("appservice", "as_token"), "MATRIX_WEBCHAT_APPSERVICE__AS_TOKEN"),
        (PICKLE_KEY, "MATRIX_WEBCHAT_BRIDGE__ENCRYPTION__PICKLE_KEY"),
    ],
)
def test_which_variables_set_a_secret(path: KeyPath, variable: str) -> None:
    assert set_by(path, {"PATH": "/bin"}) == []
    for name in (variable, f"{variable}_FILE"):
        assert set_by(path, {name: "x"}) == [name]
        assert set_by(path, {name: ""}) == []


def test_nested_key_is_added(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("bridge:\n  language: en\n")
    fill_secrets(path, {PICKLE_KEY: "AAA"})
    assert path.read_text() == "bridge:\n  language: en\n  encryption:\n    pickle_key: AAA\n"
    path.write_text("bridge:\n  encryption: 5\n")
    with pytest.raises(ConfigUnreadable, match=r"bridge\.encryption must be a mapping"):
        fill_secrets(path, {PICKLE_KEY: "AAA"})
