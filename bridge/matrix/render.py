"""Rendering of notices and agents' messages as contents of Matrix events. Pure.

Every content has `m.mentions`, empty unless it must ping, to prevent accidental mentions (Matrix
specification, "User and room mentions"). Polls use MSC3381's unstable form, which clients read.

An agent's text is an untrusted HTML fragment: it is sanitised here, and nothing in it may load
remote content. Matrix clients show inline pictures only from the homeserver, so each becomes a
message of its own (`pieces`). Elements around such a cut are closed and opened again; tables and
lists are not cut, their pictures follow them.
"""

from __future__ import annotations

import html as html_text
import re
from collections.abc import Callable, Collection

import nh3
from selectolax.lexbor import LexborNode

from bridge.conversation.model import Reported
from bridge.ids import EventId, UserId
from bridge.matrix.client import Spooled
from bridge.media.places import Place, datum_of, from_datum, geo_uri, map_link
from bridge.media.plaintext import (
    MAX_DEPTH,
    MAX_TAGS,
    OVERRIDES,
    SKIPPED,
    ended,
    html_to_text,
    parse,
    unescaped,
)
from bridge.rooms.ports import EditableNotice, NoticeText, Poll, Status
from bridge.rooms.record import Thread
from bridge.webchat.frames import AgentLocation, AgentMedia, AgentText
from bridge.webchat.read import locate
from bridge.webchat.words import decode_emoji, frame_bytes, qqemoji, split_text

Content = dict[str, object]

HTML_FORMAT = "org.matrix.custom.html"
POLL_START = "org.matrix.msc3381.poll.start"
WIDGET = "im.vector.modular.widgets"
"""State event type of a widget (MSC1236), supported by all clients with widgets."""
PANEL = "org.matrix_webchat.panel"
"""State key and id of the bridge's widget, the room page."""
MAX_BODY = 24_000
"""Maximum bytes of one body as JSON, where a control character takes six."""
MAX_FORMATTED = 40_000
"""Maximum bytes of body and HTML together as JSON. An event may have 65,536 (specification, "Size
limits"), and encryption adds a third."""

MAX_TEXT = 500_000
"""Maximum characters of an agent's text, without the pictures in it; the rest is cut. Such a text
makes 20 events already, and a frame of 16 MiB would make 700."""

_PLAIN_TEXT = "org.matrix.msc1767.text"
_TAGS = frozenset(
    {"a", "b", "blockquote", "br", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"hr", "i", "li", "ol", "p", "pre", "s", "strong", "sub", "sup", "table", "tbody", "td"}
    | {"th", "thead", "tr", "u", "ul"}
)
_BLOCK = re.compile(
    "<(/?)(?:address|article|aside|button|center|d[dlt]|des|desc|details|fieldset|figcaption|figure"
    "|footer|form|header|legend|main|nav|option|section|summary|text|title)(?=[ >])"
)
"""Block that clients do not know, or of an XML card: without it, its words would join those before
and behind it, or be taken for a part of a drawing."""
_RAW = frozenset({"iframe", "noembed", "noframes", "noscript", "plaintext", "template", "xmp"})
_UNKNOWN = re.compile(
    f"<(/?)(?!(?:{'|'.join(_TAGS | _RAW | {'script', 'style'})})[ >])[a-zA-Z][^ >]*"
)
"""Other element, but of `_RAW` content: that of formulas, drawings and cards (`view`, `line`) the
sanitiser would remove with its words."""
_LAYOUT = frozenset({"br", "div", "p"})
"""Tags that plain text can express: alone they do not require a formatted body."""
_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
_LABELLED = re.compile(r'^(.+)\n(https://matrix\.to/#/[^\s"/]+/\$[^\s"]+)$', re.MULTILINE)
"""A label line followed by a matrix.to link to an event."""
_NOTHING = "…"
"""Placeholder for an empty text, as a body must not be empty."""


def notice_content(notice: NoticeText) -> Content:
    """Render a notice: as m.notice, which is silent, or as m.text if it must ping.

    The line above a link to an event becomes its label: Element shows only "Message from Ada".
    """
    text = _never_empty(notice.text)
    content = _text(text, "m.text" if notice.ping else "m.notice", notice.mentions)
    html, labels = _LABELLED.subn(r'<a href="\2">\1</a>', html_text.escape(text, quote=False))
    if labels:
        content |= {"format": HTML_FORMAT, "formatted_body": html.replace("\n", "<br>")}
    if notice.reply_to is not None:
        content["m.relates_to"] = _reply(notice.reply_to, notice.thread)
    return content


