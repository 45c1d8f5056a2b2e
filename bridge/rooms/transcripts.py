"""The commands `history` and `transcript`: a list of a room's chats, and one chat as a file.

A transcript is read back from the room, not from the journal: the homeserver keeps messages for as
long as its owner wants, without the redacted ones. Encrypted messages are decrypted with the
bridge's own keys, kept for 90 days after their last use; others are looked up in the journal.

A chat extends from its first event (`Chat.first`) to the first event of the next chat; if that has
none of its own, to the first event that a bridge user sent after the next chat was requested.
Customers' messages between two chats belong to neither; an agent's last message may arrive a moment
after the end of the chat, and belongs to it.

The JSON file (schema: `docs/transcript.schema.json`) is an interface: under the same `version`
fields may be added, but none is removed or changes its meaning. Every key is always present. The
page's template is `transcript.html`, whose content security policy allows its own style and nothing
else. The content is serialised by the standard library from a tree, so that typed markup stays
text. `dir="auto"` and `bdi` isolate right-to-left text from the text around it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Literal
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from bridge.conversation.model import Args, CustomerLocation, CustomerMedia, CustomerText
from bridge.ids import EventId, UserId, localpart_of
from bridge.media.plaintext import OVERRIDES
from bridge.rooms import cards, commands
from bridge.rooms.effects import SendTranscript, TellHistory
from bridge.rooms.ports import Blob, Recorded, Refused, Undecryptable
from bridge.rooms.record import (
    Chat,
    Ending,
    LookedUp,
    PartPosted,
    Raw,
    RoomRecord,
    load_chat,
    permalink,
    via,
)
from bridge.rooms.references import recall
from bridge.rooms.rules import Rules
from bridge.rooms.surroundings import Surroundings
from bridge.rooms.visit import Came, Done, Visit
from bridge.texts import clock_time, duration, listed
from bridge.webchat import frames

MOST_EVENTS = 5_000
"""Maximum number of room events read for a transcript."""
MOST_SIZE = 6_000_000
"""Maximum total characters of these events: one of dense HTML without words takes 25 ms to read."""


async def send_transcript(
    around: Surroundings, record: RoomRecord, order: SendTranscript
) -> LookedUp | Done:
    """Post the transcript as a page, and as JSON if asked to; or return the notice to send instead.

    Raises StoreError, and Unavailable or Refused if the homeserver does not take the file.
    """
    number = order.number
    most, upto = (MOST_CHATS, None) if number is None else (2, number + 1)
    rows = await around.store.chats(record.room_id, most, upto)
    chats = [load_chat(row.chat) for row in rows]
    wanted = [chat for chat in chats if number in {None, chat.number}]
    talks = [chat for chat in wanted if chat.started is not None]
    chat = next(iter(talks or wanted), None)  # without a number, the newest with an agent
    if chat is None:
        key = "transcript.none" if number is None else "transcript.unknown"
        return LookedUp(order.event_id, key, {} if number is None else {"number": number})
    after = next((other for other in chats if other.number == chat.number + 1), None)
    try:
        whole = await _write(around, record, chat, after, order.by)
    except Refused as error:
        if error.code != error.UNSEEN:
            raise
        return LookedUp(order.event_id, "transcript.unseen", {"number": chat.number})
    name = f"chat-{chat.number}"  # Element cuts longer ones
    # Transaction ids are made of the command's event id, so that a retry posts no file twice.
    room_id, host, txn_id = record.matrix_id, record.host, f"transcript.{order.event_id}"
    # A long one takes a quarter of a second.
    html = await asyncio.to_thread(build_page, whole, Telling(around.rules, record))
    page = Blob.of(html, "text/html", f"{name}.html")
    first = await around.matrix.send_file(room_id, host, page, f"{txn_id}.html")
    if not order.json:
        return Done(first)
    data = Blob.of(dump_transcript(whole), "application/json", f"{name}.json")
    second = await around.matrix.send_file(room_id, host, data, f"{txn_id}.json")
    return Done(first, came=(Came(PartPosted(), second),))


async def _write(
    around: Surroundings, record: RoomRecord, chat: Chat, after: Chat | None, by: UserId
) -> Transcript:
    reading, telling = _Reading(around, record, chat, after), Telling(around.rules, record)
    first = await began_with(around, record, chat)
    found = first is not None and await reading.read_from(first, by)
    lines = tuple(reading.lines.values())
    zone, room_id, now = around.rules.timezone, record.room_at(chat.asked), around.clock.now()
    rules = around.rules.of_chat(chat)
    moved = room_id != record.room_at(chat.ended or now)  # upgraded during the chat
    whole = found and not (moved or reading.cut or reading.lost)
    return Transcript(
        room_id=room_id,
        language=telling.language,
        made=moment(now),
        complete=whole and all(line.kind != "unreadable" for line in lines),
        cut=reading.cut,
        chat=About(
            number=chat.number,
            enterprise=rules.enterprise,
            queue=Queue(chat.queue_id, rules.queue_name(chat.queue_id)),
            asked=moment(chat.asked),
            started=None if chat.started is None else moment(chat.started),
            ended=None if chat.ended is None else moment(chat.ended),
            ending=chat.ending,
            robot=chat.robot,
            agents=tuple(Agent(agent.id, agent.name) for agent in chat.agents),
            rating=None if chat.rating is None else Rating(chat.rating, telling.rating(chat)),
        ),
        messages=lines,
        timezone=zone.key if isinstance(zone, ZoneInfo) else "",
        lost=not found or reading.lost,
    )


class _Reading:
    """Reader of one chat's messages from the room's timeline."""

    def __init__(
        self, around: Surroundings, record: RoomRecord, chat: Chat, after: Chat | None
    ) -> None:
        self.lines: dict[str, Line] = {}  # by event id, in timeline order
        self.cut = False  # a maximum was exceeded
        self.lost = False  # the homeserver has purged the beginning
        self._around = around
        self._record = record
        self._chat = chat
        self._after = after
        self._room_id = record.room_at(chat.asked)
        self._servers = via(record)
        self._rules = around.rules.of_chat(chat)
        self._agents = {
            around.matrix.ghost_of(frames.Agent(agent.id), self._rules.enterprise): agent.name
            or agent.id
            for agent in chat.agents
        }
        named = {person.user: person.name for person in record.people if person.name}
        self._people = {record.customer: record.displayname, **named}
        self._unasked: set[str] = set()
        """Event ids of commands: neither they nor the replies to them are part of the chat."""

    async def read_from(self, first: EventId, by: UserId) -> bool:
        """Read the timeline from this event on; return False if the homeserver has none of it."""
        matrix, host, seen, size = self._around.matrix, self._record.host, 0, 0
        timeline = matrix.timeline(self._room_id, host, first, by, self._chat.asked)
        try:
            async with aclosing(timeline) as events:
                async for raw in events:
                    self.lost |= not seen and raw.get("event_id") != first
                    seen, size = seen + 1, size + len(str(raw))
                    found = await self._read(raw)
                    if self._begins_next(raw, found):
                        break
                    self.cut = seen > MOST_EVENTS or size > MOST_SIZE
                    if self.cut:
                        break
                    if found is not None:
                        self._take(found)
                    await asyncio.sleep(0)  # a page of long HTML takes seconds to read
        except Refused as error:
            if error.code == error.UNSEEN:
                raise
            return False
        return True

    async def _read(self, raw: Raw) -> Recorded | None:
        opened = await self._around.matrix.open(raw)
        found = self._around.matrix.recorded(raw if isinstance(opened, Undecryptable) else opened)
        if found is not None and isinstance(opened, Undecryptable):
            earlier = await recall(self._around, self._record.room_id, found.event_id)
            if earlier is not None:
                content = earlier.content or CustomerText(earlier.text)
                return replace(found, content=content, words=earlier.text)
        return found

    def _begins_next(self, raw: Raw, found: Recorded | None) -> bool:
        """True if the next chat begins with this event, or has begun before it."""
        after = self._after
        if after is None:
            return False
        # After a purge, the next chat's first event may be missing too.
        if after.first not in {None, self._chat.first} and not self.lost:
            return raw.get("event_id") == after.first
        # Customers' events are not compared: their time is by their server's clock.
        if found is None or self._speaker(found.sender)[0] not in {"agent", "service"}:
            return False
        return found.at >= after.asked

    def _take(self, found: Recorded) -> None:
        role, name = self._speaker(found.sender)
        if found.replaces is not None:
            self._correct(found)
        elif role is not None and self._belongs(found, role):
            self._add(found, role, name)

    def _speaker(self, sender: UserId) -> tuple[Role | None, str]:
        """Role and name of a sender; role None: their messages are not bridged."""
        rules = self._rules
        queue = rules.queue_of_user(sender)
        if sender in self._agents:
            return "agent", self._agents[sender]
        if queue is not None:
            return "service", rules.queue_name(queue)
        if sender in {self._record.host, rules.bot}:
            return "service", rules.bot_name
        if self._around.matrix.is_ours(sender):
            return "agent", sender
        name = self._people.get(sender) or localpart_of(sender)
        return ("customer" if rules.serves(sender) else None), name

    def _belongs(self, found: Recorded, role: Role) -> bool:
        ended, is_text = self._chat.ended, isinstance(found.content, CustomerText)
        if role == "service":
            # Files of the bridge are transcripts.
            return is_text and found.reply_to not in self._unasked
        if role == "agent":
            return True
        if is_text and self._is_order(found):
            self._unasked.add(found.event_id)
            return False
        return ended is None or found.at <= ended

    def _is_order(self, found: Recorded) -> bool:
        """True if a text was a command; without prefix only until an agent came."""
        record, started, rules = self._record, self._chat.started, self._rules
        waiting = started is None or found.at < started
        bare = record.direct and record.host == rules.bot and waiting
        then = Visit(record, rules, found.at)
        return commands.read(then, found.words, bare=bare) is not None

    def _correct(self, newer: Recorded) -> None:
        """Apply an edit by the same sender, unless the message is redacted."""
        line = self.lines.get(str(newer.replaces))
        if line is None or line.sender != newer.sender or line.kind == "withdrawn":
            return
        if newer.content is not None:
            _, text, _, _ = _parts(newer)
            self.lines[line.event_id] = replace(line, text=text, edited=True)

    def _add(self, found: Recorded, role: Role, name: str) -> None:
        kind, text, file, place = _parts(found)
        self.lines[found.event_id] = Line(
            event_id=found.event_id,
            link=permalink(self._room_id, found.event_id, self._servers),
            at=moment(found.at),
            role=role,
            sender=found.sender,
            name=name,
            kind=kind,
            text=text,
            edited=False,
            reply_to=found.reply_to,
            file=file,
            place=place,
        )


def _parts(found: Recorded) -> tuple[Kind, str, File | None, Place | None]:
    match found.content:
        case CustomerText(text=text):
            return "text", found.words or text, None, None
        case CustomerMedia() as media:
            encrypted = media.file_key is not None
            file = File(media.name, media.mime, media.size, media.mxc, encrypted)
            words = "\n".join(filter(None, (found.words, *(file.name for file in media.more))))
            return _KINDS.get(media.kind, "file"), words, file, None
        case CustomerLocation() as place:
            return "location", place.poi, None, Place(place.latitude, place.longitude)
        case None:
            return ("withdrawn" if found.withdrawn else "unreadable"), "", None, None


# --- history --------------------------------------------------------------------------------------

USUAL_CHATS = 5
MOST_CHATS = 50
"""Number of chats in one answer."""


async def list_chats(around: Surroundings, record: RoomRecord, order: TellHistory) -> LookedUp:
    """Return the answer to `history`. Raises StoreError."""
    limit = min(order.limit or USUAL_CHATS, MOST_CHATS)
    telling, lines = Telling(around.rules, record), []
    for row in await around.store.chats(record.room_id, limit):
        chat = load_chat(row.chat)
        lines.append(telling.line(chat, await began_with(around, record, chat)))
    if not lines:
        return LookedUp(order.event_id, "history.none")
    args: Args = {"list": "\n".join(lines), "prefix": around.rules.prefix}
    return LookedUp(order.event_id, "history.list", args)


async def began_with(around: Surroundings, record: RoomRecord, chat: Chat) -> EventId | None:
    """Return the event that begins a chat: the customer's first, else the chat's queue card."""
    card = record.anchored(f"card:{chat.number}", record.room_at(chat.asked))
    return chat.first or await around.store.anchor(record.room_id, card)


class Telling:
    """Descriptions of chats in a room's language. Pure."""

    def __init__(self, rules: Rules, record: RoomRecord) -> None:
        self._rules = rules
        self._record = record
        self.language = rules.language_for(record)

    def say(self, key: str, args: Args | None = None) -> str:
        return self._rules.texts.render(self.language, key, args or {})

    def line(self, chat: Chat, first: EventId | None) -> str:
        """Return a chat's entry in `history`; `first`: its first event, to link to."""
        date = clock_time(self.language, chat.asked, self._rules.timezone)
        queue = self._rules.of_chat(chat).queue_name(chat.queue_id)
        args = Args(number=chat.number, date=date, queue=queue, outcome=self.outcome(chat))
        line = self.say("history.chat", args)
        if chat.rating is not None:
            rating = rated(chat.rating, self.rating(chat))
            line += " · " + self.say("history.rated", {"rating": rating})
        if first is not None:
            line += "\n" + permalink(self._record.room_at(chat.asked), first, via(self._record))
        return line

    def outcome(self, chat: Chat) -> str:
        if chat.started is None or chat.ending is Ending.CANCELLED:
            if chat.ended is None:
                return self.say("history.waiting")
            left = chat.ending is Ending.CANCELLED
            return self.say("history.cancelled" if left else "history.nobody")
        named = listed(self.language, [agent.name or agent.id for agent in chat.agents])
        named = named or self.say("history.robot" if chat.robot else "history.unnamed")
        if chat.ended is None:
            return self.say("history.running", {"names": named})
        took = duration(self.language, (chat.ended - chat.started) / 1000)
        return self.say("history.answered", {"names": named, "duration": took})

    def rating(self, chat: Chat) -> str:
        """Return the label of a chat's rating; empty if unknown."""
        return self.label(chat.rating or 0, self._rules.of_chat(chat))

    def label(self, value: int, rules: Rules | None = None) -> str:
        ratings = self._record.conversation.ratings
        label = cards.rating_label(rules or self._rules, self.language, ratings, value)
        return "" if label == str(value) else label


