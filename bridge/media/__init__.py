"""Conversion and inspection of media: bytes, places and markup that pass through the bridge.

All of it comes from strangers: sizes, depths and lengths are bounded, and what cannot be read is
said to be unreadable, never guessed at.
"""
