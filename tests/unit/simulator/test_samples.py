"""Voices, from AMR and to it."""

from __future__ import annotations

import io
import math
import struct
import wave

import pytest
from PIL import Image

from bridge.simulator import samples


def tone(seconds: float, rate: int = 44_100) -> bytes:
    """A stereo WAV of 440 Hz, as a browser or a phone might record it."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        for n in range(int(seconds * rate)):
            value = int(9000 * math.sin(2 * math.pi * 440 * n / rate))
            file.writeframesraw(struct.pack("<hh", value, value))
    return target.getvalue()


def length(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 8000)
        return float(file.getnframes()) / 8000


def test_a_recording_becomes_amr_of_the_same_length() -> None:
    amr, seconds = samples.to_amr(tone(3))
    assert amr.startswith(samples.AMR)
    assert seconds == 3
    assert length(samples.to_wav(amr)) == pytest.approx(3, rel=0.05)


def test_amr_stays_as_it_is() -> None:
    voice = samples.voice(2)
    assert samples.to_amr(voice) == (voice, 2)


def test_short_sound_counts_as_a_second() -> None:
    assert samples.to_amr(tone(0.2))[1] == 1


def test_no_more_than_a_minute_is_kept() -> None:
    assert length(samples.to_wav(tone(61, rate=8000))) == samples.LONGEST


def test_every_agent_has_a_face_of_their_own() -> None:
    faces = [samples.portrait(agent) for agent in ("A00001", "A00002", "A00001")]
    assert faces[0] == faces[2] != faces[1]
    with Image.open(io.BytesIO(faces[0])) as face:
        assert face.size == (128, 128)
        assert len(face.convert("RGB").getcolors(128 * 128) or ()) > 2, "not only one colour"


@pytest.mark.parametrize(
    "data", [b"", b"no sound " * 50, samples.picture("x"), samples.AMR, tone(0)]
)
def test_invalid_sound_is_refused(data: bytes) -> None:
    with pytest.raises(samples.SoundError):
        samples.to_wav(data)
