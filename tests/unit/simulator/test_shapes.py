"""What the two guides require; how frames are read with it is `test_checks`."""

import msgspec
import pytest

from bridge.simulator import checks


def required(shape: type[msgspec.Struct]) -> set[str]:
    """The wire names of the fields that must be there."""
    return {field.encode_name for field in msgspec.structs.fields(shape) if field.required}


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (checks.Envelope, {"messageId", "token", "time"}),
        (checks.Signal, {"messageId", "token"}),
        (checks.Beat, {"messageId"}),
        (checks.Queueing, {"queueId", "from"}),
        (checks.LaterQueueing, {"queueId"}),
        (checks.Stars, {"id", "comments"}),
        (checks.LaterStars, {"ratingId"}),
        (checks.TextContent, {"content", "extra"}),
        (checks.LaterText, {"text"}),
        (checks.ImageContent, {"name", "imageUri", "thumbData", "extra"}),
        (checks.LaterImage, {"name", "imageUri"}),
        (checks.FileContent, {"name", "url", "size", "type", "extra"}),
        (checks.LaterFile, {"name", "url"}),
        (checks.LocationContent, {"poi", "longitude", "latitude", "map", "thumbData", "extra"}),
        (checks.LaterLocation, {"longitude", "latitude"}),
        (checks.VoiceContent, {"voiceLength", "voiceData", "extra"}),
        (checks.LaterVoice, {"voiceLength", "voiceData"}),
    ],
)
def test_required(shape: type[msgspec.Struct], names: set[str]) -> None:
    """Protocol reference 1.2 and 1.5: the seed requires all it shows, the later guides mark."""
    assert required(shape) == names
