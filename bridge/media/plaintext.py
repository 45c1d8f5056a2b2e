"""HTML to plain text as a person would type it: lists, quotes, links, code, tables.

Used in both directions: for customers' formatted bodies, and for the plain body of an agent's HTML
fragment. `as_markup` converts plain text to HTML. The HTML is untrusted, so size, depth and number
of tags are limited; beyond a limit the result is None, and callers fall back to the text they have.
`differences` compares two wordings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from html import escape, unescape
from itertools import islice, takewhile
from urllib.parse import unquote

from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_LENGTH = 200_000
"""Maximum characters. A customer's event cannot exceed 64 KiB; an agent's text may be longer."""
MAX_DECODED = 500_000
"""Maximum characters, and of a document parameters, decoded: 12 MB of `&a=` took four seconds."""
MAX_TAGS = 4_000
MAX_DEPTH = 60
MAX_ATTRIBUTES = 200
"""Maximum attributes of a tag: a parser compares each with all others of the tag."""
MAX_OUTPUT, _ELEMENT = 1_000_000, 100
"""Maximum size of a parser's output, which opens elements that are not closed again after each tag:
an element counts as 100, a link also as the characters of its tag."""
MAX_INDENTED = 50_000
"""Maximum lines moved into a list, a quotation or a cell, counted again at each level."""

OVERRIDES = re.compile("[\0\u202d\u202e]")
"""Directional overrides, which reverse text, and which genuine right-to-left text never needs; and
NUL, which PostgreSQL cannot store."""
_SPACE = re.compile(r"[ \t\r\n\f]+")
_MARKUP = re.compile(r"<[a-z!/]", re.IGNORECASE)
_PARAMETER = re.compile(r"&(?=[\w.\[\]-]+=)")
"""Border of two parameters in a typed URL: `&region=` would be read as the reference `&reg`."""
_LINE = re.compile(r"\r?\n")
_ATTRIBUTE = (
    r"[\t\n\f\r /]*+[^\t\n\f\r />][^\t\n\f\r />=]*+"
    r"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\t\n\f\r >]*+))?+"
)
"""One attribute, as the HTML standard reads it (section "Tokenization")."""
_TAG = re.compile(rf"<(/?[a-zA-Z][^\t\n\f\r />]*+)(?:{_ATTRIBUTE}){{,{MAX_ATTRIBUTES}}}+")
_END = re.compile(r"</([a-zA-Z][^\t\n\f\r />]*+)")
_GIVEN = re.compile(r"\s[\w:.-]+(\s*)=")
"""Attribute with a value; other `=` are of typed addresses, formulas and programs."""
_ALONE = re.compile(r"[\s/]*(?:[a-z]+|&&|\|\|)", re.IGNORECASE)
"""Attribute that is a word or operator of a program, if it is none of `_SWITCHES`: `a<b AND c=d`.
Those that page builders add without a value have other characters: `data-v-1`."""
_NO_TAG = re.compile(r"<(?=\?(?:php\b|[=\s])|/[^a-zA-Z])")
"""Begin of what a parser reads as a comment, but people type: `<?php echo 1 ?>`, `</3`."""
_SWITCHES = re.compile(
    r"(?:[\s/]++(?:allowfullscreen|alt|async|auto\w++|border|checked|class|compact|contenteditable"
    r"|controls|crossorigin|data-[\w-]++|defer|disabled|download|draggable|frameborder|hidden|id|inert"
    r"|is\w++|item\w++|lang|loop|moz\w++|multiple|muted|no\w++|open|playsinline|readonly|required"
    r"|reversed|selected|style|title|translate|type|value|webkit\w++))*+",
    re.IGNORECASE,
)
"""Attributes that have no value, or may lose an empty one as a program makes a page shorter."""
_ONE_MORE = re.compile(_ATTRIBUTE)
_BARE = frozenset(
    {"b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"}
    | {"body", "html"}
)
"""Elements whose attributes are removed: a parser opens formatting elements again in each later
paragraph if they are not closed, and collects the attributes of all `body` and `html` tags."""
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table"})
_BLOCKS = frozenset(
    {"address", "article", "caption", "dd", "details", "div", "dl", "dt", "figure", "footer"}
    | {"form", "header", "main", "section", "summary", "tbody", "tfoot", "thead"}
)
SKIPPED = frozenset({"head", "iframe", "mx-reply", "object", "script", "style", "template"})
"""Elements whose content is dropped."""
ELEMENTS = frozenset(
    {"a", "blockquote", "br", "caption", "center", "col", "dd", "div", "dl", "dt", "head", "hr"}
    | {"img", "input", "li", "link", "meta", "ol", "option", "pre", "span", "sub", "sup", "tbody"}
    | {"td", "tfoot", "th", "thead", "tr", "ul", "wbr"}
    | {"audio", "colgroup", "optgroup", "rp", "rt", "video"}
    | (_BARE | _PARAGRAPHS)
)
"""Elements that may lack an end tag, or often do; other words in angle brackets were typed, unless
they end: `<your name>`, `<Del>`, `<script>`, `<mei@example.org>`, `<https://example.org/>`."""
_MARKS = {
    **dict.fromkeys(("del", "s", "strike"), ("~~", "~~")),
    "sup": ("^", ""),  # otherwise ten squared would read 102
    "sub": ("_", ""),
}
"""Text inserted before and after an element's content."""
_READINGS = 4
"""Maximum times that a fragment's tags are read, if they contain each other."""
_READ = 500
"""Maximum characters of a tag that are read to see whether it was typed: with all 12 MB of one,
that stopped all rooms for ten seconds."""
_LINKS = ("http://", "https://", "mailto:", "ftp://", "tel:", "geo:", "magnet:")
_SCHEME = re.compile(r"https?://|mailto:|tel:")


