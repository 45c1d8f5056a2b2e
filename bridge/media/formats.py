"""Formats of files: media types, safe names, sizes of pictures, voice conversion, drawn pictures.

Names and types are untrusted. The type is detected from magic numbers where possible, and names are
stripped of anything harmful in a path or terminal. Only a picture's header is read; its pixels are
never decoded.

Voice messages are converted between AMR (call centres) and Ogg/Opus (Matrix, MSC3245), and videos
measured, by PyAV (FFmpeg). Its parsers limit neither time nor memory: 400 bytes can describe an
index of gigabytes, and 7 MB hold a million frames. So `apart` calls the functions for it in another
process. The container is detected from its first bytes and passed to the library, which would try
formats that open further files. Of pictures, only three codecs are decoded, if nothing else tells a
video's size (`_OPENING`); of sound, at most `MAX_SECONDS`, as 55 bytes can hold hours of silence.

The bridge draws default avatars and bar charts, as PNG files. The bot's avatar `bot.png` is the
agent desk's icon with square corners. Queue users get `queue.png` (`queue.svg` in black and white),
coloured per queue. Charts contain figures, no words.
"""

from __future__ import annotations

import array
import colorsys
import io
import mimetypes
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from itertools import pairwise, repeat
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec
import puremagic
import structlog
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    import av

OCTETS = "application/octet-stream"
HEAD = 8192
"""Number of bytes from the start of a file that `sniff` needs."""

_MIME = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_CONTROLS = bytes((*range(0x09), *range(0x0E, 0x20)))
"""Bytes that no text contains."""
_MAX_NAME = 180
"""Maximum bytes of a name: file systems allow 255, and a server may add a prefix."""
_PLAYED = ("audio/", "video/")
_FAMILIES = ("image/", *_PLAYED)
_NO_TEXTS = (*_FAMILIES, *(f"application/{kind}" for kind in ("pdf", "zip", "msword", "vnd.")))
PAGES = frozenset({"text/html", "application/json"})
"""Media types of a server's pages, as for a login or an error, instead of the file asked for."""
# A new instance, as the module's global tables differ from machine to machine.
_TYPES = mimetypes.MimeTypes()
_OFFICE = ("docx", "wordprocessingml.document"), ("xlsx", "spreadsheetml.sheet")
for _ending, _kind in (*_OFFICE, ("pptx", "presentationml.presentation")):  # Python has none
    _TYPES.add_type(f"application/vnd.openxmlformats-officedocument.{_kind}", f".{_ending}")
_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "audio/ogg": ".ogg",
    "audio/amr": ".amr",
    "audio/mp4": ".m4a",
    "video/mp4": ".mp4",
    "text/plain": ".txt",
}


def clean_mime(claimed: str) -> str:
    """Return `type/subtype` in lower case without parameters; "" if it is no media type."""
    mime = claimed.partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else ""


def guess_mime(name: str) -> str:
    """Return the media type for a file name's extension; "" if unknown."""
    # The prefix keeps a name such as "data:image/png,x" from being read as a URL.
    return _TYPES.guess_type(f"x/{name}", strict=False)[0] or ""


def sniff(head: bytes, name: str, claimed: str) -> str:
    """Return a file's media type from its first `HEAD` bytes, its name and the claimed type.

    The bytes win for pictures, sound and video, where a wrong type shows as a broken message. For
    everything else the claim or the extension is more precise (a .docx is also a zip).
    """
    claimed, named, found = clean_mime(claimed), guess_mime(name), _magic(head)
    if claimed in PAGES and not _is_text(head):
        claimed = ""  # a script that claims its default for every file
    if found.startswith(_FAMILIES):
        # Ogg and MP4 contain audio or video: only the claim tells which.
        return claimed if found.startswith(_PLAYED) and claimed.startswith(_PLAYED) else found
    for mime in (claimed, named, found):
        # Bytes not recognized as a picture must not be sent as one; SVG has no magic number.
        if mime not in {"", OCTETS} and (not mime.startswith("image/") or mime == "image/svg+xml"):
            return mime
    return OCTETS


