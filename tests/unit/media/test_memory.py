"""A small file that claims to be a large one takes no more memory than any other."""

from __future__ import annotations

import pytest

from bridge.media import formats
from tests.support.frugal import reads
from tests.support.sounds import film_of, many_chunks, png, silence, vast_index

MOST = 32
"""MiB that a file of a few bytes may take. Each of these took hundreds, the worst one gigabytes."""
SIDE = 8_000


@pytest.mark.parametrize("reader", ["amr", "opus"])
@pytest.mark.parametrize("rate", [1, 10, 100])
def test_hours_of_silence_in_55_bytes(reader: str, rate: int) -> None:
    data = silence(rate)
    assert len(data) == 55
    told, grown = reads(reader, data)
    assert told == "the sample rate is too low"
    assert grown < MOST


@pytest.mark.parametrize("reader", ["amr", "opus"])
@pytest.mark.parametrize(("rate", "seconds"), [(4_000, "16.4"), (8_000, "8.2")])
def test_valid_file_is_converted(reader: str, rate: int, seconds: str) -> None:
    told, grown = reads(reader, silence(rate))
    assert told == seconds
    assert grown < MOST


def test_a_video_of_one_vast_picture() -> None:
    told, grown = reads("look", film_of(png(SIDE), SIDE))
    assert told == f"Picture(width={SIDE}, height={SIDE}, seconds=0.1)"
    assert grown < MOST


def test_a_vast_picture() -> None:
    told, grown = reads("dimensions", png(SIDE))
    assert told == str((SIDE, SIDE))
    assert grown < MOST


def test_a_picture_of_a_million_parts() -> None:
    """Six of 30 MB took 1.6 GiB, and for minutes no room's files were sent."""
    told, grown = reads("dimensions", many_chunks(1_000_000))
    assert told == "None"
    assert grown < MOST


def test_an_index_of_gigabytes_in_400_bytes() -> None:
    """In the bridge's own process FFmpeg allocated 2.1 GiB for it."""
    data = vast_index(60_000_000)
    assert len(data) < 400
    told, grown = reads("apart", data)
    assert "no sound" in told
    assert grown < formats.MEMORY >> 20
