"""The table of voice messages in docs/matrix-events.md, converted both ways by the real code."""

from __future__ import annotations

import io
from collections.abc import Iterator

from bridge.config.model import WebChat
from bridge.link.settings import FRAME_OVERHEAD
from bridge.media.formats import Sound, to_amr, to_opus
from tests.support.sounds import codec_of, seconds_of, tone

LENGTHS = (0.4, 0.7, 1.0, 2.5, 5.0, 8.0, 9.7, 15.0, 30.0, 60.0)
"""Durations of the voices, seconds."""
MOST = 0.05
"""Maximum relative error of a voice's duration (issue 3)."""
_PLENTY = 1_000_000
"""Size limit in bytes that allows the best quality of each."""
_LONGEST = 8.5
"""Seconds of the longest voice that fits into a frame of the default size."""

HEAD = ("a voice of", "as Element records it", "as the agent hears it", "back in Element", "off by")
WORDS = """\
Each voice below was recorded as Ogg/Opus, made AMR for the agent, and made Ogg/Opus again as an
agent's voice is; all three were decoded from beginning to end, and that is what the seconds say.
WebChat's `voiceLength` has whole seconds, at least one. A voice travels in its frame as long as
AMR's lowest quality fits there ({longest} s with the default `webchat.max_frame_bytes`);
a longer one is uploaded as AMR for servers that take its address (guide of 2019-10-14, and the
first ones), and goes to others as the file that it is, unchanged."""


def words() -> str:
    """Return the text above the table.

    Raises:
        AssertionError: `_LONGEST` is not the longest voice that fits.
    """
    frame: int = WebChat.model_fields["max_frame_bytes"].default
    room = (frame - FRAME_OVERHEAD) // 4 * 3  # base64
    assert to_amr(io.BytesIO(tone(_LONGEST)), room) is not None
    assert to_amr(io.BytesIO(tone(_LONGEST + 0.1)), room) is None
    return WORDS.format(longest=_LONGEST)


def rows() -> Iterator[tuple[str, ...]]:
    """Yield one row per voice.

    Raises:
        AssertionError: a voice has a wrong codec, or its duration is off by more than `MOST`.
    """
    for seconds in LENGTHS:
        recorded = tone(seconds)
        sent = _sent(recorded)
        back = to_opus(io.BytesIO(sent.data))
        kinds = [codec_of(data) for data in (recorded, sent.data, back.data)]
        assert kinds == ["opus", "amrnb", "opus"], kinds
        assert back.waveform, "a voice message has a waveform"
        lengths = [seconds_of(data) for data in (recorded, sent.data, back.data)]
        off = max(abs(one - seconds) for one in (*lengths, sent.seconds, back.seconds)) / seconds
        assert off <= MOST, (seconds, lengths)
        yield (f"{seconds:.1f} s", *(f"{one:.2f} s" for one in lengths), f"{off:.1%}")


def _sent(recorded: bytes) -> Sound:
    sent = to_amr(io.BytesIO(recorded), _PLENTY)
    assert sent is not None
    return sent
