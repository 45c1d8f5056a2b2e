"""The transcript."""

from __future__ import annotations

from bridge.simulator.state import Transcript, shown


def test_entries_are_numbered_and_the_oldest_go() -> None:
    transcript = Transcript(keep=3, wall_ms=lambda: 7)
    for text in "abcd":
        transcript.add("ada", "customer", "text", text=text)
    assert [(entry.n, entry.text, entry.time) for entry in transcript.since(0)] == [
        (2, "b", 7),
        (3, "c", 7),
        (4, "d", 7),
    ]
    assert [entry.n for entry in transcript.since(3)] == [4]
    assert list(transcript.since(4)) == []
    assert list(transcript.since(99)) == []
    assert transcript.last == 4
    assert transcript.find(1) is None
    third = transcript.find(3)
    assert third is not None
    assert third.text == "c"


def test_a_voice_is_announced_and_not_sent_along() -> None:
    transcript = Transcript(keep=3, wall_ms=lambda: 7)
    entry = transcript.add("ada", "customer", "voice", seconds=2.0, audio="IyFBTVI=")
    assert shown(entry) == {
        "n": 1,
        "time": 7,
        "login": "ada",
        "side": "customer",
        "kind": "voice",
        "seconds": 2.0,
        "voice": 1,
    }
    assert "voice" not in shown(transcript.add("ada", "customer", "text", text="x"))
