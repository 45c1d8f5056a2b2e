"""Logs: numbered, masked, bounded."""

import pytest

from bridge.simulator.state import Log, masked, masked_text, shortened


def test_numbers_grow_and_the_oldest_go_first() -> None:
    journal = Log(3, "n")
    for mark in range(5):
        assert journal.add({"mark": mark}) == {"n": mark + 1, "mark": mark}
    assert journal.last == 5
    assert journal.since(0) == [{"n": n, "mark": n - 1} for n in (3, 4, 5)]
    assert journal.since(4) == [{"n": 5, "mark": 4}]
    assert journal.since(5) == journal.since(99) == []


def test_tokens_are_masked_wherever_they_stand() -> None:
    assert masked({"token": "secret", "list": [{"token": "secret"}], "n": 1}) == {
        "token": "<token>",
        "list": [{"token": "<token>"}],
        "n": 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"type":10,"token":"S-1+/=","time":1',
        '{"type":10, "token" : "S-1+/=',
        "{type: 10, token: 'S-1+/=', time: 1}",
        "type=10&token=S-1+/=&time=1",
    ],
)
def test_the_token_of_a_frame_that_cannot_be_read_is_masked(text: str) -> None:
    assert masked_text(text) == text.replace("S-1+/=", "<token>")


def test_long_strings_are_shortened_with_their_digest() -> None:
    assert shortened("x" * 2000) == "x" * 2000
    short = shortened("x" * 2001)
    assert short.startswith("x" * 64 + "… (2001 characters, sha256 ")
    assert len(short) < 200
