"""The second line of the queue card: the way so far, what is to be expected, how long it has been.

    ▲ up by 2 in 4 minutes · expected from here: 3–5 minutes (an estimate) · waiting for 6 minutes

Put together as the card is written, because the expectation is learned all the time. A part of
which nothing is known is left out, and so is the whole line in the first moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bridge.conversation.events import Args, QueuePlace
from bridge.rooms.waits import Waits
from bridge.texts.durations import duration, waiting_range

WORTH_SAYING = 60_000
"""ms from which on a standstill, or the time waited, is told."""
_JOINT = " · "


class Sentences(Protocol):
    """Our sentences in every language, as `texts.Texts` has them."""

    def render(self, language: str, key: str, args: Args) -> str:
        """The sentence of that key."""
        ...


def second_line(sentences: Sentences, language: str, place: QueuePlace, waits: Waits) -> str:
    """What is known of a wait, in words; empty if nothing is."""
    parts = [*_trend(place), *_expected(language, place, waits), *_waited(place)]
    return _JOINT.join(
        sentences.render(language, key, _spoken(language, args)) for key, args in parts
    )


Part = tuple[str, Args]
"""A key of the texts with its args; `ms` is a length of time, to be said as `time`."""


def _trend(place: QueuePlace) -> Iterator[Part]:
    if not place.position or not place.first_position:
        return
    moved = place.first_position - place.position
    if moved:
        key = "queue.up" if moved > 0 else "queue.down"
        yield key, {"places": abs(moved), "ms": place.moved_at - place.first_at}
    elif place.at - place.moved_at >= WORTH_SAYING:
        yield "queue.unchanged", {"ms": place.at - place.moved_at}


def _expected(language: str, place: QueuePlace, waits: Waits) -> Iterator[Part]:
    expected = waits.expected(place)
    if expected is None:
        return
    if expected.high <= 0:
        yield "queue.longer", {}
    else:
        yield "queue.expected", {"wait": waiting_range(language, expected.low, expected.high)}


def _waited(place: QueuePlace) -> Iterator[Part]:
    waited = place.at - place.since
    if waited >= WORTH_SAYING:
        yield "queue.waited", {"ms": waited}


def _spoken(language: str, args: Args) -> Args:
    ms = args.get("ms")
    if not isinstance(ms, int):
        return args
    return {**args, "time": duration(language, max(ms / 1000, 1))}
