"""`register` writes two files and loses nothing in either."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest
from click.testing import Result

from bridge.config.document import fill_secrets
from bridge.config.known_keys import example_config
from bridge.config.loading import PICKLE_KEY, load_config
from bridge.matrix.users import SAMPLE, load_registration
from tests.unit.cli.runs import Folder
from tests.unit.config.configs import SMALLEST, edited

AS = "MATRIX_WEBCHAT_APPSERVICE__AS_TOKEN"
HS = "MATRIX_WEBCHAT_APPSERVICE__HS_TOKEN"
SAMPLE_FILE = Path(__file__).parents[3] / "registration.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def register(folder: Folder, *arguments: str) -> Result:
    return folder.run_here("register", "-r", str(folder.registration), *arguments)


def tokens(folder: Folder) -> tuple[str, str]:
    appservice = load_config(folder.config, {}).appservice
    return appservice.as_token.get_secret_value(), appservice.hs_token.get_secret_value()


def registered(folder: Folder) -> tuple[str, str]:
    registration = load_registration(folder.registration)
    return registration.as_token, registration.hs_token


def test_both_files_hold_the_same_new_tokens_and_are_private(folder: Folder) -> None:
    folder.config.write_text(example_config(), encoding="utf-8")
    result = register(folder)
    assert result.exit_code == 0, result.output
    as_token, hs_token = tokens(folder)
    assert registered(folder) == (as_token, hs_token)
    assert len(as_token) >= 32
    assert as_token != hs_token
    assert as_token not in result.output
    assert "Filled as_token, hs_token and pickle_key into" in result.output
    assert "# Filled by `matrix-webchat register`." in folder.config.read_text(encoding="utf-8")
    for path in (folder.config, folder.registration):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_old_flags_register_too(folder: Folder) -> None:
    folder.write()
    result = folder.run("-g", "-c", str(folder.config), "-r", str(folder.registration))
    assert result.exit_code == 0, result.output
    assert all(tokens(folder))
    assert registered(folder) == tokens(folder)


def test_a_second_call_changes_nothing(folder: Folder) -> None:
    folder.write()
    register(folder)
    before = folder.config.read_bytes(), folder.registration.read_bytes()
    result = register(folder)
    assert result.exit_code == 0
    assert (folder.config.read_bytes(), folder.registration.read_bytes()) == before
    assert result.stdout == (
        f"{folder.registration} is unchanged: a homeserver that has loaded it needs no restart.\n"
    )


def test_rotate_draws_new_tokens_and_keeps_the_senders_name(folder: Folder) -> None:
    folder.write()
    register(folder)
    before, sender = tokens(folder), load_registration(folder.registration).sender_localpart
    assert register(folder, "--rotate").exit_code == 0
    assert registered(folder) == tokens(folder)
    assert not set(before) & set(tokens(folder))
    assert load_registration(folder.registration).sender_localpart == sender


def test_a_crash_between_the_files_is_mended_by_the_next_call(folder: Folder) -> None:
    """The registration was written, the configuration was not."""
    folder.write()
    register(folder)
    first = registered(folder)
    folder.write()
    register(folder)
    assert registered(folder) == tokens(folder) == first


def test_no_update_leaves_the_configuration_alone(folder: Folder) -> None:
    folder.write()
    before = folder.config.read_bytes()
    result = register(folder, "-n")
    assert result.exit_code == 0
    assert folder.config.read_bytes() == before
    assert "copy as_token and hs_token" in result.output
    first = registered(folder)
    register(folder, "-n")
    assert registered(folder) == first


def test_tokens_of_the_environment_are_not_written_into_the_configuration(folder: Folder) -> None:
    folder.write()
    before = folder.config.read_bytes()
    folder.environment |= {AS: "from-the-environment-a", HS: "from-the-environment-b"}
    assert register(folder).exit_code == 0
    assert registered(folder) == ("from-the-environment-a", "from-the-environment-b")
    assert folder.config.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (("-n",), {}, 2, "combined with -n"),
        ((), {AS: "from-the-environment"}, 11, f"{AS} sets the token"),
    ],
)
def test_rotating_what_cannot_be_written_is_refused(
    folder: Folder, arguments: tuple[str, ...], environment: dict[str, str], code: int, said: str
) -> None:
    folder.write(SMALLEST)
    folder.environment |= environment
    result = register(folder, "--rotate", *arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert not folder.registration.exists()


def test_sample_registration_matches_the_example_configuration(folder: Folder) -> None:
    folder.config.write_text(example_config(), encoding="utf-8")
    register(folder)
    sample = load_registration(SAMPLE_FILE)
    written = load_registration(folder.registration)
    assert SAMPLE in sample.as_token
    assert SAMPLE in sample.hs_token
    assert written == msgspec.structs.replace(
        sample,
        as_token=written.as_token,
        hs_token=written.hs_token,
        sender_localpart=written.sender_localpart,
    )


def test_the_samples_tokens_are_not_taken(folder: Folder) -> None:
    """As README's commands are typed in a checkout, where the sample is registration.yaml."""
    folder.config.write_text(example_config(), encoding="utf-8")
    folder.registration.write_bytes(SAMPLE_FILE.read_bytes())
    result = register(folder)
    assert result.exit_code == 0, result.output
    assert "do not commit it" in result.output
    assert "do not commit it" not in register(folder).output
    assert registered(folder) == tokens(folder)
    assert "CHANGE" not in folder.registration.read_text(encoding="utf-8")
    assert stat.S_IMODE(folder.registration.stat().st_mode) == 0o600


