"""What the bytes, places and markup that pass through us are, and what they become on the way.

Pure work on what somebody else has fetched: `types` and `images` say what a file is, `voice` makes
a voice message playable on the other side, `places` moves coordinates between maps, `plaintext`
makes text of HTML. All of it comes from strangers: sizes, depths and lengths are bounded, and what
cannot be read is said to be unreadable, never guessed at.
"""

from __future__ import annotations

from bridge.media.images import dimensions
from bridge.media.types import (
    HEAD,
    OCTETS,
    clean_mime,
    extension_of,
    guess_mime,
    safe_name,
    sniff,
)

__all__ = [
    "HEAD",
    "OCTETS",
    "clean_mime",
    "dimensions",
    "extension_of",
    "guess_mime",
    "safe_name",
    "sniff",
]
