"""A transcript as one HTML page: read on a phone, printed, kept; it loads nothing and runs nothing.

The page is built as a tree and written by the standard library's serialiser, so that whatever
somebody typed can only ever be text. Each message finds its own reading direction (`dir="auto"`),
and names stand apart in `bdi`, so that right-to-left words turn nothing around them. Pure.
"""

from __future__ import annotations

import re
from typing import Protocol
from xml.etree import ElementTree as ET

from bridge.conversation.events import Args
from bridge.rooms.transcript import Line, Transcript
from bridge.texts.languages import listed

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may do for this page: apply its own style, and nothing else."""

_STYLE = """
:root { color-scheme: light dark; --faint: #6b7280; --line: #d1d5db; --me: #e0f2fe; --it: #f3f4f6; }
@media (prefers-color-scheme: dark) { :root { --line: #374151; --me: #0c4a6e; --it: #1f2937; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem 1rem; margin: 0 0 1rem; }
dt { color: var(--faint); } dd { margin: 0; }
.note { border-inline-start: .25rem solid #d97706; padding-inline-start: .75rem; }
.day { text-align: center; color: var(--faint); margin: 1.5rem 0 .5rem; font-size: .85rem; }
article { margin: .5rem 0; padding: .5rem .75rem; border-radius: .5rem; background: var(--it); }
article.customer { background: var(--me); margin-inline-start: 2rem; }
article.agent { margin-inline-end: 2rem; }
article.service { background: none; color: var(--faint); font-size: .85rem; padding-block: 0; }
header { font-size: .85rem; color: var(--faint); }
header b { color: CanvasText; }
p { margin: .15rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.void { font-style: italic; color: var(--faint); }
code { overflow-wrap: anywhere; font-size: .8rem; }
a { color: inherit; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  article { break-inside: avoid; border: 1px solid var(--line); }
  article.service { border: none; }
}
"""
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What no HTML page may hold."""
_TURNING = re.compile("[\u202d\u202e]")
"""Overrides show words backwards, which honest right-to-left text never needs."""


class Words(Protocol):
    """Sentences in the room's language (`history.Telling`)."""

    language: str

    def say(self, key: str, args: Args | None = None) -> str: ...


def build(transcript: Transcript, words: Words) -> bytes:
    """The page, UTF-8."""
    about = transcript.chat
    title = words.say("transcript.title", {"number": about.number, "queue": about.queue.name})
    page = ET.Element("html", {"lang": words.language, "dir": "ltr"})
    head = ET.SubElement(page, "head")
    ET.SubElement(head, "meta", {"charset": "utf-8"})
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY}
    ET.SubElement(head, "meta", policy)
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    ET.SubElement(head, "meta", viewport)
    ET.SubElement(head, "meta", {"name": "referrer", "content": "no-referrer"})
    _text(head, "title", title)
    ET.SubElement(head, "style").text = _STYLE
    body = ET.SubElement(page, "body")
    _text(body, "h1", title)
    _facts(body, transcript, words)
    _notes(body, transcript, words)
    day = ""
    for line in transcript.messages:
        at = transcript.local(line.at)
        if f"{at:%Y-%m-%d}" != day:
            day = f"{at:%Y-%m-%d}"
            _text(body, "div", day, {"class": "day"})
        _message(body, line, f"{at:%H:%M}", words)
    written: str = ET.tostring(page, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{written}\n".encode()


def _facts(body: ET.Element, transcript: Transcript, words: Words) -> None:
    about, found = transcript.chat, ET.SubElement(body, "dl")
    agents = listed(words.language, [agent.name or agent.id for agent in about.agents])
    rating = ""
    if about.rating is not None:
        label = about.rating.label
        rating = f"{about.rating.value} ({label})" if label else str(about.rating.value)
    for key, value in (
        ("transcript.asked", _shown(transcript, about.asked)),
        ("transcript.started", _shown(transcript, about.started)),
        ("transcript.ended", _shown(transcript, about.ended)),
        ("transcript.agents", agents),
        ("transcript.rating", rating),
        ("transcript.made", _shown(transcript, transcript.made)),
    ):
        if value:
            _text(found, "dt", words.say(key))
            _text(found, "dd", value, {"dir": "auto"})


def _notes(body: ET.Element, transcript: Transcript, words: Words) -> None:
    """Whatever the reader must not be left to believe."""
    unreadable = sum(line.kind == "unreadable" for line in transcript.messages)
    if unreadable:
        text = words.say("transcript.incomplete", {"count": unreadable})
        _text(body, "p", text, {"class": "note"})
    if transcript.cut:
        _text(body, "p", words.say("transcript.cut"), {"class": "note"})
    if not transcript.messages:
        key = "transcript.empty" if transcript.complete else "transcript.gone"
        _text(body, "p", words.say(key), {"class": "note"})


def _message(body: ET.Element, line: Line, time: str, words: Words) -> None:
    article = ET.SubElement(body, "article", {"class": line.role})
    header = ET.SubElement(article, "header")
    name = words.say("transcript.service") if line.role == "service" else line.name
    _text(ET.SubElement(header, "b"), "bdi", name)
    _text(header, "time", time, {"datetime": line.at}, before=" · ")
    if line.edited:
        _text(header, "span", words.say("transcript.edited"), before=" · ")
    link = {"href": line.link, "rel": "noreferrer"}
    _text(header, "a", words.say("transcript.open"), link, before=" · ")
    _content(article, line, words)


def _content(article: ET.Element, line: Line, words: Words) -> None:
    if line.kind in {"withdrawn", "unreadable"}:
        _text(article, "p", words.say(f"transcript.{line.kind}"), {"class": "void"})
        return
    if line.file is not None:
        details = " · ".join(filter(None, (line.file.mime, _size(line.file.size))))
        shown = f"{words.say('transcript.file')}: {line.file.name} ({details})"
        _text(article, "p", shown, {"dir": "auto"})
        _text(ET.SubElement(article, "p"), "code", line.file.uri)
    if line.place is not None:
        where = f"geo:{line.place.latitude:.6f},{line.place.longitude:.6f}"
        _text(ET.SubElement(article, "p"), "code", where)
    if line.text:
        _text(article, "p", line.text, {"dir": "auto"})


def _text(
    parent: ET.Element,
    tag: str,
    text: str,
    attributes: dict[str, str] | None = None,
    *,
    before: str = "",
) -> None:
    """Add an element with a text; `before` separates it from the one that stands before it."""
    if before and len(parent):
        parent[-1].tail = before
    ET.SubElement(parent, tag, attributes or {}).text = _fit(text)


def _fit(text: str) -> str:
    return _TURNING.sub("", _UNFIT.sub("\ufffd", text))


def _shown(transcript: Transcript, moment: str | None) -> str:
    """A moment as people read it, to the minute, and how far it is from UTC."""
    if moment is None:
        return ""
    at = transcript.local(moment)
    away = at.isoformat()[-6:] if transcript.timezone else ""
    return f"{at:%Y-%m-%d %H:%M} UTC{away}"


def _size(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size} B" if size < 1024 else f"{size / 1024:.0f} KiB"
