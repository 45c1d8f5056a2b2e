"""The format of the JSON transcript, and its schema in the docs."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from bridge.rooms.transcripts import (
    About,
    Agent,
    File,
    Line,
    Place,
    Queue,
    Rating,
    Transcript,
    dump_transcript,
    moment,
)

SCHEMA = Path(__file__).parents[3] / "docs" / "transcript.schema.json"


def whole(*lines: Line) -> Transcript:
    """A transcript with a value in every field."""
    return Transcript(
        room_id="!a:b",
        language="en",
        made=moment(9_000),
        complete=True,
        cut=False,
        chat=About(
            number=3,
            enterprise="acme",
            queue=Queue(1, "Sales"),
            asked=moment(1_000),
            started=moment(2_000),
            ended=moment(3_000),
            ending="agent",
            robot=False,
            agents=(Agent("K00017", "Mei"),),
            rating=Rating(5, "★★★★★"),
        ),
        messages=lines,
        timezone="Asia/Shanghai",
    )


def line(text: str = "hello", **more: object) -> Line:
    plain = Line(
        event_id="$1",
        link="https://matrix.to/#/!a:b/$1",
        at=moment(1_500),
        role="customer",
        sender="@ada:b",
        name="Ada",
        kind="text",
        text=text,
        edited=False,
        reply_to=None,
        file=None,
        place=None,
    )
    return msgspec.structs.replace(plain, **more)


def test_every_key_is_always_there() -> None:
    file = File("a.csv", "text/csv", None, "mxc://b/c", encrypted=True)
    found = whole(line(), line(kind="file", file=file), line(kind="location", place=Place(1, 2)))
    written = json.loads(dump_transcript(found))
    assert (written["format"], written["version"]) == ("org.matrix_webchat.transcript", 1)
    assert msgspec.json.decode(dump_transcript(found), type=Transcript) == found
    for one in written["messages"]:
        assert set(one) == set(Line.__struct_fields__)
    assert written["messages"][0]["reply_to"] is None
    assert set(written) == set(Transcript.__struct_fields__)
    assert dump_transcript(found).endswith(b"}\n")


def test_the_schema_in_the_docs_is_current() -> None:
    """To update it, write `made` to `SCHEMA`."""
    schema = msgspec.json.encode(msgspec.json.schema(Transcript), order="sorted")
    made = msgspec.json.format(schema, indent=2) + b"\n"
    assert SCHEMA.read_bytes() == made


@pytest.mark.parametrize(
    ("zone", "at", "there"),
    [
        ("Asia/Shanghai", "2026-11-25T20:30:00.000Z", "2026-11-26 04:30 +0800"),
        ("", "2026-11-25T20:30:00.000Z", "2026-11-25 20:30 +0000"),
        ("Asia/Shanghai", "9999-12-31T23:00:00.000Z", "9999-12-31 23:00 +0000"),
    ],
)
def test_times_are_shown_in_the_readers_time_zone(zone: str, at: str, there: str) -> None:
    found = msgspec.structs.replace(whole(), timezone=zone)
    assert f"{found.local(at):%Y-%m-%d %H:%M %z}" == there


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_733_011_200_123, "2024-12-01T00:00:00.123Z"),
        (10**20, "1970-01-01T00:00:00.000Z"),
        (-(10**20), "1970-01-01T00:00:00.000Z"),
    ],
)
def test_times_in_milliseconds_become_iso_8601(ms: int, text: str) -> None:
    assert moment(ms) == text
