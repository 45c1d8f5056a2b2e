"""An agent's fragment in the order in which it is read: texts, and the pictures between them. Pure.

Matrix clients show no pictures inside a text that are not on the homeserver, so each picture
becomes a message of its own. Where a text is cut, the elements around the cut are closed and opened
again. Tables and lists are not cut: their pictures follow them, and a sign stands in their place.
"""

from __future__ import annotations

import html as html_text
import re
from collections.abc import Callable

from selectolax.lexbor import LexborNode

from bridge.media.plaintext import MAX_DEPTH, SKIPPED, parse
from bridge.rooms.ports import RelayedText
from bridge.webchat import emoji
from bridge.webchat.content import locate
from bridge.webchat.frames import AgentMedia

MAX_LENGTH = 64 * 1024 * 1024
"""Characters. A picture may stand in the text itself, as base64."""
MAX_PICTURES = 20
"""Of one fragment; more of them stay links."""
PICTURE = "🖼"
"""Stands for a picture that follows."""

EMBEDDED = "▶"
"""Stands for what is in the text itself and cannot be shown."""
_LONGEST = 2_000
"""Characters of an address."""

_EMBEDDED = "video, audio, iframe, embed, object"
_WHOLE = frozenset({"table", "ul", "ol", "pre"})
_VOID = frozenset({"br", "hr", "img", "wbr", "input", "col"})
_KEPT_ATTRIBUTES = ("href", "start", "class", "alt", "title", "src")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)

Piece = RelayedText | AgentMedia


def pieces(fragment: str, absolute: Callable[[str], str]) -> tuple[Piece, ...]:
    """Take the pictures out of a fragment, and have its links lead where they lead at the desk.

    Args:
        fragment: as it came.
        absolute: makes an address absolute, as the WebChat server means it.

    Returns:
        The fragment alone if it holds no picture (or is too big or too deep to look into); else its
        texts, and its pictures as data or addresses, none of them blank.
    """
    if "<" not in fragment:
        return (RelayedText(fragment),)  # nothing to look for: most of what agents write
    # As a parser would, but before it: eleven codes of the desk's emoji look like markup.
    root = parse(emoji.decode(fragment), MAX_LENGTH)
    if root is None:
        return (RelayedText(fragment),)
    linked = _link_embedded(root)
    if _resolve(root, absolute) or linked:
        fragment = (root.html or "").removeprefix("<body>").removesuffix("</body>")
    if not any(picture_of(image) for image in root.css("img")):
        return (RelayedText(fragment),)
    cutter = _Cutter()
    try:
        cutter.children(root)
    except _TooDeep:
        return (RelayedText(fragment),)
    return tuple(cutter.finish()) or (RelayedText(fragment),)


def picture_of(image: LexborNode) -> AgentMedia | None:
    """The picture that an `img` shows; None for an emoji, and for what cannot be fetched."""
    attributes = image.attributes
    if any(name.startswith("qqemoji") for name in (attributes.get("class") or "").split()):
        return None
    source = (attributes.get("src") or "").strip()
    if source.startswith("//"):
        source = f"https:{source}"
    scheme = _SCHEME.match(source)
    if scheme is not None and scheme[1].lower() not in {"http", "https", "data"}:
        return None
    found = locate(source)
    if found is None:
        return None
    data, url = found
    name = (attributes.get("alt") or attributes.get("title") or "").strip()
    return AgentMedia("image", data=data, url=url, name=name)


def _link_embedded(root: LexborNode) -> bool:
    """Put a link in the place of what no client shows inside a text; True if there was any."""
    changed = False
    for node in root.css(_EMBEDDED):
        sources = (node, *node.css("source"))
        found = (one.attributes.get("src") or one.attributes.get("data") for one in sources)
        address = html_text.escape(next(filter(None, found), "").strip())
        link = parse(f'<a href="{address}">{address}</a>' if len(address) <= _LONGEST else EMBEDDED)
        if address and link is not None and link.first_child is not None:
            node.replace_with(link.first_child)
            changed = True
    return changed


def _resolve(root: LexborNode, absolute: Callable[[str], str]) -> bool:
    """Make relative links absolute; True if there was one."""
    changed = False
    for link in root.css("a[href]"):
        address = (link.attributes.get("href") or "").strip()
        if not address or address.startswith("#") or _SCHEME.match(address):
            continue
        if address.lower().startswith("www."):  # meant as a host, whatever the standard says
            link.attrs["href"] = f"https://{address}"
        else:
            link.attrs["href"] = absolute(address)
        changed = True
    return changed


class _TooDeep(Exception):
    """Nested further than any honest text."""


class _Cutter:
    """Writes a tree down again, in pieces."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._text: list[str] = []
        self._says_something = False
        self._open: list[tuple[str, str]] = []
        """Names and opening tags of the elements that we are in."""
        self._whole = 0
        self._later: list[AgentMedia] = []
        self._count = 0

    def finish(self) -> list[Piece]:
        """All pieces."""
        self._cut()
        return self._pieces

    def children(self, node: LexborNode) -> None:
        child = node.first_child
        while child is not None:
            self._visit(child)
            child = child.next

    def _visit(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "-text":
            text = node.text_content or ""
            self._says_something = self._says_something or bool(text.strip())
            self._text.append(html_text.escape(text, quote=False))
        elif tag.startswith("-") or tag in SKIPPED:
            return
        elif tag == "img":
            self._image(node)
        elif tag in _VOID:
            self._text.append(f"<{tag}>")
        else:
            self._element(tag, node)

    def _element(self, tag: str, node: LexborNode) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _TooDeep
        opening = _opening(tag, node)
        self._text.append(opening)
        self._open.append((tag, opening))
        self._whole += tag in _WHOLE
        self.children(node)
        if tag == "a" and not node.text().strip():
            # A picture was all of the link: where it led stays.
            self._text.append(html_text.escape(node.attributes.get("href") or ""))
            self._says_something = True
        self._whole -= tag in _WHOLE
        self._open.pop()
        self._text.append(f"</{tag}>")
        if not self._whole and self._later:
            self._cut()
            self._pieces += self._later
            self._later.clear()

    def _image(self, node: LexborNode) -> None:
        picture = picture_of(node)
        if picture is None or self._count >= MAX_PICTURES:
            self._text.append(_opening("img", node))
            self._says_something = True
            return
        self._count += 1
        if self._whole:
            self._text.append(PICTURE)
            self._says_something = True
            self._later.append(picture)
        else:
            self._cut()
            self._pieces.append(picture)

    def _cut(self) -> None:
        """End one text and begin the next inside the same elements."""
        closing = [f"</{tag}>" for tag, _ in reversed(self._open)]
        if self._says_something:
            self._pieces.append(RelayedText("".join([*self._text, *closing])))
        self._text = [opening for _, opening in self._open]
        self._says_something = False


def _opening(tag: str, node: LexborNode) -> str:
    attributes = node.attributes
    kept = "".join(
        f' {name}="{html_text.escape(attributes.get(name) or "")}"'
        for name in _KEPT_ATTRIBUTES
        if attributes.get(name)
    )
    return f"<{tag}{kept}>"
