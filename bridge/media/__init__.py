"""Conversion and inspection of media: bytes, places and markup that pass through the bridge.

Pure work on what somebody else has fetched: `types` says what a file is, `voice` makes a voice
message playable on the other side, `places` moves coordinates between maps, `plaintext` makes text
of HTML. All of it comes from strangers: sizes, depths and lengths are bounded, and what cannot be
read is said to be unreadable, never guessed at.
"""