def editable_content(notice: EditableNotice) -> Content:
    """Render a notice that is edited in place, with HTML in every version.

    Element 1.11 recreates the text nodes of a plain body with links or line breaks and loses track
    of them: after the next edit it shows stale text or "Can't load this message". It replaces HTML
    as a whole.
    """
    text = _never_empty(notice.text)
    html = as_html(text)
    content = _text(text, "m.text" if notice.mentions else "m.notice", notice.mentions)
    content |= {"format": HTML_FORMAT, "formatted_body": html}
    if notice.edits is None:
        return content
    return content | {
        "body": f"* {text}",
        "formatted_body": f"* {html}",
        "m.new_content": content,
        "m.relates_to": {"rel_type": "m.replace", "event_id": notice.edits},
    }


def as_html(text: str) -> str:
    return html_text.escape(text, quote=False).replace("\n", "<br>")


def in_thread(content: Content, thread: Thread) -> Content:
    """Put a message into a thread; to clients without threads it replies to the latest message."""
    return content | {"m.relates_to": _reply(thread.latest, thread.root, fallback=True)}


def _reply(event_id: EventId, root: EventId | None, *, fallback: bool = False) -> Content:
    relation: Content = {"m.in_reply_to": {"event_id": event_id}}
    if root is not None:
        relation |= {"rel_type": "m.thread", "event_id": root, "is_falling_back": fallback}
    return relation


def text_contents(fragment: str) -> list[Content]:
    """Render an agent's text as one or more messages (almost always one)."""
    if len(fragment) > MAX_TEXT:
        fragment = f"{fragment[:MAX_TEXT]}{_NOTHING}"
    body, formatted = clean(fragment)
    parts = [part.strip() for part in split_text(body, MAX_BODY)]
    contents = [_text(part) for part in parts]
    if len(parts) == 1 and formatted and frame_bytes(body + formatted) <= MAX_FORMATTED:
        contents[0] |= {"format": HTML_FORMAT, "formatted_body": formatted}
    return contents


def location_content(location: AgentLocation) -> Content:
    """Render a location: name, map link and WGS-84 coordinates; as text if not on earth."""
    shown = Place(location.latitude, location.longitude)
    poi = " ".join(_sane(location.poi).split())
    if not shown.on_earth:
        where = f"({location.latitude:.6f}, {location.longitude:.6f})"
        return _text(" ".join(filter(None, ("📍", poi, where))))
    place = from_datum(shown, datum_of(location.map))
    uri = geo_uri(place)
    about: Content = {"uri": uri}
    if poi:
        about["description"] = poi
    body = f"{' '.join(filter(None, ('📍', poi)))}\n{map_link(place)}"
    return _text(body) | {
        "msgtype": "m.location",
        "geo_uri": uri,
        "org.matrix.msc3488.location": about,
        "org.matrix.msc3488.asset": {"type": "m.pin"},
        _PLAIN_TEXT: body,
    }


def spoken_for(name: str, content: Content) -> Content:
    """Add the agent's name to a content that the host sends, as the ghost may not enter the room.

    A file gets it as its caption (MSC2530), any other content before its body: "Name: text".
    """
    body = str(content.get("body", ""))
    plain, bold = f"{name}: ", f"<strong>{html_text.escape(name)}:</strong> "
    if "filename" in content:
        return content | {"body": plain.strip()}
    spoken = content | {"body": plain + body}
    formatted = content.get("formatted_body")
    if isinstance(formatted, str):
        return spoken | {"formatted_body": bold + formatted}
    if content.get("msgtype") != "m.text":
        return spoken
    lines = as_html(body)
    if frame_bytes(body + lines) > MAX_FORMATTED:
        return spoken  # body and HTML would exceed the size limit of an event
    return spoken | {"format": HTML_FORMAT, "formatted_body": bold + lines}


def poll_content(poll: Poll) -> Content:
    """Render a `POLL_START` event; clients without polls show its text or body.

    By its `msgtype` it is a notice for push rules: those for polls (MSC3930) would ring for it.
    """
    question: Content = {_PLAIN_TEXT: poll.question, "body": poll.question, "msgtype": "m.text"}
    return {
        _PLAIN_TEXT: poll.text,
        "body": poll.text,
        "msgtype": "m.notice",
        POLL_START: {
            "kind": "org.matrix.msc3381.poll.disclosed",
            "max_selections": 1,
            "question": question,
            "answers": [{"id": name, _PLAIN_TEXT: answer} for name, answer in poll.answers],
        },
        "m.mentions": {},
    }