class _Absurd(Exception): ...


def html_to_text(html: str) -> str | None:
    """Return the text of an HTML fragment; None if it exceeds the limits."""
    body = parse(html)
    if body is None:
        return None
    writer = _Writer(0)
    try:
        writer.children(body)
    except _Absurd:
        return None
    return OVERRIDES.sub("", "\n".join(writer.finish()))


def as_markup(fragment: str) -> str:
    """Return a fragment as HTML for embedding: plain text is escaped, with <br> for line breaks.

    A fragment that contains an element already is returned unchanged.
    """
    if _MARKUP.search(fragment):
        return fragment
    return _LINE.sub("<br>", escape(unescaped(fragment), quote=False))


def unescaped(fragment: str) -> str:
    """Return a fragment without any element as text; what follows MAX_DECODED as it is."""
    rest = fragment[MAX_DECODED:]
    return unescape(_PARAMETER.sub("&amp;", fragment[:MAX_DECODED])) + rest


def parse(html: str, longest: int = MAX_LENGTH) -> LexborNode | None:
    """Parse a fragment and return its `body`; None if it exceeds the limits."""
    if len(html) > longest or html.count("<") > MAX_TAGS:
        return None
    # A lone surrogate cannot be encoded, and the parser takes UTF-8.
    clean = _PARAMETER.sub("&amp;", html.encode("utf-8", "replace").decode(), MAX_DECODED)
    if "<![CDATA[" in clean:  # in HTML a comment, with the words of an XML card in it
        clean = clean.replace("<![CDATA[", "").replace("]]>", "")
    clean = _NO_TAG.sub("&lt;", clean)
    unfinished = clean.rfind("<")
    if unfinished > clean.rfind(">"):
        # "a <b": the parser would drop an unclosed tag with all that follows, so it is escaped.
        clean = f"{clean[:unfinished]}&lt;{clean[unfinished + 1 :]}"
    tame = _tame(clean)
    if tame is None:
        return None
    # Without <body>, a leading <script> or <style> would be moved into the document's head.
    body = LexborHTMLParser(f"<body>{tame}").body
    too_many = body is not None and any(islice(body.traverse(), MAX_OUTPUT // _ELEMENT, None))
    return None if too_many else body


def ended(html: str) -> set[str]:
    """Return the names of the elements that have an end tag."""
    return {name.lower() for name in _END.findall(html)}


def _tame(html: str) -> str | None:
    """Remove the attributes of `_BARE` elements, and escape words that were typed, which would
    vanish: `<your name>`, `a<b && c>d`. None for a tag with too many attributes.

    A parser opens unclosed formatting elements again in each later paragraph: `n` of them, and `n`
    paragraphs, make n² elements. Of equal ones it opens no more than three again (HTML standard,
    "the list of active formatting elements"), and without attributes they are equal. Of links it
    opens only the last one again, but with its address: one that would be too long becomes bare.
    """
    parts: list[str] = []
    start = at = spent = 0
    longest_link = MAX_OUTPUT // max(1, html.count("<"))
    ends = ended(html)
    while (at := html.find("<", at)) >= 0:
        tag = _TAG.match(html, at)
        if tag is None:
            at += 1
            continue
        # What begins within another tag is read as well: which of them is a tag depends on more.
        spent += tag.end() - at
        if spent > _READINGS * len(html) or _ONE_MORE.match(html, tag.end()):
            return None
        at += 1
        name, size = tag[1].lower(), tag.end() - tag.end(1)
        inside = tag.end(1), tag.end(1) + min(size, _READ)
        element = name in ends and not (name in _BARE or name == "a")
        placeholder = name == "a" and size  # <a title>: a link would have an address
        bare = name in ELEMENTS and not placeholder and _SWITCHES.fullmatch(html, *inside)
        word = not (element or bare)
        alone = not size and html.startswith("/>", tag.end())
        if word and name[0] != "/" and not (alone or _is_given(name, html[slice(*inside)])):
            parts.append(f"{html[start : at - 1]}&lt;")
            start = at
        elif size and (name in _BARE or (name == "a" and size > longest_link)):
            parts.append(html[start : tag.end(1)])
            start = at = tag.end()
    return "".join((*parts, html[start:]))


def _is_given(name: str, attributes: str) -> bool:
    """Return whether a tag with these attributes is one, and not a typed comparison."""
    given = _GIVEN.search(attributes)
    if given is None or (given[1] and name not in ELEMENTS):  # template<class T = int>
        return False
    at = 0
    while attribute := _ONE_MORE.match(attributes, at):
        if _ALONE.fullmatch(attribute[0]) and not _SWITCHES.fullmatch(attribute[0]):
            return False
        at = attribute.end()
    return True


def _address(link: str) -> str:
    """Return a link in a form that is the same as typed and as a client makes it an address."""
    return unquote(_SCHEME.sub("", link, count=1)).rstrip("/")


class _Writer:
    """Builder of text lines. Quotes, list items, table cells and links get nested writers."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._indented = 0
        self._lines: list[str] = []
        self._current: list[str] = []

    def finish(self) -> list[str]:
        """Return the lines without leading and trailing empty ones."""
        self._end_line()
        full = [at for at, line in enumerate(self._lines) if line.strip()]
        return self._lines[full[0] : full[-1] + 1] if full else []

    def children(self, node: LexborNode) -> None:
        self._depth += 1
        for child in node.iter(include_text=True):
            self._visit(child)
        self._depth -= 1

    def _visit(self, node: LexborNode) -> None:
        if self._depth > MAX_DEPTH:
            raise _Absurd
        tag = node.tag or ""
        if tag == "-text":
            self._current.append(_SPACE.sub(" ", node.text_content or ""))
        elif tag.startswith("-") or tag in SKIPPED:
            return
        elif tag in _BLOCKS or tag in _PARAGRAPHS:
            edge = self._end_line if tag in _BLOCKS else self._gap
            edge()
            self.children(node)
            edge()
        elif tag in {"ul", "ol"}:
            self._list(node)
        elif tag == "blockquote":
            self._gap()
            self._append(f"> {line}".rstrip() for line in self._inside(node))
            self._gap()
        elif tag == "pre":
            self._append(node.text().rstrip("\n").split("\n"))
        elif tag == "tr":
            cells = (child for child in node.iter() if child.tag in {"td", "th"})
            self._append([" | ".join(" ".join(self._inside(cell)) for cell in cells)])
        else:
            self._inline(tag, node)

    def _inline(self, tag: str, node: LexborNode) -> None:
        match tag:
            case "br":
                self._end_line(keep_empty=True)
            case "hr":
                self._append(["---"])
            case "a":
                self._link(node)
            case "img":
                attributes = node.attributes
                self._current.append(attributes.get("alt") or attributes.get("title") or "")
            case "code":
                self._current.append(f"`{node.text()}`")
            case "span" if "data-mx-maths" in node.attributes:
                self._current.append(node.attributes["data-mx-maths"] or "")
            case _:
                before, after = _MARKS.get(tag, ("", ""))
                if tag == "span" and "data-mx-spoiler" in node.attributes:
                    # As users type it: || at both ends, and the reason before it.
                    reason = node.attributes["data-mx-spoiler"]
                    before, after = f"({reason}) ||" if reason else "||", "||"
                self._current.append(before)
                self.children(node)
                self._current.append(after)

    def _link(self, node: LexborNode) -> None:
        text = " ".join(self._inside(node)).strip()
        href = (node.attributes.get("href") or "").strip()
        if not href.lower().startswith(_LINKS) or href.startswith("https://matrix.to/#/"):
            # A mention is a link to matrix.to; keep only the name, as the customer saw it.
            href = ""
        plain = not href or not text or _address(text) == _address(href)
        self._current.append((text or href) if plain else f"{text} ({href})")

    def _list(self, node: LexborNode) -> None:
        self._end_line()
        start = node.attributes.get("start") or "1"
        number = int(start) if start.isascii() and start.isdigit() and len(start) < 7 else 1
        for child in node.iter(include_text=True):
            if child.tag == "li":
                marker = f"{number}. " if node.tag == "ol" else "- "
                number += 1
                pad = " " * len(marker)
                lines = self._inside(child) or [""]
                self._append(
                    ((pad if at else marker) + line).rstrip() for at, line in enumerate(lines)
                )
            elif child.tag in {"ul", "ol"}:
                self._append(f"  {line}" for line in self._inside(child, itself=True))
            else:
                self._visit(child)
        self._end_line()

    def _inside(self, node: LexborNode, *, itself: bool = False) -> list[str]:
        """Return the lines of a node's children (or of the node `itself`) from a nested writer."""
        writer = _Writer(self._depth + 1)
        if itself:
            writer._visit(node)
        else:
            writer.children(node)
        lines = writer.finish()
        self._indented += writer._indented + len(lines)
        if self._indented > MAX_INDENTED:
            raise _Absurd
        return lines

    def _append(self, lines: Iterable[str]) -> None:
        self._end_line()
        self._lines.extend(lines)

    def _gap(self) -> None:
        """Add an empty line, unless there is one already or nothing precedes it."""
        self._end_line()
        if self._lines and self._lines[-1]:
            self._lines.append("")

    def _end_line(self, *, keep_empty: bool = False) -> None:
        line = _SPACE.sub(" ", "".join(self._current)).strip(" ")
        self._current.clear()
        if line.strip() or keep_empty:  # editors fill empty lines with no-break spaces
            self._lines.append(line)


# --- word-by-word difference ----------------------------------------------------------------------

MAX_PIECES = 160
"""Maximum words and spaces between first and last change: the comparison takes cubic time."""

_LETTERS = r"[^\W_\u2e80-\U0003ffff]+"
_WORD = re.compile(rf"{_LETTERS}(?:[.,:'’_-]{_LETTERS})*|\s+|.", re.DOTALL)
"""An alphabetic word or number, spaces, or one other character (Chinese has no spaces)."""
_NEAR = 3
"""Maximum pieces between two changes that are joined into one."""
_CONTEXT = 20
"""Maximum pieces between a change and the word that is shown with it."""


def differences(old: str, new: str) -> list[tuple[str, str]]:
    """Return the word-by-word difference of two texts; empty if the new text is shorter to show.

    Each (old, new) pair includes the word before and after the change as context.
    """
    before, after = _WORD.findall(old), _WORD.findall(new)
    start = _common(before, after)
    middle, new_middle = before[start:], after[start:]
    end = _common(middle[::-1], new_middle[::-1])
    middle, new_middle = middle[: len(middle) - end], new_middle[: len(new_middle) - end]
    if max(len(middle), len(new_middle)) > MAX_PIECES:
        return []
    found = [
        (_around(before, start + low, start + high), _around(after, start + to, start + upto))
        for low, high, to, upto in _places(middle, new_middle)
    ]
    length = sum(len(one) + len(other) + 4 for one, other in found)
    return found if length < len(new) else []


def _common(one: list[str], other: list[str]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _places(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """Return the differing ranges of old and new pieces, with neighbouring ones joined."""
    joined: list[tuple[int, int, int, int]] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, low, high, new_low, new_high in matcher.get_opcodes():
        if tag == "equal":
            continue
        near = joined and low - joined[-1][1] <= _NEAR
        first, _, new_first, _ = joined.pop() if near else (low, high, new_low, new_high)
        joined.append((first, high, new_first, new_high))
    return joined


def _around(pieces: Sequence[str], low: int, high: int) -> str:
    """Return the pieces from `low` to `high` with one word of context on either side, if the line
    has one.
    """
    before = range(low - 1, max(0, low - _CONTEXT) - 1, -1)
    after = range(high, min(len(pieces), high + _CONTEXT))
    near = [takewhile(lambda at: "\n" not in pieces[at], places) for places in (before, after)]
    low = next((at for at in near[0] if _is_word(pieces[at])), low)
    high = next((at + 1 for at in near[1] if _is_word(pieces[at])), high)
    return "".join(pieces[low:high]).strip()


def _is_word(piece: str) -> bool:
    return any(map(str.isalnum, piece))
