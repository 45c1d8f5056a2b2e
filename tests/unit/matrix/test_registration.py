from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bridge.ids import QueueId
from bridge.matrix.users import (
    OurUsers,
    Registration,
    RegistrationError,
    load_registration,
    make_registration,
    save_registration,
)


def make(as_token: str = "", hs_token: str = "") -> Registration:
    return make_registration(
        appservice_id="webchat",
        url="http://localhost:29340",
        users=OurUsers("example.org", "webchatbot", "webchat_{agent}", (QueueId(1),)),
        as_token=as_token,
        hs_token=hs_token,
    )


def test_file_holds_what_the_homeserver_reads(tmp_path: Path) -> None:
    registration = make(as_token="as", hs_token="hs")
    save_registration(registration, tmp_path / "registration.yaml")
    data = YAML(typ="safe", pure=True).load((tmp_path / "registration.yaml").read_text())
    assert data == {
        "id": "webchat",
        "url": "http://localhost:29340",
        "as_token": "as",
        "hs_token": "hs",
        "sender_localpart": registration.sender_localpart,
        "rate_limited": False,
        "receive_ephemeral": True,
        "de.sorunome.msc2409.push_ephemeral": True,
        "io.element.msc4190": True,
        "namespaces": {
            "users": [
                {
                    "regex": r"^@webchat_(?:[a-z0-9.\-/]|=[0-9a-f]{2}|=h[0-9a-f]{40}|_[a-z_])*"
                    r":example\.org$",
                    "exclusive": True,
                },
                {"regex": r"^@webchat_queue_[0-9]+:example\.org$", "exclusive": False},
                {"regex": r"^@webchatbot:example\.org$", "exclusive": False},
            ],
            "aliases": [],
            "rooms": [],
        },
    }
    assert load_registration(tmp_path / "registration.yaml") == registration


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "registration.yaml"
    path.write_text("old")
    path.chmod(0o644)
    save_registration(make(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_tokens_and_sender_are_drawn_at_random_and_not_shown() -> None:
    one, other = make(), make()
    assert len({one.as_token, one.hs_token, other.as_token, other.hs_token}) == 4
    assert len(one.as_token) == 64
    assert one.sender_localpart != other.sender_localpart
    assert "webchatbot" not in one.sender_localpart
    assert one.as_token not in repr(one)
    assert one.hs_token not in str(one)


def test_foreign_keys_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registration.yaml"
    save_registration(make(), path)
    path.write_text(path.read_text() + "org.example.extra: {a: 1}\nprotocols: [x]\n")
    assert load_registration(path).id == "webchat"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot read"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"a: [", "not YAML"),
        (b"id: 2026-13-01", "not YAML"),
        (b"[]", "object"),
        (b"id: 5", "id"),
        (b"id: x\nas_token: t0ken", "url"),
    ],
)
def test_unreadable_file_is_explained(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "registration.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RegistrationError, match=why) as caught:
        load_registration(path)
    assert "t0ken" not in str(caught.value)


def test_unwritable_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RegistrationError, match="cannot write"):
        save_registration(make(), tmp_path / "missing" / "registration.yaml")