def reaction_content(target: EventId, sign: str) -> Content:
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": target, "key": sign}}


STATUS = "com.beeper.message_send_status"


def status_content(status: Status) -> Content:
    relation = {"rel_type": "m.reference", "event_id": status.event_id}
    content: Content = {"m.relates_to": relation, "network": status.network, "m.mentions": {}}
    content["status"] = "SUCCESS"
    if status.why:
        content["status"] = "FAIL_RETRIABLE" if status.again else "FAIL_PERMANENT"
        content |= {"reason": "m.event_not_handled", "error": status.why}
    return content


def panel_content(host: UserId, url: str, name: str) -> Content:
    """Render a `WIDGET` event; clients replace the $ variables in its URL."""
    fill = (
        "room=$matrix_room_id&lang=$org.matrix.msc2873.client_language"
        "&theme=$org.matrix.msc2873.client_theme"
    )
    return {
        "id": PANEL,
        "type": "m.custom",
        "name": name,
        "url": f"{url}?{fill}",
        "creatorUserId": host,
        "waitForIframeLoad": True,
        "data": {"title": name},
    }


def declined(report: Reported) -> tuple[str, Content] | None:
    """Return type and content of the event that declines a verification, or a call that rings.

    A call of two has an id (specification, "Voice over IP"); MatrixRTC's has a notification, to
    which the event refers (MSC4310).
    """
    relation = {"rel_type": "m.reference", "event_id": report.event_id}
    content: Content = {"m.mentions": {}, "m.relates_to": relation}
    if report.key == "unreadable.verification":
        why: Content = {"code": "m.user", "reason": "Nobody compares emoji."}
        return "m.key.verification.cancel", content | why
    if "call" in report.args:
        ids: Content = {"call_id": report.args["call"], "party_id": "webchat", "version": "1"}
        return "m.call.reject", {"m.mentions": {}} | ids
    return ("org.matrix.msc4310.rtc.decline", content) if "rings" in report.args else None


def media_content(kind: str, file: Spooled, where: Content) -> Content:
    """Render a file, by its sniffed media type rather than the `kind` given by the call centre.

    `where` is its address as `url`, or the field `file` if it is encrypted.
    """
    msgtype = _msgtype(kind, file)
    info: Content = {"mimetype": file.mime, "size": file.size}
    if msgtype in {"m.image", "m.video"} and file.dimensions is not None:
        info["w"], info["h"] = file.dimensions
    if file.seconds is not None and msgtype in {"m.audio", "m.video"}:
        info["duration"] = round(file.seconds * 1000)
    content = {"msgtype": msgtype, "body": file.name, "filename": file.name, **where, "info": info}
    content["m.mentions"] = {}
    if file.waveform is not None:
        # A voice message (MSC3245, waveform of MSC1767).
        sound = {"duration": info.get("duration", 0), "waveform": list(file.waveform)}
        content |= {"org.matrix.msc3245.voice": {}, "org.matrix.msc1767.audio": sound}
    return content


def captioned(content: Content, caption: str) -> Content:
    """Add a caption to a file (specification, "Media captions")."""
    return content | {"body": caption}


def _msgtype(kind: str, file: Spooled) -> str:
    if file.mime.startswith("image/") and file.dimensions is not None:
        return "m.image"
    if kind == "voice" and file.waveform is None:
        return "m.file"  # a client's player could not play it
    if file.mime.startswith("audio/"):
        return "m.audio"
    return "m.video" if file.mime.startswith("video/") else "m.file"


# --- an agent's text ------------------------------------------------------------------------------


