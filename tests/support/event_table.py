"""Generator of docs/matrix-events.md: what the bridge makes of every kind of event, both ways.

Each row is an example run through the bridge's own reader, conversation and writer; only the names
of the examples are written by hand. To regenerate:

    python -m tests.support.event_table
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bridge.config.model import Encryption, TellAgents
from bridge.conversation.model import (
    CallWebChat,
    Clip,
    Outstanding,
    Replied,
    Reported,
    Say,
    Upload,
    Uploaded,
    UploadMedia,
)
from bridge.matrix.events import interpret
from bridge.media.places import Datum, Place, from_datum, to_datum
from bridge.rooms.effects import LeaveRoom
from bridge.rooms.people import Standing, invited
from bridge.rooms.ports import CALL, Invited, Meaning, Nothing, Unreadable
from bridge.rooms.reader import Facts, read_command, receive
from bridge.rooms.record import Membership, Person
from bridge.texts import Texts
from bridge.webchat.frames import (
    Content,
    File,
    Image,
    Location,
    Reply,
    SendMessage,
    Text,
    Video,
    Voice,
)
from tests.support import voice_table
from tests.support.event_answers import answers
from tests.support.event_examples import examples
from tests.support.event_kinds import BOB, EARLIER, Example
from tests.support.event_news import news
from tests.support.reference_pages import escaped
from tests.unit.media.test_places import KNOWN, metres
from tests.unit.rooms.desks import Desk
from tests.unit.rooms.visits import ADA, RULES

TELLING = msgspec.structs.replace(RULES, tell=TellAgents(members=True), encryption=Encryption())
SHOWN = 200
"""Maximum characters of a text that is shown in full."""
TARGET = Path(__file__).parents[2] / "docs" / "matrix-events.md"

HEAD = """\
# What becomes of every kind of event

<!-- Written by tests/support/event_table.py; tests/conformance/test_matrix_events.py compares. -->

Every line went through the bridge's own code, in the middle of a chat in an English room whose
agents have Baidu's map (`webchat.map`). “The same”: in an encrypted room the event, once decrypted,
leads to exactly this; files are decrypted or encrypted on the way, after their hash was checked.

Not in the tables:

- Typing: of a customer by frame 113, at most once in five seconds; of an agent by the ghost.
- Read receipts: an agent's ghost, or the bot, has read what WebChat has acknowledged. Nobody is
  told what customers have read.
- `io.element.functional_members` (MSC4171): in a direct room the bot adds each ghost to
  `service_members` before it joins, so that Element still counts two people, and finds this room
  when somebody starts a chat with the bot.
- `m.bridge` and `uk.half-shot.bridge` (MSC2346): who serves the room, who invited them, and its
  queue (`channel`). Written on joining, also after an upgrade, and when the queue or its name
  changes.

