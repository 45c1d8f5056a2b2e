"""The three starts of a container."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from click.testing import Result

import bridge.app.process
from bridge.cli.program import EXAMPLE_DOMAIN, EXAMPLE_WEBCHAT
from bridge.config.known_keys import example_config
from bridge.config.loading import load_config
from bridge.config.model import Config
from tests.image import try_compose, try_image
from tests.unit.cli.runs import Folder

SERVERS = {"domain: example.org": "domain: real.test", "crm.example.org": "crm.real.test"}
EDITS = SERVERS | {'"example.org": customer': '"real.test": customer'}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def start(folder: Folder) -> Result:
    return folder.run("container", "--folder", str(folder.path))


def edit(folder: Folder, edits: dict[str, str] = EDITS) -> None:
    text = folder.config.read_text(encoding="utf-8")
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    folder.config.write_text(text, encoding="utf-8")


def test_lines_that_trials_of_the_image_edit_occur_once(folder: Folder) -> None:
    start(folder)
    text = folder.config.read_text(encoding="utf-8")
    for old, _ in (*try_image.ours("http://a", "http://b/webchat", 1), *try_compose.OURS):
        assert text.count(old) == 1, old


def test_config_that_cannot_be_written_whole_is_not_left(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start would take the rest for the operator's, and never write the example."""

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = start(folder)
    assert result.exit_code == 10
    assert result.stderr == f"{folder.config}: cannot be written: No space left on device.\n"
    assert list(folder.path.iterdir()) == []


def test_config_then_registration_then_serving(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Config] = []

    def serve(config: Config, _load: object) -> int:
        served.append(config)
        return 0

    monkeypatch.setattr(bridge.app.process, "run", serve)
    first = start(folder)
    assert first.exit_code == 0
    assert f"Wrote {folder.config}" in first.output
    assert stat.S_IMODE(folder.config.stat().st_mode) == 0o600
    assert not folder.registration.exists()

    edit(folder)
    second = start(folder)
    assert second.exit_code == 0, second.output
    assert folder.registration.exists()
    assert "start the container again" in second.output
    assert served == []

    assert start(folder).exit_code == 0
    (config,) = served
    assert config.appservice.hostname == "0.0.0.0"  # noqa: S104 - compared, not bound
    assert config.database.url.get_secret_value() == f"sqlite:///{folder.path}/bridge.db"
    assert config.appservice.as_token.get_secret_value()


def test_an_unedited_configuration_is_not_registered(folder: Folder) -> None:
    start(folder)
    before = folder.config.read_bytes()
    for _ in range(2):
        result = start(folder)
        assert result.exit_code == 11
        assert "still has the servers of the example" in result.stderr
    assert not folder.registration.exists()
    assert folder.config.read_bytes() == before


def test_permissions_of_the_example_are_not_registered_either(folder: Folder) -> None:
    start(folder)
    edit(folder, SERVERS)
    for _ in range(2):
        result = start(folder)
        assert result.exit_code == 11
        assert (
            "bridge.permissions: serves no user of homeserver.domain (real.test)" in result.stderr
        )
    assert not folder.registration.exists()


def test_a_configuration_edited_by_the_environment_is_registered(folder: Folder) -> None:
    start(folder)
    folder.environment |= {
        "MATRIX_WEBCHAT_HOMESERVER__DOMAIN": "real.test",
        "MATRIX_WEBCHAT_WEBCHAT__BASE_URL": "https://crm.real.test/webchat",
        "MATRIX_WEBCHAT_BRIDGE__PERMISSIONS": "{real.test: customer}",
    }
    assert start(folder).exit_code == 0
    assert folder.registration.exists()


def test_an_invalid_configuration_is_11(folder: Folder) -> None:
    folder.config.write_text("homeserver: {}\n")
    assert start(folder).exit_code == 11


def test_unwritable_volume_names_its_required_owner(folder: Folder) -> None:
    folder.path = folder.path / "nowhere"
    result = start(folder)
    assert result.exit_code == 10
    assert "1337" in result.stderr


def test_servers_of_the_example_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(example_config(), encoding="utf-8")
    config = load_config(path, {})
    assert config.homeserver.domain == EXAMPLE_DOMAIN
    assert EXAMPLE_WEBCHAT in config.webchat.base_url
