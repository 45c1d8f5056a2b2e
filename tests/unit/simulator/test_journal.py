"""The frames log: numbered, masked, bounded."""

from bridge.simulator.journal import Journal, masked, shortened


def test_numbers_grow_and_the_oldest_go_first() -> None:
    journal = Journal(3)
    for mark in range(5):
        journal.record("in", "ada", {"mark": mark}, 1000 + mark)
    assert journal.last == 5
    assert [entry["number"] for entry in journal.since(0)] == [3, 4, 5]
    assert [entry["number"] for entry in journal.since(4)] == [5]
    assert journal.since(5) == journal.since(99) == []
    assert journal.since(4)[0] == {
        "number": 5,
        "time": 1004,
        "direction": "in",
        "login": "ada",
        "frame": {"mark": 4},
    }


def test_tokens_are_masked_wherever_they_stand() -> None:
    assert masked({"token": "secret", "list": [{"token": "secret"}], "n": 1}) == {
        "token": "<token>",
        "list": [{"token": "<token>"}],
        "n": 1,
    }


def test_long_strings_are_shortened_with_their_digest() -> None:
    assert shortened("x" * 2000) == "x" * 2000
    short = shortened("x" * 2001)
    assert short.startswith("x" * 64 + "… (2001 characters, sha256 ")
    assert len(short) < 200
