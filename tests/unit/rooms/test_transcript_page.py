"""The transcript page shows all messages, and user input only as text."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.ids import RoomId
from bridge.rooms.record import RoomRecord, RoomSettings
from bridge.rooms.transcripts import File, Line, Place, Telling, Transcript, build_page, moment
from bridge.texts import LANGUAGES
from tests.unit.rooms.test_transcript import line, whole
from tests.unit.rooms.visits import RULES

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content security policy: the page may apply its own style, and nothing else."""
OURS = {
    "html", "head", "meta", "title", "style", "body", "h1", "dl", "dt", "dd", "p", "div", "article",
    "header", "b", "bdi", "time", "span", "a", "code",
}  # fmt: skip


class Seen(HTMLParser):
    """Tags and texts that a browser would find in a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def file(name: str, mime: str, size: int | None) -> File:
    return File(name, mime, size, "mxc://x/y", encrypted=False)


def shown(transcript: Transcript, language: str = "en") -> Seen:
    settings = RoomSettings(language=language)
    telling = Telling(RULES, RoomRecord(RoomId("!a:b"), settings=settings))
    return Seen(build_page(transcript, telling))


def test_the_page_loads_and_runs_nothing() -> None:
    page = shown(whole(line()))
    assert {tag for tag, _ in page.tags} <= OURS
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY}
    assert ("meta", policy) in page.tags
    links = [attrs["href"] for tag, attrs in page.tags if "href" in attrs]
    assert links == ["https://matrix.to/#/!a:b/$1"]
    assert not any("src" in attrs for _, attrs in page.tags)
    style = next(text for text in page.words if "{" in text)
    assert "url(" not in style
    assert "@import" not in style


@given(st.text(max_size=200), st.text(max_size=50))
def test_user_input_is_only_text(text: str, name: str) -> None:
    page = shown(whole(line(f"<x{text}", name=f"<y{name}")))
    assert {tag for tag, _ in page.tags} <= OURS
    plain = shown(whole(line("", name="")))
    assert [tag for tag, _ in page.tags if tag != "p"] == [
        tag for tag, _ in plain.tags if tag != "p"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "</style><img src=x onerror=alert(1)>",
        "a & b &amp; c",
        "'\"><svg/onload=1>",
        "a\n  b\tc",
        "שלום عالم",
    ],
)
def test_text_is_shown_unchanged(text: str) -> None:
    page = shown(whole(line(text, name=text)))
    assert page.text.count(text) == 2


def test_characters_that_html_cannot_contain_are_replaced() -> None:
    page = shown(whole(line("a\x00b\ud800c\u202ed")))
    assert "a\ufffdb\ufffdcd" in page.text


def test_each_message_has_its_own_direction() -> None:
    page = shown(whole(line("שלום")))
    assert [attrs["dir"] for tag, attrs in page.tags if tag == "p"] == ["auto"]
    assert "bdi" in {tag for tag, _ in page.tags}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_in_every_language(language: str) -> None:
    page = shown(whole(line()), language)
    assert page.tags[0] == ("html", {"lang": language, "dir": "ltr"})
    assert "3" in page.words[1] or "3" in page.text[:60]
    for part in ("Sales", "Mei", "5 — ★★★★★", "1970-01-01 08:00 UTC+08:00", "hello", "Ada"):
        assert part in page.text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (line("", kind="withdrawn"), "(taken back)"),
        (line("", kind="unreadable"), "(can no longer be read)"),
        (line(edited=True), "edited"),
        (line(role="service", name="WebChat"), "WebChat"),
        (
            line(
                "see",
                kind="file",
                file=file("a<b>.csv", "text/csv", 5),
            ),
            "a<b>.csv · text/csv · 5 B",
        ),
        (
            line(
                "",
                kind="image",
                file=file("a.png", "image/png", 30_000),
            ),
            "a.png · image/png · 29 KiB",
        ),
        (
            line("", kind="file", file=file("a.bin", "a/b", None)),
            "a.bin · a/b",
        ),
        (line("", kind="file", file=file("a.bin", "", None)), "File · a.bin\n"),
        (line("Shop", kind="location", place=Place(31.23, 121.5)), "geo:31.230000,121.500000"),
    ],
)
def test_all_kinds_of_messages(changed: Line, words: str) -> None:
    assert words in shown(whole(changed)).text


def test_a_file_is_shown_without_its_address() -> None:
    page = shown(whole(line("", kind="image", file=file("a.png", "image/png", 30_000))))
    assert "mxc:" not in page.text


@pytest.mark.parametrize(
    ("changes", "lines", "words"),
    [
        ({"complete": False}, (line(kind="unreadable"),), "can no longer be read: 1"),
        ({"complete": False, "cut": True}, (line(),), "only its beginning"),
        ({"complete": False, "lost": True}, (line(),), "no longer has the beginning"),
        ({"complete": False, "lost": True}, (), "can no longer be found"),
        ({}, (), "No messages."),
    ],
)
def test_the_page_says_what_is_missing(
    changes: dict[str, object], lines: tuple[Line, ...], words: str
) -> None:
    assert words in shown(msgspec.structs.replace(whole(*lines), **changes)).text


def test_days_are_set_apart_and_a_chat_may_be_going_on() -> None:
    lines = (line(at=moment(0)), line(at=moment(1)), line(at=moment(86_400_000)))
    found = whole(*lines)
    about = msgspec.structs.replace(found.chat, ended=None, rating=None, agents=())
    page = shown(msgspec.structs.replace(found, chat=about))
    assert sum(attrs.get("class") == "day" for _, attrs in page.tags) == 2
    assert "Ended" not in page.text
    bare = msgspec.structs.replace(about, rating=found.chat.rating)
    assert bare.rating is not None
    unnamed = msgspec.structs.replace(bare, rating=msgspec.structs.replace(bare.rating, label=""))
    assert "— ★" not in shown(msgspec.structs.replace(found, chat=unnamed)).text
