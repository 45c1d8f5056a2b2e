"""The transcript."""

from __future__ import annotations

from bridge.ids import QueueId
from bridge.simulator.options import SimulatorOptions
from bridge.simulator.state import CallCentre, Session, shown
from tests.unit.simulator.centres import chatting, join, make_centre


def three_kept() -> tuple[CallCentre, Session]:
    centre = CallCentre(SimulatorOptions(keep_entries=3), lambda: "T", lambda: 7)
    return centre, centre.begin(join(centre), QueueId(1), [])


def test_entries_are_numbered_and_the_oldest_go() -> None:
    centre, session = three_kept()
    transcript = centre.transcript
    for text in "abcd":
        centre.note(session, "customer", "text", text=text)
    assert [(entry["n"], entry["text"], entry["time"]) for entry in transcript.since(0)] == [
        (2, "b", 7),
        (3, "c", 7),
        (4, "d", 7),
    ]
    assert [entry["n"] for entry in transcript.since(3)] == [4]
    assert list(transcript.since(4)) == []
    assert list(transcript.since(99)) == []
    assert transcript.last == 4


def test_a_voice_is_announced_and_not_sent_along() -> None:
    centre, session = three_kept()
    entry = centre.note(session, "customer", "voice", seconds=2.0, audio="IyFBTVI=")
    assert shown(entry) == {
        "n": 1,
        "time": 7,
        "login": "ada",
        "session": 5001,
        "side": "customer",
        "kind": "voice",
        "seconds": 2.0,
        "voice": 1,
    }
    assert "voice" not in shown(centre.note(session, "customer", "text", text="x"))


def test_a_forgotten_session_is_closed_at_the_desk() -> None:
    centre = make_centre()
    _, session = chatting(centre)
    centre.forget("sessions")
    (entry,) = centre.transcript.since(centre.transcript.last - 1)
    assert (entry["kind"], entry["session"], entry["text"]) == ("closed", session, "forgotten")