def rated(value: int, label: str) -> str:
    return f"{value} — {label}" if label else str(value)


# --- the JSON file --------------------------------------------------------------------------------

Role = Literal["customer", "agent", "service"]
"""Sender: a customer, an agent, or the bridge ("service": its notices about the chat)."""
Kind = Literal[
    "text", "image", "file", "voice", "video", "audio", "location", "withdrawn", "unreadable"
]
_KINDS: Mapping[str, Kind]
_KINDS = {"image": "image", "voice": "voice", "video": "video", "audio": "audio"}
"""`CustomerMedia.kind` -> kind of line; all others are files."""


class File(msgspec.Struct, frozen=True):
    """A file that was sent."""

    name: str
    mime: str
    size: int | None
    """Bytes, as its sender stated."""
    uri: str
    encrypted: bool
    """Whether the file at `uri` is encrypted; only the message itself holds the key."""


class Place(msgspec.Struct, frozen=True):
    """Degrees of WGS-84."""

    latitude: float
    longitude: float


class Line(msgspec.Struct, frozen=True):
    """One message."""

    event_id: str
    link: str
    """Opens the message in a Matrix client (matrix.to)."""
    at: str
    """`origin_server_ts`, RFC 3339 in UTC."""
    role: Role
    sender: str
    name: str
    kind: Kind
    text: str
    """Text of the message, caption of a file, or name of a place."""
    edited: bool
    """Whether `text` is from an edit."""
    reply_to: str | None
    file: File | None
    place: Place | None


