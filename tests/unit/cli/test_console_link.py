"""`console-link`: a link that signs in, whether the bridge runs or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.admin.signin import SignIn
from bridge.app.settings import console_key_of
from bridge.cli.database import with_store
from bridge.config.loading import load_config
from bridge.rooms.store import StorePort
from bridge.rooms.surroundings import SystemClock
from tests.unit.cli.runs import Folder
from tests.unit.config.configs import SMALLEST

TOKENS = "appservice: {as_token: our-own-token, hs_token: their-token}\n"


@pytest.mark.parametrize(("name", "who"), [("mei", "mei"), (" ", "operator"), ("", "operator")])
def test_link_signs_in_under_its_name(tmp_path: Path, name: str, who: str) -> None:
    """Without a name (a variable that is not set) nobody would count as signed in."""
    folder = Folder(tmp_path)
    folder.write(
        f"{SMALLEST}{TOKENS}console: {{enabled: true, public_url: 'https://chat.example.org/a'}}\n"
    )
    folder.run_here("migrate")
    result = folder.run_here("console-link", "--name", name)
    assert result.exit_code == 0, result.output
    address, _, secret = result.stdout.strip().partition("#sign-in=")
    assert address == "https://chat.example.org/a/admin/"
    assert "once, for 10 minutes" in result.stderr

    config = load_config(folder.config, {})

    async def sign_in(store: StorePort) -> str | None:
        there = SignIn(store, SystemClock(), console_key_of(config))
        return await there.who(await there.sign_in(secret))

    assert with_store(config, sign_in) == who


@pytest.mark.parametrize(
    ("hostname", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - of the image
        ("'::1'", "[::1]"),
        ("'::'", "[::1]"),
    ],
)
def test_link_without_a_proxy_leads_to_the_port(tmp_path: Path, hostname: str, shown: str) -> None:
    folder = Folder(tmp_path)
    console = f"console: {{enabled: true, hostname: {hostname}, port: 4711}}\n"
    folder.write(f"{SMALLEST}{TOKENS}{console}")
    folder.run_here("migrate")
    result = folder.run_here("console-link")
    assert result.stdout.startswith(f"http://{shown}:4711/admin/#sign-in=")


def test_no_link_without_the_tokens_of_the_bridge(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write(f"{SMALLEST}console: {{enabled: true}}\n")
    folder.run_here("migrate")
    result = folder.run_here("console-link")
    assert result.exit_code == 1
    assert "appservice.as_token is empty" in result.stderr


def test_a_console_that_is_off_has_no_links(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write()
    folder.run_here("migrate")
    result = folder.run_here("console-link")
    assert result.exit_code == 1
    assert "console.enabled is false" in result.stderr