def clean(fragment: str) -> tuple[str, str]:
    """Return the plain text of an agent's fragment, and safe HTML if that says more, else "".

    A fragment without any element is plain text: its line breaks and any `<` are literal.
    """
    decoded = decode_emoji(_sane(fragment))
    # Most fragments have no `<` and need no parser. One that is too big or too dense to convert is
    # shown as it was written.
    root = parse(decoded) if "<" in decoded else None
    # The parser's limit is the sanitiser's, too: its time grows with the square of the elements.
    tags = {node.tag for node in root.css("*")} - {"body"} if root is not None else set()
    if root is None or not (tags or "<!-" in decoded):  # <!--StartFragment--> of a clipboard
        return _never_empty(unescaped(decoded) if "&" in decoded else decoded), ""
    for image in root.css("img"):
        _replace_image(image)
    inner = _inner_html(root).replace("<strike>", "<s>").replace("</strike>", "</s>")
    if not tags & {"br", "p", "div", "li", "pre", "table"}:
        # Without block elements, line breaks were typed and must be kept.
        inner = inner.replace("\r\n", "\n").replace("\n", "<br>")
    safe = nh3.clean(
        OVERRIDES.sub("", _UNKNOWN.sub(r"<\1span", _BLOCK.sub(r"<\1div", inner))),
        tags=set(_TAGS),
        # "*": without it nh3 keeps `title` and `lang` on all elements.
        attributes={"a": {"href"}, "ol": {"start"}, "*": set()},
        url_schemes=set(_SCHEMES),
        url_relative="deny",
        link_rel=None,
    ).strip()
    body = html_to_text(safe)
    if body is None:
        return _never_empty(unescaped(decoded)), ""
    kept = {tag for tag in tags & _TAGS if f"<{tag}" in safe} | tags & {"strike"}
    return body or _NOTHING, safe if body and kept - _LAYOUT else ""


def _replace_image(image: LexborNode) -> None:
    """Replace an `img` by a character, a link or its alternative text.

    An emoji of the agent's desk is `<img class="qqemoji qqemojiN">` (reference 3.9).
    """
    attributes = image.attributes
    for name in (attributes.get("class") or "").split():
        index = name.removeprefix("qqemoji")
        if name.startswith("qqemoji") and index.isascii() and index.isdigit() and len(index) < 5:
            image.replace_with(qqemoji(int(index)) or attributes.get("alt") or "□")
            return
    source = (attributes.get("src") or "").strip()
    alternative = (attributes.get("alt") or attributes.get("title") or "").strip()
    shown = [alternative, source if source.startswith(("http://", "https://")) else ""]
    image.replace_with(" ".join(filter(None, shown)) or "🖼")


def _text(body: str, kind: str = "m.text", mentions: tuple[UserId, ...] = ()) -> Content:
    meant = {"user_ids": list(mentions)} if mentions else {}
    return {"msgtype": kind, "body": body, "m.mentions": meant}


def _never_empty(text: str) -> str:
    return _sane(text).strip() or _NOTHING


def _sane(text: str) -> str:
    """Replace lone surrogates; remove NUL, which no homeserver stores, and overrides."""
    return OVERRIDES.sub("", text.encode("utf-8", "replace").decode("utf-8"))


# --- splitting an agent's fragment into texts and pictures ----------------------------------------

MAX_FRAGMENT = 64 * 1024 * 1024
"""Maximum characters; large, as a picture may be embedded as base64."""
MAX_PICTURES = 20
"""Maximum pictures per fragment; further ones become links."""
PICTURE = "🖼"
"""Placeholder for a picture that follows as a message of its own."""

EMBEDDED = "▶"
"""Placeholder for an embedded player whose address is too long for a link, such as a data URI."""
_MAX_ADDRESS = 2_000

_EMBEDDED = "video, audio, iframe, embed, object"
_UNREAD = SKIPPED | {"-comment"}
_WHOLE = frozenset({"table", "ul", "ol", "pre"})
"""Elements that are not cut."""
_KEPT_ATTRIBUTES = ("href", "start")
_CUT = "\ufdd0"
"""Marks where a fragment is cut: a Unicode noncharacter, so no text contains it."""
_ELEMENT = re.compile(r"<[^<>]*>")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)

Piece = AgentText | AgentMedia


def pieces(fragment: str, absolute: Callable[[str], str]) -> tuple[Piece, ...]:
    """Split a fragment into texts and pictures, in order, making its links absolute.

    Returns the fragment alone if it has no picture, or is too big or too deep to parse; otherwise
    its pictures and its texts that are not blank.
    """
    # True of most fragments; one with too many tags is not parsed, and so not decoded either.
    if not 0 < fragment.count("<") <= MAX_TAGS:
        return (AgentText(fragment),)
    # Before parsing, as eleven of the desk's emoji codes look like markup.
    root = parse(decode_emoji(fragment.replace(_CUT, "")), MAX_FRAGMENT)
    if root is None:
        return (AgentText(fragment),)
    linked = _link_embedded(root, ended(fragment))
    if _resolve(root, absolute) or linked:
        fragment = _inner_html(root)
    for node in reversed([node for node in root.traverse() if node.tag in _UNREAD]):
        node.decompose()  # innermost first: decomposing an outer one frees those inside it
    pictures = [(image, picture) for image in root.css("img") if (picture := picture_of(image))]
    return tuple(_divided(root, pictures)) or (AgentText(fragment),)