class Rating(msgspec.Struct, frozen=True):
    value: int
    label: str
    """Label that the customer saw; empty if unknown."""


class Agent(msgspec.Struct, frozen=True):
    id: str
    name: str


class Queue(msgspec.Struct, frozen=True):
    id: int
    name: str


class About(msgspec.Struct, frozen=True):
    """The chat; moments are RFC 3339 in UTC."""

    number: int
    enterprise: str
    """Id of the call centre; empty if there is only one."""
    queue: Queue
    asked: str
    started: str | None
    ended: str | None
    """None while the chat goes on."""
    ending: str | None
    """`agent`, `customer`, `lost`, `cancelled` or `nobody`."""
    robot: bool
    """Whether the chat was with the robot, at least at first."""
    agents: tuple[Agent, ...]
    rating: Rating | None


class Transcript(msgspec.Struct, frozen=True):
    """The whole file."""

    room_id: str
    language: str
    """Language of the bridge's notes."""
    made: str
    complete: bool
    """Whether every message of the chat was found and could be read."""
    cut: bool
    """Whether the chat was too long, so that only its beginning is included."""
    chat: About
    messages: tuple[Line, ...]
    """In timeline order of the room."""
    format: Literal["org.matrix_webchat.transcript"] = "org.matrix_webchat.transcript"
    version: Literal[1] = 1
    timezone: str = ""
    """Configured IANA time zone, used by the page; empty if none. Times in this file are in UTC."""
    lost: bool = False
    """Whether the beginning of the chat, or all of it, was not found in the room."""

    def local(self, at: str) -> datetime:
        """Convert one of the file's times to `timezone`."""
        moment = datetime.fromisoformat(at)
        try:
            return moment.astimezone(ZoneInfo(self.timezone)) if self.timezone else moment
        except OverflowError:  # a homeserver may claim any time, even year 9999
            return moment