def _magic(head: bytes) -> str:
    if head.startswith(b"#!AMR"):  # RFC 4867 section 5; puremagic does not know it
        return "audio/amr"
    try:
        found = clean_mime(puremagic.from_string(head, mime=True)) if head else ""
    except (puremagic.PureError, ValueError):
        return ""
    if found.startswith(_FAMILIES) and _is_text(head):
        return ""  # "FORM" (AIFF), "BM" and "ID3" begin words, too
    return "image/bmp" if found == "image/x-ms-bmp" else found


def _is_text(head: bytes) -> bool:
    return head == head.translate(None, _CONTROLS)


def holds_no_text(name: str) -> bool:
    """Whether a file with this extension cannot be a text."""
    mime = guess_mime(name)
    return mime.startswith(_NO_TEXTS) and not mime.endswith("xml")


def safe_name(name: str, mime: str = "", *, fallback: str = "file") -> str:
    """Return a file name without path, shell or text-direction (bidi) tricks.

    `name` may be a path; `fallback` replaces an empty name; `mime` gives a missing extension. The
    result has 1 to 180 bytes of UTF-8 and never starts with a dot.
    """
    name = name.encode("utf-8", "ignore").decode("utf-8")
    name = re.split(r"[/\\]", name.strip())[-1]
    if len(name) > 2 * _MAX_NAME:
        # Cut the middle first: normalizing sorts combining characters in quadratic time.
        name = name[:_MAX_NAME] + name[-_MAX_NAME:]
    name = unicodedata.normalize("NFC", name)
    # Cc, Cf: control and bidi characters; Cn: unassigned.
    name = "".join(c for c in name if unicodedata.category(c) not in {"Cc", "Cf", "Cn"})
    # Again, as removals may have made characters combinable.
    name = unicodedata.normalize("NFC", name)
    name = re.sub(r"\s", " ", re.sub(r'[<>:"|?*]', "_", name)).strip(" .")
    stem, dot, extension = name.rpartition(".")
    if not dot or not re.fullmatch(r"[A-Za-z0-9]{1,10}", extension):
        stem, extension = name, ""
    if extension:
        ending = f".{extension}"
    else:
        ending = _EXTENSIONS.get(mime) or _TYPES.guess_extension(mime, strict=False) or ""
    room = _MAX_NAME - len(ending.encode())
    stem = stem.encode()[:room].decode("utf-8", "ignore").strip(" .")
    return (stem or fallback) + ending


# --- size of a picture ----------------------------------------------------------------------------

MAX_PIXELS = 100_000_000
"""Maximum pixels of a picture; one that claims more counts as none (decompression bomb)."""


LONGEST_EXIF = 65_535
"""Maximum bytes of EXIF that are read: a segment of a JPEG."""
MOST_READS = 2_000
"""Maximum times that Pillow reads from a picture: two or three for each part of the header, and
millions of parts take gigabytes."""
_PICTURES = ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP")
"""Formats that clients show; the header of a TIFF may hold tens of millions of numbers."""


def dimensions(stream: IO[bytes]) -> tuple[int, int] | None:
    """Return width and height in pixels from a picture's header; None if it is no picture.

    They are swapped for rotated pictures (EXIF orientation 5 to 8), as in display.
    """
    reads = repeat(stream.read, MOST_READS)
    limited: Any = SimpleNamespace(
        seek=stream.seek, tell=stream.tell, read=lambda size=-1: next(reads)(size)
    )
    try:
        with warnings.catch_warnings():
            # Odd EXIF data warns, and so do large pictures, of which Pillow refuses only those of
            # 179 million pixels. Limited to PIL, as threads share the filters and may leave them.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(limited, formats=_PICTURES) as image:
                width, height = image.size
                # If a PNG has no EXIF before its pixels, Pillow would decode them to look behind.
                # Pillow joins the parts of a long one, and reads a tag of millions of values.
                known = image.format != "PNG" or "exif" in image.info
                known = known and len(image.info.get("exif", b"")) <= LONGEST_EXIF
                turned = known and image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    except Exception:  # noqa: BLE001 - Pillow's readers of rare formats raise anything
        return None
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        return None
    return (height, width) if turned else (width, height)