def _divided(root: LexborNode, pictures: list[tuple[LexborNode, AgentMedia]]) -> list[Piece]:
    """Cut a fragment at its pictures; none if it has none, or an element is too deep."""
    if not pictures:
        return []
    cuts: list[list[LexborNode]] = []
    for image, _ in pictures[:MAX_PICTURES]:
        around = _ancestors(image)
        if len(around) > MAX_DEPTH:
            return []
        depth = next((at for at, node in enumerate(around) if node.tag in _WHOLE), len(around))
        if depth == len(around):
            image.replace_with(_CUT)
        else:
            image.replace_with(PICTURE)
            around[depth].insert_after(_CUT)
        cuts.append(around[:depth])
    found: list[Piece] = []
    opened = ""
    for at, text in enumerate(_inner_html(root).split(_CUT)):
        around = cuts[at] if at < len(cuts) else []
        whole = opened + text + "".join(f"</{node.tag}>" for node in reversed(around))
        if "<img" in text or html_text.unescape(_ELEMENT.sub("", text)).strip():
            found.append(AgentText(whole))
        if at < len(cuts):
            found.append(pictures[at][1])
        opened = "".join(map(_opening, around))
    return found


def _inner_html(root: LexborNode) -> str:
    return (root.html or "").removeprefix("<body>").removesuffix("</body>")


def _ancestors(node: LexborNode) -> list[LexborNode]:
    """Return the ancestors of a node, outermost first, without the `body`."""
    found: list[LexborNode] = []
    parent = node.parent
    while parent is not None and parent.tag != "body":
        found.insert(0, parent)
        parent = parent.parent
    return found


def _opening(node: LexborNode) -> str:
    """Return the start tag that reopens an element after a cut."""
    kept = "".join(
        f' {name}="{html_text.escape(value)}"'
        for name, value in node.attributes.items()
        if value and name in _KEPT_ATTRIBUTES and len(value) <= _MAX_ADDRESS
    )
    return f"<{node.tag}{kept}>"


def picture_of(image: LexborNode) -> AgentMedia | None:
    """Return the picture of an `img`; None for an emoji or an address that cannot be fetched."""
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


def _link_embedded(root: LexborNode, ends: Collection[str]) -> bool:
    """Replace embedded players, which no client shows, by links; True if any was replaced.

    What is in one is for browsers without players, unless it lacks its end tag: `<video/> words`.
    """
    changed = False
    for node in root.css(_EMBEDDED):
        sources = (node, *(child for child in node.iter() if child.tag == "source"))
        found = (tag.attributes.get("src") or tag.attributes.get("data") for tag in sources)
        address = html_text.escape(next(filter(None, found), "").strip())
        fits = len(address) <= _MAX_ADDRESS
        link = parse(f'<a href="{address}">{address}</a>' if fits else EMBEDDED)
        if address and link is not None and link.first_child is not None:
            if node.tag in ends:
                node.replace_with(link.first_child)
            else:
                node.insert_before(link.first_child)
                node.insert_before(" ")  # or clients take the first word for a part of the address
                node.unwrap()
            changed = True
    return changed


def _resolve(root: LexborNode, absolute: Callable[[str], str]) -> bool:
    """Make relative links absolute, and show the address of one without words; True if any."""
    changed = False
    for link in root.css("a[href]"):
        address = (link.attributes.get("href") or "").strip()
        if not address or address.startswith("#"):
            continue
        if not _SCHEME.match(address):
            www = address.lower().startswith("www.")  # a host name, despite the URL standard
            address = link.attrs["href"] = f"https://{address}" if www else absolute(address)
            changed = True
        leads = address.partition(":")[0].lower() in _SCHEMES
        # It holds only pictures, which become messages of their own, or nothing that clients show.
        if leads and not link.text().strip() and all(map(picture_of, link.css("img"))):
            link.insert_child(address)
            changed = True
    return changed