The bot writes these states unencrypted, like all state, and only where it may.
"""


COORDINATES = """\
Matrix uses WGS-84. Maps of China are shifted by law (GCJ-02), Baidu's once more (BD-09); outside
China nothing is. The shifted coordinates agree in every digit with two other programs
(`tests/unit/media/test_places.py`); the way back is found by iteration."""


async def table() -> str:
    """Return the text of the file."""
    lines = [HEAD, "## From the customer to the agent", ""]
    lines += _rows(("the customer's event", "the agent gets", "encrypted", "the customer sees"))
    for example in examples():
        clear, sealed = _handled(example.raw, example), _handled(example.sealed(), example)
        same = "never encrypted" if example.never_sealed else _same(clear, sealed)
        same = "only there" if example.key else same
        lines += _row(example.name, clear[0], same, clear[1])
    lines += ["", "## From the agent to the customer", ""]
    lines += _rows(("the agent's message", "the customer gets", "encrypted", "in plain text"))
    async for answer in answers():
        lines += _row(*answer)
    for told in news():
        lines += _row(*told)
    lines += ["", "## Coordinates", "", COORDINATES, ""]
    lines += _rows(("place", "WGS-84", "GCJ-02 (AMap)", "BD-09 (Baidu)", "there and back"))
    for name, points in KNOWN.items():
        lines += _row(name, *_point(Place(*points[0])))
    lines += ["", "## Voices", "", voice_table.words(), "", *_rows(voice_table.HEAD)]
    for voice in voice_table.rows():
        lines += _row(*voice)
    return "\n".join(lines) + "\n"


def _point(place: Place) -> Iterator[str]:
    shown = {datum: to_datum(place, datum) for datum in Datum}
    for one in shown.values():
        yield f"{one.latitude:.6f}, {one.longitude:.6f}"
    # WebChat frames carry six decimals, about ten centimetres.
    sent = {
        datum: Place(round(one.latitude, 6), round(one.longitude, 6))
        for datum, one in shown.items()
    }
    errors = [metres(from_datum(one, datum), place) for datum, one in sent.items()]
    yield f"{max(errors):.2f} m"


def _same(clear: tuple[str, str], sealed: tuple[str, str]) -> str:
    return "the same" if clear == sealed else f"{sealed[0]} / {sealed[1]}"


def _handled(raw: dict[str, object], example: Example) -> tuple[str, str]:
    """Return what the agent gets of an event, and what the customer is shown."""
    desk = Desk(TELLING)
    if example.shared:
        desk.visit.set(direct=False, people=(Person(ADA, "Ada"), Person(BOB, "Bob")))
    if example.left:
        desk.visit.set(membership=Membership.LEFT)
    meaning: Meaning = interpret(raw, example.ours)
    if example.key and isinstance(meaning, Unreadable):
        meaning = msgspec.structs.replace(meaning, key=example.key)
    known = example.about and not example.forgotten
    facts = Facts(desk.now, Standing.ADMIN, EARLIER.get(example.about) if known else None)
    if isinstance(meaning, Invited):
        invited(desk.visit, meaning, 0, ())
    else:
        command = read_command(desk.visit, meaning)
        receive(desk.visit, meaning, raw, facts, command=command)
    got = [_content(content) for content in _frames(desk)]
    left = next((at for at, one in enumerate(desk.effects) if isinstance(one, LeaveRoom)), None)
    seen = [
        f"reply: {_sentence(one)}" if _replies(one) else _sentence(one)
        for one in desk.effects[:left]  # nothing can be said after the bot has left
        if isinstance(one, Say | Reported)
    ]
    nothing = "nothing" if isinstance(meaning, Nothing) or not got else ""
    return " then ".join(got) or nothing or "nothing", " then ".join(seen) or "—"


def _replies(told: Say | Reported) -> bool:
    """Whether it replies to an event; a call's notice does not (`to_matrix`)."""
    return bool(told.reply_to) if isinstance(told, Say) else told.key != CALL


def _frames(desk: Desk) -> Iterator[Content]:
    """Yield the contents sent to the agent; every upload and call succeeds."""
    seen = 0
    while True:
        new = desk.effects[seen:]
        seen = len(desk.effects)
        for effect in new:
            if isinstance(effect, CallWebChat) and isinstance(effect.command, SendMessage):
                yield effect.command.content
        asked = desk.record.conversation.outstanding
        if asked is None or not any(isinstance(one, CallWebChat | UploadMedia) for one in new):
            return
        desk.visit.step(_answer(asked))


def _answer(asked: Outstanding) -> Uploaded | Replied:
    if not isinstance(asked.what, Upload):
        return Replied(asked.call_id, Reply(110, 1, call_id=asked.call_id))
    media = asked.what.media
    if media.kind == "voice":
        return Uploaded(asked.call_id, "", clip=Clip(3, "IyFBTVIK"))
    return Uploaded(asked.call_id, f"https://crm.example.org/webchat/{media.name}", 9)


def _content(content: Content) -> str:
    match content:
        case Text() if len(content.text) > SHOWN:
            return f"text “{content.text[:20]}…” ({len(content.text)} characters)"
        case Text():
            return f"text “{content.text}”"
        case Image():
            return f"picture `{content.name}` (type 2)"
        case File():
            return f"file `{content.name}` (type 3)"
        case Location():
            where = f"{content.latitude:.6f}, {content.longitude:.6f}"
            return f"place “{content.poi}” {where} on {content.map} (type 4)"
        case Voice():
            return f"voice, AMR, {content.seconds} s (type 5), or a file if it is too long"
        case Video():
            return f"film `{content.name}` (type 6)"


def _sentence(said: Say | Reported) -> str:
    return Texts().render("en", said.key, {"prefix": "!wc", **said.args})


def _rows(head: tuple[str, ...]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]


def _row(*cells: str) -> list[str]:
    shown = (escaped(cell).replace("\n", "⏎") for cell in cells)
    return [f"| {' | '.join(shown)} |"]


if __name__ == "__main__":
    TARGET.write_text(asyncio.run(table()), encoding="utf-8")
