from __future__ import annotations

import io
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bridge.media import formats
from bridge.media.formats import NoSound, apart, container_of, look, to_amr, to_opus
from tests.support.sounds import codec_of, film, many_packets, seconds_of, tone

EVERYTHING = 1_000_000
SPOKEN = [tone(2.5, "ogg"), tone(2.5, "amr")]


@pytest.mark.parametrize(
    "container", ["ogg", "amr", "wav", "flac", "mp4", "matroska", "adts", "mp3"]
)
def test_every_container_becomes_what_either_side_plays(container: str) -> None:
    original = tone(3.2, container, channels=2 if container == "wav" else 1)
    opus, amr = to_opus(io.BytesIO(original)), to_amr(io.BytesIO(original), EVERYTHING)
    assert amr is not None
    assert (opus.data[:4], codec_of(opus.data)) == (b"OggS", "opus")
    assert (amr.data[:6], codec_of(amr.data)) == (b"#!AMR\n", "amrnb")
    for sound in (opus, amr):
        assert sound.seconds == pytest.approx(3.2, rel=0.05)
        assert seconds_of(sound.data) == pytest.approx(3.2, rel=0.05)


@pytest.mark.parametrize("seconds", [0.5, 1, 7.3, 60])
def test_round_trip_keeps_the_duration_within_five_per_cent(seconds: float) -> None:
    amr = to_amr(io.BytesIO(tone(seconds)), EVERYTHING)
    assert amr is not None
    back = to_opus(io.BytesIO(amr.data))
    assert seconds_of(back.data) == pytest.approx(seconds, rel=0.05)
    assert back.seconds == pytest.approx(seconds, rel=0.05)


def test_waveform_follows_the_loudness() -> None:
    waveform = to_opus(io.BytesIO(tone(4))).waveform
    assert len(waveform) == formats.POINTS
    assert all(0 <= height <= formats.LOUDEST for height in waveform)
    assert waveform[5] < waveform[30] < waveform[55]
    assert max(waveform) == pytest.approx(20_000 / 32_767 * formats.LOUDEST, rel=0.15)


def test_very_short_sound_has_fewer_points() -> None:
    assert 0 < len(to_opus(io.BytesIO(tone(0.2))).waveform) < 20


def test_the_best_quality_that_fits_is_taken() -> None:
    spoken = tone(4)
    sizes = {}
    for room in (20_000, 5_000, 4_000, 3_000, 2_700):
        sound = to_amr(io.BytesIO(spoken), room)
        assert sound is not None
        assert len(sound.data) <= room
        assert sound.seconds == pytest.approx(4, rel=0.05)
        sizes[room] = len(sound.data)
    assert sorted(sizes.values()) == sorted(set(sizes.values()))
    assert sizes[20_000] == 6 + 200 * 32
    assert to_amr(io.BytesIO(spoken), 2_500) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#!AMR\n",
        b"#!SILK_V3" + bytes(100),
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ogg\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"OggS" + bytes(2_000),
        b"RIFF\x00\x00\x00\x00WAVE",
        film(),
    ],
)
def test_files_without_sound_are_refused(data: bytes) -> None:
    with pytest.raises(NoSound):
        to_opus(io.BytesIO(data))
    with pytest.raises(NoSound):
        to_amr(io.BytesIO(data), EVERYTHING)


def test_too_long_is_no_voice_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_SECONDS", 2)
    with pytest.raises(NoSound):
        to_opus(io.BytesIO(tone(2.5)))
    assert to_opus(io.BytesIO(tone(1.5))).seconds == pytest.approx(1.5, rel=0.05)


