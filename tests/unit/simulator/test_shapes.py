"""What the two guides require; how frames are read with it is `test_checks`."""

import msgspec
import pytest

from bridge.simulator import shapes


def required(shape: type[msgspec.Struct]) -> set[str]:
    """The wire names of the fields that must be there."""
    return {field.encode_name for field in msgspec.structs.fields(shape) if field.required}


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (shapes.Envelope, {"messageId", "token", "time"}),
        (shapes.Signal, {"messageId", "token"}),
        (shapes.Beat, {"messageId"}),
        (shapes.Queueing, {"queueId", "from"}),
        (shapes.LaterQueueing, {"queueId"}),
        (shapes.Stars, {"id", "comments"}),
        (shapes.LaterStars, {"ratingId"}),
        (shapes.TextContent, {"content", "extra"}),
        (shapes.LaterText, {"text"}),
        (shapes.ImageContent, {"name", "imageUri", "thumbData", "extra"}),
        (shapes.LaterImage, {"name", "imageUri"}),
        (shapes.FileContent, {"name", "url", "size", "type", "extra"}),
        (shapes.LaterFile, {"name", "url"}),
        (shapes.LocationContent, {"poi", "longitude", "latitude", "map", "thumbData", "extra"}),
        (shapes.LaterLocation, {"longitude", "latitude"}),
        (shapes.VoiceContent, {"voiceLength", "voiceData", "extra"}),
        (shapes.LaterVoice, {"voiceLength", "voiceData"}),
    ],
)
def test_required(shape: type[msgspec.Struct], names: set[str]) -> None:
    """Protocol reference 1.2 and 1.5: the seed requires all it shows, the later guides mark."""
    assert required(shape) == names
