"""Files and their addresses."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.simulator.web import Shelf, extension, media_type, safe_name


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.asyncio
async def test_an_upload_is_kept_and_described(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "http://h/webchat", "/webchat")
    file = await shelf.keep("猫 1.png", pieces(b"ab", b"c"), "ada", 3)
    assert file is not None
    assert file.path.read_bytes() == b"abc"
    assert shelf.find(file.number, "猫 1.png") == file
    assert shelf.find(file.number, "other") is None
    quoted = "up/1/%E7%8C%AB%201.png"
    assert [shelf.url(file, style) for style in ("context", "root", "bare", "absolute")] == [
        f"/webchat/{quoted}",
        f"/{quoted}",
        quoted,
        f"http://h/webchat/{quoted}",
    ]
    assert shelf.uploads("bare") == [
        {
            "login": "ada",
            "name": "猫 1.png",
            "size": 3,
            "sha256": hashlib.sha256(b"abc").hexdigest(),
            "url": quoted,
            "address": f"http://h/webchat/{quoted}",
        }
    ]


@pytest.mark.asyncio
async def test_file_that_is_too_long_is_read_and_discarded(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "", "")
    assert await shelf.keep("a", pieces(b"ab", b"cd", b"ef"), "ada", 3) is None
    assert shelf.find(1, "a") is None
    assert not (tmp_path / "1").exists()
    assert shelf.uploads("bare") == []


def test_an_agents_file_is_no_upload(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "", "")
    assert shelf.put("../x.txt", b"x").name == "x.txt"
    assert shelf.uploads("bare") == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.png", "a.png"),
        ("/etc/passwd", "passwd"),
        ("c:\\x\\y.doc", "y.doc"),
        ("..", "file"),
        ("", "file"),
        ("a\nb", "ab"),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_types_follow_from_file_names() -> None:
    assert (extension("A.PNG"), extension("a")) == ("png", "")
    assert (media_type("a.png"), media_type("a")) == ("image/png", "application/octet-stream")