def test_another_process_converts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = tone(1)
    assert apart(to_opus, io.BytesIO(spoken)).seconds == pytest.approx(1, rel=0.05)
    assert apart(to_amr, io.BytesIO(spoken), EVERYTHING) == to_amr(io.BytesIO(spoken), EVERYTHING)
    assert apart(to_amr, io.BytesIO(spoken), 10) is None
    assert apart(look, io.BytesIO(film())) == look(io.BytesIO(film()))
    with capture_logs() as logs, pytest.raises(NoSound):
        apart(to_opus, io.BytesIO(b"no sound"))
    assert logs == []
    monkeypatch.setattr(formats, "MEMORY", 16 << 20)
    with capture_logs() as logs, pytest.raises(NoSound):
        apart(to_opus, io.BytesIO(spoken))
    assert [one["event"] for one in logs] == ["sound or video not converted"]


def test_what_a_failed_process_wrote_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = tmp_path / "python"
    ended.write_text("#!/bin/sh\nprintf half; exit 3\n", encoding="utf-8")
    ended.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(ended))
    with capture_logs() as logs, pytest.raises(NoSound):
        apart(to_opus, io.BytesIO(tone(1)))
    assert [one["status"] for one in logs] == [3]


def test_a_million_frames_in_a_small_file_take_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a thread, they took 20 s for 7 MB, and everybody's voice messages waited."""
    monkeypatch.setattr(formats, "CPU_SECONDS", 1)
    with capture_logs() as logs, pytest.raises(NoSound):
        apart(to_amr, io.BytesIO(many_packets(1_000_000)), EVERYTHING)
    assert [one["why"] for one in logs] == ["a limit"]


def test_cut_off_recording_is_played_as_far_as_it_goes() -> None:
    whole = tone(10, "amr")
    assert to_opus(io.BytesIO(whole[: len(whole) // 2])).seconds == pytest.approx(5, rel=0.05)


def test_a_videos_header() -> None:
    seen = look(io.BytesIO(film(64, 48, pictures=20)))
    assert seen is not None
    assert (seen.width, seen.height) == (64, 48)
    assert seen.seconds == pytest.approx(2, rel=0.05)
    assert look(io.BytesIO(tone(1))) is None
    assert look(io.BytesIO(b"no video")) is None
    assert look(io.BytesIO(film()[:60])) is None
    unknown = look(
        io.BytesIO(film(pictures=20).replace(b"mp4v", b"zzzz").replace(b"esds", b"zzzz"))
    )
    assert unknown is not None
    assert (unknown.width, unknown.height) == (0, 0)
    assert unknown.seconds == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(
    ("container", "names"), [("mp4", (b"mp4a", b"esds")), ("matroska", (b"A_OPUS",))]
)
def test_unknown_codec_is_refused(container: str, names: tuple[bytes, ...]) -> None:
    data = tone(0.1, container)
    for name in names:
        data = data.replace(name, b"zzzz" + name[4:])
    for read in (to_opus, lambda stream: to_amr(stream, EVERYTHING)):
        with pytest.raises(NoSound):
            read(io.BytesIO(data))


def test_sound_shorter_than_a_frame_is_not_sent_to_the_agent() -> None:
    """Otherwise an empty voice message would be sent, which the server refuses."""
    fragment = io.BytesIO(tone(0.012, "wav"))
    assert to_opus(fragment).seconds == pytest.approx(0.02)
    with pytest.raises(NoSound):
        to_amr(fragment, EVERYTHING)


@given(st.binary(max_size=40))
def test_container_of_any_bytes_is_known_or_none(head: bytes) -> None:
    assert container_of(head) in {
        *(None, "amr", "ogg", "wav", "avi", "mp4", "matroska", "flac", "mp3", "aac"),
    }


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_are_sound_or_none(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - chance that can be repeated
    data = bytearray(chance.choice(SPOKEN))
    for _ in range(chance.randint(1, 60)):
        data[chance.randrange(16, len(data))] = chance.randrange(256)
    del data[chance.randint(20, len(data)) :]
    for read in (to_opus, look, lambda stream: to_amr(stream, EVERYTHING)):
        try:
            read(io.BytesIO(bytes(data)))
        except NoSound:
            continue