def dump_transcript(transcript: Transcript) -> bytes:
    return msgspec.json.format(msgspec.json.encode(transcript), indent=2) + b"\n"


def moment(ms: int) -> str:
    """Format milliseconds since the epoch as RFC 3339; a time out of range becomes the epoch."""
    try:
        found = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        found = datetime.fromtimestamp(0, UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- the page -------------------------------------------------------------------------------------

_PAGE = Template(Path(__file__).with_name("transcript.html").read_text("utf-8"))
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that HTML does not allow."""


def build_page(transcript: Transcript, words: Telling) -> bytes:
    about = transcript.chat
    name = words.say("transcript.title", {"number": about.number, "queue": about.queue.name})
    title, body = _text(ET.Element("head"), "title", name), ET.Element("body")
    _text(body, "h1", name)
    _facts(body, transcript, words)
    _notes(body, transcript, words)
    day = ""
    for line in transcript.messages:
        at = transcript.local(line.at)
        if f"{at:%Y-%m-%d}" != day:
            day = f"{at:%Y-%m-%d}"
            _text(body, "div", day).set("class", "day")
        _message(body, line, f"{at:%H:%M}", words)
    shown = [ET.tostring(tree, encoding="unicode", method="html") for tree in (title, body)]
    return _PAGE.substitute(language=words.language, title=shown[0], body=shown[1]).encode()


def _facts(body: ET.Element, transcript: Transcript, words: Telling) -> None:
    about, found = transcript.chat, ET.SubElement(body, "dl")
    agents, rating = [agent.name or agent.id for agent in about.agents], about.rating
    for key, value in (
        ("transcript.asked", _shown(transcript, about.asked)),
        ("transcript.started", _shown(transcript, about.started)),
        ("transcript.ended", _shown(transcript, about.ended)),
        ("transcript.agents", listed(words.language, agents)),
        ("transcript.rating", "" if rating is None else rated(rating.value, rating.label)),
        ("transcript.made", _shown(transcript, transcript.made)),
    ):
        if value:
            _text(found, "dt", words.say(key))
            _text(found, "dd", value).set("dir", "auto")


def _notes(body: ET.Element, transcript: Transcript, words: Telling) -> None:
    unreadable = sum(line.kind == "unreadable" for line in transcript.messages)
    empty = "transcript.empty" if transcript.complete else "transcript.gone"
    for key, true in (
        ("transcript.incomplete", unreadable),
        ("transcript.cut", transcript.cut),
        (empty, not transcript.messages),
        ("transcript.beginning", transcript.lost and transcript.messages),
    ):
        if true:
            _text(body, "p", words.say(key, {"count": unreadable})).set("class", "note")


def _message(body: ET.Element, line: Line, time: str, words: Telling) -> None:
    article = ET.SubElement(body, "article", {"class": line.role})
    header = ET.SubElement(article, "header")
    _text(ET.SubElement(header, "b"), "bdi", line.name)
    _text(header, "time", time).set("datetime", line.at)
    if line.edited:
        _text(header, "span", words.say("transcript.edited"))
    link = _text(header, "a", words.say("transcript.open"))
    link.attrib |= {"href": line.link, "rel": "noreferrer"}
    for part in header[:-1]:
        part.tail = " · "
    if line.kind in {"withdrawn", "unreadable"}:
        _text(article, "p", words.say(f"transcript.{line.kind}")).set("class", "void")
        return
    if line.file is not None:
        # Not the address (mxc): no browser can open it, and "open" leads to the message itself.
        about = words.say("transcript.file"), line.file.name, line.file.mime, _size(line.file.size)
        _text(article, "p", " · ".join(filter(None, about))).set("dir", "auto")
    if line.place is not None:
        where = f"geo:{line.place.latitude:.6f},{line.place.longitude:.6f}"
        _text(ET.SubElement(article, "p"), "code", where)
    if line.text:
        _text(article, "p", line.text).set("dir", "auto")


def _text(parent: ET.Element, tag: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, tag)
    element.text = OVERRIDES.sub("", _UNFIT.sub("\ufffd", text))
    return element


def _shown(transcript: Transcript, moment: str | None) -> str:
    """Format a time for the page, to the minute, with its offset from UTC."""
    if moment is None:
        return ""
    at = transcript.local(moment)
    away = at.isoformat()[-6:] if transcript.timezone else ""
    return f"{at:%Y-%m-%d %H:%M} UTC{away}"


def _size(size: int | None) -> str:
    if size is None:
        return ""
    if size >= 1 << 20:
        return f"{size / (1 << 20):.1f} MiB"
    return f"{size} B" if size < 1024 else f"{size / 1024:.0f} KiB"