# --- voice messages and videos --------------------------------------------------------------------

MAX_SECONDS = 600
"""Maximum seconds of a voice message; longer ones are sent as files."""
POINTS = 60
"""Points of a waveform; Element draws about as many."""
LOUDEST = 1024
"""Height of a point at full volume (MSC1767, `waveform`)."""
LOWEST_RATE = 4_000
"""Minimum sample rate in Hz, below which sound is rejected as not speech. Telephones use 8,000."""
CPU_SECONDS, MEMORY = 10, 256 << 20
"""Maximum CPU time and bytes of memory of `apart`. `MAX_SECONDS` of speech take 6 s and 90 MiB."""

_OPUS_RATE = 48_000
_OPUS_BITS = 32_000
_AMR_RATE = 8_000
_AMR_MODES = (
    *((12_200, 32), (10_200, 27), (7_950, 21), (7_400, 20)),
    *((6_700, 18), (5_900, 16), (5_150, 14), (4_750, 13)),
)
"""Bits per second, and bytes per frame (RFC 4867, section 5.3)."""
_FRAMES_PER_SECOND = 50
_OPENING = {
    # No further file or URL that the input names is opened.
    "protocol_whitelist": "",
    # FFmpeg decodes pictures to find what a header omits, and some codecs allow any picture size.
    # Only for these three does it not trust the container's width and height.
    "codec_whitelist": "mpeg4,h263,h261",
}
_SIGNATURES = {
    b"#!AMR": "amr",
    b"OggS": "ogg",
    b"\x1aE\xdf\xa3": "matroska",
    b"fLaC": "flac",
    **dict.fromkeys((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xfa"), "mp3"),
    **dict.fromkeys((b"\xff\xf1", b"\xff\xf9"), "aac"),
}


T = TypeVar("T")
_LOG: structlog.stdlib.BoundLogger = structlog.get_logger("bridge.media")


class NoSound(Exception):
    """The bytes are not decodable sound, or longer than `MAX_SECONDS`."""


class Sound(msgspec.Struct, frozen=True):
    data: bytes
    seconds: float
    waveform: tuple[int, ...] = ()
    """`POINTS` heights of 0 to `LOUDEST`; fewer if it is very short; empty for AMR."""


class Picture(msgspec.Struct, frozen=True):
    """Size (pixels) and length of a video, from its header; 0 if unknown."""

    width: int = 0
    height: int = 0
    seconds: float = 0


def container_of(head: bytes) -> str | None:
    """Return FFmpeg's name for a container by its first bytes; None if it is not supported."""
    if head.startswith(b"RIFF"):
        return {b"WAVE": "wav", b"AVI ": "avi"}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return "mp4"
    return next((name for start, name in _SIGNATURES.items() if head.startswith(start)), None)


@contextmanager
def _unplayable() -> Iterator[None]:
    """Translate the library's errors to NoSound."""
    import av

    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError, OSError) as error:
        raise NoSound(str(error)) from error


def apart(convert: Callable[..., T], stream: IO[bytes], *args: int) -> T:
    """Call `to_opus`, `to_amr` or `look` in a process of low priority, limited time and memory.

    It blocks, so call it in a thread. Raises NoSound at a limit too.
    """
    given = f"formats.{convert.__name__}, {CPU_SECONDS}, {MEMORY}, *{args}"
    code = f"from bridge.media import formats; formats.serve({given})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        with tempfile.TemporaryFile() as copy:
            stream.seek(0)
            shutil.copyfileobj(stream, copy)
            copy.seek(0)
            done = subprocess.run(  # noqa: PLW1510, S603
                (sys.executable, "-c", code), stdin=copy, capture_output=True, env=environment
            )
    except OSError as error:
        raise NoSound(str(error)) from error
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        _LOG.warning("sound or video not converted", status=done.returncode, why=why or "a limit")
    if done.returncode or not done.stdout:
        raise NoSound("no sound, or too much of it")
    found: T = msgspec.msgpack.decode(done.stdout, type=get_type_hints(convert)["return"])
    return found


def serve(convert: Callable[..., object], seconds: int, memory: int, *args: int) -> None:
    """Convert standard input, in the process that `apart` starts."""
    os.nice(10)
    for what, most in (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_DATA, memory):
        resource.setrlimit(what, (most, most))
    with suppress(NoSound):
        sys.stdout.buffer.write(msgspec.msgpack.encode(convert(sys.stdin.buffer, *args)))


def to_opus(stream: IO[bytes]) -> Sound:
    """Convert sound to a voice message for Matrix: Ogg/Opus with waveform. Raises NoSound."""
    import av

    out = io.BytesIO()
    peaks: list[int] = []
    with _unplayable(), av.open(out, "w", format="ogg") as target:
        # Packets of 20 ms; FFmpeg's Ogg muxer gathers a second of them into a page.
        encoder = target.add_stream("libopus", rate=_OPUS_RATE, layout="mono")
        encoder.bit_rate = _OPUS_BITS
        for frame in _frames(stream, _OPUS_RATE):
            samples = array.array("h", bytes(frame.planes[0])[: frame.samples * 2])
            peaks.append(max(max(samples, default=0), -min(samples, default=0)))
            target.mux(encoder.encode(frame))
        target.mux(encoder.encode(None))
    return Sound(out.getvalue(), len(peaks) / _FRAMES_PER_SECOND, _waveform(peaks))


def to_amr(stream: IO[bytes], room: int) -> Sound | None:
    """Convert sound to AMR narrow-band for WebChat, at the best bit rate that fits `room` bytes.

    None if it is too long even at the lowest bit rate. Raises NoSound.
    """
    import av

    room -= len(b"#!AMR\n")
    out = io.BytesIO()
    frames: list[av.AudioFrame] = []
    with _unplayable():
        for frame in _frames(stream, _AMR_RATE):
            frames.append(frame)
            if len(frames) * _AMR_MODES[-1][1] > room:
                return None
        with av.open(out, "w", format="amr") as target:
            encoder = target.add_stream("libopencore_amrnb", rate=_AMR_RATE, layout="mono")
            encoder.bit_rate = next(bits for bits, size in _AMR_MODES if len(frames) * size <= room)
            for frame in frames:
                target.mux(encoder.encode(frame))
            # Not flushed: all frames are out already, and a flush would add one of silence.
    if not out.getvalue():  # a fragment of one frame gives none
        raise NoSound("too short")
    return Sound(out.getvalue(), len(frames) / _FRAMES_PER_SECOND)


def look(stream: IO[bytes]) -> Picture | None:
    """Read size and length from a video's header; None if it is not a supported video."""
    import av

    with suppress(NoSound), _unplayable(), _opened(stream) as source:
        if source.streams.video:
            shown = source.streams.video[0]
            seconds = max(0.0, (source.duration or 0) / av.time_base)
            if _codec_of(shown) is None:
                return Picture(seconds=seconds)
            return Picture(max(0, shown.width), max(0, shown.height), seconds)
    return None


def _opened(stream: IO[bytes]) -> av.container.InputContainer:
    import av

    stream.seek(0)
    container = container_of(stream.read(16))
    stream.seek(0)
    if container is None:
        raise NoSound("unknown container format")
    return av.open(stream, "r", format=container, options=_OPENING)


def _codec_of(stream: av.VideoStream | av.AudioStream) -> object:
    """Return the codec context; None if FFmpeg does not know the codec (PyAV's types omit this)."""
    return stream.codec_context


def _frames(stream: IO[bytes], rate: int) -> Iterator[av.AudioFrame]:
    """Decode sound to frames of 20 ms, mono, 16 bits. NoSound if there is none, or too much."""
    from av import AudioResampler

    resampler = AudioResampler("s16", "mono", rate, frame_size=rate // _FRAMES_PER_SECOND)
    frame = None
    with _opened(stream) as source:
        if not source.streams.audio:
            raise NoSound("no audio in the file")
        if _codec_of(source.streams.audio[0]) is None:
            raise NoSound("unknown codec")
        for part in _decoded(source):
            for frame in resampler.resample(part):
                yield frame
    if frame is None:
        raise NoSound("no audio in the file")


def _decoded(source: av.container.InputContainer) -> Iterator[av.AudioFrame | None]:
    """Yield decoded sound without timestamps, then None to flush the resampler."""
    import av

    heard = 0
    # A recording that breaks off counts up to there.
    with suppress(av.error.InvalidDataError):
        for frame in source.decode(audio=0):
            if frame.sample_rate < LOWEST_RATE:
                raise NoSound("the sample rate is too low")
            heard += frame.samples
            if heard > MAX_SECONDS * frame.sample_rate:
                raise NoSound("too long")
            # Timestamps of broken recordings jump, so only the samples are counted.
            frame.pts = None
            yield frame
    yield None


def _waveform(peaks: list[int]) -> tuple[int, ...]:
    count = min(POINTS, len(peaks))
    ends = [at * len(peaks) // count for at in range(count + 1)] if count else []
    heights = (max(peaks[start:end]) for start, end in pairwise(ends))
    return tuple(min(LOUDEST, height * LOUDEST // 32767) for height in heights)


# --- pictures drawn by the bridge -----------------------------------------------------------------

WIDTH, HEIGHT, MARGIN, FOOT = 720, 320, 24, 28
"""Pixels: width and height of the chart, margin around the bars, space below for labels."""
DARK, LIGHT, LINE, GROUND = "#1b7f5c", "#c9d1d6", "#5f6b73", "#ffffff"
NARROW = 20
"""Maximum pitch in pixels of bars that are drawn without their number."""
LABELS = 10
"""Maximum number of labels; with more bars, only every n-th has one."""


def bot_avatar() -> bytes:
    return (resources.files("bridge.media") / "bot.png").read_bytes()


def queue_avatar(number: int) -> bytes:
    """Return a queue's default avatar (PNG); its colour depends only on the queue's number."""
    # Golden-ratio steps round the hue circle keep neighbouring numbers far apart.
    colour = colorsys.hsv_to_rgb((0.44 + number % 10_000 * 0.618034) % 1, 0.62, 0.62)
    ground = tuple(round(255 * part) for part in colour)
    file = io.BytesIO()
    with (resources.files("bridge.media") / "queue.png").open("rb") as shape:
        ImageOps.colorize(Image.open(shape).convert("L"), ground, "white").save(file, "PNG")
    return file.getvalue()


def stacked_bars(bars: Sequence[tuple[str, int, int]]) -> bytes:
    """Draw a stacked bar chart of (label, dark part, light part above it) as a PNG."""
    image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    floor, highest = HEIGHT - FOOT, max(1, *(dark + light for _, dark, light in bars))
    unit, pitch = (floor - 2 * MARGIN) / highest, (WIDTH - 2 * MARGIN) / len(bars)
    every = -(-len(bars) // LABELS)
    for number, (label, dark, light) in enumerate(bars):
        left, right = MARGIN + (number + 0.15) * pitch, MARGIN + (number + 0.85) * pitch
        middle, top = (left + right) / 2, floor - unit * (dark + light)
        if dark + light:
            draw.rectangle((left, top, right, floor), fill=LIGHT)
        if dark + light and pitch > NARROW:
            draw.text((middle, top - 4), f"{dark + light}", LINE, font, anchor="ms")
        if dark:
            draw.rectangle((left, floor - unit * dark, right, floor), fill=DARK)
        if number % every == 0:
            draw.text((middle, floor + 8), label, LINE, font, anchor="mt")
    draw.line((MARGIN, floor, WIDTH - MARGIN, floor), LINE)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
