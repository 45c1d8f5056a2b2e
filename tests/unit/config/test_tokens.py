"""Filling in tokens leaves the rest of the file as its owner wrote it."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.config import (
    PICKLE_KEY,
    ConfigUnreadable,
    example_config,
    fill_secrets,
    pickle_key_from_environment,
    tokens_from_environment,
)

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
def test_what_is_no_configuration_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigUnreadable):
        fill_tokens(path, {"as_token": "AAA"})
    assert path.read_text() == text


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigUnreadable, match="No such file"):
        fill_tokens(tmp_path / "config.yaml", {"as_token": "AAA"})


def test_which_variables_set_tokens() -> None:
    assert tokens_from_environment({"PATH": "/bin"}) == []
    assert tokens_from_environment(
        {
            "MATRIX_WEBCHAT_APPSERVICE__HS_TOKEN_FILE": "x",
            "MATRIX_WEBCHAT_APPSERVICE__AS_TOKEN": "y",
        }
    ) == ["MATRIX_WEBCHAT_APPSERVICE__AS_TOKEN", "MATRIX_WEBCHAT_APPSERVICE__HS_TOKEN_FILE"]


def test_a_key_deep_down_is_set(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("bridge:\n  language: en\n")
    fill_secrets(path, {PICKLE_KEY: "AAA"})
    assert path.read_text() == "bridge:\n  language: en\n  encryption:\n    pickle_key: AAA\n"
    path.write_text("bridge:\n  encryption: 5\n")
    with pytest.raises(ConfigUnreadable, match=r"bridge\.encryption must be a mapping"):
        fill_secrets(path, {PICKLE_KEY: "AAA"})


def test_which_variable_sets_the_secret_of_encryption() -> None:
    assert not pickle_key_from_environment({"PATH": "/bin"})
    for name in ("", "_FILE"):
        variable = f"MATRIX_WEBCHAT_BRIDGE__ENCRYPTION__PICKLE_KEY{name}"
        assert pickle_key_from_environment({variable: "x"})
