"""Addresses."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.webchat.urls import Endpoints

SERVER = Endpoints("https://crm.example.org/webchat")


def test_endpoints() -> None:
    assert SERVER.login == "https://crm.example.org/webchat/tpi"
    assert SERVER.robot == "https://crm.example.org/webchat/robotSearch"
    assert SERVER.origin == "https://crm.example.org"
    assert SERVER.socket("A+B/=") == "wss://crm.example.org/webchat/cws?token=A%2BB%2F%3D"
    assert SERVER.upload("A+B/=") == "https://crm.example.org/webchat/tpiu?token=A%2BB%2F%3D"


@pytest.mark.parametrize(
    ("base", "socket"),
    [
        ("http://127.0.0.1:8980/webchat/", "ws://127.0.0.1:8980/webchat/cws?token=T"),
        ("HTTPS://h", "wss://h/cws?token=T"),
        ("http://[::1]:8980/EliteWebChat", "ws://[::1]:8980/EliteWebChat/cws?token=T"),
    ],
)
def test_the_scheme_follows_the_base(base: str, socket: str) -> None:
    assert Endpoints(base).socket("T") == socket


@pytest.mark.parametrize(
    ("base", "complaint"),
    [
        ("", "must start with"),
        ("crm.example.org/webchat", "must start with"),
        ("ftp://h/webchat", "must start with"),
        ("https:///webchat", "names no host"),
        ("https://h:99999/", "check brackets and port"),
        ("https://[::1/webchat", "check brackets and port"),
        ("https://h:0/", "port 0"),
        ("https://user:hunter2@h/webchat", "user name or password"),
        ("https://h/webchat?token=x", "query"),
        ("https://h/webchat#", "fragment"),
        ("https://h/web chat", "spaces"),
        ("https://h/web\tchat", "spaces"),
        ("https://h/\u200b", "control"),
    ],
)
def test_a_bad_base_is_refused_with_a_sentence(base: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        Endpoints(base)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ""),
        ("/webchat/a.jpg", "https://crm.example.org/webchat/a.jpg"),
        ("/up/a.jpg", "https://crm.example.org/webchat/up/a.jpg"),
        ("up/a.jpg", "https://crm.example.org/webchat/up/a.jpg"),
        ("/webchats/a.jpg", "https://crm.example.org/webchat/webchats/a.jpg"),
        ("//cdn.example.org/a.jpg", "https://cdn.example.org/a.jpg"),
        ("https://cdn.example.org/a.jpg", "https://cdn.example.org/a.jpg"),
        ("HTTP://cdn.example.org/a.jpg", "HTTP://cdn.example.org/a.jpg"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA"),
    ],
)
def test_absolute(url: str, expected: str) -> None:
    assert SERVER.absolute(url) == expected


def test_absolute_without_context_path() -> None:
    assert Endpoints("https://h/").absolute("/up/a.jpg") == "https://h/up/a.jpg"
    assert Endpoints("https://h").absolute("a.jpg") == "https://h/a.jpg"


@pytest.mark.parametrize(
    ("icon", "queue_id", "expected"),
    [
        ("", 1, ""),
        ("  ", 1, ""),
        ("https://h/ngs/mei.png", 1, "https://h/ngs/mei.png"),
        (
            "headimg/mei.png",
            7,
            "https://crm.example.org/webchat/ngsIcon.do?path=headimg/mei.png&queue=7",
        ),
        ("小.png", 7, "https://crm.example.org/webchat/ngsIcon.do?path=%E5%B0%8F.png&queue=7"),
        ("%E5%B0%8F.png", None, "https://crm.example.org/webchat/ngsIcon.do?path=%E5%B0%8F.png"),
        ("a&queue=9", 7, "https://crm.example.org/webchat/ngsIcon.do?path=a%26queue%3D9&queue=7"),
    ],
)
def test_icon(icon: str, queue_id: int | None, expected: str) -> None:
    assert SERVER.icon(icon, queue_id) == expected


@given(st.text(st.characters()))
def test_bad_bases_raise_nothing_but_value_error(base: str) -> None:
    for attempt in (base, f"http://{base}", f"http://h{base}"):
        with contextlib.suppress(ValueError):
            assert Endpoints(attempt).login.endswith("/tpi")


@given(st.text(st.characters()))
def test_what_the_server_says_raises_nothing(path: str) -> None:
    SERVER.absolute(path)
    SERVER.icon(path, 1)