def test_a_broken_registration_is_20_and_stays(folder: Folder) -> None:
    folder.write()
    folder.registration.write_text("- not ours\n")
    result = register(folder)
    assert result.exit_code == 20
    assert "registration.yaml" in result.stderr
    assert "rename it, and run `register` again" in result.stderr
    assert folder.registration.read_text() == "- not ours\n"


def pickle_key(folder: Folder) -> str:
    return load_config(folder.config, {}).bridge.encryption.pickle_key.get_secret_value()


def test_a_secret_for_encryption_is_drawn_with_the_first_tokens(folder: Folder) -> None:
    folder.config.write_text(example_config(), encoding="utf-8")
    register(folder)
    key = pickle_key(folder)
    assert len(key) >= 32
    assert key not in tokens(folder)
    register(folder, "--rotate")
    assert pickle_key(folder) == key


def test_rotation_keeps_the_old_token_as_the_pickle_key(folder: Folder) -> None:
    """An installation without a pickle_key, in whose place the as_token serves."""
    folder.write()
    register(folder)
    fill_secrets(folder.config, {PICKLE_KEY: ""})
    before, _ = tokens(folder)
    assert register(folder).exit_code == 0
    assert pickle_key(folder) == ""
    register(folder, "--rotate")
    assert pickle_key(folder) == before
    assert tokens(folder)[0] != before


def test_a_secret_from_the_environment_is_written_nowhere(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write()
    monkeypatch.setenv("MATRIX_WEBCHAT_BRIDGE__ENCRYPTION__PICKLE_KEY", "from outside")
    register(folder)
    assert pickle_key(folder) == ""


def test_api_secret_is_generated_once_the_api_is_enabled(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def secret() -> str:
        return load_config(folder.config, {}).provisioning.secret.get_secret_value()

    folder.write(edited("bridge:\n", "provisioning: {enabled: false}\nbridge:\n"))
    register(folder)
    assert secret() == "", "it is off"
    folder.write(edited("bridge:\n", "provisioning: {enabled: true}\nbridge:\n"))
    assert "provisioning.secret is empty" in folder.run_here("check").output
    drawn = register(folder)
    assert "pickle_key and provisioning.secret into" in drawn.output
    first = secret()
    assert len(first) == 64
    assert first not in drawn.output
    register(folder, "--rotate")
    assert secret() == first, "programs of the operator's have it"
    folder.write(edited("bridge:\n", "provisioning: {enabled: true}\nbridge:\n"))
    monkeypatch.setenv("MATRIX_WEBCHAT_PROVISIONING__SECRET", "x" * 32)
    register(folder)
    assert secret() == ""


def test_no_run_without_the_secret_of_the_api(folder: Folder) -> None:
    tokens_there = "appservice: {as_token: a, hs_token: h}\n"
    folder.write(edited("bridge:\n", f"{tokens_there}provisioning: {{enabled: true}}\nbridge:\n"))
    result = folder.run_here("run")
    assert result.exit_code == 11
    assert "run `matrix-webchat register` to fill it" in result.output
